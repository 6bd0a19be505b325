//! Damaged batches: told from intact ones, and written again from another member's bytes. The batch
//! unit says which bytes a batch must have: its place, its term and the chainCrc of its last
//! record. That covers each header and, through the checksums in them, each body: whose bytes match
//! has the bytes. DLedger's records have no checksums, so nothing can be said of them.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::commitlog::index::{BatchUnit, Kind};
use crate::commitlog::received::{Claim, check};
use crate::commitlog::segment::Segment;
use crate::commitlog::{Batch, CommitLog, put_index_units, segment};
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

    /// Position and length of a batch whose bytes are intact. Reads them, with `read`: a sector that
    /// is lost is damage, not a signal.
    pub fn intact(&self, raft_index: RaftIndex) -> Option<(u64, u32)> {
        let unit = self.sealed_unit(raft_index)?;
        let end = self.anchor(raft_index)?.pos;
        let segment = segment::find(&self.segments, unit.pos)?;
        let len = u32::try_from(end.checked_sub(unit.pos)?).ok()?;
        if end > segment.end() {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        segment.file.read_at(&mut bytes, unit.pos - segment.pos).ok()?;
        self.check_bytes(raft_index, &bytes).ok()?;
        Some((unit.pos, len))
    }

    /// Writes the bytes of a batch again, and the index units of its records, if they are the bytes;
    /// else says what is wrong with them. They are durable with the next sync: what a power cut
    /// takes away is damaged as it was before.
    pub fn repair(
        &mut self,
        raft_index: RaftIndex,
        bytes: &[u8],
    ) -> Result<std::result::Result<(), &'static str>> {
        let (batch, segment) = match self.check_bytes(raft_index, bytes) {
            Ok(checked) => checked,
            Err(why) => return Ok(Err(why)),
        };
        let failed = |e| Error::io(segment::path(segment.pos), e);
        segment.file.write_at(bytes, batch.pos - segment.pos).map_err(failed)?;
        self.touch(&segment);
        let mut units = Vec::new();
        put_index_units(&mut units, bytes);
        self.index.write(batch.first.0, &units)?;
        Ok(Ok(()))
    }

    fn check_bytes(
        &self,
        raft_index: RaftIndex,
        bytes: &[u8],
    ) -> std::result::Result<(Batch, Arc<Segment>), &'static str> {
        let unit = self.sealed_unit(raft_index).ok_or("no such batch is kept here")?;
        let before = self.before(raft_index, &unit).ok_or("what lies before it is not known")?;
        let claim = Claim { raft_index, term: unit.term, count: unit.count };
        let segment_bytes = self.meta.segment_bytes;
        let (batch, _) = check(&before, claim, bytes, 0..bytes.len(), segment_bytes)?;
        if (batch.pos, batch.first, batch.chain) != (unit.pos, unit.first, unit.chain) {
            return Err("it is another batch");
        }
        let segment = segment::find(&self.segments, batch.pos).ok_or("no segment has it")?;
        Ok((batch, segment.clone()))
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
