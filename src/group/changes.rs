//! What may be asked of the member set: checks of a call by itself, on the calling thread, and
//! against the set that is in force.

#[cfg(test)]
mod tests;

use crate::commitlog::meta::{Member, MemberSet};
use crate::consensus::members::{self, Change, Op};
use crate::error::{Error, Result, Status};
use crate::options;

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberOp {
    /// It comes, without a vote.
    AddLearner,
    /// It gets a vote, once it has caught up.
    Promote,
    /// It loses its vote, and follows on.
    Demote,
    /// It goes.
    Remove,
    /// It has another address.
    Move,
}

/// One change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// What.
    pub op: MemberOp,
    /// Of whom.
    pub id: u64,
    /// For [`MemberOp::AddLearner`] and [`MemberOp::Move`]: host:port.
    pub address: Option<String>,
}

/// Checks what needs no state.
pub fn check_call(changes: &[MemberChange]) -> Result<()> {
    if changes.is_empty() || changes.len() > CHANGES_MAX {
        let count = changes.len();
        return invalid(format!("{count} changes in one call; allowed: 1 to {CHANGES_MAX}"));
    }
    let moves = changes.iter().filter(|change| change.op == MemberOp::Move).count();
    if moves != 0 && moves != changes.len() {
        return invalid("DL_MEMBER_MOVE is mixed with other ops: moves go in a call of their own");
    }
    for (n, MemberChange { op, id, address }) in changes.iter().enumerate() {
        if *id == 0 || *id > i64::MAX as u64 {
            return invalid(format!("{id} is no node_id; allowed: 1 to 2^63-1"));
        }
        if changes[..n].iter().any(|other| other.id == *id) {
            return invalid(format!("member {id} is changed twice in one call"));
        }
        let needs = matches!(op, MemberOp::AddLearner | MemberOp::Move);
        match address {
            Some(address) if needs => options::check_address(address)?,
            None if needs => {
                return invalid(format!("member {id} needs an address, host:port"));
            }
            Some(_) => {
                return invalid(format!("no address for member {id}: DL_MEMBER_MOVE changes it"));
            }
            None => {}
        }
    }
    Ok(())
}

/// The changes as a membership entry has them, checked against the set in force. `leader` is who
/// proposes them.
pub fn in_set(changes: &[MemberChange], set: &MemberSet, leader: u64) -> Result<Vec<Change>> {
    let mut entry = Vec::with_capacity(changes.len());
    for MemberChange { op, id, address } in changes {
        let known = set.members.iter().find(|member| member.id == *id);
        let given = address.clone().unwrap_or_default();
        let (op, address) = match (op, known) {
            (MemberOp::AddLearner, None) => (Op::Learner, given),
            (MemberOp::AddLearner, Some(_)) => {
                return invalid(format!("member {id} is in the group already"));
            }
            (_, None) => {
                let why = format!("no member has the node_id {id}");
                return Err(Error::Explained(Status::NoMember, why.into()));
            }
            (MemberOp::Promote, Some(_)) if set.voters.contains(id) => {
                return invalid(format!("member {id} has a vote already"));
            }
            (MemberOp::Promote, Some(known)) => (Op::Voter, known.address.clone()),
            (MemberOp::Demote, Some(_)) if !set.voters.contains(id) => {
                return invalid(format!("member {id} is a learner already"));
            }
            (MemberOp::Demote, Some(known)) => (Op::Learner, known.address.clone()),
            (MemberOp::Remove, Some(_)) => (Op::Remove, String::new()),
            (MemberOp::Move, Some(_)) => (Op::Move, given),
        };
        // The incarnation that is bound stays; of a new member the first that comes is let in.
        entry.push(Change { op, member: Member { id: *id, incarnation: 0, address } });
    }
    check_result(&entry, set, leader)?;
    Ok(entry)
}

fn check_result(changes: &[Change], set: &MemberSet, leader: u64) -> Result<()> {
    if members::is_move(changes) {
        return Ok(());
    }
    let after = members::joint(set, changes);
    if after.voters.is_empty() {
        return invalid("the last voter is neither removed nor demoted");
    }
    if !after.voters.contains(&leader) {
        let why = "this member leads: hand the leadership over first, with dl_transfer_leader";
        return invalid(why);
    }
    let unnamed = |member: &&Member| member.address.is_empty();
    if let Some(member) = after.members.iter().find(unnamed).filter(|_| after.members.len() > 1) {
        let id = member.id;
        return invalid(format!(
            "member {id} has no address at which the others reach it: give it one first, with \
             DL_MEMBER_MOVE"
        ));
    }
    Ok(())
}

fn invalid<T>(why: impl Into<std::borrow::Cow<'static, str>>) -> Result<T> {
    Err(Error::Invalid(why.into()))
}

/// More members than this fit in no `meta`.
pub const CHANGES_MAX: usize = 1_000;
