//! Real processes (T5): groups of `examples/c/member.c` whose members see each other through a proxy
//! per directed link, killed, stopped and cut off while clients append and read, and then a checker
//! that looks for a promise that was broken.
//!
//! `CHAOS_SECONDS=600 cargo test --test chaos short` takes longer; `CHAOS_SEED` repeats the choices,
//! though not what the machine makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test

use std::sync::{Mutex, MutexGuard, PoisonError};

mod backlog;
mod bad_peers;
#[path = "../support/certificates.rs"]
mod certificates;
mod checker;
mod clients;
mod cluster;
#[path = "../support/compiled.rs"]
mod compiled;
mod delay;
mod failover;
mod faults;
mod membership;
mod process;
mod proxy;
mod pulse;
mod scenarios;

/// A number from the environment.
fn number(name: &str, preset: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(preset)
}

/// One group at a time: each takes all that the machine has.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
