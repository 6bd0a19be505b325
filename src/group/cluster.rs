//! The cluster half of a handle: who the members are, handing the leadership over, changing the
//! members. What the group thread answers is a status; the words are found here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commitlog::meta::Member;
use crate::error::{Error, Result, Status};
use crate::group::changes::{self, MemberChange, MemberOp};
use crate::group::clock;
use crate::group::shared::{Control, Role};
use crate::group::waiters::{Slot, lock};
use crate::group::{Group, MemberInfo};
use crate::types::Index;

impl Group {
    /// Hands the leadership over to a voter; 0: to the best one. With a timeout of zero it only
    /// begins; else it waits until the other leads.
    pub fn transfer_leader(&self, to: u64, timeout: Option<Duration>) -> Result<()> {
        self.running()?;
        let slot = Arc::new(Slot::default());
        let begins = timeout == Some(Duration::ZERO);
        if begins {
            self.may_transfer(to).map_err(|status| why_not_transferred(status, to))?;
        }
        let deadline = if begins { clock::NEVER } else { self.shared.clock.deadline(timeout) };
        self.shared.ask(Control::Transfer { slot: slot.clone(), to, deadline });
        match if begins { Status::Ok } else { self.wait(&slot, timeout).0 } {
            Status::Ok => Ok(()),
            status => Err(why_not_transferred(status, to)),
        }
    }

    /// What can be said of a transfer without waiting for the group thread.
    fn may_transfer(&self, to: u64) -> std::result::Result<(), Status> {
        let (members, node) = (self.shared.members(), self.shared.node);
        let mut others = members.voters.iter().filter(|id| **id != node);
        if self.shared.state().role != Role::Leader {
            return Err(Status::NotLeader);
        }
        if self.shared.transferring.load(Ordering::SeqCst) {
            return Err(Status::ChangePending);
        }
        match to {
            0 if others.next().is_none() => Err(Status::NoMember),
            0 => Ok(()),
            to if members.voters.contains(&to) => Ok(()),
            _ => Err(Status::NoMember),
        }
    }

    /// Changes the members, all in one step. With a timeout of zero it only begins; else it waits
    /// until the change is in force here.
    pub fn change_members(
        &self,
        changes: Vec<MemberChange>,
        timeout: Option<Duration>,
    ) -> Result<()> {
        self.running()?;
        changes::check_call(&changes)?;
        let slot = Arc::new(Slot::default());
        let begins = timeout == Some(Duration::ZERO);
        if begins {
            self.may_change(&changes)?;
        }
        let deadline = if begins { 0 } else { self.shared.clock.deadline(timeout).max(1) };
        let control = Control::Change { slot: slot.clone(), changes: changes.clone(), deadline };
        self.shared.ask(control);
        match if begins { Status::Ok } else { self.wait(&slot, timeout).0 } {
            Status::Ok => Ok(()),
            status => Err(self.why_not_changed(status, &changes)),
        }
    }

    /// What can be said of a change without waiting for the group thread.
    fn may_change(&self, changes: &[MemberChange]) -> Result<()> {
        let state = self.shared.state();
        if state.role != Role::Leader {
            return Err(Error::Status(Status::NotLeader));
        }
        if !state.ready {
            return Err(Error::Status(Status::NotReady));
        }
        if self.shared.transferring.load(Ordering::SeqCst) {
            return Err(Error::Status(Status::Transferring));
        }
        if self.shared.change_pending.load(Ordering::Relaxed) {
            return Err(Error::Status(Status::ChangePending));
        }
        changes::in_set(changes, &self.shared.members(), self.shared.node).map(drop)
    }

    /// A slot carries a status: the words are found again here.
    fn why_not_changed(&self, status: Status, changes: &[MemberChange]) -> Error {
        let why = match status {
            Status::TimedOut if changes.iter().any(|change| change.op == MemberOp::Promote) => {
                "the time is over: who is promoted has not caught up yet, or else what is proposed \
                 goes on: see dl_members()"
            }
            Status::TimedOut => "the time is over; what is proposed goes on: see dl_members()",
            Status::LeaderLost => "the leadership was lost: the change may have been made",
            Status::Invalid => {
                match changes::in_set(changes, &self.shared.members(), self.shared.node) {
                    Err(error) if error.status() == status => return error,
                    _ => "the members do not fit in `meta`: use fewer or shorter addresses",
                }
            }
            Status::NoMember => {
                match changes::in_set(changes, &self.shared.members(), self.shared.node) {
                    Err(error) if error.status() == status => return error,
                    _ => return Error::Status(status),
                }
            }
            status => return Error::Status(status),
        };
        Error::Explained(status, why.into())
    }

    /// The members of the group.
    pub fn members(&self) -> Vec<MemberInfo> {
        let (members, progress) = (self.shared.members(), lock(&self.shared.progress).clone());
        let now = self.shared.clock.now();
        let info = |member: &Member| {
            let own = member.id == self.shared.node;
            let peer = progress.iter().find(|peer| peer.id == member.id);
            let matched = peer.map_or(Index(0), |peer| peer.matched);
            let heard = peer.map_or(clock::NEVER, |peer| peer.heard);
            let ago = (heard != clock::NEVER).then(|| now.saturating_sub(heard));
            MemberInfo {
                id: member.id,
                voter: members.voters.contains(&member.id),
                address: member.address.clone(),
                match_index: if own { self.shared.marks().flushed.index } else { matched },
                contact: if own { Some(Duration::ZERO) } else { ago.map(Duration::from_nanos) },
            }
        };
        members.members.iter().map(info).collect()
    }
}

fn why_not_transferred(status: Status, to: u64) -> Error {
    let why = match status {
        Status::NoMember if to == 0 => "no other member has a vote".into(),
        Status::NoMember => format!("member {to} has no vote here").into(),
        Status::ChangePending => "the leadership is being handed over already".into(),
        Status::TimedOut => "the leadership was not handed over in time".into(),
        status => return Error::Status(status),
    };
    Error::Explained(status, why)
}
