//! Callbacks by polling, and metrics.

use std::ffi::{CString, c_char, c_void};

use super::callback::call;
use super::guard::{self, Context, Waits};
use super::handle;
use super::log::dl_log;
use super::status::dl_status;
use super::text;
use crate::error::Status;
use crate::group::Metric;

/// With callbacks=poll: runs callbacks that are due, here, and waits up to timeout_ms for the
/// first.  max 0 = all.  Returns how many completions, events and read barriers it told (not how
/// many calls told them), or a dl_status (DL_E_STOPPED before dl_start and after dl_stop).  One
/// thread at a time (DL_E_INVALID while another runs callbacks), and not in a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_poll(log: *mut dl_log, timeout_ms: u32, max: u32) -> i32 {
    number(|| {
        // SAFETY: the header's rules for `log`. Inside a callback it would wait for itself.
        let handle = unsafe { handle::get(log, Waits::Yes) }?;
        let ran = handle.group.poll(handle::limit(timeout_ms), max)?;
        Ok(i32::try_from(ran).unwrap_or(i32::MAX))
    })
}

/// A descriptor that is readable while callbacks are due; for epoll and the like.  Owned by the
/// log.  A dl_status if there is none: DL_E_INVALID with callbacks=thread, as dl_poll() answers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_poll_fd(log: *mut dl_log) -> i32 {
    number(|| {
        // SAFETY: the header's rules for `log`.
        unsafe { handle::get(log, Waits::No) }?.group.poll_fd()
    })
}

/// One figure.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_metric {
    /// Out: sizeof(dl_metric) in the library.
    pub size: u32,
    /// 1: only grows; 0: a gauge.
    pub counter: u32,
    /// "append_commit_seconds"; static.
    pub name: *const c_char,
    /// Static.
    pub help: *const c_char,
    /// `quantile="0.99"`, or "".
    pub label: *const c_char,
    pub value: f64,
}

/// Called for one metric; *m is valid for that call.
pub type dl_metric_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, m: *const dl_metric)>;

/// Calls fn here and now for each metric; cheap enough for every scrape.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_metrics(
    log: *mut dl_log,
    r#fn: dl_metric_fn,
    user_data: *mut c_void,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        let show = r#fn.ok_or(Status::Invalid)?;
        // Collected first: no lock of the group is held while C runs.
        let mut metrics = Vec::new();
        handle.group.metrics(&mut |metric: &Metric| {
            let label = CString::new(metric.label).unwrap_or_default();
            let texts = (text::kept(metric.name), text::kept(metric.help), label);
            metrics.push((texts, metric.counter, metric.value));
        });
        for ((name, help, label), counter, value) in &metrics {
            let shown = dl_metric {
                size: size_of::<dl_metric>() as u32,
                counter: (*counter).into(),
                name: name.as_ptr(),
                help: help.as_ptr(),
                label: label.as_ptr(),
                value: *value,
            };
            // SAFETY: the caller's function, with its pointer; `shown` lives until it returns.
            call(Context::CALLBACK, "dl_metric_fn", || unsafe { show(user_data, &shown) });
        }
        Ok(())
    })
}

/// The guard of functions that answer a number or a status.
fn number(f: impl FnOnce() -> Result<i32, Status>) -> i32 {
    let mut answer = 0;
    match guard::status(|| f().map(|number| answer = number)) {
        0 => answer,
        status => status,
    }
}
