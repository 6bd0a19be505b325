//! Data segments, and the immutable list of them that readers see. The writer makes a new list
//! and swaps it in; a reader keeps a segment alive, mapped and readable, for as long as it holds
//! it, whatever is purged or closed meanwhile.

use std::sync::Arc;

use crate::commitlog::index::Units;
use crate::disk::{Disk, File, Map, Through};
use crate::error::{Error, Result};

/// One data file.
pub struct Segment {
    /// Position of its first byte: a multiple of the segment size.
    pub pos: u64,
    /// Its length.
    pub bytes: u64,
    /// To write, and to read with an error instead of a signal.
    pub file: Arc<dyn File>,
    /// To read.
    pub map: Arc<Map>,
}

impl Segment {
    /// Opens the segment of `bytes` length at `pos`.
    pub fn open(disk: &dyn Disk, pos: u64, bytes: u64) -> Result<Segment> {
        let path = path(pos);
        let file = disk.open(&path).map_err(|e| Error::io(&*path, e))?;
        Segment::of_file(file, pos, bytes).map_err(|e| Error::io(path, e))
    }

    /// The segment in an open file.
    pub fn of_file(file: Arc<dyn File>, pos: u64, bytes: u64) -> std::io::Result<Segment> {
        let map = file.map()?;
        Ok(Segment { pos, bytes, file, map })
    }

    /// Fills `buf` from position `pos` of the log on; `UnexpectedEof` beyond the segment's end.
    pub fn read(&self, through: Through, pos: u64, buf: &mut [u8]) -> std::io::Result<()> {
        through.read(&*self.file, &self.map, pos - self.pos, buf)
    }

    /// The first position behind it.
    pub fn end(&self) -> u64 {
        self.pos + self.bytes
    }
}

/// The name of the segment at `pos`.
pub fn path(pos: u64) -> String {
    format!("data/{pos:020}")
}

/// What readers see: data segments and index files, in order, without gaps.
#[derive(Clone)]
pub struct Shelf {
    /// Data segments.
    pub segments: Vec<Arc<Segment>>,
    /// Index units.
    pub index: Units,
}

impl Shelf {
    /// The segment that has `pos`.
    pub fn segment(&self, pos: u64) -> Option<&Arc<Segment>> {
        find(&self.segments, pos)
    }
}

/// The segment that has `pos`, among `segments`.
pub fn find(segments: &[Arc<Segment>], pos: u64) -> Option<&Arc<Segment>> {
    let first = segments.first()?;
    segments.get((pos.checked_sub(first.pos)? / first.bytes) as usize)
}
