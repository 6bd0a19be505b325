//! The liveness phase: with the faults over there is a leader, appends commit, and all logs end equal.

use super::*;

impl Cluster {
    pub(super) fn heal(&mut self) {
        self.note("heal");
        self.cut.clear();
        for id in self.ids_of_members() {
            self.members[&id].disk.fail_sync(u64::MAX);
            self.members[&id].disk.fail_after_ops(u64::MAX);
            // A sync that failed may not have been heard of yet.
            self.turn(id);
            let failed = self.open(id).is_some_and(|open| open.shared.failure().is_some());
            if failed || self.members[&id].disk.space("").is_err() {
                self.kill(id);
            }
            self.restart(id);
        }
        self.links.clear();
        self.dial();
        // Ten election timeouts of a second.
        self.until(10_000, Cluster::leader_of_all).expect("a leader");
        if self.membership.changing {
            return self.heal_members();
        }
        let mut ids = Vec::new();
        for _ in 0..5 {
            self.ids += 1;
            let body = body(self.ids, 100);
            // What is to be made ahead of appends may just be on its way, and the leadership on its way
            // to a preferred member.
            let taken = |cluster: &Cluster| {
                let leader = cluster.leader_of_all()?;
                let open = cluster.members[&leader].open.as_ref()?;
                match open.append(&body, Some(Duration::from_secs(60))) {
                    Err(Status::PendingFull | Status::Transferring | Status::NotLeader) => None,
                    taken => Some((leader, taken.expect("it is taken"))),
                }
            };
            let (leader, entry) =
                self.until(10_000, taken).expect("it is taken within ten timeouts");
            self.appends.push(Placed { member: leader, entry, body, status: None });
            ids.push(entry.index.0);
        }
        let all = *ids.last().unwrap();
        self.until(20_000, |cluster| {
            let there = |m: &Member| m.open.as_ref().is_some_and(|o| o.shared.committed().0 > all);
            let mut members = cluster.members.iter().filter(|(id, _)| cluster.belongs(**id));
            members.all(|(_, member)| there(member)).then_some(())
        })
        .unwrap_or_else(|| panic!("the members do not all come to {all}"));
        self.check();
        self.all_is_readable();
        self.check_final();
    }

    /// A leader that nobody has left behind: one that was deposed while it was cut off leads until it
    /// hears of that, and what it takes meanwhile is lost, as its callers are told.
    fn leader_of_all(&self) -> Option<u64> {
        let leader = self.ready_leader()?;
        let term = |id: &u64| Some(self.members[id].open.as_ref()?.shared.state().term);
        let members = self.members.keys().filter(|id| self.belongs(**id));
        (members.filter_map(term).max() == term(&leader)).then_some(leader)
    }
}
