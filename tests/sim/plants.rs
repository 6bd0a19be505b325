//! The tester is tested: each planted bug must be caught within 1,000 seeds.
#![cfg(feature = "planted-bugs")]

use std::sync::Arc;

use dledger::disk::memory::MemoryDisk;
use dledger::error::Error;
use dledger::group::driver::Next;
use dledger::plant::{Plant, Plants};

use crate::cluster::Cluster;
use crate::seeds::Run;
use crate::world::{Open, Settings, body};

fn caught(plant: Plant, whom: &str, run: impl Fn(u64) -> u64 + std::panic::RefUnwindSafe) {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..1000).find(|&seed| std::panic::catch_unwind(|| run(seed)).is_err());
    std::panic::set_hook(quiet);
    match found {
        Some(seed) => println!("{plant:?} in {whom}: caught by seed {seed}"),
        None => panic!("{plant:?} in {whom} was not caught within 1,000 seeds"),
    }
}

fn caught_alone(plant: Plant) {
    caught(plant, "a group of one", |seed| Run::new(seed, Plants::one(plant)).run(600));
}

fn caught_in_a_cluster(plant: Plant) {
    caught(plant, "a cluster", |seed| Cluster::new(seed, Plants::one(plant)).run(1_500));
}

/// The simulator sees each deliberate mistake (T1's own test). In one test: they share the hook.
#[test]
fn each_planted_bug_is_caught() {
    caught_alone(Plant::AckBeforeSync);
    caught_alone(Plant::VoteNotSynced);
    caught_alone(Plant::DeliverBeforeCommit);
    caught_alone(Plant::SkipDirectorySync);
    caught_in_a_cluster(Plant::AckBeforeSync);
    caught_in_a_cluster(Plant::VoteNotSynced);
    caught_in_a_cluster(Plant::DeliverBeforeCommit);
    caught_in_a_cluster(Plant::CommitOldTerm);
    caught_in_a_cluster(Plant::TruncateBelowCommit);
    caught_in_a_cluster(Plant::IncarnationKept);
    caught_in_a_cluster(Plant::ResetNotAtomic);
    caught_in_a_cluster(Plant::BarrierJoinsLate);
}

/// Damage at rest is what this one cuts off: what was acknowledged behind it is gone. The log that
/// makes no mistake refuses the same directory.
#[test]
fn a_cut_at_the_first_bad_checksum_is_caught() {
    let lost = |plants| {
        let settings = Settings {
            segment_bytes: 1 << 20,
            index_bytes: 64 << 10,
            flush: "commit",
            unsynced_max: 64 << 10,
            plants,
            node: 1,
            members: 1,
        };
        let (disk, clock) = (MemoryDisk::new(), Arc::default());
        let mut log = Open::new(&disk, &clock, &settings).expect("a birth");
        log.settle();
        let mut appended = 0;
        for n in 0..60 {
            log.append(&body(n, 2_500), None).expect("an append");
            // No time passes: nothing notes how far the log is durable.
            while log.turn() == Next::Now {}
            appended += 1;
        }
        drop(log);
        let disk = disk.restart();
        assert!(disk.flip("data/00000000000000000000", 3_000, 1));
        let mut log = Open::new(&disk, &clock, &settings)?;
        log.settle();
        Ok::<_, Error>(appended - log.read_all().len())
    };
    assert!(matches!(lost(Plants::NONE), Err(Error::Corrupt { .. })));
    let cut = lost(Plants::one(Plant::TruncateAtFirstBadCrc)).expect("it opens");
    assert!(cut > 50, "{cut} records were cut");
    println!("TruncateAtFirstBadCrc: caught, {cut} acknowledged records were gone");
}
