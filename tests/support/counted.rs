//! A disk that counts what is read of its data segments, and may tell of no hole: so it is where
//! the zeros that were allocated are in the page cache, and on file systems that know no holes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dledger::disk::{Disk, File, Map, Space};

pub struct Counted {
    pub disk: Arc<dyn Disk>,
    /// Whether `SEEK_DATA` and `SEEK_HOLE` find holes.
    pub holes: bool,
    pub read: Arc<AtomicU64>,
}

struct CountedFile {
    file: Arc<dyn File>,
    holes: bool,
    /// `None`: no data segment.
    read: Option<Arc<AtomicU64>>,
}

impl Counted {
    pub fn new(disk: Arc<dyn Disk>, holes: bool) -> Counted {
        Counted { disk, holes, read: Arc::default() }
    }

    fn file(&self, path: &str, file: Arc<dyn File>) -> Arc<dyn File> {
        let read = path.starts_with("data/").then(|| self.read.clone());
        Arc::new(CountedFile { file, holes: self.holes, read })
    }
}

impl Disk for Counted {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock()
    }
    fn list(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(dir)
    }
    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.disk.create(path, len)?))
    }
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.disk.open(path)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn space(&self, dir: &str) -> io::Result<Space> {
        self.disk.space(dir)
    }
}

impl File for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if let Some(read) = &self.read {
            read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        }
        self.file.read_at(buf, at)
    }
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }
    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.allocate(at, len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        match self.holes {
            true => self.file.next_data(at),
            false => Ok((at < self.file.len()?).then_some(at)),
        }
    }
    fn next_hole(&self, at: u64) -> io::Result<u64> {
        if self.holes { self.file.next_hole(at) } else { self.file.len() }
    }
    fn modified(&self) -> io::Result<u64> {
        self.file.modified()
    }
    fn map(&self) -> io::Result<Arc<Map>> {
        self.file.map()
    }
}
