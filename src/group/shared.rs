//! What the threads of one log share: the gate that lets appends in, watermarks, the inbox, live
//! options, the way to wake each other. The group thread publishes; everybody else reads.

mod gate;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use crate::commitlog::meta::MemberSet;
use crate::commitlog::read::{Bounds, Reader};
use crate::commitlog::work::Done;
use crate::error::{Error, Status};
use crate::group::callers::Callers;
use crate::group::changes::MemberChange;
use crate::group::clock::{Clock, NEVER};
use crate::group::live::Live;
use crate::group::metrics::Metrics;
use crate::group::peers::FromPeer;
use crate::group::signals::{Bell, InFlight};
use crate::group::staging::Staging;
use crate::group::sync::{self, Snapshot};
use crate::group::waiters::{Inbox, Slot, lock};
use crate::options::Options;
use crate::types::{Anchor, Index, Mark};

/// What a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Not started, or stopped.
    #[default]
    Stopped,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Follows without a vote.
    Learner,
}

impl Role {
    fn from(number: u64) -> Role {
        match number {
            1 => Role::Follower,
            2 => Role::Candidate,
            3 => Role::Leader,
            4 => Role::Learner,
            _ => Role::Stopped,
        }
    }
}

/// How things are with a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What this member is.
    pub role: Role,
    /// Leader, and its term has a committed entry.
    pub ready: bool,
    /// Views and segments that are not released yet.
    pub open_views: u32,
    /// This member.
    pub node_id: u64,
    /// The leader; 0 if unknown.
    pub leader_id: u64,
    /// Raft term.
    pub term: u64,
    /// The first record that is kept.
    pub begin: Mark,
    /// Behind the last one that may be read.
    pub committed: Mark,
    /// Behind the last one on this member's disk.
    pub flushed: Mark,
    /// Behind the last one that was given a place.
    pub end: Mark,
}

/// Where a log is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Life {
    /// Open, not started.
    Open,
    /// Started.
    Running,
    /// Being stopped, or stopped.
    Stopped,
    /// Failed for good.
    Failed,
}

/// Why a log failed, or a read.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it was.
    pub status: Status,
    /// The system's error number, or 0.
    pub errno: i32,
    /// In words.
    pub message: String,
}

impl Failure {
    fn of(error: &Error) -> Failure {
        Failure { status: error.status(), errno: error.errno(), message: error.to_string() }
    }
}

/// What the group thread is asked for.
pub enum Control {
    /// Sync all that is appended.
    Flush(Arc<Slot>),
    /// Forget whole segments before the record.
    DeletePrefix(Index),
    /// A read barrier, for a caller that waits, and when it is over (nanoseconds).
    ReadIndex(Arc<Slot>, u64),
    /// A read barrier, for a callback: its number in the inbox, and when it is over.
    ReadIndexAsync(u64, u64),
    /// Hand the leadership over.
    Transfer {
        /// Hears when the other leads.
        slot: Arc<Slot>,
        /// To whom; 0: to the best voter.
        to: u64,
        /// When the asker's time is over, in nanoseconds.
        deadline: u64,
    },
    /// Change the members, all at once.
    Change {
        /// Hears when all of it is in force.
        slot: Arc<Slot>,
        /// What.
        changes: Vec<MemberChange>,
        /// When the asker's time is over, in nanoseconds; 0: the slot hears when it has begun.
        deadline: u64,
    },
    /// A bug showed elsewhere: stop for good.
    Fail(String),
    /// Sync, note the bounds, end.
    Stop(Arc<Slot>),
}

/// Everything the threads of a log share.
pub struct Shared {
    /// Time.
    pub clock: Clock,
    /// This member.
    pub node: u64,
    /// Its `node.priority`.
    pub priority: u32,
    /// The term whose leader takes appends here; 0: none are taken. Changes under the inbox's lock,
    /// so that an append which is let in is in the inbox before the end of its term.
    gate: sync::AtomicU64,
    life: sync::AtomicU64,
    /// A leadership is on its way to another member.
    pub transferring: AtomicBool,
    /// A change of the members is under way; the others wait for it.
    pub change_pending: AtomicBool,
    /// The append lock.
    pub staging: Mutex<Staging>,
    /// Where callers sleep that block for an append.
    pub callers: Callers,
    /// Waiters and events, on their way to the callback thread.
    inbox: sync::Mutex<Inbox>,
    /// What helpers have done, on its way to the group thread.
    pub done: Returns,
    /// What the group thread is asked for.
    pub controls: Mutex<Vec<Control>>,
    /// What came from peers and the group thread has not taken yet.
    pub peers: Mutex<Vec<FromPeer>>,
    marks: Snapshot<MARKS>,
    tail: Snapshot<2>,
    begin: Mutex<Anchor>,
    log_end: Mutex<Anchor>,
    members: Mutex<Arc<MemberSet>>,
    book: Mutex<Option<Arc<MemberSet>>>,
    /// How far the others are, as the group thread looked last.
    pub progress: Mutex<Vec<Progress>>,
    /// Records that readers found damaged.
    pub damaged: Mutex<BTreeSet<Index>>,
    /// Records whose appender has not heard of their end.
    pub pending: InFlight,
    /// Their bytes, with headers.
    pub pending_bytes: InFlight,
    /// Read barriers whose callback has not been called.
    pub barriers: InFlight,
    /// Appends that wait for a callback.
    pub callbacks_due: InFlight,
    /// End of the last segment there is.
    pub room_pos: AtomicU64,
    /// The first index without a unit.
    pub room_index: AtomicU64,
    /// The largest call that met the end of the room, in records and in bytes: so much is made
    /// ahead from then on, or it would never be taken.
    pub call_records: AtomicU64,
    /// Its bytes.
    pub call_bytes: AtomicU64,
    /// The disk is fuller than `disk.full.ratio`, or a write met its end.
    pub disk_full: AtomicBool,
    /// The last allocation met a full disk.
    pub room_ended: AtomicBool,
    /// Options that change live.
    pub live: Live,
    failure: OnceLock<Failure>,
    /// What the last read met that failed.
    bad_read: Mutex<Option<Failure>>,
    /// The group thread's bell.
    pub driver: Arc<Bell>,
    /// The callback thread's bell, or the poller's.
    pub delivery: Bell,
    /// No waiter is known to the callback thread with an earlier deadline.
    pub armed: AtomicU64,
    /// Readers that wait for a commit.
    pub readers_waiting: AtomicUsize,
    commit_lock: Mutex<()>,
    commit_moved: Condvar,
    /// Reads records.
    pub reader: Arc<Reader>,
    /// Views and pinned segments that are not released.
    pub open_views: Arc<AtomicU64>,
    /// Whether events are wanted.
    pub wants_events: AtomicBool,
    /// Counters.
    pub metrics: Metrics,
}

/// The way back of what was done for the group thread. Whoever works for a log holds this, and not
/// the log: its files and mappings go when it is closed.
#[derive(Clone)]
pub struct Returns {
    done: Arc<Mutex<Vec<Done>>>,
    bell: Arc<Bell>,
}

impl Returns {
    /// Hands it over, on any thread.
    pub fn post(&self, done: Done) {
        lock(&self.done).push(done);
        self.bell.ring();
    }

    /// Takes what was handed over.
    pub fn take(&self) -> Vec<Done> {
        std::mem::take(&mut *lock(&self.done))
    }
}

/// How far a peer is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Who.
    pub id: u64,
    /// Behind the last record that it is known to have; 0 unless this member leads.
    pub matched: Index,
    /// When it was last heard, in nanoseconds; [`NEVER`]: never.
    pub heard: u64,
}

/// What the group thread publishes at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    /// What this member is.
    pub role: Role,
    /// Leader, and its term has a committed entry.
    pub ready: bool,
    /// 0 if unknown.
    pub leader: u64,
    /// Raft term.
    pub term: u64,
    /// The first record that is kept.
    pub begin: Mark,
    /// Behind the last one that is agreed.
    pub committed: Mark,
    /// Behind the last one on this disk.
    pub flushed: Mark,
}

impl Shared {
    /// The shared state of a log that was just opened.
    pub fn new(
        clock: Clock,
        node: u64,
        options: &Options,
        staging: Staging,
        reader: Arc<Reader>,
        marks: Marks,
    ) -> Shared {
        let tail = staging.next();
        let driver = Arc::<Bell>::default();
        Shared {
            clock,
            node,
            priority: options.priority,
            gate: sync::AtomicU64::new(0),
            life: sync::AtomicU64::new(Life::Open as u64),
            transferring: AtomicBool::new(false),
            change_pending: AtomicBool::new(false),
            staging: Mutex::new(staging),
            callers: Callers::default(),
            inbox: sync::Mutex::new(Inbox::default()),
            done: Returns { done: Arc::default(), bell: driver.clone() },
            controls: Mutex::default(),
            peers: Mutex::default(),
            marks: Snapshot::new(numbers(&marks)),
            tail: Snapshot::new([tail.index.0, tail.pos]),
            begin: Mutex::default(),
            log_end: Mutex::default(),
            members: Mutex::default(),
            book: Mutex::default(),
            progress: Mutex::default(),
            damaged: Mutex::default(),
            pending: InFlight::default(),
            barriers: InFlight::default(),
            pending_bytes: InFlight::default(),
            callbacks_due: InFlight::default(),
            room_pos: AtomicU64::new(0),
            room_index: AtomicU64::new(0),
            call_records: AtomicU64::new(0),
            call_bytes: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            room_ended: AtomicBool::new(false),
            live: Live::new(options),
            failure: OnceLock::new(),
            bad_read: Mutex::default(),
            driver,
            delivery: Bell::default(),
            armed: AtomicU64::new(NEVER),
            readers_waiting: AtomicUsize::new(0),
            commit_lock: Mutex::default(),
            commit_moved: Condvar::new(),
            reader,
            open_views: Arc::default(),
            wants_events: AtomicBool::new(false),
            metrics: Metrics::default(),
        }
    }

    /// Where the log is in its life.
    pub fn life(&self) -> Life {
        match self.life.load(Ordering::Acquire) {
            0 => Life::Open,
            1 => Life::Running,
            2 => Life::Stopped,
            _ => Life::Failed,
        }
    }

    /// Moves on in life, if it is where it is expected to be.
    pub fn moves(&self, from: Life, to: Life) -> bool {
        let (from, to) = (from as u64, to as u64);
        self.life.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The first cause of a failure.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// Notes what a read met. It fails that one read.
    pub fn note_bad_read(&self, error: &Error) {
        tracing::error!("read: {error}");
        *lock(&self.bad_read) = Some(Failure::of(error));
    }

    /// What the last read met that failed, on any thread.
    pub fn bad_read(&self) -> Option<Failure> {
        lock(&self.bad_read).clone()
    }

    /// Publishes what the group thread knows.
    pub fn publish(&self, marks: &Marks) {
        self.marks.write(numbers(marks));
    }

    /// What the group thread published last.
    pub fn marks(&self) -> Marks {
        let n = self.marks.read();
        let mark = |at: usize| Mark { index: Index(n[at]), pos: n[at + 1] };
        Marks {
            role: Role::from(n[0]),
            ready: n[1] != 0,
            leader: n[2],
            term: n[3],
            begin: mark(4),
            committed: mark(6),
            flushed: mark(8),
        }
    }

    /// Behind the last record that is agreed.
    pub fn committed(&self) -> Index {
        Index(self.marks.get(6))
    }

    /// Publishes the end of the order. Under the append lock.
    pub fn publish_end(&self, end: Mark) {
        self.tail.write([end.index.0, end.pos]);
    }

    /// How things are, all at one time.
    pub fn state(&self) -> State {
        let marks = self.marks();
        let [index, pos] = self.tail.read();
        // Read after the marks, the end is never before what they say; but it may be published later.
        let end = Mark { index: Index(index), pos }.max(marks.committed).max(marks.flushed);
        let life = self.life();
        let runs = matches!(life, Life::Running);
        State {
            role: if runs { marks.role } else { Role::Stopped },
            ready: runs && marks.ready,
            open_views: self.open_views.load(Ordering::Relaxed) as u32,
            node_id: self.node,
            leader_id: if runs { marks.leader } else { 0 },
            term: marks.term,
            begin: marks.begin,
            committed: marks.committed,
            flushed: marks.flushed,
            end,
        }
    }

    /// What may be read.
    pub fn bounds(&self) -> Bounds {
        let marks = self.marks();
        Bounds { begin: marks.begin, committed: marks.committed }
    }

    /// The anchor before the first record.
    pub fn begin(&self) -> Anchor {
        *lock(&self.begin)
    }

    /// Publishes the anchor before the first record.
    pub fn set_begin(&self, begin: Anchor) {
        *lock(&self.begin) = begin;
    }

    /// The anchor behind the last Raft entry that is written.
    pub fn log_end(&self) -> Anchor {
        *lock(&self.log_end)
    }

    /// Publishes it.
    pub fn set_log_end(&self, end: Anchor) {
        *lock(&self.log_end) = end;
    }

    /// The members, as they are in force here.
    pub fn members(&self) -> Arc<MemberSet> {
        lock(&self.members).clone()
    }

    /// Publishes them.
    pub fn set_members(&self, members: MemberSet) {
        *lock(&self.members) = Arc::new(members);
    }

    /// A newer member set, if another member showed one: it tells whom to speak with.
    pub fn book(&self) -> Option<Arc<MemberSet>> {
        lock(&self.book).clone()
    }

    /// Publishes it.
    pub fn set_book(&self, book: Option<MemberSet>) {
        *lock(&self.book) = book.map(Arc::new);
    }

    /// Tells waiting readers that the committed mark moved, or that the log stopped.
    pub fn wake_readers(&self) {
        if self.readers_waiting.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.commit_lock));
            self.commit_moved.notify_all();
        }
    }

    /// Waits until the record is committed; false when the time is over or the log is not running.
    pub fn wait_committed(&self, index: Index, deadline: u64) -> bool {
        self.readers_waiting.fetch_add(1, Ordering::SeqCst);
        let mut guard = lock(&self.commit_lock);
        let there = loop {
            if self.committed() > index {
                break true;
            }
            let left = deadline.saturating_sub(self.clock.now());
            if left == 0 || matches!(self.life(), Life::Stopped | Life::Failed) {
                break false;
            }
            let left = std::time::Duration::from_nanos(left.min(LONGEST_WAIT));
            guard = match self.commit_moved.wait_timeout(guard, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        };
        drop(guard);
        self.readers_waiting.fetch_sub(1, Ordering::SeqCst);
        there
    }

    /// Hands the group thread what came from a peer.
    pub fn post_peer(&self, came: FromPeer) {
        lock(&self.peers).push(came);
        self.driver.ring();
    }

    /// Tells the group thread of a record that cannot be read as it was written. Of more than it can
    /// look after at once it hears when they are read again.
    pub fn note_damage(&self, index: Index) {
        let mut damaged = lock(&self.damaged);
        if damaged.len() < DAMAGED && damaged.insert(index) {
            drop(damaged);
            self.driver.ring();
        }
    }

    /// Asks the group thread for something.
    pub fn ask(&self, control: Control) {
        lock(&self.controls).push(control);
        self.driver.ring();
    }

    /// An append is over: makes room for others.
    pub fn release(&self, records: u64, bytes: u64) {
        self.pending.leave(records);
        self.pending_bytes.leave(bytes);
    }
}

fn numbers(marks: &Marks) -> [u64; MARKS] {
    [
        marks.role as u64,
        u64::from(marks.ready),
        marks.leader,
        marks.term,
        marks.begin.index.0,
        marks.begin.pos,
        marks.committed.index.0,
        marks.committed.pos,
        marks.flushed.index.0,
        marks.flushed.pos,
    ]
}

/// Damaged records that wait for a look.
const DAMAGED: usize = 64;
/// Numbers in a [`Marks`].
const MARKS: usize = 10;
/// A condition variable takes no longer time than this on every system.
const LONGEST_WAIT: u64 = 3_600_000_000_000;
