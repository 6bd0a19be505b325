//! Appends to the end of each, so many in flight, as a broker's callbacks would go on: `cargo bench --bench end_to_end`.
//! In the same run, beside it, what one writer reaches with `pwrite` and `fdatasync`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, State, Token};
use dledger::options::Options;
use dledger::types::Index;

/// For each append that is done appends another: as many as the window says are in flight, always.
struct Loop {
    group: OnceLock<Weak<Group>>,
    body: Vec<u8>,
    over: AtomicBool,
    done: AtomicU64,
}

impl Observer for Loop {
    fn completed(&self, items: &[Completion]) {
        assert!(self.over.load(Ordering::Relaxed) || items.iter().all(|c| c.status == Status::Ok));
        self.done.fetch_add(items.len() as u64, Ordering::Relaxed);
        let Some(group) = self.group.get().and_then(Weak::upgrade) else { return };
        for _ in items {
            if !self.over.load(Ordering::Relaxed) {
                append(&group, &self.body);
            }
        }
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// Appends, until it is taken: the next segment may still be on its way.
fn append(group: &Group, body: &[u8]) {
    let once = || group.append(body, &AppendOptions::default(), Token::default());
    while once() == Err(Status::PendingFull) {
        std::thread::yield_now();
    }
}

/// Records a second with `window` in flight.
fn log(len: usize, window: u64, flush: &str, run: Duration) -> f64 {
    let dir = tempfile::tempdir_in(place()).unwrap();
    let mut options = Options::default();
    for (key, value) in [
        ("dir", dir.path().to_str().unwrap()),
        ("node.id", "1"),
        ("flush", flush),
        ("append.pending.max", "100000"),
        ("retention.bytes", "2GiB"),
    ] {
        options.set(key, value).unwrap();
    }
    let group = Arc::new(Group::open(&options).unwrap());
    let observer = Arc::new(Loop {
        group: OnceLock::from(Arc::downgrade(&group)),
        body: vec![7u8; len],
        over: AtomicBool::new(false),
        done: AtomicU64::new(0),
    });
    group.start(observer.clone(), false).unwrap();
    while !group.state().ready {
        std::thread::yield_now();
    }
    (0..window).for_each(|_| append(&group, &observer.body));
    std::thread::sleep(run / 10);
    let (start, before) = (Instant::now(), observer.done.load(Ordering::Relaxed));
    std::thread::sleep(run);
    let done = observer.done.load(Ordering::Relaxed) - before;
    let took = start.elapsed();
    observer.over.store(true, Ordering::Relaxed);
    group.stop(None);
    done as f64 / took.as_secs_f64()
}

/// Records a second of one writer: `window` of them by one `pwrite`, then `fdatasync`.
fn bare(len: usize, window: u64, run: Duration) -> f64 {
    let dir = tempfile::tempdir_in(place()).unwrap();
    let file = std::fs::File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(dir.path().join("bare"))
        .unwrap();
    let bytes = vec![7u8; (48 + len) * window as usize];
    let size = 1u64 << 30;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    file.sync_all().unwrap();
    let (start, mut done, mut at) = (Instant::now(), 0u64, 0u64);
    while start.elapsed() < run {
        if at + bytes.len() as u64 > size {
            at = 0;
        }
        file.write_all_at(&bytes, at).unwrap();
        file.sync_data().unwrap();
        at += bytes.len() as u64;
        done += window;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

/// Where the files go: `BENCH_DIR`, or the temporary directory.
fn place() -> std::path::PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, Into::into)
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let run = Duration::from_millis(1_500);
    if let Some(window) = std::env::var("BENCH_WINDOW").ok().and_then(|w| w.parse().ok()) {
        let flush = std::env::var("BENCH_FLUSH").unwrap_or("10ms".into());
        println!("{:.0} records/s", log(200, window, &flush, Duration::from_secs(5)));
        return;
    }
    println!("200-byte bodies, medians of five");
    for window in [1, 64, 1_024, 4_096, 16_384] {
        let runs = (0..5).map(|_| log(200, window, "10ms", run)).collect();
        println!("flush=10ms    {window:>5} in flight: {:>9.0} records/s", median(runs));
    }
    for window in [1, 64, 1_024, 4_096] {
        let (mut ours, mut bares, mut ratios) = (vec![], vec![], vec![]);
        for _ in 0..5 {
            let (a, b) = (log(200, window, "commit", run), bare(200, window, run));
            ours.push(a);
            bares.push(b);
            ratios.push(a / b);
        }
        println!(
            "flush=commit  {window:>5} in flight: {:>9.0} records/s, bare pwrite and fdatasync {:>9.0}, ratio {:.2}",
            median(ours),
            median(bares),
            median(ratios)
        );
    }
}
