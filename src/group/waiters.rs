//! Who waits for the end of an append. Appenders put themselves into the inbox under its short
//! lock, in index order; the callback thread (or `poll`) takes them out and keeps them until they
//! are committed, ended or timed out, also while the group thread hangs in a sync.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Status;
use crate::group::clock::NEVER;
use crate::group::shared::State;
use crate::types::Index;

/// What the layer above wants back with a completion. The group never looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// The function to call; 0 for none of its own.
    pub call: usize,
    /// For the function.
    pub user_data: usize,
}

/// The end of one append.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// As given with the append.
    pub token: Token,
    /// [`Status::Ok`]: committed.
    pub status: Status,
    /// Records of the call.
    pub count: u32,
    /// Its first record.
    pub index: Index,
    /// Raft term of the leader that took it.
    pub term: u64,
    /// Position of its first record.
    pub pos: u64,
}

/// One append that waits for a callback.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// What to report.
    pub completion: Completion,
    /// Bytes of its records, with headers.
    pub bytes: u64,
    /// When it was appended, in nanoseconds.
    pub since: u64,
    /// When it times out, in nanoseconds.
    pub deadline: u64,
}

impl Waiter {
    /// The index behind its last record: committed there, it is committed.
    pub fn end(&self) -> Index {
        self.completion.index + u64::from(self.completion.count)
    }
}

/// One append whose caller blocks.
pub struct Blocked {
    /// The index behind its last record.
    pub end: Index,
    /// The term it was staged in.
    pub term: u64,
    /// How many records.
    pub records: u64,
    /// Bytes of its records, with headers.
    pub bytes: u64,
    /// Where the caller waits.
    pub slot: Arc<Slot>,
}

/// What happens to a log, in order, with the appends it ends.
#[derive(Clone, Debug)]
pub enum Event {
    /// Every append of this term and before that is not committed below the index is over.
    Ended {
        /// The last term that is over.
        term: u64,
        /// Why.
        status: Status,
        /// What was committed then.
        committed: Index,
    },
    /// Something changed: the bits of `what`, and how things are.
    State {
        /// See [`events`](crate::group::events).
        what: u32,
        /// Now.
        now: State,
    },
    /// A read barrier that was asked for without waiting.
    ReadIndex {
        /// Which: see [`Barrier`].
        number: u64,
        /// How it ended.
        status: Status,
        /// Everything below is covered.
        index: Index,
    },
}

/// What comes to the callback thread, in one order.
#[derive(Default)]
pub struct Inbox {
    /// In index order.
    pub waiters: Vec<Waiter>,
    /// In order; an append that an event ends was in `waiters` before it.
    pub events: Vec<Event>,
    /// Callers that block, in index order.
    pub blocked: VecDeque<Blocked>,
    /// Read barriers for a callback.
    pub barriers: Vec<Barrier>,
    /// How many there ever were.
    pub barriers_made: u64,
}

/// One read barrier that waits for a callback. As an append it ends by its answer, by its time or
/// with the log, whichever comes first, also while the group thread hangs.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    /// Its number.
    pub number: u64,
    /// As given.
    pub token: Token,
    /// When it times out, in nanoseconds.
    pub deadline: u64,
}

/// Waiters that were taken from the inbox.
#[derive(Default)]
pub struct Waiters {
    queue: VecDeque<Waiter>,
    /// No waiter has an earlier deadline; it may be lower than need be.
    earliest: u64,
}

impl Waiters {
    /// None.
    pub fn new() -> Waiters {
        Waiters { queue: VecDeque::new(), earliest: NEVER }
    }

    /// Adds waiters behind those there are.
    pub fn add(&mut self, waiters: &mut Vec<Waiter>) {
        for waiter in waiters.drain(..) {
            self.earliest = self.earliest.min(waiter.deadline);
            self.queue.push_back(waiter);
        }
        if self.queue.is_empty() {
            self.earliest = NEVER;
        }
    }

    /// The moment to look again for timeouts.
    pub fn earliest(&self) -> u64 {
        if self.queue.is_empty() { NEVER } else { self.earliest }
    }

    /// Takes out the first waiter if all its records lie below `committed`.
    pub fn pop_committed(&mut self, committed: Index) -> Option<Waiter> {
        if self.queue.front()?.end() > committed {
            return None;
        }
        self.queue.pop_front()
    }

    /// Takes out those whose time is over, wherever they stand. Scans, but rarely: most appends
    /// have the same timeout.
    pub fn expire(&mut self, now: u64, mut each: impl FnMut(Waiter)) {
        if now < self.earliest {
            return;
        }
        let mut earliest = NEVER;
        self.queue.retain(|waiter| {
            let over = waiter.deadline <= now;
            if over {
                each(*waiter);
            } else {
                earliest = earliest.min(waiter.deadline);
            }
            !over
        });
        self.earliest = earliest;
    }

    /// Takes out those of `term` and before.
    pub fn end(&mut self, term: u64, mut each: impl FnMut(Waiter)) {
        self.queue.retain(|waiter| {
            let over = waiter.completion.term <= term;
            if over {
                each(*waiter);
            }
            !over
        });
    }
}

/// Where one caller blocks for one answer.
#[derive(Default)]
pub struct Slot {
    answer: Mutex<Option<(Status, Index)>>,
    there: Condvar,
}

impl Slot {
    /// Gives the answer, once; later ones are ignored. True if it was the first.
    pub fn answer(&self, status: Status, index: Index) -> bool {
        let first = self.put(status, index);
        if first {
            self.there.notify_one();
        }
        first
    }

    /// The same for a caller that is woken elsewhere: see [`Callers`](crate::group::callers).
    pub fn put(&self, status: Status, index: Index) -> bool {
        let mut answer = lock(&self.answer);
        let first = answer.is_none();
        if first {
            *answer = Some((status, index));
        }
        first
    }

    /// Whether the answer is there.
    pub fn is_answered(&self) -> bool {
        lock(&self.answer).is_some()
    }

    /// Waits for the answer; [`Status::TimedOut`] counts as the answer when the time is over.
    pub fn wait(&self, timeout: Option<Duration>) -> (Status, Index) {
        let answer = lock(&self.answer);
        let mut answer = match timeout {
            None => self
                .there
                .wait_while(answer, |a| a.is_none())
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.there
                    .wait_timeout_while(answer, timeout, |a| a.is_none())
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        *answer.get_or_insert((Status::TimedOut, Index(0)))
    }

    /// Waits for the answer for a moment, without giving one.
    pub fn look(&self, moment: Duration) -> Option<(Status, Index)> {
        let answer = lock(&self.answer);
        let answer = self.there.wait_timeout_while(answer, moment, |a| a.is_none());
        *answer.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The answer, or that the time is over, which counts as the answer then.
    pub fn over(&self) -> (Status, Index) {
        *lock(&self.answer).get_or_insert((Status::TimedOut, Index(0)))
    }

    /// Makes it ready for another question.
    pub fn clear(&self) {
        *lock(&self.answer) = None;
    }
}

/// Locks; a panic elsewhere while the lock was held has been dealt with there.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
