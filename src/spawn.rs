//! Threads of the library. Signals that come from outside are for the program's own: they are
//! blocked here from the first instruction on. What a thread causes itself (a medium error under a
//! mapping, say) stays with it, as the system has it.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use crate::error::{Error, Result};

/// Starts a thread. Its mask of signals is inherited by those that it starts.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let failed = |source| Error::Resource { what: "a thread", source };
    let mut blocked = SigSet::all();
    for signal in SYNCHRONOUS {
        blocked.remove(signal);
    }
    // The caller gets its own mask back before it goes on.
    let own = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| failed(e.into()))?;
    let spawned = Builder::new().name(name.into()).spawn(run);
    let restored = own.thread_set_mask().map_err(io::Error::from);
    debug_assert!(restored.is_ok(), "{restored:?}");
    spawned.map_err(failed)
}

/// Raised by what a thread does.
const SYNCHRONOUS: [Signal; 6] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGTRAP,
];
