//! Members that were born to be added, and what was agreed before they came.

use dledger::group::MemberOp::{AddLearner, Promote, Remove};

use super::*;

impl Cluster {
    /// A group that one member founded, and four that may be added.
    fn founder() -> Cluster {
        let mut cluster = Cluster::new(1, Plants::NONE);
        let member = |node| {
            let settings = Settings {
                segment_bytes: 4_096,
                index_bytes: 4_096,
                flush: "commit",
                unsynced_max: 64 << 10,
                plants: Plants::NONE,
                node,
                members: 1,
            };
            Member::new(MemoryDisk::new(), settings)
        };
        cluster.members = (1..=5).map(|node| (node, member(node))).collect();
        cluster.membership = Membership::of_one();
        cluster.power_cuts = true;
        cluster.start(1);
        cluster
    }

    pub(super) fn changed(&mut self, changes: &[(dledger::group::MemberOp, u64)]) {
        let leader = self.leader();
        let slot = self.ask_change(leader, changes, 5_000).expect("a change");
        assert_eq!(self.answered(&slot), Status::Ok, "{changes:?}");
    }
}

/// Entries that are behind a joiner's first set are no changes of it: one that added all of today's
/// voters as learners would leave it without a voter.
#[test]
fn a_joiner_begins_with_the_members_of_today() {
    let mut cluster = Cluster::founder();
    cluster.append_at_last();
    for id in [2, 3, 4] {
        cluster.be_born(id);
    }
    cluster.changed(&[(AddLearner, 2), (AddLearner, 3), (AddLearner, 4)]);
    let last = cluster.append_at_last();
    cluster.all_members_come_to(last);
    cluster.changed(&[(Promote, 2), (Promote, 3), (Promote, 4)]);
    let slot = cluster.asked_to_transfer(1, 2);
    assert_eq!(cluster.answered(&slot), Status::Ok);
    cluster.changed(&[(Remove, 1)]);
    cluster.be_born(5);
    cluster.changed(&[(AddLearner, 5)]);
    let last = cluster.append_at_last();
    let there = |c: &Cluster| c.behind(last).is_empty().then_some(());
    let come = cluster.until(5_000, there);
    let failure = cluster.open(5).unwrap().shared.failure().map(|failure| failure.status);
    assert_eq!((come, failure), (Some(()), None));
    cluster.changed(&[(Promote, 5)]);
    cluster.check_final_members();
    let set = cluster.open(5).unwrap().shared.members();
    assert_eq!((&set.voters[..], &set.learners[..]), (&[2, 3, 4, 5][..], &[][..]));
    assert_eq!(cluster.open(5).unwrap().shared.begin().index, Index(0), "nothing was purged");
    cluster.check_final();
}
