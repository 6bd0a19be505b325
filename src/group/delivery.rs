//! What is due to the broker: completions in index order, at most 256 at a time, and events in
//! order. Runs on the callback thread, or inside `poll`; the group thread never waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Status;
use crate::group::clock::NEVER;
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::shared::{Shared, State};
use crate::group::waiters::{Barrier, Completion, Event, Token, Waiter, Waiters};
use crate::types::{Index, Mark};

/// What a log calls, one at a time and in order.
pub trait Observer: Send + Sync + 'static {
    /// Appends that are over, in order, at most 256.
    fn completed(&self, items: &[Completion]);
    /// Something changed: see [`events`].
    fn event(&self, what: u32, now: &State);
    /// A read barrier that was asked for without waiting.
    fn index_read(&self, token: Token, status: Status, index: Index);
    /// How many of these have a function to call.
    fn heard(&self, items: &[Completion]) -> u32 {
        items.len() as u32
    }
    /// First and last thing of each thread that serves the log, called on it.
    fn thread(&self, starts: bool, callbacks: bool);
}

/// The callback side of one log.
pub struct Delivery {
    shared: Arc<Shared>,
    observer: Arc<dyn Observer>,
    waiters: Waiters,
    arrived: Vec<Waiter>,
    /// By number.
    barriers: BTreeMap<u64, Barrier>,
    /// No barrier is over before, in nanoseconds.
    barriers_earliest: u64,
    due: VecDeque<Due>,
    batch: Vec<Completion>,
    latencies: Vec<u64>,
    committed: Mark,
    begin: Mark,
}

enum Due {
    Completion(Completion, u64),
    Event(u32, Box<State>),
    ReadIndex(Token, Status, Index),
}

impl Delivery {
    /// Nothing is due.
    pub fn new(shared: Arc<Shared>, observer: Arc<dyn Observer>) -> Delivery {
        let marks = shared.marks();
        Delivery {
            shared,
            observer,
            waiters: Waiters::new(),
            arrived: Vec::new(),
            barriers: BTreeMap::new(),
            barriers_earliest: NEVER,
            due: VecDeque::new(),
            batch: Vec::new(),
            latencies: Vec::new(),
            committed: marks.committed,
            begin: marks.begin,
        }
    }

    /// Runs callbacks that are due, at most `max` (0: all). Returns how many ran.
    pub fn run(&mut self, max: u32) -> u32 {
        let max = if max == 0 { u32::MAX } else { max };
        let (mut over, mut ran) = (0, 0);
        if self.due.is_empty() {
            self.collect();
        }
        while over < max {
            match self.due.pop_front() {
                None => {
                    self.collect();
                    if self.due.is_empty() {
                        break;
                    }
                }
                Some(Due::Completion(completion, bytes)) => {
                    over += self.complete(completion, bytes, (max - over).min(AT_ONCE));
                    ran += self.observer.heard(&self.batch);
                }
                Some(Due::Event(what, now)) => {
                    self.observer.event(what, &now);
                    (over, ran) = (over + 1, ran + 1);
                }
                Some(Due::ReadIndex(token, status, index)) => {
                    self.shared.barriers.leave(1);
                    self.observer.index_read(token, status, index);
                    (over, ran) = (over + 1, ran + 1);
                }
            }
        }
        // Whoever polls slept through what came since the last look: it is not rung for again.
        if self.due.is_empty() && over == max {
            self.collect();
        }
        ran
    }

    /// Whether something is due that [`Delivery::run`] left for want of `max`.
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// When to run again if nothing rings before: the earliest timeout. Call before sleeping.
    /// `None`: at once, something came.
    pub fn next_look(&mut self) -> Option<u64> {
        let earliest = self.waiters.earliest().min(self.barriers_earliest);
        self.shared.armed.store(earliest, Ordering::SeqCst);
        // An appender may have looked at the old moment before it was stored.
        let inbox = self.shared.inbox();
        let nothing =
            inbox.waiters.is_empty() && inbox.events.is_empty() && inbox.barriers.is_empty();
        nothing.then_some(earliest)
    }

    /// Takes in what arrived, and finds what is due.
    fn collect(&mut self) {
        let mut arrived = std::mem::take(&mut self.arrived);
        // Before the inbox: what a new leader commits under an index that an append of an older
        // term had is published after that append was ended in there.
        let committed = self.shared.committed();
        let wants_events = self.shared.wants_events.load(Ordering::Relaxed);
        let (events, now) = {
            let mut inbox = self.shared.inbox();
            std::mem::swap(&mut inbox.waiters, &mut arrived);
            for barrier in inbox.barriers.drain(..) {
                self.barriers_earliest = self.barriers_earliest.min(barrier.deadline);
                self.barriers.insert(barrier.number, barrier);
            }
            let now = wants_events.then(|| self.shared.state());
            (std::mem::take(&mut inbox.events), now)
        };
        self.waiters.add(&mut arrived);
        self.arrived = arrived;
        for event in events {
            self.take_event(event);
        }
        self.collect_committed(committed);
        self.collect_expired();
        if let Some(now) = now {
            self.notice_marks(now);
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Ended { term, status, committed } => {
                self.collect_committed(committed);
                let due = &mut self.due;
                self.waiters.end(term, |waiter| due.push_back(over(waiter, status)));
                if term == u64::MAX {
                    // The log itself is over.
                    let ended = std::mem::take(&mut self.barriers).into_values();
                    self.barriers_earliest = NEVER;
                    due.extend(ended.map(|b| Due::ReadIndex(b.token, status, Index(0))));
                }
            }
            Event::State { what, now } => self.due.push_back(Due::Event(what, Box::new(now))),
            Event::ReadIndex { number, status, index } => {
                if let Some(barrier) = self.barriers.remove(&number) {
                    self.due.push_back(Due::ReadIndex(barrier.token, status, index));
                }
            }
        }
    }

    fn collect_committed(&mut self, committed: Index) {
        let Some(first) = self.waiters.pop_committed(committed) else { return };
        let now = self.shared.clock.now();
        self.latencies.clear();
        let mut next = Some(first);
        while let Some(waiter) = next {
            self.latencies.push(now.saturating_sub(waiter.since));
            self.due.push_back(over(waiter, Status::Ok));
            next = self.waiters.pop_committed(committed);
        }
        self.shared.metrics.committed(self.latencies.iter().copied());
    }

    fn collect_expired(&mut self) {
        if self.waiters.earliest().min(self.barriers_earliest) == NEVER {
            return;
        }
        let now = self.shared.clock.now();
        let (due, metrics) = (&mut self.due, &self.shared.metrics);
        if self.barriers_earliest <= now {
            self.barriers_earliest = NEVER;
            self.barriers.retain(|_, barrier| {
                let over = barrier.deadline <= now;
                if over {
                    due.push_back(Due::ReadIndex(barrier.token, Status::TimedOut, Index(0)));
                } else {
                    self.barriers_earliest = self.barriers_earliest.min(barrier.deadline);
                }
                !over
            });
        }
        self.waiters.expire(now, |waiter| {
            Metrics::add(&metrics.timeouts, 1);
            due.push_back(over(waiter, Status::TimedOut));
        });
    }

    /// Commits and purges are told merged: how far, not each step.
    fn notice_marks(&mut self, now: State) {
        let mut what = 0;
        if now.committed != self.committed {
            what |= events::COMMIT;
        }
        if now.begin != self.begin {
            what |= events::BEGIN;
        }
        if what != 0 {
            (self.committed, self.begin) = (now.committed, now.begin);
            self.due.push_back(Due::Event(what, Box::new(now)));
        }
    }

    /// Completes one append and those that follow it, at most `most`, in one call.
    fn complete(&mut self, first: Completion, bytes: u64, most: u32) -> u32 {
        self.batch.clear();
        self.batch.push(first);
        let (mut records, mut bytes) = (u64::from(first.count), bytes);
        while (self.batch.len() as u32) < most {
            let Some(Due::Completion(completion, more)) = self.due.front() else { break };
            records += u64::from(completion.count);
            bytes += more;
            self.batch.push(*completion);
            self.due.pop_front();
        }
        // In flight until its callback is called: a callback may append anew.
        let ran = self.batch.len() as u64;
        self.shared.release(records, bytes);
        self.shared.callbacks_due.leave(ran);
        self.observer.completed(&self.batch);
        ran as u32
    }
}

fn over(waiter: Waiter, status: Status) -> Due {
    Due::Completion(Completion { status, ..waiter.completion }, waiter.bytes)
}

/// Completions in one call.
const AT_ONCE: u32 = 256;
