//! How a member begins and ends: started, killed, and without power.

use super::*;

impl Cluster {
    pub(super) fn start(&mut self, id: u64) {
        self.lives += 1;
        let incarnation = self.lives;
        let outlet = Outlet { from: id, sent: self.sent.clone(), closed: self.closed.clone() };
        let clock = self.clock.clone();
        let member = self.members.get_mut(&id).unwrap();
        let mut options = member.settings.options();
        for (key, value) in self.membership.options(id) {
            options.set(key, &value).unwrap_or_else(|e| panic!("{key} = {value}: {e}"));
        }
        let plants = member.settings.plants;
        let open =
            Open::with(&member.disk, &clock, &options, plants, incarnation, Box::new(outlet));
        let open = open.unwrap_or_else(|e| panic!("member {id} does not open: {e}"));
        member.checked = open.shared.state().begin.index.0;
        member.set = open.shared.members();
        member.open = Some(open);
        self.note(("start", id));
        for other in self.ids_of_members() {
            if other != id {
                self.meet(id, other);
                self.meet(other, id);
            }
        }
    }

    pub(super) fn kill(&mut self, id: u64) {
        let member = self.members.get_mut(&id).unwrap();
        let disk = member.disk.restart();
        self.die(id, disk, "kill");
    }

    pub(super) fn power_cut(&mut self, id: u64) {
        if !self.power_cuts {
            return self.kill(id);
        }
        let faults = &mut self.faults;
        let disk = self.members[&id].disk.crash(&mut |n| faults.u64(..n.max(1)));
        self.die(id, disk, "power cut");
    }

    pub(super) fn all_lose_power(&mut self) {
        for id in self.ids_of_members() {
            self.power_cut(id);
        }
    }

    pub(super) fn die(&mut self, id: u64, disk: MemoryDisk, how: &str) {
        self.note((how, id));
        self.hear(id);
        self.forget_asked(id);
        let member = self.members.get_mut(&id).unwrap();
        member.open = None;
        member.disk = disk;
        member.disk.fail_sync(u64::MAX);
        self.links.retain(|(from, to)| *from != id && *to != id);
        // What never heard of its end never will.
        for placed in self.appends.iter_mut().filter(|p| p.member == id) {
            placed.status.get_or_insert(Status::LeaderLost);
        }
    }

    pub(super) fn restart(&mut self, id: u64) {
        if self.membership.out.contains(&id) {
            return;
        }
        if self.members[&id].open.is_none() {
            self.start(id);
        } else if self.open(id).is_some_and(|open| open.shared.failure().is_some()) {
            self.kill(id);
            self.start(id);
        }
    }
}
