//! Handing the leadership over. First no append is taken any more; when all that was staged is
//! proposed and agreed, the engine is asked; and then each step shows what became of it. Nothing is
//! proposed while the engine is at it: it would be dropped, and all that is staged behind it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft::StateRole;
use tracing::info;

use crate::error::Status;
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::waiters::Slot;
use crate::types::Index;

/// One transfer under way.
pub(super) struct Transfer {
    /// Who waits for it, if anybody still does.
    asker: Option<Arc<Slot>>,
    /// When the asker's time is over, in nanoseconds.
    deadline: u64,
    to: u64,
    /// The leadership that is handed over.
    term: u64,
    /// When this leadership gives it up, in nanoseconds.
    until: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No append is taken; what is proposed has to be agreed.
    Closed,
    /// The engine was asked.
    Asked,
    /// This leadership is over; who leads now is what the asker waits for.
    Left,
}

/// Who should lead, as far as this member knows.
#[derive(Default)]
pub(super) struct Preference {
    /// `node.priority` of the others.
    priorities: BTreeMap<u64, u32>,
    /// When the leadership was last offered to each, in nanoseconds.
    offered: BTreeMap<u64, u64>,
}

impl Driver {
    /// Answers at once what cannot be, and begins what can.
    pub(super) fn begin_transfer(&mut self, slot: &Arc<Slot>, to: u64, deadline: u64, now: u64) {
        match self.transfer_target(to) {
            Ok(to) if to == self.shared.node => {
                slot.answer(Status::Ok, Index(0));
            }
            Ok(to) => self.close(Some(slot.clone()), to, deadline, now),
            Err(status) => {
                slot.answer(status, Index(0));
            }
        }
    }

    fn transfer_target(&self, to: u64) -> Result<u64, Status> {
        if self.core.state() != StateRole::Leader {
            return Err(Status::NotLeader);
        }
        if self.transfer.is_some() {
            return Err(Status::ChangePending);
        }
        // Who votes in the old part of a joint state only is about to lose its vote.
        let voters = &self.core.log().meta().members.voters;
        if to != 0 {
            return if voters.contains(&to) { Ok(to) } else { Err(Status::NoMember) };
        }
        let others = voters.iter().filter(|id| **id != self.shared.node);
        let best = |id: &&u64| (self.core.matched(**id), self.priority_of(**id), Reverse(**id));
        others.max_by_key(best).copied().ok_or(Status::NoMember)
    }

    /// From here on appends are refused, under the append lock.
    fn close(&mut self, asker: Option<Arc<Slot>>, to: u64, deadline: u64, now: u64) {
        info!("handing the leadership over to member {to}");
        self.shared.transferring.store(true, Ordering::SeqCst);
        let (term, phase) = (self.core.term(), Phase::Closed);
        let until = now.saturating_add(self.election_ns).min(deadline);
        self.transfer = Some(Transfer { asker, deadline, to, term, until, phase });
    }

    /// Asks the engine when nothing is left to be agreed. Not while a write waits for room.
    pub(super) fn hand_over(&mut self, now: u64) {
        let closed = self.transfer.as_ref().is_some_and(|t| t.phase == Phase::Closed);
        if !closed || !self.all_is_agreed() {
            return;
        }
        let Some(transfer) = &mut self.transfer else { return };
        self.core.transfer(transfer.to);
        transfer.phase = Phase::Asked;
        transfer.until = now.saturating_add(self.election_ns);
    }

    /// Whether all that was staged is proposed, and all that is proposed is agreed. Who holds the
    /// append lock may have passed before it was closed.
    fn all_is_agreed(&self) -> bool {
        let proposed = self.proposed == self.block.pieces.len() && self.sealed.is_empty();
        proposed
            && self.core.committed() == self.core.last()
            && self.shared.staging.try_lock().is_ok_and(|staging| staging.is_empty())
    }

    /// Looks what became of the transfer: after each step, as a leadership may be lost and won
    /// within one turn.
    pub(super) fn watch_transfer(&mut self) {
        let Some(transfer) = &mut self.transfer else { return };
        let now = self.shared.clock.now();
        let leads = self.core.state() == StateRole::Leader && self.core.term() == transfer.term;
        if !leads && transfer.phase != Phase::Left {
            transfer.phase = Phase::Left;
            self.shared.transferring.store(false, Ordering::SeqCst);
        }
        let status = match transfer.phase {
            Phase::Closed | Phase::Asked if now >= transfer.until => Some(Status::TimedOut),
            Phase::Asked if self.core.transferee() == 0 => Some(Status::TimedOut),
            Phase::Closed | Phase::Asked => None,
            Phase::Left => match self.core.leader() {
                _ if transfer.asker.is_none() => Some(Status::Ok),
                0 => None,
                leader if leader == transfer.to => Some(Status::Ok),
                // It was lost, and won again.
                leader if leader == self.shared.node => Some(Status::TimedOut),
                _ => Some(Status::NotLeader),
            },
        };
        if let Some(status) = status {
            self.end_transfer(status);
        } else if now >= transfer.deadline {
            // The engine goes on by itself.
            transfer.deadline = NEVER;
            if let Some(asker) = transfer.asker.take() {
                asker.answer(Status::TimedOut, Index(0));
            }
        }
    }

    fn end_transfer(&mut self, status: Status) {
        let Some(transfer) = self.transfer.take() else { return };
        if transfer.phase != Phase::Left {
            info!("the leadership is not handed over to member {}", transfer.to);
            self.core.give_up_transfer();
            self.shared.transferring.store(false, Ordering::SeqCst);
        }
        self.handed_over.extend(transfer.asker.map(|asker| (asker, status)));
    }

    /// Tells who asked for a transfer that is over, once what is published says so, too.
    pub(super) fn tell_handed_over(&mut self) {
        for (asker, status) in self.handed_over.drain(..) {
            asker.answer(status, Index(0));
        }
    }

    /// Whether this leadership is being handed over: so long no append is taken.
    pub fn hands_over(&self) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.phase != Phase::Left)
    }

    /// The log ends, and with it what was asked of the leader.
    pub(super) fn end_asked(&mut self, status: Status) {
        self.end_transfer(status);
        self.end_change(status);
    }

    /// When to look again at what was asked of the leader, in nanoseconds.
    pub(super) fn next_asked(&self) -> u64 {
        let transfer = self.transfer.as_ref().map_or(NEVER, |t| match t.phase {
            Phase::Closed | Phase::Asked => t.until.min(t.deadline),
            Phase::Left => t.deadline,
        });
        transfer.min(self.changing.as_ref().map_or(NEVER, |changing| changing.deadline))
    }

    /// A member's `node.priority`, as it told.
    pub(super) fn note_priority(&mut self, id: u64, priority: u32) {
        self.preference.priorities.insert(id, priority);
    }

    fn priority_of(&self, id: u64) -> u32 {
        self.preference.priorities.get(&id).copied().unwrap_or(0)
    }

    /// A leader hands over to a voter of higher priority that is there and has nearly all. Equal
    /// ones never move it, so it comes to rest; and who does not take it is not asked again soon.
    pub(super) fn prefer(&mut self, now: u64) {
        if !self.core.is_ready() || self.transfer.is_some() || self.changing.is_some() {
            return;
        }
        if self.stopping || self.core.has_pending_change() {
            return;
        }
        let last = self.core.last();
        let voters = &self.core.log().meta().members.voters;
        let fit = |id: &&u64| {
            let heard = self.heard.get(*id).is_some_and(|at| now < at + self.barrier_ns);
            let offered = self.preference.offered.get(*id);
            let again = offered.is_none_or(|at| now >= at + 2 * self.election_ns);
            let near = self.core.matched(**id) + NEAR >= last;
            **id != self.shared.node
                && self.priority_of(**id) > self.shared.priority
                && heard
                && again
                && near
        };
        let best = |id: &&u64| (self.priority_of(**id), Reverse(**id));
        let target = voters.iter().filter(fit).max_by_key(best).copied();
        if let Some(to) = target {
            self.preference.offered.insert(to, now);
            self.close(None, to, NEVER, now);
        }
    }
}

/// Raft entries on their way to a member that keeps up.
const NEAR: u64 = 256;
