//! Text across the boundary: strings of the caller, and static ones for it.

use std::ffi::{CStr, CString, c_char};
use std::iter::successors;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::error::{Error, Result};

/// The caller's text; `name` says in an error which argument it was.
///
/// # Safety
/// `text` is NULL or NUL-terminated, and stays so for `'a`.
pub(super) unsafe fn given<'a>(text: *const c_char, name: &'static str) -> Result<&'a str> {
    if text.is_null() {
        return Err(Error::Invalid(format!("{name} is NULL").into()));
    }
    // SAFETY: not NULL, and NUL-terminated by the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::Config(format!("the {name} is not UTF-8")))
}

/// The same text as C wants it, made once and kept for ever: only for texts that are static
/// already, so that there is an end to them.
pub(super) fn kept(text: &'static str) -> &'static CStr {
    // Without a lock: a forked child would find it held for ever.
    static NEWEST: AtomicPtr<Kept> = AtomicPtr::new(ptr::null_mut());
    let mut newest = NEWEST.load(Ordering::Acquire);
    let mut made: Option<Box<Kept>> = None;
    loop {
        // SAFETY: NULL, or a leaked box that nobody changes any more.
        let all: Option<&'static Kept> = unsafe { newest.as_ref() };
        if let Some(kept) = successors(all, |kept| kept.before).find(|kept| kept.text == text) {
            return &kept.for_c;
        }
        let for_c = || CString::new(text).unwrap_or_default();
        let mut own =
            made.take().unwrap_or_else(|| Box::new(Kept { text, for_c: for_c(), before: None }));
        own.before = all;
        let own = Box::into_raw(own);
        match NEWEST.compare_exchange(newest, own, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: leaked just now.
            Ok(_) => return unsafe { &(*own).for_c },
            Err(other) => {
                newest = other;
                // SAFETY: nobody else has seen it.
                made = Some(unsafe { Box::from_raw(own) });
            }
        }
    }
}

/// A text that is kept, and those that were before it.
struct Kept {
    text: &'static str,
    for_c: CString,
    before: Option<&'static Kept>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each text is made once, whoever asks first.
    #[test]
    fn a_text_is_kept_once() {
        let texts: Vec<&'static str> = (0..50).map(|n| &*format!("text {n}").leak()).collect();
        let ask = || texts.iter().map(|text| kept(text)).collect::<Vec<_>>();
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for asked in all {
            for (kept, (first, text)) in asked.iter().zip(ask().iter().zip(&texts)) {
                assert!(std::ptr::eq(*kept, *first), "{text}");
                assert_eq!(kept.to_str(), Ok(*text));
            }
        }
    }
}
