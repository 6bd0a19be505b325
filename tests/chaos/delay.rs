//! What a way between members costs that takes time.

use std::time::Duration;

use crate::alone;
use crate::cluster::Cluster;
use crate::number;
use crate::process::PATIENCE;
use crate::proxy::Mode;

/// With the preset of appends in flight, 2 ms each way cost little: MB/s with bodies of 1 KiB, through
/// the same links without a delay and with it. `CHAOS_BACKLOG` is in bytes, `CHAOS_WINDOW` in records.
#[test]
fn delay() {
    let _alone = alone();
    let records = number("CHAOS_BACKLOG", 64 << 20) / 1024;
    let window = number("CHAOS_WINDOW", 10_000);
    let pending = format!("append.pending.max={window}");
    let options = ["segment.bytes=16MiB", "append.timeout=60s", "election.timeout=5s", &pending];
    let cluster = Cluster::started(3, &options);
    let leader = cluster.wait_leader().leader;
    let speed = |mode| {
        cluster.ids().for_each(|id| cluster.isolate(id, mode));
        let asked = cluster.member(leader).ask(&format!("fill {records} 1024"));
        let answer = asked.recv_timeout(10 * PATIENCE).unwrap();
        assert!(answer.ok(), "{answer:?}");
        let seconds: f64 = answer.field("seconds").unwrap().parse().unwrap();
        cluster.settle();
        records as f64 * 1024.0 / 1e6 / seconds
    };
    speed(Mode::Pass);
    let ways = [Mode::Pass, Mode::Delay(DELAY), Mode::Pass, Mode::Delay(DELAY)].map(speed);
    let (near, far) = ((ways[0] + ways[2]) / 2.0, (ways[1] + ways[3]) / 2.0);
    let ratio = far / near;
    println!(
        "{window} in flight: {near:.0} MB/s, {far:.0} MB/s behind {DELAY:?}: {ratio:.2} {ways:.0?}"
    );
    assert!(ratio >= RATIO, "{far:.0} MB/s of {near:.0} are left");
    cluster.finish();
}

/// Each way.
const DELAY: Duration = Duration::from_millis(2);
/// So much is left on the slowest machine.
const RATIO: f64 = 0.3;
