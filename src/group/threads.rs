//! The two threads of a started log: the group thread turns the driver, the callback thread runs
//! the delivery. Neither ever waits for the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::group::clock::NEVER;
use crate::group::delivery::{Delivery, Observer};
use crate::group::driver::{Driver, Next};
use crate::group::network::{Connected, Sockets};
use crate::group::peers::Nobody;
use crate::group::shared::Shared;
use crate::group::waiters::lock;
use crate::spawn::spawn;

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
        connected: Option<Connected>,
        delivery: Option<Delivery>,
        observer: Arc<dyn Observer>,
        held: Option<Arc<dyn Send + Sync>>,
    ) -> Result<Threads> {
        let hears = Arc::new(Mutex::new(Some(observer.clone())));
        let over = Arc::new(AtomicBool::new(false));
        let callbacks = match delivery {
            None => None,
            Some(delivery) => {
                let (shared, over) = (shared.clone(), over.clone());
                let run = move || deliver(&shared, delivery, &*observer, &over);
                Some(spawn("dledger-calls", run)?)
            }
        };
        let heard = hears.clone();
        let for_group = shared.clone();
        let run = move || {
            drive(&for_group, driver, connected, &heard);
            drop(held);
        };
        match spawn("dledger-group", run) {
            Ok(group) => Ok(Threads { group, callbacks, hears, over }),
            Err(error) => {
                end_callbacks(&shared, callbacks, &over);
                Err(error)
            }
        }
    }

    /// Ends them. The group thread was asked to end; `ended` says whether it answered. If not, it
    /// hangs in the system, and is left to itself: it keeps the directory's lock.
    pub fn join(self, shared: &Shared, ended: bool) {
        if ended {
            let _ = self.group.join();
        } else {
            drop(lock(&self.hears).take());
        }
        end_callbacks(shared, self.callbacks, &self.over);
    }
}

fn end_callbacks(shared: &Shared, callbacks: Option<JoinHandle<()>>, over: &AtomicBool) {
    over.store(true, Ordering::SeqCst);
    shared.delivery.ring();
    if let Some(callbacks) = callbacks {
        callbacks.thread().unpark();
        let _ = callbacks.join();
    }
}

fn drive(
    shared: &Shared,
    driver: Driver,
    connected: Option<Connected>,
    hears: &Mutex<Option<Arc<dyn Observer>>>,
) {
    let tell = |starts| {
        if let Some(observer) = &*lock(hears) {
            observer.thread(starts, false);
        }
    };
    tell(true);
    match connected {
        None => drive_alone(shared, driver),
        Some(Connected { runtime, sockets }) => {
            runtime.block_on(drive_connected(shared, driver, sockets));
            // A name that is being resolved may hang for long.
            runtime.shutdown_background();
        }
    }
    tell(false);
}

fn drive_alone(shared: &Shared, mut driver: Driver) {
    let thread = std::thread::current();
    shared.driver.answers(move || thread.unpark());
    driver.start(Box::new(Nobody));
    loop {
        match turn(&mut driver) {
            Next::Now => {}
            Next::Soon(missing) => gather(shared, missing.min(ENOUGH)),
            Next::At(time) => park(shared, time),
            Next::Over => break,
        }
    }
}

/// Between two turns the sockets have theirs.
async fn drive_connected(shared: &Shared, mut driver: Driver, sockets: Sockets) {
    let bell = Arc::new(Notify::new());
    let rung = bell.clone();
    shared.driver.answers(move || rung.notify_one());
    driver.start(Box::new(sockets));
    loop {
        match turn(&mut driver) {
            Next::Now => yield_now().await,
            Next::Soon(missing) => gather_connected(shared, missing.min(ENOUGH)).await,
            Next::At(NEVER) => bell.notified().await,
            Next::At(time) => {
                let left = Duration::from_nanos(time.saturating_sub(shared.clock.now()));
                let _ = timeout(left, bell.notified()).await;
            }
            Next::Over => break,
        }
    }
}

/// A turn; a panic in it ends the log.
fn turn(driver: &mut Driver) -> Next {
    catch_unwind(AssertUnwindSafe(|| driver.turn())).unwrap_or_else(|cause| {
        driver.fail(&Error::Bug(text(&*cause)));
        Next::Now
    })
}

/// Gives appenders the time to stage more, as long as they do. Yields between the looks: each look
/// takes from an appender the cache line that it is about to write.
fn gather(shared: &Shared, enough: u64) {
    let mut gathering = Gathering::new(shared, enough);
    while gathering.goes_on(shared) {
        std::thread::yield_now();
    }
}

/// The same, while the sockets have their turns.
async fn gather_connected(shared: &Shared, enough: u64) {
    let mut gathering = Gathering::new(shared, enough);
    while gathering.goes_on(shared) {
        yield_now().await;
    }
}

struct Gathering {
    /// All that had entered before.
    seen: u64,
    came: u64,
    enough: u64,
    until: u64,
}

impl Gathering {
    fn new(shared: &Shared, enough: u64) -> Gathering {
        let seen = shared.pending.entered();
        Gathering { seen, came: 0, enough, until: shared.clock.now() + QUIET_NS }
    }

    fn goes_on(&mut self, shared: &Shared) -> bool {
        let came = shared.pending.entered() - self.seen;
        let now = shared.clock.now();
        if came > self.came {
            (self.came, self.until) = (came, now + QUIET_NS);
        }
        self.came < self.enough && now < self.until
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
