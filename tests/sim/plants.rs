//! The tester is tested: each planted bug must be caught within 1,000 seeds.
#![cfg(feature = "planted-bugs")]

use std::sync::Arc;

use dledger::disk::memory::MemoryDisk;
use dledger::error::Error;
use dledger::group::driver::Next;
use dledger::plant::{Plant, Plants};

use crate::seeds::Run;
use crate::world::{Open, Settings, body};

fn caught(plant: Plant) {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..1000).find(|&seed| {
        let run = || Run::new(seed, Plants::one(plant)).run(600);
        std::panic::catch_unwind(run).is_err()
    });
    std::panic::set_hook(quiet);
    match found {
        Some(seed) => println!("{plant:?}: caught by seed {seed}"),
        None => panic!("{plant:?} was not caught within 1,000 seeds"),
    }
}

/// The simulator sees each deliberate mistake (T1's own test). In one test: they share the hook.
#[test]
fn each_planted_bug_is_caught() {
    caught(Plant::AckBeforeSync);
    caught(Plant::VoteNotSynced);
    caught(Plant::DeliverBeforeCommit);
    caught(Plant::SkipDirectorySync);
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
