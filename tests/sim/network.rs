//! What members of a simulated cluster send each other: frames, through the wire's own encoding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dledger::commitlog::meta::MemberSet;
use dledger::commitlog::read::Slice;
use dledger::group::peers::Network;
use dledger::wire::{Limits, Message, frame};

/// A frame on its way.
#[derive(Clone)]
pub struct Packet {
    pub from: u64,
    pub to: u64,
    pub head: Vec<u8>,
    pub raw: Bytes,
}

/// What members sent and the network has not taken yet.
#[derive(Clone, Default)]
pub struct Sent(pub Arc<Mutex<Vec<Packet>>>);

/// One member's way to the others: through the wire's own encoding.
pub struct Outlet {
    pub from: u64,
    pub sent: Sent,
    /// How often a connection was closed, in the whole cluster.
    pub closed: Arc<AtomicU64>,
}

impl Network for Outlet {
    fn send(&mut self, to: u64, message: Message, raw: Vec<Slice>) -> bool {
        let mut head = Vec::new();
        frame::encode(&message, &limits(), &mut head).expect("a message that a peer will take");
        let raw: Vec<u8> = raw.iter().flat_map(|slice| slice.as_ref().to_vec()).collect();
        assert_eq!(raw.len() as u64, message.raw_len());
        self.sent.0.lock().unwrap().push(Packet { from: self.from, to, head, raw: raw.into() });
        true
    }
    fn members(&mut self, _members: &MemberSet) {}
    fn close(&mut self, _from: u64, why: &'static str) {
        eprintln!("member {} closes a connection: {why}", self.from);
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn limits() -> Limits {
    Limits::new(1 << 20)
}
