//! Behaviours, scenarios and cases that a group of one can show and that have no test of their own
//! elsewhere: see `CONFORMANCE.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

#[allow(dead_code)]
#[path = "support/memory.rs"]
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dledger::commitlog::meta::MetaStore;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::driver::Next;
use dledger::group::shared::Control;
use dledger::group::{
    AppendOptions, Completion, Entry, Group, Observer, ReadOptions, State, Token,
};
use dledger::options::Options;
use dledger::types::Index;

use memory::world::{Open, Settings, body};
use memory::{Image, open, same, settings};

type Records = Vec<(Entry, Vec<u8>)>;

fn small() -> Settings {
    settings(4096, 4096)
}

fn append(log: &mut Open, bodies: &[Vec<u8>]) -> Records {
    let taken = |body: &Vec<u8>| (log.append(body, None).unwrap(), body.clone());
    let records = bodies.iter().map(taken).collect();
    log.settle();
    records
}

/// Behaviour 7: a place is told when append returns, also to each body of a batch, and not a byte was
/// written until then; the place is where the bytes then are, also in files that are made later.
#[test]
fn behaviour_07_places_are_told_before_anything_is_on_disk() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk, &small());
    let mut records = append(&mut log, &[vec![9; 700]]);
    let (image, written) = (Image::of(&disk), disk.stats().bytes_written);
    for n in 0..12u8 {
        let body = vec![n; 30];
        records.push((log.append(&body, None).unwrap(), body));
        let bodies = [vec![n; 10], Vec::new(), vec![n; 900]];
        let mut entries = Vec::new();
        let taken = log.shared.append_batch(
            &mut bodies.iter().map(|body| &body[..]),
            &mut bodies.iter().map(|body| body.len()),
            &AppendOptions::default(),
            Token::default(),
            &mut |_, entry| entries.push(entry),
        );
        assert_eq!((taken, entries.len()), (Ok(()), 3), "one place per body");
        records.extend(entries.into_iter().zip(bodies));
    }
    assert!(records.iter().enumerate().all(|(n, (entry, _))| entry.index.0 == n as u64));
    assert_eq!(
        disk.stats().bytes_written,
        written,
        "nothing is written before the places are told"
    );
    image.assert_same(&Image::of(&disk), "no file is made either");
    log.settle();
    for (Entry { index, term, pos, .. }, body) in &records {
        let file = disk.read_file(&format!("data/{:020}", pos - pos % 4096)).unwrap();
        let record = &file[(pos % 4096) as usize..];
        let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().unwrap());
        assert_eq!((number(8), number(16), number(24)), (index.0, *term, *pos));
        assert_eq!(&record[48..48 + body.len()], body, "record {index}");
    }
    assert!(records.last().unwrap().0.pos > 8192, "in several files");
}

/// Behaviour 10: an empty call is refused, and nothing is appended.
#[test]
fn behaviour_10_an_empty_call_is_refused() {
    let log = open(&MemoryDisk::new(), &small());
    let (none, lens): (Vec<&[u8]>, Vec<usize>) = (Vec::new(), Vec::new());
    let result = log.shared.append_batch(
        &mut none.into_iter(),
        &mut lens.into_iter(),
        &AppendOptions::default(),
        Token::default(),
        &mut |_, _| panic!("nothing was appended"),
    );
    assert_eq!(result, Err(Status::Invalid));
    assert_eq!(log.shared.state().end.index, Index(0));
}

/// Behaviour 11, as far as one member goes: before it leads, an append is refused and names the
/// leader, which is nobody; it writes nothing.
#[test]
fn behaviour_11_before_it_leads_an_append_is_refused() {
    let disk = MemoryDisk::new();
    let log = Open::new(&disk, &Arc::new(AtomicU64::new(0)), &small()).unwrap();
    assert_eq!(log.append(b"early", None), Err(Status::NotLeader));
    let state = log.shared.state();
    assert_eq!((state.leader_id, state.ready, state.end.index.0), (0, false, 0));
}

/// Behaviour 17, scenario 5: success means that the record is synced here. Nothing of what a sync
/// did not cover survives the cut that follows each success, and every record does.
#[test]
fn behaviour_17_scenario_05_success_means_synced() {
    let mut disk = MemoryDisk::new();
    let mut records = Vec::new();
    for n in 0..30u8 {
        let mut log = open(&disk, &small());
        let entry = log.append(&[n; 300], None).unwrap();
        records.push((entry, vec![n; 300]));
        while log.told.0.lock().unwrap().completions.is_empty() {
            log.turn();
            log.delivery.run(0);
        }
        let told = log.told.0.lock().unwrap().completions[0];
        assert_eq!((told.status, told.index), (Status::Ok, entry.index));
        assert!(log.shared.state().flushed.index > entry.index);
        drop(log);
        // 1: nothing is kept that was not synced.
        disk = disk.crash(&mut |n| 1 % n.max(1));
        same(&open(&disk, &small()).read_all(), &records, "after the cut");
        disk = disk.restart();
    }
}

/// Scenario 14: success means that the name of the record's file is on disk too. Each record begins
/// a segment of its own, and of what no sync covered nothing survives the cut that follows.
#[test]
fn scenario_14_a_new_segments_name_is_on_disk_when_the_append_ends() {
    let mut disk = MemoryDisk::new();
    let mut records = Vec::new();
    for n in 0..6u8 {
        let mut log = open(&disk, &small());
        let entry = log.append(&[n; 2_900], None).unwrap();
        assert_eq!(entry.pos, u64::from(n) * 4096, "a new segment");
        records.push((entry, vec![n; 2_900]));
        while log.told.0.lock().unwrap().completions.is_empty() {
            log.turn();
            log.delivery.run(0);
        }
        assert_eq!(log.told.0.lock().unwrap().completions[0].status, Status::Ok);
        drop(log);
        // 1: nothing is kept that was not synced, no name and no byte.
        let cut = disk.crash(&mut |n| 1 % n.max(1));
        let path = format!("data/{:020}", entry.pos);
        assert!(cut.paths().contains(&path), "{path} is gone: {:?}", cut.paths());
        same(&open(&cut, &small()).read_all(), &records, "after the cut");
        disk = cut.restart();
    }
}

/// Behaviours 24, 25 and 27: with its no-op a new leader commits to the end of the log, with no
/// client; the no-op takes no record index and nobody is told of it.
#[test]
fn behaviour_24_25_27_a_no_op_commits_what_an_earlier_life_left() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk, &small());
    let mut records = append(&mut log, &[vec![1; 90], vec![2; 90]]);
    drop(log);
    let disk = disk.restart();
    let mut log = open(&disk, &small());
    let state = log.shared.state();
    assert_eq!((state.committed, state.committed.index.0), (state.end, 2));
    log.delivery.run(0);
    assert!(log.told.0.lock().unwrap().completions.is_empty());
    records.extend(append(&mut log, &[vec![3; 90]]));
    assert_eq!(records[2].0.index, Index(2), "dense");
    same(&log.read_all(), &records, "no-ops are no records");
}

/// Behaviour 34, scenario 4, P4: an election cut at each of its writes leaves the old term and vote
/// or the new ones, together, and never less.
#[test]
fn behaviour_34_scenario_04_term_and_vote_are_durable_together() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk, &small());
    append(&mut log, &[vec![7; 50]]);
    log.stop();
    let whole = Image::of(&disk);
    let before = MetaStore::read(&disk).unwrap().unwrap();
    let mut rng = fastrand::Rng::with_seed(8);
    let (mut old, mut new) = (0, 0);
    for point in 0..30 {
        let disk = whole.disk();
        let mut log = Open::new(&disk, &Arc::new(AtomicU64::new(0)), &small()).unwrap();
        disk.fail_after_ops(point);
        log.settle();
        let told = log.shared.state().term;
        for _ in 0..4 {
            let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            let now = MetaStore::read(&after).unwrap().unwrap();
            assert!([before.term, before.term + 1].contains(&now.term), "cut at {point}");
            assert_eq!(now.vote, 1);
            assert!(now.term >= told || log.shared.failure().is_some(), "told before durable");
            if now.term == before.term {
                old += 1
            } else {
                new += 1
            }
            assert!(open(&after, &small()).shared.state().term > now.term);
        }
    }
    assert!(old > 0 && new > 0, "{old} {new}");
}

fn retain(key: &str, value: &str) -> (MemoryDisk, Arc<AtomicU64>, Open, Records) {
    let disk = MemoryDisk::new();
    let clock = Arc::new(AtomicU64::new(1_000_000_000_000));
    disk.set_now_ms(1_000_000);
    let mut log = Open::new(&disk, &clock, &small()).unwrap();
    log.settle();
    let mut records = Vec::new();
    for n in 0..10u8 {
        // One segment each, a minute apart.
        records.extend(append(&mut log, &[vec![n; 2_900]]));
        let now = clock.fetch_add(60_000_000_000, Ordering::Relaxed) + 60_000_000_000;
        disk.set_now_ms(now / 1_000_000);
    }
    let mut options = small().options();
    options.set(key, value).unwrap();
    log.shared.live.set(&options);
    for _ in 0..5 {
        clock.fetch_add(11_000_000_000, Ordering::Relaxed);
        log.settle();
    }
    (disk, clock, log, records)
}

fn data_files(disk: &MemoryDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| path.starts_with("data/")).collect()
}

/// Behaviour 40: retention by size drops whole segments at the head, in order, never the last, and
/// what is left reads.
#[test]
fn behaviour_40_retention_by_size() {
    for (limit, kept) in [("4KiB", 1), ("12KiB", 3), ("20000B", 4), ("1MiB", 10)] {
        let (disk, _, log, records) = retain("retention.bytes", limit);
        let begin = log.shared.state().begin;
        assert_eq!(data_files(&disk).len(), kept, "{limit}");
        assert_eq!(begin.index.0 as usize, 10 - kept, "{limit}");
        same(&log.read_all(), &records[10 - kept..], limit);
        let gone = log.shared.read(Index(0), &ReadOptions::default()).err();
        assert_eq!(gone, (kept < 10).then_some(Status::Compacted));
        drop(log);
        let log = open(&disk.restart(), &small());
        same(&log.read_all(), &records[10 - kept..], limit);
    }
}

/// Behaviour 40: retention by time drops segments that were last written too long ago, in order,
/// never the last, however old it is; and a wall clock that jumps back keeps more (P20).
#[test]
fn behaviour_40_scenario_25_retention_by_time() {
    // When retention looks, the last was written about two minutes ago, the first about eleven.
    let (disk, _, log, records) = retain("retention.time", "5m");
    let kept = data_files(&disk).len();
    assert!((3..=5).contains(&kept), "{kept}");
    same(&log.read_all(), &records[10 - kept..], "by time");
    let (disk, clock, mut log, records) = retain("retention.time", "1ms");
    assert_eq!(data_files(&disk).len(), 1, "never the last");
    same(&log.read_all(), &records[9..], "the last");
    clock.fetch_add(1 << 50, Ordering::Relaxed);
    log.settle();
    assert_eq!(data_files(&disk).len(), 1);
}

/// Scenario 25, P20: files from the future, and a wall clock that jumps, change neither role nor term.
#[test]
fn scenario_25_the_wall_clock_jumps() {
    let disk = MemoryDisk::new();
    let mut log = open(&disk, &small());
    let term = log.shared.state().term;
    for now in [1 << 40, 0, 7, u64::MAX / 2, 1] {
        disk.set_now_ms(now);
        append(&mut log, &[body(now % 1_000, 400)]);
        assert_eq!((log.shared.state().term, log.shared.state().ready), (term, true));
    }
    assert_eq!(log.shared.state().begin.index, Index(0));
    assert_eq!(log.shared.state().committed.index, Index(5));
}

#[derive(Default)]
struct Blocks(AtomicBool);

impl Observer for Blocks {
    fn completed(&self, _: &[Completion]) {
        while self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// Case 13: a hook that pauses for ten election timeouts, and a callback that does not come back
/// until the stop: leader and term stay, reads and other threads' waits go on.
#[test]
fn case_13_a_hook_that_pauses_and_a_callback_that_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    for (key, value) in [
        ("dir", dir.path().to_str().unwrap()),
        ("node.id", "1"),
        ("segment.bytes", "1MiB"),
        ("heartbeat.interval", "20ms"),
        ("election.timeout", "100ms"),
        ("disk.full.ratio", "1"),
    ] {
        options.set(key, value).unwrap();
    }
    let group = Group::open(&options).unwrap();
    let hook = Box::new(|_: &Entry, body: &mut [u8]| {
        if body[0] == 1 {
            std::thread::sleep(Duration::from_secs(1));
        }
        true
    });
    assert!(group.add_hook(hook).is_ok());
    let blocks = Arc::new(Blocks::default());
    group.start(blocks.clone(), false).unwrap();
    while !group.state().ready {
        std::thread::yield_now();
    }
    let before = group.state();
    group.append_wait(&[0], &AppendOptions::default());
    std::thread::scope(|scope| {
        let paused = scope.spawn(|| group.append_wait(&[1], &AppendOptions::default()));
        let until = Instant::now() + Duration::from_millis(800);
        while Instant::now() < until {
            let now = group.state();
            assert_eq!((now.term, now.role, now.ready), (before.term, before.role, true));
            assert!(group.read(Index(0), &ReadOptions::default()).is_ok());
        }
        assert_eq!(paused.join().unwrap().0, Status::Ok);
    });
    blocks.0.store(true, Ordering::Relaxed);
    group.append(&[0], &AppendOptions::default(), Token::default()).unwrap();
    let waited = group.append_wait(&[0], &AppendOptions::default());
    assert_eq!(waited.0, Status::Ok, "who waits does not wait for another's callback");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(group.state().term, before.term);
    blocks.0.store(false, Ordering::Relaxed);
    assert_eq!(group.stop(None), Status::Ok);
}

/// Case 14 for one member: a checkpoint, an allocation and a deletion that take ten election
/// timeouts cost neither the leadership nor an append.
#[test]
fn case_14_slow_work_elsewhere_costs_nothing() {
    let disk = MemoryDisk::new();
    let clock = Arc::new(AtomicU64::new(0));
    let mut log = Open::new(&disk, &clock, &small()).unwrap();
    log.settle();
    let before = log.shared.state();
    let mut records = Vec::new();
    for n in 0..20u8 {
        // The helper never comes back in all this time: only turns.
        let entry = log.append(&vec![n; 1_500], None).unwrap();
        records.push((entry, vec![n; 1_500]));
        for _ in 0..5 {
            clock.fetch_add(2_000_000_000, Ordering::Relaxed);
            log.turn();
        }
        let now = log.shared.state();
        assert_eq!((now.term, now.ready), (before.term, true));
        assert_eq!(now.committed.index.0, u64::from(n) + 1);
    }
    same(&log.read_all(), &records, "nobody helped");
    log.settle();
    log.stop();
    same(&open(&disk.restart(), &small()).read_all(), &records, "and after it");
}

/// P18, as in a sync that hangs: appends that time out free their place in the limit while their
/// bytes are still staged. What is staged stays below the limit all the same.
#[test]
fn p18_appends_that_time_out_do_not_flood_what_is_staged() {
    let (disk, clock) = (MemoryDisk::new(), Arc::new(AtomicU64::new(0)));
    let mut log = Open::new(&disk, &clock, &settings(1 << 20, 1 << 20)).unwrap();
    log.settle();
    let limit = log.shared.live.pending_bytes.load(Ordering::Relaxed);
    let (mut taken, mut full) = (0, 0);
    for n in 0..4_000u64 {
        // Nobody turns the driver.
        match log.append(&body(n, 2_900), Some(Duration::from_millis(1))) {
            Ok(entry) => taken = entry.index.0 + 1,
            Err(status) => {
                assert_eq!(status, Status::PendingFull);
                full += 1;
            }
        }
        clock.fetch_add(2_000_000, Ordering::Relaxed);
        log.delivery.run(0);
        assert_eq!(log.shared.pending.now(), 0, "it timed out");
        assert!(log.shared.staging.lock().unwrap().bytes() as u64 <= limit);
    }
    assert!(taken * 2_948 > limit - 2_948 && full > 0, "{taken} {full}");
    log.settle();
    assert_eq!(log.shared.state().committed.index.0, taken, "it may still commit");
    append(&mut log, &[vec![7; 100]]);
    assert_eq!(log.shared.state().committed.index.0, taken + 1);
}

/// Case 13, the other side of it: while a hook pauses under the append lock, the group thread sleeps
/// until something comes. What the append does when it ends wakes it.
#[test]
fn case_13_a_hook_that_pauses_keeps_nobody_busy() {
    for flush in ["commit", "10ms"] {
        let mut log = open(&MemoryDisk::new(), &Settings { flush, ..small() });
        log.append(&[1; 100], None).unwrap();
        log.settle();
        let shared = log.shared.clone();
        let _hook = shared.staging.lock().unwrap();
        assert!(matches!(log.turn(), Next::At(_)), "flush={flush}");
    }
}

/// Retention looks at segments that a deletion of the head took meanwhile.
#[test]
fn retention_meets_a_deletion_of_the_head() {
    let (disk, clock) = (MemoryDisk::new(), Arc::new(AtomicU64::new(1_000_000)));
    let mut log = Open::new(&disk, &clock, &small()).unwrap();
    log.settle();
    for n in 0..6 {
        log.append(&body(n, 3_000), None).unwrap();
        log.settle();
    }
    log.shared.live.retention_ms.store(1, Ordering::Relaxed);
    clock.fetch_add(3_600_000_000_000, Ordering::Relaxed);
    // It asks for the ages of five segments; before they come four of them go.
    log.turn();
    log.shared.ask(Control::DeletePrefix(Index(5)));
    log.turn();
    log.settle();
    assert!(log.shared.failure().is_none());
    assert_eq!(log.shared.state().begin.index, Index(5));
}

/// An append for which several things are wrong is refused for the first of them, and a batch is, too.
#[test]
fn the_checks_of_an_append_have_an_order() {
    let disk = MemoryDisk::new();
    let mut log = Open::new(&disk, &Arc::default(), &small()).unwrap();
    let largest = log.shared.live.append_max.load(Ordering::Relaxed) as usize;
    let options = |expected_term| AppendOptions { timeout: None, expected_term };
    let refused = |log: &Open, len: usize, term: u64, status: Status| {
        let body = vec![1; len];
        let one = log.shared.append(&body, &options(term), Token::default());
        assert_eq!(one, Err(status), "one of {len} in term {term}");
        let (mut bodies, mut lens) = ([&body[..]].into_iter(), [len].into_iter());
        let (options, token) = (options(term), Token::default());
        let batch =
            log.shared.append_batch(&mut bodies, &mut lens, &options, token, &mut |_, _| {});
        assert_eq!(batch, Err(status), "a batch of {len} in term {term}");
    };
    log.shared.staging.lock().unwrap().add_hook(Box::new(|_, _| false));
    refused(&log, largest + 1, 99, Status::NotLeader);
    log.settle();
    let shared = log.shared.clone();
    refused(&log, 10, 1, Status::Rejected);
    shared.disk_full.store(true, Ordering::Relaxed);
    refused(&log, 10, 1, Status::DiskFull);
    // One that is waiting is all that may wait.
    shared.live.pending_max.store(1, Ordering::Relaxed);
    shared.pending.enter(1);
    refused(&log, 10, 1, Status::PendingFull);
    refused(&log, largest + 1, 1, Status::TooLarge);
    shared.transferring.store(true, Ordering::Relaxed);
    refused(&log, largest + 1, 1, Status::Transferring);
    refused(&log, largest + 1, 99, Status::TermChanged);
    shared.transferring.store(false, Ordering::Relaxed);
    shared.pending.leave(1);
    log.stop();
    refused(&log, largest + 1, 99, Status::Stopped);
}

/// What no limit will ever take is no matter of waiting.
#[test]
fn a_body_beyond_what_may_be_pending_is_too_large() {
    let mut log = open(&MemoryDisk::new(), &small());
    log.settle();
    log.shared.live.pending_bytes.store(1_000, Ordering::Relaxed);
    assert_eq!(log.append(&[1; 953], None), Err(Status::TooLarge));
    log.append(&[1; 952], None).unwrap();
    assert_eq!(log.append(&[1; 952], None), Err(Status::PendingFull));
}
