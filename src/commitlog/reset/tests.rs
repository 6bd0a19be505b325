//! A reset through power cuts: the old log or the new begin, never a mix.

use std::sync::Arc;

use crate::commitlog::control::{ControlEntry, ControlKind};
use crate::commitlog::meta::{Member, MemberSet};
use crate::commitlog::record::{self, HEADER, Header, MAGIC};
use crate::commitlog::work::Work;
use crate::commitlog::{Batch, Birth, CommitLog, LogEntry};
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::error::Result;
use crate::plant::Plants;
use crate::types::{Anchor, Index, RaftIndex};

pub(in crate::commitlog) const SEGMENT: u64 = 4096;

fn set(voters: &[u64]) -> MemberSet {
    let member = |id: &u64| Member { id: *id, incarnation: *id, address: "host:1".into() };
    let members = voters.iter().map(member).collect();
    MemberSet { members, voters: voters.to_vec(), ..MemberSet::default() }
}

pub(in crate::commitlog) fn open(disk: &MemoryDisk) -> CommitLog {
    try_open(disk).unwrap()
}

fn try_open(disk: &MemoryDisk) -> Result<CommitLog> {
    try_open_with(disk, SEGMENT)
}

/// With segments of so many bytes.
pub(in crate::commitlog) fn try_open_with(
    disk: &MemoryDisk,
    segment_bytes: u64,
) -> Result<CommitLog> {
    let birth = Birth {
        group: "g".into(),
        node: 1,
        incarnation: 1,
        segment_bytes,
        index_bytes: 4096,
        begin_pos: 0,
        unsynced_max: 64 << 10,
        members: set(&[1, 2]),
        clamp_missing_tail: false,
        disk_full_ppm: 1_000_000,
        plants: Plants::NONE,
    };
    CommitLog::open(Arc::new(disk.clone()), &birth)
}

pub(in crate::commitlog) fn append(log: &mut CommitLog, rounds: usize) {
    for n in 0..rounds {
        let end = log.end();
        let raft_index = end.raft_index + 1;
        if n % 3 == 0 {
            let kind = if n == 0 { ControlKind::NoOp } else { ControlKind::Membership };
            let content = vec![0; n];
            let control = ControlEntry { raft_index, term: end.term + 1, kind, content };
            log.write(&[], &[LogEntry::Control(control)]).unwrap();
            continue;
        }
        let body = vec![n as u8; 500];
        let pos = record::place(end.pos, (HEADER + body.len()) as u64, SEGMENT);
        let header = Header {
            magic: MAGIC,
            size: (HEADER + body.len()) as u32,
            index: end.index,
            term: end.term,
            pos,
            body_len: body.len() as u32,
            ..Header::default()
        };
        let mut buf = [&header.encode()[..], &body].concat();
        let (chain, _) = record::seal(&mut buf, raft_index - end.batch - 1, end.chain);
        let (term, first, bytes) = (end.term, end.index, 0..buf.len());
        let batch = Batch { raft_index, term, count: 1, first, pos, chain, bytes };
        log.write(&buf, &[LogEntry::Batch(batch)]).unwrap();
        log.sync().unwrap();
    }
}

fn begin() -> Anchor {
    let (index, pos) = (Index(1000), 50 * SEGMENT);
    let raft_index = RaftIndex(700);
    Anchor { index, pos, raft_index, term: 40, chain: 0xfeed, batch: raft_index }
}

/// In the files that the old log has, where it has other Raft entries: a tail that nobody agreed on.
fn near() -> Anchor {
    let raft_index = RaftIndex(20);
    Anchor { index: Index(10), pos: SEGMENT, raft_index, batch: raft_index, ..begin() }
}

fn all(log: &CommitLog) -> Vec<(Anchor, u64)> {
    let from = log.begin().raft_index.0;
    let at = (from..=log.end().raft_index.0).map(RaftIndex);
    at.map(|i| (log.anchor(i).unwrap(), log.term(i).unwrap())).collect()
}

fn old() -> MemoryDisk {
    let disk = MemoryDisk::new();
    append(&mut open(&disk), 30);
    disk.restart()
}

fn members() -> MemberSet {
    MemberSet { raft_index: RaftIndex(710), ..set(&[1, 2, 3]) }
}

/// No unit of the old log is left where the new one may have some.
fn no_stale_unit(disk: &MemoryDisk, begin: Anchor, what: &str) {
    for (dir, slot) in [("index/", begin.index.0), ("batches/", begin.raft_index.0)] {
        for path in disk.paths().iter().filter(|path| path.starts_with(dir)) {
            let first: u64 = path[dir.len()..].parse().unwrap();
            let from = (slot * 32).saturating_sub(first) as usize;
            let bytes = disk.read_file(path).unwrap();
            assert!(bytes.iter().skip(from).all(|b| *b == 0), "{what}: {path}");
        }
    }
}

/// It begins at the anchor, takes what follows there, and is the same after a reopen.
#[test]
fn a_log_begins_anew() {
    let disk = old();
    let mut log = open(&disk);
    log.reset(begin(), members()).unwrap();
    let here = [log.begin(), log.end(), log.flushed(), log.meta().committed, log.meta().durable];
    assert_eq!(here, [begin(); 5]);
    assert_eq!((log.meta().cut, &log.meta().members), (None, &members()));
    no_stale_unit(&disk, begin(), "reset");
    append(&mut log, 20);
    let expected = all(&log);
    drop(log);
    let log = open(&disk.restart());
    assert_eq!(all(&log), expected);
    assert_eq!((log.begin(), &log.meta().members), (begin(), &members()));
}

/// The power is cut at each write of a reset, and once more in the recovery from that.
#[test]
fn a_cut_leaves_the_old_log_or_the_new_begin() {
    cut_at_each_write(begin());
}

/// The same where the files of the new begin are those of the old log: no unit of it comes back.
#[test]
fn a_cut_leaves_no_unit_of_the_old_log() {
    cut_at_each_write(near());
}

fn cut_at_each_write(begin: Anchor) {
    let image = all(&open(&old()));
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut olds, mut news) = (0, 0);
    for point in 0.. {
        let disk = old();
        let mut log = open(&disk);
        disk.fail_after_ops(point);
        let done = log.reset(begin, members()).is_ok();
        drop(log);
        for nested in 0..6 {
            let mut after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            if nested >= 3 {
                after.fail_after_ops(point % 17 + 3 * nested);
                let _ = try_open(&after);
                after = after.crash(&mut |n| rng.u64(..n.max(1)));
            }
            let what = format!("cut at {point}, {nested}");
            let mut log = open(&after);
            if log.begin() == begin {
                news += 1;
                assert_eq!((log.end(), &log.meta().members), (begin, &members()), "{what}");
                assert_eq!(log.meta().committed, begin, "{what}");
                no_stale_unit(&after, begin, &what);
            } else {
                olds += 1;
                assert!(!done, "{what}");
                assert_eq!(all(&log), image, "{what}");
                assert_eq!(log.meta().members, set(&[1, 2]), "{what}");
            }
            append(&mut log, 4);
            let expected = all(&log);
            drop(log);
            assert_eq!(all(&open(&after.restart())), expected, "{what}");
        }
        if done {
            break;
        }
    }
    assert!(olds > 0 && news > 60, "{olds} old, {news} new");
}

/// An allocation goes on in a file that the reset removed meanwhile, and where the new log needs
/// one as well: it counts for nothing, or the new log's units would go where no open finds them.
#[test]
fn units_for_the_old_log_are_not_taken() {
    let disk = no_room_for_units();
    let mut log = open(&disk);
    disk.set_capacity(1 << 40);
    let work = log.wanted(1_000_000);
    assert_eq!(work.iter().filter(|work| is_of_units(work)).count(), 2);
    log.reset(near(), members()).unwrap();
    for work in work {
        let done = work.run(&disk);
        log.allocated(done).unwrap();
    }
    log.allocate_now(1_000_000).unwrap();
    append(&mut log, 20);
    let last = (log.end().index.0 - 1, log.end().raft_index.0 - 1);
    for (dir, slot) in [("index", last.0), ("batches", last.1)] {
        let bytes = disk.read_file(&format!("{dir}/{:020}", 0)).unwrap();
        assert!(bytes[slot as usize * 32..][..32] != [0; 32], "{dir}: the last unit");
    }
    let expected = all(&log);
    drop(log);
    assert_eq!(all(&open(&disk.restart())), expected);
}

fn is_of_units(work: &Work) -> bool {
    matches!(work, Work::Index(_) | Work::Batches(_))
}

/// An empty log whose files of units are there, without blocks: the disk was full at its birth.
fn no_room_for_units() -> MemoryDisk {
    let born = |pages: u64| {
        let disk = MemoryDisk::new();
        for dir in ["index", "batches"] {
            disk.create_dir(dir).unwrap();
            disk.create(&format!("{dir}/{:020}", 0), 4096).unwrap();
        }
        disk.set_capacity(pages * 4096);
        try_open(&disk).is_ok().then(|| disk.restart())
    };
    (1..).find_map(born).unwrap()
}
