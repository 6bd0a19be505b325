//! Who is let in under an id: the incarnation that the group has agreed on, even with members that
//! never met it.

use super::*;

impl Cluster {
    /// Three on fresh disks, of whom some never meet; none is started.
    fn strangers(seed: u64, strangers: &[(u64, u64)]) -> Cluster {
        let mut cluster = Cluster::three(seed, "commit");
        for id in 1..=3 {
            cluster.die(id, MemoryDisk::new(), "a fresh disk");
        }
        cluster.flying.clear();
        cluster.cut = strangers.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect();
        cluster
    }

    /// Which incarnation of `id` a member lets in.
    fn bound(&self, by: u64, id: u64) -> u64 {
        let members = self.meta(by).expect("it was born").members.members;
        members.iter().find(|member| member.id == id).map_or(0, |member| member.incarnation)
    }

    fn comes_to_lead(&mut self, id: u64) {
        for _ in 0..10 {
            let leader = self.leader();
            if leader == id {
                return;
            }
            let slot = self.asked_to_transfer(leader, id);
            self.answered(&slot);
        }
        panic!("member {id} does not lead");
    }
}

/// A leader that met all has the group agree on whom it met: a member that lost its disk is refused
/// by one that never met the one that it was, and has no second vote of a term there (P11).
#[test]
fn an_incarnation_is_agreed() {
    for seed in 0..6 {
        let mut cluster = Cluster::strangers(seed, &[(2, 3)]);
        (1..=3).for_each(|id| cluster.start(id));
        cluster.comes_to_lead(1);
        let own = cluster.meta(3).unwrap().incarnation;
        let agreed = |c: &Cluster| (c.bound(2, 3) == own).then_some(());
        cluster.until(5_000, agreed).expect("member 2 hears who 3 is");
        cluster.wipe(3);
        assert_eq!(cluster.wiped, Some(3));
        cluster.cut.clear();
        cluster.start(3);
        assert_eq!(cluster.bound(2, 3), own);
        assert!(cluster.links.iter().all(|(a, b)| *a != 3 && *b != 3));
        let disk = cluster.members[&1].disk.restart();
        cluster.die(1, disk, "kill");
        assert_eq!(cluster.until(10_000, |c| c.ready_leader()), None, "2 has no quorum");
        cluster.start(1);
        cluster.append_at_last();
        assert_eq!(cluster.meta(3).unwrap().vote, 0);
        cluster.check_final();
    }
}

/// What is agreed goes before what a member bound by itself.
#[test]
fn what_is_agreed_replaces_what_one_bound() {
    let mut cluster = Cluster::strangers(1, &[]);
    cluster.start(1);
    cluster.start(3);
    cluster.leader();
    let own = cluster.meta(3).unwrap().incarnation;
    cluster.append_at_last();
    let disk = cluster.members[&3].disk.restart();
    cluster.die(3, MemoryDisk::new(), "another disk");
    cluster.members.get_mut(&3).unwrap().term = 0;
    cluster.cut = [(1, 2), (2, 1), (1, 3), (3, 1)].into();
    cluster.start(2);
    cluster.start(3);
    let other = cluster.meta(3).unwrap().incarnation;
    assert_eq!((cluster.bound(2, 3), cluster.links.contains(&(3, 2))), (other, true));
    cluster.cut = [(2, 3), (3, 2), (1, 3), (3, 1)].into();
    let replaced = |c: &Cluster| (c.bound(2, 3) == own).then_some(());
    cluster.until(20_000, replaced).expect("2 hears who 3 is");
    cluster.cut.clear();
    assert!(!cluster.stands(3, 2), "what it sends is heard no more");
    cluster.dial();
    assert!(cluster.links.iter().all(|(from, _)| *from != 3));
    cluster.die(3, disk, "the disk that it had");
    cluster.start(3);
    assert!(cluster.links.contains(&(3, 2)) && cluster.links.contains(&(2, 3)));
    let last = cluster.append_at_last();
    cluster.all_come_to(last + 1);
    cluster.check_final();
}
