//! The commit log as the engine sees it: thin entries. A Raft entry of ours has no data: it is
//! looked up in its batch unit, and the bytes stay in the log.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, NO_LIMIT, RaftState, Storage, StorageError};

use crate::commitlog::CommitLog;
use crate::commitlog::index::Kind;
use crate::consensus::members::{self, Change};
use crate::types::RaftIndex;

/// What a Raft entry of the engine is, by its context: a no-op has none, a batch has one byte, a
/// membership entry one byte and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thin<'a> {
    /// The first entry of a term.
    NoOp,
    /// Records.
    Batch,
    /// A change of the member set.
    Membership(&'a [u8]),
}

/// What a Raft entry is. One that the engine makes to leave a joint state has no context.
pub fn thin(entry: &Entry) -> Thin<'_> {
    match entry.context.first() {
        Some(&BATCH) => Thin::Batch,
        Some(_) => Thin::Membership(&entry.context[1..]),
        None if entry.get_entry_type() == EntryType::EntryNormal => Thin::NoOp,
        None => Thin::Membership(&[]),
    }
}

/// A batch as a Raft entry.
pub fn batch_entry() -> Entry {
    Entry { context: Bytes::from_static(&[BATCH]), ..Entry::default() }
}

/// A change of the member set as a Raft entry: what moves addresses only is none of the engine's
/// business.
pub fn membership_entry(content: &[u8], changes: &[Change]) -> Entry {
    let mut context = vec![MEMBERSHIP];
    context.extend_from_slice(content);
    let mut entry = Entry { context: context.into(), ..Entry::default() };
    if !members::is_move(changes) {
        entry.set_entry_type(EntryType::EntryConfChangeV2);
    }
    entry
}

const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The log, owned by the engine.
pub struct LogStorage(pub CommitLog);

impl LogStorage {
    fn entry(&self, raft_index: RaftIndex) -> raft::Result<Entry> {
        let (kind, term, content) = self.0.raft_entry(raft_index).ok_or_else(unavailable)?;
        let entry = match kind {
            Kind::Batch => batch_entry(),
            Kind::NoOp => Entry::default(),
            Kind::Membership => {
                let changes = members::decode(content).ok_or_else(unavailable)?;
                membership_entry(content, &changes)
            }
        };
        Ok(Entry { index: raft_index.0, term, ..entry })
    }
}

impl Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let meta = self.0.meta();
        // A membership entry is proposed when the one before it is agreed: whoever has it knows that, and
        // must not be elected by the members that were before. Two sets that are not neighbours may
        // have majorities that do not meet.
        let before = self.0.last_membership_but_one().unwrap_or_default();
        let commit = meta.committed.raft_index.max(meta.begin.raft_index).max(before).0;
        let hard_state =
            HardState { term: meta.term, vote: meta.vote, commit, ..HardState::default() };
        let conf_state = members::conf_state(&meta.members);
        Ok(RaftState::new(hard_state, conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if RaftIndex(low) <= self.0.begin().raft_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let max = max_size.into().unwrap_or(NO_LIMIT);
        if max == NO_LIMIT {
            return (low..high).map(|i| self.entry(RaftIndex(i))).collect();
        }
        let (mut entries, mut sum) = (Vec::new(), 0);
        for raft_index in (low..high).map(RaftIndex) {
            // Thin as it is, an entry counts as what is sent for it.
            sum += THIN_BYTES + self.0.batch_bytes(raft_index);
            if sum > max && !entries.is_empty() {
                break;
            }
            entries.push(self.entry(raft_index)?);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if RaftIndex(index) < self.0.begin().raft_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.0.term(RaftIndex(index)).ok_or_else(unavailable)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.0.begin().raft_index.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.0.end().raft_index.0)
    }

    /// Where this log begins, with the members that are valid now: all that a member needs that
    /// is behind it.
    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let (begin, members) = (self.0.begin(), &self.0.meta().members);
        if begin.raft_index == RaftIndex(0) {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (begin.raft_index.0, begin.term);
        metadata.set_conf_state(members::conf_state(members));
        Ok(snapshot)
    }
}

fn unavailable() -> raft::Error {
    raft::Error::Store(StorageError::Unavailable)
}

/// What an entry counts for beside its batch. Each is looked up to be sent, and those without records
/// at some length: so a message has a thousand at most.
const THIN_BYTES: u64 = 256;
