//! Acceptance 3: the files of a log, read by a parser that shares no code with the library. The
//! log is written through the public interface only.
#![allow(clippy::expect_used)] // a test may

#[path = "support/parser.rs"]
mod parser;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Entry, Group, Observer, State, Token};
use dledger::options::Options;
use dledger::types::Index;

use parser::{Files, Log, Shape, crc, load, parse};

struct Deaf;

impl Observer for Deaf {
    fn completed(&self, _: &[Completion]) {}
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

fn open(dir: &Path, segment: u64, more: &[(&str, &str)]) -> Group {
    let mut options = Options::default();
    let segment = segment.to_string();
    let mine = [
        ("dir", dir.to_str().expect("a path")),
        ("node.id", "1"),
        ("segment.bytes", &segment),
        ("index.segment.bytes", "4096"),
        ("append.timeout", "60s"),
        ("disk.full.ratio", "1"),
    ];
    for (key, value) in mine.iter().chain(more) {
        options.set(key, value).unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    Group::open(&options).unwrap_or_else(|e| panic!("{e}"))
}

fn start(group: &Group) {
    group.start(Arc::new(Deaf), false).unwrap_or_else(|e| panic!("{e}"));
    while !group.state().ready {
        std::thread::yield_now();
    }
}

/// What was appended: each call's records stay together.
#[derive(Default)]
struct Appended {
    records: Vec<(Entry, Vec<u8>)>,
    /// Per record: bytes of its call from it on, if it is the first of a call of several.
    calls: Vec<u64>,
}

impl Appended {
    fn one(&mut self, group: &Group, body: Vec<u8>, waits: bool) {
        let options = AppendOptions::default();
        let entry = loop {
            let result = if waits {
                let (status, entry) = group.append_wait(&body, &options);
                entry.ok_or(status)
            } else {
                group.append(&body, &options, Token::default())
            };
            match result {
                Ok(entry) => break entry,
                Err(Status::PendingFull) => std::thread::yield_now(),
                Err(status) => panic!("{status:?}"),
            }
        };
        self.calls.push(48 + body.len() as u64);
        self.records.push((entry, body));
    }

    fn batch(&mut self, group: &Group, bodies: Vec<Vec<u8>>) {
        self.batch_until(group, bodies, None);
    }

    fn batch_until(&mut self, group: &Group, bodies: Vec<Vec<u8>>, patience: Option<Instant>) {
        let mut entries = Vec::new();
        loop {
            let result = group.append_batch(
                &mut bodies.iter().map(|b| &b[..]),
                &mut bodies.iter().map(|b| b.len()),
                &AppendOptions::default(),
                Token::default(),
                &mut |_, entry| entries.push(entry),
            );
            match result {
                Ok(()) => break,
                Err(Status::PendingFull) => std::thread::yield_now(),
                Err(status) => panic!("{status:?}"),
            }
            assert!(patience.is_none_or(|until| Instant::now() < until), "it is never taken");
        }
        assert_eq!(entries.len(), bodies.len(), "one place per body");
        let total: u64 = bodies.iter().map(|b| 48 + b.len() as u64).sum();
        for (n, (entry, body)) in entries.into_iter().zip(bodies).enumerate() {
            self.calls.push(if n == 0 { total } else { 48 + body.len() as u64 });
            self.records.push((entry, body));
        }
    }
}

/// The files say what the appenders were told, record by record, and blanks are where they must be.
fn compare(log: &Log, appended: &Appended, segment: u64) {
    assert_eq!(log.data.records.len(), appended.records.len());
    for (record, (entry, body)) in log.data.records.iter().zip(&appended.records) {
        let told = (entry.index.0, entry.term, entry.pos, entry.body_len as usize);
        assert_eq!((record.index, record.term, record.pos, record.body.len()), told);
        assert_eq!(&record.body, body, "record {}", record.index);
    }
    // Behaviour 3: a blank only where what follows would leave fewer than 8 bytes.
    let mut blanks = log.data.blanks.iter().peekable();
    let mut end = log.data.records.first().map_or(0, |r| r.pos);
    for (record, call) in log.data.records.iter().zip(&appended.calls) {
        if let Some((pos, rest)) = blanks.next_if(|(pos, _)| *pos == end) {
            let needs = if call + 8 <= segment && *call <= 1 << 20 {
                *call
            } else {
                u64::from(record.size)
            };
            assert!(needs + 8 > *rest, "record {} had room at {pos}", record.index);
            end = pos + rest;
            assert_eq!(end % segment, 0);
        }
        assert_eq!(record.pos, end, "behaviour 2: right behind the one before, or the next file");
        end = record.pos + u64::from(record.size);
    }
    assert_eq!(blanks.next(), None);
}

fn random_lives(segment: u64, flush: &str, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let shape = Shape::new(segment, 4096);
    let mut appended = Appended::default();
    let mut terms = Vec::new();
    let mut last = None;
    for life in 0..5 {
        let group = open(dir.path(), segment, &[("flush", flush)]);
        start(&group);
        terms.push(group.state().term);
        // Some lives append nothing: their control entries pile up between two batches.
        let calls = if life == 2 { 0 } else { 150 };
        for _ in 0..calls {
            let big = (segment as usize - 56).min(6_000);
            let len = match rng.u32(..12) {
                0 => 0,
                1 => big,
                2..6 => rng.usize(..big),
                _ => rng.usize(..200),
            };
            let body = |len: usize, rng: &mut fastrand::Rng| {
                (0..len).map(|_| rng.u8(..)).collect::<Vec<u8>>()
            };
            if rng.u32(..6) == 0 {
                let count = rng.usize(1..12);
                let bodies = (0..count).map(|_| body(rng.usize(..300), &mut rng)).collect();
                appended.batch(&group, bodies);
            } else {
                let waits = rng.u32(..10) == 0;
                let body = body(len, &mut rng);
                appended.one(&group, body, waits);
            }
        }
        assert_eq!(group.flush(None), Status::Ok);
        while group.state().committed != group.state().end {
            std::thread::yield_now();
        }
        let end = appended.records.last().map_or(0, |(e, b)| e.pos + 48 + b.len() as u64);
        assert_eq!(group.state().committed.pos, end, "committed stays before a blank");
        assert_eq!(group.stop(None), Status::Ok);
        let log = parse(&load(dir.path()), &shape);
        compare(&log, &appended, segment);
        assert_eq!(log.controls.len(), life + 1, "one no-op per life, without a record index");
        last = Some(log);
    }
    assert!(terms.windows(2).all(|t| t[0] < t[1]), "a new term at each start: {terms:?}");
    let log = last.expect("five lives");
    let high: Vec<u32> =
        log.data.records.iter().map(|r| r.channel >> 16).filter(|n| *n > 0).collect();
    assert_eq!(
        high,
        [1, 1, 2, 1],
        "control entries between batches are counted in the first record"
    );
    println!(
        "segment {segment}, flush={flush}: {} records, {} batches of up to {}, {} blanks, \
         {} control entries",
        log.data.records.len(),
        log.batches.len(),
        log.batches.iter().max().expect("batches"),
        log.data.blanks.len(),
        log.controls.len()
    );
}

/// Behaviours 1, 2, 3, 5 and 7, and each field of `format.md`: several lives of random appends are
/// on disk as the format says, in segments of 100 KiB.
#[test]
fn behaviour_01_02_05_each_field_in_segments_of_100_kib() {
    random_lives(100 << 10, "commit", 1);
}

/// The same in the smallest segments, where nearly every record rolls.
#[test]
fn behaviour_01_02_05_each_field_in_segments_of_4_kib() {
    random_lives(4096, "10ms", 2);
}

/// The same where the segment size is no power of two.
#[test]
fn behaviour_01_02_05_each_field_in_segments_of_5000_bytes() {
    random_lives(5000, "commit", 3);
}

/// Behaviours 3 and 4: a record that leaves 8 bytes fits, and an 8-byte blank follows it; one byte
/// more and it rolls.
#[test]
fn behaviour_03_04_a_record_rolls_when_fewer_than_8_bytes_would_remain() {
    // Used before it; so 1,952 bytes remain, and the record takes all of them but 8, or but 7.
    let used = 2 * 1072;
    for (body, place, blank) in
        [(4096 - used - 48 - 8, used, (4088, 8)), (4096 - used - 48 - 7, 4096, (used, 4096 - used))]
    {
        let dir = tempfile::tempdir().expect("a directory");
        let group = open(dir.path(), 4096, &[]);
        start(&group);
        let mut appended = Appended::default();
        for len in [1024, 1024, body as usize, 10] {
            appended.one(&group, vec![7; len], true);
        }
        assert_eq!(appended.records[2].0.pos, place);
        group.stop(None);
        let log = parse(&load(dir.path()), &Shape::new(4096, 4096));
        compare(&log, &appended, 4096);
        assert_eq!(log.data.blanks, [blank]);
    }
}

/// Behaviour 7: a place is told when append returns, also to each body of a batch; and the place is
/// where the bytes then are.
#[test]
fn behaviour_07_the_bytes_are_at_the_place_that_was_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 8192, &[("flush", "60s")]);
    start(&group);
    let mut appended = Appended::default();
    for n in 0..20u8 {
        appended.one(&group, vec![n; 30], false);
        appended.batch(&group, vec![vec![n; 10], Vec::new(), vec![n; 300]]);
    }
    for (n, pair) in appended.records.windows(2).enumerate() {
        assert_eq!(pair[0].0.index.0, n as u64);
        assert_eq!(pair[1].0.index.0, n as u64 + 1);
    }
    group.stop(None);
    compare(&parse(&load(dir.path()), &Shape::new(8192, 4096)), &appended, 8192);
}

/// Behaviour 8: the bytes that a hook left are the bytes on disk, and the checksum covers them.
#[test]
fn behaviour_08_what_a_hook_wrote_is_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 8192, &[]);
    let hook = Box::new(|entry: &Entry, body: &mut [u8]| {
        body[..8].copy_from_slice(&(entry.pos + 48).to_be_bytes());
        true
    });
    assert!(group.add_hook(hook).is_ok());
    start(&group);
    for _ in 0..300 {
        let (status, _) = group.append_wait(&[0xee; 64], &AppendOptions::default());
        assert_eq!(status, Status::Ok);
    }
    group.stop(None);
    let log = parse(&load(dir.path()), &Shape::new(8192, 4096));
    assert_eq!(log.data.records.len(), 300);
    for record in &log.data.records {
        assert_eq!(record.body[..8], (record.pos + 48).to_be_bytes());
        assert_eq!(record.body[8..], [0xee; 56]);
        assert_eq!(record.body_crc, crc(&record.body));
    }
}

/// Behaviour 9: the records of one call lie together, in one segment and in one batch, although
/// others append at the same time; a batch stays within its limits.
#[test]
fn behaviour_09_a_call_of_many_is_one_batch() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 3 << 20, &[("append.pending.max", "1000000")]);
    start(&group);
    let calls: Vec<Vec<Entry>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread: u64| {
                let group = &group;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(thread);
                    let mut calls = Vec::new();
                    for _ in 0..40 {
                        let bodies: Vec<Vec<u8>> =
                            (0..rng.usize(1..400)).map(|_| vec![9; rng.usize(..400)]).collect();
                        let mut entries = Vec::new();
                        let result = group.append_batch(
                            &mut bodies.iter().map(|b| &b[..]),
                            &mut bodies.iter().map(|b| b.len()),
                            &AppendOptions::default(),
                            Token::default(),
                            &mut |_, entry| entries.push(entry),
                        );
                        if result.is_ok() {
                            calls.push(entries);
                        }
                    }
                    calls
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("a thread")).collect()
    });
    group.stop(None);
    let log = parse(&load(dir.path()), &Shape::new(3 << 20, 4096));
    let mut batch_of = Vec::new();
    for (n, count) in log.batches.iter().enumerate() {
        batch_of.extend(std::iter::repeat_n(n, *count));
    }
    assert!(!calls.is_empty());
    for entries in &calls {
        let (first, last) = (entries[0].index.0, entries[entries.len() - 1].index.0);
        assert_eq!(last - first + 1, entries.len() as u64, "contiguous");
        assert_eq!(batch_of[first as usize], batch_of[last as usize], "one batch");
    }
    println!("{} calls in {} batches", calls.len(), log.batches.len());
}

/// A batch has at most 1 MiB; one larger record is a batch alone.
#[test]
fn a_batch_has_at_most_one_mebibyte_or_one_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 16 << 20, &[]);
    start(&group);
    let mut appended = Appended::default();
    appended.one(&group, vec![1; 100], false);
    appended.one(&group, vec![2; 3 << 20], false);
    appended.one(&group, vec![3; 100], false);
    for n in 0..40 {
        appended.one(&group, vec![n; 100_000], false);
    }
    appended.batch(&group, (0..30).map(|n| vec![n; 200_000]).collect());
    group.stop(None);
    let log = parse(&load(dir.path()), &Shape::new(16 << 20, 4096));
    compare(&log, &appended, 16 << 20);
    let large = log.data.records.iter().position(|r| r.body.len() > 1 << 20);
    let large = large.expect("the large record");
    assert_eq!(log.data.records[large].channel, 0, "alone");
    assert_eq!(
        log.data.records[large - 1].channel & 0xffff,
        0,
        "and so the one before ends its batch"
    );
}

/// A call of more than 1 MiB is cut into batches, each within the limits, in order and without gaps.
#[test]
fn a_call_beyond_one_mebibyte_is_cut_into_batches() {
    let dir = tempfile::tempdir().expect("a directory");
    let more = [("append.pending.max", "1000000"), ("index.segment.bytes", "4MiB")];
    let group = open(dir.path(), 16 << 20, &more);
    start(&group);
    let mut appended = Appended::default();
    // 48 bytes each: 21,845 of them are the most below 1 MiB.
    appended.batch(&group, vec![Vec::new(); 50_000]);
    group.stop(None);
    let log = parse(&load(dir.path()), &Shape::new(16 << 20, 4 << 20));
    compare(&log, &appended, 16 << 20);
    assert_eq!(log.batches, [21_845, 21_845, 6_310]);
}

/// Brokers count the files: in `data/` there is no file before the first append, also after several
/// lives without one, and never a segment without a record.
#[test]
fn data_is_empty_before_the_first_append() {
    let dir = tempfile::tempdir().expect("a directory");
    for life in 1..=3 {
        let group = open(dir.path(), 4096, &[]);
        start(&group);
        let files = load(dir.path());
        assert!(!files.keys().any(|path| path.starts_with("data/")), "{:?}", files.keys());
        group.stop(None);
        let log = parse(&load(dir.path()), &Shape::new(4096, 4096));
        assert_eq!((log.data.records.len(), log.controls.len()), (0, life));
    }
    let group = open(dir.path(), 4096, &[]);
    start(&group);
    // The first segment is used up to its last 8 bytes: the next one must not be there yet.
    group.append_wait(&[1; 4096 - 56], &AppendOptions::default());
    let data = |files: &Files| files.keys().filter(|p| p.starts_with("data/")).count();
    assert_eq!(data(&load(dir.path())), 1);
    group.append_wait(&[1], &AppendOptions::default());
    assert_eq!(data(&load(dir.path())), 2);
    group.stop(None);
    parse(&load(dir.path()), &Shape::new(4096, 4096));
}

/// The format while the log is open: what a broker that maps the files finds at any moment between
/// two appends.
#[test]
fn the_files_are_right_while_the_log_is_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 5000, &[]);
    start(&group);
    let mut appended = Appended::default();
    let shape = Shape { open: true, ..Shape::new(5000, 4096) };
    for n in 0..30 {
        appended.one(&group, vec![n; 37 * n as usize], true);
        let log = parse(&load(dir.path()), &shape);
        compare(&log, &appended, 5000);
    }
    group.stop(None);
}

/// Positions begin where the group was told to begin: `begin.pos` names the first file.
#[test]
fn a_log_may_begin_at_a_later_position() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let group = open(dir.path(), 4096, &[("begin.pos", "40960")]);
        start(&group);
        for _ in 0..10 {
            group.append_wait(&[5; 1000], &AppendOptions::default());
        }
        group.stop(None);
    }
    let shape = Shape { begin: (0, 40960, 0), ..Shape::new(4096, 4096) };
    let log = parse(&load(dir.path()), &shape);
    assert_eq!((log.data.records.len(), log.data.records[0].pos), (20, 40960));
}

/// The parser is tested: it must see each kind of mistake, or its silence says nothing.
#[test]
fn the_parser_sees_a_flipped_bit_in_any_record_or_unit() {
    assert_eq!(crc(b"123456789"), 0xcbf4_3926, "the check value of CRC-32");
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 4096, &[]);
    start(&group);
    for n in 0..9 {
        group.append_wait(&[n; 500], &AppendOptions::default());
    }
    group.stop(None);
    let mut files = load(dir.path());
    files.get_mut("control").expect("control").truncate(4096);
    let shape = Shape::new(4096, 4096);
    parse(&files, &shape);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut unseen = Vec::new();
    let name = format!("{:020}", 0);
    for (path, len) in [("data", 4096), ("index", 320), ("batches", 352), ("meta", 8192)] {
        let path = if path == "meta" { path.to_string() } else { format!("{path}/{name}") };
        for at in (0..len).step_by(7) {
            let mut damaged = files.clone();
            damaged.get_mut(&path).expect("the file")[at] ^= 0x10;
            let seen = std::panic::catch_unwind(|| parse(&damaged, &shape)).is_err();
            if !seen {
                unseen.push((path.clone(), at));
            }
        }
    }
    std::panic::set_hook(quiet);
    assert_eq!(unseen, []);
}

/// The same for `meta`: a change in any byte of its state, or behind it, under a checksum that is
/// right, does not fit the rest of the log.
#[test]
fn the_parser_sees_a_change_in_any_field_of_meta() {
    let dir = tempfile::tempdir().expect("a directory");
    for life in 0..2 {
        let group = open(dir.path(), 4096, &[]);
        start(&group);
        for n in 0..9 {
            group.append_wait(&vec![n; 500 + life], &AppendOptions::default());
        }
        group.stop(None);
    }
    let mut files = load(dir.path());
    files.get_mut("control").expect("control").truncate(4096);
    let shape = Shape::new(4096, 4096);
    parse(&files, &shape);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = files.clone();
        for block in changed.get_mut("meta").expect("meta").chunks_mut(4096) {
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let crc = crc(&block[..4092]).to_be_bytes();
            block[4092..].copy_from_slice(&crc);
        }
        changed
    };
    let block = &files["meta"][..4092];
    let used = block.iter().rposition(|byte| *byte != 0).expect("a state") + 24;
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // Magic, version and length; then, the number of the write may be any but 0, the state.
    let mut changes: Vec<_> = (0..16).chain(24..used).map(|at| (at, vec![block[at] ^ 1])).collect();
    changes.push((16, vec![0; 8]));
    let seen = |bytes: &[u8], at| std::panic::catch_unwind(|| parse(&with(at, bytes), &shape));
    let unseen: Vec<usize> =
        changes.iter().filter(|(at, b)| seen(b, *at).is_ok()).map(|(at, _)| *at).collect();
    std::panic::set_hook(quiet);
    assert_eq!(unseen, [0; 0]);
    println!("{} changes", changes.len());
}

/// Behaviour 13: PENDING_FULL means that it helps to wait. A call within `append.pending.max` and
/// `append.pending.bytes` is taken in the end, also where it needs more than is allocated ahead.
#[test]
fn behaviour_13_a_call_within_the_limits_is_taken_in_small_segments() {
    let dir = tempfile::tempdir().expect("a directory");
    let group = open(dir.path(), 4096, &[]);
    start(&group);
    let mut appended = Appended::default();
    let patience = Instant::now() + Duration::from_secs(60);
    for (count, len) in [(3_000, 10), (400, 3_000), (9_000, 0)] {
        appended.batch_until(&group, vec![vec![3; len]; count], Some(patience));
        assert_eq!(group.flush(None), Status::Ok);
    }
    group.stop(None);
    compare(&parse(&load(dir.path()), &Shape::new(4096, 4096)), &appended, 4096);
}
