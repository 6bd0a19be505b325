//! Dropping a tail. In this order, each step durable before the next: the cut is noted in `meta`
//! with the bounds lowered to it; a cut mark goes into `control`; derived units and data are zeroed
//! from the cut; the note is taken back. A crash in between is finished by recovery, from the note.

use crate::commitlog::index::{batch_slot, zero_data};
use crate::commitlog::{CommitLog, segment};
use crate::error::{Error, Result};
use crate::types::Anchor;

impl CommitLog {
    /// Drops everything behind an anchor of this log, durably. What is committed never goes: the
    /// caller sees to that.
    pub fn truncate(&mut self, to: Anchor) -> Result<()> {
        self.store_meta(|meta| {
            meta.cut = Some(to);
            lower(&mut meta.durable, to);
            lower(&mut meta.committed, to);
        })?;
        self.finish_cut(to)
    }

    /// The rest of a truncate whose note is in `meta`.
    pub(super) fn finish_cut(&mut self, to: Anchor) -> Result<()> {
        self.control.cut(to.raft_index + 1)?;
        self.memberships.split_off(&(to.raft_index + 1));
        self.index.zero_from(to.index.0)?;
        self.batches.zero_from(batch_slot(to.raft_index + 1))?;
        self.zero_segments(to)?;
        self.end = to;
        self.controls_written = to.raft_index;
        lower(&mut self.flushed, to);
        let control_end = self.control.end();
        self.store_meta(|meta| {
            meta.cut = None;
            meta.control_end = control_end;
        })?;
        self.publish();
        Ok(())
    }

    /// Removes segments that lie behind the cut, and zeroes the one that has it.
    fn zero_segments(&mut self, to: Anchor) -> Result<()> {
        let keeps = |pos: u64| pos < to.pos && to.index > self.meta.begin.index;
        let gone: Vec<u64> = self.segments.iter().map(|s| s.pos).filter(|&p| !keeps(p)).collect();
        for &pos in gone.iter().rev() {
            let path = segment::path(pos);
            self.disk.remove(&path).map_err(|e| Error::io(path, e))?;
        }
        if !gone.is_empty() {
            self.segments.retain(|s| !gone.contains(&s.pos));
            self.unsynced.retain(|s| !gone.contains(&s.pos));
            self.syncing.retain(|s| !gone.contains(&s.pos));
            self.disk.sync_dir("data").map_err(|e| Error::sync("data", e))?;
        }
        if let Some(last) = self.segments.last() {
            let failed = |e| Error::io(segment::path(last.pos), e);
            zero_data(&*last.file, to.pos - last.pos).map_err(failed)?;
        }
        Ok(())
    }
}

fn lower(anchor: &mut Anchor, to: Anchor) {
    if anchor.raft_index > to.raft_index {
        *anchor = to;
    }
}
