//! How things are, and how to wait until they are durable or known to be current.

use std::ffi::c_void;

use super::events::index_token;
use super::guard::{self, Waits};
use super::handle;
use super::log::dl_log;
use super::sized::{self, Growing};
use super::status::{describe, dl_error, dl_status};
use super::types::dl_state;
use crate::error::Status;
use crate::types::Index;

/// One consistent snapshot; takes no lock.  Set out->size first (DL_STATE_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_get_state(log: *mut dl_log, out: *mut dl_state) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`; `out` is NULL or the caller's struct.
        let handle = unsafe {
            sized::size(out)?;
            handle::get(log, Waits::No)?
        };
        let state = dl_state::from(&handle.group.state());
        // SAFETY: the caller's struct, to be written.
        unsafe { sized::write(out, &state) }
    })
}

/// Why the log failed: the first cause, which is also returned.  DL_OK if it has not; then
/// out->message tells what the last read met that ended in DL_E_CORRUPT or DL_E_IO, on whatever
/// thread, and is "" if none did.  The position in it ("damaged at position 4096: ...") is one in
/// the log, or if the text says "in the index files" the offset of a unit in these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_failure(log: *mut dl_log, out: *mut dl_error) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if out.is_null() {
            return Err(Status::Invalid);
        }
        let (status, details) = match handle.group.failure() {
            Some(cause) => (cause.status, describe(cause.status, cause.errno, &cause.message)),
            None => {
                let met = handle.group.bad_read().map(|met| met.message).unwrap_or_default();
                (Status::Ok, describe(Status::Ok, 0, &met))
            }
        };
        // SAFETY: not NULL, the caller's to be written.
        unsafe { out.write(details) };
        handle::check(status)
    })
}

/// The linearizable read barrier: asks a majority, on any member, and ends when the log here is
/// committed up to *index.  What is read below *index then includes every append that was
/// completed before the call.  With timeout_ms 0 it asks and does not wait: DL_E_TIMED_OUT is the
/// answer then, and says only that the log runs.  [waits]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_read_index(
    log: *mut dl_log,
    timeout_ms: u32,
    index: *mut u64,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::with_timeout(timeout_ms)) }?;
        if index.is_null() {
            return Err(Status::Invalid);
        }
        let Index(found) = handle.group.read_index(handle::limit(timeout_ms))?;
        // SAFETY: not NULL, the caller's to be written.
        unsafe { index.write(found) };
        Ok(())
    })
}

/// The end of dl_read_index_async().
pub type dl_index_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, status: dl_status, index: u64)>;

/// dl_read_index() that does not wait: fn is called exactly once if and only if DL_OK is returned.
/// DL_E_PENDING_FULL while append.pending.max of them are under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_read_index_async(
    log: *mut dl_log,
    timeout_ms: u32,
    r#fn: dl_index_fn,
    user_data: *mut c_void,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if r#fn.is_none() {
            return Err(Status::Invalid);
        }
        let token = index_token(r#fn, user_data);
        handle.group.read_index_async(handle::limit(timeout_ms), token)
    })
}

/// Puts all that is appended here now on this member's disk.  DL_E_DISK_FULL while a write waits
/// for room.  With timeout_ms 0 it asks and does not wait, also in a callback: DL_E_TIMED_OUT is the
/// answer then, the sync is made all the same, and dl_state.flushed tells.  [waits]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_flush(log: *mut dl_log, timeout_ms: u32) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::with_timeout(timeout_ms)) }?;
        handle::check(handle.group.flush(handle::limit(timeout_ms)))
    })
}

/// Forgets, on this member, whole segments that lie before `index`; not above committed.  Begin
/// moves a little later, with DL_EVENT_BEGIN; not at all if the log is damaged where it would begin.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_delete_prefix(
    log: *mut dl_log,
    index: u64,
    err: *mut dl_error,
) -> dl_status {
    let delete = || {
        // SAFETY: the header's rules for `log`.
        unsafe { handle::get(log, Waits::No) }?.group.delete_prefix(Index(index))
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, delete) }
}

// SAFETY: repr(C), plain numbers behind a u32.
unsafe impl Growing for dl_state {}
