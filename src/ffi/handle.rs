//! What is behind a `dl_log`: the group, the process it was opened in, and what was registered.
//! Every function gets at it through [`get`] only, which is where misuse ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::callback::Owned;
use super::events::Calls;
use super::guard::{self, Waits};
use super::log::dl_log;
use crate::error::{Error, Result, Status};
use crate::group::Group;

/// What was registered goes first, by [`Handle::release`]: a `drop` may call functions of the log.
pub(super) struct Handle {
    pub(super) generation: u64,
    pub(super) group: Group,
    setup: Mutex<Setup>,
}

/// What is registered between open and start, and what goes with the handle.
#[derive(Default)]
struct Setup {
    calls: Calls,
    started: bool,
    owned: Vec<Owned>,
    hooks: Vec<(u64, Owned)>,
}

impl Handle {
    pub(super) fn new(group: Group) -> Handle {
        Handle { generation: guard::generation(), group, setup: Mutex::default() }
    }

    /// Starts the group with what is registered; from here on registering is refused. The lock is
    /// not held meanwhile: callbacks may come before this returns, and register something.
    pub(super) fn start(&self) -> Result<()> {
        if self.group.failure().is_some() {
            return Err(Error::Status(Status::Failed));
        }
        let calls = {
            let mut setup = self.setup();
            if std::mem::replace(&mut setup.started, true) {
                return Err(Error::Invalid("the log was started before".into()));
            }
            setup.calls
        };
        self.group
            .start(Arc::new(calls), calls.wants_events())
            .inspect_err(|_| self.setup().started = false)
    }

    /// Keeps a callback for [`Handle::start`]. One that it replaces never ran; its `drop` comes
    /// with the others.
    pub(super) fn register(
        &self,
        owned: Owned,
        set: impl FnOnce(&mut Calls),
    ) -> std::result::Result<(), Status> {
        let mut setup = self.setup();
        if setup.started {
            drop(setup); // before `owned`, which calls C
            return Err(Status::Invalid);
        }
        set(&mut setup.calls);
        setup.owned.push(owned);
        Ok(())
    }

    /// Keeps what belongs to hook `id` until it is taken, or as long as the handle.
    pub(super) fn keep_hook(&self, id: u64, owned: Owned) {
        self.setup().hooks.push((id, owned));
    }

    pub(super) fn take_hook(&self, id: u64) -> Option<Owned> {
        let mut setup = self.setup();
        let at = setup.hooks.iter().position(|(kept, _)| *kept == id)?;
        Some(setup.hooks.remove(at).1)
    }

    /// Lets go of all that is registered, one after the other, and refuses to register more. For
    /// dl_close, once the group is stopped and nothing calls it any more: the handle is whole while
    /// C runs, and no lock is held.
    pub(super) fn release(&self) {
        self.setup().started = true;
        while let Some(owned) = self.take_next() {
            drop(owned);
        }
    }

    fn take_next(&self) -> Option<Owned> {
        let mut setup = self.setup();
        if !setup.owned.is_empty() {
            return Some(setup.owned.remove(0));
        }
        if setup.hooks.is_empty() {
            return None;
        }
        let (id, owned) = setup.hooks.remove(0);
        drop(setup);
        let _ = self.group.remove_hook(id);
        Some(owned)
    }

    fn setup(&self) -> MutexGuard<'_, Setup> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle behind the caller's pointer, if this call is allowed here and now.
///
/// # Safety
/// `log` is NULL or came from dl_open, and dl_close does not take it within `'a`.
pub(super) unsafe fn get<'a>(
    log: *mut dl_log,
    waits: Waits,
) -> std::result::Result<&'a Handle, Status> {
    // SAFETY: the caller's promise.
    let Some(dl_log(handle)) = (unsafe { log.as_ref() }) else { return Err(Status::Invalid) };
    if handle.generation != guard::generation() {
        return Err(Status::Forked);
    }
    waits.check()?;
    Ok(handle)
}

/// A status that is no failure is none.
pub(super) fn check(status: Status) -> std::result::Result<(), Status> {
    if status == Status::Ok { Ok(()) } else { Err(status) }
}

/// How long a call may wait; `None` is without limit.
pub(super) fn limit(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != FOREVER).then(|| Duration::from_millis(timeout_ms.into()))
}

/// The same where `None` means the preset: no limit is a time that no process sees the end of.
pub(super) fn long(timeout_ms: u32) -> Duration {
    limit(timeout_ms).unwrap_or(Duration::from_secs(100 * 365 * 24 * 3600))
}

/// DL_FOREVER.
pub(super) const FOREVER: u32 = u32::MAX;
