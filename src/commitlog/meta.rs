//! The file `meta`: who this member is, its term and vote, the bounds of its log, its member set.
//! Two copies of one state, each in its own 4 KiB block with a sequence number and a CRC-32.
//!
//! Between two calls both copies hold the same state, synced. A store writes one and syncs it, then
//! the other: a torn write spoils one copy while the other is intact, with the state before (first
//! write) or the new one (second). So a valid copy is never older than the last completed store,
//! and the newest valid one is the state. An open ends what a crash left half done by the same
//! rule: it syncs what it read, then writes over the copy that is *not* the newest. From then on
//! either block may rot. All of it is allocated at creation: a full disk never stops a vote.

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::{Error, Result, Status};
use crate::types::{Anchor, Index, Mark, RaftIndex};

/// What a member knows of itself and of its log, and must not forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The cluster's name.
    pub group: String,
    /// This member.
    pub node: u64,
    /// Drawn anew with each new directory: a member that lost its disk is not the one it was.
    pub incarnation: u64,
    /// Length of a segment.
    pub segment_bytes: u64,
    /// Length of an index and of a batch file.
    pub index_bytes: u64,
    /// What may be written between two syncs.
    pub unsynced_max: u64,
    /// Raft's term.
    pub term: u64,
    /// Who got our vote in that term; 0: nobody.
    pub vote: u64,
    /// Where the log begins.
    pub begin: Anchor,
    /// All below is on disk, derived files too: recovery scans from here.
    pub durable: Anchor,
    /// A durable lower bound of what is committed.
    pub committed: Anchor,
    /// Bytes of `control` that are known to be durable.
    pub control_end: u64,
    /// Behind the last record that DLedger wrote; zeros if there is none.
    pub dledger_end: Mark,
    /// A truncate begun and not finished: everything behind this anchor goes.
    pub cut: Option<Anchor>,
    /// The members.
    pub members: MemberSet,
}

/// The group's members, with the state of a change under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSet {
    /// The Raft entry from which on it is valid.
    pub raft_index: RaftIndex,
    /// Every member, voter or not.
    pub members: Vec<Member>,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who voted before the change under way, and still does.
    pub voters_outgoing: Vec<u64>,
    /// Who follows without a vote.
    pub learners: Vec<u64>,
    /// Voters that will be learners when the change is over.
    pub learners_next: Vec<u64>,
    /// The leader ends the change by itself.
    pub auto_leave: bool,
}

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// The incarnation it must come with; 0: not bound yet.
    pub incarnation: u64,
    /// Where it listens.
    pub address: String,
}

/// The open file. After a failed write or sync it stores nothing more.
pub struct MetaStore {
    file: Arc<dyn File>,
    sequence: u64,
    failed: bool,
}

impl MetaStore {
    /// Makes the file. A crash leaves no half file under its name.
    pub fn create(disk: &dyn Disk, meta: &Meta) -> Result<MetaStore> {
        match disk.open(NAME) {
            Ok(_) => return Err(Error::Invalid("`meta` is there already".into())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("open meta", e)),
        }
        let sequence = 1;
        let block = encode(meta, sequence)?;
        let file = fresh(disk, NAME_NEW, FILE)?;
        file.allocate(0, FILE).map_err(|e| Error::io("allocate meta.new", e))?;
        for at in COPIES {
            file.write_at(&block, at).map_err(|e| Error::io("write meta.new", e))?;
        }
        file.sync().map_err(|e| Error::io("sync meta.new", e))?;
        disk.rename(NAME_NEW, NAME).map_err(|e| Error::io("rename meta.new", e))?;
        disk.sync_dir("").map_err(|e| Error::io("sync the directory", e))?;
        Ok(MetaStore { file, sequence, failed: false })
    }

    /// Reads the state and changes nothing on disk: for checks before [`open`](MetaStore::open),
    /// which a directory of another group or node must not live to see. What it answers may not be
    /// durable yet. `None`: there is no such file.
    pub fn read(disk: &dyn Disk) -> Result<Option<Meta>> {
        Ok(read_newest(disk)?.map(|(_, newest)| newest.meta))
    }

    /// Opens the file, and makes what it answers durable in both copies before it returns. `None`:
    /// there is no such file. A file that is refused is not touched.
    pub fn open(disk: &dyn Disk) -> Result<Option<(MetaStore, Meta)>> {
        let Some((file, newest)) = read_newest(disk)? else { return Ok(None) };
        // A process that was killed may have left it in the page cache only.
        file.sync().map_err(|e| Error::io("sync meta", e))?;
        for (at, _) in COPIES.iter().zip(newest.held).filter(|(_, held)| !held) {
            write_copy(&*file, &newest.block, *at)?;
        }
        let store = MetaStore { file, sequence: newest.sequence, failed: false };
        Ok(Some((store, newest.meta)))
    }

    /// Makes `meta` the state. Only when it has returned may others learn of it. `Invalid` if it
    /// takes more than a block, and then nothing was written.
    pub fn store(&mut self, meta: &Meta) -> Result<()> {
        if self.failed {
            return Err(Status::Failed.into());
        }
        let block = encode(meta, self.sequence + 1)?;
        self.failed = true;
        for at in COPIES {
            write_copy(&*self.file, &block, at)?;
        }
        self.failed = false;
        self.sequence += 1;
        Ok(())
    }
}

/// A new file of zeros in place of what an earlier crash may have left under that name.
pub(super) fn fresh(disk: &dyn Disk, path: &str, len: u64) -> Result<Arc<dyn File>> {
    match disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(format!("remove {path}"), e));
        }
        _ => {}
    }
    disk.create(path, len).map_err(|e| Error::io(format!("create {path}"), e))
}

/// The newest valid copy.
struct Newest {
    sequence: u64,
    meta: Meta,
    block: Vec<u8>,
    /// Which copies hold it.
    held: [bool; 2],
}

/// What one block turned out to be.
enum Found {
    Valid(u64, Box<Meta>),
    /// Intact, of a format version above ours.
    Newer(u32),
    Damaged {
        why: String,
        version: Option<u32>,
    },
}

fn write_copy(file: &dyn File, block: &[u8], at: u64) -> Result<()> {
    file.write_at(block, at).map_err(|e| Error::io("write meta", e))?;
    file.sync().map_err(|e| Error::io("sync meta", e))
}

fn read_newest(disk: &dyn Disk) -> Result<Option<(Arc<dyn File>, Newest)>> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open meta", e)),
    };
    let len = file.len().map_err(|e| Error::io("length of meta", e))?;
    if len < FILE {
        let what = format!("meta: the file has {len} bytes and must have {FILE}");
        return Err(Error::corrupt(len, what));
    }
    let mut blocks = [vec![0; BLOCK], vec![0; BLOCK]];
    let mut unreadable = Vec::new();
    for (block, at) in blocks.iter_mut().zip(COPIES) {
        // One sector that cannot be read is what the other copy is for.
        if let Err(e) = file.read_at(block, at) {
            block.fill(0);
            unreadable.push(e);
        }
    }
    if unreadable.len() == 2 {
        return Err(Error::io("read meta", unreadable.remove(0)));
    }
    choose(blocks).map(|newest| Some((file, newest)))
}

fn choose([a, b]: [Vec<u8>; 2]) -> Result<Newest> {
    let newer = |version: u32| {
        let text = format!(
            "meta: the files have format version {version}, this library knows up to {VERSION}"
        );
        Err(Error::Version(text))
    };
    match (decode(&a), decode(&b)) {
        (Found::Newer(version), _) | (_, Found::Newer(version)) => newer(version),
        (Found::Valid(x, _), Found::Valid(y, _)) if x == y && a != b => {
            Err(Error::corrupt(0, format!("meta: the two copies differ, both as number {x}")))
        }
        (Found::Valid(x, meta), Found::Valid(y, _)) if x >= y => {
            Ok(Newest { sequence: x, meta: *meta, block: a, held: [true, x == y] })
        }
        (Found::Valid(sequence, meta), Found::Damaged { .. }) => {
            Ok(Newest { sequence, meta: *meta, block: a, held: [true, false] })
        }
        (_, Found::Valid(sequence, meta)) => {
            Ok(Newest { sequence, meta: *meta, block: b, held: [false, true] })
        }
        (Found::Damaged { why: x, version: v }, Found::Damaged { why: y, version: w }) => {
            match v.max(w) {
                Some(version) if version > VERSION => newer(version),
                _ => Err(Error::corrupt(0, format!("meta: neither copy is intact: {x}; {y}"))),
            }
        }
    }
}

fn encode(meta: &Meta, sequence: u64) -> Result<Vec<u8>> {
    let mut payload = Out(Vec::new());
    payload.meta(meta);
    let payload = payload.0;
    if payload.len() > PAYLOAD_MAX {
        let text = format!(
            "the group's name and its members take {} bytes in `meta`; {PAYLOAD_MAX} are allowed: \
             use fewer members or shorter addresses",
            payload.len()
        );
        return Err(Error::Invalid(text.into()));
    }
    let mut out = Out(Vec::with_capacity(BLOCK));
    out.0.extend_from_slice(&MAGIC);
    out.u32(VERSION);
    out.u32(payload.len() as u32);
    out.u64(sequence);
    out.0.extend_from_slice(&payload);
    out.0.resize(BLOCK - CRC, 0);
    out.u32(crc32fast::hash(&out.0));
    Ok(out.0)
}

/// Total: any bytes give an answer. A version is believed only if the CRC holds, whose place is the
/// same in every version, as are those of magic, version, length and sequence.
fn decode(block: &[u8]) -> Found {
    let damaged = |why: &str, version| Found::Damaged { why: why.into(), version };
    let mut bytes = In(block);
    if bytes.take(MAGIC.len()) != Some(&MAGIC) {
        return damaged("not a block of `meta`", None);
    }
    let (Some(version), Some(len), Some(sequence)) = (bytes.u32(), bytes.u32(), bytes.u64()) else {
        return damaged("too short", None);
    };
    let Some((covered, crc)) = block.split_last_chunk::<CRC>() else {
        return damaged("too short", None);
    };
    if block.len() != BLOCK || crc32fast::hash(covered) != u32::from_be_bytes(*crc) {
        return damaged("wrong checksum", Some(version));
    }
    if version > VERSION {
        return Found::Newer(version);
    }
    let payload = bytes.take(len as usize);
    match payload.and_then(|payload| In(payload).all(In::meta)) {
        Some(meta) if version == VERSION && len as usize <= PAYLOAD_MAX => {
            Found::Valid(sequence, Box::new(meta))
        }
        _ => damaged("right checksum, but no state in it", None),
    }
}

/// Appends in big-endian order. What is too long to count is too long for a block: see `encode`.
struct Out(Vec<u8>);

impl Out {
    fn meta(&mut self, meta: &Meta) {
        self.text(&meta.group);
        for number in [
            meta.node,
            meta.incarnation,
            meta.segment_bytes,
            meta.index_bytes,
            meta.unsynced_max,
            meta.term,
            meta.vote,
        ] {
            self.u64(number);
        }
        self.anchor(&meta.begin);
        self.anchor(&meta.durable);
        self.anchor(&meta.committed);
        self.u64(meta.control_end);
        self.u64(meta.dledger_end.index.0);
        self.u64(meta.dledger_end.pos);
        self.flag(meta.cut.is_some());
        self.anchor(&meta.cut.unwrap_or_default());
        self.members(&meta.members);
    }

    fn members(&mut self, set: &MemberSet) {
        self.u64(set.raft_index.0);
        self.count(set.members.len());
        for member in &set.members {
            self.u64(member.id);
            self.u64(member.incarnation);
            self.text(&member.address);
        }
        for ids in [&set.voters, &set.voters_outgoing, &set.learners, &set.learners_next] {
            self.count(ids.len());
            ids.iter().for_each(|id| self.u64(*id));
        }
        self.flag(set.auto_leave);
    }

    fn anchor(&mut self, anchor: &Anchor) {
        self.u64(anchor.index.0);
        self.u64(anchor.pos);
        self.u64(anchor.raft_index.0);
        self.u64(anchor.term);
        self.u32(anchor.chain);
        self.u64(anchor.batch.0);
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn count(&mut self, n: usize) {
        self.0.extend_from_slice(&u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(flag.into());
    }

    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }
}

/// Takes from the front; `None` when the bytes end or mean nothing. Allocates no more than there
/// are bytes.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    /// What `read` makes of all the bytes.
    fn all<T>(mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        read(&mut self).filter(|_| self.0.is_empty())
    }

    fn meta(&mut self) -> Option<Meta> {
        Some(Meta {
            group: self.text()?,
            node: self.u64()?,
            incarnation: self.u64()?,
            segment_bytes: self.u64()?,
            index_bytes: self.u64()?,
            unsynced_max: self.u64()?,
            term: self.u64()?,
            vote: self.u64()?,
            begin: self.anchor()?,
            durable: self.anchor()?,
            committed: self.anchor()?,
            control_end: self.u64()?,
            dledger_end: Mark { index: Index(self.u64()?), pos: self.u64()? },
            cut: {
                let cut = self.flag()?;
                let anchor = self.anchor()?;
                cut.then_some(anchor)
            },
            members: self.members()?,
        })
    }

    fn members(&mut self) -> Option<MemberSet> {
        let raft_index = RaftIndex(self.u64()?);
        let mut members = Vec::new();
        for _ in 0..self.u16()? {
            let (id, incarnation) = (self.u64()?, self.u64()?);
            members.push(Member { id, incarnation, address: self.text()? });
        }
        Some(MemberSet {
            raft_index,
            members,
            voters: self.ids()?,
            voters_outgoing: self.ids()?,
            learners: self.ids()?,
            learners_next: self.ids()?,
            auto_leave: self.flag()?,
        })
    }

    fn ids(&mut self) -> Option<Vec<u64>> {
        let count = self.u16()?;
        let mut ids = In(self.take(usize::from(count) * 8)?);
        (0..count).map(|_| ids.u64()).collect()
    }

    fn anchor(&mut self) -> Option<Anchor> {
        Some(Anchor {
            index: Index(self.u64()?),
            pos: self.u64()?,
            raft_index: RaftIndex(self.u64()?),
            term: self.u64()?,
            chain: self.u32()?,
            batch: RaftIndex(self.u64()?),
        })
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).ok().map(str::to_owned)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

const NAME: &str = "meta";
const NAME_NEW: &str = "meta.new";
const MAGIC: [u8; 8] = *b"DLEDMETA";
const VERSION: u32 = 1;
const BLOCK: usize = 4096;
const COPIES: [u64; 2] = [0, BLOCK as u64];
const FILE: u64 = 2 * BLOCK as u64;
/// Magic, version, payload length, sequence.
const HEADER: usize = 8 + 4 + 4 + 8;
/// The block's last bytes.
const CRC: usize = 4;
const PAYLOAD_MAX: usize = BLOCK - HEADER - CRC;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commitlog::crash::CrashDisk;

    fn anchors() -> impl Strategy<Value = Anchor> {
        any::<(u64, u64, u64, u64, u32, u64)>().prop_map(
            |(index, pos, raft, term, chain, batch)| Anchor {
                index: Index(index),
                pos,
                raft_index: RaftIndex(raft),
                term,
                chain,
                batch: RaftIndex(batch),
            },
        )
    }

    fn member_sets() -> impl Strategy<Value = MemberSet> {
        let members = prop::collection::vec(any::<(u64, u64, String)>(), 0..8);
        let ids = prop::collection::vec(any::<[u64; 4]>(), 0..8);
        (any::<u64>(), members, ids, any::<bool>()).prop_map(|(at, members, ids, auto_leave)| {
            let column = |n: usize| ids.iter().map(|row| row[n]).skip(n).collect();
            MemberSet {
                raft_index: RaftIndex(at),
                members: members
                    .into_iter()
                    .map(|(id, incarnation, address)| Member { id, incarnation, address })
                    .collect(),
                voters: column(0),
                voters_outgoing: column(1),
                learners: column(2),
                learners_next: column(3),
                auto_leave,
            }
        })
    }

    fn metas() -> impl Strategy<Value = Meta> {
        let anchors = (anchors(), anchors(), anchors(), prop::option::of(anchors()));
        let numbers = any::<[u64; 10]>();
        ("\\PC{0,40}", numbers, anchors, member_sets()).prop_map(|(group, n, a, members)| Meta {
            group,
            node: n[0],
            incarnation: n[1],
            segment_bytes: n[2],
            index_bytes: n[3],
            unsynced_max: n[4],
            term: n[5],
            vote: n[6],
            begin: a.0,
            durable: a.1,
            committed: a.2,
            control_end: n[7],
            dledger_end: Mark { index: Index(n[8]), pos: n[9] },
            cut: a.3,
            members,
        })
    }

    fn meta(term: u64) -> Meta {
        let member = Member { id: 1, incarnation: 7, address: "a:1".into() };
        let members = MemberSet { members: vec![member], voters: vec![1], ..Default::default() };
        Meta { group: "g".into(), node: 1, term, vote: 1, members, ..Default::default() }
    }

    fn open(disk: &CrashDisk) -> Result<Option<Meta>> {
        Ok(MetaStore::open(disk)?.map(|(_, meta)| meta))
    }

    fn what(error: Result<Option<Meta>>) -> String {
        error.unwrap_err().to_string()
    }

    proptest! {
        /// What is stored comes back, whatever it is (P4).
        #[test]
        fn round_trip(metas in prop::collection::vec(metas(), 1..4)) {
            let disk = CrashDisk::default();
            let mut store = MetaStore::create(&disk, &metas[0]).unwrap();
            for meta in &metas {
                store.store(meta).unwrap();
                prop_assert_eq!(MetaStore::read(&disk).unwrap(), Some(meta.clone()));
            }
            prop_assert_eq!(open(&disk).unwrap(), metas.last().cloned());
        }

        /// Arbitrary bytes on disk are an error, never a panic (P19).
        #[test]
        fn arbitrary_payloads(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Out(MAGIC.to_vec());
            out.u32(VERSION);
            out.u32(payload.len() as u32);
            out.u64(1);
            out.0.extend_from_slice(&payload);
            decode(&out.0);
            out.0.resize(BLOCK - CRC, 0);
            out.u32(crc32fast::hash(&out.0));
            decode(&out.0);
            decode(&payload);
        }

        /// A payload that differs from a real one in a few bytes is an error or another state,
        /// never a panic, even if its checksum is right.
        #[test]
        fn mutated_payloads(
            meta in metas(),
            hits in prop::collection::vec((0..BLOCK - CRC, any::<u8>()), 1..4),
        ) {
            let mut block = encode(&meta, 1).unwrap();
            for (at, byte) in hits {
                block[at] = byte;
            }
            let crc = crc32fast::hash(&block[..BLOCK - CRC]);
            block[BLOCK - CRC..].copy_from_slice(&crc.to_be_bytes());
            decode(&block);
        }
    }

    /// Any single changed byte of a block is noticed (P5), and the other copy serves; once opened,
    /// the block is whole again, so the other may rot next.
    #[test]
    fn bit_rot() {
        let intact = CrashDisk::default();
        MetaStore::create(&intact, &meta(5)).unwrap();
        for at in 0..BLOCK as u64 {
            for copy in COPIES {
                let disk = intact.killed();
                disk.flip(NAME, copy + at, 1 << (at % 8));
                assert_eq!(open(&disk).unwrap(), Some(meta(5)), "byte {at} of copy {copy}");
                disk.flip(NAME, BLOCK as u64 - copy + at, 1);
                assert_eq!(open(&disk).unwrap(), Some(meta(5)), "then of the other");
            }
        }
        let disk = intact.killed();
        disk.flip(NAME, 100, 1);
        disk.flip(NAME, BLOCK as u64 + 100, 1);
        assert!(what(open(&disk)).contains("neither copy is intact"));
    }

    /// Power cut at every step of a store leaves the state before or the new one, and the new one
    /// once the store has returned (P4). The same for each step of the open after it (P17), and
    /// bit rot of either block does not matter after that.
    #[test]
    fn power_cut_in_store() {
        let mut random = fastrand::Rng::with_seed(4);
        for round in 0..400 {
            let disk = CrashDisk::default();
            let mut store = MetaStore::create(&disk, &meta(1)).unwrap();
            store.store(&meta(2)).unwrap();
            disk.stop_after(round % 5);
            let stored = store.store(&meta(3)).is_ok();
            if !stored {
                assert_eq!(store.store(&meta(4)).unwrap_err().status(), Status::Failed);
            }
            let disk = disk.power_cut(&mut random);
            let first = MetaStore::read(&disk).unwrap().unwrap();
            assert!(first == meta(3) || (first == meta(2) && !stored), "{first:?}");
            disk.stop_after(random.usize(..4));
            let _ = open(&disk);
            let disk = disk.power_cut(&mut random);
            let second = open(&disk).unwrap().unwrap();
            assert_eq!(second, first);
            disk.flip(NAME, random.u64(..FILE), 0x10);
            assert_eq!(open(&disk).unwrap(), Some(second));
        }
    }

    /// A state read after a kill is on both copies, durable, before it is believed: no power cut
    /// and no rot takes it back (P4, scenario 4).
    #[test]
    fn what_was_opened_stays() {
        let mut random = fastrand::Rng::with_seed(5);
        for round in 0..100 {
            let disk = CrashDisk::default();
            let mut store = MetaStore::create(&disk, &meta(1)).unwrap();
            disk.stop_after(round % 5);
            let _ = store.store(&meta(2));
            let disk = disk.killed();
            let believed = open(&disk).unwrap();
            let disk = disk.power_cut(&mut random);
            disk.flip(NAME, random.u64(..FILE), 1);
            assert_eq!(open(&disk).unwrap(), believed);
        }
    }

    /// Power cut while the first file is made leaves no half file under its name (scenario 19).
    #[test]
    fn power_cut_in_create() {
        let mut random = fastrand::Rng::with_seed(6);
        for round in 0..200 {
            let disk = CrashDisk::default();
            disk.stop_after(round % 8);
            let made = MetaStore::create(&disk, &meta(1)).is_ok();
            let disk = disk.power_cut(&mut random);
            match open(&disk).unwrap() {
                Some(found) => assert_eq!(found, meta(1)),
                None => {
                    assert!(!made);
                    MetaStore::create(&disk, &meta(2)).unwrap();
                    assert_eq!(open(&disk).unwrap(), Some(meta(2)));
                }
            }
        }
    }

    /// No room for the file is an error, and leaves none; a store needs none (P8).
    #[test]
    fn disk_full() {
        let disk = CrashDisk::default();
        disk.room(FILE - 1);
        let refused = MetaStore::create(&disk, &meta(1)).err().map(|e| e.status());
        assert_eq!(refused, Some(Status::DiskFull));
        assert!(open(&disk).unwrap().is_none());
        disk.room(FILE);
        MetaStore::create(&disk, &meta(1)).unwrap().store(&meta(2)).unwrap();
    }

    /// Files of a newer format are refused, untouched, with both versions named (P19).
    #[test]
    fn newer_version() {
        let disk = CrashDisk::default();
        MetaStore::create(&disk, &meta(1)).unwrap();
        let mut block = encode(&meta(9), 9).unwrap();
        block[11] = 2;
        let crc = crc32fast::hash(&block[..BLOCK - CRC]);
        block[BLOCK - CRC..].copy_from_slice(&crc.to_be_bytes());
        disk.open(NAME).unwrap().write_at(&block, 0).unwrap();
        let (before, steps) = (disk.get(NAME, FILE as usize), disk.steps());
        let error = open(&disk).unwrap_err();
        assert_eq!(error.status(), Status::Version);
        assert!(error.to_string().contains("version 2"), "{error}");
        assert!(error.to_string().contains("up to 1"), "{error}");
        assert_eq!((disk.get(NAME, FILE as usize), disk.steps()), (before, steps));
        // No copy that we could check, but one that says what it is.
        disk.flip(NAME, 50, 1);
        disk.flip(NAME, 4096 + 50, 1);
        assert_eq!(open(&disk).unwrap_err().status(), Status::Version);
    }

    /// An empty or short file is named as what it is (scenario 19); two states of one number too.
    #[test]
    fn not_a_meta_file() {
        for len in [0, 1, 4096, 8191] {
            let disk = CrashDisk::default();
            disk.put(NAME, &[], len);
            assert!(what(open(&disk)).contains("must have 8192"));
            let refused = MetaStore::create(&disk, &meta(1)).err().map(|e| e.status());
            assert_eq!(refused, Some(Status::Invalid), "an existing file is not replaced");
        }
        let disk = CrashDisk::default();
        assert!(open(&disk).unwrap().is_none());
        let mut both = encode(&meta(1), 1).unwrap();
        both.extend(encode(&meta(2), 1).unwrap());
        disk.put(NAME, &both, FILE);
        assert!(what(open(&disk)).contains("the two copies differ"));
    }

    /// More members than a block takes are refused before anything is written, and the store goes
    /// on.
    #[test]
    fn too_many_members() {
        let disk = CrashDisk::default();
        let mut store = MetaStore::create(&disk, &meta(1)).unwrap();
        for many in [300, 70_000] {
            let member = Member { id: 1, incarnation: 1, address: "somewhere:20911".into() };
            let mut big = meta(2);
            big.members.members = vec![member; many];
            let error = store.store(&big).unwrap_err();
            assert_eq!(error.status(), Status::Invalid);
            assert!(error.to_string().contains("4068 are allowed"), "{error}");
        }
        store.store(&meta(3)).unwrap();
        assert_eq!(open(&disk).unwrap(), Some(meta(3)));
    }
}
