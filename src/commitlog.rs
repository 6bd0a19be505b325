//! The log on one member's disk: its records, what is derived from them, and what Raft must find
//! again after a crash. No thread, clock, socket or randomness in here.

pub mod control;
pub mod meta;
