//! The tester is tested: each planted bug must be caught within 1,000 seeds.
#![cfg(feature = "planted-bugs")]

use dledger::plant::{Plant, Plants};

use crate::seeds::Run;

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
