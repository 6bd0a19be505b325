//! The checkers: what every member shows, against what was ever agreed anywhere.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dledger::error::Status;
use dledger::group::ReadOptions;
use dledger::group::shared::Role;
use dledger::types::Index;

use super::Cluster;

impl Cluster {
    pub(super) fn check(&mut self) {
        for id in self.ids_of_members() {
            self.check_open(id);
            self.check_members(id);
        }
        assert_eq!(self.closed.load(Ordering::Relaxed), 0, "an honest peer was refused");
    }

    /// What a member shows as committed is what everybody agreed on, or is agreed from now on.
    pub(super) fn check_open(&mut self, id: u64) {
        let member = self.members.get_mut(&id).unwrap();
        let Some(open) = &member.open else { return };
        let state = open.shared.state();
        assert!(state.begin <= state.committed && state.committed <= state.end, "{state:?}");
        if state.term > 0 {
            assert!(state.term >= member.term, "the term of member {id} fell");
            member.term = state.term;
        }
        if state.role == Role::Leader {
            let leader = self.leaders.get(&state.term).copied();
            assert!(leader.is_none_or(|leader| leader == id), "two leaders of term {}", state.term);
            if leader.is_none() {
                self.leaders.insert(state.term, id);
                self.check_election(state.term, id);
            }
        }
        let member = self.members.get_mut(&id).unwrap();
        let Some(open) = &member.open else { return };
        member.set = open.shared.members();
        let options = ReadOptions {
            max_entries: 64,
            wait: Some(Duration::ZERO),
            verify: true,
            ..ReadOptions::default()
        };
        let mut at = member.checked.max(state.begin.index.0);
        while at < state.committed.index.0 {
            let view = open.shared.read(Index(at), &options);
            // A log that failed in a reset has no more of it than it says.
            if view.is_err() && open.shared.failure().is_some() {
                return;
            }
            // What is damaged here was seen before it was, and is when it is repaired.
            let rots = self.rotten == Some(id) && at < self.agreed.len() as u64;
            if rots && view.as_ref().err() == Some(&Status::Corrupt) {
                at += 1;
                continue;
            }
            let view = view.unwrap_or_else(|e| panic!("member {id}, record {at}: {e:?}"));
            for entry in view.entries() {
                let from = (entry.pos + 48 - view.pos()) as usize;
                let body = view.bytes()[from..from + entry.body_len as usize].to_vec();
                let index = entry.index.0 as usize;
                assert!(!self.refused.contains(&body), "a refused append is in the log");
                match self.agreed.get(index) {
                    Some(agreed) => assert_eq!(agreed, &(*entry, body), "member {id}"),
                    None => {
                        assert_eq!(index, self.agreed.len(), "agreed with a gap, member {id}");
                        let placed =
                            self.appends.iter().any(|p| p.entry == *entry && p.body == body);
                        assert!(placed, "nobody appended {entry:?}");
                        self.agreed.push((*entry, body));
                    }
                }
            }
            at = view.next_index().0;
        }
        member.checked = at;
    }

    /// Nothing that was agreed or acknowledged is missing anywhere; positions, terms and bytes are
    /// the same.
    pub(super) fn check_final(&mut self) {
        let all = self.ids_of_members().into_iter().collect();
        for id in self.membership.last().unwrap_or(all) {
            if !self.belongs(id) {
                continue;
            }
            let open = self.open(id).unwrap();
            let begin = open.shared.state().begin.index.0 as usize;
            let records = open.read_all();
            assert_eq!(records[..], self.agreed[begin..begin + records.len()], "member {id}");
            assert_eq!(begin + records.len(), self.agreed.len(), "member {id}");
        }
        for placed in &self.appends {
            if placed.status == Some(Status::Ok) {
                let agreed = &self.agreed[placed.entry.index.0 as usize];
                assert_eq!(agreed, &(placed.entry, placed.body.clone()));
            }
        }
    }
}
