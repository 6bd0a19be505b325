//! Between the group thread and whoever carries messages: what comes from peers, and the way to them.

use std::fmt;

use bytes::Bytes;

use crate::commitlog::meta::MemberSet;
use crate::commitlog::read::Slice;
use crate::types::RaftIndex;
use crate::wire::{Hello, Message};

/// The way to the peers.
pub trait Network: Send {
    /// Sends a message, and the raw bytes that follow it. Never waits; may lose it. False if it is
    /// known to be lost.
    fn send(&mut self, to: u64, message: Message, raw: Vec<Slice>) -> bool;
    /// These are the members now, as far as they are known: who is to be dialled.
    fn members(&mut self, members: &MemberSet);
    /// A peer sent what no honest one sends: its connection is closed.
    fn close(&mut self, from: u64, why: &'static str);
}

/// The network of a log that has none.
pub struct Nobody;

impl Network for Nobody {
    fn send(&mut self, _to: u64, _message: Message, _raw: Vec<Slice>) -> bool {
        false
    }
    fn members(&mut self, _members: &MemberSet) {}
    fn close(&mut self, _from: u64, _why: &'static str) {}
}

/// What comes from peers, for the group thread.
#[derive(Debug)]
pub enum FromPeer {
    /// A message and its raw bytes.
    Message {
        /// Who sent it, as its hello said.
        from: u64,
        /// What.
        message: Box<Message>,
        /// The raw bytes behind it.
        raw: Bytes,
    },
    /// A peer accepted our connection: its log ends at `end`.
    Met {
        /// Who.
        id: u64,
        /// The last Raft entry of its log.
        end: RaftIndex,
        /// Its `node.priority`.
        priority: u32,
    },
    /// What was sent to a peer may be lost.
    Lost {
        /// To whom.
        id: u64,
    },
    /// A peer says that this member is none of the group.
    Unknown {
        /// Who.
        id: u64,
    },
    /// A peer came with an incarnation, and none is bound for it; or it is not known, and shows a
    /// newer member set.
    Bind {
        /// What it said.
        hello: Box<Hello>,
        /// Hears whether this one is bound.
        answer: Answer,
    },
}

/// Who hears of a binding.
pub struct Answer(pub Box<dyn FnOnce(bool) + Send>);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}
