//! Members that were born to be added. What a directory was told of at its birth may be younger than
//! what the log begins with: so its first set comes from a leader, before any Raft entry.

use raft::eraftpb::{ConfChangeSingle, ConfChangeType};
use raft::{Changer, ProgressTracker};

use super::{Core, INFLIGHT};
use crate::commitlog::meta::MemberSet;
use crate::consensus::send::Outgoing;
use crate::error::{Error, Result};
use crate::types::RaftIndex;
use crate::wire::Message;

impl Core {
    /// These are the members from here on: the engine has nothing else, and its log is empty. They
    /// are to be written to `meta`. An error if they cannot be a configuration.
    pub fn begin_with(&mut self, members: &MemberSet) -> Result<()> {
        let mut all = ProgressTracker::new(INFLIGHT);
        let voters = members.voters.iter().map(|id| (*id, ConfChangeType::AddNode));
        let learners = members.learners.iter().map(|id| (*id, ConfChangeType::AddLearnerNode));
        for (id, kind) in voters.chain(learners) {
            let mut change = ConfChangeSingle::default();
            change.set_change_type(kind);
            change.node_id = id;
            let changed = Changer::new(&all).simple(&[change]);
            let (conf, changes) = changed
                .map_err(|e| Error::corrupt(0, format!("the members to begin with: {e}")))?;
            all.apply_conf(conf, changes, self.last().0 + 1);
        }
        *self.node.raft.mut_prs() = all;
        self.node.raft.post_conf_change();
        self.draw_timeout();
        Ok(())
    }

    /// The members, for whom they may be new: learners that have no Raft entry yet. To be sent when
    /// this member shows that it leads.
    pub fn introductions(&self) -> Vec<Outgoing> {
        let set = &self.log().meta().members;
        if !self.is_ready() || !set.voters_outgoing.is_empty() {
            return Vec::new();
        }
        let learners = set.learners.iter().filter(|id| self.matched(**id) == RaftIndex(0));
        let message = Message::Members { term: self.term(), members: set.clone() };
        learners.map(|id| Outgoing { to: *id, message: message.clone(), raw: Vec::new() }).collect()
    }
}
