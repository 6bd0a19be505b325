//! What readers see of a file: a shared, read-only mapping of all of it.
//!
//! The file below may be written while it is mapped, so nobody holds a `&[u8]` of bytes that can
//! still change: [`Map::bytes`] is for bytes below a published watermark, [`Map::copy`] for all
//! others. Nobody stores through a mapping of a file, and a mapped file is never shortened.
//! This is the only `unsafe` below the C ABI.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// A mapping of a whole file; unmapped when the value is dropped.
pub struct Map {
    raw: MmapRaw,
    in_memory: bool,
}

impl Map {
    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// The bytes of `range`, without a copy; `None` if the file does not have them all.
    ///
    /// Only for bytes that never change again: the caller has learned from a watermark, published
    /// after they were written, that the range lies below it. Use [`Map::copy`] for others.
    pub fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        let (at, len) = self.part(range.start, range.end.checked_sub(range.start)?)?;
        // SAFETY: `part` has checked that the range lies within the mapping, which lives as long
        // as `self`. The file is not shortened while mapped, and by this method's contract these
        // bytes are not written any more, so they stay as they are for the slice's lifetime.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at), len) })
    }

    /// Fills `buf` from `at`; false, and nothing copied, if the file does not reach that far.
    ///
    /// The bytes may be written at the same time: what is copied is then a mixture, and the caller
    /// must find that out by a checksum.
    #[must_use]
    pub fn copy(&self, at: u64, buf: &mut [u8]) -> bool {
        let Some((at, len)) = self.part(at, buf.len() as u64) else { return false };
        if self.in_memory {
            for (to, cell) in buf.iter_mut().zip(self.cells(at, len)) {
                *to = cell.load(Ordering::Relaxed);
            }
            return true;
        }
        // SAFETY: `part` has checked the source, `buf` is ours alone, and so they do not overlap.
        // Nothing in this process stores into the mapping of a file: another writer is the kernel,
        // which may change the bytes under the copy, and any mixture of bytes is a valid `[u8]`.
        unsafe { ptr::copy(self.raw.as_ptr().add(at), buf.as_mut_ptr(), len) };
        true
    }

    /// Where the first byte is. What [`Map::bytes`] asks of its callers holds here as well.
    pub fn as_ptr(&self) -> *const u8 {
        self.raw.as_ptr()
    }

    /// Tells the system that the file will be read from its beginning to its end. A hint only.
    pub fn advise_sequential(&self) {
        if !self.in_memory {
            let _ = self.raw.advise(Advice::Sequential);
        }
    }

    /// Maps the first `len` bytes of `file`, which must have them.
    pub(super) fn of_file(file: &File, len: u64) -> io::Result<Map> {
        let raw = MmapOptions::new().len(size(len)?).map_raw_read_only(file)?;
        Ok(Map { raw, in_memory: false })
    }

    /// `len` zero bytes that belong to no file: the contents of a file of the memory disk.
    /// Pages take memory at their first write.
    pub(super) fn in_memory(len: u64) -> io::Result<Map> {
        let raw = MmapOptions::new().len(size(len)?).map_anon()?.into();
        Ok(Map { raw, in_memory: true })
    }

    /// Writes into a mapping made by [`Map::in_memory`]; false, and nothing written, if it is not
    /// one or does not reach that far. Like a write to a mapped file, it is never to bytes that
    /// somebody holds through [`Map::bytes`].
    #[must_use]
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> bool {
        let Some((at, len)) = self.part(at, bytes.len() as u64) else { return false };
        if !self.in_memory {
            return false;
        }
        for (cell, byte) in self.cells(at, len).iter().zip(bytes) {
            cell.store(*byte, Ordering::Relaxed);
        }
        true
    }

    /// The bytes of an in-memory mapping as cells that many threads may load and store at once.
    fn cells(&self, at: usize, len: usize) -> &[AtomicU8] {
        assert!(self.in_memory && at.checked_add(len).is_some_and(|end| end <= self.raw.len()));
        // SAFETY: the range lies within the mapping, which lives as long as `self` and is writable
        // because it is in memory. `AtomicU8` has the layout of `u8`. All access that can meet a
        // store goes through these cells; slices are of bytes that are not stored to any more.
        unsafe { std::slice::from_raw_parts(self.raw.as_mut_ptr().add(at).cast(), len) }
    }

    /// `at` and `len` in the address space, if the mapping has that part.
    fn part(&self, at: u64, len: u64) -> Option<(usize, usize)> {
        let end = at.checked_add(len)?;
        (end <= self.len()).then_some((at as usize, len as usize))
    }
}

/// A file's length in the address space.
fn size(len: u64) -> io::Result<usize> {
    isize::try_from(len).map(|len| len as usize).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the bounds that the unsafe blocks rely on: nothing outside a mapping is reachable.
    #[test]
    fn outside_is_refused() {
        let map = Map::in_memory(100).unwrap();
        assert_eq!(map.len(), 100);
        assert_eq!(map.bytes(0..100), Some(&[0u8; 100][..]));
        assert_eq!(map.bytes(100..100), Some(&[][..]));
        assert_eq!(map.bytes(0..101), None);
        assert_eq!(map.bytes(u64::MAX - 1..u64::MAX), None);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 50..40;
        assert_eq!(map.bytes(reversed), None);
        let mut buf = [7u8; 10];
        assert!(!map.copy(91, &mut buf));
        assert!(!map.copy(u64::MAX, &mut buf));
        assert_eq!(buf, [7u8; 10], "a refused copy changes nothing");
        assert!(map.copy(90, &mut buf));
        assert_eq!(buf, [0u8; 10]);
        assert!(!map.write(91, &buf));
        assert!(Map::in_memory(u64::MAX).is_err());
    }

    /// Guards that an empty file can be mapped: an index of nothing is one.
    #[test]
    fn empty() {
        let map = Map::in_memory(0).unwrap();
        assert_eq!((map.len(), map.bytes(0..0)), (0, Some(&[][..])));
        let file = tempfile::tempfile().unwrap();
        let map = Map::of_file(&file, 0).unwrap();
        assert_eq!((map.len(), map.bytes(0..0), map.bytes(0..1)), (0, Some(&[][..]), None));
        map.advise_sequential();
    }

    /// Guards that nobody stores into a file through its mapping: that would raise a signal.
    #[test]
    fn file_is_read_only() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let map = Map::of_file(&file, 4096).unwrap();
        assert!(!map.write(0, b"x"));
        assert_eq!(map.bytes(0..1), Some(&[0u8][..]));
    }

    /// Guards that a reader may copy while the memory disk writes.
    #[test]
    fn copy_beside_write() {
        let map = Map::in_memory(8192).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..50u8 {
                    assert!(map.write(0, &[n; 8192]));
                }
            });
            let mut buf = [0u8; 512];
            while buf[511] < 49 {
                assert!(map.copy(7680, &mut buf));
            }
        });
        assert_eq!(map.bytes(0..8192), Some(&[49u8; 8192][..]));
    }
}
