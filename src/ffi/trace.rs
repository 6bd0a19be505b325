//! Diagnostics: what the crate says through `tracing` goes to one C function. A subscriber of ours
//! is installed once; where its events go changes under a lock that each of them shares, so that a
//! function which was replaced runs no more when dl_set_trace returns.

use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Once, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Subscriber, set_global_default};
use tracing::{Event, Level, Metadata};

use super::callback::{Owned, UserData, call};
use super::guard::{self, Context};
use super::status::dl_status;
use super::types::{
    DL_LEVEL_DEBUG, DL_LEVEL_ERROR, DL_LEVEL_INFO, DL_LEVEL_TRACE, DL_LEVEL_WARN, dl_drop_fn,
};
use crate::error::Status;

/// The one callback that comes from ANY library thread, and from inside your own calls, several
/// at once.  It must call no dl_ function.  `message` is UTF-8 of `len` bytes, not
/// NUL-terminated, for the duration of the call, and so is `target`, which is NUL-terminated.
pub type dl_trace_fn = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        level: u32,
        target: *const c_char,
        message: *const c_char,
        len: usize,
    ),
>;

/// Diagnostics up to `level`, for the whole process, at any time.  fn NULL turns it off; when
/// dl_set_trace returns, the function before runs no more.  In a dl_trace_fn or a hook:
/// DL_E_DEADLOCK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_set_trace(
    level: u32,
    r#fn: dl_trace_fn,
    user_data: *mut c_void,
    drop: dl_drop_fn,
) -> dl_status {
    guard::status(|| {
        let owned = Owned::new(user_data, drop);
        if Context::any(&[Context::TRACE, Context::HOOK]) {
            return Err(Status::Deadlock);
        }
        let sink = match r#fn {
            Some(_) if !(DL_LEVEL_ERROR..=DL_LEVEL_TRACE).contains(&level) => {
                return Err(Status::Invalid);
            }
            Some(_) => Some(Sink { call: r#fn, user_data: UserData(user_data), _owned: owned }),
            None => None, // `owned` is not needed: dropped at the end of this call
        };
        install()?;
        let _before = {
            let mut current = outlet().sink.write().unwrap_or_else(PoisonError::into_inner);
            LEVEL.store(if sink.is_some() { level } else { OFF }, Ordering::Relaxed);
            std::mem::replace(&mut *current, sink)
        };
        tracing::callsite::rebuild_interest_cache();
        Ok(()) // and the `drop` of the function before is called, outside the lock
    })
}

/// Where events go.
struct Sink {
    call: dl_trace_fn,
    user_data: UserData,
    _owned: Owned,
}

/// What is current in this process. A forked child gets an empty one of its own: in the parent's
/// some thread that it does not have may hold the lock.
struct Outlet {
    generation: u64,
    sink: RwLock<Option<Sink>>,
}

fn outlet() -> &'static Outlet {
    loop {
        let current = OUTLET.load(Ordering::Acquire);
        // SAFETY: NULL, or leaked below and never freed.
        match unsafe { current.as_ref() } {
            Some(outlet) if outlet.generation == guard::generation() => return outlet,
            _ => {}
        }
        let fresh = Outlet { generation: guard::generation(), sink: RwLock::new(None) };
        let fresh = Box::into_raw(Box::new(fresh));
        if OUTLET.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// Makes ours the one subscriber of the process. A Rust program that links this crate may have set
/// its own before: then diagnostics are there already, and not for us to take.
fn install() -> Result<(), Status> {
    static ONCE: Once = Once::new();
    static OURS: AtomicU32 = AtomicU32::new(0);
    ONCE.call_once(|| {
        OURS.store(set_global_default(Forward).is_ok().into(), Ordering::Relaxed);
    });
    match OURS.load(Ordering::Relaxed) {
        0 => Err(Status::Unsupported),
        _ => guard::watch_forks().map_err(|error| error.status()),
    }
}

/// The subscriber: events only, spans have no meaning here.
struct Forward;

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            OFF => LevelFilter::OFF,
            DL_LEVEL_ERROR => LevelFilter::ERROR,
            DL_LEVEL_WARN => LevelFilter::WARN,
            DL_LEVEL_INFO => LevelFilter::INFO,
            DL_LEVEL_DEBUG => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        // What a trace function causes would come back to it, and wait for its own lock.
        if Context::any(&[Context::TRACE]) {
            return;
        }
        let sink = outlet().sink.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Sink { call: Some(trace), user_data, .. }) = &*sink else { return };
        let mut message = Message::default();
        event.record(&mut message);
        let text = message.text + &message.fields;
        let target = CString::new(event.metadata().target()).unwrap_or_default();
        let level = number(event.metadata().level());
        // SAFETY: the registered function, with its pointer; the texts live until it returns.
        call(Context::TRACE, "dl_trace_fn", || unsafe {
            trace(user_data.0, level, target.as_ptr(), text.as_ptr().cast(), text.len())
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The text of one event: its message, and then ` name=value` for each field.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

fn number(level: &Level) -> u32 {
    match *level {
        Level::ERROR => DL_LEVEL_ERROR,
        Level::WARN => DL_LEVEL_WARN,
        Level::INFO => DL_LEVEL_INFO,
        Level::DEBUG => DL_LEVEL_DEBUG,
        Level::TRACE => DL_LEVEL_TRACE,
    }
}

/// No level: nothing is wanted.
const OFF: u32 = 0;

/// The current level. Beside the lock, so that what is not wanted costs one load.
static LEVEL: AtomicU32 = AtomicU32::new(OFF);

static OUTLET: AtomicPtr<Outlet> = AtomicPtr::new(null_mut());
