use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;

fn anchors() -> impl Strategy<Value = Anchor> {
    any::<(u64, u64, u64, u64, u32, u64)>().prop_map(|(index, pos, raft, term, chain, batch)| {
        Anchor {
            index: Index(index),
            pos,
            raft_index: RaftIndex(raft),
            term,
            chain,
            batch: RaftIndex(batch),
        }
    })
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

fn open(disk: &MemoryDisk) -> Result<Option<Meta>> {
    Ok(MetaStore::open(disk)?.map(|(_, meta)| meta))
}

fn power_cut(disk: &MemoryDisk, random: &mut fastrand::Rng) -> MemoryDisk {
    disk.crash(&mut |n| random.u64(..n))
}

fn bytes(disk: &MemoryDisk) -> Vec<u8> {
    disk.read_file(NAME).unwrap()
}

fn what(error: Result<Option<Meta>>) -> String {
    error.unwrap_err().to_string()
}

proptest! {
    /// What is stored comes back, whatever it is (P4).
    #[test]
    fn round_trip(metas in prop::collection::vec(metas(), 1..4)) {
        let disk = MemoryDisk::new();
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
    let disk = MemoryDisk::new();
    MetaStore::create(&disk, &meta(5)).unwrap();
    let intact = bytes(&disk);
    for at in 0..BLOCK as u64 {
        for copy in COPIES {
            disk.write_file(NAME, &intact);
            disk.flip(NAME, copy + at, 1 << (at % 8));
            assert_eq!(open(&disk).unwrap(), Some(meta(5)), "byte {at} of copy {copy}");
            disk.flip(NAME, BLOCK as u64 - copy + at, 1);
            assert_eq!(open(&disk).unwrap(), Some(meta(5)), "then of the other");
        }
    }
    disk.flip(NAME, 100, 1);
    disk.flip(NAME, BLOCK as u64 + 100, 1);
    assert!(what(open(&disk)).contains("neither copy is intact"));
}

/// A sector that cannot be read is what the other copy is for; the open writes it anew.
#[test]
fn unreadable_sector() {
    for at in [0, 600, BLOCK as u64, FILE - 1] {
        let disk = MemoryDisk::new();
        MetaStore::create(&disk, &meta(5)).unwrap();
        disk.fail_read(NAME, at);
        assert_eq!(open(&disk).unwrap(), Some(meta(5)));
        disk.fail_read(NAME, FILE - 1 - at);
        assert_eq!(open(&disk).unwrap(), Some(meta(5)));
        disk.fail_read(NAME, 0);
        disk.fail_read(NAME, BLOCK as u64);
        assert_eq!(open(&disk).unwrap_err().status(), Status::Io);
    }
}

/// Power cut at every step of a store leaves the state before or the new one, and the new one
/// once the store has returned (P4). The same for each step of the open after it (P17), and
/// bit rot of either block does not matter after that.
#[test]
fn power_cut_in_store() {
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..400 {
        let disk = MemoryDisk::new();
        let mut store = MetaStore::create(&disk, &meta(1)).unwrap();
        store.store(&meta(2)).unwrap();
        disk.fail_after_ops(round % 5);
        let stored = store.store(&meta(3)).is_ok();
        if !stored {
            assert_eq!(store.store(&meta(4)).unwrap_err().status(), Status::Failed);
        }
        let disk = power_cut(&disk, &mut random);
        let first = MetaStore::read(&disk).unwrap().unwrap();
        assert!(first == meta(3) || (first == meta(2) && !stored), "{first:?}");
        disk.fail_after_ops(random.u64(..6));
        let _ = open(&disk);
        let disk = power_cut(&disk, &mut random);
        let second = open(&disk).unwrap().unwrap();
        assert_eq!(second, first);
        disk.flip(NAME, random.u64(..FILE), 0x10);
        assert_eq!(open(&disk).unwrap(), Some(second));
    }
}

/// A state read after a kill or a failed sync is on both copies, durable, before it is
/// believed: no power cut within the next store takes it back (P4, P7, scenario 4).
#[test]
fn what_was_opened_stays() {
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..400 {
        let disk = MemoryDisk::new();
        let mut store = MetaStore::create(&disk, &meta(1)).unwrap();
        if round % 2 == 0 {
            disk.fail_after_ops(random.u64(..5));
        } else {
            disk.fail_sync(1 + random.u64(..2));
        }
        let failed = store.store(&meta(2)).is_err();
        let again = store.store(&meta(3)).map_err(|e| e.status());
        assert!(!failed || again == Err(Status::Failed));
        let disk = disk.restart();
        let (mut store, believed) = MetaStore::open(&disk).unwrap().unwrap();
        disk.fail_after_ops(random.u64(..6));
        let stored = store.store(&meta(4)).is_ok();
        let disk = power_cut(&disk, &mut random);
        let found = open(&disk).unwrap().unwrap();
        assert!(found == meta(4) || (found == believed && !stored), "{found:?}");
        disk.flip(NAME, random.u64(..FILE), 1);
        assert_eq!(open(&disk).unwrap(), Some(found));
    }
}

/// A file whose name was not durable when its maker was killed is there for good once opened.
#[test]
fn name_stays() {
    let disk = MemoryDisk::new();
    disk.fail_after_ops(7);
    assert!(MetaStore::create(&disk, &meta(1)).is_err());
    let disk = disk.restart();
    assert_eq!(open(&disk).unwrap(), Some(meta(1)));
    let disk = disk.crash(&mut |_| 1);
    assert_eq!(open(&disk).unwrap(), Some(meta(1)));
}

/// Power cut while the first file is made leaves no half file under its name (scenario 19).
#[test]
fn power_cut_in_create() {
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..200 {
        let disk = MemoryDisk::new();
        disk.fail_after_ops(round % 9);
        let made = MetaStore::create(&disk, &meta(1)).is_ok();
        let disk = power_cut(&disk, &mut random);
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
    let disk = MemoryDisk::new();
    disk.set_capacity(FILE - 1);
    let refused = MetaStore::create(&disk, &meta(1)).err().map(|e| e.status());
    assert_eq!(refused, Some(Status::DiskFull));
    assert!(open(&disk).unwrap().is_none());
    disk.set_capacity(FILE);
    MetaStore::create(&disk, &meta(1)).unwrap().store(&meta(2)).unwrap();
}

/// Files of a newer format are refused, untouched, with both versions named (P19).
#[test]
fn newer_version() {
    let disk = MemoryDisk::new();
    MetaStore::create(&disk, &meta(1)).unwrap();
    let mut block = encode(&meta(9), 9).unwrap();
    block[11] = 2;
    let crc = crc32fast::hash(&block[..BLOCK - CRC]);
    block[BLOCK - CRC..].copy_from_slice(&crc.to_be_bytes());
    disk.open(NAME).unwrap().write_at(&block, 0).unwrap();
    let (before, steps) = (bytes(&disk), disk.ops());
    let error = open(&disk).unwrap_err();
    assert_eq!(error.status(), Status::Version);
    assert!(error.to_string().contains("version 2"), "{error}");
    assert!(error.to_string().contains("up to 1"), "{error}");
    assert_eq!((bytes(&disk), disk.ops()), (before, steps));
    // No copy that we could check, but one that says what it is.
    disk.flip(NAME, 50, 1);
    disk.flip(NAME, 4096 + 50, 1);
    assert_eq!(open(&disk).unwrap_err().status(), Status::Version);
}

/// An empty or short file is named as what it is (scenario 19); two states of one number too.
#[test]
fn not_a_meta_file() {
    for len in [0, 1, 4096, 8191] {
        let disk = MemoryDisk::new();
        disk.write_file(NAME, &vec![0; len]);
        assert!(what(open(&disk)).contains("must have 8192"));
        let refused = MetaStore::create(&disk, &meta(1)).err().map(|e| e.status());
        assert_eq!(refused, Some(Status::Invalid), "an existing file is not replaced");
    }
    let disk = MemoryDisk::new();
    assert!(open(&disk).unwrap().is_none());
    let mut both = encode(&meta(1), 1).unwrap();
    both.extend(encode(&meta(2), 1).unwrap());
    disk.write_file(NAME, &both);
    assert!(what(open(&disk)).contains("the two copies differ"));
}

/// More members than a block takes are refused before anything is written, and the store goes
/// on.
#[test]
fn too_many_members() {
    let disk = MemoryDisk::new();
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
