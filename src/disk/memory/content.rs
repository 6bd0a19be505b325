//! The bytes of one file of the memory disk, and what a power cut would leave of them.
//!
//! The current bytes are in a mapping, which readers see. For each sector that was written since
//! the last sync, the bytes that are durable are kept beside it. Blocks are allocated by writes
//! and by `allocate`; an allocation, too, is durable only after a sync.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Rng;
use crate::disk::Map;

/// Granularity of torn writes, of read errors and of what survives a power cut.
pub(super) const SECTOR_BYTES: u64 = 512;
/// Granularity of allocation and of holes.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// One file's bytes.
pub(super) struct Content {
    pub(super) map: Arc<Map>,
    pub(super) modified_ms: u64,
    /// Sectors whose current bytes are not durable.
    dirty: BTreeMap<u64, Durable>,
    /// Blocks that may hold bytes other than zero.
    written: Blocks,
    allocated: Blocks,
    /// Blocks allocated since the last sync.
    fresh: BTreeSet<u64>,
    /// Sectors whose reading fails.
    unreadable: BTreeSet<u64>,
}

/// What a dirty sector holds on the disk.
struct Durable {
    bytes: [u8; SECTOR_BYTES as usize],
    /// A sync failed: the kernel holds the sector clean and will never write it.
    forgotten: bool,
}

/// Which part of a file's unsynced sectors a power cut leaves.
#[derive(Clone, Copy)]
pub(super) enum Keep {
    All,
    Nothing,
    /// Each by a coin of its own.
    Some,
}

impl Keep {
    /// Draws one of the three; the last one, which has most outcomes, half of the time.
    pub(super) fn draw(rng: Rng<'_>) -> Keep {
        match rng(4) {
            0 => Keep::All,
            1 => Keep::Nothing,
            _ => Keep::Some,
        }
    }
}

impl Content {
    /// `len` bytes that read as zeros, without a block.
    pub(super) fn new(len: u64, now_ms: u64) -> io::Result<Content> {
        let blocks = Blocks::new(len.div_ceil(BLOCK_BYTES));
        Ok(Content {
            map: Arc::new(Map::in_memory(len)?),
            modified_ms: now_ms,
            dirty: BTreeMap::new(),
            written: blocks.clone(),
            allocated: blocks,
            fresh: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.map.len()
    }

    /// How many bytes of the disk the file takes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated.count * BLOCK_BYTES
    }

    /// Whether the file has all of `at..at + len`.
    pub(super) fn has(&self, at: u64, len: u64) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.len())
    }

    /// Copies from the file, unless a sector there cannot be read.
    pub(super) fn read(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        if self.unreadable.range(units(at, buf.len() as u64, SECTOR_BYTES)).next().is_some() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if self.map.copy(at, buf) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Writes into the cache and allocates blocks where there are none, at most `room` of them.
    /// Says how many bytes were written before the room ran out. The file has all of the range.
    pub(super) fn write(&mut self, bytes: &[u8], at: u64, room: u64) -> usize {
        let len = self.allocate(at, bytes.len() as u64, room);
        for sector in units(at, len, SECTOR_BYTES) {
            let durable = Durable { bytes: self.sector(sector), forgotten: false };
            self.dirty.entry(sector).or_insert(durable).forgotten = false;
            // A disk replaces a bad sector when it is written.
            self.unreadable.remove(&sector);
        }
        for block in units(at, len, BLOCK_BYTES) {
            self.written.set(block);
        }
        self.store(at, &bytes[..len as usize]);
        len as usize
    }

    /// Allocates blocks where there are none, at most `room` of them. Says how many of the bytes
    /// have blocks then.
    pub(super) fn allocate(&mut self, at: u64, len: u64, room: u64) -> u64 {
        let mut room = room;
        for block in units(at, len, BLOCK_BYTES) {
            if self.allocated.get(block) {
                continue;
            }
            if room == 0 {
                return (block * BLOCK_BYTES).saturating_sub(at);
            }
            room -= 1;
            self.allocated.set(block);
            self.fresh.insert(block);
        }
        len
    }

    /// Makes the bytes durable, but for what an earlier failed sync has forgotten.
    pub(super) fn sync(&mut self) {
        self.dirty.retain(|_, durable| durable.forgotten);
        self.fresh.clear();
    }

    /// A sync that failed, as kernels do it: the sectors count as clean, and were never written.
    pub(super) fn fail_sync(&mut self) {
        self.dirty.values_mut().for_each(|durable| durable.forgotten = true);
    }

    /// The first byte at or after `at` in a block that was ever written.
    pub(super) fn next_data(&self, at: u64) -> Option<u64> {
        let block = self.written.next(at / BLOCK_BYTES)?;
        Some(at.max(block * BLOCK_BYTES)).filter(|at| *at < self.len())
    }

    /// The first byte at or after `at` in a block that was never written; else the file's length.
    pub(super) fn next_hole(&self, at: u64) -> u64 {
        let mut block = at / BLOCK_BYTES;
        while block * BLOCK_BYTES < self.len() && self.written.get(block) {
            block += 1;
        }
        at.max(block * BLOCK_BYTES).min(self.len())
    }

    /// Flips bits of one byte, in the cache and on the disk. The file has it.
    pub(super) fn flip(&mut self, at: u64, mask: u8) {
        let mut byte = [0];
        if self.map.copy(at, &mut byte) {
            self.store(at, &[byte[0] ^ mask]);
        }
        if let Some(durable) = self.dirty.get_mut(&(at / SECTOR_BYTES)) {
            durable.bytes[(at % SECTOR_BYTES) as usize] ^= mask;
        }
        let block = at / BLOCK_BYTES;
        self.allocated.set(block);
        self.written.set(block);
        self.fresh.remove(&block);
    }

    /// Makes the sector of a byte unreadable.
    pub(super) fn fail_read(&mut self, at: u64) {
        self.unreadable.insert(at / SECTOR_BYTES);
    }

    /// All bytes as they are now.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len() as usize];
        let copied = self.map.copy(0, &mut bytes);
        debug_assert!(copied, "the whole file is in its mapping");
        bytes
    }

    /// What a power cut leaves, as a file that is durable as it is.
    pub(super) fn survivor(&self, keep: Keep, rng: Rng<'_>) -> io::Result<Content> {
        let mut left = Content::new(self.len(), self.modified_ms)?;
        let mut block = [0; BLOCK_BYTES as usize];
        for n in self.written.iter() {
            let at = n * BLOCK_BYTES;
            let part = &mut block[..self.len().saturating_sub(at).min(BLOCK_BYTES) as usize];
            if self.map.copy(at, part) {
                left.store(at, part);
            }
        }
        let mut held = BTreeSet::new();
        for (sector, durable) in &self.dirty {
            let kept = match keep {
                Keep::All => true,
                Keep::Nothing => false,
                Keep::Some => rng(2) == 1,
            };
            let at = sector * SECTOR_BYTES;
            if kept && !durable.forgotten {
                held.insert(at / BLOCK_BYTES);
            } else {
                let part = self.len().saturating_sub(at).min(SECTOR_BYTES) as usize;
                left.store(at, &durable.bytes[..part]);
            }
        }
        left.written = self.written.clone();
        left.allocated = self.allocated.clone();
        left.unreadable = self.unreadable.clone();
        if !matches!(keep, Keep::All) {
            for block in self.fresh.difference(&held) {
                left.allocated.clear(*block);
                left.written.clear(*block);
            }
        }
        Ok(left)
    }

    /// The current bytes of a sector; zeros stand for what lies beyond the end of the file.
    fn sector(&self, sector: u64) -> [u8; SECTOR_BYTES as usize] {
        let mut bytes = [0; SECTOR_BYTES as usize];
        let at = sector * SECTOR_BYTES;
        let part = self.len().saturating_sub(at).min(SECTOR_BYTES) as usize;
        let copied = self.map.copy(at, &mut bytes[..part]);
        debug_assert!(copied, "a sector begins within the file");
        bytes
    }

    fn store(&self, at: u64, bytes: &[u8]) {
        let stored = self.map.write(at, bytes);
        debug_assert!(stored, "callers stay within the file");
    }
}

/// The units of `unit` bytes that `at..at + len` touches.
fn units(at: u64, len: u64, unit: u64) -> Range<u64> {
    if len == 0 { 0..0 } else { at / unit..(at + len).div_ceil(unit) }
}

/// A set of blocks, as bits: a file of 1 GiB has 262,144 of them.
#[derive(Clone)]
struct Blocks {
    words: Vec<u64>,
    count: u64,
}

impl Blocks {
    fn new(blocks: u64) -> Blocks {
        Blocks { words: vec![0; blocks.div_ceil(64) as usize], count: 0 }
    }

    fn get(&self, block: u64) -> bool {
        self.words.get((block / 64) as usize).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn set(&mut self, block: u64) {
        if !self.get(block) {
            self.words[(block / 64) as usize] |= 1 << (block % 64);
            self.count += 1;
        }
    }

    fn clear(&mut self, block: u64) {
        if self.get(block) {
            self.words[(block / 64) as usize] &= !(1 << (block % 64));
            self.count -= 1;
        }
    }

    /// The first block of the set at or after `from`.
    fn next(&self, from: u64) -> Option<u64> {
        let mut i = (from / 64) as usize;
        let mut word = self.words.get(i)? & (u64::MAX << (from % 64));
        while word == 0 {
            i += 1;
            word = *self.words.get(i)?;
        }
        Some(i as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::successors(self.next(0), |block| self.next(block + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the set that holes and room are computed from, against a plain list of flags.
    #[test]
    fn blocks() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut blocks = Blocks::new(200);
        let mut flags = [false; 200];
        for _ in 0..1000 {
            let block = rng.usize(..200);
            flags[block] = rng.bool();
            if flags[block] {
                blocks.set(block as u64)
            } else {
                blocks.clear(block as u64)
            }
            let from = rng.usize(..200);
            let next = (from..200).find(|i| flags[*i]).map(|i| i as u64);
            assert_eq!(blocks.next(from as u64), next);
            assert_eq!(blocks.get(from as u64), flags[from]);
        }
        assert_eq!(blocks.count, flags.iter().filter(|flag| **flag).count() as u64);
        assert_eq!(blocks.iter().count() as u64, blocks.count);
        assert_eq!(blocks.next(1 << 40), None);
    }

    /// Guards the arithmetic of sectors and blocks at the edges.
    #[test]
    fn units_touched() {
        assert_eq!(units(0, 0, 512), 0..0);
        assert_eq!(units(0, 512, 512), 0..1);
        assert_eq!(units(511, 2, 512), 0..2);
        assert_eq!(units(512, 1, 512), 1..2);
    }
}
