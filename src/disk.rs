//! The narrow floor under everything: what the log asks of a directory and of a file. The real
//! disk ([`real`]), one in memory that can crash, tear and fail ([`memory`]), and the mapping that
//! readers see ([`map`]).
//!
//! Paths are relative to the log's directory, with `/` between parts (`"data/00000000000000000000"`).
//! Nothing is durable before a sync says so: a file's bytes after [`File::sync`], a name after
//! [`Disk::sync_dir`] of its directory.

pub mod map;
pub mod memory;
pub mod real;
#[cfg(test)]
mod suite;

use std::io;
use std::ops::Range;
use std::sync::Arc;

pub use map::Map;

/// One directory.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory's lock, held until the value is dropped.
    /// `WouldBlock` if another handle, here or in another process, has it.
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>>;

    /// Files of a subdirectory (`""`: of the directory itself) with their lengths, by name.
    /// Subdirectories are left out. A missing directory has none.
    fn list(&self, dir: &str) -> io::Result<Vec<(String, u64)>>;

    /// Makes a subdirectory, and is content if it is there.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Makes a new file of `len` bytes that read as zeros; `AlreadyExists` if the name is taken.
    /// No block is allocated: see [`File::allocate`].
    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>>;

    /// Opens a file to read and write; `NotFound` if there is none.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing an existing one, in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. An open file keeps its bytes until it is dropped.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a directory (`""`: the directory itself) durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// The size and what is free, in bytes, of the file system that a subdirectory lies on (`""`: the
    /// directory itself). They may be two: a subdirectory may be a link, or a place where another is
    /// mounted.
    fn space(&self, dir: &str) -> io::Result<Space>;
}

/// One open file. All methods may be called at once from any thread.
#[allow(clippy::len_without_is_empty)]
pub trait File: Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buf` from `at`; `UnexpectedEof` beyond the end.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `at`, within the file's length.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Allocates blocks for `at..at + len`, within the file's length, so that a later write there
    /// cannot meet a full disk. What reads as zeros goes on to.
    fn allocate(&self, at: u64, len: u64) -> io::Result<()>;

    /// Makes the file's bytes durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// The first place at or after `at` that may hold bytes other than zero (`SEEK_DATA`); `None`
    /// if only zeros follow.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>>;

    /// The first place at or after `at` where a stretch begins that is known to read as zeros; the
    /// file's length if there is none.
    fn next_hole(&self, at: u64) -> io::Result<u64>;

    /// When it was last written, in milliseconds since 1970.
    fn modified(&self) -> io::Result<u64>;

    /// Maps the whole file, read-only and shared: what is written later shows in it.
    fn map(&self) -> io::Result<Arc<Map>>;
}

/// How bytes of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// In place: a medium error is a signal.
    Map,
    /// By `read`: a medium error is an error.
    File,
}

impl Through {
    /// Fills `buf` from `at`; `UnexpectedEof` beyond the end.
    pub fn read(self, file: &dyn File, map: &Map, at: u64, buf: &mut [u8]) -> io::Result<()> {
        match self {
            Through::Map if map.copy(at, buf) => Ok(()),
            Through::Map => Err(io::ErrorKind::UnexpectedEof.into()),
            Through::File => file.read_at(buf, at),
        }
    }
}

/// The stretches from `from` on that may hold bytes other than zero. All of them are found before
/// one is read or written: what a read brings into the cache of blocks that were only allocated may
/// count as data from then on, and whoever asks anew behind each read chases its own trail to the
/// end of the file.
pub fn data_ranges(file: &dyn File, from: u64) -> io::Result<Vec<Range<u64>>> {
    let len = file.len()?;
    let mut ranges = Vec::new();
    let mut at = from;
    while let Some(data) = file.next_data(at)?.filter(|data| *data < len) {
        at = file.next_hole(data)?.max(data + 1).min(len);
        ranges.push(data..at);
    }
    Ok(ranges)
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What is used, by anybody, and what is free for us.
    pub total: u64,
    /// What is free for us.
    pub available: u64,
}
