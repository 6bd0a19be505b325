//! Read barriers: the engine confirms a Raft index, and when that is committed here the barrier is
//! answered. The engine forgets attempts without a word (no leader, a leader without a committed
//! entry of its term, a lost message), so they are made again until the barrier's time is over.

use std::sync::Arc;

use crate::error::Status;
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::waiters::{Event, Slot, lock};
use crate::types::{Index, RaftIndex};

/// Who waits for a barrier.
pub(super) enum Asker {
    /// A caller.
    Caller(Arc<Slot>),
    /// A callback, by the barrier's number.
    Callback(u64),
}

/// One barrier under way.
pub(super) struct Asked {
    asker: Asker,
    /// Its attempts, the last one last: any answer will do.
    attempts: Vec<u64>,
    /// When to try again, in nanoseconds.
    again: u64,
    /// When it is over, in nanoseconds.
    deadline: u64,
    /// What has to be committed here.
    confirmed: Option<RaftIndex>,
}

impl Driver {
    /// Begins a barrier.
    pub(super) fn ask_engine(&mut self, asker: Asker, deadline: u64, now: u64) {
        if self.stalled.is_some() {
            // The engine waits for the write, and no verb may come in between. A sole voter's answer
            // does not depend on it.
            if !self.has_peers() && self.core.is_ready() {
                return self.answer_barrier(&asker, Status::Ok, self.marks.committed.index);
            }
            let (attempts, confirmed) = (Vec::new(), None);
            return self.asked.push(Asked { asker, attempts, again: now, deadline, confirmed });
        }
        let again = now.saturating_add(self.barrier_ns);
        let attempts = vec![self.core.read_index()];
        self.asked.push(Asked { asker, attempts, again, deadline, confirmed: None });
    }

    /// The engine confirmed attempts.
    pub(super) fn confirm(&mut self, reads: &[(u64, RaftIndex)]) {
        for (attempt, raft_index) in reads {
            let asked = self.asked.iter_mut().find(|asked| asked.attempts.contains(attempt));
            if let Some(asked) = asked {
                asked.confirmed.get_or_insert(*raft_index);
            }
        }
    }

    /// Attempts that got no answer are made again.
    pub(super) fn ask_again(&mut self, now: u64) {
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|asked| now < asked.deadline);
        for asked in &mut asked {
            if asked.confirmed.is_none() && now >= asked.again {
                asked.again = now.saturating_add(self.barrier_ns);
                asked.attempts.push(self.core.read_index());
            }
        }
        self.asked = asked;
    }

    /// When to ask again.
    pub(super) fn next_barrier(&self) -> u64 {
        let open = self.asked.iter().filter(|asked| asked.confirmed.is_none());
        open.map(|asked| asked.again.min(asked.deadline)).min().unwrap_or(NEVER)
    }

    /// Answers what is confirmed and committed here.
    pub(super) fn answer_barriers(&mut self) {
        let (here, index) = (self.committed.raft_index, self.marks.committed.index);
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|asked| {
            let done = asked.confirmed.is_some_and(|confirmed| confirmed <= here);
            if done {
                self.answer_barrier(&asked.asker, Status::Ok, index);
            }
            !done
        });
        self.asked = asked;
    }

    fn answer_barrier(&self, asker: &Asker, status: Status, index: Index) {
        match asker {
            Asker::Caller(slot) => {
                slot.answer(status, index);
            }
            Asker::Callback(number) => {
                let event = Event::ReadIndex { number: *number, status, index };
                lock(&self.shared.inbox).events.push(event);
                self.shared.delivery.ring();
            }
        }
    }
}
