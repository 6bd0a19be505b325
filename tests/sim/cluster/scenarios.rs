//! Cases that are written down, on a simulated cluster of three: named after their numbers among the
//! design's thirty scenarios and seventeen review cases.

use dledger::disk::Disk;

use super::*;

impl Cluster {
    /// Three members with these sizes, all started.
    pub(super) fn three(seed: u64, flush: &'static str) -> Cluster {
        let mut cluster = Cluster::new(seed, Plants::NONE);
        cluster.members = (1..=3)
            .map(|node| {
                let settings = Settings {
                    segment_bytes: 4_096,
                    index_bytes: 4_096,
                    flush,
                    unsynced_max: 64 << 10,
                    plants: Plants::NONE,
                    node,
                    members: 3,
                };
                let disk = MemoryDisk::new();
                (node, Member { disk, open: None, settings, checked: 0, term: 0 })
            })
            .collect();
        cluster.membership = Membership::still();
        cluster.power_cuts = flush == "commit";
        for id in 1..=3 {
            cluster.start(id);
        }
        cluster
    }

    pub(super) fn leader(&mut self) -> u64 {
        self.until(10_000, |cluster| cluster.ready_leader()).expect("a leader")
    }

    /// Appends that many records through the leader, as fast as it takes them.
    fn append_many(&mut self, leader: u64, many: u64) {
        for _ in 0..many {
            self.ids += 1;
            let body = body(self.ids, 1_500);
            for _ in 0..200 {
                let open = self.open(leader).expect("it is open");
                if let Ok(entry) = open.append(&body, Some(Duration::from_secs(60))) {
                    self.appends.push(Placed { member: leader, entry, body, status: None });
                    break;
                }
                self.round(5);
                self.check();
            }
        }
    }

    fn committed(&self, id: u64) -> u64 {
        self.members[&id].open.as_ref().map_or(0, |open| open.shared.committed().0)
    }

    /// Waits until all that are open have so many records committed.
    pub(super) fn all_come_to(&mut self, index: u64) {
        let there = |c: &Cluster| {
            let behind = |id: &&u64| c.members[id].open.is_some() && c.committed(**id) < index;
            c.members.keys().find(behind).is_none().then_some(())
        };
        if self.until(30_000, there).is_none() {
            let ends: Vec<u64> = self.members.keys().map(|id| self.committed(*id)).collect();
            panic!("not all come to {index}: {ends:?}");
        }
    }
}

/// Review case 12. The disk of a follower is full, at each allocation there is: the others go on, it
/// votes (without its vote nobody could be elected), and with room again it catches up.
#[test]
fn case_12_full_disk_on_a_follower() {
    for blocks in 0..24 {
        let mut cluster = Cluster::three(blocks, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 5);
        cluster.all_come_to(5);
        let full = (1..=3).find(|id| *id != leader).unwrap();
        let disk = cluster.members[&full].disk.clone();
        let space = disk.space().unwrap();
        disk.set_capacity(space.total - space.available + blocks * 4_096);
        cluster.append_many(leader, 300);
        let third = 6 - leader - full;
        let there = |c: &Cluster| (c.committed(third) >= 305).then_some(());
        cluster.until(10_000, there).expect("two of three go on");
        assert!(cluster.committed(full) < 305, "{blocks} blocks are room for all");
        let disk = cluster.members[&leader].disk.restart();
        cluster.die(leader, disk, "kill");
        let leads = |c: &Cluster| {
            let open = c.members[&third].open.as_ref()?;
            (open.shared.state().role == Role::Leader).then_some(())
        };
        cluster.until(10_000, leads).expect("it votes for the member that has all");
        cluster.members[&full].disk.set_capacity(u64::MAX);
        assert_eq!(cluster.leader(), third);
        cluster.append_many(third, 3);
        cluster.all_come_to(308);
        cluster.start(leader);
        cluster.all_come_to(308);
        cluster.check_final();
    }
}
