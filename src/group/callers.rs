//! Where callers that block for an append sleep. All sleep on one word, each under a bit of its own
//! index, so one call of the system wakes all that one commit ends, and hardly another.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::types::Index;

/// One word for all (futex(2), FUTEX_WAIT_BITSET). It changes whenever some are woken, so none falls
/// asleep that was to be woken.
#[derive(Default)]
pub struct Callers(AtomicU32);

/// Who is to be woken: the bits of the indexes behind their appends.
#[derive(Default)]
pub struct Ended(u32);

impl Ended {
    /// And whoever waits for this one.
    pub fn add(&mut self, end: Index) {
        self.0 |= bit(end);
    }
}

impl Callers {
    /// Waits, with an append up to `end`, until the answer is `there`. False: the time was over first.
    pub fn wait(&self, end: Index, timeout: Duration, there: impl Fn() -> bool) -> bool {
        let until = moment_after(timeout);
        let bit = NonZeroU32::new(bit(end)).unwrap_or(NonZeroU32::MAX);
        loop {
            let seen = self.0.load(Ordering::SeqCst);
            if there() {
                return true;
            }
            let slept = futex::wait_bitset(&self.0, Flags::PRIVATE, seen, until.as_ref(), bit);
            // Else it was woken, or the word had changed, or a signal came.
            if slept == Err(Errno::TIMEDOUT) {
                return false;
            }
        }
    }

    /// Wakes them, and some others as well. Their answers are there.
    pub fn wake(&self, ended: Ended) {
        let Some(bits) = NonZeroU32::new(ended.0) else { return };
        self.0.fetch_add(1, Ordering::SeqCst);
        // It cannot fail on a word of this process.
        let _ = futex::wake_bitset(&self.0, Flags::PRIVATE, i32::MAX as u32, bits);
    }
}

/// What is committed at once lies in a row, so neighbours share a bit.
fn bit(end: Index) -> u32 {
    1 << (end.0 / NEIGHBOURS % 32)
}

/// `None`: so late that nobody will see it.
fn moment_after(timeout: Duration) -> Option<Timespec> {
    clock_gettime(ClockId::Monotonic).checked_add(Timespec::try_from(timeout).ok()?)
}

/// So many in a row share a bit.
const NEIGHBOURS: u64 = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::thread;

    use super::*;

    /// Longer than any machine needs.
    const LONG: Duration = Duration::from_secs(20);

    /// Each of many is woken for its own index, however the looks and the wakes meet.
    #[test]
    fn who_is_ended_is_woken() {
        const EACH: u64 = 2_000;
        const THREADS: u64 = 8;
        let (callers, next, committed) = (Callers::default(), AtomicU64::new(1), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let end = next.fetch_add(1, Ordering::SeqCst);
                        let there = || committed.load(Ordering::SeqCst) >= end;
                        assert!(callers.wait(Index(end), LONG, there), "{end} was not woken");
                    }
                });
            }
            let mut told = 0;
            while told < EACH * THREADS {
                let ends = told + 1..next.load(Ordering::SeqCst);
                committed.store(ends.end - 1, Ordering::SeqCst);
                told = ends.end - 1;
                let mut ended = Ended::default();
                ends.for_each(|end| ended.add(Index(end)));
                callers.wake(ended);
                thread::yield_now();
            }
        });
    }

    /// A time that is over ends the wait, and none that is too long to be told is over at once.
    #[test]
    fn a_wait_ends_with_its_time() {
        let callers = Callers::default();
        assert!(!callers.wait(Index(1), Duration::from_millis(1), || false));
        assert!(!callers.wait(Index(1), Duration::ZERO, || false));
        let there = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(callers.wait(Index(1), Duration::MAX, || there.load(Ordering::SeqCst)));
            });
            thread::sleep(Duration::from_millis(10));
            there.store(true, Ordering::SeqCst);
            let mut ended = Ended::default();
            ended.add(Index(1));
            callers.wake(ended);
        });
    }
}
