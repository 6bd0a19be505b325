//! What is shared without a lock: watermarks behind a sequence counter, and the wake-up of a
//! thread. Small enough to be checked exhaustively (`cfg(dledger_loom)`). The atomics and the mutex
//! here are loom's then, also for others whose meetings are checked.

#[cfg(dledger_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(dledger_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(not(dledger_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(dledger_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

use std::sync::{PoisonError, TryLockError};

#[cfg(dledger_loom)]
use loom::hint::spin_loop;
#[cfg(not(dledger_loom))]
use std::hint::spin_loop;

/// Locks what is held for short. Sleeping for it would cost more than it is held, for whoever lets go
/// and has to wake as well; and many threads that once slept for it would go on so, one after the
/// other, for good.
pub(crate) fn lock_soon<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    for _ in 0..YIELDS {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => std::thread::yield_now(),
        }
    }
    // It is held by one that does not run, or that runs a hook.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the processor is given to others before the lock is slept for.
const YIELDS: usize = 32;

/// `N` numbers that readers see together as one writer at a time left them (a seqlock, after
/// Boehm, "Can seqlocks get along with programming language memory models?", 2012). Writers are
/// kept apart by their callers.
pub struct Snapshot<const N: usize> {
    sequence: AtomicU64,
    values: [AtomicU64; N],
}

impl<const N: usize> Snapshot<N> {
    /// A snapshot of these numbers.
    pub fn new(values: [u64; N]) -> Snapshot<N> {
        Snapshot { sequence: AtomicU64::new(0), values: values.map(AtomicU64::new) }
    }

    /// Publishes other numbers. One writer at a time.
    pub fn write(&self, values: [u64; N]) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (shared, value) in self.values.iter().zip(values) {
            shared.store(value, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// The numbers as one write left them. Never blocks a writer.
    pub fn read(&self) -> [u64; N] {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let mut values = [0; N];
            for (value, shared) in values.iter_mut().zip(&self.values) {
                *value = shared.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return values;
            }
            spin_loop();
            #[cfg(dledger_loom)]
            loom::thread::yield_now();
        }
    }

    /// One of the numbers, alone.
    pub fn get(&self, n: usize) -> u64 {
        self.values[n].load(Ordering::Acquire)
    }
}

/// Wakes one thread, at most once per its look around: the thread that is woken clears it, then
/// looks, so nothing is missed.
pub struct Flag(AtomicBool);

impl Default for Flag {
    fn default() -> Flag {
        Flag(AtomicBool::new(false))
    }
}

impl Flag {
    /// Raises the flag. True if it was down: only then a wake-up is due.
    pub fn raise(&self) -> bool {
        // The fence orders what the caller published before the look at the flag.
        fence(Ordering::SeqCst);
        !self.0.load(Ordering::Relaxed) && !self.0.swap(true, Ordering::AcqRel)
    }

    /// Takes the flag down. True if it was up.
    pub fn lower(&self) -> bool {
        let was = self.0.swap(false, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        was
    }
}
