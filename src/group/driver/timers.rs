//! What is done from time to time: syncs by interval, checkpoints, a look at the room on the disk, and
//! retention. Each at most once at a time; what may take long is the helper's work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commitlog::work::Work;
use crate::error::Result;
use crate::group::clock::{NEVER, nanos};
use crate::group::driver::{Driver, FULL_DISK_RETRY};

/// When what is due, in nanoseconds, and what is under way.
pub(super) struct Timers {
    sync: u64,
    pub(super) sync_running: bool,
    /// Since when, in nanoseconds.
    pub(super) sync_since: u64,
    /// What it syncs was cut meanwhile: its anchor is no more.
    pub(super) sync_void: bool,
    checkpoint: u64,
    pub(super) checkpoint_running: bool,
    /// As with a sync.
    pub(super) checkpoint_void: bool,
    /// No checkpoint before: the last one met a full disk.
    pub(super) checkpoint_held: u64,
    space: u64,
    pub(super) space_running: bool,
    retention: u64,
    pub(super) ages_running: bool,
    /// When to look at a full disk again.
    pub(super) retry: u64,
    /// Nothing is allocated before.
    pub(super) allocation: u64,
}

impl Timers {
    /// Room and retention are looked at at once.
    pub(super) fn new() -> Timers {
        Timers {
            sync: NEVER,
            sync_running: false,
            sync_since: 0,
            sync_void: false,
            checkpoint: NEVER,
            checkpoint_running: false,
            checkpoint_void: false,
            checkpoint_held: 0,
            space: 0,
            space_running: false,
            retention: 0,
            ages_running: false,
            retry: NEVER,
            allocation: 0,
        }
    }

    fn space_when_full(&self) -> u64 {
        if self.space_running { NEVER } else { self.retry }
    }

    fn retention_when_on(&self) -> u64 {
        if self.retention == 0 || self.ages_running { NEVER } else { self.retention }
    }
}

impl Driver {
    /// Starts what is due, and tells when to look again.
    pub(super) fn timers(&mut self, now: u64) -> Result<u64> {
        if self.stopping {
            return Ok(NEVER);
        }
        self.sync_timer(now);
        self.checkpoint_timer(now);
        self.space_timer(now);
        self.retention_timer(now);
        let t = &self.timers;
        let allocation =
            if self.core.log().allocation_met_full_disk() { t.allocation } else { NEVER };
        let first = t.sync.min(t.checkpoint).min(allocation);
        Ok(first
            .min(t.space_when_full())
            .min(t.retention_when_on())
            .min(self.next_tick)
            .min(self.commit_at)
            .min(self.next_barrier())
            .min(self.next_asked())
            .min(self.next_repair()))
    }

    /// The same while a write waits for room: what frees some, and what is due to others.
    pub(super) fn timers_while_stalled(&mut self, now: u64) -> u64 {
        if self.stopping {
            return NEVER;
        }
        self.sync_timer(now);
        self.retention_timer(now);
        self.timers.sync.min(self.timers.retention_when_on()).min(self.next_asked())
    }

    fn sync_timer(&mut self, now: u64) {
        let interval = self.shared.live.flush.load(Ordering::Relaxed);
        let log = self.core.log();
        let dirty = log.end().raft_index > log.flushed().raft_index;
        if !dirty || self.round.is_open() || self.timers.sync_running {
            self.timers.sync = NEVER;
            return;
        }
        if self.timers.sync == NEVER {
            self.timers.sync = now.saturating_add(interval);
        }
        if now >= self.timers.sync {
            if let Some(work) = self.core.log_mut().sync_elsewhere() {
                (self.timers.sync_running, self.timers.sync_since) = (true, now);
                self.submit(work);
            }
            self.timers.sync = NEVER;
        }
    }

    fn checkpoint_timer(&mut self, now: u64) {
        let log = self.core.log();
        let behind = log.flushed().raft_index > log.meta().durable.raft_index;
        if !behind || self.timers.checkpoint_running {
            self.timers.checkpoint = NEVER;
            return;
        }
        if now < self.timers.checkpoint_held {
            self.timers.checkpoint = self.timers.checkpoint_held;
            return;
        }
        let interval = self.shared.live.checkpoint.load(Ordering::Relaxed);
        if self.timers.checkpoint == NEVER {
            self.timers.checkpoint = now.saturating_add(interval);
        }
        let rolled = log.flushed().pos / log.meta().segment_bytes
            != log.meta().durable.pos / log.meta().segment_bytes;
        if now >= self.timers.checkpoint || rolled {
            if let Some(work) = log.checkpoint() {
                self.timers.checkpoint_running = true;
                self.submit(work);
            }
            self.timers.checkpoint = NEVER;
        }
    }

    fn space_timer(&mut self, now: u64) {
        if now >= self.timers.space && !self.timers.space_running {
            self.timers.space_running = true;
            let full = self.shared.disk_full.load(Ordering::Relaxed)
                || self.shared.room_ended.load(Ordering::Relaxed);
            let after = if full { FULL_DISK_RETRY } else { SPACE_INTERVAL };
            self.timers.space = now.saturating_add(nanos(after));
            self.timers.retry = if full { self.timers.space } else { NEVER };
            self.submit(Work::Space);
        }
    }

    fn retention_timer(&mut self, now: u64) {
        if now < self.timers.retention || self.timers.ages_running {
            return;
        }
        let bytes = self.shared.live.retention_bytes.load(Ordering::Relaxed);
        let ms = self.shared.live.retention_ms.load(Ordering::Relaxed);
        let old = self.core.log().old_segments(self.committed);
        let on = (bytes != u64::MAX || ms != u64::MAX) && !old.is_empty();
        self.timers.retention = if on { now.saturating_add(nanos(RETENTION_INTERVAL)) } else { 0 };
        if on {
            self.timers.ages_running = true;
            self.submit(Work::Ages(old));
        }
    }

    /// Purges what is too old or too much, oldest first, never the last segment.
    pub(super) fn purge_old(&mut self, ages: &[(u64, u64)]) -> Result<()> {
        let bytes = self.shared.live.retention_bytes.load(Ordering::Relaxed);
        let ms = self.shared.live.retention_ms.load(Ordering::Relaxed);
        let segment_bytes = self.core.log().meta().segment_bytes;
        let mut kept = self.core.log().data_bytes();
        let wall = self.shared.clock.wall_ms();
        let mut end = None;
        // A deletion may have come first.
        let begin = self.core.log().begin().pos;
        for (pos, modified) in ages.iter().filter(|(pos, _)| pos + segment_bytes > begin) {
            let too_old = ms != u64::MAX && wall.saturating_sub(*modified) > ms;
            if !too_old && (bytes == u64::MAX || kept <= bytes) {
                break;
            }
            kept -= segment_bytes;
            end = Some(pos + segment_bytes);
        }
        match end {
            Some(pos) => self.purge(pos),
            None => Ok(()),
        }
    }
}

/// How often the room on the disk is looked at while there is traffic.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How often segments are looked at for their age.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1);
