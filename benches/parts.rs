//! The parts of an append and of a read, each alone: `cargo bench --bench parts`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use dledger::commitlog::meta::{Member, MemberSet};
use dledger::commitlog::record::{self, HEADER, Header, MAGIC};
use dledger::commitlog::work::Work;
use dledger::commitlog::{Batch, Birth, CommitLog, LogEntry};
use dledger::disk::Disk;
use dledger::disk::real::RealDisk;
use dledger::error::Status;
use dledger::group::clock::Clock;
use dledger::group::delivery::Delivery;
use dledger::group::driver::Helper;
use dledger::group::peers::Nobody;
use dledger::group::shared::{Life, Returns};
use dledger::group::{
    AppendOptions, Completion, Group, Observer, Parts, ReadOptions, State, Token, events,
    open_parts,
};
use dledger::options::Options;
use dledger::plant::Plants;
use dledger::types::{Index, RaftIndex};

struct Silent;
impl Observer for Silent {
    fn completed(&self, items: &[Completion]) {
        black_box(items);
    }
    fn event(&self, what: u32, _: &State) {
        black_box(what == events::FAILED);
    }
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

fn open(dir: &std::path::Path, settings: &[(&str, &str)]) -> Group {
    let mut options = Options::default();
    options.set("dir", dir.to_str().unwrap()).unwrap();
    options.set("node.id", "1").unwrap();
    for (key, value) in settings {
        options.set(key, value).unwrap();
    }
    let group = Group::open(&options).unwrap();
    group.start(Arc::new(Silent), false).unwrap();
    while !group.state().ready {
        std::thread::yield_now();
    }
    group
}

/// Work is done at once, on the benchmark's thread.
struct AtOnce(Arc<dyn Disk>, Returns);
impl Helper for AtOnce {
    fn submit(&mut self, work: Work) {
        self.1.post(work.run(&*self.0));
    }
}

/// One call of append with nobody else at the lock: what writes, syncs and calls back runs on this
/// thread too, between rounds, and is not measured.
fn append_call(c: &mut Criterion) {
    let mut bench = c.benchmark_group("append call, uncontended");
    for len in [200, 1024] {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
        let mut options = Options::default();
        for (key, value) in
            [("dir", "."), ("node.id", "1"), ("flush", "10ms"), ("retention.bytes", "2GiB")]
        {
            options.set(key, value).unwrap();
        }
        let (on, clock) = (disk.clone(), Clock::real());
        let parts = open_parts(disk, clock, &options, Plants::NONE, 1, |shared| {
            Ok(Box::new(AtOnce(on, shared.done.clone())))
        });
        let Parts { shared, mut driver } = parts.unwrap();
        assert!(shared.moves(Life::Open, Life::Running));
        let mut delivery = Delivery::new(shared.clone(), Arc::new(Silent));
        driver.start(Box::new(Nobody));
        let body = vec![7u8; len];
        let options = AppendOptions::default();
        bench.throughput(Throughput::Bytes(len as u64));
        bench.bench_function(format!("{len} B"), |b| {
            b.iter_custom(|n| {
                let mut took = Duration::ZERO;
                let mut left = n;
                while left > 0 {
                    while shared.state().end > shared.state().committed || !shared.state().ready {
                        driver.turn();
                    }
                    delivery.run(0);
                    let round = left.min(1000);
                    let start = Instant::now();
                    for _ in 0..round {
                        black_box(shared.append(&body, &options, Token::default()).unwrap());
                    }
                    took += start.elapsed();
                    left -= round;
                }
                took
            })
        });
    }
}

fn batch(count: usize, len: usize, first: u64, pos: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..count {
        let header = Header {
            magic: MAGIC,
            size: (HEADER + len) as u32,
            index: Index(first + n as u64),
            term: 1,
            pos: pos + bytes.len() as u64,
            body_len: len as u32,
            ..Header::default()
        };
        bytes.extend_from_slice(&header.encode());
        bytes.resize(bytes.len() + len, 7);
    }
    bytes
}

fn seal(c: &mut Criterion) {
    let mut bench = c.benchmark_group("seal 256 records");
    for len in [200, 1024] {
        let bytes = batch(256, len, 0, 0);
        bench.throughput(Throughput::Elements(256));
        bench.bench_function(format!("{len} B"), |b| {
            b.iter_batched_ref(
                || bytes.clone(),
                |bytes| record::seal(black_box(bytes), 0, 1),
                BatchSize::SmallInput,
            )
        });
    }
}

fn birth() -> Birth {
    let member = Member { id: 1, incarnation: 1, address: String::new() };
    Birth {
        group: "bench".into(),
        node: 1,
        incarnation: 1,
        segment_bytes: 256 << 20,
        index_bytes: 160 << 20,
        begin_pos: 0,
        unsynced_max: 16 << 20,
        members: MemberSet { members: vec![member], voters: vec![1], ..MemberSet::default() },
        clamp_missing_tail: false,
        disk_full_ppm: 1_000_000,
        plants: Plants::NONE,
    }
}

fn append_batch(log: &mut CommitLog, bytes: &mut [u8], count: u32) {
    let end = log.end();
    let (chain, _) = record::seal(bytes, 0, end.chain);
    let entry = LogEntry::Batch(Batch {
        raft_index: end.raft_index + 1,
        term: 1,
        count,
        first: end.index,
        pos: record::place(end.pos, bytes.len() as u64, 256 << 20),
        chain,
        bytes: 0..bytes.len(),
    });
    log.write(bytes, &[entry]).unwrap();
    assert_eq!(log.end().raft_index, RaftIndex(end.raft_index.0 + 1));
}

/// Data, index units and batch unit of 256 records into the page cache.
fn write(c: &mut Criterion) {
    let mut bench = c.benchmark_group("write a batch of 256 records");
    for len in [200usize, 1024] {
        bench.throughput(Throughput::Elements(256));
        bench.bench_function(format!("{len} B"), |b| {
            b.iter_custom(|n| {
                let mut took = Duration::ZERO;
                let mut left = n;
                while left > 0 {
                    let dir = tempfile::tempdir().unwrap();
                    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
                    let mut log = CommitLog::open(disk, &birth()).unwrap();
                    let round = left.min(500);
                    for _ in 0..round {
                        let end = log.end();
                        let mut bytes = batch(256, len, end.index.0, end.pos);
                        if end.pos + (bytes.len() as u64) + 8 > 256 << 20 {
                            break;
                        }
                        let start = Instant::now();
                        append_batch(&mut log, &mut bytes, 256);
                        took += start.elapsed();
                        log.allocate_now(1_000_000).unwrap();
                    }
                    left -= round;
                }
                took
            })
        });
    }
}

/// Opening a log of 64 MiB none of which is known to be durable.
fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes_written = 0;
    {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
        let mut log = CommitLog::open(disk, &birth()).unwrap();
        while bytes_written < 64 << 20 {
            let end = log.end();
            let mut bytes = batch(256, 200, end.index.0, end.pos);
            bytes_written += bytes.len() as u64;
            append_batch(&mut log, &mut bytes, 256);
            log.allocate_now(1_000_000).unwrap();
        }
    }
    let meta = std::fs::read(dir.path().join("meta")).unwrap();
    let mut bench = c.benchmark_group("recovery");
    bench.sample_size(10).throughput(Throughput::Bytes(bytes_written));
    bench.bench_function("64 MiB, 200 B records", |b| {
        b.iter_batched(
            || std::fs::write(dir.path().join("meta"), &meta).unwrap(),
            |()| {
                let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(dir.path()).unwrap());
                let log = CommitLog::open(disk, &birth()).unwrap();
                assert!(log.recovery_read() >= bytes_written);
            },
            BatchSize::PerIteration,
        )
    });
}

/// Reading in order, every byte summed, and one record at random.
fn read(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let group = open(dir.path(), &[("flush", "10ms"), ("segment.bytes", "64MiB")]);
    let body = vec![7u8; 1024];
    let count = 100_000u64;
    let mut done = 0;
    while done < count {
        match group.append(&body, &AppendOptions::default(), Token::default()) {
            Ok(_) => done += 1,
            Err(_) => std::thread::yield_now(),
        }
    }
    while group.state().committed.index < Index(count) {
        std::thread::yield_now();
    }
    let bytes = group.state().committed.pos;
    let mut bench = c.benchmark_group("read");
    bench.throughput(Throughput::Bytes(bytes));
    bench.sample_size(20).bench_function("scan, every byte summed", |b| {
        let options = ReadOptions {
            max_entries: 4096,
            wait: Some(Duration::ZERO),
            sequential: true,
            ..ReadOptions::default()
        };
        b.iter(|| {
            let mut index = Index(0);
            let mut sum = 0u64;
            while index < Index(count) {
                let view = group.read(index, &options).unwrap();
                let (words, rest) = view.bytes().as_chunks::<8>();
                sum = words.iter().fold(sum, |s, w| s.wrapping_add(u64::from_ne_bytes(*w)));
                sum = rest.iter().fold(sum, |s, b| s.wrapping_add(u64::from(*b)));
                index = view.next_index();
            }
            sum
        })
    });
    bench.throughput(Throughput::Elements(1));
    bench.bench_function("one record of 1 KiB, at random", |b| {
        let options = ReadOptions { wait: Some(Duration::ZERO), ..ReadOptions::default() };
        let mut at = 1u64;
        b.iter(|| {
            at = at.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let view = group.read(Index((at >> 33) % count), &options).unwrap();
            black_box(view.entries().len())
        })
    });
    group.stop(None);
}

criterion_group!(benches, append_call, seal, write, recovery, read);
criterion_main!(benches);
