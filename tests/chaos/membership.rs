//! Processes that join a group and leave it.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::checker::check;
use crate::clients::Clients;
use crate::cluster::{Cluster, ELECTION};
use crate::process::PATIENCE;
use crate::{alone, number};

/// P1, P2, P12: under load a group grows from one to three and to five, and shrinks to three, the one
/// that began it among those that go. In each change some member is killed.
#[test]
fn membership() {
    let _alone = alone();
    let seed = number("CHAOS_SEED", fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let cluster = Arc::new(Cluster::new(5, &["flush=commit"]));
    cluster.start_with(1, &[born_with(&cluster, &[1])]);
    cluster.wait_leader();
    let clients = Clients::start(&cluster, 4, 2, seed);
    let rng = fastrand::Rng::with_seed(seed);
    let mut group = Group { cluster: cluster.clone(), members: vec![1], rng };
    for joins in 2..=5 {
        cluster.start_with(joins, &[born_with(&cluster, &group.members)]);
        let add = format!("change add {joins} {} 5000", cluster.address(joins));
        group.change(&add, joins, Some("learner"));
        group.members.push(joins);
        group.change(&format!("change promote {joins} 5000"), joins, Some("voter"));
        clients.wait_committed(clients.committed() + 10);
    }
    for (leaves, away) in [(2, false), (1, true)] {
        group.members.retain(|id| *id != leaves);
        group.remove(leaves, away);
        clients.wait_committed(clients.committed() + 10);
    }
    let mut history = clients.stop();
    history.logs = cluster.logs();
    println!(
        "{} appends, {} records, {} barriers",
        history.appends.len(),
        history.logs[0].records.len(),
        history.barriers.len()
    );
    assert_eq!(check(&history), Ok(()), "CHAOS_SEED={seed}");
    cluster.finish();
}

/// P14, scenario 23, review case 8. The head of a group's log is purged: who comes back from before it
/// and who is new begin where the log begins and follow, also one that knocked for so long that it
/// pauses when it is let in.
#[test]
fn behind_begin() {
    let _alone = alone();
    let cluster = Cluster::new(4, &["flush=commit"]);
    (1..=3).for_each(|id| cluster.start_with(id, &[born_with(&cluster, &[1, 2, 3])]));
    let leader = cluster.wait_leader().leader;
    let away = leader % 3 + 1;
    cluster.start_with(4, &[born_with(&cluster, &[1, 2, 3])]);
    let fill = |many: u64| {
        let asked = cluster.member(cluster.wait_leader().leader).ask(&format!("fill {many} 1000"));
        let answer = asked.recv_timeout(PATIENCE).unwrap();
        assert!(answer.ok(), "{answer:?}\n{}", cluster.describe());
    };
    let have = |ids: &[u64], many: u64| {
        let committed = |id| cluster.state(id).and_then(|state| state.number("committed"));
        cluster.wait("records", || ids.iter().all(|id| committed(*id) >= Some(many)));
    };
    fill(1);
    have(&[1, 2, 3], 1);
    cluster.kill(away);
    fill(1_999);
    let others: Vec<u64> = (1..=3).filter(|id| *id != away).collect();
    have(&others, 2_000);
    for id in others {
        assert!(cluster.member(id).call("prefix 1500").ok());
    }
    let begin = |id: u64| cluster.state(id).and_then(|state| state.number("begin"));
    cluster.wait("a purge", || begin(leader) > Some(0));
    // The longest pause of one that is refused.
    sleep(Duration::from_secs(2));
    let add = format!("change add 4 {} 60000", cluster.address(4));
    for command in [&*add, "change promote 4 60000"] {
        let answer = cluster.member(cluster.wait_leader().leader).call(command);
        assert!(answer.ok(), "{answer:?}\n{}", cluster.describe());
    }
    cluster.start(away);
    fill(100);
    cluster.settle();
    assert!(cluster.ids().all(|id| begin(id) == begin(leader)), "{}", cluster.describe());
    cluster.finish();
}

struct Group {
    cluster: Arc<Cluster>,
    members: Vec<u64>,
    rng: fastrand::Rng,
}

impl Group {
    /// Asks whoever leads for a change until all members say that it is in force. While it is asked
    /// for the first time, one of the members is killed.
    fn change(&mut self, command: &str, id: u64, becomes: Option<&str>) {
        let begin = Instant::now();
        let leader = self.cluster.wait_leader().leader;
        let asked = self.cluster.member(leader).ask(command);
        let victim = self.members[self.rng.usize(..self.members.len())];
        sleep(Duration::from_micros(self.rng.u64(..20_000)));
        self.cluster.kill(victim);
        let first = asked.recv_timeout(PATIENCE).map_or("no answer".into(), |a| a.status);
        sleep(Duration::from_millis(self.rng.u64(..500)));
        self.cluster.start(victim);
        let mut tries = 1;
        loop {
            let leader = self.cluster.wait_leader().leader;
            let is = self.in_force(leader, id, becomes);
            if is && self.members.iter().all(|member| self.in_force(*member, id, becomes)) {
                break;
            }
            let late = begin.elapsed() > PATIENCE;
            assert!(!late, "{command} is not in force:\n{}", self.cluster.describe());
            if !is && let Some(process) = self.cluster.process(leader) {
                tries += 1;
                if becomes.is_none() && leader == id {
                    process.call("transfer 0 3000");
                } else {
                    process.call(command);
                }
            }
            sleep(Duration::from_millis(10));
        }
        let took = begin.elapsed();
        println!(
            "{command}: {first} while {victim} was killed; in force after {took:.0?}, asked {tries} times"
        );
    }

    /// Whether `id` is what it is to become, in the eyes of a member.
    fn in_force(&self, member: u64, id: u64, becomes: Option<&str>) -> bool {
        let Some(process) = self.cluster.process(member) else { return false };
        let Some(answer) = process.try_call("members") else { return false };
        let mut all = answer.text.split(' ');
        let is = all.find_map(|text| text.strip_prefix(&format!("{id}@")));
        is.map(|text| text.split(',').nth(1).unwrap()) == becomes
    }

    /// Removes one, which learns it, then or when it comes back; it disturbs nobody.
    fn remove(&mut self, leaves: u64, away: bool) {
        if away {
            self.cluster.kill(leaves);
        }
        self.change(&format!("change remove {leaves} 5000"), leaves, None);
        self.cluster.start(leaves);
        self.cluster
            .wait("one that is removed to learn it", || self.in_force(leaves, leaves, None));
        let heard = || {
            let events = self.cluster.events(leaves).lock().unwrap();
            events
                .iter()
                .rev()
                .take_while(|event| !event.starts_with("role=leader"))
                .any(|event| event == "members")
        };
        self.cluster.wait("the event of it", heard);
        let term = || self.cluster.state(leaves).unwrap().number("term").unwrap();
        let before = term();
        sleep(5 * ELECTION);
        assert_eq!(term(), before, "member {leaves} stands for election");
        self.cluster.retire(leaves);
    }
}

/// The members that a new one is told of.
fn born_with(cluster: &Cluster, members: &[u64]) -> String {
    let members = members.iter().map(|id| format!("{id}@{}", cluster.address(*id)));
    format!("members={}", members.collect::<Vec<_>>().join(","))
}
