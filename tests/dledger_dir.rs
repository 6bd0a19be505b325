//! Acceptance 4: directories with DLedger's bytes open, read and go on. The bytes are made here,
//! from the table of fields in `dledger.md`, without the library's code.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

#[allow(dead_code)]
#[path = "support/dledger.rs"]
mod builder;

#[path = "support/parser.rs"]
#[allow(dead_code)]
mod parser;

#[allow(dead_code)]
#[path = "support/memory.rs"]
mod memory;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dledger::commitlog::meta::MetaStore;
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::error::{Error, Status};
use dledger::group::ReadOptions;
use dledger::types::Index;

use builder::{DLedger, INDEX, Old, Records, SEGMENT, as_read, bytes_of, disk_of, files_of, open};
use memory::world::Open;
use memory::{same, settings, try_open};
use parser::{Files, Shape, parse};

/// Opens, reads, appends, restarts, reads: the whole life of a directory that was taken over.
/// Answers the disk after a clean stop, and all records.
fn live_on(old: &DLedger, disk: MemoryDisk, begin: (u64, u64)) -> (MemoryDisk, Records) {
    let expected = as_read(&old.records);
    let before = &old.files;
    let log = open(&disk);
    let state = log.shared.state();
    assert_eq!((state.begin.index.0, state.begin.pos), begin);
    assert_eq!((state.end.index.0, state.end.pos), old.next);
    same(&log.read_all(), &expected, "after a restart");
    let last = old.records.last().map_or(0, |r| r.term);
    assert!(state.term >= last + 2, "our first term {} after DLedger's {last}", state.term);
    for record in &old.records {
        let raft = dledger::types::RaftIndex(record.index + 1);
        assert_eq!(log.driver.log().term(raft), Some(record.term + 1), "Raft's term is one more");
    }
    // Nothing of DLedger's has changed yet: going back is possible.
    for (path, bytes) in before {
        assert_eq!(disk.read_file(path).as_ref(), Some(bytes), "{path} changed before an append");
    }
    drop(log);
    let mut expected = expected;
    let mut disk = disk;
    for life in 0..3 {
        disk = disk.restart();
        let mut log = open(&disk);
        same(&log.read_all(), &expected, "after a restart");
        for n in 0..8u8 {
            let body = vec![0x80 | n; 300 * (life + 1)];
            let entry = log.append(&body, None).unwrap();
            expected.push((entry, body));
        }
        log.settle();
        same(&log.read_all(), &expected, "after a restart");
        log.stop();
    }
    let mut dledgers = old.next.0;
    if old.records.is_empty() {
        dledgers = 0;
    }
    let shape = Shape { begin: (begin.0, begin.1, begin.0), dledgers, ..shape() };
    let parsed = parse(&files_of(&disk), &shape);
    assert_eq!(parsed.data.records.len() as u64, old.next.0 - begin.0 + 24);
    (disk.restart(), expected)
}

/// What directories are made with here.
fn shape() -> Shape {
    Shape { unsynced: 64 << 10, ..Shape::new(SEGMENT, INDEX) }
}

/// Behaviours 3 and 5: what this test takes for DLedger's bytes are the golden bytes of 2.8.
#[test]
fn behaviour_03_05_the_builder_makes_the_golden_bytes() {
    let mut old = DLedger::new(256, 128);
    old.term = 7;
    old.append(b"abc");
    old.put(2, &[]);
    old.append(&[b'x'; 100]);
    old.append(b"0123456789");
    old.append(b"tail");
    let hex = |dir: &str, file: u64, from: usize, text: &str| {
        let bytes = text.split_whitespace();
        let bytes: Vec<u8> = bytes.map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        let found = &old.files[&format!("{dir}/{file:020}")];
        assert_eq!(found[from..from + bytes.len()], bytes, "{dir}/{file} at {from:x}");
    };
    let zeros = |n: usize| "00 ".repeat(n);
    hex("data", 0, 0x00, "00 00 00 01 00 00 00 33 00 00 00 00 00 00 00 00");
    hex("data", 0, 0x10, "00 00 00 00 00 00 00 07 00 00 00 00 00 00 00 00");
    hex("data", 0, 0x20, "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 03");
    hex("data", 0, 0x30, "61 62 63 00 00 00 02 00 00 00 30 00 00 00 00 00");
    hex("data", 0, 0x40, "00 00 01 00 00 00 00 00 00 00 07 00 00 00 00 00");
    hex("data", 0, 0x50, &format!("00 00 33 {}", zeros(16)));
    hex("data", 0, 0x63, "00 00 00 01 00 00 00 94 00 00 00 00 00 00 00 02");
    hex("data", 0, 0xf0, "78 78 78 78 78 78 78 ff ff ff ff 00 00 00 09 00");
    hex("data", 256, 0x00, "00 00 00 01 00 00 00 3a 00 00 00 00 00 00 00 03");
    hex("data", 256, 0x10, "00 00 00 00 00 00 00 07 00 00 00 00 00 00 01 00");
    hex("data", 256, 0x20, "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 0a 30 31");
    hex("data", 256, 0x3a, "00 00 00 01 00 00 00 34 00 00 00 00 00 00 00 04");
    // A unit: magic, position, size, index, term.
    let unit = |file, from, fields: [u64; 3]| {
        let [pos, size, index] = fields;
        let text = format!("{:08x}{pos:016x}{size:08x}{index:016x}{:016x}", 1, 7);
        let bytes: Vec<&str> = (0..32).map(|n| &text[2 * n..2 * n + 2]).collect();
        hex("index", file, from, &bytes.join(" "));
    };
    unit(0, 0x00, [0, 0x33, 0]);
    unit(0, 0x40, [0x63, 0x94, 2]);
    unit(0, 0x60, [0x100, 0x3a, 3]);
    unit(128, 0x00, [0x13a, 0x34, 4]);
    // And the independent parser reads them.
    let shape = Shape { dledgers: 5, ..Shape::new(256, 128) };
    let data = parser::parse_data(&old.files, &shape);
    assert_eq!((data.records.len(), data.blanks), (5, vec![(247, 9)]));
}

/// Acceptance 4 and behaviour 6: a directory as DLedger leaves it, with its index, no-ops among the
/// records, `currterm` and `checkpoint`.
#[test]
fn behaviour_06_a_whole_directory() {
    let old = DLedger::typical();
    assert!(old.files.len() > 6, "several files");
    live_on(&old, old.disk(), (0, 0));
}

/// Behaviour 6: a read that begins at a no-op gives the first record behind it, and waits for it
/// where there is none yet.
#[test]
fn behaviour_06_a_read_at_a_no_op_gives_the_next_record() {
    let mut old = DLedger::typical();
    for _ in 0..2 {
        old.put(2, &[]);
    }
    let mut log = open(&old.disk());
    let records = as_read(&old.records);
    let last = records[records.len() - 1].0.index.0;
    let options = |max_entries, wait| ReadOptions { max_entries, wait, ..Default::default() };
    let now = Some(Duration::ZERO);
    for at in 0..=last {
        let next = records.iter().position(|(entry, _)| entry.index.0 >= at).unwrap();
        for most in [1, 3, 100] {
            let view = log.shared.read(Index(at), &options(most, now)).unwrap();
            let found = view.entries();
            assert!((1..=most as usize).contains(&found.len()), "{most} from record {at}");
            let expected = &records[next..next + found.len()];
            assert!(found.iter().eq(expected.iter().map(|(entry, _)| entry)), "record {at}");
            assert_eq!(view.pos(), expected[0].0.pos);
        }
    }
    let shared = log.shared.clone();
    for at in [last + 1, last + 2] {
        assert_eq!(shared.read(Index(at), &options(1, now)).err(), Some(Status::NotCommitted));
    }
    let waits = std::thread::spawn(move || {
        let view = shared.read(Index(last + 1), &options(1, None)).unwrap();
        (view.entries().to_vec(), view.next_index())
    });
    let entry = log.append(b"behind", None).unwrap();
    log.settle();
    assert_eq!(waits.join().unwrap(), (vec![entry], entry.index + 1));
}

/// Acceptance 4: term and vote come from `currterm`, and the term of the last record is enough
/// where that file is gone; our first term is at least DLedger's + 2 either way.
#[test]
fn terms_with_and_without_currterm() {
    let old = DLedger::typical();
    let log = open(&old.disk());
    assert_eq!(log.shared.state().term, 7, "currTerm is 5");
    let mut without = DLedger::typical();
    without.files.remove("currterm");
    without.files.remove("checkpoint");
    let log = open(&without.disk());
    assert_eq!(log.shared.state().term, 5, "the last record's term is 3");
    live_on(&without, without.disk(), (0, 0));
}

/// Case 3: DLedger's terms begin at 0, which is no term of Raft's.
#[test]
fn case_03_a_directory_of_term_0() {
    let mut old = DLedger::new(SEGMENT, INDEX);
    for n in 0..10 {
        old.append(&[n; 700]);
    }
    old.state(0, None);
    let log = open(&old.disk());
    assert_eq!(log.shared.state().term, 2);
    drop(log);
    live_on(&old, old.disk(), (0, 0));
}

/// Case 3: the first file begins with a blank and the records above 0 (`resetOffset`).
#[test]
fn case_03_a_directory_that_begins_above_0() {
    for skipped in [8, 1000, 3000] {
        let mut old = DLedger::new(SEGMENT, INDEX);
        let begin = 7 * SEGMENT;
        let mut blank = vec![0xff; 4];
        blank.extend((skipped as u32).to_be_bytes());
        old.write("data", SEGMENT, begin, &blank);
        old.next = (300, begin + skipped);
        old.term = 4;
        for n in 0..20u8 {
            old.append(&[n; 333]);
        }
        old.state(9, Some(310));
        live_on(&old, old.disk(), (300, begin + skipped));
    }
}

/// Behaviour 38: whatever is wrong with the index, it is made again from the data.
#[test]
fn behaviour_38_the_index_is_short_damaged_or_gone() {
    let whole = DLedger::typical();
    let first = format!("index/{:020}", 0);
    let check = |files: Files, what: &str| {
        let disk = disk_of(&files);
        let log = open(&disk);
        same(&log.read_all(), &as_read(&whole.records), what);
        drop(log);
        let now = files_of(&disk);
        for (path, bytes) in whole.files.iter().filter(|(path, _)| path.starts_with("data")) {
            assert_eq!(&now[path], bytes, "{what}: {path}");
        }
        assert_eq!(now[&first], whole.files[&first], "{what}: the index is made again");
    };
    let mut files = whole.files.clone();
    files.remove(&first);
    check(files, "gone");
    for keep in [0, 1, 17, 39] {
        let mut files = whole.files.clone();
        files.get_mut(&first).unwrap()[keep * 32..].fill(0);
        check(files, "short");
    }
    for at in (0..40 * 32).step_by(37) {
        let mut files = whole.files.clone();
        files.get_mut(&first).unwrap()[at] ^= 0x41;
        check(files, "damaged");
    }
    let mut files = whole.files.clone();
    files.get_mut(&first).unwrap().truncate(100);
    check(files, "of another length");
    // Behaviour 6: a leader wrote magic 1 for a no-op; its own recovery, and ours, writes 2.
    let mut files = whole.files.clone();
    files.get_mut(&first).unwrap()[3] = 1;
    check(files, "magic 1 for a no-op");
}

/// Scenario 10, finding 3: DLedger cut its log and wrote again; what it cut is still there behind
/// the end. The records stay, the rest is not taken for records.
#[test]
fn scenario_10_a_stale_tail_behind_the_end() {
    let mut old = DLedger::new(SEGMENT, INDEX);
    for n in 0..6u8 {
        old.append(&[n; 200]);
    }
    // Cut behind the third and written again, shorter: the old fifth and sixth remain.
    let stale = old.files.clone();
    let mut cut = DLedger::behind(stale, (3, old.records[3].pos), 2);
    cut.records = old.records[..3].to_vec();
    cut.append(&[0xaa; 10]);
    cut.state(2, None);
    let disk = cut.disk();
    let log = open(&disk);
    same(&log.read_all(), &as_read(&cut.records), "a stale tail");
    drop(log);
    let data = format!("data/{:020}", 0);
    let now = disk.read_file(&data).unwrap();
    let end = cut.next.1 as usize;
    assert_eq!(now[..end], cut.files[&data][..end], "no record changed");
    // From then on the log is as any other: zeros behind the end, also through restarts.
    let disk = disk.restart();
    let mut log = open(&disk);
    log.append(&[1; 20], None).unwrap();
    log.settle();
    log.stop();
    parse(&files_of(&disk), &Shape { dledgers: 4, ..shape() });
}

/// P19: with another `segment.bytes` the directory is refused, with a message that says so, and no
/// byte of it is touched.
#[test]
fn another_segment_size_is_refused_untouched() {
    let mut old = DLedger::new(8192, INDEX);
    for n in 0..30u8 {
        old.append(&[n; 500]);
    }
    old.state(3, None);
    let disk = old.disk();
    let error = try_open(&disk, &settings(SEGMENT, INDEX)).err().expect("refused");
    assert_eq!(error.status(), Status::Config);
    assert!(error.to_string().contains("segment.bytes"), "{error}");
    assert!(error.to_string().contains("8192"), "{error}");
    assert_eq!(files_of(&disk), old.files);
}

/// The committed bound that DLedger noted in its checkpoint is ours before we lead.
#[test]
fn committed_comes_from_the_checkpoint() {
    for (committed, expected) in [(Some(12), 13), (Some(-1), 0), (Some(1_000), 40), (None, 0)] {
        let mut old = DLedger::typical();
        old.files.remove("checkpoint");
        old.state(5, committed);
        let disk = old.disk();
        let log =
            Open::new(&disk, &Arc::new(AtomicU64::new(0)), &settings(SEGMENT, INDEX)).unwrap();
        assert_eq!(log.shared.committed().0, expected, "{committed:?}");
    }
}

/// What a later version of DLedger left in `currterm` or `checkpoint` that is no number is damage,
/// not a term of 0.
#[test]
fn a_state_file_that_is_no_state_is_damage() {
    let mut old = DLedger::typical();
    old.files.insert("currterm".into(), b"currTerm=many\nvoteLeader=n0\n".to_vec());
    let disk = old.disk();
    assert_eq!(
        try_open(&disk, &settings(SEGMENT, INDEX)).err().expect("refused").status(),
        Status::Corrupt
    );
    for (path, bytes) in &old.files {
        assert_eq!(disk.read_file(path).as_ref(), Some(bytes), "{path}");
    }
}

/// An import that is cut at any of its writes is begun again: until `meta` is there, this is
/// DLedger's directory.
#[test]
fn an_import_cut_at_each_write_is_done_again() {
    let mut old = DLedger::typical();
    let first = format!("index/{:020}", 0);
    old.files.get_mut(&first).unwrap()[20 * 32..].fill(0);
    let mut rng = fastrand::Rng::with_seed(5);
    let mut cuts = 0;
    for point in 0.. {
        let disk = old.disk();
        disk.fail_after_ops(point);
        let opened = try_open_quietly(&disk);
        let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
        let log = open(&after);
        same(&log.read_all(), &as_read(&old.records), &format!("cut at {point}"));
        drop(log);
        for (path, bytes) in old.files.iter().filter(|(path, _)| !path.starts_with("index")) {
            assert_eq!(after.read_file(path).as_ref(), Some(bytes), "cut at {point}: {path}");
        }
        if opened {
            break;
        }
        cuts += 1;
    }
    println!("{cuts} cuts");
    assert!(cuts > 10);
}

fn try_open_quietly(disk: &MemoryDisk) -> bool {
    match Open::new(disk, &Arc::new(AtomicU64::new(0)), &settings(SEGMENT, INDEX)) {
        Ok(mut log) => {
            log.settle();
            log.shared.failure().is_none()
        }
        Err(_) => false,
    }
}

/// DLedger was started again on a directory that we had written to, and appended: its records count
/// as DLedger's, ours stay what they are, the noted end moves, and the log goes on.
fn dledger_wrote_in_between(lives: usize, theirs: u64, old: DLedger) {
    let mut disk = old.disk();
    let mut expected = as_read(&old.records);
    for life in 0..lives {
        disk = disk.restart();
        let mut log = open(&disk);
        for n in 0..4u8 {
            let body = vec![n | 0x40; 100 + 50 * life];
            expected.push((log.append(&body, None).unwrap(), body));
            log.settle();
        }
        log.stop();
    }
    let (last, body) = expected.last().expect("records").clone();
    let next = (last.index.0 + 1, last.pos + 48 + body.len() as u64);
    let mut between = DLedger::behind(files_of(&disk), next, last.term + 1);
    for n in 0..theirs {
        between.append(&vec![n as u8 | 0x20; 90 * (n as usize % 8) + 1]);
    }
    between.state(last.term + 1, None);
    expected.extend(as_read(&between.records));
    let mut disk = between.disk();
    for life in 0..3 {
        let mut log = open(&disk);
        same(&log.read_all(), &expected, &format!("life {life} after DLedger's"));
        if life == 0 {
            assert!(log.shared.state().term >= last.term + 3);
            let noted = MetaStore::read(&disk).unwrap().unwrap().dledger_end;
            assert_eq!((noted.index.0, noted.pos), between.next, "the noted end moved");
            for (path, bytes) in between.files.iter().filter(|(p, _)| p.starts_with("data")) {
                assert_eq!(disk.read_file(path).as_ref(), Some(bytes), "{path}");
            }
        }
        for n in 0..5u8 {
            let body = vec![n | 0x10; 200];
            expected.push((log.append(&body, None).unwrap(), body));
            log.settle();
        }
        log.stop();
        let shape = Shape { dledgers: between.next.0, ..shape() };
        let parsed = parse(&files_of(&disk), &shape);
        let bodies: Vec<&Vec<u8>> =
            parsed.data.records.iter().filter(|r| r.magic == 1).map(|r| &r.body).collect();
        assert!(bodies == expected.iter().map(|(_, body)| body).collect::<Vec<_>>());
        disk = disk.restart();
    }
}

/// DLedger's records, then ours, then DLedger's: all of it is there.
#[test]
fn dledger_wrote_behind_ours() {
    dledger_wrote_in_between(1, 20, DLedger::typical());
}

/// The same behind several of our lives, whose control entries stand between our batches.
#[test]
fn dledger_wrote_behind_several_lives_of_ours() {
    dledger_wrote_in_between(4, 20, DLedger::typical());
}

/// The same with fewer records of DLedger's than control entries of ours: no unit of a Raft entry
/// that is no more stays behind the end.
#[test]
fn dledger_wrote_one_record_behind_many_lives_of_ours() {
    dledger_wrote_in_between(6, 1, DLedger::typical());
}

/// The same where the log was ours from its birth.
#[test]
fn dledger_wrote_behind_a_log_that_was_ours() {
    let mut old = DLedger::new(SEGMENT, INDEX);
    old.state(1, None);
    dledger_wrote_in_between(2, 10, old);
}

/// Takes a log of DLedger's through two lives of ours, then has DLedger append. Answers the files,
/// all records, and where DLedger's end.
fn mixed() -> (Files, Records, (u64, u64)) {
    let old = DLedger::typical();
    let mut expected = as_read(&old.records);
    let mut disk = old.disk();
    for life in 0..2 {
        disk = disk.restart();
        let mut log = open(&disk);
        for n in 0..12u8 {
            let body = vec![n | 0x40; 500 + 50 * life];
            expected.push((log.append(&body, None).unwrap(), body));
            if n % 4 == 0 {
                log.settle();
            }
        }
        log.settle();
        log.stop();
    }
    let (last, body) = expected.last().unwrap().clone();
    let next = (last.index.0 + 1, last.pos + 48 + body.len() as u64);
    let mut between = DLedger::behind(files_of(&disk), next, last.term + 1);
    for n in 0..10u8 {
        between.append(&[n | 0x20; 400]);
    }
    between.state(last.term + 1, None);
    expected.extend(as_read(&between.records));
    (between.files, expected, between.next)
}

/// P17: the second import, cut at each of its writes, is done again and loses nothing of either.
#[test]
fn a_second_import_cut_at_each_write_is_done_again() {
    let (files, expected, _) = mixed();
    let mut rng = fastrand::Rng::with_seed(6);
    for point in 0.. {
        let disk = disk_of(&files);
        disk.fail_after_ops(point);
        let opened = try_open_quietly(&disk);
        let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
        let log = open(&after);
        same(&log.read_all(), &expected, &format!("cut at {point}"));
        if opened {
            println!("{point} cuts");
            return;
        }
    }
}

/// P5, behaviour 37: a flipped bit in a record of ours that DLedger went on behind is found, by its
/// own checksums, and costs that record only.
#[test]
fn behaviour_37_our_checksums_hold_below_dledgers_end() {
    let (files, expected, _) = mixed();
    let ours = expected.iter().position(|(e, _)| e.term >= 7).unwrap() + 5;
    let entry = expected[ours].0;
    let disk = disk_of(&files);
    drop(open(&disk));
    let disk = disk.restart();
    assert!(disk.flip(
        &format!("data/{:020}", entry.pos - entry.pos % SEGMENT),
        entry.pos % SEGMENT + 60,
        1
    ));
    let log = open(&disk);
    for (n, (entry, body)) in expected.iter().enumerate() {
        let mut buf = vec![0; body.len()];
        let read = log.shared.read_copy(entry.index, &mut buf);
        match n == ours {
            true => assert_eq!(read, Err((Status::Corrupt, None))),
            false => assert_eq!(read, Ok(*entry)),
        }
    }
}

/// Behaviour 40 and case 17 for such a log: the head goes at any segment, and the log opens, reads,
/// and verifies from there.
#[test]
fn case_17_a_purge_anywhere_in_records_of_both() {
    let (files, expected, end) = mixed();
    for at in (5..expected.len()).step_by(3) {
        let disk = disk_of(&files);
        let mut log = open(&disk);
        let index = expected[at].0.index;
        log.shared.ask(dledger::group::shared::Control::DeletePrefix(index));
        log.settle();
        let begin = log.shared.state().begin;
        assert!(begin.index <= index);
        let kept: Vec<_> =
            expected.iter().filter(|(e, _)| e.index >= begin.index).cloned().collect();
        same(&log.read_all(), &kept, "after the purge");
        drop(log);
        // Without its index all of it is scanned again.
        let disk = disk.restart();
        for path in disk.paths().iter().filter(|p| p.starts_with("index/")) {
            disk.remove(path).unwrap();
        }
        let mut log = open(&disk);
        same(&log.read_all(), &kept, &format!("purged to {}, index gone", begin.index));
        log.append(&[1; 10], None).unwrap();
        log.settle();
        log.stop();
        assert!(end.0 > begin.index.0);
    }
}

/// P5: DLedger's numbers are Java's, and terms and indexes beyond are none of its: a rotted header
/// is damage or a torn tail, whatever it says.
#[test]
fn numbers_beyond_javas_are_not_dledgers() {
    let mut old = DLedger::new(SEGMENT, INDEX);
    old.append(b"one");
    old.append(b"two");
    let expected = as_read(&old.records);
    old.term = u64::MAX;
    old.append(b"three");
    old.state(1, None);
    same(&open(&old.disk()).read_all(), &expected, "a term");

    let mut old = DLedger::new(SEGMENT, INDEX);
    let record = Old { magic: 1, index: u64::MAX, term: 0, pos: 0, body: vec![1] };
    old.write("data", SEGMENT, 0, &bytes_of(&record));
    let found = try_open(&old.disk(), &settings(SEGMENT, INDEX)).err();
    assert!(matches!(found, Some(Error::Corrupt { pos: 0, .. })), "{found:?}");
}
