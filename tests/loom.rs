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
use dledger::disk::memory::MemoryDisk;
use dledger::disk::{Disk, Through};
use dledger::error::Status;
use dledger::group::clock::Clock;
use dledger::group::delivery::Delivery;
use dledger::group::shared::{Life, Marks, Shared};
use dledger::group::staging::Staging;
use dledger::group::sync::{Flag, Snapshot};
use dledger::group::{AppendOptions, Completion, Observer, State, Token};
use dledger::options::Options;
use dledger::types::{Index, Mark};
use loom::sync::atomic::{AtomicBool, Ordering};
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

/// P3, P15: an append against the stop. One that is taken ends once, one that is refused never; none
/// waits for ever.
#[test]
fn an_append_that_is_taken_is_ended_by_the_stop() {
    let log = log();
    let (taken, refused) = counted(|| {
        bounded().check(move || {
            let shared = leader(&log);
            assert!(shared.open_gate(TERM));
            stop_meets_an_append(&shared);
        })
    });
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: no race");
}

/// The same where the leadership begins meanwhile: a stop is not undone by it.
#[test]
fn a_leadership_that_begins_in_the_stop_takes_no_append_behind_it() {
    let log = log();
    let (taken, refused) = counted(|| {
        bounded().check(move || {
            let shared = leader(&log);
            let group = {
                let shared = shared.clone();
                thread::spawn(move || shared.open_gate(TERM))
            };
            stop_meets_an_append(&shared);
            group.join().unwrap();
            assert_eq!(shared.gate(), 0);
        })
    });
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: no race");
}

/// And against the end of a leadership after which another one begins.
#[test]
fn an_append_is_ended_by_the_end_of_its_term() {
    let log = log();
    let (taken, refused) = counted(|| {
        bounded().check(move || {
            let shared = leader(&log);
            assert!(shared.open_gate(TERM));
            let appender = appender(&shared);
            shared.end(TERM, Status::LeaderLost);
            let mut ends = Ends::of(&shared);
            ends.look();
            assert!(shared.open_gate(TERM + 1));
            ends.are_of(appender, Status::LeaderLost);
        })
    });
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: no race");
}

/// What `Group::stop` does to an append, and a callback thread that looks at once and once more.
fn stop_meets_an_append(shared: &StdArc<Shared>) {
    let appender = appender(shared);
    assert!(shared.stops());
    shared.end(u64::MAX, Status::Stopped);
    let mut ends = Ends::of(shared);
    ends.look();
    ends.are_of(appender, Status::Stopped);
}

fn appender(shared: &StdArc<Shared>) -> thread::JoinHandle<bool> {
    let shared = shared.clone();
    thread::spawn(move || {
        let token = Token { call: 1, user_data: 0 };
        let taken = shared.append(b"body", &AppendOptions::default(), token).is_ok();
        if taken { &TAKEN } else { &REFUSED }.fetch_add(1, SeqCst);
        taken
    })
}

/// The callback side, and what it told.
struct Ends {
    delivery: Delivery,
    told: StdArc<Told>,
}

impl Ends {
    fn of(shared: &StdArc<Shared>) -> Ends {
        let told = StdArc::new(Told::default());
        Ends { delivery: Delivery::new(shared.clone(), told.clone()), told }
    }

    fn look(&mut self) {
        self.delivery.run(0);
    }

    /// Once the appender is back: its append has ended so and once, if it was taken.
    fn are_of(&mut self, appender: thread::JoinHandle<bool>, status: Status) {
        let taken = appender.join().unwrap();
        self.look();
        let told = self.told.0.lock().unwrap();
        assert_eq!(*told, vec![status; usize::from(taken)]);
    }
}

#[derive(Default)]
struct Told(std::sync::Mutex<Vec<Status>>);

impl Observer for Told {
    fn completed(&self, items: &[Completion]) {
        self.0.lock().unwrap().extend(items.iter().map(|item| item.status));
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// What the threads of a log share that runs and won an election; the gate is still closed.
fn leader(log: &Shelf) -> StdArc<Shared> {
    let shelf = Shelf { segments: log.segments.clone(), index: log.index.clone() };
    let reader = StdArc::new(Reader::new(shelf, 0));
    let clock = Clock::Manual(StdArc::default());
    let mut staging = Staging::new(SEGMENT, first_of(0), None);
    staging.begin(TERM, first_of(0));
    let options = Options::default();
    let shared = Shared::new(clock, 1, &options, staging, reader, Marks::default());
    shared.room_pos.store(SEGMENT, SeqCst);
    shared.room_index.store(4, SeqCst);
    assert!(shared.moves(Life::Open, Life::Running));
    StdArc::new(shared)
}

/// How many appends were taken and refused, in all orders together.
fn counted(check: impl FnOnce()) -> (u64, u64) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    TAKEN.store(0, SeqCst);
    REFUSED.store(0, SeqCst);
    check();
    (TAKEN.load(SeqCst), REFUSED.load(SeqCst))
}

static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
static TAKEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
static REFUSED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
const TERM: u64 = 7;

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
                match reader.place(Through::Map, Index(index)) {
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
