//! How much lies on no disk: recovery counts on the bound, however the entries come.

use crate::commitlog::record::{self, HEADER, Header, MAGIC};
use crate::commitlog::reset::tests::try_open_with;
use crate::commitlog::write::{AHEAD, SMALL_SYNC};
use crate::commitlog::{Batch, CommitLog, LogEntry, segment};
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::types::Index;

/// Batches of so many records with bodies of `body` bytes, as one buffer.
fn batches(log: &CommitLog, segment: u64, counts: &[u32], body: usize) -> (Vec<u8>, Vec<LogEntry>) {
    let (mut at, mut buf, mut entries) = (log.end(), Vec::new(), Vec::new());
    for count in counts {
        let (size, begin) = (HEADER + body, buf.len());
        let all = size as u64 * u64::from(*count);
        let pos = record::place(at.pos, all, segment);
        for n in 0..u64::from(*count) {
            let header = Header {
                magic: MAGIC,
                size: size as u32,
                index: at.index + n,
                term: at.term,
                pos: pos + n * size as u64,
                body_len: body as u32,
                ..Header::default()
            };
            buf.extend_from_slice(&header.encode());
            buf.resize(buf.len() + body, n as u8);
        }
        let raft_index = at.raft_index + 1;
        let (chain, _) = record::seal(&mut buf[begin..], raft_index - at.batch - 1, at.chain);
        let (term, first, bytes) = (at.term, at.index, begin..buf.len());
        entries.push(LogEntry::Batch(Batch {
            raft_index,
            term,
            count: *count,
            first,
            pos,
            chain,
            bytes,
        }));
        at.index = Index(at.index.0 + u64::from(*count));
        (at.pos, at.raft_index, at.chain, at.batch) = (pos + all, raft_index, chain, raft_index);
    }
    (buf, entries)
}

/// One message of a leader may hold more than `unsynced.max`, and so may one batch: through any cut
/// of the power while it is written or behind it the log opens, with a prefix of it.
#[test]
fn a_cut_never_leaves_a_hole_that_recovery_refuses() {
    const MANY: &[u32] = &[1; 200];
    for (segment, counts, body) in
        [(4096, MANY, 500), (256 << 10, &[270], 500), (256 << 10, &[2, 100, 30], 1000)]
    {
        for seed in 0..200 {
            let what = format!("segments of {segment}, {} batches, seed {seed}", counts.len());
            let mut rng = fastrand::Rng::with_seed(seed);
            let disk = MemoryDisk::new();
            let mut log = try_open_with(&disk, segment).unwrap();
            let (buf, entries) = batches(&log, segment, counts, body);
            let whole = log.end().index.0 + u64::from(counts.iter().sum::<u32>());
            if seed % 2 == 0 {
                disk.fail_after_ops(rng.u64(..40));
            }
            let written = log.write(&buf, &entries);
            assert!(seed % 2 == 0 || written.is_ok(), "{what}: {written:?}");
            let after = disk.crash(&mut |n| rng.u64(..n));
            let log = try_open_with(&after, segment).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(log.end().index.0 <= whole, "{what}: {:?}", log.end());
        }
    }
}

/// Where syncs are small, blocks behind the records are written with zeros, and so the syncs that
/// follow find theirs written; where they are large, not.
#[test]
fn zeros_go_ahead_of_small_syncs_only() {
    const SEGMENT: u64 = 4 << 20;
    let disk = MemoryDisk::new();
    let mut log = try_open_with(&disk, SEGMENT).unwrap();
    let mut append = |records: u32, body: usize| {
        let (buf, entries) = batches(&log, SEGMENT, &[records], body);
        log.write(&buf, &entries).unwrap();
        log.sync().unwrap();
        let written = disk.open(&segment::path(0)).unwrap().next_hole(0).unwrap();
        (log.end().pos, written)
    };
    assert_eq!(append(1, 100), (148, AHEAD), "the first sync");
    let mut end = 0;
    while end < 2 * AHEAD {
        let (now, written) = append(30, 1_000);
        assert_eq!(written, now.next_multiple_of(AHEAD), "behind {now}");
        end = now;
    }
    let large = append(200, 1_000).0 - end;
    assert!(large >= SMALL_SYNC);
    while end < 5 * AHEAD {
        end = append(200, 1_000).0;
    }
    let (end, written) = append(200, 1_000);
    assert_eq!(written, end.next_multiple_of(4096), "nothing but the records");
}
