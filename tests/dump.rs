//! `examples/dump.rs` says of a directory what opening it then does, and changes nothing in it.

#![allow(clippy::unwrap_used)] // a test

#[allow(dead_code)] // its `main`
#[path = "../examples/dump.rs"]
mod dump;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, State, Token};
use dledger::options::Options;
use dledger::types::Index;
use tempfile::TempDir;

/// A log that was stopped is clean, whole, and stays as it is.
#[test]
fn a_clean_log() {
    let log = Log::new();
    log.stop();
    let (opens, text) = log.dump(&["--bodies"]);
    assert!(opens, "{text}");
    assert!(text.contains("verdict    clean: the log ends before record 400 "), "{text}");
    assert!(text.contains("counted    400 records") && text.contains(" 0 holes"), "{text}");
    assert!(text.contains("  blank: "), "{text}");
    assert!(text.contains("body 399"), "{text}");
    assert_eq!(log.end(), Ok(400));
    let (_, text) = log.dump(&["--from", "90000", "--bodies"]);
    assert!(!text.contains("record 0 ") && text.contains("body 399"), "{text}");
}

/// A process that was killed leaves whole records above the durable bound: they stay.
#[test]
fn a_killed_log() {
    let log = Log::new().killed();
    let (opens, text) = log.dump(&[]);
    assert!(opens && text.contains("verdict    clean: the log ends before record 400 "), "{text}");
    assert_eq!(log.end(), Ok(400));
}

/// A record that was never finished, at the end and above the durable bound: cut.
#[test]
fn a_torn_tail() {
    let log = Log::new().killed();
    let last = log.record(399);
    log.overwrite(last + 60, &[0; 20]);
    let (opens, text) = log.dump(&[]);
    let verdict = format!("torn tail: it would be cut at position {last}, before record 399");
    assert!(opens && text.contains(&verdict), "{text}");
    assert!(text.contains("BAD: body"), "{text}");
    assert_eq!(log.end(), Ok(399));
}

/// P5: a flipped byte with more behind it than one write may tear is damage, and is not cut.
#[test]
fn damage_above_the_durable_bound() {
    // In one large segment: a roll is a checkpoint.
    let log = Log::of(256 << 10).killed();
    let at = log.record(7);
    log.flip(at + 50);
    let (opens, text) = log.dump(&["--summary"]);
    assert!(!opens && text.contains(&format!("DAMAGE at position {at}: record 7 ")), "{text}");
    assert_eq!(log.end(), Err(Status::Corrupt));
}

/// A flipped byte below the durable bound, where recovery does not look: the dump does.
#[test]
fn damage_below_the_durable_bound() {
    let log = Log::new();
    log.stop();
    let at = log.record(7);
    log.flip(at + 3); // the magic: no record any more
    let (opens, text) = log.dump(&["--summary"]);
    assert!(!opens, "{text}");
    assert!(
        text.contains("DAMAGE below the durable bound") && text.contains("with record 7,"),
        "{text}"
    );
    assert!(text.contains(&format!("HOLE: bytes that are no record: 248 bytes, position {at}")));
    assert_eq!(log.end(), Ok(400));
}

/// A damaged header is one record's damage, whichever field it is: the intact one behind it is not
/// blamed.
#[test]
fn a_damaged_header_is_not_the_next_records_fault() {
    let log = Log::new();
    log.stop();
    let at = log.record(7);
    let fields = [
        ("index", 15),
        ("term", 23),
        ("follow", 35),
        ("controls", 33),
        ("chainCrc", 37),
        ("bodyCrc", 41),
    ];
    for (field, byte) in fields {
        log.flip(at + byte);
        let (opens, text) = log.dump(&["--summary"]);
        assert!(!opens, "{field}: {text}");
        let bad: Vec<&str> = text.lines().filter(|line| line.contains("BAD: ")).collect();
        assert_eq!(bad.len(), 1, "{field}: {text}");
        assert!(bad[0].contains(&format!(" pos {at} ")), "{field}: {text}");
        assert!(text.contains("1 records with a wrong checksum or framing, 0 holes"), "{text}");
        log.flip(at + byte);
    }
    // Two in a row are two, and the one behind them is none.
    log.flip(at + 23);
    log.flip(at + 248 + 37);
    let (_, text) = log.dump(&["--summary"]);
    assert!(text.contains("2 records with a wrong checksum or framing, 0 holes"), "{text}");
}

/// One damaged copy of `meta` is told, and is no reason to refuse; two are.
#[test]
fn damaged_meta() {
    let log = Log::new();
    log.stop();
    let meta = OpenOptions::new().write(true).open(log.dir().join("meta")).unwrap();
    meta.write_all_at(b"x", 100).unwrap();
    let (opens, text) = log.dump(&[]);
    assert!(opens && text.contains("copy A     DAMAGED") && text.contains("copy B     intact"));
    meta.write_all_at(b"x", 4096 + 100).unwrap();
    let (opens, text) = log.dump(&[]);
    assert!(!opens && text.contains("neither copy is intact"), "{text}");
    assert!(text.contains("counted    400 records"), "{text}");
    assert_eq!(log.end(), Err(Status::Corrupt));
}

/// A missing file is told, and what is there is shown.
#[test]
fn a_missing_segment() {
    let log = Log::new();
    log.stop();
    fs::remove_file(log.dir().join(format!("data/{:020}", 16_384))).unwrap();
    let (opens, text) = log.dump(&[]);
    assert!(!opens && text.contains("data/00000000000000016384 is missing"), "{text}");
    assert_eq!(log.end(), Err(Status::Corrupt));
}

/// Without `meta` and with DLedger's bytes: the golden directory's first file.
#[test]
fn a_directory_of_dledgers() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    let mut bytes = vec![0; 16_384];
    let mut pos = 0;
    for index in 0..3u64 {
        let header = dledger::commitlog::record::Header {
            magic: 1,
            size: 58,
            index: Index(index),
            term: 7,
            pos,
            body_len: 10,
            ..Default::default()
        };
        bytes[pos as usize..][..48].copy_from_slice(&header.encode());
        bytes[pos as usize + 48..][..10].copy_from_slice(b"0123456789");
        pos += 58;
    }
    fs::write(directory.path().join(format!("data/{:020}", 0)), bytes).unwrap();
    fs::write(directory.path().join("currterm"), "voteLeader=n0\ncurrTerm=7\n").unwrap();
    let log = Log { directory, group: None, segment_bytes: 16 << 10 };
    let (opens, text) = log.dump(&[]);
    assert!(opens && text.contains("written by DLedger, it would be imported"), "{text}");
    assert!(text.contains("the log ends before record 3 ") && text.contains("no checksums"));
    assert_eq!(log.end(), Ok(3));
}

/// A log of 400 records of 248 bytes one by one.
struct Log {
    directory: TempDir,
    group: Option<Group>,
    segment_bytes: u64,
}

impl Log {
    fn new() -> Log {
        Log::of(16 << 10)
    }

    fn of(segment_bytes: u64) -> Log {
        let directory = tempfile::tempdir().unwrap();
        let group = Group::open(&options(directory.path(), segment_bytes)).unwrap();
        let ended = Arc::new(Ended::default());
        group.start(ended.clone(), false).unwrap();
        while !group.state().ready {
            thread::sleep(Duration::from_millis(1));
        }
        for n in 0..400 {
            let mut body = format!("body {n}").into_bytes();
            body.resize(200, b'.');
            group.append(&body, &AppendOptions::default(), Token::default()).unwrap();
            while ended.0.load(Ordering::SeqCst) <= n {
                thread::yield_now();
            }
        }
        Log { directory, group: Some(group), segment_bytes }
    }

    /// What a process that was killed here would leave.
    fn killed(self) -> Log {
        let directory = tempfile::tempdir().unwrap();
        copy(self.dir(), directory.path());
        Log { directory, group: None, segment_bytes: self.segment_bytes }
    }

    fn stop(&self) {
        assert_eq!(self.group.as_ref().unwrap().stop(None), Status::Ok);
    }

    fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// What the example prints. It leaves every file as it was.
    fn dump(&self, flags: &[&str]) -> (bool, String) {
        let before = files(self.dir());
        let mut out = Vec::new();
        let arguments = [self.dir().to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let opens = dump::run(arguments.map(str::to_owned), &mut out).unwrap();
        assert_eq!(before, files(self.dir()));
        (opens, String::from_utf8(out).unwrap())
    }

    /// Where a record lies, as the index says.
    fn record(&self, index: u64) -> u64 {
        let file = fs::File::open(self.dir().join(format!("index/{:020}", 0))).unwrap();
        let mut unit = [0; 32];
        file.read_exact_at(&mut unit, index * 32).unwrap();
        u64::from_be_bytes(unit[4..12].try_into().unwrap())
    }

    fn overwrite(&self, pos: u64, bytes: &[u8]) {
        let path = self.dir().join(format!("data/{:020}", pos - pos % self.segment_bytes));
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(bytes, pos % self.segment_bytes).unwrap();
    }

    fn flip(&self, pos: u64) {
        let path = self.dir().join(format!("data/{:020}", pos - pos % self.segment_bytes));
        let mut byte = [0];
        fs::File::open(path).unwrap().read_exact_at(&mut byte, pos % self.segment_bytes).unwrap();
        self.overwrite(pos, &[byte[0] ^ 4]);
    }

    /// The first record that is not there once the log is opened.
    fn end(&self) -> Result<u64, Status> {
        let group = Group::open(&options(self.dir(), self.segment_bytes))
            .map_err(|error| error.status())?;
        Ok(group.state().end.index.0)
    }
}

fn options(dir: &Path, segment_bytes: u64) -> Options {
    let mut options = Options::default();
    for (key, value) in [
        ("dir", dir.to_str().unwrap()),
        ("node.id", "1"),
        ("segment.bytes", &format!("{segment_bytes}B")),
        ("index.segment.bytes", "64KiB"),
        ("append.max.bytes", "8KiB"),
        ("unsynced.max", "64KiB"),
        ("checkpoint.interval", "1h"),
    ] {
        options.set(key, value).unwrap();
    }
    options
}

/// Counts appends that have ended.
#[derive(Default)]
struct Ended(AtomicUsize);

impl Observer for Ended {
    fn completed(&self, items: &[Completion]) {
        assert!(items.iter().all(|item| item.status == Status::Ok));
        self.0.fetch_add(items.len(), Ordering::SeqCst);
    }

    fn event(&self, _: u32, _: &State) {}

    fn index_read(&self, _: Token, _: Status, _: Index) {}

    fn thread(&self, _: bool, _: bool) {}
}

fn copy(from: &Path, to: &Path) {
    for (path, ..) in files(from) {
        let to = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    }
}

/// Every file, with its length and when it was last changed in any way.
fn files(dir: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path, meta.len(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    found.sort();
    found
}
