//! Between the group thread and whoever carries messages: what comes from peers, and the way to them.

use crate::commitlog::meta::MemberSet;
use crate::commitlog::read::Slice;
use crate::types::RaftIndex;
use crate::wire::Message;

/// The way to the peers.
pub trait Network: Send {
    /// Sends a message, and the raw bytes that follow it. Never waits; may lose it.
    fn send(&mut self, to: u64, message: Message, raw: Vec<Slice>);
    /// These are the members now.
    fn members(&mut self, members: &MemberSet);
    /// A peer sent what no honest one sends: its connection is closed.
    fn close(&mut self, from: u64, why: &'static str);
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
        raw: Vec<u8>,
    },
    /// A peer said hello: its log ends at `end`.
    Met {
        /// Who.
        id: u64,
        /// The last Raft entry of its log.
        end: RaftIndex,
    },
    /// What was sent to a peer may be lost.
    Lost {
        /// To whom.
        id: u64,
    },
}
