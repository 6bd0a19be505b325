//! The two threads of a started log: the group thread turns the driver, the callback thread runs
//! the delivery. Neither ever waits for the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::group::clock::NEVER;
use crate::group::delivery::{Delivery, Observer};
use crate::group::driver::{Driver, Next};
use crate::group::shared::Shared;
use crate::group::waiters::lock;

/// The threads of a log.
pub struct Threads {
    group: JoinHandle<()>,
    callbacks: Option<JoinHandle<()>>,
    /// Who hears that the group thread ends; nobody any more once a stop gave up on it.
    hears: Arc<Mutex<Option<Arc<dyn Observer>>>>,
    over: Arc<AtomicBool>,
}

impl Threads {
    /// Starts them. `held` is the directory's lock: the group thread keeps it as long as it may
    /// write.
    pub fn spawn(
        shared: Arc<Shared>,
        driver: Driver,
        delivery: Option<Delivery>,
        observer: Arc<dyn Observer>,
        held: Option<Arc<dyn Send + Sync>>,
    ) -> Result<Threads> {
        let hears = Arc::new(Mutex::new(Some(observer.clone())));
        let over = Arc::new(AtomicBool::new(false));
        let failed = |source| Error::Resource { what: "a thread", source };
        let callbacks = match delivery {
            None => None,
            Some(delivery) => {
                let (shared, over) = (shared.clone(), over.clone());
                let run = move || deliver(&shared, delivery, &*observer, &over);
                Some(Builder::new().name("dledger-calls".into()).spawn(run).map_err(failed)?)
            }
        };
        let heard = hears.clone();
        let run = move || {
            drive(&shared, driver, &heard);
            drop(held);
        };
        let group = Builder::new().name("dledger-group".into()).spawn(run).map_err(failed)?;
        Ok(Threads { group, callbacks, hears, over })
    }

    /// Ends them. The group thread was asked to end; `ended` says whether it answered. If not, it
    /// hangs in the system, and is left to itself: it keeps the directory's lock.
    pub fn join(self, shared: &Shared, ended: bool) {
        if ended {
            let _ = self.group.join();
        } else {
            drop(lock(&self.hears).take());
        }
        self.over.store(true, Ordering::SeqCst);
        shared.delivery.ring();
        if let Some(callbacks) = self.callbacks {
            callbacks.thread().unpark();
            let _ = callbacks.join();
        }
    }
}

fn drive(shared: &Shared, mut driver: Driver, hears: &Mutex<Option<Arc<dyn Observer>>>) {
    let tell = |starts| {
        if let Some(observer) = &*lock(hears) {
            observer.thread(starts, false);
        }
    };
    let thread = std::thread::current();
    shared.driver.answers(move || thread.unpark());
    tell(true);
    driver.start();
    loop {
        match catch_unwind(AssertUnwindSafe(|| driver.turn())) {
            Ok(Next::Now) => {}
            Ok(Next::Soon(missing)) => gather(shared, missing.min(ENOUGH)),
            Ok(Next::At(time)) => park(shared, time),
            Ok(Next::Over) => break,
            Err(cause) => driver.fail(&Error::Bug(text(&*cause))),
        }
    }
    drop(driver);
    tell(false);
}

/// Gives appenders the time to stage more, as long as they do. Yields between the looks: each look
/// takes from an appender the cache line that it is about to write.
fn gather(shared: &Shared, enough: u64) {
    let seen = shared.pending.entered();
    let (mut came, mut until) = (0, shared.clock.now() + QUIET_NS);
    while came < enough && shared.clock.now() < until {
        std::thread::yield_now();
        let more = shared.pending.entered() - seen;
        if more > came {
            (came, until) = (more, shared.clock.now() + QUIET_NS);
        }
    }
}

fn deliver(shared: &Shared, mut delivery: Delivery, observer: &dyn Observer, over: &AtomicBool) {
    let thread = std::thread::current();
    shared.delivery.answers(move || thread.unpark());
    observer.thread(true, true);
    loop {
        shared.delivery.heard();
        let last = over.load(Ordering::SeqCst);
        if delivery.run(0) > 0 {
            continue;
        }
        if last {
            break;
        }
        if let Some(time) = delivery.next_look() {
            park(shared, time);
        }
    }
    observer.thread(false, true);
}

fn park(shared: &Shared, time: u64) {
    if time == NEVER {
        return std::thread::park();
    }
    let left = time.saturating_sub(shared.clock.now());
    if left > 0 {
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}

/// What a panic said.
fn text(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
    format!("a bug in the library: {}", text.unwrap_or_else(|| "a panic without words".into()))
}

/// So long without a new record is the end of it: a fraction of what a sync takes.
const QUIET_NS: u64 = 20_000;
/// So many records are worth a write of their own.
const ENOUGH: u64 = 128;
