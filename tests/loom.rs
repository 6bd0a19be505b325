//! T8: what is shared without a lock, in every order that two or three threads can meet:
//! `RUSTFLAGS="--cfg dledger_loom" cargo test --release --test loom`.
#![cfg(dledger_loom)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc as StdArc;
use std::sync::atomic::Ordering::SeqCst;

use dledger::commitlog::index::{IndexUnit, Units};
use dledger::commitlog::read::{Bounds, Reader};
use dledger::commitlog::record::{Header, MAGIC};
use dledger::commitlog::segment::{Segment, Shelf, path};
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::sync::{Flag, Snapshot};
use dledger::types::{Index, Mark};
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Watermarks: a reader sees the numbers of one write, never a mixture, and never goes back.
#[test]
fn a_snapshot_is_of_one_write() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let marks = Arc::new(Snapshot::new([0, 0]));
        let writer = {
            let marks = marks.clone();
            thread::spawn(move || {
                marks.write([1, 10]);
                marks.write([2, 20]);
            })
        };
        let first = marks.read();
        let second = marks.read();
        assert_eq!(first[1], first[0] * 10);
        assert_eq!(second[1], second[0] * 10);
        assert!(first[0] <= second[0]);
        writer.join().unwrap();
        assert_eq!(marks.read(), [2, 20]);
    });
}

/// The staging hand-over: whatever is staged is taken, although the group thread only tries the
/// lock and sleeps when it finds it taken, and appenders ring after they let it go.
#[test]
fn staging_is_taken_however_the_lock_is_met() {
    loom::model(|| {
        struct Shared {
            staging: Mutex<u32>,
            bell: Flag,
            /// The token that a thread is unparked with.
            token: AtomicBool,
        }
        let shared = Arc::new(Shared {
            staging: Mutex::new(0),
            bell: Flag::default(),
            token: AtomicBool::new(false),
        });
        let appender = {
            let shared = shared.clone();
            thread::spawn(move || {
                *shared.staging.lock().unwrap() += 1;
                if shared.bell.raise() {
                    shared.token.store(true, Ordering::Release);
                }
            })
        };
        let turn = |taken: &mut u32| {
            shared.bell.lower();
            if let Ok(mut staging) = shared.staging.try_lock() {
                *taken += std::mem::take(&mut *staging);
            }
        };
        let mut taken = 0;
        turn(&mut taken);
        // It would sleep here; the token wakes it.
        appender.join().unwrap();
        while shared.token.swap(false, Ordering::AcqRel) {
            turn(&mut taken);
        }
        assert_eq!(taken, 1, "staged, and never taken");
    });
}

/// Stop and the end of a leadership: an append that got in is ended by it, one that did not is
/// refused; none waits for ever.
#[test]
fn no_append_comes_after_the_end_of_its_term() {
    loom::model(|| {
        struct Shared {
            gate: AtomicU64,
            inbox: Mutex<Vec<&'static str>>,
        }
        let shared = Arc::new(Shared { gate: AtomicU64::new(7), inbox: Mutex::new(Vec::new()) });
        let appender = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.gate.load(Ordering::Acquire) != 7 {
                    return false;
                }
                let mut inbox = shared.inbox.lock().unwrap();
                if shared.gate.load(Ordering::SeqCst) != 7 {
                    return false;
                }
                inbox.push("append");
                true
            })
        };
        shared.gate.store(0, Ordering::SeqCst);
        shared.inbox.lock().unwrap().push("end");
        let got_in = appender.join().unwrap();
        let inbox = shared.inbox.lock().unwrap();
        let before_the_end = inbox.first() == Some(&"append");
        assert_eq!(got_in, before_the_end, "{inbox:?}");
    });
}

/// What the writer does in the wrong order, to see that the model sees it.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Committed moves before readers can see the segment of what it covers.
    CommittedBeforeTheSegment,
    /// A purge takes segments off the shelf that are not below begin.
    PurgeOfTheWrongEnd,
}

/// P16, scenario 12: pins. A reader takes the bounds, then the shelf, then keeps the segment; the
/// writer rolls to a new segment (shelf, then committed) and purges the first (shelf, then begin).
/// Each read answers the record or the status that fits, and what is pinned stays what it was.
#[test]
fn a_pin_is_of_a_record_or_none() {
    let log = log();
    bounded().check(move || pins(&log, Fault::None));
    assert!(PURGED_BETWEEN.load(SeqCst) > 0, "no order had a purge between bounds and shelf");
}

/// The tester is tested: either fault is seen.
#[test]
fn a_pin_in_the_wrong_order_is_seen() {
    for fault in [Fault::CommittedBeforeTheSegment, Fault::PurgeOfTheWrongEnd] {
        let log = AssertUnwindSafe(log());
        let seen = catch_unwind(move || {
            let log = log;
            bounded().check(move || pins(&log, fault));
        });
        assert!(seen.is_err(), "a fault that the model does not see");
    }
}

/// All orders with so many switches that no thread asked for.
fn bounded() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model
}

fn pins(log: &Shelf, fault: Fault) {
    let shelf = |range: std::ops::Range<usize>| Shelf {
        segments: log.segments[range].to_vec(),
        index: log.index.clone(),
    };
    let reader = StdArc::new(Reader::new(shelf(0..2), 0));
    // The shelf is behind an `ArcSwap`, which loom does not know: this stands before each step of
    // it, so that the other thread may come between.
    let point = Arc::new(AtomicBool::new(false));
    let marks = Arc::new(Snapshot::new([0, 2]));
    let writer = {
        let (reader, marks, point) = (reader.clone(), marks.clone(), point.clone());
        let show = move |shelf| {
            point.swap(true, Ordering::SeqCst);
            reader.show(shelf);
        };
        let (rolled, purged) = (shelf(0..3), shelf(1..3));
        let wrong = shelf(0..1);
        thread::spawn(move || {
            if fault == Fault::CommittedBeforeTheSegment {
                marks.write([0, 3]);
                show(rolled);
            } else {
                show(rolled);
                marks.write([0, 3]);
            }
            show(if fault == Fault::PurgeOfTheWrongEnd { wrong } else { purged });
            marks.write([1, 3]);
        })
    };
    let mut pinned = Vec::new();
    for index in [0, 2] {
        let [begin, committed] = marks.read().map(first_of);
        let bounds = Bounds { begin, committed };
        let other = if index == 0 { Status::Compacted } else { Status::NotCommitted };
        match bounds.check(Index(index)) {
            Err(status) => assert_eq!(status, other),
            Ok(()) => {
                point.swap(true, Ordering::SeqCst);
                match reader.place(Index(index)) {
                    Ok(place) => pinned.push(place),
                    Err(error) => {
                        assert_eq!((error.status(), index), (Status::Compacted, 0));
                        PURGED_BETWEEN.fetch_add(1, SeqCst);
                    }
                }
            }
        }
    }
    writer.join().unwrap();
    for place in pinned {
        let at = place.header.pos - place.segment.pos + 48;
        let body = place.segment.map.bytes(at..at + 8).unwrap();
        assert_eq!(body, place.header.index.0.to_be_bytes());
    }
}

/// Before a record, each the first of its segment.
fn first_of(index: u64) -> Mark {
    Mark { index: Index(index), pos: index * SEGMENT }
}

/// Three segments of one record each, whose body is its index.
fn log() -> Shelf {
    let disk = MemoryDisk::new();
    disk.create_dir("index").unwrap();
    disk.create_dir("data").unwrap();
    disk.create("index/00000000000000000000", 128).unwrap();
    let index = Units::open(&disk, "index", 128, 0).unwrap();
    let mut segments = Vec::new();
    for n in 0..3 {
        let pos = n * SEGMENT;
        let header = Header {
            magic: MAGIC,
            size: 56,
            index: Index(n),
            pos,
            body_len: 8,
            ..Header::default()
        };
        let file = disk.create(&path(pos), SEGMENT).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&n.to_be_bytes(), 48).unwrap();
        index.write(n, &IndexUnit::of(&header).encode()).unwrap();
        segments.push(StdArc::new(Segment::open(&disk, pos, SEGMENT).unwrap()));
    }
    Shelf { segments, index }
}

const SEGMENT: u64 = 4096;
/// How many orders had a purge between a reader's bounds and its look at the shelf.
static PURGED_BETWEEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
