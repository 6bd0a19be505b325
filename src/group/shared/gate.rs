//! The gate that lets appends in, and its end: what enters before the gate closes is in the inbox,
//! and so is told.

use std::sync::atomic::Ordering;

use crate::error::{Error, Status};
use crate::group::callers::Ended;
use crate::group::shared::{Control, Failure, Life, Shared};
use crate::group::sync;
use crate::group::waiters::{Barrier, Blocked, Event, Inbox, Token};
use crate::types::Index;

impl Shared {
    /// Stops: from here on the gate is closed, and stays closed. True if the log ran, or failed.
    pub fn stops(&self) -> bool {
        let ran = self.moves(Life::Running, Life::Stopped) || self.life() == Life::Failed;
        let _ = self.moves(Life::Open, Life::Stopped);
        let _inbox = self.inbox();
        self.gate.store(0, Ordering::Release);
        ran
    }

    /// The term whose leader takes appends here; 0: none are taken.
    pub fn gate(&self) -> u64 {
        self.gate.load(Ordering::Acquire)
    }

    /// Opens the gate for appends of `term`. False if the log is not running any more: what stops it
    /// moves on in life first, and closes the gate then.
    pub fn open_gate(&self, term: u64) -> bool {
        let _inbox = self.inbox();
        let runs = self.life() == Life::Running;
        if runs {
            self.gate.store(term, Ordering::Release);
        }
        runs
    }

    /// Waiters and events, on their way to the callback thread. Held for short.
    pub fn inbox(&self) -> sync::MutexGuard<'_, Inbox> {
        #[cfg(not(dledger_loom))]
        return sync::lock_soon(&self.inbox);
        #[cfg(dledger_loom)]
        self.inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Why no append is taken while the gate is closed.
    pub fn refusal(&self) -> Status {
        match self.life() {
            Life::Open | Life::Stopped => Status::Stopped,
            Life::Failed => Status::Failed,
            Life::Running => Status::NotLeader,
        }
    }

    /// Stops the log for good. The first cause stays.
    pub fn fail(&self, error: &Error) {
        tracing::error!("the log stops: {error}");
        let _ = self.failure.set(Failure::of(error));
        self.life.store(Life::Failed as u64, Ordering::Release);
    }

    /// A bug showed in a call: the log stops for good, and what waits is told.
    pub fn bug(&self, cause: &str) {
        let error = Error::Bug(format!("a bug in the library: {cause}"));
        self.fail(&error);
        self.end(u64::MAX, Status::Failed);
        self.ask(Control::Fail(error.to_string()));
    }

    /// Closes the gate, and ends the appends of `term` and before that are not committed: nothing
    /// is pushed for these terms afterwards.
    pub fn end(&self, term: u64, status: Status) {
        let mut inbox = self.inbox();
        self.gate.store(0, Ordering::Release);
        let committed = self.marks().committed.index;
        inbox.events.push(Event::Ended { term, status, committed });
        let mut ended = Ended::default();
        inbox.blocked.retain(|blocked| {
            let status = if blocked.end <= committed { Status::Ok } else { status };
            let over = status == Status::Ok || blocked.term <= term;
            if over {
                self.settle(blocked, status, &mut ended);
            }
            !over
        });
        drop(inbox);
        self.callers.wake(ended);
        self.delivery.ring();
    }

    /// Answers callers that block for what is committed now.
    pub fn settle_committed(&self, committed: Index) {
        let mut inbox = self.inbox();
        let mut ended = Ended::default();
        while inbox.blocked.front().is_some_and(|b| b.end <= committed) {
            if let Some(blocked) = inbox.blocked.pop_front() {
                self.settle(&blocked, Status::Ok, &mut ended);
            }
        }
        // Whoever is woken may append anew, and wants the inbox.
        drop(inbox);
        self.callers.wake(ended);
    }

    /// Answers a caller that blocks, unless its own time was over first. It is to be woken.
    fn settle(&self, blocked: &Blocked, status: Status, ended: &mut Ended) {
        if blocked.slot.put(status, blocked.end) {
            self.release(blocked.records, blocked.bytes);
        }
        ended.add(blocked.end);
    }

    /// Asks for a read barrier, for a callback. Under the inbox's lock the log's life is looked at
    /// once more: what ends it changes that and then takes the lock, so no barrier comes after.
    pub fn ask_read_index(&self, token: Token, deadline: u64) -> Result<(), Status> {
        let mut inbox = self.inbox();
        match self.life() {
            Life::Running => {}
            Life::Failed => return Err(Status::Failed),
            Life::Open | Life::Stopped => return Err(Status::Stopped),
        }
        if self.barriers.now() >= self.live.pending_max.load(Ordering::Relaxed) {
            return Err(Status::PendingFull);
        }
        self.barriers.enter(1);
        let number = inbox.barriers_made;
        inbox.barriers_made += 1;
        inbox.barriers.push(Barrier { number, token, deadline });
        drop(inbox);
        if deadline < self.armed.load(Ordering::SeqCst) {
            self.delivery.ring();
        }
        self.ask(Control::ReadIndexAsync(number, deadline));
        Ok(())
    }
}
