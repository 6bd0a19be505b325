//! The load: on member 1.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dledger::error::Status;
use dledger::group::{AppendOptions, Completion, Group, Observer, State, Token};
use dledger::types::Index;
use hdrhistogram::Histogram;

use crate::wanted::Wanted;

/// What all threads of the load share.
pub struct Load {
    wanted: Wanted,
    bodies: Vec<Vec<u8>>,
    begin: Instant,
    over: AtomicBool,
    /// Latencies count from the first append that began after it, in ns from `begin`.
    measured_from: AtomicU64,
    callers: Vec<Caller>,
}

/// A thread that appends, and how many calls of it are not under way.
#[derive(Default)]
struct Caller {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One group, and what its completions come to.
pub struct Loaded {
    load: Arc<Load>,
    group: OnceLock<Weak<Group>>,
    pub done: AtomicU64,
    pub failures: AtomicU64,
    failure: Mutex<Option<Status>>,
    turn: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

/// What a completion is told of its append: since when, and for which caller.
#[derive(Clone, Copy)]
struct Mark {
    since_ns: u64,
    caller: usize,
}

/// Of latencies in ns, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap()
}

/// A mark is one word: a caller takes 10 bits, the time 54 of them, half a year in ns.
const CALLER_BITS: u32 = 10;

impl Mark {
    fn token(self) -> Token {
        let word = self.since_ns << CALLER_BITS | self.caller as u64;
        Token { call: 0, user_data: word as usize }
    }

    fn of(token: Token) -> Mark {
        let word = token.user_data as u64;
        let caller = (word & ((1 << CALLER_BITS) - 1)) as usize;
        Mark { since_ns: word >> CALLER_BITS, caller }
    }
}

impl Load {
    pub fn new(wanted: &Wanted) -> Result<Arc<Load>, String> {
        Ok(Arc::new(Load {
            bodies: wanted.bodies()?,
            begin: Instant::now(),
            over: AtomicBool::new(false),
            measured_from: AtomicU64::new(u64::MAX),
            callers: (0..wanted.callers).map(|_| Caller::default()).collect(),
            wanted: wanted.clone(),
        }))
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whoever completes an append makes the next.
    fn goes_round(&self) -> bool {
        self.wanted.rate == 0.0 && self.callers.is_empty()
    }

    pub fn measure(&self) {
        self.measured_from.store(self.now(), Ordering::Relaxed);
    }

    pub fn start(self: &Arc<Load>, groups: &[Arc<Loaded>]) -> Vec<JoinHandle<()>> {
        let calls = self.wanted.in_flight / self.wanted.batch;
        if self.goes_round() {
            for call in 0..calls {
                groups[call % groups.len()].put(Mark { since_ns: self.now(), caller: 0 });
            }
            return Vec::new();
        }
        let threads = self.callers.len().max(1);
        let start = |caller: usize| {
            let (load, group) = (self.clone(), groups[caller % groups.len()].clone());
            thread::spawn(move || match load.wanted.rate {
                0.0 if load.wanted.blocking => group.block(caller),
                0.0 => {
                    *load.callers[caller].free.lock().unwrap() =
                        calls / threads + usize::from(caller < calls % threads);
                    group.fill(caller);
                }
                rate => {
                    let interval = 1e9 * (load.wanted.batch * threads) as f64 / rate;
                    group.pace(
                        interval,
                        load.now() + (interval as u64 * caller as u64) / threads as u64,
                    );
                }
            })
        };
        (0..threads).map(start).collect()
    }

    pub fn stop(&self, threads: Vec<JoinHandle<()>>) {
        self.over.store(true, Ordering::SeqCst);
        for caller in &self.callers {
            drop(caller.free.lock().unwrap());
            caller.freed.notify_all();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

impl Loaded {
    pub fn new(load: &Arc<Load>) -> Arc<Loaded> {
        Arc::new(Loaded {
            load: load.clone(),
            group: OnceLock::new(),
            done: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failure: Mutex::new(None),
            turn: AtomicU64::new(0),
            latencies: Mutex::new(histogram()),
        })
    }

    pub fn of(&self, group: &Arc<Group>) {
        self.group.set(Arc::downgrade(group)).unwrap();
    }

    pub fn latencies(&self) -> Histogram<u64> {
        self.latencies.lock().unwrap().clone()
    }

    pub fn failure(&self) -> Option<Status> {
        *self.failure.lock().unwrap()
    }

    fn group(&self) -> Option<Arc<Group>> {
        self.group.get().and_then(Weak::upgrade)
    }

    fn body(&self) -> &[u8] {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        &self.load.bodies[turn % self.load.bodies.len()]
    }

    fn fails(&self, status: Status) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.failure.lock().unwrap() = Some(status);
    }

    /// One call, until it is taken: the next segment may be on its way, or more be asked for than
    /// can be done.
    fn put(&self, mark: Mark) {
        let Some(group) = self.group() else { return };
        let (options, token) = (AppendOptions::default(), mark.token());
        loop {
            let answer = if self.load.wanted.batch == 1 {
                group.append(self.body(), &options, token).map(drop)
            } else {
                let bodies: Vec<&[u8]> = (0..self.load.wanted.batch).map(|_| self.body()).collect();
                let lens = &mut bodies.iter().map(|body| body.len());
                group.append_batch(
                    &mut bodies.iter().copied(),
                    lens,
                    &options,
                    token,
                    &mut |_, _| {},
                )
            };
            match answer {
                Err(Status::PendingFull) if !self.load.over() => thread::yield_now(),
                Err(Status::PendingFull) | Ok(()) => return,
                // Who looked just before the end appends just after the stop.
                Err(Status::Stopped) if self.load.over() => return,
                Err(status) => return self.fails(status),
            }
        }
    }

    /// A caller that waits for each of its entries.
    fn block(&self, caller: usize) {
        let Some(group) = self.group() else { return };
        let mut turn = caller;
        while !self.load.over() {
            turn += 1;
            let since = self.load.now();
            let body = &self.load.bodies[turn % self.load.bodies.len()];
            match group.append_wait(body, &AppendOptions::default()).0 {
                Status::Ok => {}
                Status::PendingFull => continue,
                status => return self.fails(status),
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            if since >= self.load.measured_from.load(Ordering::Relaxed) {
                let took = self.load.now() - since;
                self.latencies.lock().unwrap().saturating_record(took);
            }
        }
    }

    /// A caller that keeps its share of the entries under way.
    fn fill(&self, caller: usize) {
        let Caller { free, freed } = &self.load.callers[caller];
        while !self.load.over() {
            let mut count = freed
                .wait_while(free.lock().unwrap(), |free| *free == 0 && !self.load.over())
                .unwrap();
            let calls = std::mem::take(&mut *count);
            drop(count);
            for _ in 0..calls {
                self.put(Mark { since_ns: self.load.now(), caller });
            }
        }
    }

    /// A caller that appends when it is time, and late rather than not.
    fn pace(&self, interval: f64, first: u64) {
        let (mut count, mut due) = (0u64, first);
        while !self.load.over() {
            while due <= self.load.now() && !self.load.over() {
                self.put(Mark { since_ns: due, caller: 0 });
                count += 1;
                due = first + (interval * count as f64) as u64;
            }
            thread::sleep(Duration::from_nanos(due.saturating_sub(self.load.now())));
        }
    }
}

impl Observer for Loaded {
    fn completed(&self, items: &[Completion]) {
        let load = &*self.load;
        let (now, from) = (load.now(), load.measured_from.load(Ordering::Relaxed));
        let (mut entries, mut next) = (0, 0);
        let mut latencies = self.latencies.lock().unwrap();
        for item in items {
            if item.status != Status::Ok {
                self.fails(item.status);
                continue;
            }
            entries += u64::from(item.count);
            next += 1;
            let mark = Mark::of(item.token);
            if mark.since_ns >= from {
                latencies
                    .saturating_record_n(now.saturating_sub(mark.since_ns), u64::from(item.count));
            }
            if let (Some(caller), 0.0) = (load.callers.get(mark.caller), load.wanted.rate) {
                let mut free = caller.free.lock().unwrap();
                *free += 1;
                if *free == 1 {
                    caller.freed.notify_one();
                }
            }
        }
        drop(latencies);
        self.done.fetch_add(entries, Ordering::Relaxed);
        if load.goes_round() {
            let now = load.now();
            for _ in 0..next {
                if load.over() {
                    return;
                }
                self.put(Mark { since_ns: now, caller: 0 });
            }
        }
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}
