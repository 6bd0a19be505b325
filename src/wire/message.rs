//! What members say to each other: one variant for each message of the engine that passes between
//! them, with the fields the engine needs and no others. Who sent it is known from the hello.
//!
//! ```text
//!  1 vote request      term 8 | campaign 1 | last 8 | last_term 8 | commit 8 | commit_term 8
//!  2 vote reply        term 8 | pre 1 | reject 1 | commit 8 | commit_term 8
//!  3 append            term 8 | prev 8 | prev_term 8 | prev_chain 4 | commit 8 | count 2, entries
//!  4 append reply      term 8 | index 8 | reject 1 | reject_hint 8 | log_term 8 | commit 8
//!  5 heartbeat         term 8 | commit 8 | context 8
//!  6 heartbeat reply   term 8 | commit 8 | context 8
//!  7 reset             term 8 | begin: anchor 44 | members: member set
//!  8 timeout now       term 8
//!  9 read index        context 8
//! 10 read index reply  term 8 | context 8 | index 8
//! 11 members           term 8 | members: member set
//! 12 repair request    raft_index 8 | entry term 8 | chain 4
//! 13 repair reply      raft_index 8 | entry term 8 | chain 4 | len 4
//!
//! campaign     0 pre-vote, 1 vote, 2 vote for a transfer
//! Raft entry   term 8 | 1: batch       | count 4 | len 4
//!              term 8 | 2: no-op
//!              term 8 | 3: membership  | length 4 | bytes
//! ```
//!
//! pre and reject are 0 or 1. Anchors and member sets are laid out as in `meta`.

#[cfg(test)]
pub(super) mod tests;

use std::ops::{Range, RangeInclusive};

use crate::commitlog::control::CONTENT_MAX;
use crate::commitlog::meta::{In, MemberSet, Out, SET_MAX};
use crate::commitlog::record::{BATCH_RECORDS, HEADER};
use crate::commitlog::repair::BatchId;
use crate::types::{Anchor, RaftIndex};

/// One message. `term` is the sender's (of a campaign: the one it is for), never 0: the engine
/// takes a message of term 0 for one of its own. What is not for the engine has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A candidate asks for a vote.
    VoteRequest {
        /// The term the campaign is for; of a pre-vote: the one it would be for.
        term: u64,
        /// What kind of campaign.
        campaign: Campaign,
        /// The last Raft entry of its log.
        last: RaftIndex,
        /// The term of that entry.
        last_term: u64,
        /// The last Raft entry that it knows to be committed; a voter may learn it from here.
        commit: RaftIndex,
        /// The term of that entry.
        commit_term: u64,
    },
    /// The answer to a [`VoteRequest`](Message::VoteRequest).
    VoteReply {
        /// The sender's; of a pre-vote that is granted: the request's.
        term: u64,
        /// It answers a pre-vote.
        pre: bool,
        /// No.
        reject: bool,
        /// With a rejection: the last Raft entry that the sender knows to be committed; else 0.
        commit: RaftIndex,
        /// The term of that entry, or 0.
        commit_term: u64,
    },
    /// The leader sends Raft entries, or none to probe or to tell of its commit. Behind it come
    /// the raw bytes of its batches: see [`raw_ranges`](Message::raw_ranges).
    Append {
        /// The leader's.
        term: u64,
        /// The Raft entry before the first of `entries`.
        prev: RaftIndex,
        /// Its term.
        prev_term: u64,
        /// The chainCrc of the last record at or before it.
        prev_chain: u32,
        /// The last Raft entry that the leader knows to be committed.
        commit: RaftIndex,
        /// At `prev` + 1 and on; at most [`ENTRIES_MAX`].
        entries: Vec<AppendEntry>,
    },
    /// The answer to an [`Append`](Message::Append) or a [`Reset`](Message::Reset).
    AppendReply {
        /// The sender's.
        term: u64,
        /// The last Raft entry that matches; with a rejection: the request's `prev`.
        index: RaftIndex,
        /// The sender does not have the request's `prev`.
        reject: bool,
        /// With a rejection: where the leader may try next; else 0.
        reject_hint: RaftIndex,
        /// The term of the Raft entry at `reject_hint`, or 0.
        log_term: u64,
        /// The last Raft entry that the sender knows to be committed.
        commit: RaftIndex,
    },
    /// The leader is there.
    Heartbeat {
        /// The leader's.
        term: u64,
        /// Committed, and matched by the receiver as far as the leader knows.
        commit: RaftIndex,
        /// The attempt at a read index that this confirms; 0: none.
        context: u64,
    },
    /// The answer to a [`Heartbeat`](Message::Heartbeat).
    HeartbeatReply {
        /// The sender's.
        term: u64,
        /// The last Raft entry that the sender knows to be committed.
        commit: RaftIndex,
        /// The heartbeat's.
        context: u64,
    },
    /// The receiver's log ends before the leader's begins: it drops its log and begins there.
    Reset {
        /// The leader's.
        term: u64,
        /// Where the leader's log begins.
        begin: Anchor,
        /// The members now, with the Raft entry from which on that holds; what fits in `meta` fits
        /// here.
        members: MemberSet,
    },
    /// The receiver shall campaign at once: leadership is transferred to it.
    TimeoutNow {
        /// The leader's.
        term: u64,
    },
    /// Asks the leader for a read index. Without a term: the engine attaches none, and would take
    /// one for an election's.
    ReadIndex {
        /// The number of the attempt, never 0. The engine merges what has equal ones, so no two
        /// attempts in a group may share it, whoever made them.
        context: u64,
    },
    /// The answer to a [`ReadIndex`](Message::ReadIndex).
    ReadIndexReply {
        /// The leader's.
        term: u64,
        /// The request's.
        context: u64,
        /// Who has this Raft entry has all that was committed at the request.
        index: RaftIndex,
    },
    /// The leader tells a member that was born to be added who the members are: it begins with
    /// them, and not with those that it was told of at its birth.
    Members {
        /// The leader's.
        term: u64,
        /// The members now, with the Raft entry from which on that holds; no change is under way.
        members: MemberSet,
    },
    /// The sender's bytes of a batch are damaged: whoever has them, leader or not, sends them.
    RepairRequest {
        /// Which batch.
        batch: BatchId,
    },
    /// The answer to a [`RepairRequest`](Message::RepairRequest), if the sender has the batch and
    /// it is intact. Behind it come its bytes.
    RepairReply {
        /// The request's.
        batch: BatchId,
        /// The length of its bytes, headers included, without a blank before them.
        len: u32,
    },
}

/// What a vote is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Campaign {
    /// Whether a campaign would have a chance; it costs no term.
    PreVote,
    /// An election.
    Vote,
    /// An election that the leader asked for: a voter does not wait for that leader to time out.
    Transfer,
}

/// One Raft entry of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntry {
    /// Its term.
    pub term: u64,
    /// What it is.
    pub content: Content,
}

/// What a Raft entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Records, whose bytes follow the message.
    Batch {
        /// How many; from 1 to `record::BATCH_RECORDS`.
        count: u32,
        /// Their bytes, headers included, without a blank before them.
        len: u32,
    },
    /// The first entry of a term.
    NoOp,
    /// A change of the member set, as it lies in `control`.
    Membership(Vec<u8>),
}

/// The kinds of messages. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // documented at the messages
pub enum Kind {
    VoteRequest = 1,
    VoteReply = 2,
    Append = 3,
    AppendReply = 4,
    Heartbeat = 5,
    HeartbeatReply = 6,
    Reset = 7,
    TimeoutNow = 8,
    ReadIndex = 9,
    ReadIndexReply = 10,
    Members = 11,
    RepairRequest = 12,
    RepairReply = 13,
}

impl Message {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Message::VoteRequest { .. } => Kind::VoteRequest,
            Message::VoteReply { .. } => Kind::VoteReply,
            Message::Append { .. } => Kind::Append,
            Message::AppendReply { .. } => Kind::AppendReply,
            Message::Heartbeat { .. } => Kind::Heartbeat,
            Message::HeartbeatReply { .. } => Kind::HeartbeatReply,
            Message::Reset { .. } => Kind::Reset,
            Message::TimeoutNow { .. } => Kind::TimeoutNow,
            Message::ReadIndex { .. } => Kind::ReadIndex,
            Message::ReadIndexReply { .. } => Kind::ReadIndexReply,
            Message::Members { .. } => Kind::Members,
            Message::RepairRequest { .. } => Kind::RepairRequest,
            Message::RepairReply { .. } => Kind::RepairReply,
        }
    }

    /// Its term; 0 if it has none.
    pub fn term(&self) -> u64 {
        match self {
            Message::VoteRequest { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendReply { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::Reset { term, .. }
            | Message::TimeoutNow { term }
            | Message::ReadIndexReply { term, .. }
            | Message::Members { term, .. } => *term,
            Message::ReadIndex { .. }
            | Message::RepairRequest { .. }
            | Message::RepairReply { .. } => 0,
        }
    }

    /// Where the bytes of each batch lie within the raw bytes behind the message, in order. They
    /// touch: a sender writes the bytes of these batches one behind the other.
    pub fn raw_ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let (entries, repair) = match self {
            Message::Append { entries, .. } => (&entries[..], None),
            Message::RepairReply { len, .. } => (&[][..], Some(*len)),
            _ => (&[][..], None),
        };
        let batch = |entry: &AppendEntry| match entry.content {
            Content::Batch { len, .. } => Some(len),
            _ => None,
        };
        let mut end = 0;
        entries.iter().filter_map(batch).chain(repair).map(move |len| {
            let begin = end;
            end += u64::from(len);
            begin..end
        })
    }

    /// How many raw bytes follow the message.
    pub fn raw_len(&self) -> u64 {
        self.raw_ranges().last().map_or(0, |range| range.end)
    }

    /// Appends the message to `out`, whatever is in it: the frame asks [`decode`](Message::decode)
    /// whether a peer will take it.
    pub(super) fn encode(&self, out: &mut Out) {
        if self.kind().has_term() {
            out.u64(self.term());
        }
        match self {
            Message::VoteRequest { campaign, last, last_term, commit, commit_term, .. } => {
                out.u8(match campaign {
                    Campaign::PreVote => PRE_VOTE,
                    Campaign::Vote => VOTE,
                    Campaign::Transfer => TRANSFER,
                });
                out.numbers(&[last.0, *last_term, commit.0, *commit_term]);
            }
            Message::VoteReply { pre, reject, commit, commit_term, .. } => {
                out.flag(*pre);
                out.flag(*reject);
                out.numbers(&[commit.0, *commit_term]);
            }
            Message::Append { prev, prev_term, prev_chain, commit, entries, .. } => {
                out.numbers(&[prev.0, *prev_term]);
                out.u32(*prev_chain);
                out.u64(commit.0);
                out.count(entries.len());
                entries.iter().for_each(|entry| entry.encode(out));
            }
            Message::AppendReply { index, reject, reject_hint, log_term, commit, .. } => {
                out.u64(index.0);
                out.flag(*reject);
                out.numbers(&[reject_hint.0, *log_term, commit.0]);
            }
            Message::Heartbeat { commit, context, .. }
            | Message::HeartbeatReply { commit, context, .. } => {
                out.numbers(&[commit.0, *context]);
            }
            Message::Reset { begin, members, .. } => {
                out.anchor(begin);
                out.members(members);
            }
            Message::TimeoutNow { .. } => {}
            Message::ReadIndex { context } => out.u64(*context),
            Message::ReadIndexReply { context, index, .. } => {
                out.numbers(&[*context, index.0]);
            }
            Message::Members { members, .. } => out.members(members),
            Message::RepairRequest { batch } => put_batch_id(out, batch),
            Message::RepairReply { batch, len } => {
                put_batch_id(out, batch);
                out.u32(*len);
            }
        }
    }

    /// The message that is all of `bytes`; `None` if they are none.
    pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Option<Message> {
        In(bytes).all(|bytes| Message::take(kind, bytes))
    }

    fn take(kind: Kind, bytes: &mut In<'_>) -> Option<Message> {
        let term = if kind.has_term() { not_0(bytes)? } else { 0 };
        Some(match kind {
            Kind::VoteRequest => Message::VoteRequest {
                term,
                campaign: match bytes.u8()? {
                    PRE_VOTE => Campaign::PreVote,
                    VOTE => Campaign::Vote,
                    TRANSFER => Campaign::Transfer,
                    _ => return None,
                },
                last: raft_index(bytes)?,
                last_term: bytes.u64()?,
                commit: raft_index(bytes)?,
                commit_term: bytes.u64()?,
            },
            Kind::VoteReply => Message::VoteReply {
                term,
                pre: bytes.flag()?,
                reject: bytes.flag()?,
                commit: raft_index(bytes)?,
                commit_term: bytes.u64()?,
            },
            Kind::Append => {
                let prev = raft_index(bytes)?;
                Message::Append {
                    term,
                    prev,
                    prev_term: bytes.u64()?,
                    prev_chain: bytes.u32()?,
                    commit: raft_index(bytes)?,
                    entries: entries(prev, bytes)?,
                }
            }
            Kind::AppendReply => Message::AppendReply {
                term,
                index: raft_index(bytes)?,
                reject: bytes.flag()?,
                reject_hint: raft_index(bytes)?,
                log_term: bytes.u64()?,
                commit: raft_index(bytes)?,
            },
            Kind::Heartbeat => {
                Message::Heartbeat { term, commit: raft_index(bytes)?, context: bytes.u64()? }
            }
            Kind::HeartbeatReply => {
                Message::HeartbeatReply { term, commit: raft_index(bytes)?, context: bytes.u64()? }
            }
            Kind::Reset => {
                Message::Reset { term, begin: super::anchor(bytes)?, members: bytes.members()? }
            }
            Kind::TimeoutNow => Message::TimeoutNow { term },
            Kind::ReadIndex => Message::ReadIndex { context: not_0(bytes)? },
            Kind::ReadIndexReply => {
                Message::ReadIndexReply { term, context: not_0(bytes)?, index: raft_index(bytes)? }
            }
            Kind::Members => Message::Members { term, members: bytes.members()? },
            Kind::RepairRequest => Message::RepairRequest { batch: batch_id(bytes)? },
            Kind::RepairReply => {
                let (batch, len) = (batch_id(bytes)?, bytes.u32()?);
                let whole = len as usize >= HEADER;
                whole.then_some(Message::RepairReply { batch, len })?
            }
        })
    }
}

impl AppendEntry {
    fn encode(&self, out: &mut Out) {
        out.u64(self.term);
        match &self.content {
            Content::Batch { count, len } => {
                out.u8(BATCH);
                out.u32(*count);
                out.u32(*len);
            }
            Content::NoOp => out.u8(NO_OP),
            Content::Membership(content) => {
                out.u8(MEMBERSHIP);
                out.u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
                out.0.extend_from_slice(content);
            }
        }
    }

    fn take(bytes: &mut In<'_>) -> Option<AppendEntry> {
        let term = not_0(bytes)?;
        let content = match bytes.u8()? {
            BATCH => {
                let (count, len) = (bytes.u32()?, bytes.u32()?);
                let whole = u64::from(count) * HEADER as u64 <= u64::from(len);
                if !(1..=BATCH_RECORDS as u32).contains(&count) || !whole {
                    return None;
                }
                Content::Batch { count, len }
            }
            NO_OP => Content::NoOp,
            MEMBERSHIP => {
                let len = bytes.u32()? as usize;
                let content = bytes.take(len).filter(|_| len <= CONTENT_MAX)?;
                Content::Membership(content.to_vec())
            }
            _ => return None,
        };
        Some(AppendEntry { term, content })
    }
}

impl Kind {
    /// The kind that a number stands for.
    pub fn from_number(number: u8) -> Option<Kind> {
        KINDS.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Whether the sender's term is in it. The engine attaches none to a request for a read index,
    /// and would take one for an election's.
    fn has_term(self) -> bool {
        !matches!(self, Kind::ReadIndex | Kind::RepairRequest | Kind::RepairReply)
    }

    /// Whether raw bytes may follow it.
    pub fn has_raw(self) -> bool {
        matches!(self, Kind::Append | Kind::RepairReply)
    }

    /// Bytes that the message part of a frame of this kind may have.
    pub fn sizes(self) -> RangeInclusive<usize> {
        match self {
            Kind::VoteRequest | Kind::AppendReply => 41..=41,
            Kind::VoteReply => 26..=26,
            Kind::Append => APPEND..=MESSAGE_MAX,
            Kind::Heartbeat | Kind::HeartbeatReply | Kind::ReadIndexReply => 24..=24,
            Kind::Reset => RESET + SET_MIN..=RESET + SET_MAX,
            Kind::TimeoutNow | Kind::ReadIndex => 8..=8,
            Kind::Members => 8 + SET_MIN..=8 + SET_MAX,
            Kind::RepairRequest => BATCH_ID..=BATCH_ID,
            Kind::RepairReply => BATCH_ID + 4..=BATCH_ID + 4,
        }
    }
}

fn entries(prev: RaftIndex, bytes: &mut In<'_>) -> Option<Vec<AppendEntry>> {
    let count = usize::from(bytes.u16()?);
    // Nothing is allocated for Raft entries that cannot be there.
    if count > ENTRIES_MAX || bytes.0.len() < count * ENTRY_MIN {
        return None;
    }
    prev.0.checked_add(count as u64)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(AppendEntry::take(bytes)?);
    }
    Some(entries)
}

fn put_batch_id(out: &mut Out, id: &BatchId) {
    out.numbers(&[id.raft_index.0, id.term]);
    out.u32(id.chain);
}

fn batch_id(bytes: &mut In<'_>) -> Option<BatchId> {
    let (raft_index, term) = (RaftIndex(not_0(bytes)?), not_0(bytes)?);
    Some(BatchId { raft_index, term, chain: bytes.u32()? })
}

fn raft_index(bytes: &mut In<'_>) -> Option<RaftIndex> {
    bytes.u64().map(RaftIndex)
}

fn not_0(bytes: &mut In<'_>) -> Option<u64> {
    bytes.u64().filter(|n| *n != 0)
}

/// Most Raft entries in an append.
pub const ENTRIES_MAX: usize = 4096;
/// Most bytes of a message. An append of [`ENTRIES_MAX`] batches has less, and so has one with the
/// largest control entry: whatever is in the log can be sent.
pub const MESSAGE_MAX: usize = 128 << 10;

const _: () = assert!(APPEND + ENTRIES_MAX * (ENTRY_MIN + 8) <= MESSAGE_MAX);
const _: () = assert!(APPEND + ENTRY_MIN + 4 + CONTENT_MAX <= MESSAGE_MAX);

const KINDS: [Kind; 13] = [
    Kind::VoteRequest,
    Kind::VoteReply,
    Kind::Append,
    Kind::AppendReply,
    Kind::Heartbeat,
    Kind::HeartbeatReply,
    Kind::Reset,
    Kind::TimeoutNow,
    Kind::ReadIndex,
    Kind::ReadIndexReply,
    Kind::Members,
    Kind::RepairRequest,
    Kind::RepairReply,
];
/// An append without Raft entries.
const APPEND: usize = 8 + 8 + 8 + 4 + 8 + 2;
/// A no-op, the smallest Raft entry.
const ENTRY_MIN: usize = 8 + 1;
/// A reset without its member set.
const RESET: usize = 8 + 44;
/// What tells a batch from every other.
const BATCH_ID: usize = 8 + 8 + 4;
/// A member set without members.
const SET_MIN: usize = 8 + 5 * 2 + 1;
const PRE_VOTE: u8 = 0;
const VOTE: u8 = 1;
const TRANSFER: u8 = 2;
const BATCH: u8 = 1;
const NO_OP: u8 = 2;
const MEMBERSHIP: u8 = 3;
