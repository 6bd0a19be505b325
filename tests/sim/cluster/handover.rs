//! Review cases of transfers and membership changes, named after their numbers.

use dledger::group::MemberOp;
use dledger::group::waiters::Slot;

use super::scenarios::settings;
use super::*;

impl Cluster {
    fn founders() -> Cluster {
        let mut cluster = Cluster::three(1, "commit");
        cluster.append_at_last();
        cluster
    }

    pub(super) fn answered(&mut self, slot: &Arc<Slot>) -> Status {
        let answer = |_: &Cluster| slot.look(Duration::ZERO).map(|(status, _)| status);
        self.until(10_000, answer).expect("an answer")
    }

    pub(super) fn asked_to_transfer(&mut self, of: u64, to: u64) -> Arc<Slot> {
        let slot = Arc::new(Slot::default());
        let deadline = self.clock.load(Ordering::Relaxed) + 5_000_000_000;
        let control = Control::Transfer { slot: slot.clone(), to, deadline };
        self.open(of).unwrap().shared.ask(control);
        slot
    }
}

/// Review case 6. What is staged when a transfer begins is agreed before it; what comes meanwhile is
/// refused; a transfer that nobody takes ends in the same term, and appends go on without a gap.
#[test]
fn case_6_appends_around_a_transfer() {
    for nobody_takes_it in [false, true] {
        let mut cluster = Cluster::founders();
        let leader = cluster.leader();
        let to = leader % 3 + 1;
        let term = cluster.open(leader).unwrap().shared.state().term;
        for _ in 0..5 {
            cluster.append(leader);
        }
        if nobody_takes_it {
            cluster.cut.insert((leader, to));
        }
        let slot = cluster.asked_to_transfer(leader, to);
        cluster.append(leader);
        cluster.turn(leader);
        let refused = cluster.open(leader).unwrap().append(b"meanwhile", None);
        assert_eq!(refused.map(|_| ()), Err(Status::Transferring));
        let status = cluster.answered(&slot);
        let state = cluster.open(leader).unwrap().shared.state();
        if nobody_takes_it {
            assert_eq!(status, Status::TimedOut);
            assert_eq!((state.role, state.term), (Role::Leader, term));
        } else {
            assert_eq!((status, state.leader_id), (Status::Ok, to));
        }
        cluster.hear(leader);
        let ended = cluster.appends.iter().map(|append| append.status);
        assert!(ended.eq([Some(Status::Ok); 7]), "what was in flight is agreed first");
        cluster.cut.clear();
        let last = cluster.append_at_last();
        cluster.all_come_to(last + 1);
        assert_eq!(last, 7, "six were taken, and no index is left out");
        cluster.check_final();
    }
}

/// Review case 6. What is in flight is agreed before the leadership goes, also where the member that
/// is to have it has all of that long before a majority has.
#[test]
fn case_6_a_transfer_waits_for_what_is_in_flight() {
    let disks = [(); 5].map(|()| MemoryDisk::new());
    let mut cluster = Cluster::of(1, settings(4_096, "commit"), &disks);
    cluster.append_at_last();
    let leader = cluster.leader();
    let to = leader % 5 + 1;
    let term = cluster.open(leader).unwrap().shared.state().term;
    for other in (1..=5).filter(|id| ![leader, to].contains(id)) {
        cluster.cut.insert((leader, other));
    }
    cluster.append(leader);
    let slot = cluster.asked_to_transfer(leader, to);
    for _ in 0..20 {
        cluster.round(5);
    }
    let matched = cluster.open(to).unwrap().shared.log_end();
    assert_eq!(matched, cluster.open(leader).unwrap().shared.log_end(), "it has all");
    let state = cluster.open(leader).unwrap().shared.state();
    assert_eq!((state.role, state.term), (Role::Leader, term));
    cluster.cut.clear();
    assert_eq!(cluster.answered(&slot), Status::Ok);
    cluster.hear(leader);
    assert!(cluster.appends.iter().all(|append| append.status == Some(Status::Ok)));
    assert_eq!(cluster.leader(), to);
    let last = cluster.append_at_last();
    cluster.all_come_to(last + 1);
    cluster.check_final();
}

/// Review case 7. A leader neither removes nor demotes itself; it hands over, and then the next one
/// removes it with a batch behind.
#[test]
fn case_7_a_leader_that_goes() {
    for op in [MemberOp::Remove, MemberOp::Demote] {
        let mut cluster = Cluster::founders();
        let leader = cluster.leader();
        let slot = cluster.ask_change(leader, &[(op, leader)], 5_000).unwrap();
        assert_eq!(cluster.answered(&slot), Status::Invalid);
        let slot = cluster.asked_to_transfer(leader, 0);
        assert_eq!(cluster.answered(&slot), Status::Ok);
        let next = cluster.leader();
        assert_ne!(next, leader);
        let slot = cluster.ask_change(next, &[(op, leader)], 5_000).unwrap();
        for _ in 0..3 {
            cluster.append(next);
        }
        assert_eq!(cluster.answered(&slot), Status::Ok);
        let last = cluster.append_at_last();
        cluster.all_members_come_to(last);
        cluster.check_final();
    }
}

/// Review case 16. One change at a time, whoever asks; and the addresses of all move in one.
#[test]
fn case_16_a_change_with_another_pending() {
    let mut cluster = Cluster::founders();
    let leader = cluster.leader();
    let all = [(MemberOp::Move, 1), (MemberOp::Move, 2), (MemberOp::Move, 3)];
    let other = leader % 3 + 1;
    let first = cluster.ask_change(leader, &all, 5_000).unwrap();
    let second = cluster.ask_change(leader, &[(MemberOp::Demote, other)], 5_000).unwrap();
    assert_eq!(cluster.answered(&second), Status::ChangePending);
    assert_eq!(cluster.answered(&first), Status::Ok);
    let third = cluster.ask_change(leader, &[(MemberOp::Demote, other)], 5_000).unwrap();
    assert_eq!(cluster.answered(&third), Status::Ok);
    let set = cluster.open(leader).unwrap().shared.members();
    assert_eq!((set.voters.len(), &set.learners[..]), (2, &[other][..]));
    let last = cluster.append_at_last();
    cluster.all_members_come_to(last);
    cluster.check_final();
}

/// Review case 7. Who is removed may be who leads when that is agreed: it steps down, and the member
/// that is left alone leads, though nobody is there to be missed.
#[test]
fn case_7_the_last_one_leads() {
    let mut led = 0;
    for seed in 0..12 {
        let mut cluster = Cluster::three(seed, "commit");
        cluster.append_at_last();
        let stays = cluster.leader();
        let (goes, third) = (stays % 3 + 1, (stays + 1) % 3 + 1);
        let slot = cluster.ask_change(stays, &[(MemberOp::Remove, third)], 5_000).unwrap();
        assert_eq!(cluster.answered(&slot), Status::Ok);
        cluster.cut.insert((goes, stays));
        cluster.ask_change(stays, &[(MemberOp::Remove, goes)], 5_000).unwrap();
        cluster.round(1);
        cluster.round(1);
        cluster.cut.insert((stays, goes));
        let alone = |c: &Cluster| (c.leading().is_empty()).then_some(());
        cluster.until(5_000, alone).expect("without the other it does not lead");
        cluster.cut.clear();
        let leads = |c: &Cluster| {
            let set = c.members[&stays].open.as_ref()?.shared.members();
            (c.ready_leader() == Some(stays) && set.voters == [stays]).then_some(())
        };
        cluster.until(10_000, leads).expect("the one that is left leads");
        led += usize::from(cluster.leaders.values().any(|leader| *leader == goes));
        let last = cluster.append_at_last();
        cluster.all_members_come_to(last);
        cluster.check_final();
    }
    assert!(led > 0, "it was never led by the one that goes");
}
