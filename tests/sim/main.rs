//! The simulator (T1) and the crash points (T2): a whole log in one thread, on a disk in memory
//! that crashes, tears, fails and fills, with a clock that is turned by hand. One seed is one run,
//! and the same run each time.
//!
//! `SIM_SEEDS=100000 cargo test --release --test sim` runs more of them; `SIM_FIRST=17 SIM_SEEDS=1`
//! runs one again; `SIM_TRACE=1` prints what happens in it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may
#![allow(clippy::duplicate_mod)] // what tests share has the world of this one in it

mod cluster;
mod crash_points;
#[allow(dead_code)] // of what other tests share, files of DLedger's are of use here
#[path = "../support/dledger.rs"]
mod dledger_files;
#[allow(dead_code)]
#[path = "../support/memory.rs"]
mod memory;
mod model;
mod network;
#[allow(dead_code)]
#[path = "../support/parser.rs"]
mod parser;
mod plants;
mod seeds;
mod world;

/// A number from the environment.
fn number(name: &str, preset: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(preset)
}

/// The seed of a run, said if it panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}
