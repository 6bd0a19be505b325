//! The group thread's turn, in nine steps: take, seal, propose, send, write, sync, send acks,
//! advance, publish. It has no thread, clock or socket of
//! its own: whoever owns it calls [`Driver::turn`] when something came, or at the time that the
//! last turn gave.

mod barriers;
mod changes;
mod control;
mod peers;
mod publish;
mod repair;
mod round;
mod timers;
mod transfer;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use crate::commitlog::record;
use crate::commitlog::work::Work;
use crate::commitlog::{Batch, CommitLog, LogEntry};
use crate::consensus::core::{Core, OutEntry, Output, Pace};
use crate::consensus::send::Outgoing;
use crate::error::{Error, Result, Status};
use crate::group::clock::{NEVER, nanos};
use crate::group::driver::barriers::Asked;
use crate::group::driver::changes::Changing;
use crate::group::driver::repair::Repairs;
use crate::group::driver::round::Round;
use crate::group::driver::timers::Timers;
use crate::group::driver::transfer::{Preference, Transfer};
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::peers::{FromPeer, Network, Nobody};
use crate::group::shared::{Marks, Role, Shared};
use crate::group::staging::{Block, Piece};
use crate::group::waiters::Slot;
use crate::plant::{Plant, Plants};
use crate::types::{Anchor, RaftIndex};

/// Where work goes that may take long. What comes of it is handed to
/// [`Returns::post`](crate::group::shared::Returns::post).
pub trait Helper: Send {
    /// Takes a piece of work. Does not wait for it.
    fn submit(&mut self, work: Work);
}

/// When to call [`Driver::turn`] again if nothing comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do.
    Now,
    /// When so many more records were staged, or when no more come within microseconds: they may
    /// share a sync.
    Soon(u64),
    /// At this moment, in nanoseconds; [`NEVER`]: when something comes.
    At(u64),
    /// Never: the log is stopped.
    Over,
}

/// Drives one log.
pub struct Driver {
    shared: Arc<Shared>,
    core: Core,
    helper: Box<dyn Helper>,
    plants: Plants,
    unsynced_max: u64,
    block: Block,
    /// Pieces of the block that are proposed already.
    proposed: usize,
    /// Batches that are proposed, until the engine wants them written.
    sealed: Vec<Batch>,
    /// The chain behind the last sealed batch, and its Raft index.
    chain: (u32, RaftIndex),
    /// Raw bytes of the message that was stepped last.
    raw: Bytes,
    /// A write that is to be tried again.
    stalled: Option<Stalled>,
    network: Box<dyn Network>,
    /// Something was sent in this turn.
    sent: bool,
    /// The sync of the open round waited for what was sent before it.
    sends_first: bool,
    /// What came from peers and is not stepped yet.
    came: VecDeque<FromPeer>,
    /// Peers that say that this member is none of the group.
    unknown_to: BTreeSet<u64>,
    /// When each peer was last heard, in nanoseconds.
    heard: BTreeMap<u64, u64>,
    /// When it was told how far they are, in nanoseconds.
    progress_at: u64,
    /// Acks and votes that wait for the sync.
    held: Vec<Outgoing>,
    /// Read barriers under way.
    asked: Vec<Asked>,
    /// Damaged batches that peers are asked for.
    repairs: Repairs,
    /// The leadership is being handed over.
    transfer: Option<Transfer>,
    /// Who asked for one that is over, and does not know yet.
    handed_over: Vec<(Arc<Slot>, Status)>,
    /// A change of the members that was asked for here.
    changing: Option<Changing>,
    /// The incarnations that membership entries carried since the open.
    agreed: BTreeMap<u64, u64>,
    /// The last entry that this member proposed to agree on incarnations, and its term.
    agreeing: (u64, RaftIndex),
    preference: Preference,
    /// An election timeout, in nanoseconds.
    election_ns: u64,
    /// Up to when time was told to the engine, in nanoseconds.
    ticked: u64,
    /// When the engine has something to do of its own accord.
    next_tick: u64,
    tick_ns: u64,
    /// When a read barrier is asked for again.
    barrier_ns: u64,
    committed: Anchor,
    /// Up to where the others were sent that it is agreed.
    commit_sent: RaftIndex,
    /// When they are told for want of an append that does, in nanoseconds.
    commit_at: u64,
    marks: Marks,
    /// What was published when threads were last woken for it.
    told: Marks,
    /// The leadership whose order is open in staging.
    leading: u64,
    round: Round,
    timers: Timers,
    /// Pieces of work that have not come back.
    outstanding: usize,
    stopping: bool,
    failed: bool,
}

/// A write that met a full disk, or had no descriptor.
struct Stalled {
    output: Output,
    entries: Vec<LogEntry>,
    /// Which of both.
    lacks: Status,
}

impl Driver {
    /// Drives a recovered log.
    pub fn new(
        shared: Arc<Shared>,
        log: CommitLog,
        helper: Box<dyn Helper>,
        plants: Plants,
        unsynced_max: u64,
        pace: Pace,
    ) -> Result<Driver> {
        let marks = shared.marks();
        let (end, committed, begin) = (log.end(), log.meta().committed, log.begin());
        let core = Core::new(log, pace)?;
        let mut driver = Driver {
            chain: (end.chain, end.batch),
            shared,
            core,
            helper,
            plants,
            unsynced_max,
            block: Block::default(),
            proposed: 0,
            sealed: Vec::new(),
            raw: Bytes::new(),
            stalled: None,
            network: Box::new(Nobody),
            sent: false,
            sends_first: false,
            came: VecDeque::new(),
            unknown_to: BTreeSet::new(),
            heard: BTreeMap::new(),
            progress_at: 0,
            held: Vec::new(),
            asked: Vec::new(),
            repairs: Repairs::default(),
            transfer: None,
            handed_over: Vec::new(),
            changing: None,
            agreed: BTreeMap::new(),
            agreeing: (0, RaftIndex(0)),
            preference: Preference::default(),
            election_ns: pace.tick_ns * pace.election_ticks as u64 * 2,
            ticked: NEVER,
            next_tick: NEVER,
            tick_ns: pace.tick_ns,
            barrier_ns: pace.tick_ns * pace.heartbeat_ticks as u64 * 2,
            committed,
            commit_sent: RaftIndex(0),
            commit_at: NEVER,
            marks,
            told: marks,
            leading: 0,
            round: Round::default(),
            timers: Timers::new(),
            outstanding: 0,
            stopping: false,
            failed: false,
        };
        driver.shared.set_begin(begin);
        driver.shared.set_log_end(end);
        driver.publish_room();
        Ok(driver)
    }

    /// Joins the cluster over `network`. A sole voter stands for election at once; others wait for a
    /// leader first.
    pub fn start(&mut self, network: Box<dyn Network>) {
        self.network = network;
        self.marks.role = Role::Follower;
        self.marks.term = self.core.term();
        self.shared.publish(&self.marks);
        self.tell(events::ROLE | events::COMMIT | events::BEGIN | events::MEMBERS);
        let members = self.core.log().meta().members.clone();
        self.network.members(&members);
        self.publish_progress();
        if self.is_sole_voter()
            && let Err(error) = self.core.campaign()
        {
            self.fail(&error);
        }
    }

    /// One turn. An error in it stops the log for good.
    pub fn turn(&mut self) -> Next {
        self.shared.driver.heard();
        if self.failed {
            return self.turn_failed();
        }
        match self.try_turn() {
            Ok(next) => next,
            Err(error) => {
                self.fail(&error);
                Next::Now
            }
        }
    }

    /// The log failed elsewhere (a panic in a turn, say): ends what waits.
    pub fn fail(&mut self, error: &Error) {
        self.failed = true;
        self.shared.fail(error);
        self.shared.end(u64::MAX, Status::Failed);
        self.end_asked(Status::Failed);
        self.marks.role = Role::Stopped;
        self.marks.ready = false;
        self.shared.publish(&self.marks);
        self.tell_handed_over();
        self.tell(events::ROLE | events::FAILED);
        self.shared.wake_readers();
    }

    /// The log, for tests and for what comes after the last turn.
    pub fn log(&self) -> &CommitLog {
        self.core.log()
    }

    fn try_turn(&mut self) -> Result<Next> {
        let now = self.shared.clock.now();
        self.sent = false;
        self.take_done(now)?;
        if let Some(Stalled { output, entries, .. }) = self.stalled.take()
            && !self.write(output, entries, now)?
        {
            return self.stalled_turn(now);
        }
        let came = self.take_staged();
        let more = self.propose()?;
        if !self.write_outputs(now)? {
            return self.stalled_turn(now);
        }
        if !self.step_peers(now)? || !self.tick(now)? {
            return self.stalled_turn(now);
        }
        let sends_first = self.round.is_due(came, now) && self.sends_first();
        if self.round.is_due(came, now) && !sends_first {
            self.sync()?;
            if !self.write_outputs(now)? {
                return self.stalled_turn(now);
            }
        }
        let over = self.answer(now)?;
        if !over {
            self.repair(now);
            self.hand_over(now);
            self.propose_asked();
            self.tell_committed(now);
        }
        if !over && !self.write_outputs(now)? {
            return self.stalled_turn(now);
        }
        self.publish();
        if over {
            return Ok(Next::Over);
        }
        let next = self.timers(now)?;
        Ok(match self.round.is_open() {
            _ if more || sends_first => Next::Now,
            true => Next::Soon(self.round.missing()),
            false => Next::At(next),
        })
    }

    // ---- 1 take ---------------------------------------------------------------------------

    /// Swaps the staged block for an empty one, if the last is used up and nobody holds the lock.
    /// True if something came, or if somebody is at it.
    fn take_staged(&mut self) -> bool {
        if self.proposed < self.block.pieces.len() || !self.sealed.is_empty() {
            return true;
        }
        self.block.clear();
        self.proposed = 0;
        for _ in 0..TRIES {
            if let Ok(mut staging) = self.shared.staging.try_lock() {
                staging.take(&mut self.block);
                return !self.block.pieces.is_empty();
            }
            std::hint::spin_loop();
        }
        true
    }

    // ---- 2 seal, 3 propose ------------------------------------------------------------------

    /// Seals and proposes what may be written before the next sync. True if some is left.
    fn propose(&mut self) -> Result<bool> {
        let limit = self.unsynced_max;
        let fits = |piece: &Piece, synced| piece.pos + piece.bytes.len() as u64 <= synced + limit;
        // By position, as recovery measures how far behind a hole a record lies.
        let synced = self.core.log().flushed().pos;
        let first = self.block.pieces.get(self.proposed);
        if self.core.log().unsynced_bytes() > 0 && first.is_some_and(|p| !fits(p, synced)) {
            self.sync()?;
        }
        let synced = self.core.log().flushed().pos;
        let mut alone = self.core.log().unsynced_bytes() == 0;
        while let Some(piece) = self.block.pieces.get(self.proposed) {
            if !alone && !fits(piece, synced) {
                return Ok(true);
            }
            alone = false;
            self.proposed += 1;
            if piece.term != self.leading || piece.count == 0 {
                // Staged under a leadership that is over: its appends have been ended.
                continue;
            }
            let (term, first, pos, range) =
                (piece.term, piece.first, piece.pos, piece.bytes.clone());
            let raft_index = self.core.last() + 1;
            let controls = raft_index - self.chain.1 - 1;
            let (chain, count) =
                record::seal(&mut self.block.buf[range.clone()], controls, self.chain.0);
            if !self.core.propose() {
                self.drop_leadership();
                continue;
            }
            self.chain = (chain, raft_index);
            let count = count as u32;
            let batch = Batch { raft_index, term, count, first, pos, chain, bytes: range };
            self.sealed.push(batch);
        }
        Ok(false)
    }

    /// The engine drops proposals: whatever is staged behind has no place any more.
    fn drop_leadership(&mut self) {
        self.shared.end(self.leading, Status::LeaderLost);
        self.leading = 0;
        self.proposed = self.block.pieces.len();
    }

    // ---- 5 write, 6 sync, 8 advance ---------------------------------------------------------

    fn entries_of(&self, output: &Output) -> Result<Vec<LogEntry>> {
        let entry = |entry: &OutEntry| match entry {
            OutEntry::Control(control) => Ok(LogEntry::Control(control.clone())),
            OutEntry::Received(batch) => Ok(LogEntry::Batch(batch.clone())),
            OutEntry::Batch { raft_index, .. } => {
                let sealed = self.sealed.iter().find(|b| b.raft_index == *raft_index);
                let lost = || Error::Bug(format!("a bug in the library: no batch {raft_index}"));
                sealed.cloned().map(LogEntry::Batch).ok_or_else(lost)
            }
        };
        output.entries.iter().map(entry).collect()
    }

    /// Writes all that the engine wants written. False if the disk is full.
    fn write_outputs(&mut self, now: u64) -> Result<bool> {
        while let Some(output) = self.core.output() {
            let entries = self.entries_of(&output)?;
            if !self.write(output, entries, now)? {
                return Ok(false);
            }
        }
        self.sealed.clear();
        Ok(true)
    }

    /// Writes one output. False if the disk is full: to be tried again.
    fn write(&mut self, output: Output, entries: Vec<LogEntry>, now: u64) -> Result<bool> {
        match self.store(&output, &entries) {
            Err(error) if error.may_pass() => {
                warn!("{error}");
                if matches!(error, Error::DiskFull { .. }) {
                    self.shared.disk_full.store(true, Ordering::Relaxed);
                }
                self.timers.retry = now.saturating_add(nanos(FULL_DISK_RETRY));
                self.stalled = Some(Stalled { output, entries, lacks: error.status() });
                return Ok(false);
            }
            result => result?,
        }
        if !entries.is_empty() {
            let records = self.note_written(&entries);
            if self.plants.on(Plant::DeliverBeforeCommit) {
                self.marks.committed = self.core.log().end().mark();
                self.shared.publish(&self.marks);
            }
            let each = self.shared.live.flush.load(Ordering::Relaxed) == 0;
            if each && !self.plants.on(Plant::AckBeforeSync) {
                self.round.add(records, now);
            }
        }
        self.change_members(&output)?;
        self.confirm(&output.reads);
        let sends = self.core.written(output);
        if !self.round.is_open() {
            self.core.persisted();
            self.advance();
        }
        self.send(sends);
        Ok(true)
    }

    fn store(&mut self, output: &Output, entries: &[LogEntry]) -> Result<()> {
        if let Some((term, vote)) = output.vote
            && !self.plants.on(Plant::VoteNotSynced)
        {
            self.core.log_mut().set_vote(term, vote)?;
        }
        self.prepare(output)?;
        let Driver { core, block, raw, .. } = self;
        let received = output.entries.iter().any(|e| matches!(e, OutEntry::Received(_)));
        let buf: &[u8] = if received { raw } else { &block.buf };
        match entries {
            [] => Ok(()),
            _ => core.log_mut().write(buf, entries),
        }
    }

    /// What was sent leaves before the sync, so that peers write while this member does: then the
    /// sync is the next turn's, and is put off no further.
    fn sends_first(&mut self) -> bool {
        let first = std::mem::take(&mut self.sent) && !self.sends_first;
        self.sends_first = first;
        first
    }

    /// Returns how many records were written.
    fn note_written(&self, entries: &[LogEntry]) -> u64 {
        let metrics = &self.shared.metrics;
        let mut records = 0;
        for entry in entries {
            if let LogEntry::Batch(batch) = entry {
                records += u64::from(batch.count);
                Metrics::add(&metrics.bytes, batch.bytes.len() as u64);
                Metrics::add(&metrics.batches, 1);
            }
        }
        Metrics::add(&metrics.records, records);
        records
    }

    /// Makes durable all that is written.
    fn sync(&mut self) -> Result<()> {
        let before = self.shared.clock.now();
        self.core.log_mut().sync()?;
        self.shared.metrics.synced(self.shared.clock.now().saturating_sub(before));
        self.round.close(self.shared.pending.now());
        self.core.persisted();
        self.advance();
        self.send_held();
        Ok(())
    }

    /// The commit index may have moved: finds the mark it stands for.
    fn advance(&mut self) {
        let agreed = self.core.committed();
        if agreed > self.committed.raft_index
            && let Some(anchor) = self.core.log().anchor(agreed)
        {
            self.committed = anchor;
            self.marks.committed = self.marks.committed.max(anchor.mark());
        }
    }
}

/// How often the append lock is tried in one turn.
const TRIES: usize = 64;
/// How often a full disk is looked at.
const FULL_DISK_RETRY: Duration = Duration::from_millis(100);
