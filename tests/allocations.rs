//! No allocation per record on the append path after warm-up, counted by an allocator of the
//! test's own.
#![allow(unsafe_code, clippy::unwrap_used)] // an allocator is unsafe; a test may unwrap

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dledger::commitlog::work::Work;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::clock::Clock;
use dledger::group::delivery::Delivery;
use dledger::group::driver::Helper;
use dledger::group::shared::{Life, Shared};
use dledger::group::{AppendOptions, Completion, Observer, Parts, State, Token, open_parts};
use dledger::options::Options;
use dledger::plant::Plants;
use dledger::types::Index;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system's allocator; only a number is counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as promised to us.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised to us.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

struct AtOnce(MemoryDisk, Arc<Shared>);
impl Helper for AtOnce {
    fn submit(&mut self, work: Work) {
        self.1.post(work.run(&self.0));
    }
}

struct Silent;
impl Observer for Silent {
    fn completed(&self, items: &[Completion]) {
        assert!(items.iter().all(|item| item.status == Status::Ok));
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// Appending allocates nothing per record; a turn and a delivery allocate the same for 1,000
/// records as for 10.
#[test]
fn nothing_is_allocated_per_record() {
    let disk = MemoryDisk::new();
    let mut options = Options::default();
    for (key, value) in [("dir", "/"), ("node.id", "1"), ("segment.bytes", "64MiB")] {
        options.set(key, value).unwrap();
    }
    let on = disk.clone();
    let clock = Clock::Manual(Arc::new(AtomicU64::new(0)));
    let parts = open_parts(Arc::new(disk), clock, &options, Plants::NONE, 1, |shared| {
        Ok(Box::new(AtOnce(on, shared.clone())))
    });
    let Parts { shared, mut driver } = parts.unwrap();
    assert!(shared.moves(Life::Open, Life::Running));
    let mut delivery = Delivery::new(shared.clone(), Arc::new(Silent));
    driver.start();
    while !shared.state().ready {
        driver.turn();
    }
    let body = [7u8; 200];
    let mut round = |records: u64| {
        let append = allocations(|| {
            for _ in 0..records {
                shared.append(&body, &AppendOptions::default(), Token::default()).unwrap();
            }
        });
        let turn = allocations(|| {
            while shared.state().committed < shared.state().end {
                driver.turn();
            }
        });
        let deliver = allocations(|| assert!(delivery.run(0) > 0));
        (append, turn, deliver)
    };
    for _ in 0..20 {
        round(1_000);
    }
    let rounds: Vec<_> = (0..10).map(|_| (round(1_000), round(10))).collect();
    for (many, few) in &rounds {
        assert_eq!(many.0, 0, "appends allocate: {rounds:?}");
        assert_eq!(few.0, 0, "appends allocate: {rounds:?}");
        assert!(many.2 <= few.2, "a delivery allocates per record: {rounds:?}");
    }
    let (most, least) = rounds.iter().fold((0, 0), |(m, l), (a, b)| (m + a.1, l + b.1));
    // The memory disk keeps a node for each sector that is not synced; the rest is per turn.
    assert!(most < 10 * 1_000, "a turn allocates per record: {rounds:?}");
    println!("allocations of ten turns of 1,000 records: {most}, of 10 records: {least}");
}
