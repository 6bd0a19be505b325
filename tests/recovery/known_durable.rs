//! Acceptance 9: an open after a crash reads what was not known to be durable, and no more.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dledger::commitlog::meta::MetaStore;
use dledger::disk::real::RealDisk;
use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, State, Token};
use dledger::options::Options;
use dledger::types::Index;

const DIR: &str = "DLEDGER_TEST_CHILD_DIR";

struct Deaf;

impl Observer for Deaf {
    fn completed(&self, _: &[Completion]) {}
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// How much to write: 64 MiB, or what `DLEDGER_TEST_LOG_BYTES` says (1073741824 for a whole GiB).
fn log_bytes() -> u64 {
    let text = std::env::var("DLEDGER_TEST_LOG_BYTES").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(64 << 20)
}

fn group(dir: &Path) -> Group {
    let mut options = Options::default();
    for (key, value) in [
        ("dir", dir.to_str().unwrap()),
        ("node.id", "1"),
        ("segment.bytes", "256MiB"),
        ("append.timeout", "60s"),
        ("checkpoint.interval", "100ms"),
        ("disk.full.ratio", "1"),
        ("flush", "10ms"),
    ] {
        options.set(key, value).unwrap();
    }
    let group = Group::open(&options).unwrap();
    group.start(Arc::new(Deaf), false).unwrap();
    while !group.state().ready {
        std::thread::sleep(Duration::from_millis(1));
    }
    group
}

/// The process that is killed: not a test of its own.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let group = group(Path::new(&dir));
    let body = vec![0x5a; 64 << 10];
    let mut written = 0;
    while written < log_bytes() {
        match group.append(&body, &AppendOptions::default(), Token::default()) {
            Ok(_) => written += 48 + body.len() as u64,
            Err(Status::PendingFull) => std::thread::sleep(Duration::from_micros(200)),
            Err(status) => panic!("{status:?}"),
        }
    }
    assert_eq!(group.flush(None), Status::Ok);
    println!("\nwritten {written}");
    // A little more, which no checkpoint may have seen when the end comes.
    loop {
        group.append_wait(&[1; 1000], &AppendOptions::default());
    }
}

/// Acceptance 9: with a log of `DLEDGER_TEST_LOG_BYTES` whose process was killed, an open reads what
/// was appended since the last checkpoint, to check it and to write it again, and windows of 128 KiB
/// at the end; not the log.
#[test]
fn open_reads_only_what_was_not_known_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "known_durable::child_writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let written = lines.map(Result::unwrap).find(|line| line.starts_with("written "));
    assert!(written.is_some(), "the child ended before it was killed");
    let durable = || {
        let disk = RealDisk::new(dir.path()).unwrap();
        // Both copies may be in the middle of a store.
        MetaStore::read(&disk).ok().flatten().map_or(0, |meta| meta.durable.pos)
    };
    // A checkpoint comes, when the disk has time for it.
    let patience = std::time::Instant::now() + Duration::from_secs(60);
    while durable() < log_bytes() * 9 / 10 && std::time::Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let durable = durable();
    let group = group(dir.path());
    let end = group.state().end;
    let mut read = 0.0;
    group.metrics(&mut |metric| {
        if metric.name == "recovery_read_bytes" {
            read = metric.value;
        }
    });
    let (read, since) = (read as u64, end.pos - durable);
    println!(
        "log of {} bytes, {} since the last checkpoint: the open read {read} bytes",
        end.pos, since
    );
    assert!(end.pos >= log_bytes());
    assert!(durable >= log_bytes() / 2, "checkpoints were taken");
    // Forward to the end, a look behind it for a record that a hole hides, and once more what is
    // written again: all of it counts.
    let window = 128 << 10;
    assert!(read <= 2 * since + 3 * window, "{read} bytes read for {since}");
    assert!(read >= 2 * since, "{read} bytes counted for {since}");
    assert_eq!(group.stop(None), Status::Ok);
}
