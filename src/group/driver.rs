//! The group thread's turn, in nine steps: take, seal, propose, send, write, sync, send acks,
//! advance, publish. (A group of one has nobody to send to.) It has no thread, clock or socket of
//! its own: whoever owns it calls [`Driver::turn`] when something came, or at the time that the
//! last turn gave.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::StateRole;
use tracing::{info, warn};

use crate::commitlog::record;
use crate::commitlog::work::{Done, Work};
use crate::commitlog::{Batch, CommitLog, LogEntry};
use crate::consensus::core::{Core, OutEntry, Output, Pace};
use crate::error::{Error, Result, Status};
use crate::group::clock::{NEVER, nanos};
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::shared::{Control, Life, Marks, Role, Shared};
use crate::group::staging::{Block, Piece};
use crate::group::waiters::{Event, Slot, lock};
use crate::plant::{Plant, Plants};
use crate::types::{Anchor, Index, Mark, RaftIndex};

/// Where work goes that may take long. What comes of it is handed to [`Shared::post`].
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
    /// Where Raft entries end that are written and not agreed yet.
    ends: VecDeque<(RaftIndex, Mark)>,
    /// A write that met a full disk, to be tried again.
    stalled: Option<(Output, Vec<LogEntry>)>,
    committed: Anchor,
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

/// What is written and will share the next sync. Appenders that were just told of one round are
/// about to fill the next: it stays open until as many records have come as were in flight when
/// the last one ended, so that they do not queue behind a sync for the first of them. What comes
/// first is written while the rest comes.
#[derive(Default)]
struct Round {
    /// Since when, in nanoseconds; `None`: nothing waits for a sync.
    since: Option<u64>,
    /// Written in it.
    records: u64,
    /// In flight when the one before ended.
    expected: u64,
}

impl Round {
    fn add(&mut self, records: u64, now: u64) {
        self.since.get_or_insert(now);
        self.records += records;
    }

    /// Whether to sync, when `came` says if anything came since the last look.
    fn is_due(&self, came: bool, now: u64) -> bool {
        self.since.is_some_and(|since| {
            !came || self.records >= self.expected || now.saturating_sub(since) >= ROUND_NS
        })
    }

    /// Records that are expected in it and have not come.
    fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.records)
    }

    fn close(&mut self, in_flight: u64) {
        self.since = None;
        self.records = 0;
        self.expected = in_flight;
    }
}

struct Timers {
    sync: u64,
    sync_running: bool,
    checkpoint: u64,
    checkpoint_running: bool,
    space: u64,
    space_running: bool,
    retention: u64,
    ages_running: bool,
    retry: u64,
    allocation: u64,
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
            ends: VecDeque::new(),
            stalled: None,
            committed,
            marks,
            told: marks,
            leading: 0,
            round: Round::default(),
            timers: Timers {
                sync: NEVER,
                sync_running: false,
                checkpoint: NEVER,
                checkpoint_running: false,
                space: 0,
                space_running: false,
                retention: 0,
                ages_running: false,
                retry: NEVER,
                allocation: 0,
            },
            outstanding: 0,
            stopping: false,
            failed: false,
        };
        if end.raft_index > committed.raft_index {
            driver.ends.push_back((end.raft_index, end.mark()));
        }
        driver.shared.set_begin(begin);
        driver.publish_room();
        Ok(driver)
    }

    /// Joins the cluster: the sole voter stands for election at once.
    pub fn start(&mut self) {
        self.marks.role = Role::Follower;
        self.marks.term = self.core.term();
        self.shared.publish(&self.marks);
        self.tell(events::ROLE | events::COMMIT | events::BEGIN | events::MEMBERS);
        if let Err(error) = self.core.campaign() {
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
        self.marks.role = Role::Stopped;
        self.marks.ready = false;
        self.shared.publish(&self.marks);
        self.tell(events::ROLE | events::FAILED);
        self.shared.wake_readers();
    }

    /// The log, for tests and for what comes after the last turn.
    pub fn log(&self) -> &CommitLog {
        self.core.log()
    }

    fn try_turn(&mut self) -> Result<Next> {
        let now = self.shared.clock.now();
        self.take_done(now)?;
        if let Some((output, entries)) = self.stalled.take()
            && !self.write(output, entries, now)?
        {
            return self.answer_while_stalled();
        }
        let came = self.take_staged();
        let more = self.propose()?;
        if !self.write_outputs(now)? {
            return self.answer_while_stalled();
        }
        let synced = self.round.is_due(came, now);
        if synced {
            self.sync()?;
            if !self.write_outputs(now)? {
                return self.answer_while_stalled();
            }
        }
        let over = self.answer(now)?;
        self.publish();
        if over {
            return Ok(Next::Over);
        }
        let next = self.timers(now)?;
        Ok(match self.round.since {
            _ if more => Next::Now,
            None if !synced && !came => Next::At(next),
            _ => Next::Soon(self.round.missing()),
        })
    }

    // ---- 1 take ---------------------------------------------------------------------------

    fn take_done(&mut self, now: u64) -> Result<()> {
        let done = std::mem::take(&mut *lock(&self.shared.done));
        self.outstanding -= done.len();
        for done in done {
            match done {
                Done::Spare(_) | Done::Index(_) | Done::Batches(_) => {
                    self.core.log_mut().allocated(done)?;
                    let full = self.core.log().allocation_met_full_disk();
                    let wait = if full { nanos(FULL_DISK_RETRY) } else { 0 };
                    self.timers.allocation = now.saturating_add(wait);
                }
                Done::Checkpoint(anchor) => {
                    self.timers.checkpoint_running = false;
                    let (durable, committed) = (anchor?, self.committed);
                    self.core.log_mut().checkpointed(durable, committed)?;
                    Metrics::add(&self.shared.metrics.checkpoints, 1);
                }
                Done::Sync(anchor) => {
                    self.timers.sync_running = false;
                    let anchor = failed_sync(anchor)?;
                    self.core.log_mut().synced_elsewhere(anchor);
                    self.shared.metrics.synced(0);
                }
                Done::Remove(result) => result?,
                Done::Space(space) => {
                    self.timers.space_running = false;
                    // Segments made ahead are room for appends.
                    let spare = self.core.log().spare_bytes();
                    let used = space
                        .map(|s| 1e6 - (s.available + spare) as f64 / s.total.max(1) as f64 * 1e6);
                    let full = self.shared.live.disk_full_ppm.load(Ordering::Relaxed) as f64;
                    let is_full = full < 1e6 && used? > full;
                    if self.shared.disk_full.swap(is_full, Ordering::Relaxed) != is_full {
                        warn!("disk full: {is_full}");
                    }
                }
                Done::Ages(ages) => {
                    self.timers.ages_running = false;
                    self.purge_old(&ages?)?;
                }
            }
        }
        Ok(())
    }

    /// Gives work away, unless the log is being stopped: then what is out has to come back.
    fn submit(&mut self, work: Work) {
        if !self.stopping {
            self.outstanding += 1;
            self.helper.submit(work);
        }
    }

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
    }

    // ---- 5 write, 6 sync, 8 advance ---------------------------------------------------------

    fn entries_of(&mut self, output: &Output) -> Vec<LogEntry> {
        let entry = |entry: &OutEntry| match entry {
            OutEntry::Control(control) => Some(LogEntry::Control(control.clone())),
            OutEntry::Received(batch) => Some(LogEntry::Batch(batch.clone())),
            OutEntry::Batch { raft_index, .. } => {
                let sealed = self.sealed.iter().find(|b| b.raft_index == *raft_index)?;
                Some(LogEntry::Batch(sealed.clone()))
            }
        };
        output.entries.iter().filter_map(entry).collect()
    }

    /// Writes all that the engine wants written. False if the disk is full.
    fn write_outputs(&mut self, now: u64) -> Result<bool> {
        while let Some(output) = self.core.output() {
            let entries = self.entries_of(&output);
            if !self.write(output, entries, now)? {
                return Ok(false);
            }
        }
        self.sealed.clear();
        Ok(true)
    }

    /// Writes one output. False if the disk is full: to be tried again.
    fn write(&mut self, output: Output, entries: Vec<LogEntry>, now: u64) -> Result<bool> {
        if let Some((term, vote)) = output.vote
            && !self.plants.on(Plant::VoteNotSynced)
        {
            self.core.log_mut().set_vote(term, vote)?;
        }
        if !entries.is_empty() {
            let Driver { core, block, .. } = self;
            match core.log_mut().write(&block.buf, &entries) {
                Err(Error::DiskFull { what, source }) => {
                    warn!("disk full: {what}: {source}");
                    self.shared.disk_full.store(true, Ordering::Relaxed);
                    self.timers.retry = now.saturating_add(nanos(FULL_DISK_RETRY));
                    self.stalled = Some((output, entries));
                    return Ok(false);
                }
                result => result?,
            }
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
        self.core.written(output);
        if self.round.since.is_none() {
            self.core.persisted();
            self.advance();
        }
        Ok(true)
    }

    /// Returns how many records were written.
    fn note_written(&mut self, entries: &[LogEntry]) -> u64 {
        let metrics = &self.shared.metrics;
        let mut records = 0;
        for entry in entries {
            let (raft_index, end) = match entry {
                LogEntry::Batch(batch) => {
                    records += u64::from(batch.count);
                    Metrics::add(&metrics.bytes, batch.bytes.len() as u64);
                    Metrics::add(&metrics.batches, 1);
                    let index = batch.first + u64::from(batch.count);
                    let pos = batch.pos + batch.bytes.len() as u64;
                    (batch.raft_index, Mark { index, pos })
                }
                LogEntry::Control(control) => {
                    let before = self.ends.back().map_or(self.committed.mark(), |(_, end)| *end);
                    (control.raft_index, before)
                }
            };
            self.ends.push_back((raft_index, end));
        }
        Metrics::add(&metrics.records, records);
        records
    }

    /// Makes durable all that is written.
    fn sync(&mut self) -> Result<()> {
        let before = self.shared.clock.now();
        failed_sync(self.core.log_mut().sync())?;
        self.shared.metrics.synced(self.shared.clock.now().saturating_sub(before));
        self.round.close(self.shared.pending.now());
        self.core.persisted();
        self.advance();
        Ok(())
    }

    /// The commit index may have moved: finds the mark it stands for.
    fn advance(&mut self) {
        let agreed = self.core.committed();
        let mut end = None;
        while let Some((raft_index, mark)) = self.ends.front().copied() {
            if raft_index > agreed {
                break;
            }
            end = Some((raft_index, mark));
            self.ends.pop_front();
        }
        if let Some((raft_index, mark)) = end {
            self.marks.committed = self.marks.committed.max(mark);
            if let Some(anchor) = self.core.log().anchor(raft_index) {
                self.committed = anchor;
            }
        }
    }

    // ---- 9 publish --------------------------------------------------------------------------

    fn publish(&mut self) {
        self.publish_room();
        let role = match self.core.state() {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        };
        let (before, term) = (self.told, self.core.term());
        if self.leading != 0 && (role != Role::Leader || term != self.leading) {
            self.drop_leadership();
        }
        if role == Role::Leader && self.leading != term {
            self.open_order(term);
        }
        self.marks.flushed = self.core.log().flushed().mark();
        self.marks.begin = self.core.log().begin().mark();
        (self.marks.role, self.marks.term, self.marks.leader) = (role, term, self.core.leader());
        // Who sees a leader that is ready can append.
        self.marks.ready = self.core.is_ready() && self.leading == term;
        self.shared.publish(&self.marks);
        self.told = self.marks;
        let changed = (before.role, before.term, before.leader, before.ready)
            != (role, self.marks.term, self.marks.leader, self.marks.ready);
        if changed {
            self.role_changed();
        }
        if before.committed != self.marks.committed {
            self.shared.settle_committed(self.marks.committed.index);
            self.shared.wake_readers();
            let wanted = self.shared.callbacks_due.now() > 0
                || self.shared.wants_events.load(Ordering::Relaxed);
            if wanted {
                self.shared.delivery.ring();
            }
        } else if before.begin != self.marks.begin {
            self.shared.delivery.ring();
        }
    }

    fn role_changed(&mut self) {
        info!(
            "{:?} in term {} (leader {}, ready {})",
            self.marks.role, self.marks.term, self.marks.leader, self.marks.ready
        );
        self.tell(events::ROLE);
    }

    /// A new leader's order begins behind Raft's end. If a hook holds the lock, at a later turn.
    fn open_order(&mut self, term: u64) {
        if self.shared.life() != Life::Running {
            return;
        }
        let Ok(mut staging) = self.shared.staging.try_lock() else { return };
        let end = self.core.log().end();
        self.chain = (end.chain, end.batch);
        staging.begin(term, end.mark());
        self.shared.publish_end(end.mark());
        self.leading = term;
        Metrics::add(&self.shared.metrics.leaderships, 1);
        self.shared.gate.store(term, Ordering::SeqCst);
    }

    fn publish_room(&mut self) {
        let now = self.shared.clock.now();
        if !self.stopping && now >= self.timers.allocation {
            let full = self.shared.live.disk_full_ppm.load(Ordering::Relaxed);
            let records = self.shared.call_records.load(Ordering::Relaxed);
            let bytes = self.shared.call_bytes.load(Ordering::Relaxed);
            self.core.log_mut().make_room_for(records, bytes);
            for work in self.core.log_mut().wanted(full) {
                self.submit(work);
            }
        }
        let room = self.core.log().room();
        self.shared.room_pos.store(room.pos, Ordering::Relaxed);
        self.shared.room_index.store(room.index.0, Ordering::Relaxed);
        let ended = self.core.log().allocation_met_full_disk();
        self.shared.room_ended.store(ended, Ordering::Relaxed);
    }

    fn tell(&mut self, what: u32) {
        let now = self.shared.state();
        lock(&self.shared.inbox).events.push(Event::State { what, now });
        self.shared.delivery.ring();
    }

    // ---- what it is asked for ---------------------------------------------------------------

    /// Answers what was asked. True if it was asked to stop, and is done. After an error the rest
    /// is still there, to be answered as a failed log does.
    fn answer(&mut self, now: u64) -> Result<bool> {
        let mut controls = VecDeque::from(std::mem::take(&mut *lock(&self.shared.controls)));
        while let Some(control) = controls.pop_front() {
            match self.answer_one(&control, now) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(error) => {
                    let mut asked = lock(&self.shared.controls);
                    asked.push(control);
                    asked.extend(controls);
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    fn answer_one(&mut self, control: &Control, now: u64) -> Result<bool> {
        match control {
            Control::Flush(slot) => self.flush(slot)?,
            Control::DeletePrefix(index) => self.delete_prefix(*index)?,
            Control::ReadIndex(slot) => {
                let (status, index) = self.read_index();
                slot.answer(status, index);
            }
            Control::ReadIndexAsync(number) => {
                let (status, index) = self.read_index();
                self.tell_index(*number, status, index);
            }
            Control::Fail(cause) => return Err(Error::Bug(cause.clone())),
            Control::Stop(slot) => {
                self.stopping = true;
                if self.outstanding > 0 {
                    lock(&self.shared.controls).push(Control::Stop(slot.clone()));
                    return Ok(false);
                }
                let synced = self.stop(now)?;
                slot.answer(if synced { Status::Ok } else { Status::TimedOut }, Index(0));
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn tell_index(&self, number: u64, status: Status, index: Index) {
        lock(&self.shared.inbox).events.push(Event::ReadIndex { number, status, index });
        self.shared.delivery.ring();
    }

    /// Everything appended is on disk; but what is staged and not taken yet comes first.
    fn flush(&mut self, slot: &Arc<Slot>) -> Result<()> {
        if self.unwritten() {
            lock(&self.shared.controls).push(Control::Flush(slot.clone()));
            self.shared.driver.ring();
            return Ok(());
        }
        self.sync()?;
        self.marks.flushed = self.core.log().flushed().mark();
        self.shared.publish(&self.marks);
        slot.answer(Status::Ok, self.marks.flushed.index);
        Ok(())
    }

    fn unwritten(&self) -> bool {
        let staged = self.shared.staging.try_lock().map_or(true, |staging| !staging.is_empty());
        staged || self.proposed < self.block.pieces.len()
    }

    /// The read barrier of a sole voter: it is the majority.
    fn read_index(&self) -> (Status, Index) {
        if self.core.state() != StateRole::Leader {
            (Status::NotLeader, Index(0))
        } else if !self.core.is_ready() {
            (Status::NotReady, Index(0))
        } else {
            (Status::Ok, self.marks.committed.index)
        }
    }

    fn delete_prefix(&mut self, index: Index) -> Result<()> {
        match self.core.log().segment_start(index) {
            Ok(Some(pos)) => self.purge(pos),
            Ok(None) => Ok(()),
            Err(error) => keeps_the_head(error),
        }
    }

    fn purge(&mut self, pos: u64) -> Result<()> {
        let (committed, begin) = (self.committed, self.core.log().begin());
        let work = match self.core.log_mut().purge(pos, committed) {
            Err(error) if self.core.log().begin() == begin => return keeps_the_head(error),
            result => result?,
        };
        if let Some(work) = work {
            self.submit(work);
            let begin = self.core.log().begin();
            self.shared.set_begin(begin);
            info!("purged before record {} (position {})", begin.index, begin.pos);
        }
        Ok(())
    }

    /// The last turn: all is synced, and the bounds say so.
    /// False if a full disk leaves something unwritten.
    fn stop(&mut self, now: u64) -> Result<bool> {
        self.take_staged();
        loop {
            let more = self.propose()?;
            if !self.write_outputs(now)? {
                return Ok(false);
            }
            if !more {
                break;
            }
        }
        self.sync()?;
        if let Some(Work::Checkpoint(files, anchor)) = self.core.log().checkpoint() {
            for file in files {
                file.sync().map_err(|e| Error::io("derived units", e))?;
            }
            let committed = self.committed;
            self.core.log_mut().checkpointed(anchor, committed)?;
        }
        Ok(true)
    }

    fn turn_failed(&mut self) -> Next {
        let controls = std::mem::take(&mut *lock(&self.shared.controls));
        self.outstanding -= std::mem::take(&mut *lock(&self.shared.done)).len();
        for control in controls {
            match control {
                Control::Flush(slot) | Control::ReadIndex(slot) => {
                    slot.answer(Status::Failed, Index(0));
                }
                // Barriers for a callback ended with the log.
                Control::ReadIndexAsync(_) | Control::DeletePrefix(_) | Control::Fail(_) => {}
                Control::Stop(slot) if self.outstanding > 0 => {
                    lock(&self.shared.controls).push(Control::Stop(slot));
                }
                Control::Stop(slot) => {
                    slot.answer(Status::Ok, Index(0));
                    return Next::Over;
                }
            }
        }
        Next::At(NEVER)
    }

    /// The disk is full in the middle of a write: nothing else is done until it ends or the log is
    /// stopped.
    fn answer_while_stalled(&mut self) -> Result<Next> {
        let mut controls = lock(&self.shared.controls);
        if controls.iter().any(|c| matches!(c, Control::Stop(_))) {
            for control in controls.drain(..) {
                if let Control::Stop(slot) = control {
                    slot.answer(Status::TimedOut, Index(0));
                }
            }
            return Ok(Next::Over);
        }
        Ok(Next::At(self.timers.retry))
    }

    // ---- timers -----------------------------------------------------------------------------

    /// Starts what is due, and tells when to look again.
    fn timers(&mut self, now: u64) -> Result<u64> {
        if self.stopping {
            return Ok(NEVER);
        }
        self.sync_timer(now);
        self.checkpoint_timer(now);
        self.space_timer(now);
        self.retention_timer(now);
        let t = &self.timers;
        let allocation =
            if self.core.log().allocation_met_full_disk() { t.allocation } else { NEVER };
        let first = t.sync.min(t.checkpoint).min(allocation);
        Ok(first.min(t.space_when_full()).min(t.retention_when_on()))
    }

    fn sync_timer(&mut self, now: u64) {
        let interval = self.shared.live.flush.load(Ordering::Relaxed);
        let log = self.core.log();
        let dirty = log.end().raft_index > log.flushed().raft_index;
        if !dirty || self.round.since.is_some() || self.timers.sync_running {
            self.timers.sync = NEVER;
            return;
        }
        if self.timers.sync == NEVER {
            self.timers.sync = now.saturating_add(interval);
        }
        if now >= self.timers.sync {
            if let Some(work) = self.core.log_mut().sync_elsewhere() {
                self.timers.sync_running = true;
                self.submit(work);
            }
            self.timers.sync = NEVER;
        }
    }

    fn checkpoint_timer(&mut self, now: u64) {
        let log = self.core.log();
        let behind = log.flushed().raft_index > log.meta().durable.raft_index;
        if !behind || self.timers.checkpoint_running {
            self.timers.checkpoint = NEVER;
            return;
        }
        let interval = self.shared.live.checkpoint.load(Ordering::Relaxed);
        if self.timers.checkpoint == NEVER {
            self.timers.checkpoint = now.saturating_add(interval);
        }
        let rolled = log.flushed().pos / log.meta().segment_bytes
            != log.meta().durable.pos / log.meta().segment_bytes;
        if now >= self.timers.checkpoint || rolled {
            if let Some(work) = log.checkpoint() {
                self.timers.checkpoint_running = true;
                self.submit(work);
            }
            self.timers.checkpoint = NEVER;
        }
    }

    fn space_timer(&mut self, now: u64) {
        if now >= self.timers.space && !self.timers.space_running {
            self.timers.space_running = true;
            let full = self.shared.disk_full.load(Ordering::Relaxed)
                || self.shared.room_ended.load(Ordering::Relaxed);
            let after = if full { FULL_DISK_RETRY } else { SPACE_INTERVAL };
            self.timers.space = now.saturating_add(nanos(after));
            self.timers.retry = if full { self.timers.space } else { NEVER };
            self.submit(Work::Space);
        }
    }

    fn retention_timer(&mut self, now: u64) {
        if now < self.timers.retention || self.timers.ages_running {
            return;
        }
        let bytes = self.shared.live.retention_bytes.load(Ordering::Relaxed);
        let ms = self.shared.live.retention_ms.load(Ordering::Relaxed);
        let old = self.core.log().old_segments(self.committed);
        let on = (bytes != u64::MAX || ms != u64::MAX) && !old.is_empty();
        self.timers.retention = if on { now.saturating_add(nanos(RETENTION_INTERVAL)) } else { 0 };
        if on {
            self.timers.ages_running = true;
            self.submit(Work::Ages(old));
        }
    }

    /// Purges what is too old or too much, oldest first, never the last segment.
    fn purge_old(&mut self, ages: &[(u64, u64)]) -> Result<()> {
        let bytes = self.shared.live.retention_bytes.load(Ordering::Relaxed);
        let ms = self.shared.live.retention_ms.load(Ordering::Relaxed);
        let segment_bytes = self.core.log().meta().segment_bytes;
        let mut kept = self.core.log().data_bytes();
        let wall = self.shared.clock.wall_ms();
        let mut end = None;
        for (pos, modified) in ages {
            let too_old = ms != u64::MAX && wall.saturating_sub(*modified) > ms;
            if !too_old && (bytes == u64::MAX || kept <= bytes) {
                break;
            }
            kept -= segment_bytes;
            end = Some(pos + segment_bytes);
        }
        match end {
            Some(pos) => self.purge(pos),
            None => Ok(()),
        }
    }
}

impl Timers {
    fn space_when_full(&self) -> u64 {
        if self.space_running { NEVER } else { self.retry }
    }

    fn retention_when_on(&self) -> u64 {
        if self.retention == 0 || self.ages_running { NEVER } else { self.retention }
    }
}

/// Damage where the log should begin anew: the head stays, and everything else goes on.
fn keeps_the_head(error: Error) -> Result<()> {
    match error {
        Error::Corrupt { .. } => {
            warn!("nothing is purged: {error}");
            Ok(())
        }
        other => Err(other),
    }
}

/// A failed sync is final, whatever the system called it.
fn failed_sync<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        Error::DiskFull { what, source } => Error::Io { what, source },
        other => other,
    })
}

/// The longest that a round stays open: a fraction of what a sync takes.
const ROUND_NS: u64 = 200_000;
/// How often the append lock is tried in one turn.
const TRIES: usize = 64;
/// How often a full disk is looked at.
const FULL_DISK_RETRY: Duration = Duration::from_millis(100);
/// How often the room on the disk is looked at while there is traffic.
const SPACE_INTERVAL: Duration = Duration::from_secs(1);
/// How often segments are looked at for their age.
const RETENTION_INTERVAL: Duration = Duration::from_secs(1);
