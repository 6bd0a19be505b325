//! `libdledger`: a replicated (Raft), memory-mapped commit log as a library with a C ABI.
//!
//! C programs include `include/dledger.h`. The modules below are its parts, each of which uses
//! only those that come after it; they are public for this crate's own tests, benches and tools
//! and keep no promise of stability.

pub mod ffi;

pub mod group;

pub mod consensus;

pub mod net;

pub mod wire;

pub mod commitlog;

pub mod disk;

pub mod error;
pub mod options;
pub mod plant;
mod spawn;
pub mod types;
