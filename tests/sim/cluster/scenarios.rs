//! Cases that are written down, on a simulated cluster: named after their numbers among the design's
//! behaviours, scenarios and review cases.

mod behaviours;
mod cases;
mod cuts;
mod damage;
mod failures;
mod newcomers;

use dledger::group::State;
use dledger::wire::Message;

use super::*;

impl Cluster {
    /// Three members with these sizes, all started.
    pub(super) fn three(seed: u64, flush: &'static str) -> Cluster {
        let settings = settings(4_096, flush);
        Cluster::of(seed, settings, &[1, 2, 3].map(|_| MemoryDisk::new()))
    }

    /// Members on these disks, all started.
    pub(super) fn of(seed: u64, settings: Settings, disks: &[MemoryDisk]) -> Cluster {
        let mut cluster = Cluster::new(seed, Plants::NONE);
        let members = disks.len() as u64;
        cluster.members = (1..)
            .zip(disks)
            .map(|(node, disk)| {
                let settings = Settings { node, members, ..settings.clone() };
                let disk = disk.clone();
                (node, Member::new(disk, settings))
            })
            .collect();
        cluster.membership = Membership::still();
        cluster.rotten = None;
        cluster.power_cuts = settings.flush == "commit";
        for id in cluster.ids_of_members() {
            cluster.start(id);
        }
        cluster
    }

    pub(super) fn leader(&mut self) -> u64 {
        self.until(10_000, |cluster| cluster.ready_leader()).expect("a leader")
    }

    /// A leader, whoever else still takes itself for one.
    fn leader_but(&mut self, id: u64) -> u64 {
        let other = |c: &Cluster| c.members.keys().copied().find(|o| *o != id && c.is_ready(*o));
        self.until(10_000, other).expect("another leader within ten election timeouts")
    }

    fn is_ready(&self, id: u64) -> bool {
        let state = self.members[&id].open.as_ref().map(|open| open.shared.state());
        state.is_some_and(|s| s.role == Role::Leader && s.ready)
    }

    fn state(&self, id: u64) -> State {
        self.members[&id].open.as_ref().expect("it is open").shared.state()
    }

    fn committed(&self, id: u64) -> u64 {
        self.members[&id].open.as_ref().map_or(0, |open| open.shared.committed().0)
    }

    /// All but one, or but two.
    fn others(&self, but: &[u64]) -> Vec<u64> {
        self.members.keys().copied().filter(|id| !but.contains(id)).collect()
    }

    /// Appends one record, if that is possible at once.
    fn put(&mut self, id: u64, len: usize, timeout: Duration) -> Option<Entry> {
        self.ids += 1;
        let body = body(self.ids, len);
        let entry = self.open(id).expect("it is open").append(&body, Some(timeout)).ok()?;
        self.appends.push(Placed { member: id, entry, body, status: None });
        Some(entry)
    }

    /// Appends that many records through the leader, as fast as it takes them.
    fn append_many(&mut self, leader: u64, many: u64) {
        for n in 0..many {
            let mut tries = 0;
            while self.put(leader, 1_500, Duration::from_secs(60)).is_none() {
                tries += 1;
                assert!(tries < 200, "{n} of {many} are taken");
                self.wait(5);
            }
        }
    }

    /// Waits until all that are open have so many records committed.
    pub(super) fn all_come_to(&mut self, index: u64) {
        let ids = self.ids_of_members();
        self.come_to(&ids, index);
    }

    /// Waits until those of them that are open have so many records committed.
    fn come_to(&mut self, ids: &[u64], index: u64) {
        let there = |c: &Cluster| {
            let behind = |id: &&u64| c.members[id].open.is_some() && c.committed(**id) < index;
            ids.iter().find(behind).is_none().then_some(())
        };
        if self.until(30_000, there).is_none() {
            let ends: Vec<u64> = ids.iter().map(|id| self.committed(*id)).collect();
            panic!("not all come to {index}: {ends:?}");
        }
    }

    /// Everybody is there, agrees on something more, and has the same.
    fn all_agree(&mut self) {
        self.cut.clear();
        for id in self.ids_of_members() {
            self.restart(id);
        }
        let leader = self.leader();
        self.append_many(leader, 1);
        let all = self.appends.last().expect("an append").entry.index.0 + 1;
        let ids: Vec<u64> =
            self.ids_of_members().into_iter().filter(|i| self.belongs(*i)).collect();
        self.come_to(&ids, all);
        self.check_final();
    }

    fn wait(&mut self, ms: u64) {
        assert!(self.until(ms, |_| None::<()>).is_none());
    }

    /// Nothing comes from it, and nothing to it.
    pub(super) fn isolate(&mut self, id: u64) {
        for other in self.others(&[id]) {
            self.cut.extend([(id, other), (other, id)]);
        }
        self.flying.retain(|packet| packet.from != id && packet.to != id);
    }

    /// The process is gone, the page cache is not.
    fn stop(&mut self, id: u64) {
        let disk = self.members[&id].disk.restart();
        self.die(id, disk, "kill");
    }

    /// The power is gone, and with it all that was not synced.
    fn lose_power(&mut self, id: u64) {
        let disk = self.members[&id].disk.crash(&mut |n| 1 % n.max(1));
        self.die(id, disk, "power cut");
    }

    /// The power is gone, and with it some of what was not synced.
    fn tear(&mut self, id: u64) {
        let faults = &mut self.faults;
        let disk = self.members[&id].disk.crash(&mut |n| faults.u64(..n.max(1)));
        self.die(id, disk, "power cut");
    }

    /// Waits until somebody leads whose no-op nobody else has, and isolates it.
    fn isolate_a_new_leader(&mut self) -> u64 {
        for _ in 0..2_000 {
            self.work(5);
            self.check();
            let new = |id: &&u64| {
                let state = self.members[id].open.as_ref().map(|open| open.shared.state());
                state.is_some_and(|s| s.role == Role::Leader && !s.ready)
            };
            if let Some(id) = self.members.keys().find(new).copied() {
                self.isolate(id);
                return id;
            }
            for packet in std::mem::take(&mut self.flying) {
                self.arrive(packet);
            }
        }
        panic!("nobody is elected");
    }

    /// A peer's message comes to `to`, whether it was sent or not.
    fn say(&mut self, from: u64, to: u64, message: Message) {
        let raw = Bytes::new();
        let message = FromPeer::Message { from, message: Box::new(message), raw };
        self.open(to).expect("it is open").shared.post_peer(message);
        self.turn(to);
    }
}

pub(super) fn settings(segment_bytes: u64, flush: &'static str) -> Settings {
    Settings {
        segment_bytes,
        index_bytes: 4_096,
        flush,
        unsynced_max: 64 << 10,
        plants: Plants::NONE,
        node: 0,
        members: 0,
    }
}

/// What a packet says.
fn message(packet: &Packet) -> Message {
    let (fixed, rest) = packet.head.split_first_chunk().unwrap();
    FrameHeader::decode(fixed, &limits()).unwrap().message(rest).unwrap()
}
