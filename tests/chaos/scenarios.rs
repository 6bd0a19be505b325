//! One thing at a time.

use crate::alone;
use crate::checker::{Append, Outcome, check};
use crate::clients::outcome;
use crate::cluster::{Cluster, free_address};
use crate::process::{Answer, PATIENCE, Process};
use crate::proxy::Mode;

/// P3: the appends of a leader that loses its links end soon, as unknown; another leads, and none of
/// these appends is in the log twice, or without having been promised that it may be.
#[test]
fn a_deposed_leaders_appends_end() {
    let _alone = alone();
    let cluster = Cluster::started(3, &["append.timeout=20s"]);
    let (mut appends, mut lost) = (Vec::new(), 0);
    for round in 0..10 {
        let old = cluster.wait_leader();
        cluster.isolate(old.leader, Mode::Cut);
        let process = cluster.member(old.leader);
        let asked: Vec<_> = (0..20)
            .map(|n| format!("{round}/{n}"))
            .map(|body| (process.ask(&format!("append {body}")), body))
            .collect();
        for (asked, body) in asked {
            // None waits as long as its timeout: the leader steps down before.
            let answer = asked.recv_timeout(PATIENCE).unwrap();
            // On a slow machine it may have stepped down before it was asked.
            let expected = match &*answer.status {
                "DL_E_LEADER_LOST" => Outcome::Unknown,
                "DL_E_NOT_LEADER" => Outcome::Never,
                _ => panic!("{answer:?}"),
            };
            assert_eq!(outcome(Some(&answer)), expected, "{answer:?}");
            lost += usize::from(expected == Outcome::Unknown);
            appends.push(Append { body, invoked: 0, returned: 1, outcome: expected });
        }
        cluster.wait("another leader", || cluster.leader().is_some_and(|(_, t)| t > old.term));
        let (leader, _) = cluster.leader().unwrap();
        assert_ne!(leader, old.leader);
        let body = format!("{round}/behind");
        let answer = append(&cluster.member(leader), &body);
        let outcome = outcome(Some(&answer));
        appends.push(Append { body, invoked: 0, returned: 1, outcome });
        cluster.heal();
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0, "no leader was deposed with appends in flight");
    let logs = cluster.logs();
    // What was written while it was cut off had no majority, and the other log went on.
    assert_eq!(logs[0].records.len(), appends.iter().filter(|a| a.body.contains('b')).count());
    let history = crate::checker::History { appends, logs, ..Default::default() };
    assert_eq!(check(&history), Ok(()));
    cluster.finish();
}

/// P5, P6, behaviour 37: what changes on a member's disk while it is down is found by who reads it,
/// and is soon right again, from the others; on each member in turn, at the same places.
#[test]
fn damage_on_a_disk_is_repaired() {
    let _alone = alone();
    let cluster = Cluster::started(3, &["segment.bytes=64KiB", "append.timeout=60s"]);
    let leader = cluster.wait_leader().leader;
    let filled = cluster.member(leader).call("fill 2000 100");
    assert!(filled.ok(), "{filled:?}");
    let committed = cluster.settle();
    for id in cluster.ids() {
        cluster.quit(id);
        let path = cluster.dir_of(id).join("data/00000000000000065536");
        let mut bytes = std::fs::read(&path).unwrap();
        // In headers and in bodies; the records there have 148 bytes.
        for at in (0..60_000).step_by(997) {
            bytes[at] ^= 0x20;
        }
        std::fs::write(&path, bytes).unwrap();
        cluster.start(id);
        let damaged = || {
            let member = cluster.member(id);
            let asked: Vec<_> = (0..committed).map(|n| member.ask(&format!("read {n}"))).collect();
            let answers = asked.iter().map(|asked| asked.recv_timeout(PATIENCE).unwrap());
            let bad: Vec<_> = answers.filter(|answer| !answer.ok()).collect();
            assert!(bad.iter().all(|answer| answer.status == "DL_E_CORRUPT"), "{bad:?}");
            bad.len()
        };
        cluster.wait("its log", || {
            let state = cluster.state(id);
            state.is_some_and(|state| state.number("committed").unwrap() >= committed)
        });
        // While nobody can help, it stays as it is.
        cluster.isolate(id, Mode::Cut);
        assert!(damaged() > 30, "a flip in most of 60 records");
        assert!(damaged() > 30, "repaired with nobody to ask");
        cluster.heal();
        cluster.wait("repair", || damaged() == 0);
    }
    cluster.finish();
}

/// Scenario 27: a leader that was stopped and goes on does not read what is old.
#[test]
fn a_leader_that_was_paused_reads_nothing_stale() {
    let _alone = alone();
    let cluster = Cluster::started(3, &[]);
    for round in 0..3 {
        let old = cluster.wait_leader();
        cluster.pause(old.leader, true);
        cluster.wait("another leader", || cluster.leader().is_some_and(|(_, t)| t > old.term));
        let (leader, _) = cluster.leader().unwrap();
        let answer = append(&cluster.member(leader), &format!("newer {round}"));
        let newest = answer.number("index").unwrap();
        // It finds this command when it wakes, and takes itself for the leader.
        let process = cluster.member(old.leader);
        let asked: Vec<_> = (0..5).map(|_| process.ask("readindex 5000")).collect();
        cluster.pause(old.leader, false);
        for asked in asked {
            let answer = asked.recv_timeout(PATIENCE).unwrap();
            let fresh = answer.number("index").is_some_and(|index| index > newest);
            assert!(fresh || !answer.ok(), "{newest} was committed, {answer:?}");
        }
    }
    cluster.finish();
}

/// A group whose members all moved finds itself at the addresses that it is given.
#[test]
fn a_group_moves_to_other_addresses() {
    let _alone = alone();
    let cluster = Cluster::started(3, &[]);
    fill(&cluster, 1000, 100);
    cluster.settle();
    cluster.ids().for_each(|id| cluster.quit(id));
    let moved: Vec<_> = cluster.ids().map(|id| (id, free_address())).collect();
    let all: Vec<_> = moved.iter().map(|(id, address)| format!("{id}@{address}")).collect();
    for (id, address) in moved {
        let all = format!("member.addresses={}", all.join(","));
        cluster.start_with(id, &[format!("node.listen={address}"), all]);
    }
    cluster.wait_leader();
    fill(&cluster, 1000, 100);
    assert_eq!(cluster.settle(), 2000);
    cluster.finish();
}

/// 64 groups in three processes, at one address each: every group elects, commits and replicates.
#[test]
fn many_groups_share_three_processes() {
    let _alone = alone();
    let small = ["groups=64", "segment.bytes=64KiB", "index.segment.bytes=16KiB"];
    // Slower elections: 192 members share what cores there are.
    let slow = ["election.timeout=3s", "heartbeat.interval=500ms"];
    let cluster = Cluster::started(3, &[small, [slow[0], slow[1], "flush=10ms"]].concat());
    let members: Vec<_> = cluster.ids().map(|id| cluster.member(id)).collect();
    for group in 1..=64 {
        let states = || members.iter().map(|m| m.call(&format!("@{group} state")));
        let mut answer = None;
        cluster.wait("a leader of each group", || {
            let leads = |state: &Answer| state.number("ready") == Some(1);
            let Some(leader) = states().position(|state| leads(&state)) else { return false };
            answer = Some(members[leader].call(&format!("@{group} append of group {group}")));
            answer.as_ref().unwrap().ok()
        });
        assert_eq!(answer.unwrap().number("index"), Some(0), "group {group}");
        cluster.wait("the record on all members", || {
            states().all(|state| state.number("committed") == Some(1))
        });
        for member in &members {
            let read = member.call(&format!("@{group} read 0"));
            assert_eq!(read.body(), format!("of group {group}"));
        }
    }
    cluster.ids().for_each(|id| cluster.quit(id));
}

/// Appends through whoever leads, which must be committed.
fn append(process: &Process, body: &str) -> Answer {
    let answer = process.call(&format!("append {body}"));
    assert!(answer.ok(), "{answer:?}");
    answer
}

fn fill(cluster: &Cluster, count: u64, bytes: u64) {
    let leader = cluster.wait_leader().leader;
    let asked = cluster.member(leader).ask(&format!("fill {count} {bytes}"));
    let answer = asked.recv_timeout(2 * PATIENCE).unwrap();
    assert!(answer.ok(), "{answer:?}");
}
