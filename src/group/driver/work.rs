//! Work that is given away, as it may take long, and what comes of it.

use std::sync::atomic::Ordering;

use tracing::warn;

use crate::commitlog::work::{Done, Work};
use crate::disk::Space;
use crate::error::{Error, Result};
use crate::group::clock::nanos;
use crate::group::driver::{Driver, FULL_DISK_RETRY};
use crate::group::metrics::Metrics;
use crate::types::Anchor;

impl Driver {
    /// Takes in what came back.
    pub(super) fn take_done(&mut self, now: u64) -> Result<()> {
        let done = self.shared.done.take();
        self.outstanding -= done.len();
        for done in done {
            match done {
                Done::Spare(_) | Done::Index(_) | Done::Batches(_) => {
                    self.core.log_mut().allocated(done)?;
                    let refused = self.core.log().allocation_was_refused();
                    let wait = if refused { nanos(FULL_DISK_RETRY) } else { 0 };
                    self.timers.allocation = now.saturating_add(wait);
                }
                Done::Checkpoint(anchor) => {
                    self.timers.checkpoint_running = false;
                    let durable = anchor?;
                    if !std::mem::take(&mut self.timers.checkpoint_void) {
                        self.note_checkpoint(durable, now)?;
                    }
                }
                Done::Sync(anchor) => {
                    self.timers.sync_running = false;
                    let anchor = anchor?;
                    if !std::mem::take(&mut self.timers.sync_void) {
                        self.core.log_mut().synced_elsewhere(anchor);
                    }
                    self.shared.metrics.synced(now.saturating_sub(self.timers.sync_since));
                }
                Done::Remove(result) => result?,
                Done::Space(space) => {
                    self.timers.space_running = false;
                    self.note_space(space)?;
                }
                Done::Ages(ages) => {
                    self.timers.ages_running = false;
                    self.purge_old(&ages?)?;
                }
            }
        }
        Ok(())
    }

    /// Gives work away, unless the log is being stopped: then what is out has to come back.
    pub(super) fn submit(&mut self, work: Work) {
        if !self.stopping {
            self.outstanding += 1;
            self.helper.submit(work);
        }
    }

    /// Derived files are on disk up to the anchor: notes it. On a full disk at a later time.
    pub(super) fn note_checkpoint(&mut self, durable: Anchor, now: u64) -> Result<()> {
        let committed = self.committed;
        match self.core.log_mut().checkpointed(durable, committed) {
            Err(error @ Error::DiskFull { .. }) => {
                warn!("no checkpoint: {error}");
                self.timers.checkpoint_held = now.saturating_add(nanos(FULL_DISK_RETRY));
            }
            result => {
                result?;
                Metrics::add(&self.shared.metrics.checkpoints, 1);
            }
        }
        Ok(())
    }

    /// Whether the disk is fuller than it may be.
    fn note_space(&self, space: Result<Space>) -> Result<()> {
        // Segments made ahead are room for appends.
        let spare = self.core.log().spare_bytes();
        let used = space.map(|s| 1e6 - (s.available + spare) as f64 / s.total.max(1) as f64 * 1e6);
        let full = self.shared.live.disk_full_ppm.load(Ordering::Relaxed) as f64;
        let is_full = full < 1e6 && used? > full;
        if self.shared.disk_full.swap(is_full, Ordering::Relaxed) != is_full {
            warn!("disk full: {is_full}");
        }
        Ok(())
    }

    /// Has more allocated if it is time, and publishes how far appends may go.
    pub(super) fn publish_room(&mut self) {
        let now = self.shared.clock.now();
        if !self.stopping && now >= self.timers.allocation {
            let full = self.shared.live.disk_full_ppm.load(Ordering::Relaxed);
            let records = self.shared.call_records.load(Ordering::Relaxed);
            let bytes = self.shared.call_bytes.load(Ordering::Relaxed);
            self.core.log_mut().make_room_for(records, bytes);
            for work in self.core.log_mut().wanted(full) {
                self.submit(work);
            }
        }
        let room = self.core.log().room();
        self.shared.room_pos.store(room.pos, Ordering::Relaxed);
        self.shared.room_index.store(room.index.0, Ordering::Relaxed);
        let ended = self.core.log().allocation_met_full_disk();
        self.shared.room_ended.store(ended, Ordering::Relaxed);
    }
}
