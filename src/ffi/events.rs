//! What the library calls by itself: completions, events, threads. Registered before dl_start,
//! which gives [`Calls`] to the group; from then on it is only read.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};

use super::append::dl_append_fn;
use super::callback::{Owned, UserData, call};
use super::guard::{self, Context, Waits};
use super::handle;
use super::log::dl_log;
use super::state::dl_index_fn;
use super::status::dl_status;
use super::types::{dl_completion, dl_drop_fn, dl_state};
use crate::error::Status;
use crate::group::{Completion, Observer, State, Token};
use crate::types::Index;

/// Completions of the appends that were given no callback of their own: all that are due, but
/// at most 256 at a time.
pub type dl_complete_fn = Option<
    unsafe extern "C-unwind" fn(user_data: *mut c_void, items: *const dl_completion, n: usize),
>;

/// Sets the function for completions.  Between dl_open and dl_start, as the other dl_on_
/// functions: nothing is missed.  DL_E_INVALID after dl_start, unless that failed: then what was set
/// stays, and may be set anew.  On a log that was stopped before it was started it is kept for its
/// `drop`, and never called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_on_complete(
    log: *mut dl_log,
    r#fn: dl_complete_fn,
    user_data: *mut c_void,
    drop: dl_drop_fn,
) -> dl_status {
    // SAFETY: this function's own promises.
    unsafe {
        register(log, r#fn.is_some(), user_data, drop, |calls, data| calls.complete = (r#fn, data))
    }
}

/// A bit of `what`: role, term, leader_id or ready.
pub const DL_EVENT_ROLE: u32 = 1;
/// Committed moved: there is something to read.
pub const DL_EVENT_COMMIT: u32 = 2;
/// Begin moved: retention, or a snapshot was installed.
pub const DL_EVENT_BEGIN: u32 = 4;
/// See dl_members().
pub const DL_EVENT_MEMBERS: u32 = 8;
/// See dl_failure().
pub const DL_EVENT_FAILED: u32 = 16;

/// `what` changed, and `now` is how things are.  The first call has every bit but FAILED set.
/// Role changes come one by one, the others may come merged.
pub type dl_event_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, what: u32, now: *const dl_state)>;

/// Sets the function for events.  When: as dl_on_complete().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_on_event(
    log: *mut dl_log,
    r#fn: dl_event_fn,
    user_data: *mut c_void,
    drop: dl_drop_fn,
) -> dl_status {
    // SAFETY: this function's own promises.
    unsafe {
        register(log, r#fn.is_some(), user_data, drop, |calls, data| calls.event = (r#fn, data))
    }
}

/// First and last thing each library thread that serves this log does; `callbacks` is 1 on the
/// thread that runs callbacks.  Here a virtual machine attaches and detaches it.  The last calls
/// come before dl_stop returns: a thread that still hangs in a sync then (DL_E_TIMED_OUT) makes none
/// when it ends, at a later time.  Not called on the two threads that serve all logs of the process,
/// a helper and a listener: of callbacks they run dl_trace_fn only.
pub type dl_thread_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, starts: c_int, callbacks: c_int)>;

/// Sets the function for threads.  When: as dl_on_complete().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_on_thread(
    log: *mut dl_log,
    r#fn: dl_thread_fn,
    user_data: *mut c_void,
    drop: dl_drop_fn,
) -> dl_status {
    // SAFETY: this function's own promises.
    unsafe {
        register(log, r#fn.is_some(), user_data, drop, |calls, data| calls.thread = (r#fn, data))
    }
}

/// The functions that were registered.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    complete: (dl_complete_fn, UserData),
    event: (dl_event_fn, UserData),
    thread: (dl_thread_fn, UserData),
}

impl Default for Calls {
    fn default() -> Calls {
        let data = UserData(null_mut());
        Calls { complete: (None, data), event: (None, data), thread: (None, data) }
    }
}

impl Observer for Calls {
    fn completed(&self, items: &[Completion]) {
        let mut rest = items;
        while let Some(first) = rest.first() {
            let shared = rest.iter().take_while(|item| item.token.call == 0).count();
            let (now, later) = rest.split_at(shared.clamp(1, ITEMS_MAX));
            match shared {
                0 => own(first),
                _ => self.shared(now),
            }
            rest = later;
        }
    }

    fn heard(&self, items: &[Completion]) -> u32 {
        let all = self.complete.0.is_some();
        items.iter().filter(|item| all || item.token.call != 0).count() as u32
    }

    fn event(&self, what: u32, now: &State) {
        let (Some(event), UserData(data)) = self.event else { return };
        let now = dl_state::from(now);
        // SAFETY: the registered function, with its pointer; `now` lives until it returns.
        call(Context::CALLBACK, "dl_event_fn", || unsafe { event(data, what, &now) });
    }

    fn index_read(&self, token: Token, status: Status, index: Index) {
        // SAFETY: this token carries what `index_token` put there, and nothing else.
        let read: dl_index_fn = unsafe { std::mem::transmute(function(token)) };
        let Some(read) = read else { return };
        // SAFETY: the caller's function, with its pointer.
        call(Context::CALLBACK, "dl_index_fn", || unsafe {
            read(user_data(token), status as dl_status, index.0)
        });
    }

    fn thread(&self, starts: bool, callbacks: bool) {
        let (Some(thread), UserData(data)) = self.thread else { return };
        // SAFETY: the registered function, with its pointer.
        call(Context::CALLBACK, "dl_thread_fn", || unsafe {
            thread(data, starts.into(), callbacks.into())
        });
    }
}

impl Calls {
    /// Whether events need not be made at all.
    pub(super) fn wants_events(&self) -> bool {
        self.event.0.is_some()
    }

    /// At most ITEMS_MAX at once, without memory of the heap.
    fn shared(&self, items: &[Completion]) {
        let (Some(complete), UserData(data)) = self.complete else { return };
        let mut room = [const { MaybeUninit::<dl_completion>::uninit() }; ITEMS_MAX];
        let mut n = 0;
        for (to, item) in room.iter_mut().zip(items) {
            to.write(item.into());
            n += 1;
        }
        // SAFETY: the registered function, with its pointer; the first `n` items are written.
        call(Context::CALLBACK, "dl_complete_fn", || unsafe {
            complete(data, room.as_ptr().cast(), n)
        });
    }
}

/// The completion of an append that has a callback of its own.
fn own(item: &Completion) {
    // SAFETY: a token of an append carries what `append_token` put there, and nothing else.
    let end: dl_append_fn = unsafe { std::mem::transmute(function(item.token)) };
    let Some(end) = end else { return };
    let completion = dl_completion::from(item);
    // SAFETY: the caller's function, with its pointer; `completion` lives until it returns.
    call(Context::CALLBACK, "dl_append_fn", || unsafe { end(completion.user_data, &completion) });
}

/// What comes back with the end of an append; `call` is 0 without a callback.
pub(super) fn append_token(r#fn: dl_append_fn, user_data: *mut c_void) -> Token {
    token(r#fn.map_or(null_mut(), |end| end as *mut ()), user_data)
}

/// What comes back with the end of dl_read_index_async.
pub(super) fn index_token(r#fn: dl_index_fn, user_data: *mut c_void) -> Token {
    token(r#fn.map_or(null_mut(), |read| read as *mut ()), user_data)
}

fn token(function: *mut (), user_data: *mut c_void) -> Token {
    Token { call: function.expose_provenance(), user_data: user_data.expose_provenance() }
}

fn function(token: Token) -> *const () {
    with_exposed_provenance(token.call)
}

fn user_data(token: Token) -> *mut c_void {
    with_exposed_provenance_mut(token.user_data)
}

/// Registers one function; if that fails, `drop` is called before this returns.
///
/// # Safety
/// The header's rules for `log`; `drop` takes `user_data`, once.
unsafe fn register(
    log: *mut dl_log,
    given: bool,
    user_data: *mut c_void,
    drop: dl_drop_fn,
    set: impl FnOnce(&mut Calls, UserData),
) -> dl_status {
    guard::status(|| {
        let owned = Owned::new(user_data, drop);
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if !given {
            return Err(Status::Invalid);
        }
        handle.register(owned, |calls| set(calls, UserData(user_data)))
    })
}

/// Completions of one call.
const ITEMS_MAX: usize = 256;
