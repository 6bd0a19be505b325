//! One log and everything around it: the disk, the clock, the helper, the observer. Each is moved
//! by hand, each draws from its own stream of the seed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dledger::commitlog::work::Work;
use dledger::disk::memory::MemoryDisk;
use dledger::error::{Error, Status};
use dledger::group::clock::Clock;
use dledger::group::delivery::Delivery;
use dledger::group::driver::{Driver, Helper, Next};
use dledger::group::peers::{Network, Nobody};
use dledger::group::shared::{Control, Life, Shared};
use dledger::group::waiters::Slot;
use dledger::group::{
    AppendOptions, Completion, Entry, Observer, Parts, ReadOptions, Role, State, Token, events,
    open_parts,
};
use dledger::options::Options;
use dledger::plant::Plants;
use dledger::types::Index;

use super::model::Model;

/// What a simulated log runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub segment_bytes: u64,
    pub index_bytes: u64,
    pub flush: &'static str,
    pub unsynced_max: u64,
    pub plants: Plants,
    /// This member, and how many there are at the birth.
    pub node: u64,
    pub members: u64,
}

impl Settings {
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        let max = (self.segment_bytes - 56).min(3_000);
        let members: Vec<_> = (1..=self.members).map(|id| format!("{id}@127.0.0.1:{id}")).collect();
        let members = members.join(",");
        for (key, value) in [
            ("dir", "/"),
            ("node.id", &self.node.to_string()),
            ("segment.bytes", &self.segment_bytes.to_string()),
            ("index.segment.bytes", &self.index_bytes.to_string()),
            ("flush", self.flush),
            ("append.max.bytes", &max.to_string()),
            ("unsynced.max", &self.unsynced_max.to_string()),
            ("append.timeout", "2500ms"),
            ("append.pending.max", "200"),
            ("append.pending.bytes", "1MiB"),
            ("checkpoint.interval", "50ms"),
        ] {
            options.set(key, value).unwrap_or_else(|e| panic!("{key} = {value}: {e}"));
        }
        if self.members > 1 {
            options.set("members", &members).expect("members");
        }
        options
    }

    pub fn keeps_all_through(&self, power_cut: bool) -> bool {
        !power_cut || self.flush == "commit"
    }
}

/// Work that nobody has done yet.
#[derive(Clone, Default)]
pub struct Queue(Arc<Mutex<VecDeque<Work>>>);

impl Helper for Queue {
    fn submit(&mut self, work: Work) {
        self.0.lock().unwrap().push_back(work);
    }
}

/// What the log told.
#[derive(Default)]
pub struct Told {
    pub completions: Vec<Completion>,
    pub events: Vec<(u32, State)>,
    /// Read barriers: which, how it ended, and what it covers.
    pub barriers: Vec<(usize, Status, Index)>,
}

/// The order in which it told: an append is over before the end of its leadership is told, the first
/// event has every bit but that of a failure, and states go forward.
#[derive(Default)]
struct Order {
    /// Appends that are not over, by term and index.
    open: BTreeSet<(u64, u64)>,
    last: Option<State>,
}

impl Order {
    fn take_event(&mut self, what: u32, now: &State) {
        let Some(last) = self.last.replace(*now) else {
            return assert_eq!(
                what,
                events::ROLE | events::COMMIT | events::BEGIN | events::MEMBERS
            );
        };
        assert!(now.term >= last.term && now.committed >= last.committed, "{last:?} then {now:?}");
        assert!(now.begin >= last.begin && now.begin <= now.committed, "{last:?} then {now:?}");
        assert!(now.flushed <= now.end && now.committed <= now.end, "{now:?}");
        let goes_on = (now.role, now.term) == (Role::Leader, last.term);
        if last.role == Role::Leader && !goes_on {
            let late = self.open.first().filter(|(term, _)| *term <= last.term);
            assert_eq!(late, None, "not over, and told of {now:?}");
        }
    }
}

#[derive(Clone, Default)]
pub struct Recorder(pub Arc<Mutex<Told>>, Arc<Mutex<Order>>);

impl Observer for Recorder {
    fn completed(&self, items: &[Completion]) {
        assert!(!items.is_empty() && items.len() <= 256);
        let mut order = self.1.lock().unwrap();
        order.open.retain(|open| !items.iter().any(|item| (item.term, item.index.0) == *open));
        self.0.lock().unwrap().completions.extend_from_slice(items);
    }
    fn event(&self, what: u32, now: &State) {
        self.1.lock().unwrap().take_event(what, now);
        self.0.lock().unwrap().events.push((what, *now));
    }
    fn index_read(&self, token: Token, status: Status, index: Index) {
        self.0.lock().unwrap().barriers.push((token.user_data, status, index));
    }
    fn thread(&self, _starts: bool, _callbacks: bool) {}
}

/// An open log.
pub struct Open {
    pub shared: Arc<Shared>,
    pub driver: Driver,
    pub delivery: Delivery,
    pub told: Recorder,
    queue: Queue,
    disk: MemoryDisk,
}

impl Open {
    /// A group of one.
    pub fn new(
        disk: &MemoryDisk,
        clock: &Arc<AtomicU64>,
        settings: &Settings,
    ) -> Result<Open, Error> {
        Open::member(disk, clock, settings, 1, Box::new(Nobody))
    }

    /// One member of several.
    pub fn member(
        disk: &MemoryDisk,
        clock: &Arc<AtomicU64>,
        settings: &Settings,
        incarnation: u64,
        network: Box<dyn Network>,
    ) -> Result<Open, Error> {
        Open::with(disk, clock, &settings.options(), settings.plants, incarnation, network)
    }

    /// The same with these options.
    pub fn with(
        disk: &MemoryDisk,
        clock: &Arc<AtomicU64>,
        options: &Options,
        plants: Plants,
        incarnation: u64,
        network: Box<dyn Network>,
    ) -> Result<Open, Error> {
        let queue = Queue::default();
        let helper = queue.clone();
        let Parts { shared, mut driver } = open_parts(
            Arc::new(disk.clone()),
            Clock::Manual(clock.clone()),
            options,
            plants,
            incarnation,
            |_| Ok(Box::new(helper)),
        )?;
        assert!(shared.moves(Life::Open, Life::Running));
        shared.wants_events.store(true, Ordering::Relaxed);
        let told = Recorder::default();
        let delivery = Delivery::new(shared.clone(), Arc::new(told.clone()));
        driver.start(network);
        Ok(Open { shared, driver, delivery, told, queue, disk: disk.clone() })
    }

    /// One turn of the group thread, unless it has nothing to do before its time.
    pub fn turn(&mut self) -> Next {
        self.driver.turn()
    }

    /// Turns until there is nothing to do at once, and nothing waits for others to share its sync.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let next = self.turn();
            let worked = self.work();
            if !matches!(next, Next::Now | Next::Soon(_)) && !worked {
                return;
            }
        }
        panic!("the driver never settles");
    }

    /// Does one piece of the helper's work. False if there was none.
    pub fn work(&mut self) -> bool {
        let work = self.queue.0.lock().unwrap().pop_front();
        let Some(work) = work else { return false };
        let done = work.run(&self.disk);
        self.shared.done.post(done);
        true
    }

    /// Stops it cleanly.
    pub fn stop(&mut self) {
        self.shared.moves(Life::Running, Life::Stopped);
        self.shared.end(u64::MAX, Status::Stopped);
        self.shared.ask(Control::Stop(Arc::new(Slot::default())));
        for _ in 0..1000 {
            if self.turn() == Next::Over {
                return;
            }
            self.work();
        }
        panic!("the driver does not stop");
    }

    pub fn append(&self, body: &[u8], timeout: Option<Duration>) -> Result<Entry, Status> {
        let options = AppendOptions { timeout, expected_term: 0 };
        let entry = self.shared.append(body, &options, Token::default())?;
        self.told.1.lock().unwrap().open.insert((entry.term, entry.index.0));
        Ok(entry)
    }

    /// Every committed record, checked, and then every other way to read it.
    pub fn read_all(&self) -> Vec<(Entry, Vec<u8>)> {
        let state = self.shared.state();
        let options = ReadOptions {
            max_entries: 64,
            wait: Some(Duration::ZERO),
            verify: true,
            ..ReadOptions::default()
        };
        let mut records = Vec::new();
        let mut index = state.begin.index;
        while index < state.committed.index {
            let view =
                self.shared.read(index, &options).unwrap_or_else(|e| panic!("{index}: {e:?}"));
            for entry in view.entries() {
                let at = (entry.pos + 48 - view.pos()) as usize;
                let body = view.bytes()[at..at + entry.body_len as usize].to_vec();
                records.push((*entry, body));
            }
            assert!(view.next_index() > index);
            index = view.next_index();
        }
        records
    }
}

/// Takes in what a log told.
pub fn hear(told: &Recorder, model: &mut Model) {
    let completions = std::mem::take(&mut told.0.lock().unwrap().completions);
    for c in completions {
        model.ended(c.index.0, c.count, c.status);
    }
}

/// A body of `len` bytes that no other append has.
pub fn body(id: u64, len: usize) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend((8..len.max(8)).map(|n| (id as usize * 31 + n) as u8));
    body
}
