//! Logs on a disk in memory: what is on it, and the log on it, for tests of recovery and of formats.

#[path = "../sim/model.rs"]
pub mod model;
#[path = "../sim/world.rs"]
pub mod world;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dledger::disk::memory::MemoryDisk;
use dledger::disk::{Disk, data_ranges};
use dledger::error::Error;
use dledger::group::Entry;
use dledger::plant::Plants;

use world::{Open, Settings};

/// Every file but what is made ahead: path, length, and the bytes up to the last that is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image(pub Vec<(String, u64, Vec<u8>)>);

impl Image {
    pub fn of(disk: &MemoryDisk) -> Image {
        let paths = disk.paths().into_iter().filter(|path| !path.starts_with("spare/"));
        Image(paths.map(|path| read(disk, path)).collect())
    }

    /// A new disk with these files, at rest.
    pub fn disk(&self) -> MemoryDisk {
        let disk = MemoryDisk::new();
        self.put(&disk);
        disk.restart()
    }

    /// Puts these files on a disk that has none of them.
    pub fn put(&self, disk: &dyn Disk) {
        for (path, len, bytes) in &self.0 {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            disk.create_dir(dir).unwrap();
            let file = disk.create(path, *len).unwrap();
            file.write_at(bytes, 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir).unwrap();
        }
        disk.sync_dir("").unwrap();
    }

    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.0.iter().find(|(p, ..)| p == path).map(|(_, _, bytes)| &bytes[..])
    }

    /// The files of some directories alone.
    pub fn only(&self, dirs: &[&str]) -> Image {
        let keeps = |path: &str| dirs.iter().any(|dir| path.starts_with(&format!("{dir}/")));
        Image(self.0.iter().filter(|(path, ..)| keeps(path)).cloned().collect())
    }

    /// Panics with the first file that is not the same, and where.
    pub fn assert_same(&self, other: &Image, what: &str) {
        for ((a, alen, x), (b, blen, y)) in self.0.iter().zip(&other.0) {
            assert_eq!((a, alen), (b, blen), "{what}");
            let differs = x.iter().zip(y).position(|(x, y)| x != y);
            assert_eq!((differs, x.len()), (None, y.len()), "{what}: {a} differs");
        }
        assert_eq!(self.0.len(), other.0.len(), "{what}: so many files");
    }
}

fn read(disk: &MemoryDisk, path: String) -> (String, u64, Vec<u8>) {
    let file = disk.open(&path).unwrap();
    let mut bytes = Vec::new();
    for range in data_ranges(&*file, 0).unwrap() {
        bytes.resize(range.end as usize, 0);
        file.read_at(&mut bytes[range.start as usize..], range.start).unwrap();
    }
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    bytes.truncate(used);
    (path, file.len().unwrap(), bytes)
}

pub fn settings(segment_bytes: u64, index_bytes: u64) -> Settings {
    let (flush, unsynced_max, plants) = ("commit", 64 << 10, Plants::NONE);
    Settings { segment_bytes, index_bytes, flush, unsynced_max, plants, node: 1, members: 1 }
}

/// Opens and elects, without asking that this succeeds.
pub fn try_open(disk: &MemoryDisk, settings: &Settings) -> Result<Open, Error> {
    let mut open = Open::new(disk, &Arc::new(AtomicU64::new(0)), settings)?;
    open.settle();
    Ok(open)
}

pub fn open(disk: &MemoryDisk, settings: &Settings) -> Open {
    let open = try_open(disk, settings).unwrap_or_else(|e| panic!("{e}"));
    assert!(open.shared.state().ready, "{:?}", open.shared.failure());
    open
}

/// Compares records without printing all of them.
pub fn same(found: &[(Entry, Vec<u8>)], expected: &[(Entry, Vec<u8>)], what: &str) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(n) = differs {
        panic!("{what}: record {n}: {:?} instead of {:?}", found[n].0, expected[n].0);
    }
    assert_eq!(found.len(), expected.len(), "{what}: so many records");
}
