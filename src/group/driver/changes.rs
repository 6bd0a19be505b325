//! Changes of the member set that were asked for here. A learner is promoted when it has what was
//! the leader's last entry then; all changes of a call are proposed together, and are in force when
//! the joint state is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::StateRole;
use tracing::{debug, info};

use crate::commitlog::meta::{Member, MemberSet};
use crate::consensus::members::{self, Change, Op};
use crate::error::Status;
use crate::group::changes::{MemberChange, MemberOp, in_set};
use crate::group::clock::nanos;
use crate::group::driver::Driver;
use crate::group::waiters::Slot;
use crate::types::{Index, RaftIndex};

/// One call under way.
pub(super) struct Changing {
    /// Who waits for it, if anybody does.
    asker: Option<Arc<Slot>>,
    changes: Vec<MemberChange>,
    /// When its time is over, in nanoseconds.
    pub(super) deadline: u64,
    /// The leadership that makes it.
    term: u64,
    /// What those have to have that are promoted.
    enough: RaftIndex,
    /// Its membership entry, when it is proposed.
    proposed: Option<RaftIndex>,
}

impl Driver {
    /// Answers at once what cannot be, and begins what can. A deadline of 0: that it has begun is
    /// the answer.
    pub(super) fn begin_change(
        &mut self,
        slot: &Arc<Slot>,
        changes: &[MemberChange],
        deadline: u64,
        now: u64,
    ) {
        if let Err(status) = self.may_change(changes) {
            slot.answer(status, Index(0));
            return;
        }
        let waits = deadline != 0;
        if !waits {
            slot.answer(Status::Ok, Index(0));
        }
        self.changing = Some(Changing {
            asker: waits.then(|| slot.clone()),
            changes: changes.to_vec(),
            deadline: if waits { deadline } else { now.saturating_add(nanos(CATCH_UP)) },
            term: self.core.term(),
            enough: self.core.last(),
            proposed: None,
        });
    }

    fn may_change(&self, changes: &[MemberChange]) -> Result<(), Status> {
        let meta = self.core.log().meta();
        if self.core.state() != StateRole::Leader {
            return Err(Status::NotLeader);
        }
        if !self.core.is_ready() {
            return Err(Status::NotReady);
        }
        if self.transfer.is_some() {
            return Err(Status::Transferring);
        }
        if self.is_change_pending() {
            return Err(Status::ChangePending);
        }
        let changes = in_set(changes, &meta.members, self.shared.node).map_err(|e| e.status())?;
        let fits = meta.has_room_for(&members::joint(&meta.members, &changes))
            && members::is_readable(&members::encode(&changes), &changes);
        if fits { Ok(()) } else { Err(Status::Invalid) }
    }

    /// Proposes what was asked for when those have caught up that are promoted. Not while a write
    /// waits for room.
    pub(super) fn propose_asked(&mut self) {
        let Some(changing) = &self.changing else { return };
        let leads = self.core.state() == StateRole::Leader && self.core.term() == changing.term;
        if !leads || changing.proposed.is_some() || self.transfer.is_some() || self.is_agreeing() {
            return;
        }
        let promoted = changing.changes.iter().filter(|c| c.op == MemberOp::Promote);
        if promoted.into_iter().any(|c| self.core.matched(c.id) < changing.enough) {
            return;
        }
        let set = &self.core.log().meta().members;
        let changes = match in_set(&changing.changes, set, self.shared.node) {
            Ok(changes) => changes,
            Err(error) => return self.end_change(error.status()),
        };
        if !self.core.propose_change(&changes) {
            let pending = self.core.has_pending_change();
            return self.end_change(if pending { Status::ChangePending } else { Status::Invalid });
        }
        info!("proposed Raft entry {}: {changes:?}", self.core.last());
        if let Some(changing) = &mut self.changing {
            changing.proposed = Some(self.core.last());
        }
    }

    /// What a leader has bound by itself it has the group agree on, once: then a member that lost its
    /// disk is refused by those, too, that never met the one that it was. Only until that entry is
    /// in force with a member is the first incarnation that it meets the one that it binds.
    pub(super) fn propose_incarnations(&mut self) {
        if self.transfer.is_some() || !self.core.is_ready() || !self.has_peers() {
            return;
        }
        let members = &self.core.log().meta().members.members;
        let is_open = |member: &&Member| {
            let is_bound = member.incarnation != 0 && !member.address.is_empty();
            is_bound && self.agreed.get(&member.id) != Some(&member.incarnation)
        };
        let changes: Vec<Change> = members
            .iter()
            .filter(is_open)
            .take(AGREED_AT_ONCE)
            .map(|member| Change { op: Op::Move, member: member.clone() })
            .collect();
        if self.core.propose_change(&changes) {
            debug!("proposed Raft entry {}: incarnations of {changes:?}", self.core.last());
            self.agreeing = (self.core.term(), self.core.last());
        }
    }

    /// Whether an entry that nobody asked for is what is under way: a change waits for it.
    fn is_agreeing(&self) -> bool {
        let (term, entry) = self.agreeing;
        let known = self.core.log().meta().members.raft_index;
        term == self.core.term() && known < entry && self.core.has_pending_change()
    }

    /// A membership entry is in force.
    pub(super) fn note_agreed(&mut self, content: &[u8], set: &MemberSet) {
        for Change { member, .. } in members::decode(content).unwrap_or_default() {
            if member.incarnation != 0 {
                self.agreed.insert(member.id, member.incarnation);
            }
        }
        self.agreed.retain(|id, _| members::has(set, *id));
    }

    /// Looks what became of the change. What was proposed goes on without whoever asked.
    pub(super) fn watch_change(&mut self) {
        self.end_if_over();
        self.shared.change_pending.store(self.is_change_pending(), Ordering::Relaxed);
    }

    /// Whether a change that somebody asked for is under way.
    fn is_change_pending(&self) -> bool {
        self.changing.is_some() || self.core.has_pending_change() && !self.is_agreeing()
    }

    fn end_if_over(&mut self) {
        let Some(changing) = &self.changing else { return };
        let set = &self.core.log().meta().members;
        let leads = self.core.state() == StateRole::Leader && self.core.term() == changing.term;
        let left = set.voters_outgoing.is_empty();
        let status = match changing.proposed {
            None if !leads => Status::NotLeader,
            Some(_) if !leads => Status::LeaderLost,
            Some(entry) if set.raft_index >= entry && left => Status::Ok,
            _ if self.shared.clock.now() >= changing.deadline => Status::TimedOut,
            _ => return,
        };
        self.end_change(status);
    }

    pub(super) fn end_change(&mut self, status: Status) {
        if let Some(Changing { asker: Some(asker), .. }) = self.changing.take() {
            asker.answer(status, Index(0));
        }
    }
}

/// So many incarnations fit in one entry, whatever the addresses.
const AGREED_AT_ONCE: usize = 16;
/// How long a promotion that nobody waits for waits for the learner.
const CATCH_UP: Duration = Duration::from_secs(60);
