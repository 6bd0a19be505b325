//! Files of 32-byte units: one per record (`index/`, DLedger's) and one per Raft entry
//! (`batches/`, ours). Both are derived from `data` and `control`: recovery rewrites what is
//! short or differs. They are written behind the data, synced at checkpoints only, read through
//! the mapping, and never held in memory as a table.
//!
//! A file is as long as DLedger's (`index.segment.bytes`), sparse, and its blocks are allocated
//! ahead of need in steps, so that a full disk refuses an append and never breaks one.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::commitlog::record::{Header, u32_at, u64_at};
use crate::disk::{Disk, File, Map, Through, data_ranges};
use crate::error::{Error, Result};
use crate::types::{Index, RaftIndex};

/// Length of a unit.
pub const UNIT: u64 = 32;

/// One record: where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexUnit {
    /// As in the record. DLedger's leaders write 1 for a no-op: not to be trusted.
    pub magic: u32,
    /// Of the record's header.
    pub pos: u64,
    /// Of the whole record.
    pub size: u32,
    /// Record index.
    pub index: Index,
    /// Of the record's header.
    pub term: u64,
}

impl IndexUnit {
    /// The unit of a record.
    pub fn of(header: &Header) -> IndexUnit {
        let Header { magic, size, index, term, pos, .. } = *header;
        IndexUnit { magic, pos, size, index, term }
    }

    /// The first byte behind the record.
    pub fn end(&self) -> u64 {
        self.pos.saturating_add(u64::from(self.size))
    }

    /// Reads a unit; `None` where nothing was written.
    pub fn decode(bytes: &[u8; UNIT as usize]) -> Option<IndexUnit> {
        let unit = IndexUnit {
            magic: u32_at(bytes, 0),
            pos: u64_at(bytes, 4),
            size: u32_at(bytes, 12),
            index: Index(u64_at(bytes, 16)),
            term: u64_at(bytes, 24),
        };
        (unit.magic != 0).then_some(unit)
    }

    /// Writes a unit.
    pub fn encode(&self) -> [u8; UNIT as usize] {
        let mut bytes = [0; UNIT as usize];
        bytes[0..4].copy_from_slice(&self.magic.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.pos.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.size.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.index.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.term.to_be_bytes());
        bytes
    }
}

/// What a Raft entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Records.
    Batch = 1,
    /// The first entry of a term.
    NoOp = 2,
    /// A change of the member set.
    Membership = 3,
}

/// One Raft entry: what it is and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchUnit {
    /// What it is.
    pub kind: Kind,
    /// How many records; 0 for a control entry.
    pub count: u32,
    /// chainCrc of the last record up to and with this entry.
    pub chain: u32,
    /// Raft term.
    pub term: u64,
    /// Its first record; of a control entry: the next one.
    pub first: Index,
    /// Position of its first record; of a control entry: the first byte behind the record before.
    pub pos: u64,
}

impl BatchUnit {
    /// Reads a unit; `None` where nothing was written.
    pub fn decode(bytes: &[u8; UNIT as usize]) -> Option<BatchUnit> {
        let word = u32_at(bytes, 0);
        let kind = match word >> 24 {
            1 => Kind::Batch,
            2 => Kind::NoOp,
            3 => Kind::Membership,
            _ => return None,
        };
        Some(BatchUnit {
            kind,
            count: word & 0xff_ffff,
            chain: u32_at(bytes, 4),
            term: u64_at(bytes, 8),
            first: Index(u64_at(bytes, 16)),
            pos: u64_at(bytes, 24),
        })
    }

    /// Writes a unit.
    pub fn encode(&self) -> [u8; UNIT as usize] {
        let mut bytes = [0; UNIT as usize];
        bytes[0..4].copy_from_slice(&((self.kind as u32) << 24 | self.count).to_be_bytes());
        bytes[4..8].copy_from_slice(&self.chain.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.term.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.pos.to_be_bytes());
        bytes
    }
}

/// The place of a Raft entry's unit.
pub fn batch_slot(index: RaftIndex) -> u64 {
    index.0 - 1
}

/// One file of units.
#[derive(Clone)]
pub struct UnitFile {
    /// Its first unit.
    pub first: u64,
    /// To write.
    pub file: Arc<dyn File>,
    /// To read.
    pub map: Arc<Map>,
}

/// The files of one kind of unit, in order and without gaps.
#[derive(Clone)]
pub struct Units {
    dir: &'static str,
    units_per_file: u64,
    files: Vec<UnitFile>,
    /// Blocks are allocated for every unit below it.
    allocated: u64,
}

impl Units {
    /// Opens what is there, from the file with unit `from` on.
    pub fn open(disk: &dyn Disk, dir: &'static str, file_bytes: u64, from: u64) -> Result<Units> {
        let units_per_file = file_bytes / UNIT;
        let mut units = Units { dir, units_per_file, files: Vec::new(), allocated: 0 };
        units.allocated = units.floor(from);
        for (name, len) in disk.list(dir).map_err(|e| Error::io(dir, e))? {
            let path = format!("{dir}/{name}");
            let first = match name.parse::<u64>() {
                Ok(at) if name.len() == 20 && at % file_bytes == 0 => at / UNIT,
                _ => continue,
            };
            let next = units.files.last().map_or(units.floor(from), |f| f.first + units_per_file);
            if first != next || len != file_bytes {
                // Derived: what does not fit is made again.
                disk.remove(&path).map_err(|e| Error::io(path, e))?;
                continue;
            }
            units.files.push(units.open_file(disk, &path, first)?);
        }
        Ok(units)
    }

    /// The unit at `slot`, or `None` if no file has it.
    pub fn get(&self, slot: u64) -> Option<[u8; UNIT as usize]> {
        self.read(Through::Map, slot).ok()?
    }

    /// The same, through the mapping or not.
    pub fn read(&self, through: Through, slot: u64) -> Result<Option<[u8; UNIT as usize]>> {
        let Some(file) = self.file_of(slot) else { return Ok(None) };
        let mut unit = [0; UNIT as usize];
        match through.read(&*file.file, &file.map, (slot - file.first) * UNIT, &mut unit) {
            Ok(()) => Ok(Some(unit)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(Error::io(self.path(file.first), e)),
        }
    }

    /// Whether a file has the unit at `slot`.
    pub fn has(&self, slot: u64) -> bool {
        self.file_of(slot).is_some()
    }

    /// Writes whole units from `slot` on. There is room: see [`Units::allocated`].
    pub fn write(&self, slot: u64, units: &[u8]) -> Result<()> {
        let mut at = slot;
        let mut rest = units;
        while !rest.is_empty() {
            let Some(file) = self.file_of(at) else {
                // It is made ahead, wherever there is room for it.
                let what = format!("{}: no file for unit {at}", self.dir);
                return Err(Error::DiskFull { what, source: ErrorKind::StorageFull.into() });
            };
            let room = (file.first + self.units_per_file - at) * UNIT;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            file.file
                .write_at(now, (at - file.first) * UNIT)
                .map_err(|e| Error::io(self.path(file.first), e))?;
            at += now.len() as u64 / UNIT;
            rest = later;
        }
        Ok(())
    }

    /// Zeroes every unit from `slot` on that may not be zero, and syncs.
    pub fn zero_from(&self, slot: u64) -> Result<()> {
        for file in &self.files {
            let path = || self.path(file.first);
            let from = slot.saturating_sub(file.first) * UNIT;
            zero_data(&*file.file, from).map_err(|e| Error::io(path(), e))?;
        }
        Ok(())
    }

    /// Units below it have their blocks.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// What to allocate so that `wanted` units have their blocks: the file's first unit, whether
    /// it has to be made, and the range of units. One step of at most `step` units.
    pub fn allocation(&self, wanted: u64, step: u64) -> Option<Allocation> {
        if self.allocated >= wanted {
            return None;
        }
        let first = self.floor(self.allocated);
        let end = (self.allocated + step).min(first + self.units_per_file);
        let known = self.file_of(self.allocated).cloned();
        Some(Allocation {
            dir: self.dir,
            file_bytes: self.units_per_file * UNIT,
            known,
            first,
            range: (self.allocated, end),
        })
    }

    /// Takes in what [`Allocation::run`] made.
    pub fn allocated_now(&mut self, done: UnitFile, range: (u64, u64)) {
        if range.0 != self.allocated {
            return;
        }
        if self.file_of(range.0).is_none() {
            self.files.push(done);
        }
        self.allocated = range.1;
    }

    /// Declares that the blocks below `slot` are there (they hold units).
    pub fn in_use(&mut self, slot: u64) {
        self.allocated = self.allocated.max(slot);
    }

    /// Files that hold units of `from..to`, to sync.
    pub fn touched(&self, from: u64, to: u64) -> Vec<Arc<dyn File>> {
        let hit = |f: &&UnitFile| f.first < to && f.first + self.units_per_file > from;
        self.files.iter().filter(hit).map(|f| f.file.clone()).collect()
    }

    /// Forgets files all of whose units are below `slot`; returns their paths, to remove.
    pub fn purge(&mut self, slot: u64) -> Vec<String> {
        let gone = self.files.iter().take_while(|f| f.first + self.units_per_file <= slot).count();
        let gone = gone.min(self.files.len().saturating_sub(1));
        let paths = self.files[..gone].iter().map(|f| self.path(f.first)).collect();
        self.files.drain(..gone);
        paths
    }

    /// Forgets all files; the next unit will be `slot`. Returns their paths, to remove.
    pub fn begin_anew(&mut self, slot: u64) -> Vec<String> {
        self.allocated = self.floor(slot);
        let files = std::mem::take(&mut self.files);
        files.iter().map(|file| self.path(file.first)).collect()
    }

    fn file_of(&self, slot: u64) -> Option<&UnitFile> {
        let base = self.files.first()?.first;
        self.files.get((slot.checked_sub(base)? / self.units_per_file) as usize)
    }

    fn floor(&self, slot: u64) -> u64 {
        slot - slot % self.units_per_file
    }

    fn path(&self, first: u64) -> String {
        format!("{}/{:020}", self.dir, first * UNIT)
    }

    fn open_file(&self, disk: &dyn Disk, path: &str, first: u64) -> Result<UnitFile> {
        let file = disk.open(path).map_err(|e| Error::io(path, e))?;
        let map = file.map().map_err(|e| Error::io(path, e))?;
        Ok(UnitFile { first, file, map })
    }
}

/// One step of allocation of units; may be run on any thread.
#[derive(Clone)]
pub struct Allocation {
    dir: &'static str,
    file_bytes: u64,
    known: Option<UnitFile>,
    first: u64,
    range: (u64, u64),
}

impl Allocation {
    /// Allocates.
    pub fn run(&self, disk: &dyn Disk) -> Result<(UnitFile, (u64, u64))> {
        let path = format!("{}/{:020}", self.dir, self.first * UNIT);
        let failed = |e| Error::io(path.clone(), e);
        let unit_file = match &self.known {
            Some(known) => known.clone(),
            None => {
                let file = match disk.create(&path, self.file_bytes) {
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => disk.open(&path),
                    other => other,
                }
                .map_err(failed)?;
                disk.sync_dir(self.dir).map_err(|e| Error::sync(self.dir, e))?;
                let map = file.map().map_err(failed)?;
                UnitFile { first: self.first, file, map }
            }
        };
        let (from, to) = self.range;
        let at = (from - self.first) * UNIT;
        unit_file.file.allocate(at, (to - from) * UNIT).map_err(failed)?;
        // An allocation is on disk when the file is synced.
        unit_file.file.sync().map_err(|e| Error::sync(path.clone(), e))?;
        Ok((unit_file, self.range))
    }
}

/// Writes zeros wherever a file may hold something else, from `from` on, and syncs. Also where it
/// reads as zeros: after a failed sync the page cache may show zeros that no disk has.
pub fn zero_data(file: &dyn File, from: u64) -> std::io::Result<()> {
    const STEP: usize = 64 << 10;
    let zeros = [0u8; STEP];
    for range in data_ranges(file, from)? {
        for at in range.clone().step_by(STEP) {
            let n = STEP.min((range.end - at) as usize);
            file.write_at(&zeros[..n], at)?;
        }
    }
    file.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviour 5: an index unit has DLedger's bytes.
    #[test]
    fn dledgers_golden_unit() {
        let unit = IndexUnit { magic: 1, pos: 0x63, size: 0x94, index: Index(2), term: 7 };
        let golden = [
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x63, 0, 0, 0, 0x94, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
            0, 0, 0, 0, 7,
        ];
        assert_eq!(unit.encode(), golden);
        assert_eq!(IndexUnit::decode(&golden), Some(unit));
        assert_eq!(IndexUnit::decode(&[0; 32]), None);
    }

    /// P5: a batch unit comes back as it was written, and zeros are no unit.
    #[test]
    fn batch_units_round_trip() {
        let unit = BatchUnit {
            kind: Kind::Batch,
            count: 65_536,
            chain: 0xfeed_beef,
            term: 9,
            first: Index(77),
            pos: 1 << 40,
        };
        assert_eq!(BatchUnit::decode(&unit.encode()), Some(unit));
        assert_eq!(BatchUnit::decode(&[0; 32]), None);
    }
}
