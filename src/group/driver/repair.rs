//! Damaged batches are asked for, of all peers, until the bytes that they must have have come.
//! It needs no leader. What no member has any more stays damaged: its reads say so, and all else
//! goes on.

use std::collections::BTreeMap;

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::commitlog::repair::{BatchId, Repaired};
use crate::consensus::members;
use crate::consensus::send::Outgoing;
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::metrics::Metrics;
use crate::group::waiters::lock;
use crate::types::RaftIndex;
use crate::wire::Message;

/// Damaged batches, each with when to ask for it, in nanoseconds.
#[derive(Default)]
pub(super) struct Repairs(BTreeMap<RaftIndex, (BatchId, u64)>);

impl Driver {
    /// Looks at what readers found damaged, and what was to be sent, and asks for it.
    pub(super) fn repair(&mut self, now: u64) {
        let read = std::mem::take(&mut *lock(&self.shared.damaged));
        let log = self.core.log();
        let read: Vec<_> = read.into_iter().filter_map(|index| log.batch_of(index)).collect();
        for raft_index in read.into_iter().chain(self.core.take_damaged()) {
            if !self.core.log().is_intact(raft_index) {
                self.note_damaged(raft_index, now);
            }
        }
        if self.repairs.0.is_empty() {
            return;
        }
        // What was purged, or dropped with a tail, is missed no more.
        let log = self.core.log();
        self.repairs.0.retain(|raft_index, (batch, _)| log.batch_id(*raft_index) == Some(*batch));
        let again = now.saturating_add(self.election_ns);
        let mut asked = Vec::new();
        for (batch, due) in self.repairs.0.values_mut().take(AT_ONCE) {
            if *due <= now {
                *due = again;
                asked.push(*batch);
            }
        }
        let members = log.meta().members.members.iter().map(|member| member.id);
        let peers: Vec<u64> = members.filter(|id| *id != self.shared.node).collect();
        for batch in asked {
            for to in peers.iter().copied() {
                let message = Message::RepairRequest { batch };
                self.send_one(Outgoing { to, message, raw: Vec::new() });
            }
        }
    }

    fn note_damaged(&mut self, raft_index: RaftIndex, now: u64) {
        let log = self.core.log();
        let there = self.repairs.0.contains_key(&raft_index) || self.repairs.0.len() == REPAIRS;
        let batch = log.batch_id(raft_index).zip(log.batch(raft_index));
        let batch = batch.filter(|_| !there && self.has_peers());
        let Some((batch, (count, pos))) = batch else { return };
        warn!(
            "{count} records at position {pos} are damaged: the other members are asked for them"
        );
        self.repairs.0.insert(raft_index, (batch, now));
    }

    /// When to ask again.
    pub(super) fn next_repair(&self) -> u64 {
        self.repairs.0.values().take(AT_ONCE).map(|(_, due)| *due).min().unwrap_or(NEVER)
    }

    /// A peer asks for a batch.
    pub(super) fn answer_repair(&mut self, from: u64, batch: BatchId, now: u64) {
        let log = self.core.log();
        let known = members::has(&log.meta().members, from);
        if !known || log.batch_id(batch.raft_index) != Some(batch) {
            self.drop_repair(from, "it asks for a batch that is not here");
            return;
        }
        // What is damaged here may be so elsewhere in the batch.
        let found = log.look_at(batch.raft_index);
        if let Some((place, _)) = found {
            let message = Message::RepairReply { batch, len: place.1 };
            self.send_one(Outgoing { to: from, message, raw: vec![place] });
        }
        if found.is_none_or(|(_, intact)| !intact) {
            self.note_damaged(batch.raft_index, now);
        }
    }

    /// The bytes of a batch came. They are written if they are the ones that it must have.
    pub(super) fn take_repair(&mut self, from: u64, batch: BatchId, bytes: &Bytes) {
        let raft_index = batch.raft_index;
        let wanted = self.repairs.0.get(&raft_index).is_some_and(|(wanted, _)| *wanted == batch);
        if !wanted || self.core.log().batch_id(raft_index) != Some(batch) {
            self.drop_repair(from, "a batch that was not asked for, or came before");
            return;
        }
        match self.core.log_mut().repair(raft_index, bytes) {
            Ok(Repaired::Whole) => {
                self.repairs.0.remove(&raft_index);
                Metrics::add(&self.shared.metrics.repaired, 1);
                let pos = self.core.log().batch(raft_index).map_or(0, |(_, pos)| pos);
                info!("the records at position {pos} are repaired, from member {from}");
            }
            // What one member has goes on from what another had.
            Ok(Repaired::Part) => drop(self.repairs.0.insert(raft_index, (batch, 0))),
            Ok(Repaired::Nothing) => self.drop_repair(from, "what it has of it is damaged as well"),
            // It stays as it was, and is asked for again.
            Err(error) => warn!("a repair failed: {error}"),
        }
    }

    fn drop_repair(&self, from: u64, why: &str) {
        Metrics::add(&self.shared.metrics.dropped, 1);
        debug!("dropped a repair of member {from}: {why}");
    }
}

/// Damaged batches that are remembered; others when they are met again.
const REPAIRS: usize = 1024;
/// Batches that are asked for at once.
const AT_ONCE: usize = 8;
