//! What stands between the wire and the engine: nothing from a peer is stepped unchecked. The
//! engine ends the process on messages that it does not expect; a peer's bytes must not be able to
//! do that, nor to overwrite what is agreed, nor to write what is not the log's true successor.
//! Pure: our own state and a message in, a message for the engine or a refusal out.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use raft::StateRole;
use raft::eraftpb::{Entry, EntryType, Message as RaftMessage, MessageType, Snapshot};

use crate::commitlog::meta::{Member, MemberSet};
use crate::commitlog::received::{Claim, check};
use crate::commitlog::record::MIN_BLANK;
use crate::commitlog::{Batch, CommitLog, Room};
use crate::consensus::members;
use crate::consensus::storage::{batch_entry, membership_entry};
use crate::types::{Anchor, RaftIndex};
use crate::wire::{AppendEntry, Campaign, Content, Kind, Message};

/// Our own state, as far as it decides.
pub struct View<'a> {
    /// Everything the engine has is written in it.
    pub log: &'a CommitLog,
    /// A newer member set than that of the log, which another member showed: its members are heard.
    pub book: Option<&'a MemberSet>,
    /// This member.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// What it is.
    pub state: StateRole,
    /// Whom it follows; 0: nobody.
    pub leader: u64,
    /// The last Raft entry that is agreed, as far as it knows.
    pub committed: RaftIndex,
    /// How far the log of the member that it came from is known to match; 0 unless this one leads.
    pub matched: RaftIndex,
    /// Whether everything written is durable, as far as the engine was told.
    pub persisted: bool,
    /// The room that is allocated.
    pub room: Room,
}

/// A message for the engine, and the batches that came with it.
#[derive(Debug)]
pub struct Admitted {
    /// To step.
    pub message: RaftMessage,
    /// What an append brought that is not here yet, in order; their bytes lie in its raw bytes.
    pub batches: Vec<Batch>,
    /// What a reset says.
    pub reset: Option<(Anchor, MemberSet)>,
    /// The members that this one begins with.
    pub members: Option<MemberSet>,
}

/// Why a message is not stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It comes too late, too early or to the wrong member: an honest peer may send it.
    Drop(&'static str),
    /// No honest peer sends it: the connection is closed, and it is counted and logged.
    Close(&'static str),
}
use Refused::{Close, Drop};

/// Checks one message of the member `from` against our own state.
///
/// Who is in no set that this member knows is not heard, as its hello is not: whether it comes with
/// the incarnation that the group has bound cannot be known here, and a vote for one that lost its
/// disk could make a second leader of a term (P11). Who was away during changes learns of those who
/// came meanwhile from the set that one of them shows in its hello: that it is in force there is a
/// fact, and so they are heard. Who votes is what this member's own log says, as far as it goes: a set
/// that was shown is never Raft's. Nothing is counted of who is in that set only, and it does not get
/// this member's vote of a term twice: so no harm comes of its incarnation, which is not bound durably.
pub fn admit(
    view: &View<'_>,
    from: u64,
    message: &Message,
    raw: &[u8],
) -> Result<Admitted, Refused> {
    let known = &view.log.meta().members;
    if from == view.id || from == 0 {
        return Err(Close("it claims to come from this member"));
    }
    let is_known = members::has(known, from);
    if !is_known && !view.book.is_some_and(|book| members::has(book, from)) {
        return Err(Drop("it comes from no member"));
    }
    if largest(message) >= LIMIT {
        return Err(Close("a number in it is beyond what a log can reach"));
    }
    let same_term = message.term() == view.term;
    let leads = [Kind::Append, Kind::Heartbeat, Kind::Reset, Kind::Members];
    if leads.contains(&message.kind()) && same_term {
        if view.state == StateRole::Leader {
            return Err(Close("it leads a term that this member leads"));
        }
        if view.leader != 0 && view.leader != from {
            return Err(Close("it leads a term that another member leads"));
        }
    }
    let mut batches = Vec::new();
    let (mut reset, mut first) = (None, None);
    let mut out = RaftMessage { from, to: view.id, term: message.term(), ..Default::default() };
    match message {
        // It stood once in this term: another incarnation of it may ask again.
        Message::VoteRequest { campaign: Campaign::Vote | Campaign::Transfer, term, .. }
            if !is_known && (*term, from) == (view.log.meta().term, view.log.meta().vote) =>
        {
            return Err(Drop("it has this member's vote of that term"));
        }
        Message::VoteRequest { campaign, last, last_term, commit, commit_term, .. } => {
            out.set_msg_type(match campaign {
                Campaign::PreVote => MessageType::MsgRequestPreVote,
                Campaign::Vote | Campaign::Transfer => MessageType::MsgRequestVote,
            });
            if *campaign == Campaign::Transfer {
                out.context = Bytes::from_static(TRANSFER);
            }
            (out.index, out.log_term) = (last.0, *last_term);
            (out.commit, out.commit_term) = (commit.0, *commit_term);
        }
        Message::VoteReply { pre, reject, commit, commit_term, .. } => {
            // The engine would count it once the log says that its sender votes.
            if !is_known {
                return Err(Drop("a vote that does not count here"));
            }
            // The engine ends the process if it wins before that.
            if !pre && !reject && !view.persisted {
                return Err(Drop("a vote that was not asked for yet"));
            }
            out.set_msg_type(match pre {
                true => MessageType::MsgRequestPreVoteResponse,
                false => MessageType::MsgRequestVoteResponse,
            });
            out.reject = *reject;
            (out.commit, out.commit_term) = (commit.0, *commit_term);
        }
        // What it would learn of the members is not counted from those that it was born with.
        Message::Append { .. } if waits(view) => return Err(Drop("it waits for the members")),
        Message::Append { prev, prev_term, prev_chain, commit, entries, .. } => {
            out.set_msg_type(MessageType::MsgAppend);
            (out.index, out.log_term, out.commit) = (prev.0, *prev_term, commit.0);
            let append = Append { prev: *prev, prev_term: *prev_term, entries, raw };
            let taken = append.taken(view, message.term(), *prev_chain)?;
            out.set_entries(taken.entries.into());
            batches = taken.batches;
        }
        Message::AppendReply { index, reject, reject_hint, log_term, commit, .. } => {
            let leads = view.state == StateRole::Leader && same_term;
            if leads && *index > view.log.end().raft_index {
                return Err(Close("it has Raft entries that its leader does not have"));
            }
            if leads && *reject && *index <= view.matched {
                return Err(Drop("it rejects what it has acknowledged since"));
            }
            out.set_msg_type(MessageType::MsgAppendResponse);
            (out.index, out.reject, out.reject_hint) = (index.0, *reject, reject_hint.0);
            (out.log_term, out.commit) = (*log_term, commit.0);
            // The engine would probe below what matches.
            if leads && *reject && *reject_hint < view.matched {
                (out.reject_hint, out.log_term) = (view.matched.0, 0);
            }
        }
        Message::Heartbeat { commit, context, .. } => {
            out.set_msg_type(MessageType::MsgHeartbeat);
            // A member that lost its unsynced tail is behind what the leader knows of it.
            let here = *commit <= view.log.end().raft_index;
            out.commit = if here { commit.0 } else { view.committed.0 };
            out.context = context_bytes(*context);
        }
        Message::HeartbeatReply { commit, context, .. } => {
            out.set_msg_type(MessageType::MsgHeartbeatResponse);
            (out.commit, out.context) = (commit.0, context_bytes(*context));
        }
        Message::Reset { begin, members: set, .. } => {
            out.set_msg_type(MessageType::MsgSnapshot);
            out.set_snapshot(snapshot(view, begin, set, message.term())?);
            reset = Some((*begin, set.clone()));
        }
        Message::Members { term, members: set } => {
            check_first(view, *term, set)?;
            // For the engine its leader shows that it is there.
            out.set_msg_type(MessageType::MsgHeartbeat);
            out.commit = view.committed.0;
            first = Some(set.clone());
        }
        Message::RepairRequest { .. } | Message::RepairReply { .. } => {
            return Err(Drop("it is for the log, not for the engine"));
        }
        Message::TimeoutNow { .. } => {
            if !same_term || view.leader != from || view.state != StateRole::Follower {
                return Err(Drop("a transfer that is over"));
            }
            out.set_msg_type(MessageType::MsgTimeoutNow);
        }
        Message::ReadIndex { context } => {
            if view.state != StateRole::Leader {
                return Err(Drop("it asks for a read index of a member that does not lead"));
            }
            out.set_msg_type(MessageType::MsgReadIndex);
            out.set_entries(vec![context_entry(*context)].into());
        }
        Message::ReadIndexReply { context, index, .. } => {
            if view.state != StateRole::Follower || view.leader != from {
                return Err(Drop("a read index of a term that is over"));
            }
            out.set_msg_type(MessageType::MsgReadIndexResp);
            out.index = index.0;
            out.set_entries(vec![context_entry(*context)].into());
        }
    }
    Ok(Admitted { message: out, batches, reset, members: first })
}

/// Whether this member was born to be added and has not heard yet who the members are.
fn waits(view: &View<'_>) -> bool {
    let known = &view.log.meta().members;
    known.raft_index == RaftIndex(0)
        && view.log.end().raft_index == RaftIndex(0)
        && !members::has(known, view.id)
}

/// Whether these are the members that this one begins with.
fn check_first(view: &View<'_>, term: u64, set: &MemberSet) -> Result<(), Refused> {
    check_set(view, set)?;
    if !set.voters_outgoing.is_empty() {
        return Err(Close("the members, with a change under way"));
    }
    let own = view.log.meta().incarnation;
    let is_other = |m: &Member| m.id == view.id && m.incarnation != 0 && m.incarnation != own;
    match () {
        () if !waits(view) => Err(Drop("it knows the members")),
        () if term < view.term => Err(Drop("the members of a term that is over")),
        () if !members::has(set, view.id) => Err(Drop("members that this one is none of")),
        () if set.members.iter().any(is_other) => Err(Drop("members with another in its place")),
        () => Ok(()),
    }
}

/// Whether a member set that a leader tells of can be one.
fn check_set(view: &View<'_>, set: &MemberSet) -> Result<(), Refused> {
    if !view.log.meta().has_room_for(set) {
        return Err(Close("more members than there is room for"));
    }
    if !can_be(set) {
        return Err(Close("members that cannot be"));
    }
    Ok(())
}

/// Whether a member set that somebody tells of can be one.
pub fn can_be(set: &MemberSet) -> bool {
    members::is_sound(set)
        && set.members.iter().all(|member| !member.address.is_empty())
        && set.raft_index.0 < LIMIT
}

struct Append<'a> {
    prev: RaftIndex,
    prev_term: u64,
    entries: &'a [AppendEntry],
    raw: &'a [u8],
}

#[derive(Default)]
struct Taken {
    entries: Vec<Entry>,
    batches: Vec<Batch>,
}

impl Append<'_> {
    /// The entries that the engine may see: none where it will only tell how far our log goes.
    fn taken(&self, view: &View<'_>, term: u64, prev_chain: u32) -> Result<Taken, Refused> {
        self.check_terms(term)?;
        let log = view.log;
        let answered_without = term < view.term
            || self.prev < view.committed
            || self.prev > log.end().raft_index
            || log.term(self.prev) != Some(self.prev_term);
        if answered_without {
            return Ok(Taken::default());
        }
        let Some(mut at) = log.anchor(self.prev) else {
            return Err(Drop("what lies before it cannot be read here"));
        };
        if at.chain != prev_chain {
            return Err(Close("the logs differ before it, though index and term are the same"));
        }
        let mut taken = Taken::default();
        let mut same = true;
        let mut begin = 0usize;
        for (entry, n) in self.entries.iter().zip(1..) {
            let raft_index = self.prev + n;
            let len = match &entry.content {
                Content::Batch { len, .. } => *len as usize,
                _ => 0,
            };
            let range = begin..begin + len;
            begin = range.end;
            same = same && log.term(raft_index) == Some(entry.term);
            if same {
                let Some(behind) = log.anchor(raft_index) else {
                    return Err(Drop("what is here of it cannot be read"));
                };
                at = behind;
                taken.entries.push(thin(raft_index, entry)?);
                continue;
            }
            if raft_index <= view.committed {
                return Err(Close("it contradicts what is agreed"));
            }
            // What finds no room is dropped: the leader sends it again.
            if raft_index >= view.room.raft_index {
                break;
            }
            if let Content::Batch { count, .. } = entry.content {
                let claim = Claim { raft_index, term: entry.term, count };
                let segment_bytes = log.meta().segment_bytes;
                let (batch, behind) =
                    check(&at, claim, self.raw, range, segment_bytes).map_err(Close)?;
                if behind.pos + MIN_BLANK > view.room.pos || behind.index > view.room.index {
                    break;
                }
                at = behind;
                taken.batches.push(batch);
            } else {
                (at.raft_index, at.term) = (raft_index, entry.term);
            }
            taken.entries.push(thin(raft_index, entry)?);
        }
        Ok(taken)
    }

    /// Terms never fall along a log, and no entry is of a term after its leader's.
    fn check_terms(&self, term: u64) -> Result<(), Refused> {
        let mut before = self.prev_term;
        for entry in self.entries {
            if entry.term < before || entry.term > term {
                return Err(Close("a Raft entry of a term that cannot be there"));
            }
            before = entry.term;
        }
        if (self.prev == RaftIndex(0)) != (self.prev_term == 0) {
            return Err(Close("only the beginning has the term 0"));
        }
        Ok(())
    }
}

/// A Raft entry as the engine has it: without its bytes.
fn thin(raft_index: RaftIndex, entry: &AppendEntry) -> Result<Entry, Refused> {
    let thin = match &entry.content {
        Content::Batch { .. } => batch_entry(),
        Content::NoOp => Entry::default(),
        Content::Membership(content) => {
            let changes =
                members::decode(content).ok_or(Close("a membership entry means nothing"))?;
            membership_entry(content, &changes)
        }
    };
    Ok(Entry { index: raft_index.0, term: entry.term, ..thin })
}

/// A reset as the engine has it.
fn snapshot(
    view: &View<'_>,
    begin: &Anchor,
    set: &MemberSet,
    term: u64,
) -> Result<Snapshot, Refused> {
    if begin.raft_index == RaftIndex(0) || begin.term == 0 || begin.term > term {
        return Err(Close("a reset to a place that cannot be"));
    }
    // Only whole segments are ever purged.
    if !begin.pos.is_multiple_of(view.log.meta().segment_bytes) {
        return Err(Close("a reset into the middle of a segment"));
    }
    if let Some(agreed) = view.log.anchor(view.committed).filter(|_| term >= view.term) {
        let behind = begin.raft_index > agreed.raft_index;
        let falls =
            begin.term < agreed.term || begin.index < agreed.index || begin.pos < agreed.pos;
        let other = begin.raft_index == agreed.raft_index && begin.term != agreed.term;
        if behind && falls || other {
            return Err(Close("a reset contradicts what is agreed"));
        }
    }
    check_set(view, set)?;
    if !members::has(set, view.id) {
        return Err(Drop("a reset of a group that this member is not in"));
    }
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (begin.raft_index.0, begin.term);
    metadata.set_conf_state(members::conf_state(set));
    Ok(snapshot)
}

/// The largest of the numbers of a message that are counted on from.
fn largest(message: &Message) -> u64 {
    let numbers = match message {
        Message::VoteRequest { last, last_term, commit, commit_term, .. } => {
            [last.0, *last_term, commit.0, *commit_term]
        }
        Message::VoteReply { commit, commit_term, .. } => [commit.0, *commit_term, 0, 0],
        Message::Append { prev, prev_term, commit, .. } => [prev.0, *prev_term, commit.0, 0],
        Message::AppendReply { index, reject_hint, log_term, commit, .. } => {
            [index.0, reject_hint.0, *log_term, commit.0]
        }
        Message::Heartbeat { commit, .. } | Message::HeartbeatReply { commit, .. } => {
            [commit.0, 0, 0, 0]
        }
        Message::Reset { begin, members, .. } => {
            [begin.index.0, begin.pos, begin.raft_index.0, members.raft_index.0]
        }
        Message::ReadIndexReply { index, .. } => [index.0, 0, 0, 0],
        Message::Members { members, .. } => [members.raft_index.0, 0, 0, 0],
        Message::TimeoutNow { .. }
        | Message::ReadIndex { .. }
        | Message::RepairRequest { .. }
        | Message::RepairReply { .. } => [0; 4],
    };
    numbers.into_iter().fold(message.term(), u64::max)
}

/// The context of a read index attempt as the engine carries it; none for 0.
pub fn context_bytes(context: u64) -> Bytes {
    match context {
        0 => Bytes::new(),
        context => Bytes::copy_from_slice(&context.to_be_bytes()),
    }
}

/// The number of a read index attempt; 0 for none.
pub fn context_number(context: &[u8]) -> u64 {
    context.try_into().map_or(0, u64::from_be_bytes)
}

/// A read index attempt as the engine carries it.
pub fn context_entry(context: u64) -> Entry {
    let mut entry = Entry { data: context_bytes(context), ..Entry::default() };
    entry.set_entry_type(EntryType::EntryNormal);
    entry
}

/// The engine's mark of a campaign that the leader asked for.
pub const TRANSFER: &[u8] = b"CampaignTransfer";
/// No term, Raft index, record index or position comes near it: a number beyond it is made up.
/// The places of units are counted in bytes: 32 times as much.
const LIMIT: u64 = 1 << 56;
