//! Text across the boundary: strings of the caller, and static ones for it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

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
    static KEPT: ArcSwapOption<BTreeMap<&str, &CStr>> = ArcSwapOption::const_empty();
    let known = |all: &Option<Arc<BTreeMap<_, _>>>| all.as_deref()?.get(text).copied();
    if let Some(kept) = known(&KEPT.load()) {
        return kept;
    }
    let made: &CStr = Box::leak(CString::new(text).unwrap_or_default().into_boxed_c_str());
    KEPT.rcu(|all| {
        let mut all = all.as_deref().cloned().unwrap_or_default();
        all.entry(text).or_insert(made);
        Some(Arc::new(all))
    });
    // Another thread may have been first.
    known(&KEPT.load()).unwrap_or(made)
}
