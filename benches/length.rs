//! What the length of a log costs: it grows to `BENCH_GIB` (20) GiB, and at each step on the way it is appended to,
//! opened anew and read. `cargo bench --bench length`; `BENCH_DIR` names the directory that it writes to.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, ReadOptions, State, Token};
use dledger::options::Options;
use dledger::types::Index;

const BODY: usize = 1_024;
const RECORD: u64 = 48 + BODY as u64;
/// Records in flight.
const WINDOW: u64 = 4_096;
/// What reads touch: the newest records, so that they come from the page cache at every length.
const RECENT: u64 = 100_000;
const READS: u64 = 200_000;
const STEPS: [f64; 7] = [0.25, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0];

#[derive(Default)]
struct Ends(AtomicU64);

impl Observer for Ends {
    fn completed(&self, items: &[Completion]) {
        assert!(items.iter().all(|c| c.status == Status::Ok));
        self.0.fetch_add(items.len() as u64, Ordering::Release);
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// An open log that leads, and how long it took to open and to be ready.
fn open(dir: &Path) -> (Group, Arc<Ends>, [Duration; 2]) {
    let mut options = Options::default();
    for (key, value) in [("dir", dir.to_str().unwrap()), ("node.id", "1"), ("flush", "10ms")] {
        options.set(key, value).unwrap();
    }
    let start = Instant::now();
    let group = Group::open(&options).unwrap();
    let opened = start.elapsed();
    let ends = Arc::new(Ends::default());
    group.start(ends.clone(), false).unwrap();
    while !group.state().ready {
        std::thread::yield_now();
    }
    (group, ends, [opened, start.elapsed()])
}

/// Appends so many to their ends. Records a second.
fn append(group: &Group, ends: &Ends, count: u64) -> f64 {
    let (body, options) = ([7; BODY], AppendOptions::default());
    let (start, before) = (Instant::now(), ends.0.load(Ordering::Acquire));
    let ended = || ends.0.load(Ordering::Acquire) - before;
    for n in 0..count {
        while n - ended() >= WINDOW || group.append(&body, &options, Token::default()).is_err() {
            std::thread::yield_now();
        }
    }
    while ended() < count {
        std::thread::yield_now();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// The median of what a read of one of the newest records takes, at random.
fn read(group: &Group) -> u64 {
    let options = ReadOptions { wait: Some(Duration::ZERO), ..ReadOptions::default() };
    let end = group.state().committed.index.0;
    let mut rng = fastrand::Rng::with_seed(1);
    let mut look = || {
        let index = Index(rng.u64(end - RECENT..end));
        let start = Instant::now();
        let view = group.read(index, &options).unwrap();
        assert_eq!(view.entries().len(), 1);
        start.elapsed().as_nanos() as u64
    };
    let mut took: Vec<u64> = (0..READS).map(|_| look()).collect();
    took.sort_unstable();
    took[took.len() / 2]
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let most = std::env::var("BENCH_GIB").ok().and_then(|most| most.parse().ok()).unwrap_or(20.0);
    let place = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(place).unwrap();
    println!("records of {RECORD} bytes; the rate of the last gigabyte, or of less");
    println!(
        "{:>8} {:>12} {:>10} {:>10} {:>10}",
        "GiB", "appends/s", "open ms", "ready ms", "read ns"
    );
    for step in STEPS.into_iter().filter(|step| *step <= most) {
        let (group, ends, _) = open(dir.path());
        let wanted = (step * (1u64 << 30) as f64) as u64 / RECORD;
        let missing = wanted - group.state().committed.index.0;
        let last = missing.min((1 << 30) / RECORD);
        append(&group, &ends, missing - last);
        let rate = append(&group, &ends, last);
        group.stop(None);
        drop(group);
        let (group, _, [opened, ready]) = open(dir.path());
        let read = read(&group);
        group.stop(None);
        let [opened, ready] = [opened, ready].map(|took| took.as_secs_f64() * 1e3);
        println!("{step:>8} {rate:>12.0} {opened:>10.1} {ready:>10.1} {read:>10}");
    }
}
