//! A group under load, and one fault after the other.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::alone;
use crate::checker::check;
use crate::clients::Clients;
use crate::cluster::{Cluster, ELECTION};
use crate::number;
use crate::proxy::Mode;

/// P1, P2, P3, P12, scenarios 22, 27 and 28: whatever happens to processes and links, what was
/// acknowledged stays, all members have the same, reads are linearizable, and after each fault there
/// is a leader soon.
#[test]
fn short() {
    let _alone = alone();
    let time = Duration::from_secs(number("CHAOS_SECONDS", 40));
    let seed = number("CHAOS_SEED", fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let cluster = Arc::new(Cluster::started(3, &["flush=commit"]));
    let clients = Clients::start(&cluster, 4, 2, seed);
    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut faults = 0;
    while begin.elapsed() < time {
        let fault = FAULTS[faults % FAULTS.len()];
        faults += 1;
        let before = clients.committed();
        let did = fault(&cluster, &mut rng);
        sleep(Duration::from_millis(rng.u64(100..1500)));
        let during = clients.committed();
        cluster.heal();
        let led = cluster.wait_leader();
        println!(
            "{:>5.1} s  {did}: {} committed meanwhile; {} leads {:?} later, in term {}",
            begin.elapsed().as_secs_f64(),
            during - before,
            led.leader,
            led.after,
            led.term
        );
        slowest = slowest.max(led.after);
        assert!(
            led.after <= 10 * ELECTION,
            "{did}: a leader only after {:?}\n{}",
            led.after,
            cluster.describe()
        );
        clients.wait_committed(during);
        sleep(Duration::from_millis(rng.u64(..300)));
    }
    let mut history = clients.stop();
    history.logs = cluster.logs();
    cluster.finish();
    println!(
        "{faults} faults; {} appends, {} records, {} barriers; a leader after {slowest:?} at most",
        history.appends.len(),
        history.logs[0].records.len(),
        history.barriers.len()
    );
    if let Err(violation) = check(&history) {
        panic!("CHAOS_SEED={seed}: {violation:?}");
    }
}

/// Does something, and says what it did.
type Fault = fn(&Cluster, &mut fastrand::Rng) -> String;

/// Each comes in turn.
const FAULTS: [Fault; 13] = [
    kill_the_leader,
    one_way_cut,
    pause_the_leader,
    kill_one,
    isolate_the_leader,
    kill_two,
    stall_a_link,
    pause_one,
    hand_over,
    delay_all,
    kill_all,
    cut_the_leaders_ears,
    hang_the_leaders_disk,
];

fn kill_the_leader(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    cluster.kill(leader);
    format!("killed the leader, {leader}")
}

fn kill_one(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let id = rng.u64(cluster.ids());
    cluster.kill(id);
    format!("killed {id}")
}

fn kill_two(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let spared = rng.u64(cluster.ids());
    cluster.ids().filter(|id| *id != spared).for_each(|id| cluster.kill(id));
    format!("killed all but {spared}")
}

fn kill_all(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    cluster.ids().for_each(|id| cluster.kill(id));
    "killed all".into()
}

fn pause_the_leader(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    cluster.pause(leader, true);
    format!("paused the leader, {leader}")
}

fn pause_one(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let id = rng.u64(cluster.ids());
    cluster.pause(id, true);
    format!("paused {id}")
}

fn isolate_the_leader(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    cluster.isolate(leader, Mode::Cut);
    format!("cut off the leader, {leader}")
}

/// No fault, but a leadership that ends in the middle of appends.
fn hand_over(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    let answer = cluster.member(leader).call("transfer 0 3000");
    format!("{leader} handed over: {}", answer.status)
}

/// It is heard, and hears nobody.
fn cut_the_leaders_ears(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    for other in cluster.ids().filter(|id| *id != leader) {
        cluster.link(other, leader, Mode::Cut);
    }
    format!("cut all links to the leader, {leader}")
}

fn hang_the_leaders_disk(cluster: &Cluster, _: &mut fastrand::Rng) -> String {
    let leader = cluster.wait_leader().leader;
    cluster.hang(leader, true);
    format!("the disk of the leader, {leader}, hangs")
}

fn one_way_cut(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let (from, to) = some_link(cluster, rng);
    cluster.link(from, to, Mode::Cut);
    format!("cut the link of {from} to {to}")
}

fn stall_a_link(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let (from, to) = some_link(cluster, rng);
    cluster.link(from, to, Mode::Stall);
    format!("stalled the link of {from} to {to}")
}

fn delay_all(cluster: &Cluster, rng: &mut fastrand::Rng) -> String {
    let delay = Duration::from_millis(rng.u64(5..60));
    for from in cluster.ids() {
        for to in cluster.ids().filter(|to| *to != from) {
            cluster.link(from, to, Mode::Delay(delay));
        }
    }
    format!("delayed all links by {delay:?}")
}

fn some_link(cluster: &Cluster, rng: &mut fastrand::Rng) -> (u64, u64) {
    let from = rng.u64(cluster.ids());
    let others: Vec<u64> = cluster.ids().filter(|to| *to != from).collect();
    (from, others[rng.usize(..others.len())])
}
