//! The log on one member's disk: data segments, their derived units, Raft's own entries and the
//! bounds between them. It knows neither Raft nor threads nor clocks; the group above decides what
//! is written and when it is synced.
//!
//! Invariants: `begin <= committed <= end` and `flushed <= end`, as anchors of Raft entries; zeros
//! follow the last record; there is never a data segment without a record.

pub mod control;
pub mod import;
pub mod index;
pub mod meta;
pub mod read;
pub mod received;
pub mod record;
pub mod recover;
pub mod repair;
pub mod reset;
pub mod retention;
pub mod scan;
pub mod segment;
pub mod truncate;
mod walk;
pub mod work;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::commitlog::control::{Control, ControlEntry};
use crate::commitlog::index::{BatchUnit, IndexUnit, Kind, Units, batch_slot};
use crate::commitlog::meta::{MemberSet, Meta, MetaStore};
use crate::commitlog::read::Reader;
use crate::commitlog::segment::{Segment, Shelf};
use crate::commitlog::work::Spare;
use crate::disk::{Disk, Through};
use crate::error::Result;
use crate::plant::Plants;
use crate::types::{Anchor, Index, Mark, RaftIndex};

/// What a directory is given at its birth, and must have ever after.
#[derive(Clone, Debug)]
pub struct Birth {
    /// The cluster's name.
    pub group: String,
    /// This member.
    pub node: u64,
    /// A number that no other life of this member has.
    pub incarnation: u64,
    /// Length of a data segment.
    pub segment_bytes: u64,
    /// Length of an index file.
    pub index_bytes: u64,
    /// Position of the first record; only looked at for a new directory.
    pub begin_pos: u64,
    /// Most bytes between two syncs; may change from open to open.
    pub unsynced_max: u64,
    /// The first member set; only looked at for a new directory.
    pub members: MemberSet,
    /// Cut back to what is there when files of the tail are missing, instead of refusing.
    pub clamp_missing_tail: bool,
    /// The part of the file system, in millionths, that segments made ahead may fill.
    pub disk_full_ppm: u64,
    /// Deliberate mistakes.
    pub plants: Plants,
}

/// One Raft entry to write.
pub enum LogEntry {
    /// No-op or membership.
    Control(ControlEntry),
    /// Records.
    Batch(Batch),
}

/// A sealed batch. Its bytes lie in the buffer that comes with it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its Raft index.
    pub raft_index: RaftIndex,
    /// Its Raft term.
    pub term: u64,
    /// How many records.
    pub count: u32,
    /// The first of them.
    pub first: Index,
    /// Position of the first of them.
    pub pos: u64,
    /// chainCrc of the last of them.
    pub chain: u32,
    /// Where its bytes are in the buffer.
    pub bytes: Range<usize>,
}

/// How far an appender may go before more is allocated: both bounds are exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The end of the last segment there is, spares included.
    pub pos: u64,
    /// The first record without an index unit, or that could be left without a batch unit.
    pub index: Index,
    /// The first Raft entry without a batch unit.
    pub raft_index: RaftIndex,
}

/// The log of one member, its writer's side.
pub struct CommitLog {
    disk: Arc<dyn Disk>,
    meta_store: MetaStore,
    meta: Meta,
    control: Control,
    /// Contents of membership entries in the log, by Raft index. No-ops have none.
    memberships: BTreeMap<RaftIndex, Vec<u8>>,
    segments: Vec<Arc<Segment>>,
    spares: VecDeque<Spare>,
    spares_made: u64,
    index: Units,
    batches: Units,
    reader: Arc<Reader>,
    end: Anchor,
    flushed: Anchor,
    /// The last control entry in the file: a write that met a full disk is tried again as a whole.
    controls_written: RaftIndex,
    /// Segments with bytes that no sync has covered.
    unsynced: Vec<Arc<Segment>>,
    /// Segments that are being synced elsewhere: not on disk until that comes back.
    syncing: Vec<Arc<Segment>>,
    /// Segments brought into use; how many of their names a sync has covered, and how many one
    /// elsewhere is about to.
    rolls: u64,
    rolls_synced: u64,
    rolls_syncing: u64,
    /// Up to here blocks of the last segment are known to have been written.
    ahead: u64,
    /// What the last sync of the data covered, in bytes of the log.
    sync_bytes: u64,
    /// Bytes read by recovery, for the curious.
    recovery_read: u64,
    allocating: work::Allocating,
    plants: Plants,
    index_buf: Vec<u8>,
    batch_buf: Vec<u8>,
}

impl CommitLog {
    /// Behind the last Raft entry that was written.
    pub fn end(&self) -> Anchor {
        self.end
    }

    /// Behind the last Raft entry that is on this disk for good.
    pub fn flushed(&self) -> Anchor {
        self.flushed
    }

    /// Before the first record that is kept.
    pub fn begin(&self) -> Anchor {
        self.meta.begin
    }

    /// The durable state beside the records.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The readers' side.
    pub fn reader(&self) -> Arc<Reader> {
        self.reader.clone()
    }

    /// Deliberate mistakes.
    pub fn plants(&self) -> Plants {
        self.plants
    }

    /// Bytes that recovery read from data segments.
    pub fn recovery_read(&self) -> u64 {
        self.recovery_read
    }

    /// Bytes written since the last sync of the data.
    pub fn unsynced_bytes(&self) -> u64 {
        self.end.pos.saturating_sub(self.flushed.pos)
    }

    /// Makes term and vote durable, together.
    pub fn set_vote(&mut self, term: u64, vote: u64) -> Result<()> {
        self.store_meta(|meta| (meta.term, meta.vote) = (term, vote))
    }

    /// Notes the bounds of a finished checkpoint: `durable` and its derived units are on disk, and
    /// `committed` was agreed.
    pub fn checkpointed(&mut self, durable: Anchor, committed: Anchor) -> Result<()> {
        if durable.raft_index <= self.meta.durable.raft_index
            && committed.raft_index <= self.meta.committed.raft_index
        {
            return Ok(());
        }
        let control_end = self.control.end();
        self.store_meta(|meta| {
            if durable.raft_index > meta.durable.raft_index {
                meta.durable = durable;
            }
            let committed = if committed.raft_index > meta.durable.raft_index {
                meta.durable
            } else {
                committed
            };
            if committed.raft_index > meta.committed.raft_index {
                meta.committed = committed;
            }
            meta.control_end = control_end;
        })
    }

    /// Notes the member set that is valid from its Raft index on.
    pub fn set_members(&mut self, members: MemberSet) -> Result<()> {
        self.store_meta(|meta| meta.members = members)
    }

    /// The anchor just behind a Raft entry of the log; `None` outside `begin..=end`.
    pub fn anchor(&self, raft_index: RaftIndex) -> Option<Anchor> {
        let begin = self.meta.begin;
        if raft_index == begin.raft_index {
            return Some(begin);
        }
        if raft_index == self.end.raft_index {
            return Some(self.end);
        }
        if raft_index < begin.raft_index || raft_index > self.end.raft_index {
            return None;
        }
        if raft_index.0 <= self.meta.dledger_end.index.0 {
            let unit = IndexUnit::decode(&self.index.get(raft_index.0 - 1)?)?;
            let chain = self.reader.chain_of(unit.index)?;
            return Some(Anchor { chain, ..import::anchor_behind(&unit) });
        }
        let unit = self.batch_unit(raft_index)?;
        if unit.kind == Kind::Batch {
            let Mark { index, pos } = self.end_of(Through::Map, &unit)?;
            let (term, chain) = (unit.term, unit.chain);
            return Some(Anchor { index, pos, raft_index, term, chain, batch: raft_index });
        }
        let before = self.entry_before(raft_index)?;
        let batch = if before == begin.raft_index { begin.batch } else { before };
        Some(Anchor {
            index: unit.first,
            pos: unit.pos,
            raft_index,
            term: unit.term,
            chain: unit.chain,
            batch,
        })
    }

    /// The last Raft entry before one that is no control entry, or where the log begins.
    fn entry_before(&self, raft_index: RaftIndex) -> Option<RaftIndex> {
        let mut before = raft_index - 1;
        while before > self.meta.begin.raft_index
            && before.0 > self.meta.dledger_end.index.0
            && self.batch_unit(before)?.kind != Kind::Batch
        {
            before = before - 1;
        }
        Some(before)
    }

    /// Behind the last record of a batch, by the unit of that record. Units have no checksums: one
    /// that is damaged must not be counted on from.
    fn end_of(&self, through: Through, unit: &BatchUnit) -> Option<Mark> {
        let behind = unit.first.0.checked_add(u64::from(unit.count))?;
        let slot = behind.checked_sub(1)?;
        let last = IndexUnit::decode(&self.index.read(through, slot).ok()??)?;
        (last.index.0 == slot).then_some(Mark { index: Index(behind), pos: last.end() })
    }

    /// The term of a Raft entry in `begin..=end`.
    pub fn term(&self, raft_index: RaftIndex) -> Option<u64> {
        if raft_index == self.end.raft_index {
            return Some(self.end.term);
        }
        if raft_index == self.meta.begin.raft_index {
            return Some(self.meta.begin.term);
        }
        if raft_index < self.meta.begin.raft_index || raft_index > self.end.raft_index {
            return None;
        }
        if raft_index.0 <= self.meta.dledger_end.index.0 {
            let unit = IndexUnit::decode(&self.index.get(raft_index.0 - 1)?)?;
            return Some(import::raft_term(unit.term));
        }
        Some(self.batch_unit(raft_index)?.term)
    }

    /// What a Raft entry in `begin..=end` is, and the content of a membership entry.
    pub fn raft_entry(&self, raft_index: RaftIndex) -> Option<(Kind, u64, &[u8])> {
        if raft_index <= self.meta.begin.raft_index || raft_index > self.end.raft_index {
            return None;
        }
        if raft_index.0 <= self.meta.dledger_end.index.0 {
            return Some((Kind::Batch, self.term(raft_index)?, &[]));
        }
        let unit = self.batch_unit(raft_index)?;
        let content = self.memberships.get(&raft_index).map_or(&[][..], |c| c);
        Some((unit.kind, unit.term, content))
    }

    /// The last membership entry of the log but one.
    pub fn last_membership_but_one(&self) -> Option<RaftIndex> {
        self.memberships.keys().rev().nth(1).copied()
    }

    /// How many records a batch in `begin..=end` has, and the position of the first.
    pub fn batch(&self, raft_index: RaftIndex) -> Option<(u32, u64)> {
        if raft_index.0 <= self.meta.dledger_end.index.0 {
            let unit = IndexUnit::decode(&self.index.get(raft_index.0 - 1)?)?;
            return Some((1, unit.pos));
        }
        let unit = self.batch_unit(raft_index).filter(|unit| unit.kind == Kind::Batch)?;
        Some((unit.count, unit.pos))
    }

    /// Bytes of the batch of a Raft entry; 0 if it is none.
    pub fn batch_bytes(&self, raft_index: RaftIndex) -> u64 {
        let batch = self.batch(raft_index);
        batch.map_or(0, |(_, pos)| self.pos_behind(raft_index).saturating_sub(pos))
    }

    /// The position behind a Raft entry; where the log begins or ends, for one that is not in it.
    pub fn pos_behind(&self, raft_index: RaftIndex) -> u64 {
        let anchor = self.anchor(raft_index.max(self.meta.begin.raft_index));
        // Behind the end, or its unit is damaged.
        anchor.unwrap_or(self.end).pos
    }

    fn batch_unit(&self, raft_index: RaftIndex) -> Option<BatchUnit> {
        BatchUnit::decode(&self.batches.get(batch_slot(raft_index))?)
    }

    fn store_meta(&mut self, change: impl FnOnce(&mut Meta)) -> Result<()> {
        let mut meta = self.meta.clone();
        change(&mut meta);
        self.meta_store.store(&meta)?;
        self.meta = meta;
        Ok(())
    }

    /// Shows readers the segments and index files there are now.
    fn publish(&self) {
        self.reader.show(Shelf { segments: self.segments.clone(), index: self.index.clone() });
    }
}
