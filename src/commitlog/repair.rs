//! Damaged batches: told from intact ones, and written again from another member's bytes. The batch
//! unit says which bytes a batch must have: its place, its term and the chainCrc of its last
//! record. That covers each header and, through the checksums in them, each body: whoever has bytes
//! that match has the bytes. So a batch is made whole from members that are all damaged, each
//! elsewhere. DLedger's records have no checksums: nothing can be said of them.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::commitlog::index::{BatchUnit, Kind};
use crate::commitlog::received::{Claim, check, controls};
use crate::commitlog::record::{self, HEADER, Header, MAGIC, chain_crc};
use crate::commitlog::write::put_index_units;
use crate::commitlog::{CommitLog, segment};
use crate::disk::Through;
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

/// Which batch, and which bytes it must have, whoever has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    /// Its Raft index.
    pub raft_index: RaftIndex,
    /// Its Raft term.
    pub term: u64,
    /// chainCrc of the last of its records: it covers all of them.
    pub chain: u32,
}

/// What became of a damaged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repaired {
    /// It is intact.
    Whole,
    /// Less of it is damaged than before.
    Part,
    /// These bytes were no help.
    Nothing,
}

impl CommitLog {
    /// The batch that has a record. `None` if the record is not kept, or DLedger wrote it.
    pub fn batch_of(&self, index: Index) -> Option<RaftIndex> {
        let (mut low, mut high) = (self.first_sealed().0, self.end.raft_index.0 + 1);
        // The last Raft entry whose first record is not behind this one.
        while low < high {
            let middle = low + (high - low) / 2;
            let behind = self.batch_unit(RaftIndex(middle))?.first > index;
            if behind { high = middle } else { low = middle + 1 }
        }
        let raft_index = RaftIndex(low.checked_sub(1)?);
        let unit = self.sealed_unit(raft_index)?;
        (index < unit.first + u64::from(unit.count)).then_some(raft_index)
    }

    /// Which bytes the batch with a Raft index must have. `None` if there is none, or DLedger wrote
    /// it.
    pub fn batch_id(&self, raft_index: RaftIndex) -> Option<BatchId> {
        let BatchUnit { term, chain, .. } = self.sealed_unit(raft_index)?;
        Some(BatchId { raft_index, term, chain })
    }

    /// Whether a peer is sent a batch only after a look at its checksums: what is newer than the
    /// last checkpoint was written, or checked, in this life of the process.
    pub fn is_cold(&self, raft_index: RaftIndex) -> bool {
        raft_index <= self.meta.durable.raft_index
    }

    /// Whether the bytes of a batch are intact.
    pub fn is_intact(&self, raft_index: RaftIndex) -> bool {
        self.look_at(raft_index).is_some_and(|(_, intact)| intact)
    }

    /// Position and length of a batch, and whether its bytes are intact. Reads them, with `read`: a
    /// sector that is lost is `None`, not a signal.
    pub fn look_at(&self, raft_index: RaftIndex) -> Option<((u64, u32), bool)> {
        let (pos, len) = self.place_of(raft_index)?;
        let bytes = self.read(pos, len as usize)?;
        Some(((pos, len), self.check_bytes(raft_index, &bytes).is_ok()))
    }

    /// Writes again what is damaged in a batch and intact in `bytes`, another member's bytes of it,
    /// which may be damaged elsewhere; and its index units, when it is whole. It is durable with
    /// the next sync: what a power cut takes away is damaged as it was before.
    pub fn repair(&mut self, raft_index: RaftIndex, bytes: &[u8]) -> Result<Repaired> {
        let Some(unit) = self.sealed_unit(raft_index) else { return Ok(Repaired::Nothing) };
        let segment = segment::find(&self.segments, unit.pos);
        let before = self.before(raft_index, &unit);
        let (Some(segment), Some(before)) = (segment.cloned(), before) else {
            return Ok(Repaired::Nothing);
        };
        if unit.pos + bytes.len() as u64 > segment.end() {
            return Ok(Repaired::Nothing);
        }
        // Where nothing can be read there is nothing intact.
        let mut own = self.read(unit.pos, bytes.len()).unwrap_or_else(|| vec![0; bytes.len()]);
        let mends = mends(&unit, &before, raft_index, &own, bytes);
        for range in &mends {
            let failed = |e| Error::io(segment::path(segment.pos), e);
            let at = unit.pos - segment.pos + range.start as u64;
            segment.file.write_at(&bytes[range.clone()], at).map_err(failed)?;
            own[range.clone()].copy_from_slice(&bytes[range.clone()]);
            self.touch(&segment);
        }
        if self.check_bytes(raft_index, &own).is_err() {
            return Ok(if mends.is_empty() { Repaired::Nothing } else { Repaired::Part });
        }
        let mut units = Vec::new();
        put_index_units(&mut units, &own);
        self.index.write(unit.first.0, &units)?;
        Ok(Repaired::Whole)
    }

    fn place_of(&self, raft_index: RaftIndex) -> Option<(u64, u32)> {
        let unit = self.sealed_unit(raft_index)?;
        let end = if raft_index == self.end.raft_index {
            self.end.pos
        } else {
            // As the bytes: an index unit that is lost is no signal.
            self.end_of(Through::File, &unit)?.pos
        };
        let len = end.checked_sub(unit.pos)?;
        Some((unit.pos, u32::try_from(len).ok()?))
    }

    fn read(&self, pos: u64, len: usize) -> Option<Vec<u8>> {
        let segment = segment::find(&self.segments, pos)?;
        if len as u64 > segment.end() - pos {
            return None;
        }
        let mut bytes = vec![0; len];
        segment.file.read_at(&mut bytes, pos - segment.pos).ok()?;
        Some(bytes)
    }

    fn check_bytes(&self, raft_index: RaftIndex, bytes: &[u8]) -> std::result::Result<(), &str> {
        let unit = self.sealed_unit(raft_index).ok_or("no such batch is kept here")?;
        let before = self.before(raft_index, &unit).ok_or("what lies before it is not known")?;
        let claim = Claim { raft_index, term: unit.term, count: unit.count };
        let segment_bytes = self.meta.segment_bytes;
        let (batch, _) = check(&before, claim, bytes, 0..bytes.len(), segment_bytes)?;
        let same = (batch.pos, batch.first, batch.chain) == (unit.pos, unit.first, unit.chain);
        if same { Ok(()) } else { Err("it is another batch") }
    }

    /// The anchor before a batch: its place as its own unit has it, whatever became of the index
    /// units before.
    fn before(&self, raft_index: RaftIndex, unit: &BatchUnit) -> Option<Anchor> {
        let before = raft_index - 1;
        let (begin, dledger_end) = (self.meta.begin, self.meta.dledger_end.index.0);
        let (term, chain) = if before == begin.raft_index {
            (begin.term, begin.chain)
        } else if before.0 <= dledger_end {
            (self.term(before)?, self.reader.chain_of(unit.first - 1)?)
        } else {
            let unit = self.batch_unit(before)?;
            (unit.term, unit.chain)
        };
        let last = self.entry_before(raft_index)?;
        let batch = if last == begin.raft_index { begin.batch } else { last };
        Some(Anchor { index: unit.first, pos: unit.pos, raft_index: before, term, chain, batch })
    }

    /// The first Raft entry that is kept and has a batch unit.
    fn first_sealed(&self) -> RaftIndex {
        self.meta.begin.raft_index.max(RaftIndex(self.meta.dledger_end.index.0)) + 1
    }

    fn sealed_unit(&self, raft_index: RaftIndex) -> Option<BatchUnit> {
        let kept = (self.first_sealed()..=self.end.raft_index).contains(&raft_index);
        let unit = if kept { self.batch_unit(raft_index) } else { None };
        unit.filter(|unit| unit.kind == Kind::Batch)
    }
}

/// The ranges of `other` that belong where `own` is damaged: headers that follow in the chain from
/// one that is known, and bodies with the checksums that such a header says. Each may come from
/// another member than the rest.
fn mends(
    unit: &BatchUnit,
    before: &Anchor,
    raft_index: RaftIndex,
    own: &[u8],
    other: &[u8],
) -> Vec<Range<usize>> {
    let (mut chain, mut at, mut mends) = (before.chain, 0, Vec::new());
    for n in 0..unit.count {
        let header = |bytes: &[u8]| {
            let bytes = bytes.get(at..)?.first_chunk::<HEADER>()?;
            let header = Header::decode(bytes);
            let end = at as u64 + u64::from(header.size);
            let fits = header.magic == MAGIC && header.is_whole() && end <= other.len() as u64;
            let place = (header.index, header.term, header.pos);
            let is_here = place == (unit.first + u64::from(n), unit.term, unit.pos + at as u64);
            let framing = (u32::from(header.follow), header.controls);
            let is_framed = framing == (unit.count - 1 - n, controls(before, raft_index, n == 0));
            let follows = chain_crc(chain, bytes) == header.chain_crc;
            (fits && is_here && is_framed && follows).then_some(header)
        };
        let Some(found) = header(own).or_else(|| header(other)) else { break };
        if header(own).is_none() {
            mends.push(at..at + HEADER);
        }
        let body = at + HEADER..at + found.size as usize;
        let is_body = |bytes: &[u8]| record::body_crc(&bytes[body.clone()]) == found.body_crc;
        if !is_body(own) && is_body(other) {
            mends.push(body.clone());
        }
        (chain, at) = (found.chain_crc, body.end);
    }
    mends
}
