//! A member loses its power at each write of something that it does for the group's sake: it opens,
//! follows again, and has what all have.

use super::*;

/// Runs `until_it_happens` with the power of a member gone at its `n`-th write from `mark` on, for
/// each `n` that there is; then the member comes back. Returns how many there were.
fn at_each_write(prepare: impl Fn() -> (Cluster, u64), happens: impl Fn(&mut Cluster)) -> u64 {
    for n in 0..1_000 {
        let (mut cluster, id) = prepare();
        cluster.members[&id].disk.fail_after_ops(n);
        happens(&mut cluster);
        let over = cluster.members[&id].disk.space("").is_ok();
        if over {
            cluster.members[&id].disk.fail_after_ops(u64::MAX);
            cluster.all_agree();
            return n;
        }
        for torn in 0..2 {
            if torn == 0 {
                cluster.lose_power(id)
            } else {
                cluster.tear(id)
            }
            cluster.start(id);
        }
        cluster.all_agree();
        let leader = cluster.leader();
        assert_eq!(anchors(&cluster, id, leader), anchors(&cluster, leader, id), "cut at {n}");
    }
    panic!("it never ends");
}

/// Where each Raft entry ends in the log of `id`, from where both logs begin.
fn anchors(cluster: &Cluster, id: u64, other: u64) -> Vec<Option<dledger::types::Anchor>> {
    let log = |id: u64| cluster.members[&id].open.as_ref().unwrap().driver.log();
    let from = log(id).begin().raft_index.max(log(other).begin().raft_index);
    let end = log(id).end().raft_index.min(log(other).end().raft_index);
    (from.0..=end.0).map(|n| log(id).anchor(dledger::types::RaftIndex(n))).collect()
}

/// Review case 1, scenario 10. A former leader has a tail that is checkpointed and that nobody else
/// has, with a control entry in it: it is overwritten, and nothing of it comes back.
#[test]
fn case_01_scenario_10_a_checkpointed_tail_is_overwritten() {
    let prepare = || {
        let mut cluster = Cluster::three(1, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        cluster.stop(leader);
        let old = cluster.isolate_a_new_leader();
        cluster.start(leader);
        cluster.isolate(old);
        for _ in 0..6 {
            cluster.put(old, 1_200, Duration::from_secs(60)).expect("it is taken");
            cluster.wait(20);
        }
        cluster.wait(200);
        let meta = cluster.meta(old).unwrap();
        assert_eq!(meta.durable.index, Index(9), "its tail is checkpointed");
        let new = cluster.leader_but(old);
        cluster.append_many(new, 2);
        let others = cluster.others(&[old]);
        cluster.come_to(&others, 5);
        (cluster, old)
    };
    let writes = at_each_write(prepare, |cluster| {
        cluster.mend();
        cluster.wait(1_500);
    });
    println!("{writes} writes");
    assert!(writes > 10, "{writes} writes");
}

/// Scenarios 3 and 24. A member behind its leader's begin is reset.
#[test]
fn scenario_03_a_reset_is_whole_or_not_there() {
    let prepare = || {
        let mut cluster = Cluster::three(3, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 7);
        cluster.all_come_to(7);
        let away = cluster.others(&[leader])[0];
        cluster.wait(200);
        cluster.isolate(away);
        cluster.append_many(leader, 30);
        let others = cluster.others(&[away]);
        cluster.come_to(&others, 37);
        for id in others {
            cluster.open(id).unwrap().shared.ask(Control::DeletePrefix(Index(25)));
        }
        cluster.wait(100);
        assert!(cluster.state(leader).begin.index > Index(20));
        (cluster, away)
    };
    let writes = at_each_write(prepare, |cluster| {
        cluster.mend();
        cluster.wait(1_500);
    });
    println!("{writes} writes");
    assert!(writes > 20, "{writes} writes");
}

/// Review case 4, scenario 21. What comes in one turn touches `meta`, `control` and two segments.
#[test]
fn case_04_scenario_21_a_turn_that_touches_all_files() {
    let prepare = || {
        let mut cluster = Cluster::three(4, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        let slow = cluster.others(&[leader])[0];
        cluster.hung.insert(slow);
        cluster.stop(leader);
        cluster.start(leader);
        // Another term, and records over several segments, come to the slow one at once.
        let now = cluster.leader_but(slow);
        cluster.append_many(now, 5);
        let others = cluster.others(&[slow]);
        cluster.come_to(&others, 8);
        (cluster, slow)
    };
    let writes = at_each_write(prepare, |cluster| {
        cluster.hung.clear();
        cluster.wait(1_500);
    });
    println!("{writes} writes");
    assert!(writes > 5, "{writes} writes");
}

/// Review case 9. All lose their power while one large batch is under way, torn each in its own way;
/// one of them is gone for good, the others go on with all that was acknowledged.
#[test]
fn case_09_a_large_batch_is_torn_on_all() {
    let mut whole = 0;
    for seed in 0..30 {
        let settings = settings(65_536, "commit");
        let mut cluster = Cluster::of(seed, settings, &[1, 2, 3].map(|_| MemoryDisk::new()));
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        for _ in 0..20 {
            cluster.put(leader, 2_500, Duration::from_secs(60)).expect("there is room");
        }
        // Somewhere on its way from the leader's disk to the acknowledgement.
        for _ in 0..cluster.rng.usize(0..12) {
            let id = cluster.any();
            cluster.turn(id);
            cluster.fly();
            cluster.deliver(id);
            cluster.check();
        }
        let gone = cluster.any();
        for id in 1..=3 {
            cluster.tear(id);
        }
        cluster.flying.clear();
        for id in cluster.others(&[gone]) {
            cluster.start(id);
        }
        let leader = cluster.leader();
        cluster.append_many(leader, 1);
        whole += u32::from(cluster.state(leader).end.index.0 > 20);
        let all = cluster.state(leader).end.index.0;
        cluster.all_come_to(all);
        cluster.start(gone);
        cluster.all_agree();
    }
    assert!((1..30).contains(&whole), "the batch is there {whole} times of 30");
}
