//! The member set and its changes. What a membership entry holds is ours, as it lies in `control`
//! and on the wire; the engine sees only who votes and who learns.
//!
//! ```text
//! content   nothing: the joint state is left; else
//!           count 2 | of each change: op 1 | id 8 | incarnation 8 | address length 2 | address
//! op        1 voter, 2 learner, 3 remove, 4 move (another address, or the incarnation that is there)
//! ```

#[cfg(test)]
mod tests;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::commitlog::control::CONTENT_MAX;
use crate::commitlog::meta::{In, Member, MemberSet, Out};
use crate::error::{Error, Result};
use crate::types::RaftIndex;

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// It votes from now on.
    Voter = 1,
    /// It follows without a vote.
    Learner = 2,
    /// It goes.
    Remove = 3,
    /// It has another address, or the group agrees on its incarnation.
    Move = 4,
}

/// One change of a membership entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub op: Op,
    /// Of whom: its id, the incarnation that is let in (0: the first that comes), its address. A
    /// removal needs the id only.
    pub member: Member,
}

/// The content of a membership entry.
pub fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = Out(Vec::new());
    out.count(changes.len());
    for Change { op, member } in changes {
        out.u8(*op as u8);
        out.numbers(&[member.id, member.incarnation]);
        out.text(&member.address);
    }
    out.0
}

/// Reads the content of a membership entry; `None` if it is none. Leaving a joint state: no change.
pub fn decode(content: &[u8]) -> Option<Vec<Change>> {
    if content.is_empty() {
        return Some(Vec::new());
    }
    In(content).all(|bytes| {
        let count = bytes.u16()?;
        let change = |bytes: &mut In<'_>| {
            let op = match bytes.u8()? {
                1 => Op::Voter,
                2 => Op::Learner,
                3 => Op::Remove,
                4 => Op::Move,
                _ => return None,
            };
            let (id, incarnation) = (bytes.u64()?, bytes.u64()?);
            let address = bytes.text()?;
            (id != 0).then_some(Change { op, member: Member { id, incarnation, address } })
        };
        let changes: Option<Vec<Change>> = (0..count).map(|_| change(bytes)).collect();
        changes.filter(|changes| !changes.is_empty())
    })
}

/// Whether the engine has nothing to decide in these changes: addresses and incarnations only.
pub fn is_move(changes: &[Change]) -> bool {
    !changes.is_empty() && changes.iter().all(|change| change.op == Op::Move)
}

/// The changes as the engine has them.
pub fn conf_change(changes: &[Change]) -> ConfChangeV2 {
    let mut all = ConfChangeV2::default();
    for Change { op, member } in changes {
        let kind = match op {
            Op::Voter => ConfChangeType::AddNode,
            Op::Learner => ConfChangeType::AddLearnerNode,
            Op::Remove => ConfChangeType::RemoveNode,
            Op::Move => continue,
        };
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = member.id;
        all.changes.push(single);
    }
    all
}

/// A member set's part that the engine knows.
pub fn conf_state(set: &MemberSet) -> ConfState {
    ConfState {
        voters: set.voters.clone(),
        voters_outgoing: set.voters_outgoing.clone(),
        learners: set.learners.clone(),
        learners_next: set.learners_next.clone(),
        auto_leave: set.auto_leave,
        ..ConfState::default()
    }
}

/// The member set behind a membership entry: `state` is what the engine made of it.
pub fn apply(
    set: &MemberSet,
    changes: &[Change],
    state: &ConfState,
    raft_index: RaftIndex,
) -> MemberSet {
    let mut members = set.members.clone();
    for Change { op, member } in changes {
        let known = members.iter_mut().find(|m| m.id == member.id);
        match (op, known) {
            (Op::Remove, _) => {}
            (Op::Move, None) => {}
            (Op::Voter | Op::Learner, None) => members.push(member.clone()),
            (Op::Voter | Op::Learner | Op::Move, Some(known)) => {
                known.address.clone_from(&member.address);
                // 0 leaves the incarnation that is bound: a promotion does not let in another. One
                // that is agreed goes before what a member bound by itself.
                if member.incarnation != 0 {
                    known.incarnation = member.incarnation;
                }
            }
        }
    }
    let part = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    let mut set = MemberSet {
        raft_index,
        members,
        voters: part(&state.voters),
        voters_outgoing: part(&state.voters_outgoing),
        learners: part(&state.learners),
        learners_next: part(&state.learners_next),
        auto_leave: state.auto_leave,
    };
    let keep: Vec<Member> = set.members.iter().filter(|m| has(&set, m.id)).cloned().collect();
    set.members = keep;
    set.members.sort_by_key(|member| member.id);
    set
}

/// An error if a membership entry is of a member that the set has not, and does not add it: a leader
/// proposes no such. So what was said of the members when this one was born is not what the group
/// began with, and whatever it made of that would contradict the others.
pub fn fits(set: &MemberSet, raft_index: RaftIndex, changes: &[Change]) -> Result<()> {
    let adds = |op| matches!(op, Op::Voter | Op::Learner);
    let strange = |c: &&Change| !adds(c.op) && !has(set, c.member.id);
    match changes.iter().find(strange) {
        None => Ok(()),
        Some(Change { member, .. }) => Err(Error::Config(format!(
            "Raft entry {raft_index} is of member {}, whom `members` did not name when this \
             directory was made: it is not what the group began with. Remove the directory and start \
             anew, with `members` that list the others and not this one",
            member.id
        ))),
    }
}

/// Binds those that have no incarnation, and were met, to what another set says.
pub fn bind(mut set: MemberSet, other: &MemberSet, met: impl Fn(u64) -> bool) -> MemberSet {
    for member in set.members.iter_mut().filter(|m| m.incarnation == 0 && met(m.id)) {
        let bound = other.members.iter().find(|other| other.id == member.id);
        member.incarnation = bound.map_or(0, |bound| bound.incarnation);
    }
    set
}

/// Whether a member votes, in the new or in the old part of a joint state.
pub fn votes(set: &MemberSet, id: u64) -> bool {
    set.voters.contains(&id) || set.voters_outgoing.contains(&id)
}

/// Whether a member is in the set.
pub fn has(set: &MemberSet, id: u64) -> bool {
    votes(set, id) || set.learners.contains(&id) || set.learners_next.contains(&id)
}

/// Whether the engine can make this its configuration (it ends the process if it cannot), and all
/// members are told.
pub fn is_sound(set: &MemberSet) -> bool {
    let distinct = |ids: &[u64]| {
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.len() == ids.len() && !ids.contains(&0)
    };
    let joint = !set.voters_outgoing.is_empty();
    !set.voters.is_empty()
        && [&set.voters, &set.voters_outgoing, &set.learners, &set.learners_next]
            .iter()
            .all(|ids| distinct(ids))
        && set.learners.iter().all(|id| !votes(set, *id))
        && set.learners_next.iter().all(|id| set.voters_outgoing.contains(id))
        && set.learners_next.iter().all(|id| !set.voters.contains(id))
        && set.learners_next.iter().all(|id| !set.learners.contains(id))
        && (joint || set.learners_next.is_empty() && !set.auto_leave)
        && distinct(&set.members.iter().map(|member| member.id).collect::<Vec<_>>())
        && set.members.iter().all(|member| has(set, member.id))
        && [&set.voters, &set.voters_outgoing, &set.learners]
            .iter()
            .all(|ids| ids.iter().all(|id| set.members.iter().any(|m| m.id == *id)))
}

/// The joint set on the way to what the changes say: its voters are those when they are done, and
/// no set on the way takes more bytes.
pub fn joint(set: &MemberSet, changes: &[Change]) -> MemberSet {
    let mut state = conf_state(set);
    for Change { op, member: Member { id, .. } } in changes.iter().filter(|c| c.op != Op::Move) {
        for ids in [&mut state.voters, &mut state.learners, &mut state.learners_next] {
            ids.retain(|other| other != id);
        }
        match op {
            Op::Voter => state.voters.push(*id),
            Op::Learner if set.voters.contains(id) => state.learners_next.push(*id),
            Op::Learner => state.learners.push(*id),
            Op::Remove | Op::Move => {}
        }
    }
    state.voters_outgoing.clone_from(&set.voters);
    state.auto_leave = true;
    apply(set, changes, &state, set.raft_index)
}

/// Whether all members could keep the changes in their logs, and read them there. Who has no
/// address could not be told of a reset.
pub fn is_readable(content: &[u8], changes: &[Change]) -> bool {
    let told = |Change { op, member }: &Change| *op == Op::Remove || !member.address.is_empty();
    content.len() <= CONTENT_MAX
        && decode(content).is_some_and(|read| read == changes)
        && changes.iter().all(told)
}
