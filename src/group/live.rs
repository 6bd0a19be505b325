//! Options that change while a log is open, as every thread reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::group::clock::nanos;
use crate::options::{Flush, Options};

/// Options that change while a log is open.
#[derive(Default)]
pub struct Live {
    /// `append.max.bytes`
    pub append_max: AtomicU64,
    /// `append.pending.max`
    pub pending_max: AtomicU64,
    /// `append.pending.bytes`
    pub pending_bytes: AtomicU64,
    /// `append.timeout`, in nanoseconds
    pub append_timeout: AtomicU64,
    /// `flush`: 0 = commit, else the interval in nanoseconds
    pub flush: AtomicU64,
    /// `disk.full.ratio`, in millionths
    pub disk_full_ppm: AtomicU64,
    /// `retention.bytes`; `u64::MAX` = off
    pub retention_bytes: AtomicU64,
    /// `retention.time`, in milliseconds; `u64::MAX` = off
    pub retention_ms: AtomicU64,
    /// `checkpoint.interval`, in nanoseconds
    pub checkpoint: AtomicU64,
}

impl Live {
    /// What the options say.
    pub(super) fn new(options: &Options) -> Live {
        let live = Live::default();
        live.set(options);
        live
    }

    /// Takes over what the options say.
    pub fn set(&self, options: &Options) {
        let flush = match options.flush {
            Flush::Commit => 0,
            Flush::Every(interval) => nanos(interval),
        };
        let retention_ms = options.retention_time.map_or(u64::MAX, |t| t.as_millis() as u64);
        for (shared, value) in [
            (&self.append_max, u64::from(options.append_max)),
            (&self.pending_max, options.pending_max),
            (&self.pending_bytes, options.pending_bytes),
            (&self.append_timeout, nanos(options.append_timeout)),
            (&self.flush, flush),
            (&self.disk_full_ppm, options.disk_full_ppm()),
            (&self.retention_bytes, options.retention_bytes.unwrap_or(u64::MAX)),
            (&self.retention_ms, retention_ms),
            (&self.checkpoint, nanos(options.checkpoint_interval)),
        ] {
            shared.store(value, Ordering::Relaxed);
        }
    }
}
