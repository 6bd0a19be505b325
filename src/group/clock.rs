//! Time, as nanoseconds since some moment. The real clock is monotonic: jumps of the wall clock
//! change nothing (P20). A simulation turns its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Where time comes from.
#[derive(Clone)]
pub enum Clock {
    /// The machine's `CLOCK_MONOTONIC`, asked without `Instant`: an append pays for what that adds.
    Real,
    /// Set by hand.
    Manual(Arc<AtomicU64>),
}

/// A moment that never comes.
pub const NEVER: u64 = u64::MAX;

impl Clock {
    /// The machine's clock.
    pub fn real() -> Clock {
        Clock::Real
    }

    /// Now, in nanoseconds.
    pub fn now(&self) -> u64 {
        match self {
            Clock::Real => {
                let time = clock_gettime(ClockId::Monotonic);
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
            }
            Clock::Manual(now) => now.load(Ordering::Relaxed),
        }
    }

    /// The moment `after` from now; [`NEVER`] for `None`.
    pub fn deadline(&self, after: Option<Duration>) -> u64 {
        after.map_or(NEVER, |after| self.now().saturating_add(nanos(after)))
    }

    /// Milliseconds since 1970. For retention only, which compares it with times of files.
    pub fn wall_ms(&self) -> u64 {
        match self {
            Clock::Real => SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| d.as_millis() as u64),
            Clock::Manual(now) => now.load(Ordering::Relaxed) / 1_000_000,
        }
    }
}

/// A duration in nanoseconds, as long as a `u64` goes.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
