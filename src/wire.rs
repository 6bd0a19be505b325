//! The wire between members: bytes in, values out; values in, bytes out. A connection begins with
//! a [`Hello`] and its [`HelloAnswer`]; frames follow, each one [`Message`] and, behind an append,
//! the raw bytes of its batches as they lie in the log.
//!
//! All numbers are big-endian; nothing is padded. Any bytes from a peer give a value or an error,
//! never a panic; a length is checked before it is allocated; no two encodings mean the same. What
//! a message means for this member is not decided here: that is what `admit` is for.

pub mod frame;
pub mod hello;
pub mod message;

pub use frame::{FrameError, FrameHeader, Limits};
pub use hello::{Binding, Expected, Hello, HelloAnswer, HelloError, Refusal};
pub use message::{AppendEntry, Campaign, Content, Kind, Message};

use crate::commitlog::meta::In;
use crate::types::Anchor;

/// An anchor that can be one: no entry before the beginning, no batch behind the anchor.
fn anchor(bytes: &mut In<'_>) -> Option<Anchor> {
    bytes.anchor().filter(|anchor| anchor.batch <= anchor.raft_index)
}
