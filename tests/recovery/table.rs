//! Rows of the table that go on: what is cut, finished, removed or made again.

use dledger::commitlog::control::{Control, ControlEntry, ControlKind};
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Error;
use dledger::group::driver::Next;
use dledger::types::RaftIndex;

use crate::memory::world::Settings;
use crate::memory::{Image, open, settings};
use crate::{
    append, birth, flip, goes_on, killed, large, meta, points, recover, segment, small, stopped,
    with_meta, write,
};

/// Nothing: a log is born, at whichever write its birth was cut (scenario 19: never a landmine).
#[test]
fn scenario_19_a_birth_cut_at_each_write() {
    let mut rng = fastrand::Rng::with_seed(1);
    for point in points() {
        let disk = MemoryDisk::new();
        disk.fail_after_ops(point);
        let born = recover(&disk, &small()).is_ok();
        for _ in 0..3 {
            let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            goes_on(&after, &small(), &[], "a birth");
        }
        if born {
            println!("{point} cuts");
            return;
        }
    }
}

/// From the durable bound on zeros: the log as it was. Nothing is written but the same bytes.
#[test]
fn a_clean_log_stays_as_it_is() {
    for settings in [small(), large()] {
        let (disk, records) = stopped(&settings, 8, 300);
        let before = Image::of(&disk);
        let log = recover(&disk, &settings).unwrap();
        assert_eq!(log.end().index.0, records.len() as u64);
        assert_eq!(log.flushed(), log.end());
        before.assert_same(&Image::of(&disk), "a clean log");
        drop(log);
        goes_on(&disk.restart(), &settings, &records, "a clean log");
    }
}

/// P1: batches from the durable bound on are the log, whatever noted that they are there.
#[test]
fn whole_batches_above_the_bound_are_the_log() {
    for settings in [small(), large()] {
        let (disk, mut records) = stopped(&settings, 2, 50);
        let mut log = open(&disk, &settings);
        append(&mut log, 9, 280, 2, &mut records);
        let disk = disk.restart();
        let log = recover(&disk, &settings).unwrap();
        assert_eq!(log.meta().durable, log.end(), "from here on it is known");
        drop(log);
        goes_on(&disk.restart(), &settings, &records, "killed");
    }
}

/// A noted cut is finished before anything else, at whichever write it is cut again.
#[test]
fn scenario_24_a_noted_cut_is_finished() {
    for settings in [small(), large()] {
        let (disk, records) = stopped(&settings, 10, 250);
        let log = recover(&disk, &settings).unwrap();
        // Behind the fourth batch.
        let end = log.end();
        let to = log.anchor(RaftIndex(5)).unwrap();
        drop(log);
        assert!(to.index.0 == 12 && to.raft_index < end.raft_index);
        with_meta(&disk, |meta| {
            (meta.cut, meta.durable, meta.committed) = (Some(to), to, to);
        });
        let noted = Image::of(&disk);
        let mut rng = fastrand::Rng::with_seed(2);
        for point in points() {
            let disk = noted.disk();
            disk.fail_after_ops(point);
            let done = recover(&disk, &settings).is_ok();
            let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            goes_on(&after, &settings, &records[..12], &format!("cut at {point}"));
            assert_eq!(meta(&after).cut, None);
            if done {
                println!("{point} cuts");
                break;
            }
        }
    }
}

/// Files below begin are what a purge left; they go. A spare is what an allocation left; it goes.
#[test]
fn files_below_begin_and_spares_are_removed() {
    let settings = small();
    let (disk, records) = stopped(&settings, 12, 300);
    let whole = Image::of(&disk);
    let mut log = open(&disk, &settings);
    let index = records[20].0.index;
    log.shared.ask(dledger::group::shared::Control::DeletePrefix(index));
    log.settle();
    let begin = log.driver.log().begin();
    assert!(begin.pos >= 4096);
    log.stop();
    let disk = disk.restart();
    for pos in (0..begin.pos).step_by(4096) {
        let path = segment(&settings, pos);
        assert_eq!(disk.read_file(&path), None);
        disk.write_file(&path, &[7; 4096]);
    }
    disk.write_file("spare/00000000000000000099", &[9; 4096]);
    assert!(whole.file(&segment(&settings, 0)).is_some());
    recover(&disk, &settings).unwrap();
    for pos in (0..begin.pos).step_by(4096) {
        assert_eq!(disk.read_file(&segment(&settings, pos)), None, "below begin");
    }
    assert_eq!(disk.read_file("spare/00000000000000000099"), None);
    let kept: Vec<_> = records.iter().filter(|(e, _)| e.index >= begin.index).cloned().collect();
    goes_on(&disk.restart(), &settings, &kept, "purged");
}

/// P5, scenario 18: an incomplete batch is torn as a whole, whichever of its bytes is wrong: it is
/// cut, and all before it stays.
#[test]
fn scenario_18_a_torn_batch_is_cut_as_a_whole() {
    let settings = large();
    let (image, records, _) = killed(&settings, 3, 20);
    let kept = records.len() - 3;
    let (first, last) = (records[kept].0, records[kept + 2].0);
    let end = last.pos + 48 + u64::from(last.body_len);
    for pos in first.pos..end {
        let disk = image.disk();
        flip(&disk, &settings, pos, 0x11);
        let log = recover(&disk, &settings).unwrap_or_else(|e| panic!("byte {pos}: {e}"));
        assert_eq!(log.end().index.0 as usize, kept, "byte {pos}");
        assert_eq!(log.end().pos, first.pos);
        let data = disk.read_file(&segment(&settings, pos)).unwrap();
        assert!(data[first.pos as usize..].iter().all(|b| *b == 0), "zeros behind the end");
    }
    for n in 0..3 {
        let disk = image.disk();
        let at = records[kept + n].0.pos;
        write(&disk, &segment(&settings, at), at, &vec![0; (end - at) as usize]);
        goes_on(&disk, &settings, &records[..kept], "torn from a record on");
    }
}

/// Case 4: a batch whose control entry is missing is no batch: it is cut, and what follows it.
#[test]
fn case_04_a_batch_without_its_control_entries_is_cut() {
    let settings = large();
    let (image, records, durable) = killed(&settings, 3, 20);
    // The second life's no-op is the last entry of `control`.
    let used = image.file("control").unwrap().len().next_multiple_of(8) as u64;
    let disk = image.disk();
    assert!(meta(&disk).control_end <= used - 32, "nothing vouches for it");
    write(&disk, "control", used - 32, &[0; 32]);
    let log = recover(&disk, &settings).unwrap();
    assert_eq!(log.end().index.0 as usize, durable);
    drop(log);
    goes_on(&disk.restart(), &settings, &records[..durable], "no control entry");
    // A torn one is none.
    for at in 0..32 {
        let disk = image.disk();
        disk.flip("control", used - 32 + at, 4);
        assert_eq!(recover(&disk, &settings).unwrap().end().index.0 as usize, durable);
    }
}

/// Case 9, rule 4: a hole with whole records behind it, all within `unsynced.max`, is one torn
/// write: cut from the hole on.
#[test]
fn case_09_a_hole_within_the_unsynced_part_is_cut() {
    let settings = large();
    let (image, records, durable) = killed(&settings, 40, 200);
    let behind = records.last().unwrap().0.pos - records[durable].0.pos;
    assert!(behind < settings.unsynced_max, "all of it fits one turn");
    for hole in [durable, durable + 4, records.len() - 5] {
        let disk = image.disk();
        flip(&disk, &settings, records[hole].0.pos + 50, 1);
        let kept = durable + (hole - durable) / 3 * 3;
        goes_on(&disk, &settings, &records[..kept], "a near hole");
    }
}

/// Rule 4, P5: a hole with a record farther behind than one turn may write is damage, told with its
/// position, and nothing is cut.
#[test]
fn a_hole_with_a_record_far_behind_is_damage() {
    let settings = large();
    let (image, records, durable) = killed(&settings, 60, 500);
    let last = records.last().unwrap().0.pos;
    assert!(last - records[durable].0.pos > 64 << 10);
    for hole in [durable, durable + 4] {
        let disk = image.disk();
        flip(&disk, &settings, records[hole].0.pos + 50, 1);
        let before = Image::of(&disk);
        let expected = records[durable + (hole - durable) / 3 * 3].0.pos;
        match recover(&disk, &settings).err() {
            Some(Error::Corrupt { pos, what }) => assert_eq!(pos, expected, "{what}"),
            other => panic!("{other:?}"),
        }
        let dirs = ["data"];
        before.only(&dirs).assert_same(&Image::of(&disk).only(&dirs), "never a cut");
    }
}

/// Control entries behind the end that do not follow it go with the tail that they stood behind.
#[test]
fn control_entries_that_do_not_follow_the_end_are_cut() {
    let settings = small();
    let (disk, records) = stopped(&settings, 6, 100);
    let end = meta(&disk).durable.raft_index;
    let entry = |at: RaftIndex, kind, content: &[u8]| ControlEntry {
        raft_index: at,
        term: 1,
        kind,
        content: content.to_vec(),
    };
    let (mut control, _) = Control::open(std::sync::Arc::new(disk.clone()), 0).unwrap();
    let stray = [
        entry(end + 2, ControlKind::NoOp, b""),
        entry(end + 3, ControlKind::Membership, b"somebody"),
    ];
    control.append(&stray).unwrap();
    drop(control);
    let log = recover(&disk, &settings).unwrap();
    assert_eq!(log.end().raft_index, end);
    drop(log);
    let (_, entries) = Control::open(std::sync::Arc::new(disk.clone()), 0).unwrap();
    assert!(entries.iter().all(|e| e.raft_index <= end), "{entries:?}");
    goes_on(&disk.restart(), &settings, &records, "stray control entries");
}

/// Control entries that follow the end are the log's: a leader that was elected and died at once.
#[test]
fn control_entries_that_follow_the_end_are_kept() {
    let settings = small();
    let (disk, records) = stopped(&settings, 6, 100);
    let end = meta(&disk).durable.raft_index;
    drop(open(&disk, &settings));
    let disk = disk.restart();
    let log = recover(&disk, &settings).unwrap();
    assert_eq!(log.end().raft_index, end + 1);
    assert_eq!(log.end().index.0 as usize, records.len());
    drop(log);
    goes_on(&disk.restart(), &settings, &records, "a no-op at the end");
}

/// Behaviour 38, scenario 26: units that are gone, short or of another length are made again from
/// data and control, to the same bytes.
#[test]
fn scenario_26_behaviour_38_units_are_made_again() {
    for settings in [small(), large()] {
        let (disk, records) = stopped(&settings, 60, 30);
        let whole = Image::of(&disk);
        let units: Vec<_> =
            whole.only(&["index", "batches"]).0.iter().map(|(p, ..)| p.clone()).collect();
        let check = |disk: MemoryDisk, what: &str| {
            let log = recover(&disk, &settings).unwrap_or_else(|e| panic!("{what}: {e}"));
            drop(log);
            let dirs = ["data", "index", "batches"];
            whole.only(&dirs).assert_same(&Image::of(&disk).only(&dirs), what);
            goes_on(&disk.restart(), &settings, &records, what);
        };
        for path in &units {
            let disk = whole.disk();
            disk.remove(path).unwrap();
            check(disk, &format!("{path} is gone"));
            let disk = whole.disk();
            let mut short = whole.file(path).unwrap().to_vec();
            short.resize(64, 0);
            disk.write_file(path, &short);
            check(disk, &format!("{path} is short"));
        }
        for dirs in [&["index"][..], &["batches"], &["index", "batches"]] {
            let disk = whole.disk();
            for path in units.iter().filter(|p| dirs.iter().any(|d| p.starts_with(d))) {
                disk.remove(path).unwrap();
            }
            check(disk, &format!("{dirs:?} are gone"));
        }
        // What was never synced is zeros: the last units of a log that was killed.
        let used = |path: &&String| !whole.file(path).unwrap().is_empty();
        let last = units.iter().filter(used).rfind(|p| p.starts_with("index")).unwrap();
        let disk = whole.disk();
        let used = whole.file(last).unwrap().len().next_multiple_of(32) as u64;
        write(&disk, last, used - 32, &[0; 32]);
        check(disk, "the last unit is zeros");
    }
}

/// The same where control entries end the log: they are below the bound too.
#[test]
fn units_are_made_again_where_a_control_entry_ends_the_log() {
    for settings in [small(), large()] {
        let (disk, records) = stopped(&settings, 20, 30);
        open(&disk, &settings).stop();
        let disk = disk.restart();
        open(&disk, &settings).stop();
        let disk = disk.restart();
        let whole = Image::of(&disk);
        for dir in ["index", "batches"] {
            let disk = whole.disk();
            disk.remove(&format!("{dir}/{:020}", 0)).unwrap();
            drop(recover(&disk, &settings).unwrap_or_else(|e| panic!("{dir}: {e}")));
            whole.only(&[dir]).assert_same(&Image::of(&disk).only(&[dir]), dir);
            goes_on(&disk.restart(), &settings, &records, dir);
        }
    }
}

/// Units behind the durable bound that differ are written again: they derive from the data.
#[test]
fn units_behind_the_bound_that_differ_are_rewritten() {
    let settings = large();
    let (image, records, durable) = killed(&settings, 20, 60);
    let disk = image.disk();
    for n in durable..records.len() {
        write(&disk, "index/00000000000000000000", n as u64 * 32 + 5, &[0xee; 9]);
    }
    recover(&disk, &settings).unwrap();
    let dirs = ["index", "batches"];
    image.only(&dirs).assert_same(&Image::of(&disk).only(&dirs), "rewritten");
    goes_on(&disk.restart(), &settings, &records, "rewritten");
}

/// Scenario 10, behaviour 23: what was cut never comes back, although records of the same size come
/// in its place and the file is read behind them.
#[test]
fn scenario_10_behaviour_23_cut_records_never_come_back() {
    let settings = large();
    let (image, records, durable) = killed(&settings, 6, 60);
    let disk = image.disk();
    // The first batch above the bound is torn: all five behind it go with it.
    flip(&disk, &settings, records[durable].0.pos + 50, 1);
    let mut log = open(&disk, &settings);
    let mut now = records[..durable].to_vec();
    append(&mut log, 1, 60, 3, &mut now);
    let disk = disk.restart();
    goes_on(&disk, &settings, &now, "after the cut");
    let disk = disk.restart();
    now = open(&disk, &settings).read_all();
    assert_eq!(now.len(), durable + 3 + 3);
    goes_on(&disk.restart(), &settings, &now, "again");
}

/// Case 15: 70,000 elections without an append, then an append: their count stands in `control`, and
/// the record is found again.
#[test]
fn case_15_seventy_thousand_elections_then_an_append() {
    let settings = settings_for_units();
    let (disk, mut records) = stopped(&settings, 1, 40);
    let mut log = recover(&disk, &settings).unwrap();
    let from = log.end().raft_index.0;
    let first_term = log.meta().term + 1;
    for round in 0..700u64 {
        let noop = |n: u64| ControlEntry {
            raft_index: RaftIndex(from + 1 + n),
            term: first_term + n,
            kind: ControlKind::NoOp,
            content: Vec::new(),
        };
        let entries = (round * 100..(round + 1) * 100)
            .map(|n| dledger::commitlog::LogEntry::Control(noop(n)))
            .collect::<Vec<_>>();
        log.set_vote(first_term + (round + 1) * 100 - 1, 1).unwrap();
        log.write(&[], &entries).unwrap();
        log.allocate_now(1_000_000).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(log.end().raft_index.0, from + 70_000);
    drop(log);
    let mut disk = disk.restart();
    for life in 0..3 {
        let mut log = open(&disk, &settings);
        memory_same(&log.read_all(), &records, &format!("life {life}"));
        append(&mut log, 2, 40, 5 + life, &mut records);
        drop(log);
        disk = disk.restart();
    }
    // And once more without the derived units, from the beginning.
    for path in disk.paths().iter().filter(|p| p.starts_with("batches/")) {
        disk.remove(path).unwrap();
    }
    goes_on(&disk, &settings, &records, "units made again");
    let log = recover(&disk.restart(), &settings).unwrap();
    assert!(log.end().raft_index.0 > from + 70_000);
}

fn settings_for_units() -> crate::memory::world::Settings {
    crate::memory::settings(1 << 20, 1 << 20)
}

fn memory_same(found: &crate::Records, expected: &crate::Records, what: &str) {
    crate::memory::same(found, expected, what);
}

/// Case 17, scenario 3: a crash at each write of a purge, before a record comes behind it: the log
/// opens with the old begin or the new one, and goes on.
#[test]
fn case_17_scenario_03_a_purge_cut_at_each_write() {
    let settings = small();
    let (disk, records) = stopped(&settings, 12, 300);
    let whole = Image::of(&disk);
    // The last segment's first record: nothing before it stays.
    let last = records.last().unwrap().0.pos;
    let index = records.iter().find(|(e, _)| e.pos >= last - last % 4096).unwrap().0.index;
    let mut rng = fastrand::Rng::with_seed(3);
    let mut begins = std::collections::BTreeSet::new();
    for point in points() {
        let disk = whole.disk();
        let mut log = open(&disk, &settings);
        disk.fail_after_ops(point);
        log.shared.ask(dledger::group::shared::Control::DeletePrefix(index));
        log.settle();
        let done = log.shared.failure().is_none();
        let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
        let begin = meta(&after).begin.index;
        begins.insert(begin.0);
        let kept: Vec<_> = records.iter().filter(|(e, _)| e.index >= begin).cloned().collect();
        goes_on(&after, &settings, &kept, &format!("cut at {point}"));
        if done {
            assert_eq!(begin, index);
            break;
        }
    }
    assert_eq!(begins.into_iter().collect::<Vec<_>>(), [0, index.0]);
}

/// What an unsynced limit of an earlier life allowed is what its hole is judged by: a lower one in
/// this life makes no damage of it.
#[test]
fn a_hole_is_judged_by_the_limit_of_the_life_that_wrote_it() {
    let mut wide = large();
    wide.unsynced_max = 512 << 10;
    let (image, records, durable) = killed(&wide, 60, 500);
    let disk = image.disk();
    flip(&disk, &wide, records[durable].0.pos + 50, 1);
    let narrow = large();
    assert!(birth(&narrow).unsynced_max < wide.unsynced_max);
    goes_on(&disk, &narrow, &records[..durable], "the limit was lowered");
}

/// The limit that recovery judges a hole by is kept by who writes: with `flush=<interval>` no more
/// than `unsynced.max` is ever without a sync, however much is staged. A power cut that takes the
/// first of it leaves a torn tail, not damage.
#[test]
fn case_11_no_more_is_unsynced_than_recovery_takes_for_torn() {
    for segment_bytes in [16 << 10, 1 << 20] {
        let settings = Settings { flush: "10ms", ..settings(segment_bytes, 64 << 10) };
        let disk = MemoryDisk::new();
        let mut log = open(&disk, &settings);
        let before = log.driver.log().flushed().pos;
        for round in 0..12u8 {
            for n in 0..16 {
                let entry = log.append(&[round * 16 + n; 3_000], None).unwrap();
                assert!(entry.pos >= before);
            }
            // Nothing of the helper's is done: no sync by interval ends, as on a slow disk.
            while log.turn() == Next::Now {}
            let unsynced = log.driver.log().unsynced_bytes();
            assert!(unsynced <= settings.unsynced_max, "{unsynced} bytes in round {round}");
            while log.work() {}
        }
        let hole = log.driver.log().flushed();
        drop(log);
        let disk = disk.restart();
        if let Some(bytes) = disk.read_file(&segment(&settings, hole.pos)) {
            let at = hole.pos % segment_bytes;
            let gone = 48.min(bytes.len() - at as usize);
            write(&disk, &segment(&settings, hole.pos), at, &vec![0; gone]);
        }
        recover(&disk, &settings).expect("a torn tail is cut");
    }
}
