//! Text across the boundary: strings of the caller, and static ones for it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::{Mutex, PoisonError};

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
    static KEPT: Mutex<BTreeMap<&'static str, &'static CStr>> = Mutex::new(BTreeMap::new());
    KEPT.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(text)
        .or_insert_with(|| Box::leak(CString::new(text).unwrap_or_default().into_boxed_c_str()))
}
