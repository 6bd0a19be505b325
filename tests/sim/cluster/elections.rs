//! Elections: whose votes made a leader, and leaders that fall right after they won.

use dledger::wire::Message;

use super::*;

impl Cluster {
    /// A vote that a candidate is about to hear of.
    pub(super) fn count_vote(&mut self, from: u64, to: u64, message: &Message) {
        if let Message::VoteReply { term, pre: false, reject: false, .. } = message {
            self.votes.entry((*term, to)).or_default().insert(from);
        }
    }

    /// A leader that nobody saw before: voters made it one, a majority of each set. In the turn in
    /// which it was elected it may have agreed on another set already, if it votes alone.
    pub(super) fn check_election(&mut self, term: u64, leader: u64) {
        let member = &self.members[&leader];
        let (before, now) = (&member.set, member.open.as_ref().unwrap().shared.members());
        let mut votes = self.votes.get(&(term, leader)).cloned().unwrap_or_default();
        votes.insert(leader);
        let most = |voters: &Vec<u64>| {
            let given = voters.iter().filter(|id| votes.contains(id)).count();
            given * 2 > voters.len() || voters.is_empty()
        };
        let elect = |set: &MemberSet| most(&set.voters) && most(&set.voters_outgoing);
        assert!(
            elect(&now) || elect(before),
            "member {leader} leads term {term} by votes of {votes:?} in {before:?}, then {now:?}"
        );
    }

    /// One leader after the other is cut off when it has just won, and a little of what it sent
    /// was answered; who was cut off before it is back (figure 8 of the Raft paper).
    pub(super) fn depose(&mut self) {
        if let Some(leader) = self.ready_leader() {
            self.cut_off(leader);
        }
        for _ in 0..self.rng.usize(3..9) {
            let Some(leader) = self.next_leader() else { break };
            (0..self.rng.usize(1..4)).for_each(|_| self.append(leader));
            self.turn(leader);
            let answered = if self.network.bool() { 0 } else { self.network.usize(1..24) };
            for _ in 0..answered {
                // In order, one way and the other.
                let answers = self.network.bool();
                let of_leader = |p: &Packet| leader == if answers { p.to } else { p.from };
                let Some(at) = self.flying.iter().position(of_leader) else { continue };
                let packet = self.flying.remove(at);
                let to = packet.to;
                self.arrive(packet);
                self.turn(to);
                self.open(to).map(|open| open.work());
                self.turn(to);
                self.check();
            }
            self.cut_off(leader);
        }
        self.mend();
    }

    /// All links of one member are cut, and no others.
    fn cut_off(&mut self, id: u64) {
        self.mend();
        self.isolate(id);
        self.note(("cut off", id));
    }

    /// Lets time pass until somebody leads a new term. What it sends then has not arrived.
    fn next_leader(&mut self) -> Option<u64> {
        let seen = self.leaders.keys().max().copied().unwrap_or(0);
        for _ in 0..150 {
            self.work(20);
            let (term, leader) = self.leaders.iter().max().map(|(term, id)| (*term, *id))?;
            if term > seen {
                return Some(leader);
            }
            for packet in std::mem::take(&mut self.flying) {
                self.arrive(packet);
            }
        }
        None
    }
}
