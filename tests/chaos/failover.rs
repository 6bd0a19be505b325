//! How long nothing is committed when a leader goes, as a client sees it that tries all members.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::process::{Answer, PATIENCE};
use crate::{alone, number};

/// P3, scenarios 22 and 27: a leader is killed, stopped, or has a disk that hangs. Another one
/// commits soon, and what waits at the old one ends by its timeout when the old one goes on.
#[test]
fn failover() {
    let _alone = alone();
    let rounds = number("CHAOS_ROUNDS", 5);
    // The settings of a group that was not tuned.
    let cluster = Cluster::started(3, &USUAL);
    for goes in [Goes::Killed, Goes::Stopped, Goes::Hangs] {
        let mut times: Vec<Duration> = (0..rounds).map(|n| round(&cluster, goes, n)).collect();
        println!("{goes:?}: {times:.0?}");
        times.sort();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!(
            "{goes:?}: the first commit of another leader after {median:.0?} (median), {most:.0?} at most"
        );
        assert!(most <= 10 * ELECTION, "no leader for {most:?}\n{}", cluster.describe());
    }
    cluster.finish();
}

/// How a leader goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goes {
    Killed,
    Stopped,
    Hangs,
}

/// Until another leader has committed: as a client sees it.
fn round(cluster: &Cluster, goes: Goes, n: u64) -> Duration {
    let old = cluster.wait_leader().leader;
    cluster.settle();
    let process = cluster.member(old);
    let ask = |what| -> Vec<_> {
        (0..WAITING).map(|i| process.ask(&format!("append {what} {goes:?} {n} {i}"))).collect()
    };
    let before = ask("before");
    let begin = Instant::now();
    match goes {
        Goes::Killed => cluster.kill(old),
        Goes::Stopped => cluster.pause(old, true),
        Goes::Hangs => cluster.hang(old, true),
    }
    let invoked = Instant::now();
    let waiting = before.into_iter().chain(ask("behind")).collect::<Vec<_>>();
    let took = first_commit(cluster, old, n).duration_since(begin);
    match goes {
        Goes::Killed => cluster.start(old),
        Goes::Stopped => {
            // Stopped for longer than they may wait, it ends them when it goes on.
            let going_on = Instant::now();
            cluster.pause(old, false);
            ends(&waiting, going_on);
        }
        Goes::Hangs => {
            // The process runs, so they end in time although its disk still hangs.
            ends(&waiting, invoked);
            cluster.hang(old, false);
        }
    }
    cluster.wait("all members", || cluster.ids().all(|id| cluster.state(id).is_some()));
    took
}

/// All that waits ends, later than its timeout only while its process, or its machine, does not run.
fn ends(waiting: &[Receiver<Answer>], runs: Instant) {
    let mut ended = BTreeMap::new();
    for asked in waiting {
        let answer = asked.recv_timeout(PATIENCE).unwrap();
        let waited = answer.at.saturating_duration_since(runs);
        // Some were committed before; and who was stopped may have stepped down before it was asked.
        let ends = ["ok", "DL_E_LEADER_LOST", "DL_E_TIMED_OUT", "DL_E_NOT_LEADER"];
        assert!(ends.contains(&&*answer.status), "{answer:?}");
        assert!(waited <= TIMEOUT + NOISE, "an append waited {waited:?}");
        let (count, most) = ended.entry(answer.status).or_insert((0, waited));
        (*count, *most) = (*count + 1, waited.max(*most));
    }
    println!("  ends of what waited at the old one: {ended:.0?}");
}

/// When a member other than `old` first committed an append. Asks them in turn, each as soon as it
/// has answered.
fn first_commit(cluster: &Cluster, old: u64, n: u64) -> Instant {
    let others: Vec<_> = cluster.ids().filter(|id| *id != old).collect();
    let begin = Instant::now();
    for (count, id) in others.iter().cycle().enumerate() {
        let answer = cluster.member(*id).call(&format!("append new {n} {count}"));
        if answer.ok() {
            return answer.at;
        }
        assert!(begin.elapsed() < PATIENCE, "nobody leads:\n{}", cluster.describe());
        std::thread::sleep(Duration::from_millis(1));
    }
    unreachable!()
}

/// The presets; the other groups of these tests have shorter ones.
const USUAL: [&str; 3] =
    ["election.timeout=1s", "heartbeat.interval=100ms", "append.timeout=2500ms"];
const ELECTION: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(2500);
/// Appends that wait at a leader when it goes.
const WAITING: u64 = 20;
/// Later by less is the machine's.
const NOISE: Duration = Duration::from_secs(5);
