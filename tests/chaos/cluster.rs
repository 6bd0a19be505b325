//! A group of processes, each of which sees the others through links of its own.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::checker::Log;
use crate::process::{Answer, Events, PATIENCE, Process};
use crate::proxy::{Link, Mode};
use crate::pulse;

/// The members of a group, numbered from 1. Those that run can be asked by several threads.
pub struct Cluster {
    dir: tempfile::TempDir,
    options: Vec<String>,
    slots: Vec<Slot>,
    links: HashMap<(u64, u64), Link>,
}

struct Slot {
    address: SocketAddr,
    events: Events,
    process: RwLock<Option<Arc<Process>>>,
    paused: Mutex<bool>,
    /// No member any more, and gone.
    retired: AtomicBool,
}

/// Who leads, since when in a wait.
#[derive(Clone, Copy, Debug)]
pub struct Led {
    pub leader: u64,
    pub term: u64,
    /// How long it took, without what the machine did not let us run.
    pub after: Duration,
}

impl Cluster {
    /// So many members, not started, with links between them; `options` are set for each.
    pub fn new(count: usize, options: &[&str]) -> Cluster {
        let slots: Vec<Slot> = (0..count).map(|_| Slot::new()).collect();
        let mut links = HashMap::new();
        for from in 1..=count {
            for to in (1..=count).filter(|to| *to != from) {
                links.insert((from as u64, to as u64), Link::new(slots[to - 1].address));
            }
        }
        let options = QUICK.iter().chain(options).map(|option| (*option).to_owned()).collect();
        Cluster { dir: tempfile::tempdir().unwrap(), options, slots, links }
    }

    /// The same, started and led.
    pub fn started(count: usize, options: &[&str]) -> Cluster {
        let cluster = Cluster::new(count, options);
        cluster.ids().for_each(|id| cluster.start(id));
        cluster.wait_leader();
        cluster
    }

    pub fn ids(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.slots.len() as u64
    }

    /// Those that did not [`retire`](Cluster::retire).
    fn kept(&self) -> impl Iterator<Item = u64> {
        self.ids().filter(|id| !self.slot(*id).retired.load(Ordering::SeqCst))
    }

    /// Asks one to leave that is no member any more: its log is not looked at.
    pub fn retire(&self, id: u64) {
        self.slot(id).retired.store(true, Ordering::SeqCst);
        self.quit(id);
    }

    /// Starts a member; nothing if it runs.
    pub fn start(&self, id: u64) {
        self.start_with(id, &[]);
    }

    /// The same, with more options.
    pub fn start_with(&self, id: u64, more: &[String]) {
        let mut process = self.slot(id).process.write().unwrap();
        if process.is_none() {
            let options = [self.own_options(id), more.to_vec()].concat();
            let (stderr, events) = (self.dir.path().join(format!("{id}.err")), self.events(id));
            let hangs = self.hangs(id);
            *process = Some(Arc::new(Process::start(&options, &stderr, &hangs, events)));
        }
    }

    /// What a member sees of the others goes through links.
    fn own_options(&self, id: u64) -> Vec<String> {
        let all = self.ids().map(|id| format!("{id}@{}", self.slot(id).address));
        let others = self.ids().filter(|other| *other != id);
        let others = others.map(|to| format!("{to}@{}", self.links[&(id, to)].address()));
        let (all, others): (Vec<_>, Vec<_>) = (all.collect(), others.collect());
        let mut options = self.options.clone();
        options.push(format!("dir={}", self.dir_of(id).display()));
        options.push(format!("node.id={id}"));
        options.push(format!("node.listen={}", self.slot(id).address));
        options.push(format!("members={}", all.join(",")));
        if !others.is_empty() {
            options.push(format!("member.addresses={}", others.join(",")));
        }
        options
    }

    pub fn dir_of(&self, id: u64) -> PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub fn address(&self, id: u64) -> SocketAddr {
        self.slot(id).address
    }

    pub fn events(&self, id: u64) -> &Events {
        &self.slot(id).events
    }

    /// The process of a member, if it runs.
    pub fn process(&self, id: u64) -> Option<Arc<Process>> {
        self.slot(id).process.read().unwrap().clone()
    }

    /// The same, of one that must run.
    pub fn member(&self, id: u64) -> Arc<Process> {
        self.process(id).unwrap()
    }

    /// kill -9. Nothing if it does not run.
    pub fn kill(&self, id: u64) {
        *self.slot(id).paused.lock().unwrap() = false;
        if let Some(process) = self.slot(id).process.write().unwrap().take() {
            process.kill();
        }
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, id: u64, pause: bool) {
        let mut paused = self.slot(id).paused.lock().unwrap();
        if *paused != pause
            && let Some(process) = self.process(id)
        {
            process.pause(pause);
            *paused = pause;
        }
    }

    /// From now on no sync of a member's data returns, or each that hangs goes on.
    pub fn hang(&self, id: u64, hang: bool) {
        let file = self.hangs(id);
        let _ = if hang { fs::write(file, "") } else { fs::remove_file(file) };
    }

    fn hangs(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("{id}.hangs"))
    }

    /// What the link of `from` to `to` does from now on.
    pub fn link(&self, from: u64, to: u64, mode: Mode) {
        self.links[&(from, to)].set(mode);
    }

    /// All links of a member, both ways.
    pub fn isolate(&self, id: u64, mode: Mode) {
        for other in self.ids().filter(|other| *other != id) {
            self.link(id, other, mode);
            self.link(other, id, mode);
        }
    }

    /// All run, no disk hangs, and all links pass.
    pub fn heal(&self) {
        self.links.values().for_each(|link| link.set(Mode::Pass));
        for id in self.ids() {
            self.hang(id, false);
            self.pause(id, false);
            self.start(id);
        }
    }

    /// The state of a member; none if it does not run, or was killed before it answered.
    pub fn state(&self, id: u64) -> Option<Answer> {
        if *self.slot(id).paused.lock().unwrap() {
            return None;
        }
        self.process(id)?.try_call("state").filter(Answer::ok)
    }

    /// Who leads, if its term is the highest and it is ready.
    pub fn leader(&self) -> Option<(u64, u64)> {
        let states = self.ids().filter_map(|id| Some((id, self.state(id)?)));
        let (id, state) = states.max_by_key(|(_, state)| {
            (state.number("term"), state.field("role") == Some("leader"))
        })?;
        let leads = state.field("role") == Some("leader") && state.number("ready") == Some(1);
        leads.then(|| (id, state.number("term").unwrap()))
    }

    /// Waits until one leads.
    pub fn wait_leader(&self) -> Led {
        let (begin, lost) = (Instant::now(), pulse::lost());
        loop {
            if let Some((leader, term)) = self.leader() {
                let after = begin.elapsed().saturating_sub(pulse::lost() - lost);
                return Led { leader, term, after };
            }
            assert!(begin.elapsed() < PATIENCE, "nobody leads:\n{}", self.describe());
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `is` holds, or panics with how things are.
    pub fn wait(&self, what: &str, mut is: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < PATIENCE, "waited for {what}:\n{}", self.describe());
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all members have committed the same, all that any has appended.
    pub fn settle(&self) -> u64 {
        let mut committed = 0;
        self.wait("equal logs", || {
            let states: Option<Vec<_>> = self.kept().map(|id| self.state(id)).collect();
            let Some(states) = states else { return false };
            let ends = states.iter().flat_map(|s| [s.number("committed"), s.number("end")]);
            let ends: Vec<_> = ends.map(Option::unwrap).collect();
            committed = ends[0];
            ends.iter().all(|end| *end == committed)
        });
        committed
    }

    /// Deletes on each member what all have committed, for the room on the disk, and waits until the
    /// disk is done with it: a file system that discards what is free does nothing else meanwhile.
    pub fn forget(&self) {
        let committed = self.settle();
        self.kept()
            .for_each(|id| assert!(self.member(id).call(&format!("prefix {committed}")).ok()));
        let files = |id| fs::read_dir(self.dir_of(id).join("data")).unwrap().count();
        self.wait("files to be gone", || self.kept().all(|id| files(id) <= FEW_FILES));
        assert!(Command::new("sync").status().unwrap().success());
    }

    /// Settles, and reads the log of each member.
    pub fn logs(&self) -> Vec<Log> {
        let committed = self.settle();
        self.kept().map(|id| read_log(id, &self.member(id), committed)).collect()
    }

    /// Settles, stops all, and compares their data files byte for byte up to the committed position.
    pub fn finish(&self) {
        self.settle();
        let kept: Vec<u64> = self.kept().collect();
        let position = self.state(kept[0]).unwrap().number("committed_pos").unwrap();
        kept.iter().for_each(|id| self.quit(*id));
        let first = data(&self.dir_of(kept[0]), position);
        for id in &kept[1..] {
            let other = data(&self.dir_of(*id), position);
            let differs = first.iter().zip(&other).position(|(a, b)| a != b);
            assert_eq!(differs, None, "members {} and {id} differ below {position}", kept[0]);
            assert_eq!(first.len(), other.len(), "members {} and {id}", kept[0]);
        }
    }

    /// Asks a member that runs to leave.
    pub fn quit(&self, id: u64) {
        self.slot(id).process.write().unwrap().take().unwrap().quit();
    }

    /// How all members are, for a message.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for id in self.ids() {
            let state = self.state(id).map(|answer| answer.text);
            let events = self.events(id).lock().unwrap();
            let last = &events[events.len().saturating_sub(6)..];
            let errors = self.process(id).map_or(String::new(), |process| process.errors());
            text += &format!("member {id}: {state:?}\n  last events {last:?}\n{errors}");
        }
        text
    }

    fn slot(&self, id: u64) -> &Slot {
        &self.slots[id as usize - 1]
    }
}

impl Slot {
    fn new() -> Slot {
        let (process, paused) = (RwLock::new(None), Mutex::new(false));
        let (events, retired) = (Events::default(), AtomicBool::new(false));
        Slot { address: free_address(), events, process, paused, retired }
    }
}

/// An address that nothing else takes while its process is away: each test process has an address
/// of loopback for itself.
pub fn free_address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(10_000);
    let pid = std::process::id().to_be_bytes();
    let port = PORT.fetch_add(1, Ordering::SeqCst);
    SocketAddr::from(([127, 64 | pid[1] & 63, pid[2], pid[3]], port))
}

/// All of a member's log, by reading it: some thousand questions at a time.
fn read_log(node: u64, member: &Process, committed: u64) -> Log {
    let begin = member.call("state").number("begin").unwrap();
    let mut records = Vec::new();
    for from in (begin..committed).step_by(4_096) {
        let to = committed.min(from + 4_096);
        let asked: Vec<_> = (from..to).map(|i| member.ask(&format!("read {i}"))).collect();
        for (asked, index) in asked.into_iter().zip(from..) {
            let answer = asked.recv_timeout(PATIENCE).unwrap();
            assert!(answer.ok(), "{index} on member {node}: {answer:?}");
            let (index, term) = (answer.number("index").unwrap(), answer.number("term").unwrap());
            records.push((index, term, answer.body().to_owned()));
        }
    }
    Log { node, records }
}

/// The bytes of the data files from the first one on, up to `position`.
fn data(dir: &Path, position: u64) -> Vec<u8> {
    let files = fs::read_dir(dir.join("data")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let begin = files.first().map_or(position, |path| name(path));
    let mut bytes = Vec::new();
    for file in files {
        assert_eq!(name(&file), begin + bytes.len() as u64, "a data file is missing");
        bytes.extend(fs::read(&file).unwrap());
    }
    bytes.truncate((position - begin) as usize);
    bytes
}

/// An election timeout.
pub const ELECTION: Duration = Duration::from_millis(300);
/// Data files of a log that has next to nothing: what it writes to, and what it has ready.
const FEW_FILES: usize = 4;
/// What all members of these tests have.
const QUICK: [&str; 5] = [
    "election.timeout=300ms",
    "heartbeat.interval=50ms",
    "segment.bytes=256KiB",
    "index.segment.bytes=64KiB",
    "checkpoint.interval=500ms",
];
