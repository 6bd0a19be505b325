//! Small things between threads: how much is on its way, and a bell that wakes one of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::group::sync::Flag;

/// How much is on its way: what entered, less what left. Whoever enters holds the append lock, so
/// entering is a plain store; leaving is for everybody.
#[derive(Default)]
pub struct InFlight {
    entered: AtomicU64,
    left: AtomicU64,
}

impl InFlight {
    /// Adds. One caller at a time.
    pub fn enter(&self, n: u64) {
        let entered = self.entered.load(Ordering::Relaxed);
        self.entered.store(entered.wrapping_add(n), Ordering::Release);
    }

    /// All that ever entered.
    pub fn entered(&self) -> u64 {
        self.entered.load(Ordering::Acquire)
    }

    /// Takes off.
    pub fn leave(&self, n: u64) {
        self.left.fetch_add(n, Ordering::AcqRel);
    }

    /// Now. What left is read first: it never has more than what entered.
    pub fn now(&self) -> u64 {
        let left = self.left.load(Ordering::Acquire);
        self.entered.load(Ordering::Acquire).wrapping_sub(left)
    }
}

/// Wakes one thread. What it does to wake it is set when the thread is there.
#[derive(Default)]
pub struct Bell {
    flag: Flag,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Bell {
    /// Says how to wake whoever answers the bell. Once.
    pub fn answers(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Wakes it, unless it was rung since it last looked.
    pub fn ring(&self) {
        if self.flag.raise()
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// Whoever answers looks around now. True if it was rung.
    pub fn heard(&self) -> bool {
        self.flag.lower()
    }
}
