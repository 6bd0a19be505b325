//! The file `meta`: who this member is, its term and vote, the bounds of its log, its member set.
//! Two copies of one state, each in its own 4 KiB block with a sequence number and a CRC-32.
//!
//! Between two calls both copies hold the same state, durable. A store writes one and syncs it,
//! then the other: a torn write spoils one copy while the other is intact, with the state before
//! (first write) or the new one (second). So a valid copy is never older than the last completed
//! store, and the newest valid one is the state. An open trusts no page cache: it writes what it
//! read over the copy it read it from, which changes nothing or makes it durable, and then over the
//! other. So after an open, too, either block may tear or rot. All of it is allocated at creation:
//! a full disk never stops a vote.

mod layout;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::{Error, Result, Status};
use crate::types::{Anchor, Index, Mark, RaftIndex};
pub(crate) use layout::{In, Out};

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

/// The open file. After a failed write or sync it stores nothing more; but a full disk that refuses
/// the first copy leaves the other one as it was, and more may be tried.
pub struct MetaStore {
    file: Arc<dyn File>,
    sequence: u64,
    failed: bool,
}

impl Meta {
    /// Whether another member set fits in the block.
    pub fn has_room_for(&self, members: &MemberSet) -> bool {
        let mut payload = Out(Vec::new());
        payload.meta(&Meta { members: members.clone(), ..self.clone() });
        payload.0.len() <= PAYLOAD_MAX
    }
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
        // Not in use yet: if this fails nothing is lost.
        file.sync().map_err(|e| Error::io("sync meta.new", e))?;
        disk.rename(NAME_NEW, NAME).map_err(|e| Error::io("rename meta.new", e))?;
        disk.sync_dir("").map_err(|e| Error::sync("sync the directory", e))?;
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
        // A process that was killed, or a sync that failed, may have left it in the page cache
        // only, where a sync alone may no longer find it. The same bytes over the newest copy tear
        // nothing; the other one is written when that is safe.
        for held in [true, false] {
            for (at, _) in COPIES.iter().zip(newest.held).filter(|(_, is)| *is == held) {
                write_copy(&*file, &newest.block, *at)?;
            }
        }
        disk.sync_dir("").map_err(|e| Error::sync("sync the directory", e))?;
        let store = MetaStore { file, sequence: newest.sequence, failed: false };
        Ok(Some((store, newest.meta)))
    }

    /// Makes `meta` the state. Only when it has returned may others learn of it. `Invalid` if it
    /// takes more than a block, and then nothing was written. `DiskFull`: the state is as it was,
    /// unless more stores answer `Failed`.
    pub fn store(&mut self, meta: &Meta) -> Result<()> {
        if self.failed {
            return Err(Status::Failed.into());
        }
        let block = encode(meta, self.sequence + 1)?;
        self.failed = true;
        for at in COPIES {
            let written = self.file.write_at(&block, at).map_err(|e| Error::io("write meta", e));
            // The first copy is newer than none: what is torn of it costs nothing.
            self.failed = at != COPIES[0] || !matches!(written, Err(Error::DiskFull { .. }));
            written?;
            self.file.sync().map_err(|e| Error::sync("sync meta", e))?;
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
    file.sync().map_err(|e| Error::sync("sync meta", e))
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

impl Out {
    fn meta(&mut self, meta: &Meta) {
        self.text(&meta.group);
        self.numbers(&[
            meta.node,
            meta.incarnation,
            meta.segment_bytes,
            meta.index_bytes,
            meta.unsynced_max,
            meta.term,
            meta.vote,
        ]);
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
}

impl In<'_> {
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
/// More bytes no member set takes that fits in `meta`.
pub(crate) const SET_MAX: usize = PAYLOAD_MAX;
