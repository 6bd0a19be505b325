//! The engine, sans-IO. The caller's duties, in order: after any verb ask [`Core::output`] until it
//! has none; do what it holds (vote first, then the reset or the members, the cut, the
//! entries) and call [`Core::written`], no other verb in between; send what that returns, the
//! replies of it only when all that was written is durable as far as the promise asks; then call
//! [`Core::persisted`].
//! Before [`Core::tick`], and before a message that may make this member leader, everything
//! written must be persisted.

mod joiner;
#[cfg(test)]
pub(in crate::consensus) mod tests;

use std::collections::BTreeSet;

use raft::eraftpb::{ConfState, Entry, Message as RaftMessage, MessageType};
use raft::{Config, ProgressState, RawNode, Ready, SnapshotStatus, StateRole};

use crate::commitlog::control::{ControlEntry, ControlKind};
use crate::commitlog::meta::MemberSet;
use crate::commitlog::{Batch, CommitLog};
use crate::consensus::admit::{Refused, View, admit, context_bytes, context_number};
use crate::consensus::logger::logger;
use crate::consensus::members::{self, Change};
use crate::consensus::send::{self, Outgoing};
use crate::consensus::storage::{LogStorage, Thin, batch_entry, membership_entry, thin};
use crate::error::{Error, Result};
use crate::plant::Plant;
use crate::types::{Anchor, RaftIndex};
use crate::wire::Message;

/// How the engine counts time, and what it draws from.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of a tick, in nanoseconds.
    pub tick_ns: u64,
    /// Ticks without a leader before a campaign, at least; at most twice as many.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Most bytes of records in one message of several batches.
    pub message_bytes: u64,
    /// When so many bytes are on their way to a member, its answers are waited for.
    pub window_bytes: u64,
    /// Where the generator of election timeouts begins.
    pub seed: u64,
}

/// One member's part in the agreement.
pub struct Core {
    node: RawNode<LogStorage>,
    pace: Pace,
    random: fastrand::Rng,
    /// The number of the last output that was written.
    written: u64,
    /// Whether the last output was; and the changes of outputs that are not in force yet.
    is_written: bool,
    changes: usize,
    /// What the message that was stepped last brought.
    received: Vec<Batch>,
    reset: Option<(Anchor, MemberSet)>,
    members: Option<MemberSet>,
    /// Batches that a peer was to be sent, and that are damaged here.
    damaged: BTreeSet<RaftIndex>,
    /// A member set that is newer than our own, and that the engine does not know.
    book: Option<MemberSet>,
}

/// What the engine wants done.
pub struct Output {
    ready: Ready,
    /// Term and vote, if they changed: durable before anything else.
    pub vote: Option<(u64, u64)>,
    /// Begin anew here: the log ends before the leader's begins.
    pub reset: Option<(Anchor, MemberSet)>,
    /// Begin with these members: this one was born to be added. See [`Core::begin_with`].
    pub members: Option<MemberSet>,
    /// Drop what lies behind this Raft entry: the leader has something else.
    pub cut: Option<RaftIndex>,
    /// Raft entries to append, in order.
    pub entries: Vec<OutEntry>,
    /// Read indexes that are confirmed: the number of the attempt, and the Raft index.
    pub reads: Vec<(u64, RaftIndex)>,
    /// Membership entries that are agreed, in order, for [`Core::change`].
    pub changes: Vec<(RaftIndex, Vec<u8>)>,
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
    /// A batch that a peer sent; its bytes lie in the raw bytes of the message stepped last.
    Received(Batch),
    /// An entry of the engine's own.
    Control(ControlEntry),
}

/// What is to be sent of one output.
#[derive(Default)]
pub struct Sends {
    /// At once: a leader's appends and heartbeats.
    pub now: Vec<Outgoing>,
    /// When all that was written is durable: votes and acks.
    pub persisted: Vec<Outgoing>,
}

impl Core {
    /// The engine over a recovered log.
    pub fn new(log: CommitLog, pace: Pace) -> Result<Core> {
        let meta = log.meta();
        if !members::is_sound(&meta.members) {
            let why = "`meta` holds a member set that cannot be";
            return Err(Error::corrupt(0, why));
        }
        let mut config = Config::new(meta.node);
        config.election_tick = pace.election_ticks;
        config.heartbeat_tick = pace.heartbeat_ticks;
        // Election timeouts are drawn here: what the engine draws itself lies beyond.
        config.min_election_tick = pace.election_ticks;
        config.max_election_tick = NEVER_TICKS;
        config.pre_vote = true;
        config.check_quorum = true;
        // Of what is agreed members hear with the next append: see `tell_committed`.
        config.skip_bcast_commit = true;
        config.max_size_per_msg = pace.message_bytes;
        config.max_inflight_msgs = INFLIGHT;
        config.applied = meta.committed.raft_index.max(meta.begin.raft_index).0;
        let logger = logger(&meta.group);
        let node = RawNode::new(&config, LogStorage(log), &logger)
            .map_err(|e| Error::corrupt(0, format!("the engine refuses what is on disk: {e}")))?;
        let random = fastrand::Rng::with_seed(pace.seed);
        let (received, reset, members) = (Vec::new(), None, None);
        let damaged = BTreeSet::new();
        let (written, is_written, changes) = (0, false, 0);
        let mut core = Core {
            node,
            pace,
            random,
            written,
            is_written,
            changes,
            received,
            reset,
            members,
            damaged,
            book: None,
        };
        core.draw_timeout();
        Ok(core)
    }

    /// The log.
    pub fn log(&self) -> &CommitLog {
        &self.node.store().0
    }

    /// The log, to write what an [`Output`] asks for.
    pub fn log_mut(&mut self) -> &mut CommitLog {
        &mut self.node.mut_store().0
    }

    /// A member set that another member showed. In memory only.
    pub fn book(&self) -> Option<&MemberSet> {
        self.book.as_ref()
    }

    /// The members of this set are heard, too. Who votes is what it was.
    pub fn set_book(&mut self, book: Option<MemberSet>) {
        self.book = book;
    }

    /// A tick of time has gone.
    pub fn tick(&mut self) {
        self.node.tick();
        self.draw_timeout();
    }

    /// How many ticks of time have to go before the engine does something of its own accord: show
    /// that it leads, or stand for election. At least one.
    pub fn idle_ticks(&self) -> usize {
        let raft = &self.node.raft;
        let ticks = match raft.state {
            StateRole::Leader => self.pace.heartbeat_ticks.saturating_sub(raft.heartbeat_elapsed()),
            _ if !raft.promotable() => self.pace.election_ticks,
            _ => raft.randomized_election_timeout().saturating_sub(raft.election_elapsed),
        };
        ticks.max(1)
    }

    /// So many ticks have gone, of those in which this member, which does not lead, had nothing to do.
    pub fn idled(&mut self, ticks: usize) {
        debug_assert!(ticks < self.idle_ticks() && self.state() != StateRole::Leader);
        self.node.raft.election_elapsed += ticks;
    }

    /// Stands for election. A sole voter is leader at once, in a new term.
    pub fn campaign(&mut self) -> Result<()> {
        let result = self.node.campaign();
        self.draw_timeout();
        result.map_err(|e| Error::corrupt(0, format!("the engine: {e}")))
    }

    /// Proposes the next batch. Returns false if the engine drops it.
    pub fn propose(&mut self) -> bool {
        self.propose_entry(batch_entry())
    }

    /// Proposes changes of the member set. Returns false if the engine drops them: another change
    /// is under way, or this member does not lead or would not vote any more (it hands the
    /// leadership over first); and what some member could not read, or has no room for in `meta`:
    /// once agreed it would stop them all.
    pub fn propose_change(&mut self, changes: &[Change]) -> bool {
        if self.node.raft.has_pending_conf() || changes.is_empty() {
            return false;
        }
        let (meta, content) = (self.log().meta(), members::encode(changes));
        let joint = members::joint(&meta.members, changes);
        let is_joint = !meta.members.voters_outgoing.is_empty();
        if is_joint || !joint.voters.contains(&self.node.raft.id) {
            return false;
        }
        if !members::is_readable(&content, changes) || !meta.has_room_for(&joint) {
            return false;
        }
        let entry = membership_entry(&content, changes);
        if members::is_move(changes) {
            let proposed = self.propose_entry(entry);
            if proposed {
                // The engine takes it for a normal entry: the next change would not wait for it.
                self.node.raft.pending_conf_index = self.last().0;
            }
            return proposed;
        }
        // The engine makes bytes of its own of the change, looks into them here and never again.
        let change = members::conf_change(changes);
        let leads = self.state() == StateRole::Leader;
        leads && self.node.propose_conf_change(entry.context.to_vec(), change).is_ok()
    }

    /// Whether a change of the member set is proposed and not over: no other one is taken. A new
    /// leader takes what it has not applied yet for one.
    pub fn has_pending_change(&self) -> bool {
        self.node.raft.has_pending_conf() || !self.log().meta().members.voters_outgoing.is_empty()
    }

    fn propose_entry(&mut self, entry: Entry) -> bool {
        // A follower would forward it.
        if self.state() != StateRole::Leader {
            return false;
        }
        let mut message = RaftMessage::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.set_entries(vec![entry].into());
        self.node.raft.step(message).is_ok()
    }

    /// Tells the others how far it is agreed, as appends and heartbeats do, for want of one.
    pub fn tell_committed(&mut self) {
        if self.state() == StateRole::Leader {
            self.node.raft.bcast_append();
        }
    }

    /// Begins to hand the leadership over. Everything staged must be proposed before.
    pub fn transfer(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    /// Takes proposals again, whatever became of the transfer. At any time.
    pub fn give_up_transfer(&mut self) {
        self.node.raft.abort_leader_transfer();
    }

    /// To whom the leadership is being handed over; 0: to nobody.
    pub fn transferee(&self) -> u64 {
        self.node.raft.lead_transferee.unwrap_or(0)
    }

    /// Asks for a read index. Returns the number of the attempt: the engine merges equal ones, so
    /// each has another, in the whole group.
    pub fn read_index(&mut self) -> u64 {
        let attempt = self.random.u64(1..);
        self.node.read_index(context_bytes(attempt).to_vec());
        attempt
    }

    /// Takes a message from a peer, if it is one that this member can take.
    pub fn step(
        &mut self,
        from: u64,
        message: &Message,
        raw: &[u8],
    ) -> std::result::Result<(), Refused> {
        let room = self.log().room();
        let raft = &self.node.raft;
        let view = View {
            log: &self.node.store().0,
            book: self.book.as_ref(),
            id: raft.id,
            term: raft.term,
            state: raft.state,
            leader: raft.leader_id,
            committed: self.committed(),
            matched: self.matched(from),
            persisted: raft.raft_log.persisted == raft.raft_log.last_index(),
            room,
        };
        let admitted = admit(&view, from, message, raw)?;
        self.received = admitted.batches;
        self.reset = admitted.reset;
        self.members = admitted.members;
        match message {
            Message::AppendReply { .. } => self.bound(from, self.pace.window_bytes),
            // Its answers to all that is on its way may be lost: that to one message more makes up.
            Message::HeartbeatReply { .. } => self.bound(from, 2 * self.pace.window_bytes),
            _ => {}
        }
        let stepped = self.node.raft.step(admitted.message);
        if let Message::HeartbeatReply { commit, .. } = message {
            self.notice_reset(from, *commit);
        }
        self.count_old_terms();
        self.draw_timeout();
        stepped.map_err(|_| Refused::Drop("the engine has no use for it"))
    }

    /// A connection of a member was made anew; its log ends at `end`. What it had acknowledged and
    /// has no more is sent again.
    pub fn met(&mut self, id: u64, end: RaftIndex) {
        if self.state() != StateRole::Leader {
            return;
        }
        if let Some(progress) = self.node.raft.mut_prs().get_mut(id) {
            if progress.state == ProgressState::Snapshot {
                progress.snapshot_failure();
            }
            progress.matched = progress.matched.min(end.0);
            progress.become_probe();
        }
    }

    /// A member that shows that it has committed what it was reset to was reset. Its answer may be
    /// lost, and the engine, which sends it nothing meanwhile, would wait for that for ever.
    fn notice_reset(&mut self, from: u64, commit: RaftIndex) {
        let raft = &mut self.node.raft;
        let reset = raft.prs().get(from).filter(|to| to.state == ProgressState::Snapshot);
        let Some(index) = reset.map(|to| to.pending_snapshot) else { return };
        if raft.state == StateRole::Leader && index != 0 && commit.0 >= index {
            let mut answer =
                RaftMessage { from, to: raft.id, term: raft.term, index, ..Default::default() };
            answer.set_msg_type(MessageType::MsgAppendResponse);
            let _ = raft.step(answer);
        }
    }

    /// What was sent to a member may be lost.
    pub fn lost(&mut self, id: u64) {
        if self.state() == StateRole::Leader {
            self.node.report_unreachable(id);
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
    }

    /// What is to be done, if anything.
    pub fn output(&mut self) -> Option<Output> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let (term, vote) = (self.log().meta().term, self.log().meta().vote);
        let vote = ready.hs().filter(|hs| (hs.term, hs.vote) != (term, vote));
        let vote = vote.map(|hs| (hs.term, hs.vote));
        let reset =
            if ready.snapshot().get_metadata().index == 0 { None } else { self.reset.take() };
        let members = self.members.take();
        let appended = ready.take_entries();
        let end = self.log().end().raft_index;
        let cut = appended.first().filter(|entry| reset.is_none() && entry.index <= end.0);
        let cut = cut.map(|entry| RaftIndex(entry.index - 1));
        let mut received = std::mem::take(&mut self.received).into_iter().peekable();
        let mut entries = Vec::with_capacity(appended.len());
        for entry in &appended {
            while received.next_if(|batch| batch.raft_index.0 < entry.index).is_some() {}
            let brought =
                received.next_if(|b| (b.raft_index.0, b.term) == (entry.index, entry.term));
            entries.push(brought.map_or_else(|| out_entry(entry), OutEntry::Received));
        }
        let reads = ready.take_read_states();
        let reads = reads.iter();
        let reads = reads.map(|r| (context_number(&r.request_ctx), RaftIndex(r.index))).collect();
        let known = self.log().meta().members.raft_index;
        let changes = ready.take_committed_entries();
        let changes = changes.iter().filter(|entry| entry.index > known.0);
        let changes = changes.filter_map(|entry| match thin(entry) {
            Thin::Membership(content) => Some((RaftIndex(entry.index), content.to_vec())),
            _ => None,
        });
        let changes: Vec<_> = changes.collect();
        self.changes += changes.len();
        self.is_written = false;
        Some(Output { ready, vote, reset, members, cut, entries, reads, changes })
    }

    /// What the output held is done: the log serves it. Returns what to send.
    pub fn written(&mut self, mut output: Output) -> Sends {
        let now = output.ready.take_messages();
        let persisted = output.ready.take_persisted_messages();
        self.written = output.ready.number();
        let is_reset = output.ready.snapshot().get_metadata().index != 0;
        self.node.advance_append_async(output.ready);
        if is_reset {
            // It is durable when it is done, and what lies before it counts as applied.
            self.persisted();
        }
        self.is_written = true;
        self.applied();
        Sends { now: self.outgoing(now), persisted: self.outgoing(persisted) }
    }

    /// All that was written is as durable as was promised.
    pub fn persisted(&mut self) {
        self.node.on_persist_ready(self.written);
        self.count_old_terms();
    }

    /// Nothing, unless it is planted: the engine counts entries of the current term only.
    fn count_old_terms(&mut self) {
        if self.log().plants().on(Plant::CommitOldTerm) && self.state() == StateRole::Leader {
            let (counted, _) = self.node.raft.mut_prs().maximal_committed_index();
            self.node.raft.raft_log.commit_to(counted);
        }
    }

    /// Takes a membership entry that is agreed into force. Returns the member set from there on, to
    /// be written to `meta`.
    pub fn change(&mut self, raft_index: RaftIndex, content: &[u8]) -> Result<MemberSet> {
        let refused = |e: String| Error::corrupt(0, format!("membership entry {raft_index}: {e}"));
        let changes = members::decode(content).ok_or_else(|| refused("it means nothing".into()))?;
        let known = self.log().meta().members.clone();
        members::fits(&known, raft_index, &changes)?;
        let state = if members::is_move(&changes) {
            members::conf_state(&known)
        } else {
            let change = members::conf_change(&changes);
            self.node.apply_conf_change(&change).map_err(|e| refused(e.to_string()))?
        };
        self.step_down_without_vote(&state);
        self.changes = self.changes.saturating_sub(1);
        self.applied();
        self.draw_timeout();
        Ok(members::apply(&known, &changes, &state, raft_index))
    }

    /// A member that votes in the old part of a joint state only may be elected in it, and leads
    /// out of it: the engine would go on leading, and end the process when the next entry is agreed.
    fn step_down_without_vote(&mut self, state: &ConfState) {
        let (id, term) = (self.node.raft.id, self.node.raft.term);
        let votes = state.voters.contains(&id) || state.voters_outgoing.contains(&id);
        if self.state() == StateRole::Leader && !votes {
            self.node.raft.become_follower(term, NOBODY);
        }
    }

    /// Batches that were found damaged when a peer was to be sent them, since the last look.
    pub fn take_damaged(&mut self) -> BTreeSet<RaftIndex> {
        std::mem::take(&mut self.damaged)
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

    /// Whether it votes and may lead.
    pub fn promotable(&self) -> bool {
        self.node.raft.promotable()
    }

    /// How far a member's log is known to match; 0 unless this member leads.
    pub fn matched(&self, id: u64) -> RaftIndex {
        RaftIndex(self.node.raft.prs().get(id).map_or(0, |progress| progress.matched))
    }

    /// Tells the engine that what is agreed is in force, when it is: a leader leaves a joint state
    /// when it hears that, and would leave it twice if it heard before the change.
    fn applied(&mut self) {
        if self.is_written && self.changes == 0 {
            self.node.advance_apply();
        }
    }

    fn outgoing(&mut self, messages: Vec<RaftMessage>) -> Vec<Outgoing> {
        let mut sends = Vec::with_capacity(messages.len());
        for message in messages {
            let (to, kind) = (message.to, message.get_msg_type());
            let before = sends.len();
            let bytes = self.pace.message_bytes;
            if let Some(damaged) = send::outgoing(self.log(), message, bytes, &mut sends) {
                // The engine takes it for sent: it is to be sent again when it is repaired.
                self.damaged.insert(damaged);
                self.lost(to);
            }
            if kind == MessageType::MsgAppend {
                self.bound(to, self.pace.window_bytes);
            }
            if kind == MessageType::MsgSnapshot && sends.len() == before {
                // Purged once more since: the next one tells of the new begin.
                self.node.report_snapshot(to, SnapshotStatus::Failure);
            }
        }
        sends
    }

    /// Bounds the bytes on their way to a member; the engine counts messages. What does not fit into
    /// the socket's queue is lost, and all behind what was acknowledged is sent once more.
    fn bound(&mut self, to: u64, window_bytes: u64) {
        let Some(progress) = self.node.raft.prs().get(to) else { return };
        let sent = RaftIndex(progress.next_idx.saturating_sub(1));
        let (log, on_way) = (self.log(), progress.ins.count());
        let (end, sent) = (log.end().pos, log.pos_behind(sent));
        let has = log.pos_behind(RaftIndex(progress.matched));
        let cap = if sent.saturating_sub(has) >= window_bytes {
            // Full with what is on its way; when that has arrived, there is room for one.
            1
        } else if end.saturating_sub(sent) > BURST as u64 * self.pace.message_bytes {
            INFLIGHT.min(on_way + BURST)
        } else {
            INFLIGHT
        };
        self.node.raft.adjust_max_inflight_msgs(to, cap);
    }

    /// The engine draws election timeouts from a generator of its own, which no seed repeats, and
    /// from a range that no timeout of ours lies in: so it is seen when it did.
    fn draw_timeout(&mut self) {
        let (least, raft) = (self.pace.election_ticks, &mut self.node.raft);
        if raft.randomized_election_timeout() >= 2 * least {
            raft.set_randomized_election_timeout(self.random.usize(least..2 * least));
        }
    }
}

fn out_entry(entry: &Entry) -> OutEntry {
    let raft_index = RaftIndex(entry.index);
    let control = |kind, content: &[u8]| {
        let content = content.to_vec();
        OutEntry::Control(ControlEntry { raft_index, term: entry.term, kind, content })
    };
    match thin(entry) {
        Thin::Batch => OutEntry::Batch { raft_index, term: entry.term },
        Thin::NoOp => control(ControlKind::NoOp, &[]),
        Thin::Membership(content) => control(ControlKind::Membership, content),
    }
}

/// Messages on their way to one member.
const INFLIGHT: usize = 256;
/// Messages that one answer of a member adds to them: each is looked up, and read again where it is
/// cold, while the others wait.
const BURST: usize = 4;
/// No member.
const NOBODY: u64 = 0;
/// An election timeout that the engine drew, and that never comes.
const NEVER_TICKS: usize = 1 << 40;
