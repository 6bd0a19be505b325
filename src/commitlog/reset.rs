//! Beginning anew where a leader's log begins: this one ends before it. In this order, each step
//! durable before the next: `meta` has the new begin, all bounds at it, the member set and the
//! noted cut; then all that there is goes, as behind a cut. A crash in between is finished by
//! recovery, from the note.

#[cfg(test)]
pub(super) mod tests;

use crate::commitlog::index::batch_slot;
use crate::commitlog::meta::MemberSet;
use crate::commitlog::{CommitLog, segment};
use crate::error::{Error, Result};
use crate::plant::Plant;
use crate::types::{Anchor, Mark};

impl CommitLog {
    /// Drops everything, durably, and begins at an anchor of the leader's log, with the members
    /// that are valid now.
    pub fn reset(&mut self, begin: Anchor, members: MemberSet) -> Result<()> {
        if self.plants.on(Plant::ResetNotAtomic) {
            for segment in self.segments.drain(..) {
                let path = segment::path(segment.pos);
                self.disk.remove(&path).map_err(|e| Error::io(path, e))?;
            }
            self.disk.sync_dir("data").map_err(|e| Error::sync("data", e))?;
        }
        self.store_meta(|meta| {
            (meta.begin, meta.durable, meta.committed) = (begin, begin, begin);
            (meta.members, meta.dledger_end) = (members, Mark::default());
            meta.cut = Some(begin);
        })?;
        let mut units = self.index.begin_anew(begin.index.0);
        units.extend(self.batches.begin_anew(batch_slot(begin.raft_index + 1)));
        for path in units {
            self.disk.remove(&path).map_err(|e| Error::io(path, e))?;
        }
        for dir in ["index", "batches"] {
            self.disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
        }
        self.allocating.begin_anew();
        self.finish_cut(begin)?;
        self.memberships.clear();
        self.flushed = begin;
        self.allocate_now(DISK_FULL_NEVER)
    }
}

/// Room for units is needed whatever else fills the disk.
const DISK_FULL_NEVER: u64 = 1_000_000;
