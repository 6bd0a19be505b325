//! The options as text: `dl_config`, and the list of what there is.

use std::ffi::{c_char, c_int, c_void};

use super::callback::call;
use super::guard::{self, Context};
use super::status::{VERSION, dl_error, dl_status};
use super::text;
use crate::error::Error;
use crate::options::{OPTIONS, Options};

/// Options to open a log with.  Used by one thread at a time.
pub struct dl_config(pub(super) Options);

/// Called for one option.  type says what text is taken, preset is the default.
pub type dl_option_fn = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        key: *const c_char,
        r#type: *const c_char,
        preset: *const c_char,
        doc: *const c_char,
        changes_live: c_int,
    ),
>;

/// header_version: DL_VERSION.  NULL if this header is newer than the library.
#[unsafe(no_mangle)]
pub extern "C" fn dl_config_new(header_version: u32) -> *mut dl_config {
    let none = std::ptr::null_mut;
    guard::catch(
        |_| none(),
        || match header_version {
            0..=VERSION => Box::into_raw(Box::new(dl_config(Options::default()))),
            _ => none(),
        },
    )
}

/// NULL is accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_config_free(cfg: *mut dl_config) {
    guard::catch(
        |_| (),
        || {
            if !cfg.is_null() {
                // SAFETY: made by dl_config_new, and freed once, by the caller's promise.
                drop(unsafe { Box::from_raw(cfg) });
            }
        },
    )
}

/// Sets one option by text.  Checked at once: DL_E_CONFIG, and *err says what is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_config_set(
    cfg: *mut dl_config,
    key: *const c_char,
    value: *const c_char,
    err: *mut dl_error,
) -> dl_status {
    let set = || {
        // SAFETY: NULL or from dl_config_new, and no other thread uses it.
        let Some(dl_config(options)) = (unsafe { cfg.as_mut() }) else {
            return Err(Error::Invalid("cfg is NULL".into()));
        };
        // SAFETY: strings of the caller, for the duration of this call.
        let (key, value) = unsafe { (text::given(key, "key")?, text::given(value, "value")?) };
        options.set(key, value)
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, set) }
}

/// Calls fn here and now for each option there is.  The strings are static.  Without a fn it does
/// nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_options(r#fn: dl_option_fn, user_data: *mut c_void) {
    guard::catch(
        |_| (),
        || {
            let Some(show) = r#fn else { return };
            for option in OPTIONS {
                let [key, kind, preset, doc] =
                    [option.key, option.kind, option.preset, option.doc].map(text::kept);
                // SAFETY: the caller's function, with its pointer; all strings are static.
                call(Context::CALLBACK, "dl_option_fn", || unsafe {
                    show(
                        user_data,
                        key.as_ptr(),
                        kind.as_ptr(),
                        preset.as_ptr(),
                        doc.as_ptr(),
                        option.live.into(),
                    )
                });
            }
        },
    )
}
