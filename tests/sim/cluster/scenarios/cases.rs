//! Review cases that need a group.

use dledger::wire::Kind;

use super::*;
use crate::dledger_files::{DLedger, SEGMENT};

/// Review case 3. Records that DLedger wrote have no checksums, and cannot be sent to a member that
/// lacks them: that one refuses them, keeps what it has and goes on refusing; nothing is agreed, and
/// nobody ends.
#[test]
fn case_03_dledgers_records_meet_a_shorter_member() {
    for begins_above_0 in [false, true] {
        let mut old = DLedger::new(SEGMENT, 4_096);
        if begins_above_0 {
            old.next = (7, 2 * SEGMENT);
        }
        for n in 0..12u8 {
            old.append(&[n; 700]);
        }
        old.state(0, None);
        let disks = [old.disk(), MemoryDisk::new(), MemoryDisk::new()];
        let mut cluster = Cluster::of(3, settings(SEGMENT, "commit"), &disks);
        let before = cluster.state(1);
        assert_eq!(before.end.index.0 - before.begin.index.0, 12);
        for _ in 0..2_000 {
            cluster.round(5);
        }
        assert!(cluster.ready_leader().is_none(), "nothing is agreed");
        assert!(cluster.closed.load(Ordering::Relaxed) > 0, "it was not refused");
        for id in 1..=3 {
            assert!(cluster.open(id).unwrap().shared.failure().is_none(), "member {id}");
        }
        assert_eq!(cluster.state(1).end, before.end);
        for id in [2, 3] {
            assert_eq!((cluster.committed(id), cluster.state(id).end.index.0), (0, 0));
        }
    }
}

/// Members that all have the same directory of DLedger's go on behind it.
#[test]
fn case_03_the_same_directory_of_dledgers_everywhere() {
    for term in [0, 3] {
        let mut old = DLedger::new(SEGMENT, 4_096);
        old.term = term;
        for n in 0..12u8 {
            old.append(&[n; 700]);
        }
        old.state(term, None);
        let disks = [old.disk(), old.disk(), old.disk()];
        let mut cluster = Cluster::of(3, settings(SEGMENT, "commit"), &disks);
        // What DLedger's members appended.
        let open = cluster.open(1).unwrap();
        assert_eq!(open.shared.state().end.index.0, 12);
        for record in &old.records {
            let entry = Entry {
                index: Index(record.index),
                term: record.term,
                pos: record.pos,
                body_len: record.body.len() as u32,
            };
            let (body, status) = (record.body.clone(), Some(Status::LeaderLost));
            cluster.appends.push(Placed { member: 0, entry, body, status });
        }
        let leader = cluster.leader();
        cluster.append_many(leader, 9);
        cluster.all_come_to(21);
        for id in 1..=3 {
            cluster.lose_power(id);
        }
        cluster.all_agree();
    }
}

/// Review case 5, P11. A voter loses its disk right behind its vote and comes back under a new
/// incarnation while the election is not over: it does not vote again in that term.
#[test]
fn case_05_a_voter_loses_its_disk_between_two_votes() {
    let mut voted = 0;
    for seed in 0..12 {
        let mut cluster = Cluster::three(seed, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        cluster.stop(leader);
        let voter = loop {
            cluster.work(5);
            let vote = |p: &&Packet| {
                matches!(message(p), Message::VoteReply { pre: false, reject: false, .. })
            };
            if let Some(vote) = cluster.flying.iter().find(vote) {
                break vote.from;
            }
            for packet in std::mem::take(&mut cluster.flying) {
                cluster.arrive(packet);
            }
        };
        // The vote may come or not.
        let votes = std::mem::take(&mut cluster.flying);
        if seed % 2 == 0 {
            votes.into_iter().for_each(|packet| cluster.arrive(packet));
        }
        cluster.wipe(voter);
        assert_eq!(cluster.wiped, Some(voter));
        cluster.start(voter);
        cluster.start(leader);
        let now = cluster.leader_but(voter);
        cluster.append_many(now, 3);
        let others = cluster.others(&[voter]);
        cluster.come_to(&others, 6);
        let meta = cluster.meta(voter).unwrap();
        assert_eq!((meta.term, meta.vote), (0, 0), "it took part");
        voted += 1;
        cluster.all_agree();
    }
    assert_eq!(voted, 12);
}

/// Review case 8, as far as voters go. Resets to a member behind begin are lost, noticed or not: it
/// is reset all the same.
#[test]
fn case_08_scenario_23_resets_are_lost() {
    for noticed in [true, false] {
        let (mut cluster, leader, away) = one_behind_begin();
        let mut lost = 0;
        for _ in 0..2_000 {
            cluster.work(5);
            for packet in std::mem::take(&mut cluster.flying) {
                if lost < 3 && message(&packet).kind() == Kind::Reset {
                    lost += 1;
                    if noticed {
                        let open = cluster.open(packet.from).unwrap();
                        open.shared.post_peer(FromPeer::Lost { id: packet.to });
                    } else {
                        // The connection dies of it, as one that loses bytes does.
                        cluster.meet(packet.from, packet.to);
                    }
                } else {
                    cluster.arrive(packet);
                }
            }
            cluster.check();
        }
        assert_eq!((lost, cluster.committed(away)), (3, 44));
        assert_eq!(cluster.state(away).begin, cluster.state(leader).begin);
        cluster.all_agree();
    }
}

/// Review case 8, scenario 23. A member that was reset has no connection of its own yet, and so its
/// answer is lost, which nobody notices: it is sent what follows all the same.
#[test]
fn case_08_scenario_23_the_answer_to_a_reset_is_lost() {
    let (mut cluster, leader, away) = one_behind_begin();
    let begin = cluster.state(leader).begin;
    let mut lost = 0;
    for _ in 0..2_000 {
        cluster.work(5);
        for packet in std::mem::take(&mut cluster.flying) {
            let answers = packet.from == away && message(&packet).kind() == Kind::AppendReply;
            if lost == 0 && answers && cluster.state(away).begin == begin {
                lost += 1;
            } else {
                cluster.arrive(packet);
            }
        }
        cluster.check();
    }
    assert_eq!((lost, cluster.committed(away)), (1, 44));
    cluster.all_agree();
}

/// Three members, the leader, and one that comes back behind the begin of the others.
fn one_behind_begin() -> (Cluster, u64, u64) {
    let mut cluster = Cluster::three(8, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 4);
    cluster.all_come_to(4);
    let away = cluster.others(&[leader])[0];
    cluster.isolate(away);
    cluster.append_many(leader, 40);
    let others = cluster.others(&[away]);
    cluster.come_to(&others, 44);
    for id in others {
        cluster.open(id).unwrap().shared.ask(Control::DeletePrefix(Index(35)));
    }
    cluster.wait(100);
    cluster.mend();
    (cluster, leader, away)
}

/// Review case 11, scenario 8. With `flush=<interval>` a follower loses its unsynced tail, and is
/// back behind what its leader took it to have: it is sent the rest, with traffic and without.
#[test]
fn case_11_scenario_08_a_follower_loses_its_unsynced_tail() {
    for traffic in [true, false] {
        let mut cluster = Cluster::three(11, "10ms");
        let leader = cluster.leader();
        cluster.append_many(leader, 3);
        cluster.all_come_to(3);
        cluster.wait(100);
        let follower = cluster.others(&[leader])[0];
        let lost = (0..20).any(|_| {
            let many = cluster.agreed.len() as u64;
            cluster.put(leader, 1_000, Duration::from_secs(60)).expect("it is taken");
            cluster.round(1);
            cluster.round(1);
            cluster.come_to(&[leader], many + 1);
            let before = cluster.state(follower).end;
            cluster.lose_power(follower);
            cluster.start(follower);
            let now = cluster.state(follower).end;
            if traffic {
                cluster.append_many(leader, 1);
            }
            let all = cluster.state(leader).end.index.0;
            cluster.come_to(&[1, 2, 3], all);
            now < before
        });
        assert!(lost, "it never lost anything");
        assert_eq!(cluster.leader(), leader);
        cluster.all_agree();
    }
}

/// Review case 13. A hook pauses on the leader for ten election timeouts, in the append lock: it
/// leads on, and the group answers barriers.
#[test]
fn case_13_a_hook_that_pauses_costs_no_leadership() {
    let mut cluster = Cluster::three(13, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 3);
    cluster.all_come_to(3);
    let term = cluster.state(leader).term;
    let shared = cluster.open(leader).unwrap().shared.clone();
    let hook = shared.staging.lock().unwrap();
    for _ in 0..10 {
        cluster.read_index(leader);
        cluster.wait(1_000);
    }
    drop(hook);
    assert_eq!((cluster.leader(), cluster.state(leader).term), (leader, term));
    assert_eq!(cluster.covered, 10);
    cluster.append_many(leader, 3);
    cluster.all_come_to(6);
    cluster.all_agree();
}

/// Review case 14. Nothing of what the helper threads have to do is done for ten election timeouts,
/// on any member: the leader stays, appends that find room commit, and a member that lags is fed.
#[test]
fn case_14_slow_work_elsewhere_in_a_group() {
    let mut cluster = Cluster::three(14, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 20);
    cluster.all_come_to(20);
    let lags = cluster.others(&[leader])[0];
    cluster.stop(lags);
    cluster.append_many(leader, 4);
    let term = cluster.state(leader).term;
    cluster.open(leader).unwrap().shared.ask(Control::DeletePrefix(Index(9)));
    cluster.idle = (1..=3).collect();
    cluster.start(lags);
    let mut taken = 0;
    for _ in 0..10 {
        taken += u64::from(cluster.put(leader, 200, Duration::from_secs(60)).is_some());
        cluster.wait(1_000);
    }
    assert_eq!((cluster.leader(), cluster.state(leader).term), (leader, term));
    assert!(taken > 0, "there was room for one");
    assert_eq!(cluster.committed(leader), 24 + taken);
    assert!(cluster.committed(lags) > 20, "{}", cluster.committed(lags));
    cluster.idle.clear();
    cluster.append_many(leader, 10);
    cluster.all_come_to(34 + taken);
    cluster.all_agree();
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
        let space = disk.space("").unwrap();
        disk.set_capacity(space.total - space.available + blocks * 4_096);
        cluster.append_many(leader, 300);
        let third = 6 - leader - full;
        let there = |c: &Cluster| (c.committed(third) >= 305).then_some(());
        cluster.until(10_000, there).expect("two of three go on");
        assert!(cluster.committed(full) < 305, "{blocks} blocks are room for all");
        cluster.stop(leader);
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
