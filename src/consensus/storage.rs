//! The commit log as the engine sees it: thin entries. A Raft entry of ours has no data: it is
//! looked up in its batch unit, and the bytes stay in the log.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::commitlog::CommitLog;
use crate::commitlog::index::Kind;
use crate::types::RaftIndex;

/// The context of a Raft entry that is a batch; a no-op has none.
pub const BATCH: &[u8] = b"batch";

/// The log, owned by the engine.
pub struct LogStorage(pub CommitLog);

impl LogStorage {
    fn entry(&self, raft_index: RaftIndex) -> raft::Result<Entry> {
        let (kind, term, content) = self.0.raft_entry(raft_index).ok_or_else(unavailable)?;
        let mut entry = Entry { index: raft_index.0, term, ..Entry::default() };
        match kind {
            Kind::Batch => entry.context = Bytes::from_static(BATCH),
            Kind::NoOp => {}
            Kind::Membership => {
                entry.set_entry_type(EntryType::EntryConfChangeV2);
                entry.data = Bytes::copy_from_slice(content);
            }
        }
        Ok(entry)
    }
}

impl Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let meta = self.0.meta();
        let commit = meta.committed.raft_index.max(meta.begin.raft_index).0;
        let hard_state =
            HardState { term: meta.term, vote: meta.vote, commit, ..HardState::default() };
        let conf_state = ConfState {
            voters: meta.members.voters.clone(),
            voters_outgoing: meta.members.voters_outgoing.clone(),
            learners: meta.members.learners.clone(),
            learners_next: meta.members.learners_next.clone(),
            auto_leave: meta.members.auto_leave,
            ..ConfState::default()
        };
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
        // Thin entries are all of one size, small; the engine asks for one at least.
        let most = max_size.into().map_or(u64::MAX, |bytes| (bytes / THIN_BYTES).max(1));
        (low..high.min(low.saturating_add(most))).map(|i| self.entry(RaftIndex(i))).collect()
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

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

fn unavailable() -> raft::Error {
    raft::Error::Store(StorageError::Unavailable)
}

/// What a thin entry counts for in the engine's limits.
const THIN_BYTES: u64 = 32;
