//! There, back, and there again: a directory that we and DLedger write to in turns. Whatever either
//! has written whole is read by both, and never cut.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

#[allow(dead_code)]
#[path = "support/dledger.rs"]
mod builder;
#[allow(dead_code)]
#[path = "support/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "support/parser.rs"]
mod parser;

use dledger::disk::memory::MemoryDisk;
use dledger::error::{Error, Status};
use dledger::group::Entry;

use builder::{DLedger, INDEX, Records, SEGMENT, as_read, disk_of, files_of, open};
use memory::{same, settings, try_open};
use parser::Files;

/// Appends through us, one batch each time.
fn ours(disk: &MemoryDisk, batches: &[&[Vec<u8>]], expected: &mut Records) {
    let mut log = open(disk);
    same(&log.read_all(), expected, "there");
    for bodies in batches {
        for body in *bodies {
            expected.push((log.append(body, None).unwrap(), body.clone()));
        }
        log.settle();
    }
    log.stop();
}

/// Where the next record of DLedger's goes.
fn behind(files: Files, expected: &Records, term: u64) -> DLedger {
    let next = expected
        .last()
        .map_or((0, 0), |(last, body)| (last.index.0 + 1, last.pos + 48 + body.len() as u64));
    DLedger::behind(files, next, term)
}

/// What DLedger finds (`DLedgerMmapFileStore.recover`): all records from the first file on, until
/// one is not framed. It looks at no checksum.
fn dledger_reads(files: &Files) -> Vec<Vec<u8>> {
    let data: Vec<u8> = files
        .iter()
        .filter(|(path, _)| path.starts_with("data/"))
        .flat_map(|(_, b)| b.clone())
        .collect();
    let (mut at, mut bodies) = (0, Vec::new());
    let mut term = 0;
    let n = |at: usize, len: usize| {
        data.get(at..at + len).map_or(0, |b| b.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    loop {
        let (magic, size) = (n(at, 4), n(at + 4, 4) as usize);
        if magic == 0xffff_ffff {
            at += size;
            continue;
        }
        let framed = (1..=3).contains(&magic) && size > 44 && n(at + 44, 4) as usize + 48 == size;
        if !framed || n(at + 8, 8) != bodies.len() as u64 || n(at + 16, 8) < term {
            return bodies;
        }
        term = n(at + 16, 8);
        bodies.push(data[at + 48..at + size].to_vec());
        at += size;
    }
}

fn bodies(records: &Records) -> Vec<Vec<u8>> {
    records.iter().map(|(_, body)| body.clone()).collect()
}

/// `rounds` times there and back, from a log of ours or of DLedger's; `currterm` as DLedger leaves
/// it, or lost on the way.
fn there_and_back(rounds: usize, first: DLedger, keeps_currterm: bool, theirs: &[Vec<u8>]) {
    let mut expected = as_read(&first.records);
    let mut files = first.files;
    for round in 0..rounds {
        if !keeps_currterm {
            files.remove("currterm");
        }
        let disk = disk_of(&files);
        let body = |n: usize| vec![n as u8 | 0x40; 40 * n];
        ours(&disk, &[&[body(1), vec![]], &[body(2)], &[body(3), body(4)]], &mut expected);
        files = files_of(&disk);
        assert!(dledger_reads(&files) == bodies(&expected), "round {round}: back");
        let term = expected.last().map_or(0, |(entry, _)| entry.term);
        let mut back = behind(files, &expected, term + 1);
        for body in theirs {
            back.append(body);
        }
        back.state(term + 1, None);
        expected.extend(as_read(&back.records));
        files = back.files;
    }
    let disk = disk_of(&files);
    for life in 0..2 {
        ours(&disk, &[&[vec![life; 99]]], &mut expected);
        let meta = dledger::commitlog::meta::MetaStore::read(&disk).unwrap().unwrap();
        assert_eq!(meta.dledger_end.index.0 as usize, expected.len() - 1 - life as usize);
    }
    same(&open(&disk).read_all(), &expected, "there again");
}

/// Format, "opening a directory written by DLedger": there, back and there again, all records are
/// there each time, whatever became of `currterm` on the way.
#[test]
fn there_back_and_there_again() {
    for keeps in [true, false] {
        for theirs in [1, 2, 30] {
            let bodies: Vec<_> =
                (0..theirs).map(|n| vec![n as u8 | 0x20; 90 * (n % 8) + 1]).collect();
            there_and_back(3, DLedger::new(SEGMENT, INDEX), keeps, &bodies);
            let mut old = DLedger::new(SEGMENT, INDEX);
            for n in 0..20u8 {
                old.append(&[n | 1; 300]);
            }
            old.state(1, None);
            there_and_back(3, old, keeps, &bodies);
        }
    }
}

/// The same with records without a body, which a torn record of ours can look like: with what
/// DLedger's state file says, or another record behind, they are told apart at any place.
#[test]
fn records_without_a_body_are_no_torn_tail() {
    for (keeps, theirs) in [(true, 1), (false, 2)] {
        // Where the header begins in a sector: across two from 465 on.
        for shift in [0, 180, 220, 256, 290] {
            let mut old = DLedger::new(SEGMENT, INDEX);
            old.append(&vec![1; shift]);
            old.state(1, None);
            there_and_back(1, old, keeps, &vec![vec![]; theirs]);
        }
    }
}

/// And one alone is kept wherever its header lies in one sector, which a disk writes as a whole.
#[test]
fn one_record_without_a_body_alone() {
    let mut cut = 0;
    // It begins 126 behind the shift.
    for shift in [0, 100, 337, 338, 339, 362, 385, 386, 387] {
        let mut old = DLedger::new(SEGMENT, INDEX);
        old.append(&vec![1; shift]);
        let disk = old.disk();
        let mut expected = as_read(&old.records);
        ours(&disk, &[&[vec![7; 30]]], &mut expected);
        let mut back = behind(files_of(&disk), &expected, 9);
        back.append(&[]);
        let log = open(&back.disk());
        let pos = back.records[0].pos;
        if pos % 512 <= 512 - 48 {
            expected.extend(as_read(&back.records));
        } else {
            cut += 1;
        }
        same(&log.read_all(), &expected, &format!("at {pos}"));
    }
    assert_eq!(cut, 3);
}

/// We died with a batch half written; DLedger took its whole records for records, and went on.
#[test]
fn dledger_went_on_behind_half_a_batch() {
    for keeps in [true, false] {
        let (disk, mut expected) = killed();
        let (torn, body) = expected.pop().unwrap();
        let mut files = files_of(&disk);
        let data = files.get_mut(&format!("data/{:020}", torn.pos - torn.pos % SEGMENT)).unwrap();
        data[(torn.pos % SEGMENT) as usize..][..48 + body.len()].fill(0);
        let mut back = behind(files, &expected, torn.term + 1);
        for n in 0..5 {
            back.append(&[n | 0x20; 70]);
        }
        if keeps {
            back.state(torn.term + 1, None);
        }
        expected.extend(as_read(&back.records));
        ours(&back.disk(), &[&[vec![5; 50]]], &mut expected);
    }
}

/// A log of ours whose last batch, of three records, is above the durable bound.
fn killed() -> (MemoryDisk, Records) {
    let disk = MemoryDisk::new();
    let mut expected = Records::new();
    ours(&disk, &[&[vec![1; 20], vec![2; 30]]], &mut expected);
    let mut log = open(&disk);
    for n in 0..3 {
        let body = vec![n | 0x40; 80];
        expected.push((log.append(&body, None).unwrap(), body));
    }
    log.settle();
    drop(log);
    (disk.restart(), expected)
}

/// P5: a record of ours that is not intact, and DLedger, which sees no checksum, went on behind it:
/// that is damage, wherever it lies. Nothing is cut.
#[test]
fn damage_before_dledgers_records_is_never_cut() {
    let (disk, expected) = killed();
    for n in 2..expected.len() {
        let (hit, _) = expected[n];
        let mut files = files_of(&disk);
        let data = format!("data/{:020}", hit.pos - hit.pos % SEGMENT);
        files.get_mut(&data).unwrap()[(hit.pos % SEGMENT) as usize + 60] ^= 1;
        let mut back = behind(files, &expected, hit.term + 1);
        for n in 0..5 {
            back.append(&[n | 0x20; 70]);
        }
        back.state(hit.term + 1, None);
        refused(&back.files, hit);
    }
}

/// The directory is refused as damaged where this record lies, and its data stay as they are.
fn refused(files: &Files, hit: Entry) {
    let disk = disk_of(files);
    match try_open(&disk, &settings(SEGMENT, INDEX)).err() {
        Some(Error::Corrupt { pos, .. }) => assert_eq!(pos, hit.pos),
        other => panic!("record {}: {other:?}", hit.index),
    }
    let now = files_of(&disk);
    assert_eq!(now.contains_key("meta"), files.contains_key("meta"), "it stays DLedger's");
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with("data/")) {
        assert!(now[path] == *bytes, "{path} changed");
    }
}

/// P5: a header of DLedger's that rotted, with records behind it that it never cut (their terms are
/// no older) and that no crash can have left there: damage, where DLedger itself cuts.
#[test]
fn damage_in_dledgers_records_is_never_cut() {
    let mut old = DLedger::new(SEGMENT, INDEX);
    for n in 0..90u64 {
        old.term = n / 50;
        old.append(&vec![n as u8 | 1; 1500]);
    }
    old.state(2, None);
    let records = as_read(&old.records);
    for n in [1usize, 20, 49, 50] {
        let (hit, _) = records[n];
        let mut files = old.files.clone();
        let data = format!("data/{:020}", hit.pos - hit.pos % SEGMENT);
        files.get_mut(&data).unwrap()[(hit.pos % SEGMENT) as usize + 15] ^= 1;
        let before = records[n - 1].0;
        let end = before.pos + 48 + u64::from(before.body_len);
        refused(&files, Entry { pos: end, ..hit });
    }
    // What it cut, and wrote over in a newer term, is stale however far it reaches.
    let mut cut = DLedger::behind(old.files.clone(), (3, old.records[3].pos), 7);
    cut.records = old.records[..3].to_vec();
    cut.append(&[0xaa; 10]);
    cut.state(7, None);
    same(&open(&cut.disk()).read_all(), &as_read(&cut.records), "a stale tail");
}

/// P4: DLedger was here and wrote nothing, but it may have voted: none of our terms is one of its.
#[test]
fn terms_stay_above_dledgers() {
    let disk = MemoryDisk::new();
    let mut expected = Records::new();
    ours(&disk, &[&[vec![1; 20]]], &mut expected);
    let mut back = behind(files_of(&disk), &expected, 0);
    back.state(50, None);
    let disk = back.disk();
    let log = open(&disk);
    assert!(log.shared.state().term >= 52, "{}", log.shared.state().term);
    assert_eq!(log.shared.failure().map(|_| Status::Failed), None);
}
