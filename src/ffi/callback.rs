//! Calling what C gave us. Each call marks the thread, and nothing that is thrown comes back: an
//! exception that left a callback would pass frames that do not expect it, under locks perhaps,
//! so the process ends with a message that names the culprit.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::guard::Context;
use super::types::dl_drop_fn;

/// The caller's pointer, which we never look at.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub(super) *mut c_void);

// SAFETY: it is handed back and nothing else; the caller knows on which threads (see the header).
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

/// A `user_data` that was given to us with a `drop`: dropping this calls it, here and once.
pub(super) struct Owned {
    user_data: UserData,
    drop: dl_drop_fn,
}

impl Owned {
    pub(super) fn new(user_data: *mut c_void, drop: dl_drop_fn) -> Owned {
        Owned { user_data: UserData(user_data), drop }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let Some(drop) = self.drop else { return };
        let user_data = self.user_data.0;
        // SAFETY: the registering call promised that `drop` takes this pointer, once.
        call(Context::CALLBACK, "dl_drop_fn", || unsafe { drop(user_data) });
    }
}

/// Runs `f`, which calls one C function: `name` is its type in the header.
pub(super) fn call<R>(context: Context, name: &'static str, f: impl FnOnce() -> R) -> R {
    let _within = context.enter();
    // Unwinding begins only if a frame above will catch: so there must be one, for the guard
    // below to be reached, even where a foreign exception cannot be caught by Rust.
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let thrown = Thrown(name);
        let answer = f();
        std::mem::forget(thrown);
        answer
    }));
    match caught {
        Ok(answer) => answer,
        Err(_) => std::process::abort(),
    }
}

/// Dropped only while an exception passes.
struct Thrown(&'static str);

impl Drop for Thrown {
    fn drop(&mut self) {
        // One write, without a lock or memory: we do not know in which state the thread is.
        let mut text = [0; 128];
        let mut len = 0;
        for part in ["dledger: an exception left the callback ", self.0, "; aborting\n"] {
            let end = text.len().min(len + part.len());
            text[len..end].copy_from_slice(&part.as_bytes()[..end - len]);
            len = end;
        }
        // SAFETY: `text` is `len` bytes at least. What it answers does not matter any more.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), len) };
        std::process::abort();
    }
}
