//! Agreement: TiKV's `raft` engine, driven without IO. It decides; the log below stores; the group
//! above carries out what it asks for, in the order that it asks for.

pub mod admit;
pub mod core;
pub mod logger;
pub mod members;
pub mod send;
pub mod storage;
