//! The life of a handle: open, start, stop, close, and options that change meanwhile.

use std::ffi::c_char;
use std::time::Duration;

use super::guard::{self, Context, Waits};
use super::handle::{self, Handle};
use super::options::dl_config;
use super::status::{dl_error, dl_status};
use super::text;
use crate::error::Error;
use crate::group::Group;

/// One member of one replicated log.  Any thread, any time; only dl_close must be the last.
pub struct dl_log(pub(super) Handle);

/// Locks and recovers the directory, or makes it.  No socket, no election, no callback.  Begin is
/// final; committed is a lower bound that was durable; end may still fall, never below committed,
/// when a leader's log differs.  cfg stays yours and may be freed or used again.  [waits] for the
/// disk.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_open(
    cfg: *const dl_config,
    out: *mut *mut dl_log,
    err: *mut dl_error,
) -> dl_status {
    let open = || {
        // SAFETY: NULL or from dl_config_new, and no other thread uses it.
        let Some(dl_config(options)) = (unsafe { cfg.as_ref() }) else {
            return Err(Error::Invalid("cfg is NULL".into()));
        };
        if out.is_null() {
            return Err(Error::Invalid("out is NULL".into()));
        }
        Waits::Yes.check()?;
        guard::watch_forks()?;
        tracing::debug!(version = env!("CARGO_PKG_VERSION"), "dl_open");
        options.validate()?;
        let log = Box::new(dl_log(Handle::new(Group::open(options)?)));
        // SAFETY: not NULL, and the caller's to be written.
        unsafe { out.write(Box::into_raw(log)) };
        Ok(())
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, open) }
}

/// Listens and joins the cluster.  Does not wait for a leader, but reads the files of tls.* and
/// resolves node.listen, which may take a moment.  Once in the life of a handle; if it fails it may
/// be called again.  But if the system has no thread for it the log has failed: DL_E_RESOURCE, and
/// only a reopen goes on.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_start(log: *mut dl_log, err: *mut dl_error) -> dl_status {
    let start = || {
        // SAFETY: the header's rules for `log`.
        unsafe { handle::get(log, Waits::No) }?.start()
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, start) }
}

/// Leaves: refuses new appends with DL_E_STOPPED, waits up to timeout_ms for appends in flight,
/// completes the rest with DL_E_STOPPED, flushes.  When it returns no callback runs or will run
/// (with callbacks=poll it wakes dl_poll, waits until that has returned, and runs the last ones
/// itself).  It waits without limit for a callback that is running: hold no lock that one takes.
/// Every other wait ends with DL_E_STOPPED.  The directory is unlocked and may be opened again,
/// while this handle goes on reading below the committed mark it had; reads no longer wait.
/// DL_E_TIMED_OUT: stopped as well, but some outcomes are unknown, or the last sync is not over
/// (the lock is then kept).  DL_E_FAILED: stopped as well, but the log had failed, or did so now:
/// not all that was acknowledged need be on this disk.  Twice is harmless: the second call answers
/// DL_OK, also after a first that did not and while the directory is still locked.  In a callback
/// or hook: DL_E_DEADLOCK.  [waits]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_stop(log: *mut dl_log, timeout_ms: u32) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`. It waits for callbacks even with a timeout of 0.
        let handle = unsafe { handle::get(log, Waits::Yes) }?;
        handle::check(handle.group.stop(handle::limit(timeout_ms)))
    })
}

/// Frees the handle; stops it first if need be, with timeout 0.  That ends what is in flight with
/// DL_E_STOPPED, and waits a little: half a second for the last sync, and without limit for a
/// callback that is running.  A longer sync goes on behind dl_close, and until it is over the
/// directory stays locked (dl_open: DL_E_LOCKED).  Call dl_stop first, with a timeout that suits the
/// disk: it waits longer, and tells.  The one function that must not run at the same time as another
/// on this handle, but for what a `drop` calls that it runs.  Views and pinned segments outlive it.
/// In a callback or hook it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_close(log: *mut dl_log) {
    guard::catch(
        |_| (),
        || {
            let inside = Context::any(&[Context::CALLBACK, Context::HOOK, Context::TRACE]);
            // SAFETY: NULL or from dl_open, and no other thread uses it any more.
            let Some(dl_log(handle)) = (unsafe { log.as_ref() }) else { return };
            if inside || handle.generation != guard::generation() {
                return;
            }
            // What it answers is lost with the handle; whoever wants to know calls dl_stop.
            let _ = handle.group.stop(Some(Duration::ZERO));
            handle.release();
            // SAFETY: dl_open made it as a Box, and with the last `drop` nobody uses it.
            drop(unsafe { Box::from_raw(log) });
        },
    )
}

/// Changes an option of an open log; only those that dl_options() calls live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_set(
    log: *mut dl_log,
    key: *const c_char,
    value: *const c_char,
    err: *mut dl_error,
) -> dl_status {
    let set = || {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        // SAFETY: strings of the caller, for the duration of this call.
        let (key, value) = unsafe { (text::given(key, "key")?, text::given(value, "value")?) };
        handle.group.set(key, value)
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, set) }
}
