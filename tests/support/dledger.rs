//! Directories with DLedger's bytes, made from the table of fields in `dledger.md`, without the
//! library's code.

use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::group::Entry;

use crate::memory::world::Open;
use crate::memory::{self, settings};
use crate::parser::Files;

pub type Records = Vec<(Entry, Vec<u8>)>;

pub const SEGMENT: u64 = 4096;
pub const INDEX: u64 = 4096;

/// A record as DLedger wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    pub magic: u32,
    pub index: u64,
    pub term: u64,
    pub pos: u64,
    pub body: Vec<u8>,
}

/// Writes what DLedger writes: `DLedgerMmapFileStore.appendAsLeader` and `MmapFileList.preAppend`.
pub struct DLedger {
    pub segment: u64,
    pub index_file: u64,
    pub files: Files,
    pub next: (u64, u64),
    pub term: u64,
    pub records: Vec<Old>,
}

impl DLedger {
    pub fn new(segment: u64, index_file: u64) -> DLedger {
        let (files, records) = (Files::new(), Vec::new());
        DLedger { segment, index_file, files, next: (0, 0), term: 0, records }
    }

    /// Goes on behind what is there.
    pub fn behind(files: Files, next: (u64, u64), term: u64) -> DLedger {
        DLedger { files, next, term, ..DLedger::new(SEGMENT, INDEX) }
    }

    pub fn append(&mut self, body: &[u8]) {
        self.put(1, body);
    }

    pub fn put(&mut self, magic: u32, body: &[u8]) {
        let (index, mut pos) = self.next;
        let size = 48 + body.len() as u64;
        let rest = self.segment - pos % self.segment;
        if size + 8 > rest {
            let mut blank = vec![0xff; 4];
            blank.extend((rest as u32).to_be_bytes());
            self.write("data", self.segment, pos, &blank);
            pos += rest;
        }
        let record = Old { magic, index, term: self.term, pos, body: body.to_vec() };
        self.write("data", self.segment, pos, &bytes_of(&record));
        self.write("index", self.index_file, index * 32, &unit_of(&record));
        self.next = (index + 1, pos + size);
        self.records.push(record);
    }

    pub fn write(&mut self, dir: &str, length: u64, at: u64, bytes: &[u8]) {
        let name = format!("{dir}/{:020}", at - at % length);
        let file = self.files.entry(name).or_insert_with(|| vec![0; length as usize]);
        let at = (at % length) as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn state(&mut self, term: u64, committed: Option<i64>) {
        let text = format!("voteLeader=n0\ncurrTerm={term}\n");
        self.files.insert("currterm".into(), text.into_bytes());
        if let Some(committed) = committed {
            let end = self.next.0 as i64 - 1;
            let text = format!("endIndex={end}\ncommittedIndex={committed}\n");
            self.files.insert("checkpoint".into(), text.into_bytes());
        }
    }

    pub fn disk(&self) -> MemoryDisk {
        disk_of(&self.files)
    }

    /// Some dozen records of several terms over several files, no-ops among them.
    pub fn typical() -> DLedger {
        let mut old = DLedger::new(SEGMENT, INDEX);
        for n in 0..40u64 {
            old.term = n / 10;
            let len = [3, 100, 0, 1500, 47][n as usize % 5];
            if n % 10 == 0 { old.put(2, &[]) } else { old.append(&vec![n as u8 + 1; len]) }
        }
        old.state(5, Some(38));
        old
    }
}

pub fn bytes_of(record: &Old) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(record.magic.to_be_bytes());
    bytes.extend((48 + record.body.len() as u32).to_be_bytes());
    for n in [record.index, record.term, record.pos] {
        bytes.extend(n.to_be_bytes());
    }
    bytes.extend([0; 12]);
    bytes.extend((record.body.len() as u32).to_be_bytes());
    bytes.extend(&record.body);
    bytes
}

pub fn unit_of(record: &Old) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(record.magic.to_be_bytes());
    bytes.extend(record.pos.to_be_bytes());
    bytes.extend((48 + record.body.len() as u32).to_be_bytes());
    bytes.extend(record.index.to_be_bytes());
    bytes.extend(record.term.to_be_bytes());
    bytes
}

/// A disk with these files; what they end with in zeros is never written, to be quick.
pub fn disk_of(files: &Files) -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (path, bytes) in files {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        disk.create_dir(dir).unwrap();
        let file = disk.create(path, bytes.len() as u64).unwrap();
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        file.write_at(&bytes[..used], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(dir).unwrap();
    }
    disk.sync_dir("").unwrap();
    disk.restart()
}

pub fn files_of(disk: &MemoryDisk) -> Files {
    let paths = disk.paths().into_iter().filter(|path| !path.starts_with("spare/"));
    paths.map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect()
}

pub fn open(disk: &MemoryDisk) -> Open {
    memory::open(disk, &settings(SEGMENT, INDEX))
}

/// What reads answer for DLedger's records: no-ops are stepped over.
pub fn as_read(records: &[Old]) -> Records {
    let records = records.iter().filter(|r| r.magic == 1);
    records
        .map(|r| {
            let entry = Entry {
                index: dledger::types::Index(r.index),
                term: r.term,
                pos: r.pos,
                body_len: r.body.len() as u32,
            };
            (entry, r.body.clone())
        })
        .collect()
}
