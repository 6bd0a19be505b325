//! Damage of every kind in a batch is found, and another member's bytes make it whole.

use crate::commitlog::CommitLog;
use crate::commitlog::index::UNIT;
use crate::commitlog::repair::Repaired;
use crate::commitlog::reset::tests::{SEGMENT, append, open};
use crate::commitlog::segment::path;
use crate::disk::memory::MemoryDisk;
use crate::types::{Index, RaftIndex};

/// A log of several segments, with control entries in between.
fn log() -> (MemoryDisk, CommitLog) {
    let disk = MemoryDisk::new();
    let mut log = open(&disk);
    append(&mut log, 30);
    (disk, log)
}

fn bytes(log: &CommitLog, raft_index: RaftIndex) -> Vec<u8> {
    let (pos, len) = log.look_at(raft_index).unwrap().0;
    log.reader().slice(pos, len).unwrap().as_ref().to_vec()
}

fn flip(disk: &MemoryDisk, pos: u64) {
    assert!(disk.flip(&path(pos - pos % SEGMENT), pos % SEGMENT, 0x10));
}

/// Records, with the batch that has each.
fn batches(log: &CommitLog) -> Vec<(Index, RaftIndex)> {
    let batch = |n| (Index(n), log.batch_of(Index(n)).unwrap());
    (0..log.end().index.0).map(batch).collect()
}

#[test]
fn behaviour_37_each_flipped_byte_is_found_and_written_again() {
    let (disk, mut log) = log();
    let (other_disk, other) = super::tests::log();
    assert!(batches(&log).len() == 20 && other.end().pos > 2 * SEGMENT);
    for (index, raft_index) in batches(&log) {
        let (pos, len) = log.look_at(raft_index).unwrap().0;
        for at in (0..48).chain([48, 300, u64::from(len) - 1]) {
            flip(&disk, pos + at);
            assert!(!log.is_intact(raft_index), "byte {at} of record {index}");
            assert_eq!(
                log.repair(raft_index, &bytes(&other, raft_index)).unwrap(),
                Repaired::Whole
            );
            assert!(log.is_intact(raft_index));
        }
    }
    for name in disk.paths().iter().filter(|name| name.starts_with("data/")) {
        assert_eq!(disk.read_file(name), other_disk.read_file(name), "{name}");
    }
}

/// P5: what is not the batch is never written, wherever it comes from.
#[test]
fn other_bytes_are_refused() {
    let (disk, mut log) = log();
    let other = super::tests::log().1;
    let (index, raft_index) = batches(&log)[7];
    let (pos, _) = log.look_at(raft_index).unwrap().0;
    flip(&disk, pos + 60);
    let damaged = disk.read_file(&path(pos - pos % SEGMENT));
    let good = bytes(&other, raft_index);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let mut wrong: Vec<Vec<u8>> = (48..good.len()).map(flipped).collect();
    wrong.extend([vec![], good[..good.len() - 1].to_vec()]);
    wrong.push(bytes(&other, batches(&log)[8].1));
    wrong.push(bytes(&other, batches(&log)[6].1));
    for bytes in wrong {
        assert_eq!(log.repair(raft_index, &bytes).unwrap(), Repaired::Nothing, "record {index}");
    }
    assert_eq!(disk.read_file(&path(pos - pos % SEGMENT)), damaged);
    assert!(!log.is_intact(raft_index));
    // A header that is damaged elsewhere does no harm where this one is intact.
    for at in 0..48 {
        assert_eq!(log.repair(raft_index, &flipped(at)).unwrap(), Repaired::Whole, "byte {at}");
        assert_eq!(bytes(&log, raft_index), good);
        flip(&disk, pos + 60);
    }
}

#[test]
fn a_lost_sector_and_a_lost_unit_are_damage() {
    let (disk, mut log) = log();
    let other = super::tests::log().1;
    let (index, raft_index) = batches(&log)[9];
    let (pos, _) = log.look_at(raft_index).unwrap().0;
    assert!(disk.fail_read(&path(pos - pos % SEGMENT), pos % SEGMENT + 100));
    assert!(!log.is_intact(raft_index));
    assert_eq!(log.repair(raft_index, &bytes(&other, raft_index)).unwrap(), Repaired::Whole);
    assert!(log.is_intact(raft_index));
    let unit = "index/00000000000000000000";
    for at in index.0 * UNIT..(index.0 + 1) * UNIT {
        assert!(disk.flip(unit, at, 0xff));
    }
    assert!(!log.is_intact(raft_index));
    // The batch behind it does not suffer from it.
    assert!(log.is_intact(batches(&log)[10].1));
    assert_eq!(log.repair(raft_index, &bytes(&other, raft_index)).unwrap(), Repaired::Whole);
    assert!(log.is_intact(raft_index));
    assert_eq!(disk.read_file(unit).unwrap()[..640], {
        let (disk, _log) = super::tests::log();
        disk.read_file(unit).unwrap()[..640].to_vec()
    });
}

#[test]
fn control_entries_and_what_is_not_kept_are_no_batches() {
    let log = log().1;
    assert_eq!(log.batch_of(log.end().index), None);
    let sealed = batches(&log);
    for n in 0..=log.end().raft_index.0 + 1 {
        let raft_index = RaftIndex(n);
        let is_batch = sealed.iter().any(|(_, batch)| *batch == raft_index);
        assert_eq!(log.batch_id(raft_index).is_some(), is_batch, "{n}");
        assert_eq!(log.is_intact(raft_index), is_batch, "{n}");
    }
}
