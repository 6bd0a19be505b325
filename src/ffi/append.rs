//! Appends and append hooks. The way of an append adds no allocation, no lock and no system call
//! to what the group does.

use std::ffi::c_void;
use std::slice;

use super::callback::{Owned, UserData, call};
use super::events::append_token;
use super::guard::{self, Context, Waits};
use super::handle;
use super::log::dl_log;
use super::sized::{self, Growing};
use super::status::{DL_OK, dl_status};
use super::types::{dl_completion, dl_drop_fn, dl_entry};
use crate::error::Status;
use crate::group::{AppendOptions, Entry};

/// How to append; NULL instead is DL_APPEND_OPTS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_append_opts {
    /// In: sizeof(dl_append_opts).
    pub size: u32,
    /// 0 = append.timeout.
    pub timeout_ms: u32,
    /// 0 = any; else fails unless the leader's term is this one.
    pub expected_term: u64,
}

/// Bytes of the caller.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_bytes {
    pub data: *const c_void,
    pub len: usize,
}

/// The end of one append.
pub type dl_append_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, c: *const dl_completion)>;

/// Appends one entry.  Before it returns the body has been copied and `out` (NULL: not wanted;
/// out->body is NULL) tells the index and positions it has for ever, if it commits.  Entries get
/// their indexes in the order of the calls.  fn is called exactly once if and only if DL_OK is
/// returned; without fn the completion goes to dl_on_complete.  opts may be NULL.  Does not wait:
/// DL_E_PENDING_FULL when too much is in flight; an append is in flight until its callback is
/// called, or the first of those that are called with it, 256 at most.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_append_async(
    log: *mut dl_log,
    body: *const c_void,
    len: usize,
    opts: *const dl_append_opts,
    out: *mut dl_entry,
    r#fn: dl_append_fn,
    user_data: *mut c_void,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`, `opts` and the body.
        let (handle, options, body) =
            unsafe { (handle::get(log, Waits::No)?, options(opts)?, bytes(body, len)?) };
        let entry = handle.group.append(body, &options, append_token(r#fn, user_data))?;
        // SAFETY: NULL or the caller's to be written.
        unsafe { tell(out, 0, &entry) };
        Ok(())
    })
}

/// Appends n entries with consecutive indexes, all or none; one completion, when the last is
/// committed.  out: n elements or NULL.  All or none through a crash or the loss of a leadership
/// as well while together, with headers, they are at most 1 MiB and segment.bytes - 8 (they then
/// roll together); beyond that either may keep a prefix.  More than the limits ever allow:
/// DL_E_TOO_LARGE.  n = 0: invalid.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_append_batch_async(
    log: *mut dl_log,
    bodies: *const dl_bytes,
    n: usize,
    opts: *const dl_append_opts,
    out: *mut dl_entry,
    r#fn: dl_append_fn,
    user_data: *mut c_void,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log` and `opts`.
        let (handle, options) = unsafe { (handle::get(log, Waits::No)?, options(opts)?) };
        if bodies.is_null() || n == 0 || n > isize::MAX as usize / size_of::<dl_bytes>() {
            return Err(Status::Invalid);
        }
        // SAFETY: `n` elements of the caller, for the duration of this call.
        let bodies = unsafe { slice::from_raw_parts(bodies, n) };
        if bodies.iter().any(|body| !sound(body.data, body.len)) {
            return Err(Status::Invalid);
        }
        let mut lens = bodies.iter().map(|body| body.len);
        let mut slices = bodies.iter().map(|body| {
            // SAFETY: as many bytes of the caller, for the duration of this call.
            unsafe { slice_of(body.data, body.len) }
        });
        let token = append_token(r#fn, user_data);
        handle.group.append_batch(&mut slices, &mut lens, &options, token, &mut |at, entry| {
            // SAFETY: NULL or `n` elements to be written, and `at` is one of them.
            unsafe { tell(out, at, &entry) }
        })
    })
}

/// Appends one entry and waits until it is committed.  [waits]
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_append(
    log: *mut dl_log,
    body: *const c_void,
    len: usize,
    opts: *const dl_append_opts,
    out: *mut dl_entry,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`, `opts` and the body.
        let (handle, options, body) =
            unsafe { (handle::get(log, Waits::Yes)?, options(opts)?, bytes(body, len)?) };
        let (status, entry) = handle.group.append_wait(body, &options);
        handle::check(status)?;
        if let Some(entry) = entry {
            // SAFETY: NULL or the caller's to be written.
            unsafe { tell(out, 0, &entry) };
        }
        Ok(())
    })
}

/// Called for each entry you append, here as the leader, ON THE APPENDING THREAD inside its
/// dl_append* call, under the append order: index, term and positions are final, the checksum
/// is not computed, nothing has been sent.  body (entry->body_len bytes, the copy that will be
/// written) may be changed, its length not.  Anything but DL_OK refuses the whole call
/// (DL_E_REJECTED) and uses up no index.  All appends wait for it: keep it to nanoseconds, call
/// no dl_ function, take no lock an appender may hold.  Not called on followers, which receive
/// the bytes as it left them.
pub type dl_append_hook = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        entry: *const dl_entry,
        body: *mut u8,
    ) -> dl_status,
>;

/// Hooks run in the order of registration, which ends with dl_start.  id may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_register_append_hook(
    log: *mut dl_log,
    hook: dl_append_hook,
    user_data: *mut c_void,
    drop: dl_drop_fn,
    id: *mut u64,
) -> dl_status {
    guard::status(|| {
        let owned = Owned::new(user_data, drop);
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        let hook = hook.ok_or(Status::Invalid)?;
        let data = UserData(user_data);
        let run = move |entry: &Entry, body: &mut [u8]| {
            let UserData(data) = { data };
            let body = body.as_mut_ptr();
            let entry = dl_entry::new(entry, body);
            // SAFETY: the registered function, with its pointer; all of it lives until it returns.
            call(Context::HOOK, "dl_append_hook", || unsafe { hook(data, &entry, body) }) == DL_OK
        };
        let number = handle.group.add_hook(Box::new(run)).map_err(|(error, _)| error.status())?;
        handle.keep_hook(number, owned);
        if !id.is_null() {
            // SAFETY: the caller's to be written.
            unsafe { id.write(number) };
        }
        Ok(())
    })
}

/// When it returns the hook neither runs nor will run.  DL_E_INVALID if there is none of this id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_unregister_append_hook(log: *mut dl_log, id: u64) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        let hook = handle.group.remove_hook(id).map_err(|error| error.status())?;
        drop(hook);
        drop(handle.take_hook(id)); // calls the caller's drop, outside every lock
        Ok(())
    })
}

// SAFETY: repr(C), plain numbers behind a u32.
unsafe impl Growing for dl_append_opts {}

/// # Safety
/// NULL, or the caller's struct.
unsafe fn options(opts: *const dl_append_opts) -> Result<AppendOptions, Status> {
    if opts.is_null() {
        return Ok(AppendOptions::default());
    }
    // SAFETY: the caller's promise.
    let opts = unsafe { sized::read(opts) }?;
    let timeout = (opts.timeout_ms != 0).then(|| handle::long(opts.timeout_ms));
    Ok(AppendOptions { timeout, expected_term: opts.expected_term })
}

/// # Safety
/// NULL, or `len` bytes that nobody changes within `'a`.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Status> {
    if !sound(data, len) {
        return Err(Status::Invalid);
    }
    // SAFETY: the caller's promise, and sound.
    Ok(unsafe { slice_of(data, len) })
}

/// No bytes need no pointer.
fn sound(data: *const c_void, len: usize) -> bool {
    len == 0 || (!data.is_null() && len <= isize::MAX as usize)
}

/// # Safety
/// `sound`, and `len` bytes that nobody changes within `'a`.
unsafe fn slice_of<'a>(data: *const c_void, len: usize) -> &'a [u8] {
    match len {
        0 => &[],
        // SAFETY: the caller's promise.
        _ => unsafe { slice::from_raw_parts(data.cast(), len) },
    }
}

/// # Safety
/// `out` is NULL or has an element `at` to be written.
unsafe fn tell(out: *mut dl_entry, at: usize, entry: &Entry) {
    if !out.is_null() {
        // SAFETY: the caller's promise.
        unsafe { out.add(at).write(dl_entry::new(entry, std::ptr::null())) }
    }
}
