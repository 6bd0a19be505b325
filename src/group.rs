//! The log's handle: open, start, append, read, stop. It owns the threads; what they do is in the
//! parts below, none of which has a thread of its own, so that a simulator can turn them by hand.

pub mod append;
pub mod callers;
pub mod changes;
pub mod clock;
pub mod cluster;
pub mod delivery;
pub mod driver;
pub mod helper;
pub mod live;
pub mod metrics;
pub mod network;
pub mod peers;
pub mod poll;
pub mod reading;
pub mod shared;
pub mod signals;
pub mod staging;
pub mod sync;
pub mod threads;
pub mod waiters;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use append::AppendOptions;
pub use changes::{MemberChange, MemberOp};
pub use delivery::Observer;
pub use metrics::Metric;
pub use reading::{PinnedSegment, ReadOptions, View};
pub use shared::{Failure, Role, State};
pub use staging::{Entry, Hook};
pub use waiters::{Completion, Token};

use crate::commitlog::meta::{Member, MemberSet};
use crate::commitlog::recover::check_files;
use crate::commitlog::{Birth, CommitLog};
use crate::consensus::core::Pace;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::error::{Error, Result, Status};
use crate::group::clock::Clock;
use crate::group::delivery::Delivery;
use crate::group::driver::{Driver, Helper};
use crate::group::helper::ProcessHelper;
use crate::group::network::Figures;
use crate::group::poll::Poller;
use crate::group::shared::{Control, Life, Marks, Shared};
use crate::group::staging::Staging;
use crate::group::threads::Threads;
use crate::group::waiters::{Slot, lock};
use crate::options::{Callbacks, MissingTail, OPTIONS, Options};
use crate::plant::{Plant, Plants};
use crate::types::{Index, RaftIndex};

/// Bits of what changed, with an event.
pub mod events {
    /// Role, term, leader or ready.
    pub const ROLE: u32 = 1;
    /// Committed moved.
    pub const COMMIT: u32 = 2;
    /// Begin moved.
    pub const BEGIN: u32 = 4;
    /// The member set.
    pub const MEMBERS: u32 = 8;
    /// The log stopped for good.
    pub const FAILED: u32 = 16;
}

/// One member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: u64,
    /// Whether it has a vote.
    pub voter: bool,
    /// Where it listens; empty for a group of one.
    pub address: String,
    /// Behind the last record that it is known to have; 0 unless known here.
    pub match_index: Index,
    /// Since it was last heard; `None`: never.
    pub contact: Option<Duration>,
}

/// One log. Every method may be called from any thread at any time.
pub struct Group {
    shared: Arc<Shared>,
    options: Mutex<Options>,
    incarnation: u64,
    /// Of the sockets, once there are some.
    figures: Mutex<Option<Figures>>,
    /// Until it is started.
    driver: Mutex<Option<Driver>>,
    threads: Mutex<Option<Threads>>,
    poller: Option<Poller>,
    /// The directory's lock, until it is stopped.
    lock: Mutex<Option<Arc<dyn Send + Sync>>>,
    stopped: Mutex<Option<Status>>,
}

/// A log without threads: its shared state, and the driver to turn.
pub struct Parts {
    /// For appenders and readers.
    pub shared: Arc<Shared>,
    /// To be turned.
    pub driver: Driver,
}

/// Recovers a log on any disk. The directory is locked by the caller.
pub fn open_parts(
    disk: Arc<dyn Disk>,
    clock: Clock,
    options: &Options,
    plants: Plants,
    incarnation: u64,
    helper: impl FnOnce(&Arc<Shared>) -> Result<Box<dyn Helper>>,
) -> Result<Parts> {
    options.validate()?;
    let birth = birth(options, plants, incarnation)?;
    let mut log = CommitLog::open(disk, &birth)?;
    if plants.on(Plant::TruncateBelowCommit) {
        log.truncate(log.meta().committed)?;
    }
    let (end, members) = (log.end(), log.meta().members.clone());
    let staging = Staging::new(birth.segment_bytes, end.mark(), options.append_stamp);
    let marks = Marks {
        role: Role::Stopped,
        term: log.meta().term,
        begin: log.begin().mark(),
        committed: log.meta().committed.mark(),
        flushed: log.flushed().mark(),
        ..Marks::default()
    };
    let shared = Shared::new(clock, birth.node, options, staging, log.reader(), marks);
    shared.metrics.recovery_read.store(log.recovery_read(), Ordering::Relaxed);
    let shared = Arc::new(shared);
    shared.set_members(members);
    let helper = helper(&shared)?;
    // Two members must not draw the same timeouts, whatever their numbers have in common.
    let seed = incarnation.wrapping_add(birth.node.wrapping_mul(GOLDEN));
    let pace = pace(options, seed);
    let driver = Driver::new(shared.clone(), log, helper, plants, options.unsynced_max, pace)?;
    Ok(Parts { shared, driver })
}

/// Election timeouts are drawn between half of `election.timeout` and all of it.
fn pace(options: &Options, seed: u64) -> Pace {
    let tick = (options.heartbeat_interval / TICKS_PER_HEARTBEAT).clamp(LEAST_TICK, MOST_TICK);
    let ticks = |time: Duration| (time.as_nanos() / tick.as_nanos()).max(1) as usize;
    let heartbeat_ticks = ticks(options.heartbeat_interval);
    Pace {
        tick_ns: clock::nanos(tick),
        election_ticks: ticks(options.election_timeout / 2).max(heartbeat_ticks + 1),
        heartbeat_ticks,
        message_bytes: MESSAGE_BYTES,
        window_bytes: WINDOW_BYTES,
        seed,
    }
}

impl Group {
    /// Locks and recovers the directory, or makes it. Waits for the disk.
    pub fn open(options: &Options) -> Result<Group> {
        options.validate()?;
        let dir = options.dir.clone().unwrap_or_default();
        let disk = RealDisk::new(&dir).map_err(|e| Error::io(dir, e))?;
        // Not even a lock is made in a directory of a newer version. Other errors are looked at
        // again under it, when nobody writes.
        if let Err(error @ Error::Version(_)) = check_files(&disk) {
            return Err(error);
        }
        let held = disk.lock().map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => Error::Locked,
            _ => Error::io("LOCK", e),
        })?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let incarnation = random()?;
        let for_helper = disk.clone();
        let helper = |shared: &Arc<Shared>| -> Result<Box<dyn Helper>> {
            Ok(Box::new(ProcessHelper::new(for_helper, shared.done.clone())?))
        };
        let Parts { shared, driver } =
            open_parts(disk, Clock::real(), options, Plants::NONE, incarnation, helper)?;
        let poller = match options.callbacks {
            Callbacks::Thread => None,
            Callbacks::Poll => Some(Poller::new(shared.clone())?),
        };
        Ok(Group {
            incarnation: driver.log().meta().incarnation,
            figures: Mutex::new(None),
            shared,
            options: Mutex::new(options.clone()),
            driver: Mutex::new(Some(driver)),
            threads: Mutex::new(None),
            poller,
            lock: Mutex::new(Some(Arc::from(held))),
            stopped: Mutex::new(None),
        })
    }

    /// Joins the cluster. Does not wait for a leader. Once.
    pub fn start(&self, observer: Arc<dyn Observer>, wants_events: bool) -> Result<()> {
        if self.shared.failure().is_some() {
            return Err(Error::Status(Status::Failed));
        }
        let connected = match self.shared.life() {
            Life::Open => network::connect(&self.shared, &lock(&self.options), self.incarnation)?,
            _ => None,
        };
        // Who stops the log from here on waits for the threads that it has to join.
        let mut threads = lock(&self.threads);
        if !self.shared.moves(Life::Open, Life::Running) {
            return Err(match self.shared.life() {
                Life::Stopped => Error::Status(Status::Stopped),
                _ => Error::Invalid("the log was started before".into()),
            });
        }
        self.shared.wants_events.store(wants_events, Ordering::Relaxed);
        let Some(driver) = lock(&self.driver).take() else {
            return Err(Error::Invalid("the log was started before".into()));
        };
        let (connected, figures) = connected.unzip();
        *lock(&self.figures) = figures;
        let delivery = Delivery::new(self.shared.clone(), observer.clone());
        let delivery = match &self.poller {
            None => Some(delivery),
            Some(poller) => {
                poller.start(delivery);
                None
            }
        };
        let held = lock(&self.lock).clone();
        let spawned =
            Threads::spawn(self.shared.clone(), driver, connected, delivery, observer, held);
        // The driver is gone: only a reopen goes on.
        *threads = Some(spawned.inspect_err(|error| {
            self.shared.fail(error);
            self.shared.end(u64::MAX, Status::Failed);
            self.shared.wake_readers();
        })?);
        Ok(())
    }

    /// Leaves: see `dl_stop`. `None`: no limit. Waits.
    pub fn stop(&self, timeout: Option<Duration>) -> Status {
        let mut stopped = lock(&self.stopped);
        if let Some(status) = *stopped {
            return status;
        }
        let deadline = self.shared.clock.deadline(timeout);
        let was_running = self.shared.stops();
        self.shared.wake_readers();
        let mut status = Status::Ok;
        if was_running {
            status = self.stop_running(deadline);
        }
        drop(lock(&self.driver).take());
        drop(lock(&self.lock).take());
        // A second call finds the log stopped, however the first one ended.
        *stopped = Some(Status::Ok);
        status
    }

    fn stop_running(&self, deadline: u64) -> Status {
        let left = || match deadline.saturating_sub(self.shared.clock.now()) {
            _ if deadline == clock::NEVER => None,
            left => Some(Duration::from_nanos(left)),
        };
        let mut status = Status::Ok;
        if let Some(poller) = &self.poller {
            poller.close();
        }
        while self.shared.pending.now() > 0 && self.shared.life() != Life::Failed {
            if left() == Some(Duration::ZERO) {
                status = Status::TimedOut;
                break;
            }
            match &self.poller {
                Some(poller) => poller.run_at_stop(),
                None => std::thread::sleep(STOP_LOOK),
            }
            if self.poller.is_some() {
                std::thread::sleep(STOP_LOOK);
            }
        }
        self.shared.end(u64::MAX, Status::Stopped);
        let mut last = Status::Failed;
        // There are none if they could not be started.
        if let Some(threads) = lock(&self.threads).take() {
            let slot = Arc::new(Slot::default());
            self.shared.ask(Control::Stop(slot.clone()));
            // What is in flight has been told; the last sync gets a moment of its own.
            let patience = left().map(|left| left.max(LAST_SYNC));
            last = slot.wait(patience).0;
            threads.join(&self.shared, last != Status::TimedOut);
        }
        if let Some(poller) = &self.poller {
            poller.finish();
        }
        match last {
            Status::Ok => status,
            Status::Failed => last,
            // A full disk may have left something unwritten.
            _ => Status::TimedOut,
        }
    }

    /// Changes an option of the open log.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        if self.shared.failure().is_some() {
            return Err(Error::Status(Status::Failed));
        }
        let mut options = lock(&self.options);
        let mut changed = options.clone();
        changed.set_live(key, value)?;
        changed.validate()?;
        if key == "append.stamp" {
            lock(&self.shared.staging).set_stamp(changed.append_stamp);
        }
        self.shared.live.set(&changed);
        *options = changed;
        drop(options);
        self.shared.driver.ring();
        Ok(())
    }

    /// Appends one record: see [`Shared::append`].
    pub fn append(
        &self,
        body: &[u8],
        options: &AppendOptions,
        token: Token,
    ) -> std::result::Result<Entry, Status> {
        self.shared.append(body, options, token)
    }

    /// Appends records, all or none: see [`Shared::append_batch`].
    pub fn append_batch(
        &self,
        bodies: &mut dyn Iterator<Item = &[u8]>,
        lens: &mut dyn Iterator<Item = usize>,
        options: &AppendOptions,
        token: Token,
        out: &mut dyn FnMut(usize, Entry),
    ) -> std::result::Result<(), Status> {
        self.shared.append_batch(bodies, lens, options, token, out)
    }

    /// Appends one record and waits for its end.
    pub fn append_wait(&self, body: &[u8], options: &AppendOptions) -> (Status, Option<Entry>) {
        self.shared.append_wait(body, options)
    }

    /// Adds an append hook. Before start only: nothing is missed.
    pub fn add_hook(&self, hook: Hook) -> std::result::Result<u64, (Error, Hook)> {
        if self.shared.life() != Life::Open {
            return Err((Error::Invalid("hooks are registered before dl_start".into()), hook));
        }
        Ok(lock(&self.shared.staging).add_hook(hook))
    }

    /// Takes a hook out: it neither runs nor will run.
    pub fn remove_hook(&self, id: u64) -> Result<Hook> {
        let hook = lock(&self.shared.staging).remove_hook(id);
        self.shared.driver.ring();
        hook.ok_or_else(|| Error::Invalid(format!("no append hook has the id {id}").into()))
    }

    /// Pins committed records: see [`Shared::read`].
    pub fn read(&self, index: Index, options: &ReadOptions) -> std::result::Result<View, Status> {
        self.shared.read(index, options)
    }

    /// Pins committed bytes: see [`Shared::read_pos`].
    pub fn read_pos(&self, pos: u64, max_len: usize) -> std::result::Result<View, Status> {
        self.shared.read_pos(pos, max_len)
    }

    /// Copies one body: see [`Shared::read_copy`].
    pub fn read_copy(
        &self,
        index: Index,
        buf: &mut [u8],
    ) -> std::result::Result<Entry, (Status, Option<Entry>)> {
        self.shared.read_copy(index, buf)
    }

    /// The committed record that has the byte at `pos`.
    pub fn index_at(&self, pos: u64) -> std::result::Result<Index, Status> {
        self.shared.index_at(pos)
    }

    /// Pins the segment that has `pos`.
    pub fn pin_segment(&self, pos: u64) -> std::result::Result<PinnedSegment, Status> {
        self.shared.pin_segment(pos)
    }

    /// How things are, all at one time.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Why the log failed.
    pub fn failure(&self) -> Option<&Failure> {
        self.shared.failure()
    }

    /// What the last read met that ended in damage or an error of the disk, with its position.
    pub fn bad_read(&self) -> Option<Failure> {
        self.shared.bad_read()
    }

    /// The linearizable read barrier. Waits.
    pub fn read_index(&self, timeout: Option<Duration>) -> std::result::Result<Index, Status> {
        self.running()?;
        let slot = Arc::new(Slot::default());
        self.shared.ask(Control::ReadIndex(slot.clone(), self.shared.clock.deadline(timeout)));
        match self.wait(&slot, timeout) {
            (Status::Ok, index) => Ok(index),
            (status, _) => Err(status),
        }
    }

    /// The same, for a callback.
    pub fn read_index_async(
        &self,
        timeout: Option<Duration>,
        token: Token,
    ) -> std::result::Result<(), Status> {
        self.shared.ask_read_index(token, self.shared.clock.deadline(timeout))
    }

    /// Puts all that is appended on this disk. Waits.
    pub fn flush(&self, timeout: Option<Duration>) -> Status {
        if let Err(status) = self.running() {
            return status;
        }
        let slot = Arc::new(Slot::default());
        self.shared.ask(Control::Flush(slot.clone()));
        self.wait(&slot, timeout).0
    }

    /// Forgets whole segments before the record; begin moves a little later, with an event.
    pub fn delete_prefix(&self, index: Index) -> Result<()> {
        self.running()?;
        if index > self.shared.committed() {
            return Err(Error::Status(Status::NotCommitted));
        }
        self.shared.ask(Control::DeletePrefix(index));
        Ok(())
    }

    /// Runs callbacks that are due, and waits up to `timeout` for the first; `max` 0: all.
    pub fn poll(&self, timeout: Option<Duration>, max: u32) -> std::result::Result<u32, Status> {
        self.poller.as_ref().ok_or(Status::Invalid)?.poll(timeout, max)
    }

    /// The descriptor that is readable while callbacks are due.
    pub fn poll_fd(&self) -> std::result::Result<i32, Status> {
        Ok(self.poller.as_ref().ok_or(Status::Invalid)?.fd())
    }

    /// Calls `each` for every figure there is.
    pub fn metrics(&self, each: &mut dyn FnMut(&Metric)) {
        self.shared.scrape(each);
        if let Some(figures) = &*lock(&self.figures) {
            figures.scrape(each);
        }
    }

    fn running(&self) -> std::result::Result<(), Status> {
        match self.shared.life() {
            Life::Running => Ok(()),
            Life::Failed => Err(Status::Failed),
            Life::Open | Life::Stopped => Err(Status::Stopped),
        }
    }

    /// Waits for an answer of the group thread; a log that stops or fails meanwhile ends the wait.
    fn wait(&self, slot: &Slot, timeout: Option<Duration>) -> (Status, Index) {
        let deadline = self.shared.clock.deadline(timeout);
        loop {
            let left = deadline.saturating_sub(self.shared.clock.now());
            let look = Duration::from_nanos(left).min(WAIT_LOOK);
            if let Some(answer) = slot.look(look) {
                return answer;
            }
            if let Err(status) = self.running() {
                return (status, Index(0));
            }
            if left == 0 {
                return (Status::TimedOut, Index(0));
            }
        }
    }
}

fn birth(options: &Options, plants: Plants, incarnation: u64) -> Result<Birth> {
    let node = options.node_id.unwrap_or_default();
    let incarnation = if plants.on(Plant::IncarnationKept) { node } else { incarnation };
    let own = [(node, String::new())];
    let listed = if options.members.is_empty() { &own[..] } else { &options.members };
    // Of the others the first incarnation that comes is let in.
    let of = |id| if id == node { incarnation } else { 0 };
    let member = |(id, address): &(u64, String)| Member {
        id: *id,
        incarnation: of(*id),
        address: address.clone(),
    };
    let members = MemberSet {
        raft_index: RaftIndex(0),
        members: listed.iter().map(member).collect(),
        voters: listed.iter().map(|(id, _)| *id).collect(),
        ..MemberSet::default()
    };
    Ok(Birth {
        group: options.group.clone(),
        node,
        incarnation,
        segment_bytes: options.segment_bytes,
        index_bytes: options.index_bytes,
        begin_pos: options.begin_pos,
        unsynced_max: options.unsynced_max,
        members,
        clamp_missing_tail: options.missing_tail == MissingTail::Clamp,
        disk_full_ppm: options.disk_full_ppm(),
        plants,
    })
}

fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::Resource { what: "random bytes", source: e.into() })?;
    Ok(u64::from_ne_bytes(bytes))
}

/// All options there are: key, type, preset, meaning, and whether they change live.
pub fn options() -> &'static [crate::options::OptionInfo] {
    OPTIONS
}

/// How often a stop looks whether appends are still in flight.
const STOP_LOOK: Duration = Duration::from_millis(1);
/// How long a stop whose time is over waits for the last sync.
const LAST_SYNC: Duration = Duration::from_millis(500);
/// How often a wait looks whether the log was stopped.
const WAIT_LOOK: Duration = Duration::from_millis(20);

/// Ticks are finer than heartbeats, so that election timeouts differ.
const TICKS_PER_HEARTBEAT: u32 = 5;
const LEAST_TICK: Duration = Duration::from_millis(1);
const MOST_TICK: Duration = Duration::from_millis(20);
/// Most bytes of records in one message of several batches: no heartbeat waits longer behind it.
const MESSAGE_BYTES: u64 = 256 << 10;
/// Bytes on their way to one member: 100 ms of 160 MB/s. Twice as many, as heartbeats may make it,
/// fit into the socket's queue.
const WINDOW_BYTES: u64 = 16 << 20;
/// 2^64 by the golden ratio: multiples of it lie far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
