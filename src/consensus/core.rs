//! The engine, sans-IO. The caller's duties, in order: after any verb ask [`Core::output`]; write
//! what it holds (vote first, then entries) and call [`Core::written`], no other verb in between;
//! make what was written durable as far as the promise asks, one sync for many outputs; then call
//! [`Core::persisted`], and look at [`Core::committed`].

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, Ready, StateRole};

use crate::commitlog::CommitLog;
use crate::commitlog::control::{ControlEntry, ControlKind};
use crate::consensus::logger::logger;
use crate::consensus::storage::{BATCH, LogStorage};
use crate::error::{Error, Result};
use crate::types::RaftIndex;

/// One member's part in the agreement.
pub struct Core {
    node: RawNode<LogStorage>,
    /// The number of the last output that was written.
    written: u64,
}

/// What the engine wants written.
pub struct Output {
    ready: Ready,
    /// Term and vote, if they changed: durable before anything else.
    pub vote: Option<(u64, u64)>,
    /// Raft entries to append, in order.
    pub entries: Vec<OutEntry>,
}

/// A Raft entry to append.
pub enum OutEntry {
    /// The next batch that was proposed.
    Batch {
        /// Its Raft index.
        raft_index: RaftIndex,
        /// Its Raft term.
        term: u64,
    },
    /// An entry of the engine's own.
    Control(ControlEntry),
}

impl Core {
    /// The engine over a recovered log.
    pub fn new(log: CommitLog) -> Result<Core> {
        let meta = log.meta();
        let mut config = Config::new(meta.node);
        config.election_tick = 10;
        config.heartbeat_tick = 1;
        config.pre_vote = true;
        config.check_quorum = true;
        config.applied = meta.committed.raft_index.max(meta.begin.raft_index).0;
        let logger = logger(&meta.group);
        let node = RawNode::new(&config, LogStorage(log), &logger)
            .map_err(|e| Error::corrupt(0, format!("the engine refuses what is on disk: {e}")))?;
        Ok(Core { node, written: 0 })
    }

    /// The log.
    pub fn log(&self) -> &CommitLog {
        &self.node.store().0
    }

    /// The log, to write what an [`Output`] asks for.
    pub fn log_mut(&mut self) -> &mut CommitLog {
        &mut self.node.mut_store().0
    }

    /// Stands for election. A sole voter is leader at once, in a new term.
    pub fn campaign(&mut self) -> Result<()> {
        self.node.campaign().map_err(|e| Error::corrupt(0, format!("the engine: {e}")))
    }

    /// Proposes the next batch. Returns false if the engine drops it.
    pub fn propose(&mut self) -> bool {
        let entry = Entry { context: Bytes::from_static(BATCH), ..Entry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.set_entries(vec![entry].into());
        self.node.raft.step(message).is_ok()
    }

    /// What is to be written, if anything.
    pub fn output(&mut self) -> Option<Output> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let (term, vote) = (self.log().meta().term, self.log().meta().vote);
        let vote = ready.hs().filter(|hs| (hs.term, hs.vote) != (term, vote));
        let vote = vote.map(|hs| (hs.term, hs.vote));
        let entries = ready.take_entries().iter().map(out_entry).collect();
        Some(Output { ready, vote, entries })
    }

    /// What the output held is written: the log serves it.
    pub fn written(&mut self, output: Output) {
        self.written = output.ready.number();
        self.node.advance_append_async(output.ready);
        self.node.advance_apply();
    }

    /// All that was written is as durable as was promised.
    pub fn persisted(&mut self) {
        self.node.on_persist_ready(self.written);
    }

    /// The last Raft entry that is agreed.
    pub fn committed(&self) -> RaftIndex {
        RaftIndex(self.node.raft.raft_log.committed)
    }

    /// The last Raft entry there is, written or not.
    pub fn last(&self) -> RaftIndex {
        RaftIndex(self.node.raft.raft_log.last_index())
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader's id; 0 if unknown.
    pub fn leader(&self) -> u64 {
        self.node.raft.leader_id
    }

    /// What this member is.
    pub fn state(&self) -> StateRole {
        self.node.raft.state
    }

    /// Whether this member leads and an entry of its term is agreed.
    pub fn is_ready(&self) -> bool {
        self.state() == StateRole::Leader && self.node.raft.commit_to_current_term()
    }
}

fn out_entry(entry: &Entry) -> OutEntry {
    let raft_index = RaftIndex(entry.index);
    let control = |kind, content: &[u8]| {
        let content = content.to_vec();
        OutEntry::Control(ControlEntry { raft_index, term: entry.term, kind, content })
    };
    match entry.get_entry_type() {
        EntryType::EntryNormal if entry.context == BATCH => {
            OutEntry::Batch { raft_index, term: entry.term }
        }
        EntryType::EntryNormal => control(ControlKind::NoOp, &[]),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            control(ControlKind::Membership, &entry.data)
        }
    }
}
