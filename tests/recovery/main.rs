//! Acceptance 6: each row of the table in `src/commitlog/recover.rs`, on a disk in memory; damage at
//! rest; recovery twice and interrupted. Acceptance 9: what an open reads.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

mod bytes_read;
#[path = "../support/counted.rs"]
mod counted;
mod damage;
mod known_durable;
#[allow(dead_code)]
#[path = "../support/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "../support/parser.rs"]
mod parser;
mod refused;
mod repeated;
mod table;

use std::sync::Arc;

use dledger::commitlog::meta::{Member, MemberSet, Meta, MetaStore};
use dledger::commitlog::{Birth, CommitLog};
use dledger::disk::memory::MemoryDisk;
use dledger::error::Error;
use dledger::group::Entry;
use dledger::plant::Plants;

use memory::world::{Open, Settings};
use memory::{Image, open, settings};

type Records = Vec<(Entry, Vec<u8>)>;

/// Segments of 4 KiB: they roll, and each roll is a checkpoint.
fn small() -> Settings {
    settings(4096, 4096)
}

/// Segments of 1 MiB: nothing rolls, so nothing is noted as durable but by a stop.
fn large() -> Settings {
    settings(1 << 20, 8192)
}

fn birth(settings: &Settings) -> Birth {
    let member = Member { id: 1, incarnation: 1, address: String::new() };
    let members = MemberSet { members: vec![member], voters: vec![1], ..MemberSet::default() };
    Birth {
        group: "default".into(),
        node: 1,
        incarnation: 1,
        segment_bytes: settings.segment_bytes,
        index_bytes: settings.index_bytes,
        begin_pos: 0,
        unsynced_max: settings.unsynced_max,
        members,
        clamp_missing_tail: false,
        plants: Plants::NONE,
        disk_full_ppm: 1_000_000,
    }
}

/// Recovery alone, without an election behind it.
fn recover(disk: &MemoryDisk, settings: &Settings) -> Result<CommitLog, Error> {
    CommitLog::open(Arc::new(disk.clone()), &birth(settings))
}

/// Appends `rounds` batches of three records. `seed` makes bodies that no other call has.
fn append(log: &mut Open, rounds: usize, len: usize, seed: u8, records: &mut Records) {
    for round in 0..rounds {
        for n in 0..3u8 {
            let mut body = vec![seed; len + usize::from(n)];
            body[..2].copy_from_slice(&[round as u8, n]);
            let entry = log.append(&body, None).unwrap();
            records.push((entry, body));
        }
        log.settle();
    }
}

/// A log that was stopped: all of it is durable, and known to be.
fn stopped(settings: &Settings, rounds: usize, len: usize) -> (MemoryDisk, Records) {
    let disk = MemoryDisk::new();
    let mut records = Records::new();
    let mut log = open(&disk, settings);
    append(&mut log, rounds, len, 1, &mut records);
    log.stop();
    (disk.restart(), records)
}

/// A stopped log with a second life behind it that was killed: its records are on disk, but nothing
/// notes that they are. Answers how many records are known to be durable.
fn killed(settings: &Settings, rounds: usize, len: usize) -> (Image, Records, usize) {
    let (disk, mut records) = stopped(settings, 4, 40);
    let durable = records.len();
    let mut log = open(&disk, settings);
    append(&mut log, rounds, len, 2, &mut records);
    assert_eq!(meta(&disk).durable.index.0, durable as u64, "nothing was noted since");
    (Image::of(&disk), records, durable)
}

fn meta(disk: &MemoryDisk) -> Meta {
    MetaStore::read(disk).unwrap().unwrap()
}

/// Changes what `meta` says.
fn with_meta(disk: &MemoryDisk, change: impl FnOnce(&mut Meta)) {
    let (mut store, mut meta) = MetaStore::open(disk).unwrap().unwrap();
    change(&mut meta);
    store.store(&meta).unwrap();
}

fn segment(settings: &Settings, pos: u64) -> String {
    format!("data/{:020}", pos - pos % settings.segment_bytes)
}

/// Flips bits of one byte of the log.
fn flip(disk: &MemoryDisk, settings: &Settings, pos: u64, mask: u8) {
    assert!(disk.flip(&segment(settings, pos), pos % settings.segment_bytes, mask));
}

/// Writes to cut at. Behind the first hundred only spares are made, each like the other.
fn points() -> impl Iterator<Item = u64> {
    (0..100).chain((100..).step_by(41))
}

/// Overwrites bytes of one file.
fn write(disk: &MemoryDisk, path: &str, at: u64, bytes: &[u8]) {
    let file = dledger::disk::Disk::open(disk, path).unwrap();
    file.write_at(bytes, at).unwrap();
    file.sync().unwrap();
}

/// The log goes on: it opens, has these records, takes another, is stopped, and its files are as
/// the format says.
fn goes_on(disk: &MemoryDisk, settings: &Settings, records: &[(Entry, Vec<u8>)], what: &str) {
    let mut log = open(disk, settings);
    memory::same(&log.read_all(), records, what);
    let mut all = records.to_vec();
    append(&mut log, 1, 70, 9, &mut all);
    memory::same(&log.read_all(), &all, what);
    let begin = log.driver.log().begin();
    let noted = log.driver.log().meta().dledger_end;
    log.stop();
    let shape = parser::Shape {
        begin: (begin.index.0, begin.pos, begin.batch.0),
        begin_chain: begin.chain,
        dledgers: noted.index.0,
        unsynced: settings.unsynced_max,
        ..parser::Shape::new(settings.segment_bytes, settings.index_bytes)
    };
    let files = Image::of(disk).0.into_iter();
    let whole = files.map(|(path, len, mut bytes)| {
        // Of the 64 MiB of `control` those that may hold an entry.
        let len = if path == "control" { bytes.len() as u64 + 4096 } else { len };
        bytes.resize(len as usize, 0);
        (path, bytes)
    });
    let parsed = parser::parse(&whole.collect(), &shape);
    assert_eq!(parsed.data.records.len(), all.len(), "{what}");
}
