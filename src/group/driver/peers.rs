//! What comes from peers and goes to them, ticks, and what the engine asks of the log for their
//! sake: beginning anew, dropping a tail, another member set. Each message is stepped alone and
//! what it brings is written at once; the sync is shared by all messages of a turn, and acks and
//! votes wait for it.

use bytes::Bytes;
use raft::StateRole;
use tracing::{debug, info, warn};

use crate::commitlog::meta::MemberSet;
use crate::commitlog::read::Slice;
use crate::consensus::admit::{Refused, can_be};
use crate::consensus::core::{Output, Sends};
use crate::consensus::members;
use crate::consensus::send::Outgoing;
use crate::error::{Error, Result};
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::peers::FromPeer;
use crate::group::shared::Progress;
use crate::group::waiters::lock;
use crate::types::{Index, RaftIndex};
use crate::wire::{Binding, Expected, Hello, Message, hello};

impl Driver {
    /// Whether there is anybody else in the group.
    pub(super) fn has_peers(&self) -> bool {
        self.core.log().meta().members.members.iter().any(|member| member.id != self.shared.node)
    }

    /// Whether this member decides alone.
    pub(super) fn is_sole_voter(&self) -> bool {
        let members = &self.core.log().meta().members;
        members.voters == [self.shared.node] && members.voters_outgoing.is_empty()
    }

    /// Steps what came from peers. False if the disk is full.
    pub(super) fn step_peers(&mut self, now: u64) -> Result<bool> {
        self.idle(now);
        if self.came.is_empty() {
            self.came.extend(lock(&self.shared.peers).drain(..));
        }
        let any = !self.came.is_empty();
        while let Some(came) = self.came.pop_front() {
            match came {
                FromPeer::Message { from, message, raw } => {
                    if !self.step_one(from, &message, raw, now)? {
                        return Ok(false);
                    }
                }
                FromPeer::Met { id, end, priority } => {
                    self.hear_known(id);
                    self.core.met(id, end);
                    self.note_priority(id, priority);
                }
                FromPeer::Unknown { id } => self.hear_unknown(id),
                FromPeer::Lost { id } => self.core.lost(id),
                FromPeer::Bind { hello, answer } => {
                    let bound = self.bind(&hello)?;
                    (answer.0)(bound);
                }
            }
        }
        if any && now.saturating_sub(self.progress_at) >= self.tick_ns {
            self.progress_at = now;
            self.publish_progress();
        }
        Ok(true)
    }

    fn step_one(&mut self, from: u64, message: &Message, raw: Bytes, now: u64) -> Result<bool> {
        if matches!(message, Message::VoteReply { .. } | Message::TimeoutNow { .. }) {
            self.settle_round()?;
        }
        self.heard.insert(from, now);
        match message {
            Message::RepairRequest { batch } => {
                self.answer_repair(from, *batch, now);
                return Ok(true);
            }
            Message::RepairReply { batch, .. } => {
                self.take_repair(from, *batch, &raw);
                return Ok(true);
            }
            _ => {}
        }
        self.bound_unsynced(&raw)?;
        match self.core.step(from, message, &raw) {
            Ok(()) => {}
            Err(Refused::Drop(why)) => {
                Metrics::add(&self.shared.metrics.dropped, 1);
                debug!("dropped {:?} of member {from}: {why}", message.kind());
            }
            Err(Refused::Close(why)) => {
                Metrics::add(&self.shared.metrics.closed, 1);
                warn!("{:?} of member {from} is refused: {why}", message.kind());
                self.network.close(from, why);
            }
        }
        self.raw = raw;
        self.notice_leadership();
        let written = self.write_outputs(now)?;
        if written {
            // Their room is given back.
            self.raw = Bytes::new();
        }
        Ok(written)
    }

    /// A peer says that this member is none of the group.
    fn hear_unknown(&mut self, id: u64) {
        let was = self.is_removed();
        self.unknown_to.insert(id);
        if self.is_removed() && !was {
            warn!("a majority of the voters say that this member was removed: it stands no more");
            let mut members = self.core.log().meta().members.clone();
            members.members.retain(|member| member.id != self.shared.node);
            self.shared.set_members(members);
            self.tell(events::MEMBERS);
        }
    }

    /// A peer takes this member for one of the group.
    fn hear_known(&mut self, id: u64) {
        let was = self.is_removed();
        self.unknown_to.remove(&id);
        if was && !self.is_removed() {
            self.shared.set_members(self.core.log().meta().members.clone());
            self.tell(events::MEMBERS);
        }
    }

    /// Whether a majority of the voters, as the newest set that is known has them, know nothing of
    /// this member: it was away when it was removed.
    fn is_removed(&self) -> bool {
        let voters = &self.core.book().unwrap_or(&self.core.log().meta().members).voters;
        let unknown = voters.iter().filter(|id| self.unknown_to.contains(id)).count();
        unknown > voters.len() / 2
    }

    /// Lets in who sent a hello, if it is still to be: binds its incarnation, or makes the set that
    /// it shows the book. Whether it is the one that is bound now.
    fn bind(&mut self, hello: &Hello) -> Result<bool> {
        let meta = self.core.log().meta();
        let expected = Expected {
            group: &meta.group,
            me: meta.node,
            incarnation: meta.incarnation,
            dialled: None,
            members: &meta.members,
            book: self.core.book(),
            segment_bytes: meta.segment_bytes,
            begin: self.core.log().begin(),
        };
        let binding = hello::check(hello, Some(&expected));
        let (id, incarnation) = (hello.from, hello.incarnation);
        // A set with this incarnation in it, if the member is there with none.
        let bound = |set: &MemberSet| {
            let mut set = set.clone();
            let member = set.members.iter_mut().find(|member| member.id == id);
            member.map(|member| member.incarnation = incarnation).map(|()| set)
        };
        match binding {
            Ok(Binding::Bound) => {}
            Ok(Binding::ToBind) => {
                info!("member {id} is bound to incarnation {incarnation:#x}");
                if let Some(members) = bound(&meta.members) {
                    self.core.log_mut().set_members(members.clone())?;
                    self.shared.set_members(members);
                } else {
                    // Its votes do not count here: that it is not durable does no harm.
                    let book = self.core.book().and_then(bound);
                    self.publish_book(book);
                }
            }
            Ok(Binding::Newer) if can_be(&hello.members) => {
                info!(
                    "member {id} tells of members from Raft entry {} on",
                    hello.members.raft_index
                );
                self.take_book(bound(&hello.members));
            }
            Ok(Binding::Newer) | Err(_) => return Ok(false),
        }
        Ok(true)
    }

    /// A newer member set that another member showed: its members are dialled and heard, and it is
    /// the one that tells whether this member is removed. In memory, until our own set comes to it.
    fn take_book(&mut self, book: Option<MemberSet>) {
        let was = self.is_removed();
        self.unknown_to.clear();
        self.publish_book(book);
        self.network.members(&self.addresses());
        if was {
            self.shared.set_members(self.core.log().meta().members.clone());
            self.tell(events::MEMBERS);
        }
    }

    fn publish_book(&mut self, book: Option<MemberSet>) {
        self.shared.set_book(book.clone());
        self.core.set_book(book);
    }

    /// All that are to be dialled. The book knows the later addresses.
    fn addresses(&self) -> MemberSet {
        let mut members = self.core.log().meta().members.clone();
        for member in self.core.book().into_iter().flat_map(|book| &book.members) {
            members.members.retain(|other| other.id != member.id);
            members.members.push(member.clone());
        }
        members
    }

    /// Unsynced bytes are bounded on a follower as they are on a leader: so the log seldom has to sync in
    /// the middle of a write, which acknowledges nothing.
    fn bound_unsynced(&mut self, raw: &[u8]) -> Result<()> {
        let unsynced = self.core.log().unsynced_bytes();
        if unsynced > 0 && unsynced + raw.len() as u64 > self.unsynced_max {
            self.sync()?;
        }
        Ok(())
    }

    /// What may make this member leader needs everything persisted.
    pub(super) fn settle_round(&mut self) -> Result<()> {
        if self.round.is_open() {
            self.sync()?;
        }
        Ok(())
    }

    /// Tells the engine of the time that went while it had nothing to do. No more than that: a member
    /// that was held up hears what came meanwhile before it misses its leader.
    fn idle(&mut self, now: u64) {
        if self.ticked == NEVER || self.core.state() == StateRole::Leader || self.is_removed() {
            return;
        }
        let gone = now.saturating_sub(self.ticked) / self.tick_ns;
        let idle = self.core.idle_ticks() as u64 - 1;
        self.core.idled(gone.min(idle) as usize);
        self.ticked =
            if gone > idle { now - self.tick_ns } else { self.ticked + gone * self.tick_ns };
    }

    /// Tells the engine of the time that went, but not of what was missed. False if the disk is full.
    pub(super) fn tick(&mut self, now: u64) -> Result<bool> {
        if self.is_sole_voter() && self.core.state() != StateRole::Leader {
            // Nobody else could: the others went while they led.
            self.settle_round()?;
            self.core.campaign()?;
        }
        if !self.has_peers() || self.is_removed() {
            self.ticked = NEVER;
        } else if self.ticked == NEVER {
            self.ticked = now;
        } else {
            let due = self.core.idle_ticks() as u64;
            if now.saturating_sub(self.ticked) / self.tick_ns >= due {
                self.ticked = now;
                self.settle_round()?;
                for _ in 0..due {
                    self.core.tick();
                    self.notice_leadership();
                }
                for outgoing in self.core.introductions() {
                    self.send_one(outgoing);
                }
                self.prefer(now);
                self.propose_incarnations();
                self.publish_progress();
            }
        }
        self.ask_again(now);
        let written = self.write_outputs(now)?;
        let idle = self.core.idle_ticks() as u64 * self.tick_ns;
        self.next_tick =
            if self.ticked == NEVER { NEVER } else { self.ticked.saturating_add(idle) };
        Ok(written)
    }

    /// The others hear with the next append how far it is agreed: so one that is followed by another
    /// needs no message of its own for that. If none comes they are told after a moment.
    pub(super) fn tell_committed(&mut self, now: u64) {
        let agreed = self.core.committed();
        let leads = self.core.state() == StateRole::Leader && self.has_peers();
        if !leads || agreed <= self.commit_sent {
            self.commit_at = NEVER;
        } else if self.commit_at == NEVER {
            self.commit_at = now.saturating_add(COMMIT_NS);
        } else if now >= self.commit_at {
            self.core.tell_committed();
            (self.commit_sent, self.commit_at) = (agreed, NEVER);
        }
    }

    /// A leadership may be lost, and won again, within one turn: each step is looked at.
    pub(super) fn notice_leadership(&mut self) {
        let leads = self.core.state() == StateRole::Leader && self.core.term() == self.leading;
        if self.leading != 0 && !leads {
            self.drop_leadership();
        }
        self.watch_transfer();
    }

    /// What an output asks of the log before its entries are written.
    pub(super) fn prepare(&mut self, output: &Output) -> Result<()> {
        if let Some((begin, members)) = &output.reset {
            info!("beginning anew at record {} (position {})", begin.index, begin.pos);
            self.forget_works();
            let members = self.with_bindings(members);
            self.core.log_mut().reset(*begin, members.clone())?;
            self.committed = *begin;
            self.marks.committed = begin.mark();
            self.marks.begin = begin.mark();
            self.shared.set_begin(*begin);
            self.set_members(members);
        }
        if let Some(members) = &output.members {
            let members = self.with_bindings(members);
            info!("beginning with the members of Raft entry {}", members.raft_index);
            self.core.begin_with(&members)?;
            self.core.log_mut().set_members(members.clone())?;
            self.set_members(members);
        }
        if let Some(cut) = output.cut {
            self.cut(cut)?;
        }
        Ok(())
    }

    fn cut(&mut self, behind: RaftIndex) -> Result<()> {
        let to = self.core.log().anchor(behind).ok_or_else(|| {
            Error::corrupt(0, format!("the unit of Raft entry {behind}, behind which to cut"))
        })?;
        info!("dropping what lies behind record {} (Raft entry {})", to.index, to.raft_index);
        self.forget_works();
        self.core.log_mut().truncate(to)?;
        Ok(())
    }

    /// A sync or a checkpoint that is under way tells of a tail that goes.
    fn forget_works(&mut self) {
        self.timers.sync_void = self.timers.sync_running;
        self.timers.checkpoint_void = self.timers.checkpoint_running;
    }

    /// Membership entries that are agreed come into force.
    pub(super) fn change_members(&mut self, output: &Output) -> Result<()> {
        for (raft_index, content) in &output.changes {
            let before = self.matches();
            let members = self.core.change(*raft_index, content)?;
            let members = self.with_met(members);
            self.take_leave(&before, &members);
            self.note_agreed(content, &members);
            info!("members from Raft entry {raft_index} on: {:?}", members.voters);
            self.core.log_mut().set_members(members.clone())?;
            self.set_members(members);
        }
        Ok(())
    }

    /// Publishes how far the others are; once in a tick is often enough.
    pub(super) fn publish_progress(&self) {
        let log = self.core.log();
        let leads = self.core.state() == StateRole::Leader;
        let peer = |id: u64| {
            let matched = log.anchor(self.core.matched(id)).filter(|_| leads);
            let heard = self.heard.get(&id).copied().unwrap_or(NEVER);
            Progress { id, matched: matched.map_or(Index(0), |anchor| anchor.index), heard }
        };
        let peers = log.meta().members.members.iter().filter(|m| m.id != self.shared.node);
        *lock(&self.shared.progress) = peers.map(|member| peer(member.id)).collect();
    }

    /// How far each peer's log is known to match.
    fn matches(&self) -> Vec<(u64, RaftIndex)> {
        let members = &self.core.log().meta().members.members;
        members.iter().map(|member| (member.id, self.core.matched(member.id))).collect()
    }

    /// Tells those that go that it is agreed: the engine tells them nothing any more.
    fn take_leave(&mut self, before: &[(u64, RaftIndex)], members: &MemberSet) {
        if self.core.state() != StateRole::Leader {
            return;
        }
        let term = self.core.term();
        for (to, matched) in before.iter().filter(|(id, _)| !members::has(members, *id)) {
            let commit = self.core.committed().min(*matched);
            self.network.send(*to, Message::Heartbeat { term, commit, context: 0 }, Vec::new());
        }
    }

    /// Others are the members now.
    fn set_members(&mut self, members: MemberSet) {
        self.unknown_to.clear();
        let at = members.raft_index;
        self.shared.set_members(members);
        if self.core.book().is_some_and(|book| book.raft_index <= at) {
            self.publish_book(None);
        }
        self.network.members(&self.addresses());
        self.tell(events::MEMBERS);
    }

    /// What is bound here stays bound where the leader knows of nothing, and this member is itself.
    fn with_bindings(&self, members: &MemberSet) -> MemberSet {
        let (mut members, meta) = (self.with_met(members.clone()), self.core.log().meta());
        for member in members.members.iter_mut().filter(|member| member.incarnation == 0) {
            let bound = meta.members.members.iter().find(|m| m.id == member.id);
            let own = if member.id == meta.node { meta.incarnation } else { 0 };
            member.incarnation = bound.map_or(own, |m| m.incarnation);
        }
        members
    }

    /// Who was met as one of the book stays the one that it was, from now on durably.
    fn with_met(&self, members: MemberSet) -> MemberSet {
        match self.core.book() {
            Some(book) => members::bind(members, book, |id| self.heard.contains_key(&id)),
            None => members,
        }
    }

    /// Sends what may leave at once, and keeps the rest until all that was written is durable.
    pub(super) fn send(&mut self, sends: Sends) {
        for outgoing in sends.now {
            self.send_one(outgoing);
        }
        self.held.extend(sends.persisted);
        if !self.round.is_open() {
            self.send_held();
        }
    }

    pub(super) fn send_held(&mut self) {
        for outgoing in std::mem::take(&mut self.held) {
            self.send_one(outgoing);
        }
    }

    pub(super) fn send_one(&mut self, outgoing: Outgoing) {
        let Outgoing { to, message, raw } = outgoing;
        let reader = &self.shared.reader;
        let slices: Option<Vec<Slice>> =
            raw.iter().map(|(pos, len)| reader.slice(*pos, *len)).collect();
        // What is not there any more was purged: the engine resets that member.
        let Some(slices) = slices else { return };
        let is_append = matches!(message, Message::Append { .. } | Message::Reset { .. });
        let commit = match &message {
            Message::Append { commit, .. } => *commit,
            _ => RaftIndex(0),
        };
        if self.network.send(to, message, slices) {
            self.sent = true;
            self.commit_sent = self.commit_sent.max(commit);
        } else if is_append {
            self.came.push_back(FromPeer::Lost { id: to });
        }
    }
}

/// So long the others hear nothing of what is agreed while no append comes.
const COMMIT_NS: u64 = 1_000_000;
