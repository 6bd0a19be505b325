//! Derived units at an open: whether those are right that the log begins with, and how they are
//! made again. Only the last are looked at, by what `meta` knows of them: to check all of them is to
//! read the log. An index unit before them that is damaged is made again by the read that meets it.

use tracing::warn;

use crate::commitlog::index::{BatchUnit, IndexUnit, Kind, UNIT, Units, batch_slot};
use crate::commitlog::read::Reader;
use crate::commitlog::record::chain_crc;
use crate::commitlog::recover::Found;
use crate::commitlog::segment::Shelf;
use crate::commitlog::write::control_unit;
use crate::disk::{Disk, Through};
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

impl Found {
    /// Whether the derived files are there up to the durable bound, by their last unit.
    pub(super) fn units_reach_durable(&self) -> Result<bool> {
        if self.rebuild_is_noted()? {
            return Ok(false);
        }
        let (begin, durable) = (self.meta.begin, self.meta.durable);
        let index = durable.index == begin.index
            || [begin.index.0, durable.index.0 - 1].iter().all(|&at| {
                let unit = self.index.get(at).and_then(|u| IndexUnit::decode(&u));
                unit.is_some_and(|u| u.index.0 == at)
            });
        let noted = RaftIndex(self.meta.dledger_end.index.0).max(begin.raft_index);
        let batches = durable.raft_index <= noted
            || [noted + 1, durable.raft_index].iter().all(|&at| {
                self.batches.get(batch_slot(at)).is_some_and(|u| BatchUnit::decode(&u).is_some())
            });
        Ok(index && batches)
    }

    /// Puts the last batch unit below the durable bound right. Raft takes up the log from there,
    /// and no read of a record would meet the damage. Where the records are damaged too, the unit
    /// stays: it is all that tells of them.
    pub(super) fn mend_last_unit(&self) -> Result<()> {
        let durable = self.meta.durable;
        let noted = RaftIndex(self.meta.dledger_end.index.0);
        if durable.raft_index <= noted.max(self.meta.begin.raft_index) {
            return Ok(());
        }
        let slot = batch_slot(durable.raft_index);
        match self.last_unit().map(|unit| unit.encode()) {
            Some(unit) if self.batches.get(slot) != Some(unit) => {
                warn!("the unit of Raft entry {} is damaged: made again", durable.raft_index);
                self.batches.write(slot, &unit)
            }
            _ => Ok(()),
        }
    }

    /// The last batch unit below the durable bound, from `meta`, `control` and the headers of its
    /// records; `None` if they do not tell.
    fn last_unit(&self) -> Option<BatchUnit> {
        let durable = self.meta.durable;
        if let Some(control) = self.controls.get(&durable.raft_index) {
            return Some(control_unit(&durable, control.kind));
        }
        let shelf = Shelf { segments: self.segments.clone(), index: self.index.clone() };
        let reader = Reader::new(shelf, self.meta.dledger_end.pos);
        let begin = self.meta.begin;
        // A header says what it says if it follows in the chain.
        let header = |index: Index| {
            let header = reader.place(Through::Map, index).ok()?.header;
            let before = index.0.checked_sub(1).map(Index).filter(|_| index > begin.index);
            let before = before.map_or(Some(begin.chain), |before| reader.chain_of(before))?;
            (chain_crc(before, &header.encode()) == header.chain_crc).then_some(header)
        };
        let floor = begin.index.max(self.meta.dledger_end.index);
        let mut first = durable.index.0.checked_sub(1).map(|last| header(Index(last)))??;
        if first.chain_crc != durable.chain || first.follow != 0 {
            return None;
        }
        while first.index > floor {
            let before = header(first.index - 1)?;
            match u64::from(before.follow) {
                0 => break,
                follow if follow == durable.index - first.index => first = before,
                _ => return None,
            }
        }
        let (count, term) = ((durable.index - first.index) as u32, durable.term);
        let (first, pos) = (first.index, first.pos);
        Some(BatchUnit { kind: Kind::Batch, count, chain: durable.chain, term, first, pos })
    }

    /// Notes that units below the durable bound are being made again: until all of them are on disk
    /// none is believed, wherever a crash leaves the last. Answers where to scan from.
    pub(super) fn begin_rebuild(&self) -> Result<Anchor> {
        warn!("units are missing below the durable bound: making them again from the data");
        let failed = |e| Error::io(REBUILD_NOTE, e);
        if !self.rebuild_is_noted()? {
            self.disk.create(REBUILD_NOTE, 0).map_err(failed)?;
        }
        self.disk.sync_dir("").map_err(failed)?;
        Ok(self.meta.begin)
    }

    pub(super) fn end_rebuild(&self) -> Result<()> {
        let failed = |e| Error::io(REBUILD_NOTE, e);
        self.sync_units()?;
        self.disk.remove(REBUILD_NOTE).map_err(failed)?;
        self.disk.sync_dir("").map_err(failed)
    }

    fn rebuild_is_noted(&self) -> Result<bool> {
        let names = self.disk.list("").map_err(|e| Error::io("the directory", e))?;
        Ok(names.iter().any(|(name, _)| name == REBUILD_NOTE))
    }
}

/// Units that a scan derives, on their way to the files.
pub(super) struct Rebuild {
    first_index: u64,
    pub(super) first_raft: RaftIndex,
    pub(super) index: Vec<u8>,
    pub(super) batches: Vec<u8>,
}

impl Rebuild {
    pub(super) fn new(from: &Anchor) -> Rebuild {
        let (first_index, first_raft) = (from.index.0, from.raft_index + 1);
        Rebuild { first_index, first_raft, index: Vec::new(), batches: Vec::new() }
    }

    pub(super) fn write(
        &mut self,
        disk: &dyn Disk,
        index: &mut Units,
        batches: &mut Units,
    ) -> Result<()> {
        put(disk, index, self.first_index, &self.index)?;
        put(disk, batches, batch_slot(self.first_raft), &self.batches)?;
        self.first_index += self.index.len() as u64 / UNIT;
        self.first_raft = self.first_raft + self.batches.len() as u64 / UNIT;
        self.index.clear();
        self.batches.clear();
        Ok(())
    }
}

/// Writes units, allocating what they need. Also where they look right already: after a failed sync
/// the page cache may hold as clean what no disk has.
fn put(disk: &dyn Disk, units: &mut Units, slot: u64, bytes: &[u8]) -> Result<()> {
    let end = slot + bytes.len() as u64 / UNIT;
    while let Some(allocation) = units.allocation(end, 32 << 10) {
        let (file, range) = allocation.run(disk)?;
        units.allocated_now(file, range);
    }
    if bytes.is_empty() { Ok(()) } else { units.write(slot, bytes) }
}

/// There while units below the durable bound are made again.
const REBUILD_NOTE: &str = "rebuild";
/// Bytes of derived units to keep before they are written.
pub(super) const REBUILD_BYTES: usize = 1 << 20;
