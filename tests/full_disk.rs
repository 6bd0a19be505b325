//! P8: a write that meets the end of the disk. What needs no write to the log goes on meanwhile,
//! and freeing space is enough to go on.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

#[allow(dead_code)]
#[path = "support/memory.rs"]
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::driver::Next;
use dledger::group::shared::{Control, Life};
use dledger::group::waiters::Slot;
use dledger::types::Index;

use memory::world::{Open, Settings};
use memory::{open, same, settings};

const SECOND: u64 = 1_000_000_000;

/// A log of segments with one record each, and its clock.
fn filled(settings: &Settings, records: u8) -> (MemoryDisk, Arc<AtomicU64>, Open) {
    let (disk, clock) = (MemoryDisk::new(), Arc::new(AtomicU64::new(SECOND)));
    let mut log = Open::new(&disk, &clock, settings).unwrap();
    log.settle();
    for n in 0..records {
        log.append(&[n; 2_900], None).unwrap();
        log.settle();
    }
    assert_eq!(log.shared.state().committed.index.0, u64::from(records));
    (disk, clock, log)
}

/// Appends a record whose write meets a full disk, under `path`.
fn stall(disk: &MemoryDisk, log: &mut Open, path: &str) {
    disk.fill(Some(path));
    log.append(&[99; 2_900], None).unwrap();
    log.settle();
    assert!(log.shared.disk_full.load(Ordering::Relaxed));
    assert_eq!(log.append(&[98; 10], None), Err(Status::DiskFull));
    assert_eq!(log.shared.state().role as u32, 3, "{:?}", log.shared.failure());
}

fn ask(log: &mut Open, control: impl FnOnce(Arc<Slot>) -> Control) -> Option<(Status, Index)> {
    let slot = Arc::new(Slot::default());
    log.shared.ask(control(slot.clone()));
    log.settle();
    slot.look(Duration::ZERO)
}

/// The record that met the full disk is written when there is room, and all is there after a cut.
fn goes_on(disk: &MemoryDisk, clock: &AtomicU64, mut log: Open, settings: &Settings) {
    disk.fill(None);
    for _ in 0..3 {
        clock.fetch_add(2 * SECOND, Ordering::Relaxed);
        log.settle();
    }
    log.append(&[100; 30], None).unwrap();
    log.settle();
    let records = log.read_all();
    assert_eq!(records.last().unwrap().1, [100; 30]);
    assert_eq!(records[records.len() - 2].1, [99; 2_900]);
    log.stop();
    same(&open(&disk.crash(&mut |n| 1 % n.max(1)), settings).read_all(), &records, "after a cut");
}

/// A log that is born on a disk that has no room for all that is made ahead waits for room, and then goes
/// on: nothing is lost, and nothing is opened anew.
#[test]
fn p8_a_log_is_born_on_a_full_disk() {
    let settings = settings(4096, 4096);
    let whole = {
        let disk = MemoryDisk::new();
        open(&disk, &settings).stop();
        let space = disk.space("").unwrap();
        space.total - space.available
    };
    let mut waited = 0;
    for capacity in (0..whole).step_by(512) {
        let (disk, clock) = (MemoryDisk::new(), Arc::new(AtomicU64::new(SECOND)));
        disk.set_capacity(capacity);
        // Where there is no room for the first files it says so.
        let Ok(mut log) = Open::new(&disk, &clock, &settings) else { continue };
        for _ in 0..3 {
            clock.fetch_add(SECOND, Ordering::Relaxed);
            log.settle();
        }
        assert!(log.shared.failure().is_none(), "{capacity}: {:?}", log.shared.failure());
        waited += u32::from(log.append(&[1; 100], None).is_err());
        disk.set_capacity(u64::MAX);
        for _ in 0..3 {
            clock.fetch_add(2 * SECOND, Ordering::Relaxed);
            log.settle();
        }
        log.append(&[2; 100], None).unwrap_or_else(|e| panic!("{capacity}: {e:?}"));
        log.settle();
        let records = log.read_all();
        assert_eq!(records.last().unwrap().1, [2; 100], "{capacity}");
        log.stop();
    }
    assert!(waited > 0);
}

/// While a write waits for room, a read barrier is answered, and a flush says why it cannot be.
#[test]
fn p8_barriers_are_answered_while_a_write_waits_for_room() {
    for path in ["data", "index", "batches"] {
        let settings = settings(4096, 4096);
        let (disk, clock, mut log) = filled(&settings, 5);
        stall(&disk, &mut log, path);
        let read = ask(&mut log, |slot| Control::ReadIndex(slot, u64::MAX));
        assert_eq!(read, Some((Status::Ok, Index(5))), "{path}");
        let flush = ask(&mut log, Control::Flush).map(|(status, _)| status);
        assert_eq!(flush, Some(Status::DiskFull), "{path}");
        goes_on(&disk, &clock, log, &settings);
    }
}

/// While a write waits for room, a prefix can be deleted: that is what makes room.
#[test]
fn p8_a_prefix_is_deleted_while_a_write_waits_for_room() {
    for (path, index, begin) in [("data", 3, 3), ("index", 5, 4), ("batches", 5, 4)] {
        let settings = settings(4096, 4096);
        let (disk, clock, mut log) = filled(&settings, 5);
        stall(&disk, &mut log, path);
        let files = disk.paths().len();
        log.shared.ask(Control::DeletePrefix(Index(index)));
        log.settle();
        assert_eq!(log.shared.state().begin.index.0, begin, "{path}");
        assert!(disk.paths().len() < files, "{path}: the files are gone");
        goes_on(&disk, &clock, log, &settings);
    }
}

/// What is deleted needs a write to `meta`, which may meet the full disk as well: the head stays,
/// and the log goes on.
#[test]
fn p8_a_deletion_that_meets_the_full_disk_itself_is_not_the_end() {
    let settings = settings(4096, 4096);
    let (disk, clock, mut log) = filled(&settings, 5);
    stall(&disk, &mut log, "");
    log.shared.ask(Control::DeletePrefix(Index(3)));
    log.settle();
    assert!(log.shared.failure().is_none(), "{:?}", log.shared.failure());
    assert_eq!(log.shared.state().begin.index, Index(0));
    disk.fill(Some("data"));
    log.shared.ask(Control::DeletePrefix(Index(3)));
    log.settle();
    assert_eq!(log.shared.state().begin.index, Index(3));
    goes_on(&disk, &clock, log, &settings);
}

/// A checkpoint and a vote that meet a full disk are tried again.
#[test]
fn p8_meta_that_meets_the_full_disk_is_tried_again() {
    let settings = settings(4096, 4096);
    let (disk, clock, mut log) = filled(&settings, 2);
    log.append(&[99; 2_900], None).unwrap();
    disk.fill(Some("meta"));
    for _ in 0..3 {
        clock.fetch_add(2 * SECOND, Ordering::Relaxed);
        log.settle();
    }
    assert!(log.shared.failure().is_none(), "{:?}", log.shared.failure());
    goes_on(&disk, &clock, log, &settings);

    let disk = disk.restart();
    let mut log = Open::new(&disk, &clock, &settings).unwrap();
    let term = log.shared.state().term;
    disk.fill(Some("meta"));
    log.settle();
    assert!(log.shared.failure().is_none(), "{:?}", log.shared.failure());
    assert!(!log.shared.state().ready);
    disk.fill(None);
    clock.fetch_add(2 * SECOND, Ordering::Relaxed);
    log.settle();
    assert!(log.shared.state().ready && log.shared.state().term > term);
}

/// Retention frees space also while a write waits for it.
#[test]
fn p8_retention_goes_on_while_a_write_waits_for_room() {
    let settings = settings(4096, 4096);
    let (disk, clock, mut log) = filled(&settings, 5);
    stall(&disk, &mut log, "batches");
    let mut options = settings.options();
    options.set("retention.bytes", "8KiB").unwrap();
    log.shared.live.set(&options);
    for _ in 0..3 {
        clock.fetch_add(2 * SECOND, Ordering::Relaxed);
        log.settle();
    }
    assert!(log.shared.state().begin.index >= Index(3), "{:?}", log.shared.state().begin);
    goes_on(&disk, &clock, log, &settings);
}

/// What was agreed before the write that waits is told, not held back with it.
#[test]
fn p8_what_is_committed_is_told_while_a_write_waits_for_room() {
    let settings = settings(4096, 4096);
    let (disk, clock, mut log) = filled(&settings, 30);
    // Written, and waiting for the sync of their round, until the bytes of one more bring it about.
    for n in 0..16 {
        log.append(&[n; 2_900], None).unwrap();
        log.turn();
    }
    assert_eq!(log.shared.state().committed.index, Index(30));
    stall(&disk, &mut log, "data");
    log.delivery.run(0);
    assert_eq!(log.told.0.lock().unwrap().completions.len(), 46);
    assert_eq!(log.shared.state().committed.index, Index(46));
    goes_on(&disk, &clock, log, &settings);
}

/// A stop that meets a full disk in the middle of a write ends all the same, and says so, when what
/// was given away has come back. What was agreed is there.
#[test]
fn p8_a_stop_ends_while_a_write_waits_for_room() {
    for asked_before in [false, true] {
        let settings = settings(4096, 4096);
        let (disk, clock, mut log) = filled(&settings, 5);
        let records = log.read_all();
        if asked_before {
            disk.fill(Some("data"));
            log.append(&[99; 2_900], None).unwrap();
        } else {
            stall(&disk, &mut log, "data");
        }
        // Something is given away.
        log.shared.ask(Control::DeletePrefix(Index(2)));
        clock.fetch_add(SECOND, Ordering::Relaxed);
        log.turn();
        let slot = Arc::new(Slot::default());
        log.shared.moves(Life::Running, Life::Stopped);
        log.shared.end(u64::MAX, Status::Stopped);
        log.shared.ask(Control::Stop(slot.clone()));
        assert_ne!(log.turn(), Next::Over, "it has not come back");
        let over = (0..100).any(|_| {
            log.work();
            log.turn() == Next::Over
        });
        assert!(over);
        assert_eq!(slot.look(Duration::ZERO), Some((Status::DiskFull, Index(0))));
        drop(log);
        disk.fill(None);
        let found = open(&disk.crash(&mut |n| 1 % n.max(1)), &settings).read_all();
        same(&found[..3], &records[2..], "what was agreed");
    }
}

/// An allocation of units that finds room does not hide that no segment does: who is refused for
/// want of a segment hears so all the time.
#[test]
fn p8_room_for_units_is_not_room_for_a_segment() {
    let settings = settings(64 << 10, 4096);
    let (disk, clock, mut log) = filled(&settings, 1);
    log.shared.live.disk_full_ppm.store(1_000_000, Ordering::Relaxed);
    let space = disk.space("").unwrap();
    disk.set_capacity(space.total - space.available + (60 << 10));
    let (mut met, mut units) = (false, 0);
    for _ in 0..10 {
        clock.fetch_add(SECOND, Ordering::Relaxed);
        for n in 0..100 {
            log.append(&[n; 1_000], None).unwrap();
            log.turn();
            log.turn();
        }
        log.delivery.run(0);
        loop {
            let files = disk.paths().iter().filter(|path| path.starts_with("index/")).count();
            units = units.max(files);
            let worked = log.work();
            log.turn();
            let ended = log.shared.room_ended.load(Ordering::Relaxed);
            assert!(ended || !met, "it was forgotten with {units} index files");
            met |= ended;
            if !worked {
                break;
            }
        }
    }
    assert!(met && units > 20, "{met} {units}");
    disk.set_capacity(1 << 40);
    clock.fetch_add(SECOND, Ordering::Relaxed);
    log.settle();
    assert!(!log.shared.room_ended.load(Ordering::Relaxed));
}
