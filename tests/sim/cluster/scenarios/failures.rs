//! Scenarios that real systems got wrong, and that need a group.

use dledger::error::Status;
use dledger::types::RaftIndex;
use dledger::wire::{Campaign, Kind};

use super::*;

/// Whether `voter` promises its vote to `from`, in a term after its own.
fn asks(cluster: &mut Cluster, from: u64, voter: u64, term: u64) -> bool {
    let last = cluster.open(voter).unwrap().shared.log_end();
    let (commit, commit_term) = (RaftIndex(0), 0);
    let request = Message::VoteRequest {
        term,
        campaign: Campaign::Transfer,
        last: last.raft_index,
        last_term: last.term,
        commit,
        commit_term,
    };
    cluster.say(from, voter, request);
    let mut replies = cluster.flying.iter().filter(|p| (p.from, p.to) == (voter, from));
    let granted = replies.any(|packet| match message(packet) {
        Message::VoteReply { term: t, pre: false, reject, .. } => t == term && !reject,
        _ => false,
    });
    cluster.flying.clear();
    granted
}

/// Scenario 4. A vote is on disk before it is told: whatever is lost then, no other gets one of
/// that term.
#[test]
fn scenario_04_a_vote_outlives_the_power() {
    let mut cluster = Cluster::three(4, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 3);
    cluster.all_come_to(3);
    let [voter, other] = cluster.others(&[leader])[..] else { unreachable!() };
    for n in 0..20 {
        let term = cluster.state(voter).term + 1;
        let (first, second) = if n % 2 == 0 { (leader, other) } else { (other, leader) };
        assert!(asks(&mut cluster, first, voter, term), "nothing speaks against it");
        cluster.lose_power(voter);
        cluster.start(voter);
        assert!(!asks(&mut cluster, second, voter, term), "two votes in term {term}");
        assert!(asks(&mut cluster, first, voter, term), "the same vote again");
    }
    cluster.all_agree();
}

/// Scenario 5, behaviour 17. The moment an append is acknowledged all members lose their power and
/// all that was not synced: it is there, also on the two that did not lead.
#[test]
fn scenario_05_behaviour_17_all_lose_power_at_an_acknowledgement() {
    let mut cluster = Cluster::three(5, "commit");
    for n in 0..12 {
        let leader = cluster.leader();
        let at = cluster.appends.len();
        let entry = cluster.put(leader, 200 + 100 * n, Duration::from_secs(60)).expect("room");
        while cluster.appends[at].status.is_none() {
            cluster.work(1);
            for packet in std::mem::take(&mut cluster.flying) {
                cluster.arrive(packet);
            }
            // It is heard of before anybody does anything more.
            cluster.hear(leader);
        }
        assert_eq!(cluster.appends[at].status, Some(Status::Ok));
        for id in 1..=3 {
            cluster.lose_power(id);
        }
        // Those that only acknowledged it have to have it, too.
        for id in cluster.others(&[leader]) {
            cluster.start(id);
        }
        let next = cluster.leader();
        cluster.append_many(next, 1);
        cluster.start(leader);
        cluster.all_come_to(entry.index.0 + 2);
        assert!(cluster.agreed[entry.index.0 as usize].0 == entry, "{entry:?} is gone");
    }
    cluster.all_agree();
}

/// Scenario 6, P11. A member comes back under its old id with an empty disk: nobody lets it in, it
/// votes for nobody, and the group goes on without it.
#[test]
fn scenario_06_an_emptied_disk_under_the_old_id() {
    for seed in 0..6 {
        let mut cluster = Cluster::three(seed, "commit");
        let leader = cluster.leader();
        cluster.append_many(leader, 5);
        cluster.all_come_to(5);
        let wiped = if seed % 2 == 0 { leader } else { cluster.others(&[leader])[0] };
        let before = cluster.meta(wiped).unwrap().incarnation;
        cluster.wipe(wiped);
        assert_eq!(cluster.wiped, Some(wiped));
        cluster.start(wiped);
        let now = cluster.leader_but(wiped);
        cluster.append_many(now, 5);
        let others = cluster.others(&[wiped]);
        cluster.come_to(&others, 10);
        cluster.wait(5_000);
        let meta = cluster.meta(wiped).unwrap();
        assert_ne!(meta.incarnation, before);
        assert_eq!((meta.term, meta.vote, cluster.state(wiped).end.index.0), (0, 0, 0));
        assert!(cluster.links.iter().all(|(a, b)| *a != wiped && *b != wiped));
        // The other two are the quorum: without one of them there is none.
        cluster.stop(others[0]);
        cluster.wait(10_000);
        assert_eq!(cluster.ready_leader(), None);
        cluster.all_agree();
    }
}

/// Scenario 11. Who has the longer log with the lower last term is not elected over who has what is
/// agreed.
#[test]
fn scenario_11_a_longer_log_of_an_older_term_does_not_win() {
    let mut cluster = Cluster::three(11, "commit");
    let old = cluster.leader();
    cluster.append_many(old, 2);
    cluster.all_come_to(2);
    cluster.isolate(old);
    for _ in 0..10 {
        cluster.put(old, 200, Duration::from_secs(60)).expect("it is taken");
    }
    let new = cluster.leader_but(old);
    cluster.append_many(new, 1);
    let third = cluster.others(&[old, new])[0];
    cluster.come_to(&[new, third], 3);
    cluster.wait(2_000);
    assert!(cluster.state(old).role != Role::Leader, "it stepped down");
    cluster.stop(new);
    cluster.cut.clear();
    let terms = cluster.leaders.len();
    assert_eq!(cluster.leader_but(new), third);
    cluster.wait(5_000);
    let leaders: BTreeSet<u64> = cluster.leaders.values().copied().collect();
    assert!(cluster.leaders.len() > terms && leaders.contains(&third));
    cluster.all_agree();
}

/// Scenario 11, behaviour 24: figure 8 of the Raft paper. A leader sends entries of an earlier term
/// to a majority, but none of its own: they are not agreed, and another leader may replace them.
#[test]
fn scenario_11_behaviour_24_entries_of_an_earlier_term_are_not_counted() {
    old_term(Plants::NONE);
}

/// The test above sees it when they are.
#[cfg(feature = "planted-bugs")]
#[test]
#[should_panic(expected = "agreed")]
fn scenario_11_sees_entries_of_an_earlier_term_counted() {
    old_term(Plants::one(dledger::plant::Plant::CommitOldTerm));
}

fn old_term(plants: Plants) {
    let settings = Settings { plants, ..settings(65_536, "commit") };
    let mut cluster = Cluster::of(24, settings, &[1, 2, 3].map(|_| MemoryDisk::new()));
    let first = cluster.leader();
    cluster.append_many(first, 1);
    cluster.all_come_to(1);
    // A tail that the first alone has, longer than one message.
    cluster.isolate(first);
    let mut left = 110;
    while left > 0 {
        match cluster.put(first, 2_900, Duration::from_secs(60)) {
            Some(_) => left -= 1,
            None => cluster.wait(5),
        }
    }
    // The next one leads a term of which nobody else has anything.
    let second = cluster.isolate_a_new_leader();
    let third = cluster.others(&[first, second])[0];
    cluster.cut.remove(&(first, third));
    cluster.cut.remove(&(third, first));
    // The first leads again; of what it sends only the old tail comes, without its no-op.
    let (term, mut found) = (cluster.state(second).term, false);
    for _ in 0..1_000 {
        cluster.work(5);
        for packet in std::mem::take(&mut cluster.flying) {
            let (mut own, mut older) = (false, false);
            if let Message::Append { term: leads, entries, .. } = message(&packet)
                && leads > term
            {
                own = entries.last().is_some_and(|entry| entry.term == leads);
                older = !own && !entries.is_empty();
            }
            // At first it looks for the end of the third's log, with what is refused there.
            found |= older;
            if !own || !found {
                cluster.arrive(packet);
            }
        }
        cluster.check();
    }
    assert!(cluster.state(third).end.index.0 > 2, "a majority has something of the tail");
    assert_eq!(cluster.agreed.len(), 1, "an entry of an earlier term is agreed by its count");
    // The second comes with a later term, and replaces it.
    cluster.isolate(first);
    cluster.cut.retain(|(a, b)| *a == first || *b == first);
    assert_eq!(cluster.leader_but(first), second);
    cluster.append_many(second, 1);
    cluster.come_to(&[second, third], 2);
    cluster.all_agree();
}

/// Scenario 15, P12. The disk of the leader hangs, and with it the leader: another one leads within
/// ten election timeouts. What waits at the old one ends at its time; back again it follows.
#[test]
fn scenario_15_a_leader_whose_disk_hangs_is_replaced() {
    let mut cluster = Cluster::three(15, "commit");
    let old = cluster.leader();
    cluster.append_many(old, 3);
    cluster.all_come_to(3);
    cluster.hung.insert(old);
    let at = cluster.appends.len();
    cluster.put(old, 100, Duration::from_millis(500)).expect("it is taken");
    let new = cluster.leader_but(old);
    cluster.append_many(new, 3);
    let others = cluster.others(&[old]);
    cluster.come_to(&others, 6);
    cluster.deliver(old);
    assert_eq!(cluster.appends[at].status, Some(Status::TimedOut));
    cluster.hung.clear();
    cluster.all_come_to(6);
    assert_eq!((cluster.leader(), cluster.state(old).role), (new, Role::Follower));
    cluster.all_agree();
}

/// Scenario 16. A member is ahead of the others in terms: they learn of it, and all go on together.
/// A vote of a term that is over makes nobody leader.
#[test]
fn scenario_16_a_higher_term_is_learnt_and_a_stale_vote_is_not_counted() {
    let mut cluster = Cluster::three(16, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 3);
    cluster.all_come_to(3);
    let ahead = cluster.others(&[leader])[0];
    cluster.isolate(ahead);
    let term = cluster.state(leader).term + 7;
    assert!(asks(&mut cluster, leader, ahead, term), "nothing speaks against it");
    assert_eq!(cluster.state(ahead).term, term);
    // Alone it stands for election again and again; votes of old terms come.
    for n in 0..60 {
        let stale = Message::VoteReply {
            term: term - n % 8,
            pre: false,
            reject: false,
            commit: RaftIndex(0),
            commit_term: 0,
        };
        cluster.wait(50);
        for other in cluster.others(&[ahead]) {
            cluster.say(other, ahead, stale.clone());
        }
        assert!(cluster.state(ahead).role != Role::Leader);
    }
    cluster.mend();
    cluster.all_agree();
    let terms: BTreeSet<u64> = (1..=3).map(|id| cluster.state(id).term).collect();
    assert!(terms.len() == 1 && terms.iter().all(|now| *now > term), "{terms:?}");
}

/// Scenario 22, P14. A follower stalls for 30 seconds with its connections up, the leader goes on;
/// once it is back, it is sent all that it lacks. Messages to it are lost unnoticed, or not.
#[test]
fn scenario_22_a_follower_that_stalled_is_sent_the_rest() {
    for lost in [false, true] {
        let mut cluster = Cluster::three(22, "commit");
        let leader = cluster.leader();
        let stalled = cluster.others(&[leader])[0];
        cluster.hung.insert(stalled);
        for n in 0..3_000 {
            cluster.work(10);
            for packet in std::mem::take(&mut cluster.flying) {
                if !lost || packet.to != stalled {
                    cluster.arrive(packet);
                }
            }
            if n % 10 == 0 {
                cluster.put(leader, 400, Duration::from_secs(60)).expect("it is taken");
            }
        }
        assert_eq!((cluster.leader(), cluster.committed(stalled)), (leader, 0));
        cluster.hung.clear();
        cluster.all_come_to(300);
        cluster.all_agree();
    }
}

/// Scenario 23, P14. The leader purges what a follower lacks: that one begins where the leader does,
/// and follows. It is reset once, and does not spin.
#[test]
fn scenario_23_behaviour_39_a_purge_of_what_a_follower_needs() {
    let mut cluster = Cluster::three(23, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 4);
    cluster.all_come_to(4);
    let away = cluster.others(&[leader])[0];
    cluster.isolate(away);
    cluster.append_many(leader, 60);
    let others = cluster.others(&[away]);
    cluster.come_to(&others, 64);
    for id in &others {
        cluster.open(*id).unwrap().shared.ask(Control::DeletePrefix(Index(41)));
    }
    cluster.wait(100);
    let begin = cluster.state(leader).begin;
    assert!(begin.index.0 > 30, "{begin:?}");
    cluster.mend();
    let mut resets = 0;
    for _ in 0..400 {
        cluster.work(5);
        for packet in std::mem::take(&mut cluster.flying) {
            resets += u64::from(message(&packet).kind() == Kind::Reset);
            cluster.arrive(packet);
        }
        cluster.check();
    }
    assert_eq!(resets, 1, "one is enough");
    assert_eq!((cluster.state(away).begin, cluster.committed(away)), (begin, 64));
    cluster.all_agree();
}

/// Scenario 25, P20. Wall clocks jump to and fro: leader and term stay.
#[test]
fn scenario_25_wall_clocks_jump() {
    let mut cluster = Cluster::three(25, "commit");
    let leader = cluster.leader();
    let term = cluster.state(leader).term;
    for n in 0..1_000u64 {
        cluster.round(5);
        for (id, member) in &cluster.members {
            member.disk.set_now_ms([0, 1 << 41, n, u64::MAX / 2][((n + id) % 4) as usize]);
        }
        if n % 20 == 0 {
            cluster.put(leader, 900, Duration::from_secs(60)).expect("it is taken");
        }
        cluster.check();
    }
    assert_eq!((cluster.leader(), cluster.state(leader).term), (leader, term));
    cluster.all_agree();
}

/// Scenario 26. A follower loses all derived files: they are made again from the data, well enough
/// to feed a member that lacks much.
#[test]
fn scenario_26_the_side_index_of_a_follower_is_lost() {
    let mut cluster = Cluster::three(26, "commit");
    let leader = cluster.leader();
    let [away, follower] = cluster.others(&[leader])[..] else { unreachable!() };
    cluster.append_many(leader, 4);
    cluster.all_come_to(4);
    cluster.isolate(away);
    cluster.append_many(leader, 150);
    cluster.come_to(&[leader, follower], 154);
    cluster.stop(follower);
    let disk = cluster.members[&follower].disk.clone();
    for path in disk.paths() {
        if path.starts_with("index/") || path.starts_with("batches/") {
            disk.remove(&path).unwrap();
        }
    }
    cluster.start(follower);
    cluster.append_many(leader, 1);
    cluster.come_to(&[leader, follower], 155);
    cluster.stop(leader);
    cluster.cut.clear();
    assert_eq!(cluster.leader_but(leader), follower);
    cluster.come_to(&[away, follower], 155);
    cluster.all_agree();
}

/// Behaviour 28, scenario 27. A leader is stopped, another one leads and appends, the old one goes on: whatever
/// barrier is asked of it covers what the new one has agreed, or is not answered.
#[test]
fn behaviour_28_scenario_27_a_leader_that_was_stopped_serves_no_stale_read() {
    let mut cluster = Cluster::three(27, "commit");
    let old = cluster.leader();
    cluster.append_many(old, 3);
    cluster.all_come_to(3);
    cluster.hung.insert(old);
    cluster.read_index(old);
    let new = cluster.leader_but(old);
    cluster.append_many(new, 3);
    let others = cluster.others(&[old]);
    cluster.come_to(&others, 6);
    assert_eq!(cluster.state(old).role, Role::Leader, "it does not know");
    // Nothing that was sent to it comes before its first turns.
    let came = std::mem::take(&mut *cluster.open(old).unwrap().shared.peers.lock().unwrap());
    cluster.read_index(old);
    for _ in 0..5 {
        cluster.turn(old);
        cluster.deliver(old);
    }
    assert_eq!(cluster.covered, 0, "nobody confirmed it");
    cluster.open(old).unwrap().shared.peers.lock().unwrap().extend(came);
    cluster.hung.clear();
    cluster.read_index(old);
    cluster.wait(5_000);
    cluster.read_index(old);
    cluster.wait(1_000);
    assert!(cluster.covered > 0, "as a follower it asks the leader");
    cluster.all_agree();
}

/// Scenario 28, P12. Two members do not hear each other, both ways or one way: appends go on, and
/// there are no elections without end.
#[test]
fn scenario_28_a_partial_partition_is_no_end_of_elections() {
    // By who: 0 the leader, 1 and 2 the others.
    let cuts: [&[(usize, usize)]; 6] = [
        &[(0, 1), (1, 0)],
        &[(0, 1)],
        &[(1, 0)],
        &[(1, 2), (2, 1)],
        &[(1, 0), (2, 0)],
        &[(0, 1), (0, 2)],
    ];
    for cut in cuts {
        let mut cluster = Cluster::three(28, "commit");
        let leader = cluster.leader();
        let term = cluster.state(leader).term;
        let ids = [&[leader][..], &cluster.others(&[leader])].concat();
        cluster.cut = cut.iter().map(|(from, to)| (ids[*from], ids[*to])).collect();
        // Somebody leads, soon and for good.
        cluster.wait(10_000);
        let now = cluster.leader();
        let settled = cluster.state(now).term;
        assert!(settled <= term + 3, "{cut:?}: term {settled} after {term}");
        for _ in 0..20 {
            cluster.append_many(now, 1);
            cluster.wait(500);
        }
        let state = cluster.state(now);
        assert_eq!((state.term, state.ready), (settled, true), "{cut:?}");
        assert_eq!(cluster.committed(now), 20, "{cut:?}");
        cluster.all_agree();
    }
}
