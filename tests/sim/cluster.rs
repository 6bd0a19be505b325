//! T1 for groups of three and five: whole clusters in one thread, over disks in memory and a
//! network that loses, repeats, delays and reorders messages and cuts links one way. A hostile
//! phase, then a liveness phase: with the faults over there is a leader within ten election
//! timeouts, appends commit, and all logs end byte for byte equal.

mod check;
mod damage;
mod elections;
mod handover;
mod hellos;
mod incarnations;
mod joiners;
mod liveness;
mod lives;
mod membership;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use dledger::commitlog::meta::MemberSet;
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::driver::Next;
use dledger::group::peers::FromPeer;
use dledger::group::shared::{Control, Role};
use dledger::group::{Entry, Token};
use dledger::plant::Plants;
use dledger::types::Index;
use dledger::wire::FrameHeader;

use self::membership::Membership;
use crate::network::{Outlet, Packet, Sent, limits};
use crate::number;
use crate::world::{Open, Settings, body};

/// What an append that was taken came to.
struct Placed {
    member: u64,
    entry: Entry,
    body: Vec<u8>,
    status: Option<Status>,
}

struct Member {
    disk: MemoryDisk,
    open: Option<Open>,
    settings: Settings,
    /// Checked against what is agreed, below it.
    checked: u64,
    /// The highest term it ever showed.
    term: u64,
    /// The members that it last showed.
    set: Arc<MemberSet>,
}

impl Member {
    fn new(disk: MemoryDisk, settings: Settings) -> Member {
        let set = Arc::default();
        Member { disk, open: None, settings, checked: 0, term: 0, set }
    }
}

/// One cluster, from one seed.
pub struct Cluster {
    rng: fastrand::Rng,
    faults: fastrand::Rng,
    network: fastrand::Rng,
    clock: Arc<AtomicU64>,
    members: BTreeMap<u64, Member>,
    sent: Sent,
    flying: Vec<Packet>,
    /// Links that lose everything, by direction.
    cut: BTreeSet<(u64, u64)>,
    /// Connections, by who dialled and may send.
    links: BTreeSet<(u64, u64)>,
    /// Who does nothing while time passes: stopped, or its disk does not come back.
    hung: BTreeSet<u64>,
    /// Whose helper does nothing.
    idle: BTreeSet<u64>,
    /// Who lost its disk.
    wiped: Option<u64>,
    /// Whose bits flip.
    rotten: Option<u64>,
    closed: Arc<AtomicU64>,
    /// What was ever committed anywhere.
    agreed: Vec<(Entry, Vec<u8>)>,
    leaders: HashMap<u64, u64>,
    /// Who voted, by term and candidate, as far as the candidate heard of it.
    votes: HashMap<(u64, u64), BTreeSet<u64>>,
    appends: Vec<Placed>,
    /// How much was agreed, as far as anybody showed, when each read barrier was asked for.
    barriers: Vec<u64>,
    /// Barriers that were answered.
    covered: u64,
    /// Bodies that were refused: they may be nowhere.
    refused: BTreeSet<Vec<u8>>,
    ids: u64,
    lives: u64,
    membership: Membership,
    power_cuts: bool,
    print: bool,
    hash: DefaultHasher,
}

impl Cluster {
    pub fn new(seed: u64, plants: Plants) -> Cluster {
        let mut streams = fastrand::Rng::with_seed(seed);
        let mut rng = streams.fork();
        let (faults, network) = (streams.fork(), streams.fork());
        let asks = streams.fork();
        let count = *rng.choice(&[3, 3, 3, 5]).unwrap();
        let segment_bytes = *rng.choice(&[4_096, 16_384, 65_536]).unwrap();
        let index_bytes = *rng.choice(&[4_096u64, 65_536]).unwrap();
        let flush = if rng.u8(..) < 180 { "commit" } else { "10ms" };
        let settings = |node| Settings {
            segment_bytes,
            index_bytes,
            flush,
            unsynced_max: 64 << 10,
            plants,
            node,
            members: count,
        };
        let membership = Membership::new(asks, count);
        let rots = streams.fork().u8(..) < 85 && !membership.changing;
        let spare = membership.out.len() as u64;
        let member = |node| Member::new(MemoryDisk::new(), settings(node));
        Cluster {
            rng,
            faults,
            network,
            clock: Arc::new(AtomicU64::new(1_000_000)),
            members: (1..=count + spare).map(|node| (node, member(node))).collect(),
            sent: Sent::default(),
            flying: Vec::new(),
            cut: BTreeSet::new(),
            links: BTreeSet::new(),
            hung: BTreeSet::new(),
            idle: BTreeSet::new(),
            wiped: None,
            rotten: rots.then_some(1 + seed % count),
            closed: Arc::default(),
            agreed: Vec::new(),
            leaders: HashMap::new(),
            votes: HashMap::new(),
            appends: Vec::new(),
            barriers: Vec::new(),
            covered: 0,
            refused: BTreeSet::new(),
            ids: 0,
            lives: seed << 20,
            membership,
            // Who acknowledges before the sync keeps what it said through a kill only.
            power_cuts: flush == "commit",
            print: std::env::var_os("SIM_TRACE").is_some(),
            hash: DefaultHasher::new(),
        }
    }

    /// The whole run. Answers a digest of all that happened.
    pub fn run(mut self, steps: u64) -> u64 {
        for id in self.ids_of_members() {
            self.restart(id);
        }
        for _ in 0..steps {
            self.step();
            self.check();
        }
        let hostile = self.agreed.len();
        self.heal();
        if std::env::var_os("SIM_STATS").is_some() {
            let ok = self.appends.iter().filter(|p| p.status == Some(Status::Ok)).count();
            let begins: Vec<u64> = self
                .members
                .values()
                .filter_map(|m| m.open.as_ref())
                .map(|open| open.shared.state().begin.index.0)
                .collect();
            eprintln!(
                "{} members, {} terms led, {hostile} agreed in the hostile phase, {} in all, {} appends, {ok} acknowledged, {} of {} barriers answered, begins {begins:?}",
                self.members.len(),
                self.leaders.len(),
                self.agreed.len(),
                self.appends.len(),
                self.covered,
                self.barriers.len()
            );
        }
        self.hash.finish()
    }

    fn ids_of_members(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    fn note(&mut self, what: impl std::fmt::Debug) {
        if self.print {
            eprintln!("{what:?}");
        }
        format!("{what:?}").hash(&mut self.hash);
    }

    fn any(&mut self) -> u64 {
        self.rng.u64(1..=self.members.len() as u64)
    }

    fn open(&mut self, id: u64) -> Option<&mut Open> {
        self.members.get_mut(&id).and_then(|member| member.open.as_mut())
    }

    fn step(&mut self) {
        let id = self.any();
        if self.membership.asks() {
            self.ask_something();
        }
        match self.rng.u32(..1000) {
            0..120 => self.append(id),
            120..416 => self.turn(id),
            416..420 => self.rot(),
            420..480 => drop(self.open(id).map(|open| open.work())),
            480..560 => self.deliver(id),
            560..760 => self.fly(),
            760..860 => self.tick(),
            860..900 => self.calm(),
            900..910 => self.split(),
            910..930 => self.mend(),
            930..938 => self.kill(id),
            938..946 => self.power_cut(id),
            946..948 => self.all_lose_power(),
            948..975 => self.restart(id),
            975..988 => self.read_index(id),
            988..990 => self.depose(),
            990..993 => self.purge(id),
            993..995 => self.fail_a_sync(id),
            995..997 => self.fail_at_a_write(id),
            // Who loses all, and who loses some, could be all that had something.
            997 if self.rotten.is_none() && self.faults.u8(..) < 60 => self.wipe(id),
            998 => self.fall_behind(id),
            _ => self.lose(),
        }
    }

    fn append(&mut self, id: u64) {
        let len = if self.rng.u32(..10) < 8 {
            self.rng.usize(8..200)
        } else {
            self.rng.usize(200..2_500)
        };
        let timeout = (self.rng.u32(..20) == 0).then(|| Duration::from_millis(self.rng.u64(1..50)));
        self.ids += 1;
        let body = body(self.ids, len);
        let Some(open) = self.open(id) else { return };
        match open.append(&body, timeout) {
            Ok(entry) => {
                self.note(("append", id, entry));
                self.appends.push(Placed { member: id, entry, body, status: None });
            }
            Err(status) => {
                self.note(("refused", id, status));
                self.refused.insert(body);
            }
        }
    }

    fn turn(&mut self, id: u64) {
        let Some(open) = self.open(id) else { return };
        let next = open.turn();
        self.note(("turn", id, next));
        self.check_turned(id, next);
        self.take_sent();
    }

    fn take_sent(&mut self) {
        self.flying.append(&mut self.sent.0.lock().unwrap());
    }

    fn deliver(&mut self, id: u64) {
        let Some(open) = self.open(id) else { return };
        open.delivery.run(0);
        self.hear(id);
    }

    /// What became of appends.
    fn hear(&mut self, id: u64) {
        let Some(open) = self.open(id) else { return };
        let told = std::mem::take(&mut *open.told.0.lock().unwrap());
        for (which, status, index) in told.barriers {
            self.note(("barrier", id, which, status, index));
            if status == Status::Ok {
                self.covered += 1;
                let least = self.barriers[which];
                assert!(index.0 >= least, "member {id} reads at {index}, {least} were agreed");
            }
        }
        for c in told.completions {
            let placed = self
                .appends
                .iter_mut()
                .rev()
                .find(|p| (p.member, p.entry.index, p.entry.term) == (id, c.index, c.term));
            let placed = placed.expect("it was appended here");
            assert_eq!(placed.status, None, "{:?} ends twice", placed.entry);
            placed.status = Some(c.status);
            let (entry, body) = (placed.entry, placed.body.clone());
            self.note(("ended", id, entry, c.status));
            if c.status == Status::Ok {
                self.check_open(id);
                let agreed = self.agreed.get(entry.index.0 as usize);
                assert_eq!(agreed, Some(&(entry, body)), "acknowledged and not agreed");
            }
        }
    }

    /// One packet arrives, mostly in order.
    fn fly(&mut self) {
        for _ in 0..self.network.usize(1..8) {
            if self.flying.is_empty() {
                return;
            }
            let near = self.flying.len().min(if self.network.u8(..) < 220 { 1 } else { 20 });
            let at = self.network.usize(..near);
            let again = self.network.u32(..60) == 0;
            let packet = if again { self.flying[at].clone() } else { self.flying.remove(at) };
            self.arrive(packet);
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, head, raw } = packet;
        if self.cut.contains(&(from, to)) || !self.stands(from, to) {
            if let Some(open) = self.open(from) {
                open.shared.post_peer(FromPeer::Lost { id: to });
            }
            return;
        }
        let (fixed, rest) = head.split_first_chunk().unwrap();
        let header = FrameHeader::decode(fixed, &limits()).expect("our own frame");
        let message = header.message(rest).expect("our own message");
        self.note(("arrives", from, to, &message));
        self.count_vote(from, to, &message);
        if let Some(open) = self.open(to) {
            open.shared.post_peer(FromPeer::Message { from, message: Box::new(message), raw });
        }
    }

    /// Some packets never arrive, and the sender may hear of it.
    fn lose(&mut self) {
        let keep = self.network.u32(..4);
        let (network, mut lost) = (&mut self.network, Vec::new());
        self.flying.retain(|packet| {
            let kept = network.u32(..4) < keep;
            if !kept {
                lost.push((packet.from, packet.to));
            }
            kept
        });
        for (from, to) in lost {
            if let Some(open) = self.open(from) {
                open.shared.post_peer(FromPeer::Lost { id: to });
            }
        }
    }

    fn tick(&mut self) {
        let ms = *self.rng.choice(&[1, 5, 20, 20, 20, 50, 120]).unwrap();
        self.pass(ms);
    }

    fn pass(&mut self, ms: u64) {
        let now = self.clock.fetch_add(ms * 1_000_000, Ordering::Relaxed);
        for member in self.members.values() {
            member.disk.set_now_ms(now / 1_000_000);
        }
    }

    /// For a while everybody does what there is to do, over the links that there are.
    fn calm(&mut self) {
        for _ in 0..self.rng.usize(1..12) {
            self.round(20);
            if let Some(leader) = self.ready_leader() {
                self.append(leader);
            }
        }
    }

    /// Cuts links: between two parts, or some of them one way.
    fn split(&mut self) {
        let ids = self.ids_of_members();
        if self.network.bool() {
            let (a, b): (Vec<u64>, Vec<u64>) = ids.iter().partition(|_| self.network.bool());
            let pairs = a.iter().flat_map(|a| b.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
            self.cut = pairs.collect();
        } else {
            for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
                if a != b && self.network.u32(..4) == 0 {
                    self.cut.insert((a, b));
                }
            }
        }
        let cut = self.cut.clone();
        self.note(("cut", cut));
    }

    fn mend(&mut self) {
        for (from, to) in std::mem::take(&mut self.cut) {
            self.meet(from, to);
        }
        self.dial();
    }

    fn read_index(&mut self, id: u64) {
        let deadline = self.clock.load(Ordering::Relaxed) + 3_000_000_000;
        let token = Token { call: 0, user_data: self.barriers.len() };
        let Some(open) = self.open(id) else { return };
        if open.shared.ask_read_index(token, deadline).is_ok() {
            self.barriers.push(self.agreed.len() as u64);
        }
    }

    fn purge(&mut self, id: u64) {
        let Some(open) = self.open(id) else { return };
        let committed = open.shared.committed();
        let index = self.rng.u64(0..=committed.0);
        if self.rotten.is_some() {
            return;
        }
        self.open(id).unwrap().shared.ask(Control::DeletePrefix(Index(index)));
    }

    fn fail_a_sync(&mut self, id: u64) {
        let n = self.faults.u64(1..4);
        if self.open(id).is_some() {
            self.members[&id].disk.fail_sync(n);
        }
    }

    /// A member is away while the others purge what it lacks. When it is reset it may die of it.
    fn fall_behind(&mut self, id: u64) {
        let others: Vec<u64> = self.ids_of_members().into_iter().filter(|o| *o != id).collect();
        self.cut = others.iter().flat_map(|other| [(id, *other), (*other, id)]).collect();
        for _ in 0..60 {
            self.round(20);
            if let Some(leader) = self.ready_leader() {
                (0..8).for_each(|_| self.append(leader));
            }
        }
        for other in others {
            let committed = self.open(other).map(|open| open.shared.committed());
            if let Some(committed) = committed.filter(|_| self.rotten.is_none()) {
                self.open(other).unwrap().shared.ask(Control::DeletePrefix(committed));
            }
        }
        self.round(20);
        self.mend();
        self.fail_at_a_write(id);
        (0..20).for_each(|_| self.round(20));
    }

    /// At some later write the process is gone, or the power, as the next step says that it dies.
    fn fail_at_a_write(&mut self, id: u64) {
        let n = self.faults.u64(..60);
        if self.open(id).is_some() {
            self.members[&id].disk.fail_after_ops(n);
        }
    }

    fn ready_leader(&self) -> Option<u64> {
        let leads = |m: &Member| {
            let state = m.open.as_ref().map(|open| open.shared.state());
            state.is_some_and(|s| s.role == Role::Leader && s.ready)
        };
        self.members.iter().find(|(_, m)| leads(m)).map(|(id, _)| *id)
    }

    /// Lets time pass without faults until `done`, for so many milliseconds at most.
    fn until<T>(&mut self, ms: u64, done: impl Fn(&Cluster) -> Option<T>) -> Option<T> {
        for _ in 0..ms / 5 {
            self.round(5);
            self.check();
            if let Some(done) = done(self) {
                return Some(done);
            }
        }
        None
    }

    /// Time passes, everybody does what there is to do, and what was sent arrives.
    fn round(&mut self, ms: u64) {
        self.work(ms);
        for packet in std::mem::take(&mut self.flying) {
            self.arrive(packet);
        }
    }

    /// Time passes and everybody does what there is to do.
    fn work(&mut self, ms: u64) {
        self.pass(ms);
        self.dial();
        for id in self.ids_of_members() {
            if self.hung.contains(&id) {
                continue;
            }
            let idle = self.idle.contains(&id);
            for _ in 0..50 {
                let Some(open) = self.open(id) else { break };
                let next = open.turn();
                let worked = !idle && open.work();
                self.check_turned(id, next);
                // Before another turn purges what this one committed.
                self.check_open(id);
                if !worked && matches!(next, Next::At(_) | Next::Over) {
                    break;
                }
            }
            self.take_sent();
            self.deliver(id);
        }
    }
}

/// `CLUSTER_SEEDS` clusters, each run twice: the same seed is the same run. With `SIM_TIMES=1` once,
/// to see more of them in the time.
#[test]
fn clusters() {
    let first = number("SIM_FIRST", 0);
    let steps = number("SIM_STEPS", 1_500);
    for seed in first..first + number("CLUSTER_SEEDS", 40) {
        let _seed = crate::Seed(seed);
        let digest = Cluster::new(seed, Plants::NONE).run(steps);
        for _ in 1..number("SIM_TIMES", 2) {
            assert_eq!(digest, Cluster::new(seed, Plants::NONE).run(steps), "seed {seed} differs");
        }
    }
}
