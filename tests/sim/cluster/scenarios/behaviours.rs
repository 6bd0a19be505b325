//! Behaviours that need a group.

use dledger::error::Status;
use dledger::wire::Kind;

use super::*;

/// Behaviour 8. What a hook wrote on the leader is what every member has.
#[test]
fn behaviour_08_members_have_what_a_hook_wrote() {
    let mut cluster = Cluster::three(8, "commit");
    let leader = cluster.leader();
    let hook = Box::new(|entry: &Entry, body: &mut [u8]| {
        body[..8].copy_from_slice(&(entry.pos + 48).to_be_bytes());
        true
    });
    cluster.open(leader).unwrap().shared.staging.lock().unwrap().add_hook(hook);
    for _ in 0..20 {
        cluster.put(leader, 100, Duration::from_secs(60)).expect("there is room");
        let placed = cluster.appends.last_mut().unwrap();
        placed.body[..8].copy_from_slice(&(placed.entry.pos + 48).to_be_bytes());
    }
    cluster.all_come_to(20);
    cluster.check_final();
}

/// Behaviour 11. Who follows refuses an append, and names the leader.
#[test]
fn behaviour_11_a_follower_names_the_leader() {
    let mut cluster = Cluster::three(11, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 1);
    cluster.all_come_to(1);
    for id in cluster.others(&[leader]) {
        let open = cluster.open(id).unwrap();
        assert_eq!(open.append(b"not here", None), Err(Status::NotLeader));
        let state = cluster.state(id);
        assert_eq!((state.leader_id, state.end.index), (leader, Index(1)));
    }
}

/// Behaviours 15 and 16. Without a quorum an append ends at its own time, with its place; it commits
/// later at that place, once.
#[test]
fn behaviour_15_16_scenario_20_what_timed_out_commits_once() {
    let mut cluster = Cluster::three(15, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 3);
    cluster.all_come_to(3);
    let at = cluster.appends.len();
    cluster.isolate(leader);
    let entry = cluster.put(leader, 100, Duration::from_millis(100)).expect("it is taken");
    cluster.wait(95);
    assert_eq!(cluster.appends[at].status, None);
    cluster.wait(10);
    assert_eq!(cluster.appends[at].status, Some(Status::TimedOut));
    cluster.mend();
    cluster.all_come_to(4);
    assert_eq!(cluster.agreed[3], (entry, cluster.appends[at].body.clone()));
    cluster.append_many(leader, 1);
    cluster.all_come_to(5);
    cluster.check_final();
}

/// Behaviour 18. Every third message is lost, every fifth comes twice, and the rest in another order
/// and late: the logs are the same.
#[test]
fn behaviour_18_lost_late_and_doubled_messages() {
    let mut cluster = Cluster::three(18, "commit");
    let (mut sent, mut late) = (0u64, Vec::new());
    for n in 0..1_500 {
        cluster.work(5);
        if n % 3 == 0
            && let Some(leader) = cluster.ready_leader()
        {
            cluster.put(leader, 700, Duration::from_secs(60));
        }
        let mut now: Vec<Packet> = std::mem::take(&mut late);
        for packet in std::mem::take(&mut cluster.flying).into_iter().rev() {
            sent += 1;
            match sent {
                _ if sent % 3 == 0 => {}
                _ if sent % 5 == 0 => now.extend([packet.clone(), packet]),
                _ if sent % 7 == 0 => late.push(packet),
                _ => now.push(packet),
            }
        }
        now.into_iter().for_each(|packet| cluster.arrive(packet));
        cluster.check();
    }
    assert!(cluster.agreed.len() > 50, "{} are agreed", cluster.agreed.len());
    cluster.all_agree();
}

/// Behaviour 19. The first push of a term is lost: it is sent again, with no traffic and within an
/// election timeout, so in the same term.
#[test]
fn behaviour_19_a_lost_first_push_is_sent_again() {
    let mut cluster = Cluster::three(19, "commit");
    let mut lost = None;
    while lost.is_none() {
        cluster.work(5);
        for packet in std::mem::take(&mut cluster.flying) {
            if message(&packet).kind() == Kind::Append {
                lost = Some(packet.from);
            } else {
                cluster.arrive(packet);
            }
        }
    }
    let leader = lost.unwrap();
    let term = cluster.state(leader).term;
    let ready = |c: &Cluster| c.is_ready(leader).then_some(());
    cluster.until(1_000, ready).expect("it is sent again");
    assert_eq!(cluster.state(leader).term, term);
}

/// Behaviours 20 and 23. A leader that was away has a tail that nobody else has: exactly that goes,
/// and does not come back, whenever the power is lost.
#[test]
fn behaviour_20_23_exactly_the_divergent_tail_goes() {
    let mut cluster = Cluster::three(20, "commit");
    let old = cluster.leader();
    cluster.append_many(old, 10);
    cluster.all_come_to(10);
    cluster.isolate(old);
    for _ in 0..4 {
        cluster.put(old, 300, Duration::from_secs(60)).expect("it is taken");
    }
    let new = cluster.leader_but(old);
    assert_eq!(cluster.state(old).end.index, Index(14));
    cluster.append_many(new, 1);
    cluster.mend();
    cluster.all_come_to(11);
    assert_eq!(cluster.state(old).end.index, Index(11));
    for _ in 0..3 {
        cluster.lose_power(old);
        cluster.start(old);
        assert!(cluster.state(old).end.index <= Index(11), "{:?}", cluster.state(old));
        cluster.all_come_to(11);
    }
    cluster.all_agree();
}

/// Behaviour 22. A leader of a term that is over: what it sends is refused, and changes nothing.
#[test]
fn behaviour_22_a_stale_leader_changes_nothing() {
    let mut cluster = Cluster::three(22, "commit");
    let old = cluster.leader();
    cluster.append_many(old, 3);
    cluster.all_come_to(3);
    // What it sends now comes when another leads.
    cluster.put(old, 300, Duration::from_secs(60)).expect("it is taken");
    cluster.work(5);
    let stale = std::mem::take(&mut cluster.flying);
    assert!(stale.iter().any(|packet| message(packet).kind() == Kind::Append));
    cluster.isolate(old);
    let new = cluster.leader_but(old);
    cluster.append_many(new, 2);
    let others = cluster.others(&[old]);
    cluster.come_to(&others, 5);
    cluster.cut.clear();
    let ends: Vec<State> = others.iter().map(|id| cluster.state(*id)).collect();
    for packet in stale {
        cluster.arrive(packet);
    }
    for (id, end) in others.iter().zip(ends) {
        cluster.turn(*id);
        assert_eq!(cluster.state(*id), end, "member {id}");
    }
    cluster.all_agree();
}

/// Behaviour 26. A follower takes for committed what its leader says, as far as it has it.
#[test]
fn behaviour_26_a_follower_commits_what_it_has() {
    let mut cluster = Cluster::three(26, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 2);
    cluster.all_come_to(2);
    let [slow, other] = cluster.others(&[leader])[..] else { unreachable!() };
    for _ in 0..6 {
        cluster.put(leader, 100, Duration::from_secs(60)).expect("it is taken");
        // Appends to the slow one are lost, heartbeats are not.
        for _ in 0..40 {
            cluster.work(5);
            for packet in std::mem::take(&mut cluster.flying) {
                if packet.to != slow || message(&packet).kind() != Kind::Append {
                    cluster.arrive(packet);
                }
            }
            cluster.check();
        }
    }
    assert_eq!((cluster.committed(leader), cluster.committed(other)), (8, 8));
    assert_eq!(cluster.committed(slow), 2);
    cluster.all_agree();
}

/// Appends that follow each other tell how far it is agreed; only behind the last one members are told
/// that alone, a millisecond later.
#[test]
fn what_is_agreed_comes_with_the_next_append() {
    let mut cluster = Cluster::three(27, "commit");
    let leader = cluster.leader();
    cluster.append_many(leader, 1);
    cluster.all_come_to(1);
    let others = cluster.others(&[leader]);
    let committed = |c: &Cluster| others.iter().map(|id| c.committed(*id)).collect::<Vec<_>>();
    let mut sent = Vec::new();
    let mut round = |cluster: &mut Cluster, ms| {
        cluster.work(ms);
        for packet in std::mem::take(&mut cluster.flying) {
            if message(&packet).kind() == Kind::Append {
                sent.push(packet.raw.is_empty());
            }
            cluster.arrive(packet);
        }
        cluster.check();
    };
    for n in 1..=20 {
        cluster.put(leader, 100, Duration::from_secs(60)).expect("it is taken");
        for _ in 0..4 {
            round(&mut cluster, 0);
        }
        assert_eq!(cluster.committed(leader), n + 1);
        assert_eq!(committed(&cluster), [n, n]);
    }
    for _ in 0..4 {
        round(&mut cluster, 1);
    }
    assert_eq!(committed(&cluster), [21, 21]);
    let alone = sent.iter().filter(|empty| **empty).count();
    assert_eq!((sent.len(), alone), (20 * 2 + 2, 2));
}

/// Behaviour 30. A follower that is started again changes neither leader nor term.
#[test]
fn behaviour_30_a_follower_comes_back() {
    let mut cluster = Cluster::three(30, "commit");
    let leader = cluster.leader();
    let term = cluster.state(leader).term;
    for id in [1, 2, 3, 1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.append_many(leader, 2);
        if cluster.ids.is_multiple_of(4) {
            cluster.stop(id)
        } else {
            cluster.lose_power(id)
        }
        cluster.wait(3_000);
        cluster.start(id);
        cluster.wait(3_000);
        assert_eq!((cluster.leader(), cluster.state(leader).term), (leader, term));
    }
    cluster.all_agree();
}

/// Behaviour 31. Who is alone does not raise its term, and deposes nobody when it is back.
#[test]
fn behaviour_31_who_is_alone_keeps_its_term() {
    let mut cluster = Cluster::three(31, "commit");
    let leader = cluster.leader();
    let term = cluster.state(leader).term;
    let alone = cluster.others(&[leader])[0];
    cluster.isolate(alone);
    cluster.append_many(leader, 3);
    cluster.wait(10_000);
    assert_eq!(cluster.state(alone).term, term);
    cluster.mend();
    cluster.wait(3_000);
    assert_eq!((cluster.leader(), cluster.state(leader).term), (leader, term));
    cluster.all_agree();
    assert_eq!(cluster.state(leader).term, term);
}

/// Behaviour 32. A leader without a quorum steps down within two election timeouts, keeps its term,
/// and answers no barrier meanwhile.
#[test]
fn behaviour_32_a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::three(32, "commit");
    let leader = cluster.leader();
    let term = cluster.state(leader).term;
    cluster.isolate(leader);
    for _ in 0..20 {
        cluster.read_index(leader);
        cluster.wait(100);
    }
    let state = cluster.state(leader);
    assert!(state.role != Role::Leader && !state.ready, "{state:?}");
    assert_eq!(state.term, term);
    // What was on its way when it was cut off was confirmed by nobody.
    assert_eq!(cluster.covered, 0);
    assert!(!cluster.barriers.is_empty());
}
