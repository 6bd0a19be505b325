//! Clients of a group: some append through whoever leads, some read on every member. What they did
//! and saw is the history.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::checker::{Append, Barrier, History, Outcome, Role, Seen};
use crate::cluster::Cluster;
use crate::process::{Answer, PATIENCE};

/// Threads that append and read until they are told to stop.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    cluster: Arc<Cluster>,
    begin: Instant,
    over: AtomicBool,
    /// Who led when it was last known.
    leader: AtomicU64,
    /// How many appends were committed.
    committed: AtomicU64,
    /// What the last answers to appends were, by member.
    answers: Mutex<BTreeMap<u64, String>>,
    history: Mutex<History>,
}

impl Clients {
    /// So many that append, and so many that read.
    pub fn start(cluster: &Arc<Cluster>, appending: u64, reading: u64, seed: u64) -> Clients {
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            begin: Instant::now(),
            over: AtomicBool::new(false),
            leader: AtomicU64::new(1),
            committed: AtomicU64::new(0),
            answers: Mutex::default(),
            history: Mutex::default(),
        });
        let appends = (0..appending).map(|n| {
            let (shared, rng) = (shared.clone(), fastrand::Rng::with_seed(seed ^ n));
            thread::spawn(move || shared.append(n, rng))
        });
        let reads = (0..reading).map(|n| {
            let (shared, rng) = (shared.clone(), fastrand::Rng::with_seed(seed ^ (1 << 32) ^ n));
            thread::spawn(move || shared.read(rng))
        });
        let threads = appends.chain(reads).collect();
        Clients { shared, threads }
    }

    /// How many appends were committed until now.
    pub fn committed(&self) -> u64 {
        self.shared.committed.load(Ordering::SeqCst)
    }

    /// Waits until more than so many are.
    pub fn wait_committed(&self, more_than: u64) {
        let begin = Instant::now();
        while self.committed() <= more_than {
            if begin.elapsed() >= PATIENCE {
                let answers = self.shared.answers.lock().unwrap();
                let members = self.shared.cluster.describe();
                panic!("appends do not commit: the last answers were {answers:#?}\n{members}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends them. All that they and the members' events told; the final logs are still to come.
    pub fn stop(self) -> History {
        self.shared.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut history = std::mem::take(&mut *self.shared.history.lock().unwrap());
        for node in self.shared.cluster.ids() {
            let events = self.shared.cluster.events(node).lock().unwrap();
            history.roles.extend(events.iter().filter_map(|event| role(node, event)));
        }
        history
    }
}

impl Shared {
    fn ns(&self, time: Instant) -> u64 {
        time.duration_since(self.begin).as_nanos() as u64
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Some at once, each with a body of its own, then the answers to all.
    fn append(&self, client: u64, mut rng: fastrand::Rng) {
        let mut count = 0;
        while self.goes_on() {
            let target = self.leader.load(Ordering::SeqCst);
            let Some(process) = self.cluster.process(target) else {
                self.look_elsewhere(target);
                continue;
            };
            let asked: Vec<_> = (0..rng.u64(1..=APPENDS_AT_ONCE))
                .map(|_| {
                    count += 1;
                    let body = format!("{client}/{count} {}", "x".repeat(rng.usize(..400)));
                    let invoked = Instant::now();
                    (process.ask(&format!("append {body}")), body, invoked)
                })
                .collect();
            let until = Instant::now() + ANSWERS_WITHIN;
            let mut redirect = false;
            for (asked, body, invoked) in asked {
                let left = until.saturating_duration_since(Instant::now());
                let answer = asked.recv_timeout(left).ok();
                redirect |= answer.as_ref().is_none_or(|answer| !answer.ok());
                let returned = answer.as_ref().map_or(until, |answer| answer.at);
                let (invoked, returned) = (self.ns(invoked), self.ns(returned));
                let outcome = outcome(answer.as_ref());
                if matches!(outcome, Outcome::Committed { .. }) {
                    self.committed.fetch_add(1, Ordering::SeqCst);
                } else {
                    let last = format!("{answer:?}");
                    self.answers.lock().unwrap().insert(target, last);
                }
                let append = Append { body, invoked, returned, outcome };
                self.history.lock().unwrap().appends.push(append);
            }
            if redirect {
                self.look_elsewhere(target);
            }
        }
    }

    /// Takes the next member for the leader, if nobody else did.
    fn look_elsewhere(&self, target: u64) {
        thread::sleep(Duration::from_millis(10));
        let next = target % self.cluster.ids().end() + 1;
        let _ = self.leader.compare_exchange(target, next, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// A barrier on any member, also one that is paused, and some of what can be read behind it.
    fn read(&self, mut rng: fastrand::Rng) {
        while self.goes_on() {
            thread::sleep(Duration::from_millis(5));
            let node = rng.u64(self.cluster.ids());
            let Some(process) = self.cluster.process(node) else { continue };
            let invoked = self.ns(Instant::now());
            let Ok(answer) = process.ask("readindex 1000").recv_timeout(READS_WITHIN) else {
                continue;
            };
            let Some(index) = answer.number("index") else { continue };
            let barrier = Barrier { invoked, returned: self.ns(answer.at), index };
            self.history.lock().unwrap().barriers.push(barrier);
            if index == 0 {
                continue;
            }
            for index in [index - 1, rng.u64(..index)] {
                let asked = process.ask(&format!("read {index}"));
                let Ok(answer) = asked.recv_timeout(READS_WITHIN) else { continue };
                // What is below the barrier can be read.
                assert!(answer.ok(), "{index} on member {node}: {answer:?}");
                let term = answer.number("term").unwrap();
                let seen = Seen { index, term, body: answer.body().to_owned() };
                self.history.lock().unwrap().seen.push(seen);
            }
        }
    }
}

/// What the answer says of an append; no answer says nothing.
pub fn outcome(answer: Option<&Answer>) -> Outcome {
    let Some(answer) = answer else { return Outcome::Unknown };
    if answer.ok() {
        let (index, term) = (answer.number("index").unwrap(), answer.number("term").unwrap());
        return Outcome::Committed { index, term };
    }
    match answer.number("maybe") {
        Some(0) => Outcome::Never,
        Some(1) => Outcome::Unknown,
        _ => panic!("an append that ends with {answer:?}"),
    }
}

fn role(node: u64, event: &str) -> Option<Role> {
    let fields = event.strip_prefix("role=")?;
    let term = fields.split(' ').find_map(|field| field.strip_prefix("term="))?;
    Some(Role { node, term: term.parse().unwrap(), leads: fields.starts_with("leader ") })
}

const APPENDS_AT_ONCE: u64 = 16;
/// Then a client takes the outcome for unknown, and looks for another leader.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const READS_WITHIN: Duration = Duration::from_secs(5);
