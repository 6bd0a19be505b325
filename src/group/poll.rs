//! Callbacks by polling: the broker's own thread runs what is due. One descriptor is readable
//! while something is: an epoll set of an event counter, which the group thread raises, and a
//! timer, which stands at the earliest timeout, so that timeouts hold while the group thread hangs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::error::{Error, Result, Status};
use crate::group::clock::NEVER;
use crate::group::delivery::Delivery;
use crate::group::shared::{Life, Shared};
use crate::group::waiters::lock;

/// The poll side of one log.
pub struct Poller {
    shared: Arc<Shared>,
    delivery: Mutex<Option<Delivery>>,
    set: OwnedFd,
    due: Arc<OwnedFd>,
    timer: OwnedFd,
    closed: AtomicBool,
    /// Calls of [`Poller::poll`] that have not returned.
    inside: AtomicU32,
}

impl Poller {
    /// The descriptors.
    pub fn new(shared: Arc<Shared>) -> Result<Poller> {
        let make = || -> rustix::io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
            let due = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            for fd in [&due, &timer] {
                epoll::add(&set, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
            }
            Ok((set, due, timer))
        };
        let (set, due, timer) =
            make().map_err(|e| Error::Resource { what: "a descriptor", source: e.into() })?;
        let due = Arc::new(due);
        let raised = due.clone();
        shared.delivery.answers(move || raise(&raised));
        let (delivery, closed) = (Mutex::new(None), AtomicBool::new(false));
        let inside = AtomicU32::new(0);
        Ok(Poller { shared, delivery, set, due, timer, closed, inside })
    }

    /// The log is started: this is what `poll` runs.
    pub fn start(&self, delivery: Delivery) {
        *lock(&self.delivery) = Some(delivery);
        raise(&self.due);
    }

    /// The descriptor to watch.
    pub fn fd(&self) -> i32 {
        self.set.as_raw_fd()
    }

    /// Runs what is due, at most `max` (0: all); waits up to `timeout` for the first.
    pub fn poll(&self, timeout: Option<Duration>, max: u32) -> std::result::Result<u32, Status> {
        let _inside = Inside::new(&self.inside);
        let deadline = self.shared.clock.deadline(timeout);
        loop {
            {
                let mut delivery = self.try_delivery()?;
                if self.closed.load(Ordering::SeqCst) {
                    return Err(Status::Stopped);
                }
                let Some(delivery) = &mut *delivery else {
                    return Err(self.shared.refusal());
                };
                let ran = self.run(delivery, max);
                if ran > 0 {
                    return Ok(ran);
                }
            }
            let left = deadline.saturating_sub(self.shared.clock.now());
            if left == 0 {
                return Ok(0);
            }
            self.wait(left);
        }
    }

    /// Nobody polls from here on: what is left runs in the stop.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        raise(&self.due);
    }

    /// Runs what is due, in the stop; waits for a `poll` that is running.
    pub fn run_at_stop(&self) {
        if let Some(delivery) = &mut *lock(&self.delivery) {
            self.run(delivery, 0);
        }
    }

    /// Runs the last ones, lets go of them, and waits until nobody is in `poll`.
    pub fn finish(&self) {
        self.run_at_stop();
        drop(lock(&self.delivery).take());
        raise(&self.due);
        while self.inside.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(LEAVES);
        }
    }

    fn try_delivery(&self) -> std::result::Result<MutexGuard<'_, Option<Delivery>>, Status> {
        match self.delivery.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) if self.closed.load(Ordering::SeqCst) => {
                Err(Status::Stopped)
            }
            Err(TryLockError::WouldBlock) => Err(Status::Invalid),
        }
    }

    /// Clears the counter first, then looks: what comes meanwhile raises it again.
    fn run(&self, delivery: &mut Delivery, max: u32) -> u32 {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.due, &mut count);
        self.shared.delivery.heard();
        let ran = delivery.run(max);
        if delivery.has_due() {
            raise(&self.due);
        } else {
            match delivery.next_look() {
                Some(time) => self.set_timer(time),
                None => raise(&self.due),
            }
        }
        ran
    }

    fn set_timer(&self, time: u64) {
        let left = match time {
            NEVER => 0,
            time => time.saturating_sub(self.shared.clock.now()).max(1),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            tv_nsec: (left % 1_000_000_000) as _,
        };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        let _ = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec);
    }

    fn wait(&self, left: u64) {
        let mut fds = [PollFd::from_borrowed_fd(self.set.as_fd(), PollFlags::IN)];
        let left = left.min(LONGEST_WAIT);
        let left = Timespec {
            tv_sec: (left / 1_000_000_000) as i64,
            tv_nsec: (left % 1_000_000_000) as _,
        };
        let _ = rustix::event::poll(&mut fds, Some(&left));
    }
}

/// A call of [`Poller::poll`], however it ends.
struct Inside<'a>(&'a AtomicU32);

impl Inside<'_> {
    fn new(inside: &AtomicU32) -> Inside<'_> {
        inside.fetch_add(1, Ordering::SeqCst);
        Inside(inside)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        debug_assert!(self.shared.life() != Life::Running);
    }
}

fn raise(due: &OwnedFd) {
    // Full means raised.
    let _ = rustix::io::write(due, &1u64.to_ne_bytes());
}

/// How often it is looked whether a poller has left.
const LEAVES: Duration = Duration::from_micros(100);
/// One wait in the system.
const LONGEST_WAIT: u64 = 3_600_000_000_000;
