//! Scenario 22, P18: a follower is away, the load goes on, and it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::process::{PATIENCE, Process};
use crate::{alone, number};

/// A follower that was stopped, and one that was killed, costs the leader no memory while it is
/// away, and little of its speed while it catches up. `CHAOS_BACKLOG` is in bytes.
#[test]
fn catches_up() {
    catches_up_with(1024, &[]);
}

/// Here fewer records are in flight, and more bytes: so many that what is staged is no noise.
#[test]
fn catches_up_with_large_bodies() {
    catches_up_with(50_000, &["append.pending.bytes=8MiB"]);
}

fn catches_up_with(body: u64, more: &[&str]) {
    let _alone = alone();
    let backlog = number("CHAOS_BACKLOG", 64 << 20);
    let fill = |process: &Process, bytes| fill(process, bytes, body);
    let options = ["segment.bytes=16MiB", "append.timeout=60s", "election.timeout=5s"];
    let cluster = Cluster::started(3, &[&options, more].concat());
    let leader = cluster.wait_leader().leader;
    let process = cluster.member(leader);
    let followers: Vec<u64> = cluster.ids().filter(|id| *id != leader).collect();
    fill(&process, backlog / 4);
    let idle = process.memory_kib("RssAnon");
    // What the load alone takes; the most of some loads, as what is staged depends on chance.
    let most = Most::of(&process);
    let together = mean((0..LOADS).map(|_| fill(&process, backlog / LOADS)));
    let usual = most.stop();
    cluster.forget();
    println!("all three: RssAnon {idle} KiB before, {usual} KiB at most; {together:.0} MB/s");
    for (follower, how) in followers.into_iter().zip(["stopped", "killed"]) {
        let most = Most::of(&process);
        match how {
            "stopped" => cluster.pause(follower, true),
            _ => cluster.kill(follower),
        }
        let without = mean((0..LOADS).map(|_| fill(&process, backlog / LOADS)));
        let away = most.stop();
        let most = Most::of(&process);
        let behind = cluster.state(leader).unwrap().number("end").unwrap();
        cluster.pause(follower, false);
        cluster.start(follower);
        let mut loads = Vec::new();
        while !has(&cluster, follower, behind) {
            loads.push(fill(&process, backlog / LOADS));
        }
        let meanwhile = loads.len();
        let beside = mean(loads.into_iter());
        cluster.settle();
        let back = most.stop();
        // Members that share a disk are slower with three than with two, whoever is behind.
        let ratio = beside / together;
        println!(
            "{how}: RssAnon {away} KiB at most while away, {back} KiB while it catches up; \
             {without:.0} MB/s without it, {beside:.0} MB/s beside it ({meanwhile} loads): \
             {ratio:.2} of that of all three"
        );
        for most in [away, back] {
            let aside = most.saturating_sub(usual);
            assert!(aside <= ASIDE_KIB, "{aside} KiB for a follower that was {how}");
        }
        cluster.forget();
        let least = if backlog < LONG { RATIO } else { LONG_RATIO };
        assert!(meanwhile == 0 || ratio >= least, "{ratio:.2} of its speed is left");
    }
    cluster.finish();
}

/// Appends so many bytes in bodies of one length: MB/s.
fn fill(process: &Process, bytes: u64, body: u64) -> f64 {
    let asked = process.ask(&format!("fill {} {body}", bytes / body));
    let answer = asked.recv_timeout(10 * PATIENCE).unwrap();
    assert!(answer.ok(), "{answer:?}");
    let seconds: f64 = answer.field("seconds").unwrap().parse().unwrap();
    bytes as f64 / 1e6 / seconds
}

/// The mean of speeds over equal ways; 0 of none.
fn mean(speeds: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut time) = (0.0, 0.0);
    for speed in speeds {
        count += 1.0;
        time += 1.0 / speed;
    }
    if count > 0.0 { count / time } else { 0.0 }
}

/// Whether a member has committed what lies below `index`.
fn has(cluster: &Cluster, id: u64, index: u64) -> bool {
    cluster.state(id).is_some_and(|state| state.number("committed").unwrap() >= index)
}

/// Looks at a process's `RssAnon` until it is told to stop.
struct Most {
    over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Most {
    fn of(process: &Arc<Process>) -> Most {
        let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (process, is_over, seen) = (process.clone(), over.clone(), most.clone());
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                seen.fetch_max(process.memory_kib("RssAnon"), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
        });
        Most { over, most, thread }
    }

    /// The most that was seen, in KiB.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.most.load(Ordering::SeqCst)
    }
}

/// Loads into which a backlog is cut.
const LOADS: u64 = 8;
/// A follower that is away takes no more of the leader's memory.
const ASIDE_KIB: u64 = 16 << 10;
/// So much of its speed a leader keeps, on the slowest machine.
const RATIO: f64 = 0.3;
/// A backlog of so many bytes takes long enough to tell.
const LONG: u64 = 1 << 30;
/// What it keeps then.
const LONG_RATIO: f64 = 0.7;
