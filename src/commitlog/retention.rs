//! Dropping a head: whole segments, in order, never the last one, and the derived files with them.
//! The new begin is durable in `meta` before a file goes, so that a crash in between only leaves
//! files that recovery removes.

use std::sync::Arc;

use crate::commitlog::index::IndexUnit;
use crate::commitlog::record::{HEADER, Header};
use crate::commitlog::work::Work;
use crate::commitlog::{CommitLog, segment};
use crate::disk::File;
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

impl CommitLog {
    /// The positions and files of the segments that may be purged: all but the last, and only
    /// what is committed.
    pub fn old_segments(&self, committed: Anchor) -> Vec<(u64, Arc<dyn File>)> {
        let older = self.segments.len().saturating_sub(1);
        let whole = |s: &&Arc<segment::Segment>| s.end() <= committed.pos;
        self.segments[..older].iter().take_while(whole).map(|s| (s.pos, s.file.clone())).collect()
    }

    /// Bytes in data segments.
    pub fn data_bytes(&self) -> u64 {
        self.segments.len() as u64 * self.meta.segment_bytes
    }

    /// The beginning of the last segment whose first record is not behind `index`: all whole
    /// segments before it hold only records before `index`.
    pub fn segment_start(&self, index: Index) -> Result<Option<u64>> {
        // A write that met a full disk may have begun a segment, and no record of it counts yet.
        let begun = |s: &&Arc<segment::Segment>| s.pos < self.end.pos;
        for segment in self.segments.iter().skip(1).filter(begun).rev() {
            if self.first_record(segment)? <= index {
                return Ok(Some(segment.pos));
            }
        }
        Ok(None)
    }

    /// Moves begin to the segment at `pos`, durably. Returns what is left to remove. `committed`
    /// may not lie before it.
    pub fn purge(&mut self, pos: u64, committed: Anchor) -> Result<Option<Work>> {
        let Some(segment) = segment::find(&self.segments, pos).cloned() else { return Ok(None) };
        if pos == self.segments[0].pos || pos > committed.pos {
            return Ok(None);
        }
        let first = self.first_record(&segment)?;
        let begin = self.anchor_before(first, pos)?;
        self.store_meta(|meta| {
            meta.begin = begin;
            raise(&mut meta.committed, begin);
            raise(&mut meta.durable, begin);
        })?;
        raise(&mut self.flushed, begin);
        let gone = ((pos - self.segments[0].pos) / self.meta.segment_bytes) as usize;
        let mut paths: Vec<String> =
            self.segments[..gone].iter().map(|s| segment::path(s.pos)).collect();
        self.segments.drain(..gone);
        paths.extend(self.index.purge(begin.index.0));
        paths.extend(self.batches.purge(begin.raft_index.0));
        self.publish();
        match self.purge_controls(begin.batch) {
            // Done at a later purge. The files go in any case: they are what makes room.
            Err(error) if error.may_pass() => {}
            result => result?,
        }
        Ok(Some(Work::Remove(paths)))
    }

    /// Rewrites `control` without what lies at or before `batch`, when that is worth it.
    fn purge_controls(&mut self, batch: RaftIndex) -> Result<()> {
        self.memberships = self.memberships.split_off(&(batch + 1));
        if self.control.end() < WORTH_A_LOOK {
            return Ok(());
        }
        let (_, entries) = super::Control::open(self.disk.clone(), self.control.end())?;
        let keep: Vec<_> = entries.into_iter().filter(|e| e.raft_index > batch).collect();
        let live: u64 = keep.iter().map(|e| e.bytes()).sum();
        if self.control.worth_rewriting(live) {
            // The new file is shorter than the bound: lowered first, or a crash looks like damage.
            self.store_meta(|meta| meta.control_end = 0)?;
            let rewritten = self.control.rewrite(&keep);
            if rewritten.as_ref().err().is_none_or(Error::may_pass) {
                let control_end = self.control.end();
                self.store_meta(|meta| meta.control_end = control_end)?;
            }
            rewritten?;
        }
        Ok(())
    }

    /// The record that a segment begins with, by the index; the record itself may be damaged.
    fn first_record(&self, segment: &segment::Segment) -> Result<Index> {
        let unit = |at: u64| self.index.get(at).and_then(|unit| IndexUnit::decode(&unit));
        let (mut low, mut high) = (self.meta.begin.index.0, self.end.index.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let before = unit(middle).is_some_and(|unit| unit.pos < segment.pos);
            if before { low = middle + 1 } else { high = middle }
        }
        if unit(low).is_some_and(|unit| (unit.pos, unit.index.0) == (segment.pos, low)) {
            return Ok(Index(low));
        }
        let mut bytes = [0; HEADER];
        let path = || segment::path(segment.pos);
        segment.file.read_at(&mut bytes, 0).map_err(|e| Error::io(path(), e))?;
        let header = Header::decode(&bytes);
        if header.is_whole() && header.pos == segment.pos {
            Ok(header.index)
        } else {
            Err(Error::corrupt(segment.pos, "the first record of a segment"))
        }
    }

    /// The anchor just behind the batch before the one that begins with `first`, moved to the
    /// beginning of the segment.
    fn anchor_before(&self, first: Index, pos: u64) -> Result<Anchor> {
        let lost = |what: String| Error::corrupt(pos, what);
        let begun = if first < self.meta.dledger_end.index {
            Some(RaftIndex(first.0 + 1))
        } else {
            self.batch_of(first).filter(|batch| self.begins(*batch, first))
        };
        let begun = begun.ok_or_else(|| lost(format!("no batch begins with record {first}")))?;
        let before = self.entry_before(begun);
        let anchor = before.and_then(|before| self.anchor(before));
        let unknown = || lost(format!("the units before Raft entry {begun}"));
        Ok(Anchor { pos, ..anchor.ok_or_else(unknown)? })
    }

    fn begins(&self, batch: RaftIndex, first: Index) -> bool {
        self.batch_unit(batch).is_some_and(|unit| unit.first == first)
    }
}

/// No bound lies before begin; one that names the same record names the place where it is: the
/// blank before it went with its segment.
fn raise(bound: &mut Anchor, begin: Anchor) {
    if bound.raft_index < begin.raft_index {
        *bound = begin;
    } else if bound.index == begin.index {
        bound.pos = begin.pos;
    }
}

/// A `control` smaller than this is not looked at.
const WORTH_A_LOOK: u64 = 64 << 10;
