//! Transfers of the leadership and changes of the members while everything else goes wrong: what is
//! asked, the hello that stands between members, and what must hold.

use dledger::commitlog::meta::MemberSet;
use dledger::group::waiters::Slot;
use dledger::group::{MemberChange, MemberOp};

use super::*;

/// Something that the group thread was asked for.
struct Asked {
    member: u64,
    slot: Arc<Slot>,
    deadline: u64,
    what: String,
}

/// What is known of the members of a cluster.
pub struct Membership {
    rng: fastrand::Rng,
    /// Whether this seed changes anything.
    pub changing: bool,
    /// Never added, and not started.
    pub out: BTreeSet<u64>,
    /// `node.priority`, where it is not 0.
    priorities: BTreeMap<u64, u32>,
    /// Whom a member was told of when it was born to be added.
    born: BTreeMap<u64, Vec<u64>>,
    /// Each set that was ever in force, by its Raft entry: voters, old voters, learners, and
    /// those that become learners.
    sets: BTreeMap<u64, [Vec<u64>; 4]>,
    asked: Vec<Asked>,
    /// How each thing that was asked for ended.
    ends: BTreeMap<String, u64>,
}

impl Membership {
    pub fn new(mut rng: fastrand::Rng, founders: u64) -> Membership {
        let changing = rng.u32(..3) == 0;
        let prefers = changing && rng.bool();
        let spare = founders + 1..=founders + 2;
        Membership {
            changing,
            out: if changing { spare.collect() } else { BTreeSet::new() },
            priorities: (1..=founders + 2)
                .filter(|_| prefers)
                .map(|id| (id, rng.u32(..3)))
                .collect(),
            rng,
            born: BTreeMap::new(),
            sets: BTreeMap::new(),
            asked: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Nothing changes but what a scenario asks for.
    pub fn still() -> Membership {
        Membership {
            changing: false,
            out: BTreeSet::new(),
            priorities: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(0),
            born: BTreeMap::new(),
            sets: BTreeMap::new(),
            asked: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Member 1 alone founds the group; all others may be added.
    pub fn of_one() -> Membership {
        let born = BTreeMap::from([(1, vec![1])]);
        Membership { out: (2..=5).collect(), born, ..Membership::still() }
    }

    /// Whether something is asked for now.
    pub fn asks(&mut self) -> bool {
        self.changing && self.rng.u32(..12) == 0
    }

    pub fn priority(&self, id: u64) -> u32 {
        self.priorities.get(&id).copied().unwrap_or(0)
    }

    /// The options that a member has beyond those of all.
    pub fn options(&self, id: u64) -> Vec<(&'static str, String)> {
        let mut options = vec![("node.priority", self.priority(id).to_string())];
        if let Some(born) = self.born.get(&id) {
            let listed: Vec<_> = born.iter().map(|id| format!("{id}@127.0.0.1:{id}")).collect();
            options.push(("members", listed.join(",")));
            options.push(("node.listen", format!("127.0.0.1:{id}")));
        }
        options
    }

    /// Everybody in the last set that anybody showed.
    pub fn last(&self) -> Option<BTreeSet<u64>> {
        self.sets.last_key_value().map(|(_, set)| set.iter().flatten().copied().collect())
    }

    fn learners(&self) -> Vec<u64> {
        self.sets.last_key_value().map(|(_, [_, _, l, _])| l.clone()).unwrap_or_default()
    }

    fn voters(&self) -> Vec<u64> {
        self.sets.last_key_value().map(|(_, [voters, ..])| voters.clone()).unwrap_or_default()
    }
}

impl Cluster {
    /// One thing, asked of some member; mostly of one that leads.
    pub(super) fn ask_something(&mut self) {
        let leaders: Vec<u64> = self.leading();
        let rng = &mut self.membership.rng;
        let any = rng.u64(1..=self.members.len() as u64);
        let of = if rng.u32(..10) == 0 { Some(any) } else { rng.choice(&leaders).copied() };
        let whom = rng.u64(0..=self.members.len() as u64);
        let wait = if rng.u32(..4) == 0 { rng.u64(0..300) } else { rng.u64(3_000..8_000) };
        let op = rng.u32(..20);
        let learners = self.membership.learners();
        let learner = self.membership.rng.choice(&learners).copied().unwrap_or(whom);
        let Some(of) = of else { return };
        match op {
            0..2 => return self.ask_transfer(of, whom, wait),
            2..8 => self.add(of, whom, wait),
            8..10 => drop(self.ask_change(of, &[(MemberOp::Remove, whom)], wait)),
            10..12 => drop(self.ask_change(of, &[(MemberOp::Demote, whom)], wait)),
            12..17 => drop(self.ask_change(of, &[(MemberOp::Promote, learner)], wait)),
            _ => self.ask_several(of, wait),
        }
        // Not every change is to meet a fault before it has begun.
        if self.membership.rng.bool() {
            self.calm();
        }
    }

    fn ask_several(&mut self, of: u64, wait: u64) {
        let count = self.members.len() as u64;
        let rng = &mut self.membership.rng;
        let mut asked: Vec<(MemberOp, u64)> = Vec::new();
        let one = *rng.choice(&[MemberOp::Move, MemberOp::Promote]).unwrap();
        for id in 1..=count {
            let mixed = [MemberOp::Promote, MemberOp::Demote, MemberOp::Remove];
            let op = if one == MemberOp::Move { one } else { *rng.choice(&mixed).unwrap() };
            if rng.bool() && id != of {
                asked.push((op, id));
            }
        }
        self.ask_change(of, &asked, wait);
    }

    pub(super) fn leading(&self) -> Vec<u64> {
        let leads = |m: &Member| m.open.as_ref().is_some_and(|o| o.shared.state().ready);
        self.members.iter().filter(|(_, m)| leads(m)).map(|(id, _)| *id).collect()
    }

    pub(super) fn ask_transfer(&mut self, of: u64, to: u64, wait_ms: u64) {
        let (slot, deadline) = (Arc::new(Slot::default()), self.deadline(wait_ms));
        let Some(open) = self.open(of) else { return };
        open.shared.ask(Control::Transfer { slot: slot.clone(), to, deadline });
        self.membership.asked.push(Asked { member: of, slot, deadline, what: "transfer".into() });
        self.note(("transfer", of, to, wait_ms));
    }

    pub(super) fn ask_change(
        &mut self,
        of: u64,
        changes: &[(MemberOp, u64)],
        wait_ms: u64,
    ) -> Option<Arc<Slot>> {
        let (slot, deadline) = (Arc::new(Slot::default()), self.deadline(wait_ms));
        let change = |(op, id): &(MemberOp, u64)| {
            let needs = matches!(op, MemberOp::AddLearner | MemberOp::Move);
            let address = needs.then(|| format!("127.0.0.1:{id}"));
            MemberChange { op: *op, id: *id, address }
        };
        let changes: Vec<MemberChange> = changes.iter().map(change).collect();
        let what = match &changes[..] {
            [one] => format!("{:?}", one.op),
            _ => "several".into(),
        };
        dledger::group::changes::check_call(&changes).ok()?;
        let open = self.open(of)?;
        let control = Control::Change { slot: slot.clone(), changes: changes.clone(), deadline };
        open.shared.ask(control);
        self.membership.asked.push(Asked { member: of, slot: slot.clone(), deadline, what });
        self.note(("change", of, changes, wait_ms));
        Some(slot)
    }

    fn deadline(&self, wait_ms: u64) -> u64 {
        self.clock.load(Ordering::Relaxed) + wait_ms * 1_000_000 + 1
    }

    /// A member that is in no set starts empty, under a new incarnation, and waits to be added.
    pub(super) fn add(&mut self, of: u64, id: u64, wait_ms: u64) {
        let known =
            self.membership.last().unwrap_or_else(|| self.members.keys().copied().collect());
        if id == of || known.contains(&id) || !self.members.contains_key(&id) {
            return;
        }
        self.be_born(id);
        self.ask_change(of, &[(MemberOp::AddLearner, id)], wait_ms);
    }

    /// A member starts empty, is told of those that are members now, and waits to be added.
    pub(super) fn be_born(&mut self, id: u64) {
        let known =
            self.membership.last().unwrap_or_else(|| self.members.keys().copied().collect());
        self.die(id, MemoryDisk::new(), "a fresh disk");
        self.flying.retain(|packet| packet.from != id && packet.to != id);
        let member = self.members.get_mut(&id).unwrap();
        (member.term, member.checked) = (0, 0);
        self.membership.out.remove(&id);
        self.membership.born.insert(id, known.into_iter().collect());
        self.start(id);
    }

    /// After each turn of a member: what its time is over for has been answered, and appends are
    /// refused exactly as long as a transfer of this leadership is under way.
    pub(super) fn check_turned(&mut self, id: u64, next: Next) {
        let now = self.clock.load(Ordering::Relaxed);
        let Some(open) = self.open(id) else { return };
        // A turn that fails answers in the next one, which comes at once.
        let fails = next == Next::Now && open.shared.failure().is_some();
        let refuses = open.shared.transferring.load(Ordering::SeqCst);
        assert_eq!(refuses, open.driver.hands_over(), "member {id} refuses appends for nothing");
        let mut ended = Vec::new();
        self.membership.asked.retain(|asked| {
            let answer = asked.slot.look(Duration::ZERO);
            let late = asked.member == id && asked.deadline <= now && !fails;
            assert!(answer.is_some() || !late, "{} of member {id} was not answered", asked.what);
            ended.extend(answer.map(|(status, _)| format!("{} {status:?}", asked.what)));
            answer.is_none()
        });
        for end in ended {
            *self.membership.ends.entry(end.clone()).or_default() += 1;
            self.note(end);
        }
    }

    /// A member is gone, and with it whoever waited for its answers.
    pub(super) fn forget_asked(&mut self, id: u64) {
        self.membership.asked.retain(|asked| asked.member != id);
    }

    /// One set for each Raft entry, whoever shows it; and only voters stand for election and lead.
    pub(super) fn check_members(&mut self, id: u64) {
        let Some(open) = self.open(id) else { return };
        let (set, state) = (open.shared.members(), open.shared.state());
        // Who was born to be added shows what it was told at its birth, until it is told more.
        let waits = set.raft_index.0 == 0 && set.members.iter().all(|member| member.id != id);
        let parts = [
            set.voters.clone(),
            set.voters_outgoing.clone(),
            set.learners.clone(),
            set.learners_next.clone(),
        ];
        if !waits {
            let known = self.membership.sets.entry(set.raft_index.0).or_insert(parts.clone());
            assert_eq!(known, &parts, "member {id}, Raft entry {}", set.raft_index);
        }
        if matches!(state.role, Role::Leader | Role::Candidate) {
            assert!(votes(&set, id), "member {id} is {:?} in {set:?}", state.role);
        }
    }

    // ---- the liveness phase -------------------------------------------------------------------

    /// What was asked for ends; then appends commit, and all members of the last set have them.
    pub(super) fn heal_members(&mut self) {
        self.until(10_000, Cluster::settled_leader).expect("a leader that settles");
        let mut last = 0;
        for _ in 0..5 {
            last = self.append_at_last();
        }
        self.all_members_come_to(last);
        self.check_final_members();
        self.check();
        self.check_final();
    }

    /// A leader whose set is the last one, when nothing is under way any more.
    fn settled_leader(&self) -> Option<u64> {
        let (last, [_, outgoing, ..]) = self.membership.sets.last_key_value()?;
        let leader = self.ready_leader()?;
        let set = self.members[&leader].open.as_ref()?.shared.members();
        let settled = outgoing.is_empty() && set.raft_index.0 == *last;
        (settled && self.membership.asked.is_empty()).then_some(leader)
    }

    /// One record, taken by whoever leads. Answers its index.
    pub(super) fn append_at_last(&mut self) -> u64 {
        for _ in 0..200 {
            let leader =
                self.until(10_000, Cluster::settled_leader).expect("a leader that settles");
            self.ids += 1;
            let body = body(self.ids, 100);
            let open = self.open(leader).unwrap();
            match open.append(&body, Some(Duration::from_secs(60))) {
                Ok(entry) => {
                    self.appends.push(Placed { member: leader, entry, body, status: None });
                    return entry.index.0;
                }
                // It hands over to the preferred one.
                Err(_) => self.refused.insert(body),
            };
            self.round(5);
            self.check();
        }
        panic!("no append is taken");
    }

    pub(super) fn behind(&self, index: u64) -> Vec<u64> {
        let there = |id: &u64| {
            let open = self.members[id].open.as_ref();
            open.is_some_and(|open| open.shared.committed().0 > index)
        };
        self.membership.last().unwrap_or_default().into_iter().filter(|id| !there(id)).collect()
    }

    /// Until all members of the last set have the record. Who was away while a member was removed and
    /// came again with a fresh disk does not hear that one if it leads; if it hears no leader that
    /// there could be it is removed, and joins anew.
    pub(super) fn all_members_come_to(&mut self, index: u64) {
        for round in 0..40 {
            let there = |c: &Cluster| c.behind(index).is_empty().then_some(());
            if self.until(3_000, there).is_some() {
                return;
            }
            let leader =
                self.until(10_000, Cluster::settled_leader).expect("a leader that settles");
            let voters = self.membership.voters();
            if round < voters.len() {
                self.ask_transfer(leader, voters[round], 2_000);
                continue;
            }
            let lost = self.behind(index)[0];
            self.ask_transfer(leader, leader, 10);
            self.ask_change(leader, &[(MemberOp::Remove, lost)], 5_000);
            self.until(6_000, |c| c.membership.asked.is_empty().then_some(()));
            if !self.membership.last().unwrap().contains(&lost) {
                let leader = self.until(10_000, Cluster::settled_leader).expect("a leader");
                self.add(leader, lost, 5_000);
            }
        }
        panic!("members {:?} do not come to {index}", self.behind(index));
    }

    /// All agree on one set, and the preferred member leads.
    pub(super) fn check_final_members(&mut self) {
        let last = self.membership.last().unwrap();
        let same = |c: &Cluster| {
            let set = |id: &u64| c.members[id].open.as_ref().map(|o| o.shared.members().raft_index);
            let of_all: BTreeSet<_> = last.iter().map(set).collect();
            (of_all.len() == 1).then_some(())
        };
        self.until(10_000, same).expect("all agree on one member set");
        let voters = self.membership.voters();
        let preferred = voters.iter().map(|id| self.membership.priority(*id)).max().unwrap_or(0);
        let leads = |c: &Cluster| {
            c.settled_leader().filter(|id| c.membership.priority(*id) == preferred).map(drop)
        };
        self.until(20_000, leads).expect("the preferred member leads");
        // And stays.
        let leader = self.settled_leader().unwrap();
        let moved = |c: &Cluster| (c.ready_leader() != Some(leader)).then_some(());
        assert_eq!(self.until(3_000, moved), None, "the leadership does not come to rest");
        if std::env::var_os("SIM_STATS").is_some() {
            eprintln!("sets {:?}, ends {:?}", self.membership.sets.len(), self.membership.ends);
        }
    }
}

fn votes(set: &MemberSet, id: u64) -> bool {
    set.voters.contains(&id) || set.voters_outgoing.contains(&id)
}
