//! Members that come back when nobody whom they know is there: those who came meanwhile show them
//! the member set.

use dledger::group::MemberOp::{AddLearner, Promote, Remove};
use dledger::wire::Kind;

use super::*;

impl Cluster {
    /// Members 1, 2 and 3 made the group. Those of `new` came while 3 was away, and then 1 and 2
    /// went, each by a change that a majority agreed on without 3. Of the new ones only the first
    /// is there now. They have five records.
    fn left_behind(seed: u64, new: &[u64]) -> Cluster {
        let mut cluster = Cluster::three(seed, "commit");
        for id in new {
            cluster.may_come(*id);
        }
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        cluster.stop(3);
        for id in new {
            cluster.leader();
            cluster.be_born(*id);
            cluster.changed(&[(AddLearner, *id)]);
            cluster.changed(&[(Promote, *id)]);
        }
        let leader = cluster.leader();
        cluster.append_many(leader, 2);
        cluster.all_come_to(5);
        for gone in [1, 2] {
            let leader = cluster.leader();
            if leader == gone {
                let slot = cluster.asked_to_transfer(leader, new[0]);
                assert_eq!(cluster.answered(&slot), Status::Ok);
            }
            cluster.changed(&[(Remove, gone)]);
        }
        for gone in [[1, 2].as_slice(), &new[1..]].concat() {
            cluster.stop(gone);
        }
        let nobody = |c: &Cluster| c.ready_leader().is_none().then_some(());
        cluster.until(5_000, nobody).expect("4 alone is no majority");
        let known = cluster.meta(3).expect("it was born").members;
        assert_eq!(known.voters, [1, 2, 3]);
        assert_eq!(cluster.membership.last(), Some([&[3], new].concat().into_iter().collect()));
        cluster
    }

    /// Its own member set has come to what it was shown.
    fn needs_no_book(&mut self, id: u64) {
        assert_eq!(self.open(id).unwrap().shared.book(), None);
    }

    /// A member that no founder knows, and that may be added.
    fn may_come(&mut self, id: u64) {
        let settings = Settings { node: id, ..self.members[&1].settings.clone() };
        let member = Member::new(MemoryDisk::new(), settings);
        self.members.insert(id, member);
        self.membership.out.insert(id);
    }
}

/// P12. The voters are 3 and 4, and 3 has never heard of 4: it learns from 4 who the members are,
/// and there is a leader.
#[test]
fn two_of_two_that_have_never_met() {
    for seed in 0..6 {
        let mut cluster = Cluster::left_behind(seed, &[4]);
        cluster.start(3);
        let leader = cluster.leader();
        cluster.append_many(leader, 1);
        cluster.come_to(&[3, 4], 6);
        cluster.check_final_members();
        cluster.check_final();
        cluster.needs_no_book(3);
        // It was bound before its votes counted.
        let own = cluster.meta(4).unwrap().incarnation;
        let members = cluster.meta(3).unwrap().members.members;
        assert!(members.iter().any(|member| (member.id, member.incarnation) == (4, own)));
    }
}

/// P12. The same with a third voter, which is gone for good.
#[test]
fn two_of_three_that_have_never_met() {
    for seed in 0..6 {
        let mut cluster = Cluster::left_behind(seed, &[4, 5]);
        cluster.start(3);
        let leader = cluster.leader();
        cluster.append_many(leader, 1);
        cluster.come_to(&[3, 4], 6);
        cluster.start(5);
        cluster.come_to(&[3, 4, 5], 6);
        cluster.check_final_members();
        cluster.check_final();
    }
}

/// P12. A learner that was added and removed while 3 was away, and heard nothing of its removal,
/// shows 3 its set: 3 hears it, until 4 shows a newer one.
#[test]
fn an_older_set_convinces_nobody() {
    for seed in 0..6 {
        let mut cluster = Cluster::three(seed, "commit");
        [4, 5].into_iter().for_each(|id| cluster.may_come(id));
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        cluster.stop(3);
        cluster.be_born(5);
        cluster.changed(&[(AddLearner, 5)]);
        cluster.all_come_to(3);
        let named = |c: &Cluster| {
            let known = c.meta(5).expect("it was born").members;
            known.learners.contains(&5).then_some(())
        };
        cluster.until(5_000, named).expect("5 hears that it was added");
        cluster.isolate(5);
        cluster.be_born(4);
        cluster.changed(&[(AddLearner, 4)]);
        cluster.changed(&[(Promote, 4)]);
        cluster.changed(&[(Remove, 5)]);
        for gone in [1, 2] {
            let leader = cluster.leader();
            if leader == gone {
                let slot = cluster.asked_to_transfer(leader, 4);
                assert_eq!(cluster.answered(&slot), Status::Ok);
            }
            cluster.changed(&[(Remove, gone)]);
            cluster.stop(gone);
        }

        cluster.cut = [(3, 4), (4, 3), (4, 5), (5, 4)].into();
        cluster.start(3);
        let book = cluster.open(3).unwrap().shared.book().expect("5 shows its set");
        assert_eq!(*book, cluster.meta(5).unwrap().members);
        assert!(cluster.links.contains(&(5, 3)));
        cluster.wait(5_000);
        assert_eq!(cluster.ready_leader(), None, "4 alone is no majority");

        cluster.cut.clear();
        let leader = cluster.leader();
        cluster.append_many(leader, 1);
        cluster.come_to(&[3, 4], 4);
        cluster.check_final_members();
        cluster.check_final();
        assert!(!cluster.stands(5, 3), "5 is heard no more");
        cluster.dial();
        assert!(!cluster.links.contains(&(5, 3)), "5 is let in again");
        cluster.needs_no_book(3);
    }
}

/// Review case 8. Who is new in a group whose head is purged begins where the leader's log begins, if
/// its first resets are lost or not; it is sent the rest, and gets a vote.
#[test]
fn case_08_a_new_learner_in_a_purged_group() {
    for losses in [0, 3] {
        let mut cluster = Cluster::three(8, "commit");
        cluster.may_come(4);
        let leader = cluster.leader();
        cluster.append_many(leader, 40);
        cluster.all_come_to(40);
        for id in [1, 2, 3] {
            cluster.open(id).unwrap().shared.ask(Control::DeletePrefix(Index(30)));
        }
        cluster.wait(100);
        let begin = cluster.state(leader).begin;
        assert!(begin.index > Index(0), "nothing was purged");
        cluster.be_born(4);
        let slot = cluster.ask_change(leader, &[(AddLearner, 4)], 60_000).expect("a change");
        let (mut resets, mut lost) = (0, 0);
        for _ in 0..2_000 {
            cluster.work(5);
            for packet in std::mem::take(&mut cluster.flying) {
                let reset = message(&packet).kind() == Kind::Reset;
                resets += usize::from(reset);
                if reset && lost < losses {
                    lost += 1;
                    cluster.meet(packet.from, packet.to);
                } else {
                    cluster.arrive(packet);
                }
            }
            cluster.check();
        }
        assert_eq!(cluster.answered(&slot), Status::Ok);
        assert_eq!((lost, resets > losses), (losses, true));
        assert_eq!((cluster.state(4).begin, cluster.state(4).role), (begin, Role::Learner));
        assert_eq!(cluster.committed(4), 40);
        cluster.changed(&[(Promote, 4)]);
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.come_to(&[1, 2, 3, 4], 43);
        assert_eq!(cluster.open(4).unwrap().shared.members().voters, [1, 2, 3, 4]);
        cluster.check_final_members();
        cluster.check_final();
    }
}
