//! Read barriers: the engine confirms a Raft index, and when that is committed here the barrier is
//! answered. The engine forgets attempts without a word (no leader, a leader without a committed
//! entry of its term, a lost message), so they are made again until the barrier's time is over.

use std::sync::Arc;

use crate::error::Status;
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::waiters::{Event, Slot};
use crate::plant::Plant;
use crate::types::{Index, RaftIndex};

/// Who waits for a barrier.
pub(super) enum Asker {
    /// A caller.
    Caller(Arc<Slot>),
    /// A callback, by the barrier's number.
    Callback(u64),
}

/// Barriers that were asked for in one turn, under way together: what confirms one confirms all.
pub(super) struct Asked {
    /// Each with when it is over, in nanoseconds.
    askers: Vec<(Asker, u64)>,
    /// No asker is over before, in nanoseconds.
    earliest: u64,
    /// Their attempts, the last one last: any answer will do.
    attempts: Vec<u64>,
    /// When to try again, in nanoseconds.
    again: u64,
    /// What has to be committed here.
    confirmed: Option<RaftIndex>,
    /// The first attempt has not left this member: whoever asks now may join.
    joins: bool,
}

impl Driver {
    /// Begins a barrier.
    pub(super) fn ask_engine(&mut self, asker: Asker, deadline: u64, now: u64) {
        // A sole voter's answer does not depend on a write that the engine waits for.
        if self.stalled.is_some() && !self.has_peers() && self.core.is_ready() {
            return self.answer_barrier(&asker, Status::Ok, self.marks.committed.index);
        }
        if let Some(last) = self.asked.last_mut().filter(|asked| asked.joins) {
            last.askers.push((asker, deadline));
            last.earliest = last.earliest.min(deadline);
            return;
        }
        // The engine waits for the write, and no verb may come in between: it is asked again.
        let (attempts, again) = if self.stalled.is_some() {
            (Vec::new(), now)
        } else {
            (vec![self.core.read_index()], now.saturating_add(self.barrier_ns))
        };
        let (askers, earliest) = (vec![(asker, deadline)], deadline);
        self.asked.push(Asked { askers, earliest, attempts, again, confirmed: None, joins: true });
    }

    /// What was asked for in the turns before may have been sent: nobody joins it any more.
    pub(super) fn close_barriers(&mut self) {
        if let Some(last) = self.asked.last_mut() {
            last.joins = self.plants.on(Plant::BarrierJoinsLate);
        }
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
        asked.retain_mut(|asked| {
            if asked.earliest <= now {
                asked.askers.retain(|(_, deadline)| now < *deadline);
                let deadlines = asked.askers.iter().map(|(_, deadline)| *deadline);
                asked.earliest = deadlines.min().unwrap_or(NEVER);
            }
            !asked.askers.is_empty()
        });
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
        open.map(|asked| asked.again.min(asked.earliest)).min().unwrap_or(NEVER)
    }

    /// Answers what is confirmed and committed here.
    pub(super) fn answer_barriers(&mut self) {
        let (here, index) = (self.committed.raft_index, self.marks.committed.index);
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|asked| {
            let done = asked.confirmed.is_some_and(|confirmed| confirmed <= here);
            if done {
                for (asker, _) in &asked.askers {
                    self.answer_barrier(asker, Status::Ok, index);
                }
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
                self.shared.inbox().events.push(event);
                self.shared.delivery.ring();
            }
        }
    }
}
