//! What comes from peers and goes to them, ticks, and what the engine asks of the log for their
//! sake: beginning anew, dropping a tail, another member set. Each message is stepped alone and
//! what it brings is written at once; the sync is shared by all messages of a turn, and acks and
//! votes wait for it.

use raft::StateRole;
use tracing::{debug, info, warn};

use crate::commitlog::read::Slice;
use crate::consensus::admit::Refused;
use crate::consensus::core::{Output, Sends};
use crate::consensus::send::Outgoing;
use crate::error::{Error, Result};
use crate::group::clock::NEVER;
use crate::group::driver::Driver;
use crate::group::events;
use crate::group::metrics::Metrics;
use crate::group::peers::FromPeer;
use crate::group::waiters::lock;
use crate::types::RaftIndex;
use crate::wire::Message;

impl Driver {
    /// Whether there is anybody else in the group.
    pub(super) fn has_peers(&self) -> bool {
        self.core.log().meta().members.members.len() > 1
    }

    /// Steps what came from peers. False if the disk is full.
    pub(super) fn step_peers(&mut self, now: u64) -> Result<bool> {
        if self.came.is_empty() {
            self.came.extend(lock(&self.shared.peers).drain(..));
        }
        while let Some(came) = self.came.pop_front() {
            match came {
                FromPeer::Message { from, message, raw } => {
                    if !self.step_one(from, &message, raw, now)? {
                        return Ok(false);
                    }
                }
                FromPeer::Met { id, end } => self.core.met(id, end),
                FromPeer::Lost { id } => self.core.lost(id),
            }
        }
        Ok(true)
    }

    fn step_one(&mut self, from: u64, message: &Message, raw: Vec<u8>, now: u64) -> Result<bool> {
        if matches!(message, Message::VoteReply { .. } | Message::TimeoutNow { .. }) {
            self.settle_round()?;
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
        self.write_outputs(now)
    }

    /// Unsynced bytes are bounded on a follower as they are on a leader.
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

    /// A tick of time, once however many were missed. False if the disk is full.
    pub(super) fn tick(&mut self, now: u64) -> Result<bool> {
        if !self.has_peers() {
            self.next_tick = NEVER;
        } else if self.next_tick == NEVER {
            self.next_tick = now.saturating_add(self.tick_ns);
        } else if now >= self.next_tick {
            self.next_tick = now.saturating_add(self.tick_ns);
            self.settle_round()?;
            self.core.tick();
            self.notice_leadership();
        }
        self.ask_again(now);
        self.write_outputs(now)
    }

    /// A leadership may be lost, and won again, within one turn: each step is looked at.
    pub(super) fn notice_leadership(&mut self) {
        let leads = self.core.state() == StateRole::Leader && self.core.term() == self.leading;
        if self.leading != 0 && !leads {
            self.drop_leadership();
        }
    }

    /// What an output asks of the log before its entries are written.
    pub(super) fn prepare(&mut self, output: &Output) -> Result<()> {
        if let Some((begin, members)) = &output.reset {
            info!("beginning anew at record {} (position {})", begin.index, begin.pos);
            self.forget_works();
            self.core.log_mut().reset(*begin, members.clone())?;
            self.committed = *begin;
            self.marks.committed = begin.mark();
            self.marks.begin = begin.mark();
            self.shared.set_begin(*begin);
            self.network.members(members);
            self.tell(events::MEMBERS);
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
            let members = self.core.change(*raft_index, content)?;
            info!("members from Raft entry {raft_index} on: {:?}", members.voters);
            self.network.members(&members);
            self.core.log_mut().set_members(members)?;
            self.tell(events::MEMBERS);
        }
        Ok(())
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

    fn send_one(&mut self, outgoing: Outgoing) {
        let Outgoing { to, message, raw } = outgoing;
        let reader = &self.shared.reader;
        let slices: Option<Vec<Slice>> =
            raw.iter().map(|(pos, len)| reader.slice(*pos, *len)).collect();
        // What is not there any more was purged: the engine resets that member.
        if let Some(slices) = slices {
            self.network.send(to, message, slices);
        }
    }
}
