//! The ninth step of a turn: what the group thread knows is published, and whom it concerns is woken.
//! The order of a new leader is opened here, too: appends may come when its marks are seen.

use std::sync::atomic::Ordering;

use raft::StateRole;
use tracing::info;

use crate::consensus::members;
use crate::group::driver::Driver;
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::shared::{Life, Role};
use crate::group::waiters::Event;

impl Driver {
    pub(super) fn publish(&mut self) {
        self.publish_room();
        let role = match self.core.state() {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        };
        let term = self.core.term();
        let role = if role == Role::Follower && self.is_learner() { Role::Learner } else { role };
        self.notice_leadership();
        if role == Role::Leader && self.leading != term {
            self.open_order(term);
        }
        (self.marks.role, self.marks.term, self.marks.leader) = (role, term, self.core.leader());
        // Who sees a leader that is ready can append.
        self.marks.ready = self.core.is_ready() && self.leading == term;
        self.publish_marks();
    }

    /// Publishes what is known, and wakes whom it concerns.
    pub(super) fn publish_marks(&mut self) {
        self.marks.flushed = self.core.log().flushed().mark();
        self.marks.begin = self.core.log().begin().mark();
        self.shared.set_log_end(self.core.log().end());
        let before = self.told;
        self.shared.publish(&self.marks);
        self.answer_barriers();
        self.watch_transfer();
        self.tell_handed_over();
        self.watch_change();
        if self.leading == 0 {
            self.publish_end();
        }
        self.told = self.marks;
        let changed = (before.role, before.term, before.leader, before.ready)
            != (self.marks.role, self.marks.term, self.marks.leader, self.marks.ready);
        if changed {
            self.role_changed();
        }
        if before.committed != self.marks.committed {
            self.shared.settle_committed(self.marks.committed.index);
            self.shared.wake_readers();
            let wanted = self.shared.callbacks_due.now() > 0
                || self.shared.wants_events.load(Ordering::Relaxed);
            if wanted {
                self.shared.delivery.ring();
            }
        } else if before.begin != self.marks.begin {
            self.shared.delivery.ring();
        }
    }

    fn is_learner(&self) -> bool {
        let members = &self.core.log().meta().members;
        !members::votes(members, self.shared.node) && members::has(members, self.shared.node)
    }

    /// Nobody's order is open: the log's end is the order's. If a hook holds the lock, at a later
    /// turn.
    fn publish_end(&mut self) {
        let end = self.core.log().end().mark();
        if self.shared.state().end != end
            && let Ok(_staging) = self.shared.staging.try_lock()
        {
            self.shared.publish_end(end);
        }
    }

    fn role_changed(&mut self) {
        info!(
            "{:?} in term {} (leader {}, ready {})",
            self.marks.role, self.marks.term, self.marks.leader, self.marks.ready
        );
        self.tell(events::ROLE);
    }

    /// A new leader's order begins behind Raft's end. If a hook holds the lock, at a later turn.
    fn open_order(&mut self, term: u64) {
        if self.shared.life() != Life::Running {
            return;
        }
        let Ok(mut staging) = self.shared.staging.try_lock() else { return };
        let end = self.core.log().end();
        self.chain = (end.chain, end.batch);
        staging.begin(term, end.mark());
        self.shared.publish_end(end.mark());
        if self.shared.open_gate(term) {
            self.leading = term;
            Metrics::add(&self.shared.metrics.leaderships, 1);
        }
    }

    pub(super) fn tell(&mut self, what: u32) {
        if !self.shared.wants_events.load(Ordering::Relaxed) {
            return;
        }
        // Under the lock: so states are told in the order in which they were.
        let mut inbox = self.shared.inbox();
        let now = self.shared.state();
        inbox.events.push(Event::State { what, now });
        drop(inbox);
        self.shared.delivery.ring();
    }
}
