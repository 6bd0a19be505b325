//! P17: recovery twice, and recovery interrupted, give the same as recovery once.

use std::sync::Arc;

use dledger::commitlog::control::{Control, ControlEntry};
use dledger::commitlog::meta::Meta;
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;

use crate::memory::world::Settings;
use crate::memory::{Image, open};
use crate::{append, flip, killed, large, meta, recover, segment, small, stopped};

/// What recovery leaves: all files of records and units, Raft's own entries, and what `meta` says.
/// How often `meta` was stored, and how many cut marks `control` has, may differ.
#[derive(Debug, PartialEq)]
struct Left {
    files: Image,
    controls: Vec<ControlEntry>,
    meta: Meta,
}

fn left(disk: &MemoryDisk) -> Left {
    let files = Image::of(disk).only(&["data", "index", "batches"]);
    let meta = Meta { control_end: 0, ..meta(disk) };
    let (_, controls) = Control::open(Arc::new(disk.clone()), 0).unwrap();
    Left { files, controls, meta }
}

fn compare(a: &Left, b: &Left, what: &str) {
    a.files.assert_same(&b.files, what);
    assert_eq!(a.controls, b.controls, "{what}");
    assert_eq!(a.meta, b.meta, "{what}");
}

/// Recovers once, twice, and cut at each write (whatever survives of it), and compares every file.
fn same_each_time(image: &Image, settings: &Settings, what: &str) {
    let once = image.disk();
    recover(&once, settings).unwrap_or_else(|e| panic!("{what}: {e}"));
    let expected = left(&once);
    let twice = once.restart();
    let before = Image::of(&twice);
    recover(&twice, settings).unwrap();
    before.assert_same(&Image::of(&twice), &format!("{what}, twice: each byte"));
    let mut rng = fastrand::Rng::with_seed(4);
    let mut cuts = 0;
    for point in crate::points() {
        let disk = image.disk();
        disk.fail_after_ops(point);
        let done = recover(&disk, settings).is_ok();
        for torn in 0..2 {
            let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            if torn == 0 {
                // And once more in the middle of the second attempt.
                after.fail_after_ops(point / 2);
                let _ = recover(&after, settings);
                let after = after.crash(&mut |n| rng.u64(..n.max(1)));
                recover(&after, settings).unwrap_or_else(|e| panic!("{what}, {point}: {e}"));
                compare(&expected, &left(&after), &format!("{what}, cut twice at {point}"));
                continue;
            }
            recover(&after, settings).unwrap_or_else(|e| panic!("{what}, {point}: {e}"));
            compare(&expected, &left(&after), &format!("{what}, cut at {point}"));
        }
        cuts += 1;
        if done {
            break;
        }
    }
    println!("{what}: {cuts} cuts");
}

/// P17: a log that was killed, with batches above the bound.
#[test]
fn scenario_24_recovery_of_a_killed_log_is_the_same_each_time() {
    let (image, ..) = killed(&large(), 8, 100);
    same_each_time(&image, &large(), "killed");
}

/// P17: a torn tail with whole records behind it.
#[test]
fn scenario_24_recovery_of_a_torn_tail_is_the_same_each_time() {
    let (image, records, durable) = killed(&large(), 8, 100);
    let disk = image.disk();
    flip(&disk, &large(), records[durable + 4].0.pos + 9, 1);
    same_each_time(&Image::of(&disk), &large(), "torn");
}

/// P17: a torn tail over several segments, which go with it, and derived units in several files.
#[test]
fn scenario_24_recovery_over_segments_is_the_same_each_time() {
    let settings = small();
    let (disk, mut records) = stopped(&settings, 3, 100);
    let durable = records.len();
    let mut log = crate::memory::world::Open::new(&disk, &Default::default(), &settings).unwrap();
    // Turns without the helper: no checkpoint comes between.
    while !log.shared.state().ready {
        log.turn();
    }
    for n in 0..30u8 {
        let body = vec![n; 500];
        let Ok(entry) = log.append(&body, None) else { break };
        records.push((entry, body));
        log.turn();
        log.turn();
    }
    assert_eq!(meta(&disk).durable.index.0 as usize, durable);
    assert!(records.last().unwrap().0.pos > 3 * 4096);
    flip(&disk, &settings, records[durable + 2].0.pos + 9, 1);
    same_each_time(&Image::of(&disk), &settings, "segments");
}

/// P17: units that have to be made again.
#[test]
fn scenario_24_recovery_without_units_is_the_same_each_time() {
    let (disk, _) = stopped(&small(), 20, 30);
    disk.remove("index/00000000000000000000").unwrap();
    disk.remove("batches/00000000000000000000").unwrap();
    same_each_time(&Image::of(&disk), &small(), "no units");
}

/// P17: a tail of files that is missing, and clamping is asked for. What is kept once is kept each
/// time.
#[test]
fn a_clamped_log_opens_without_asking_again() {
    let settings = small();
    let (disk, records) = stopped(&settings, 12, 300);
    disk.remove(&segment(&settings, records.last().unwrap().0.pos)).unwrap();
    let mut birth = crate::birth(&settings);
    birth.clamp_missing_tail = true;
    dledger::commitlog::CommitLog::open(Arc::new(disk.clone()), &birth).unwrap();
    let before = left(&disk);
    recover(&disk.restart(), &settings).unwrap();
    assert!(before.meta.durable.index.0 < records.len() as u64);
}

/// A log that is only opened, again and again, keeps its records and its files' number, and each
/// life has a term of its own (behaviour 29, case 2).
#[test]
fn behaviour_29_case_02_many_lives_without_an_append() {
    let settings = small();
    let (mut disk, mut records) = stopped(&settings, 4, 100);
    let files = Image::of(&disk).only(&["data"]).0.len();
    let mut term = 0;
    for life in 0..40 {
        let mut log = open(&disk, &settings);
        let now = log.shared.state().term;
        assert!(now > term, "term {now} after {term}");
        term = now;
        if life % 3 == 0 {
            log.stop();
        }
        drop(log);
        disk = disk.restart();
    }
    assert_eq!(Image::of(&disk).only(&["data"]).0.len(), files);
    let mut log = open(&disk, &settings);
    append(&mut log, 1, 50, 8, &mut records);
    crate::memory::same(&log.read_all(), &records, "after forty lives");
}

/// P1, scenario 14: what recovery found in the page cache of a process that was killed is on disk
/// when it is done, the names of segments included. A power cut behind it takes nothing away.
#[test]
fn scenario_14_what_recovery_found_outlives_the_power() {
    let settings = Settings { flush: "10s", ..small() };
    let disk = MemoryDisk::new();
    let mut records = Vec::new();
    let mut log = open(&disk, &settings);
    append(&mut log, 40, 60, 1, &mut records);
    let killed = disk.restart();
    assert_eq!(meta(&killed).durable.index.0, 0, "nothing was noted as durable");
    assert!(records.last().unwrap().0.pos > 3 * settings.segment_bytes, "it rolled");
    drop(recover(&killed, &settings).unwrap());
    let cut = killed.crash(&mut |n| 1 % n.max(1));
    crate::goes_on(&cut, &settings, &records, "after the power cut");
}
