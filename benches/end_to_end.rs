//! Appends from one thread to the end of each, as a broker would: `cargo bench --bench end_to_end`.
//! In the same run, beside it, what one writer reaches with `pwrite` and `fdatasync`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, State, Token};
use dledger::options::Options;
use dledger::types::Index;

/// Counts what is done, and wakes the appender when half of its window is free.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    failed: AtomicU64,
    /// The appender sleeps until so many are done.
    wanted: AtomicU64,
    appender: OnceLock<Thread>,
}

impl Observer for Count {
    fn completed(&self, items: &[Completion]) {
        let failed = items.iter().filter(|c| c.status != Status::Ok).count();
        self.failed.fetch_add(failed as u64, Ordering::Relaxed);
        let done = self.done.fetch_add(items.len() as u64, Ordering::SeqCst) + items.len() as u64;
        if done >= self.wanted.load(Ordering::SeqCst)
            && self.wanted.swap(u64::MAX, Ordering::SeqCst) != u64::MAX
            && let Some(appender) = self.appender.get()
        {
            appender.unpark();
        }
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
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
    let group = Group::open(&options).unwrap();
    let count = Arc::new(Count::default());
    count.wanted.store(u64::MAX, Ordering::SeqCst);
    count.appender.set(std::thread::current()).unwrap();
    group.start(count.clone(), false).unwrap();
    while !group.state().ready {
        std::thread::yield_now();
    }
    let body = vec![7u8; len];
    let (start, mut sent) = (Instant::now(), 0u64);
    while start.elapsed() < run {
        let done = count.done.load(Ordering::SeqCst);
        if sent - done >= window {
            let wanted = sent - window / 2;
            count.wanted.store(wanted, Ordering::SeqCst);
            if count.done.load(Ordering::SeqCst) < wanted {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            continue;
        }
        for _ in 0..(window - (sent - done)).min(64) {
            match group.append(&body, &AppendOptions::default(), Token::default()) {
                Ok(_) => sent += 1,
                Err(_) => break,
            }
        }
    }
    let took = start.elapsed();
    let done = count.done.load(Ordering::Acquire);
    assert_eq!(count.failed.load(Ordering::Relaxed), 0);
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
    println!("200-byte bodies, one appender, medians of five");
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
