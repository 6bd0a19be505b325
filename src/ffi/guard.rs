//! What stands between C and Rust at every exported function: no panic leaves it, and it knows in
//! what this thread is (a callback, a hook, a trace function) and in which process.
//!
//! On the append path this costs two loads and one thread-local; nothing here allocates, locks or
//! calls the system, but for the one registration of the fork handler.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use super::status::{DL_OK, dl_error, dl_status, explain};
use crate::error::{Error, Result, Status};

/// What of the caller's runs further up on this thread; several may at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Context(u8);

impl Context {
    pub(super) const CALLBACK: Context = Context(1);
    pub(super) const HOOK: Context = Context(2);
    pub(super) const TRACE: Context = Context(4);

    /// Whether this thread is in one of these.
    pub(super) fn any(contexts: &[Context]) -> bool {
        let here = HERE.get();
        contexts.iter().any(|context| here & context.0 != 0)
    }

    /// Marks this thread until the value is dropped.
    pub(super) fn enter(self) -> Within {
        Within { before: HERE.replace(HERE.get() | self.0) }
    }
}

pub(super) struct Within {
    before: u8,
}

impl Drop for Within {
    fn drop(&mut self) {
        HERE.set(self.before);
    }
}

/// Whether a call can block on the disk or the cluster: the [waits] of the header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Yes,
}

impl Waits {
    /// A timeout of 0 does not wait.
    pub(super) fn with_timeout(timeout_ms: u32) -> Waits {
        if timeout_ms == 0 { Waits::No } else { Waits::Yes }
    }

    /// Refuses what would deadlock: waiting where callbacks run; anything at all in a hook, which
    /// runs under the append order, or in a trace function, which runs under any lock.
    pub(super) fn check(self) -> std::result::Result<(), Status> {
        let here = HERE.get();
        let refused = match self {
            Waits::No => Context::HOOK.0 | Context::TRACE.0,
            Waits::Yes => Context::HOOK.0 | Context::TRACE.0 | Context::CALLBACK.0,
        };
        if here & refused == 0 { Ok(()) } else { Err(Status::Deadlock) }
    }
}

/// Runs `f`; a panic ends here, and `failed` turns its message into the answer.
pub(super) fn catch<R>(failed: impl FnOnce(&str) -> R, f: impl FnOnce() -> R) -> R {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(answer) => answer,
        Err(panic) => failed(message(&*panic)),
    }
}

/// The guard of functions that answer a bare status.
pub(super) fn status(f: impl FnOnce() -> std::result::Result<(), Status>) -> dl_status {
    catch(|_| Status::Panic as dl_status, || f().err().map_or(DL_OK, |status| status as dl_status))
}

/// The guard of functions that also explain a failure, in `*err`.
///
/// # Safety
/// `err` is NULL or may be written.
pub(super) unsafe fn explained(err: *mut dl_error, f: impl FnOnce() -> Result<()>) -> dl_status {
    let bug = |panic: &str| Err(Error::Bug(format!("a bug, caught: {panic}")));
    let Err(error) = catch(bug, f) else { return DL_OK };
    // SAFETY: the caller's promise.
    unsafe { explain(err, &error) };
    error.status() as dl_status
}

/// Which process this is, counted in forks: a handle that was made in another one is not ours.
pub(super) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Makes [`generation`] count from here on. Once per process is enough.
pub(super) fn watch_forks() -> Result<()> {
    extern "C" fn child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    let mut refused = 0;
    ONCE.call_once(|| {
        // SAFETY: the handler touches one atomic, which is allowed in a forked child.
        refused = unsafe { libc::pthread_atfork(None, None, Some(child)) };
    });
    match refused {
        0 => Ok(()),
        errno => Err(Error::Resource {
            what: "a handler for fork()",
            source: std::io::Error::from_raw_os_error(errno),
        }),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "without a message",
    }
}

thread_local! {
    /// The contexts this thread is in. No destructor: usable as long as the thread runs.
    static HERE: Cell<u8> = const { Cell::new(0) };
}

static GENERATION: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    /// P15: contexts nest, and what they refuse ends with them.
    #[test]
    fn contexts_nest() {
        assert!(Waits::Yes.check().is_ok());
        {
            let _callback = Context::CALLBACK.enter();
            assert_eq!(Waits::Yes.check(), Err(Status::Deadlock));
            assert!(Waits::No.check().is_ok());
            {
                let _hook = Context::HOOK.enter();
                assert_eq!(Waits::No.check(), Err(Status::Deadlock));
            }
            assert!(Waits::No.check().is_ok());
        }
        assert!(Waits::Yes.check().is_ok());
    }

    /// P15, scenario 17: a panic becomes a status, with its message.
    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(status(|| panic!("planted")), Status::Panic as dl_status);
        let mut err = super::super::status::describe(Status::Ok, 0, "");
        // SAFETY: `err` is a local.
        let answer = unsafe { explained(&mut err, || panic!("planted {}", 1)) };
        assert_eq!((answer, err.status), (-401, -401));
        let text: Vec<u8> = err.message.iter().map(|&c| c as u8).collect();
        assert!(text.starts_with(b"a bug, caught: planted 1\0"));
    }
}
