//! The engine's messages as they go to a peer: a thin entry becomes its place in the log, whose
//! bytes the sender reads from the mapping.

use raft::eraftpb::{Entry, Message as RaftMessage, MessageType};

use crate::commitlog::CommitLog;
use crate::commitlog::control::CONTENT_MAX;
use crate::consensus::admit::{TRANSFER, context_number};
use crate::consensus::storage::{Thin, thin};
use crate::plant::Plant;
use crate::types::{Anchor, RaftIndex};
use crate::wire::message::ENTRIES_MAX;
use crate::wire::{AppendEntry, Campaign, Content, Message};

/// One message to one peer.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: u64,
    /// What.
    pub message: Message,
    /// The bytes that follow it, as places in the log: position and length, each in one segment.
    pub raw: Vec<Place>,
}

/// Position and length of bytes in the log.
pub type Place = (u64, u32);

/// Appends what a message of the engine's becomes: nothing if what it needs is not here any more,
/// several if its batches are more than `message_bytes` together. Ends before a batch that is
/// damaged here, and answers its Raft index.
pub fn outgoing(
    log: &CommitLog,
    message: RaftMessage,
    message_bytes: u64,
    sends: &mut Vec<Outgoing>,
) -> Option<RaftIndex> {
    let (to, term) = (message.to, message.term);
    let raft_index = RaftIndex;
    let plain = match message.get_msg_type() {
        MessageType::MsgAppend => {
            return appends(log, &message, message_bytes, sends);
        }
        MessageType::MsgRequestPreVote | MessageType::MsgRequestVote => Message::VoteRequest {
            term,
            campaign: match message.get_msg_type() {
                MessageType::MsgRequestPreVote => Campaign::PreVote,
                _ if message.context == TRANSFER => Campaign::Transfer,
                _ => Campaign::Vote,
            },
            last: raft_index(message.index),
            last_term: message.log_term,
            commit: raft_index(message.commit),
            commit_term: message.commit_term,
        },
        MessageType::MsgRequestPreVoteResponse | MessageType::MsgRequestVoteResponse => {
            Message::VoteReply {
                term,
                pre: message.get_msg_type() == MessageType::MsgRequestPreVoteResponse,
                reject: message.reject,
                commit: raft_index(message.commit),
                commit_term: message.commit_term,
            }
        }
        MessageType::MsgAppendResponse => Message::AppendReply {
            term,
            index: raft_index(message.index),
            reject: message.reject,
            reject_hint: raft_index(message.reject_hint),
            log_term: message.log_term,
            commit: raft_index(message.commit),
        },
        MessageType::MsgHeartbeat => Message::Heartbeat {
            term,
            commit: raft_index(message.commit),
            context: context_number(&message.context),
        },
        MessageType::MsgHeartbeatResponse => Message::HeartbeatReply {
            term,
            commit: raft_index(message.commit),
            context: context_number(&message.context),
        },
        MessageType::MsgSnapshot => {
            let (begin, members) = (log.begin(), log.meta().members.clone());
            if message.get_snapshot().get_metadata().index != begin.raft_index.0 {
                return None;
            }
            Message::Reset { term, begin, members }
        }
        MessageType::MsgTimeoutNow => Message::TimeoutNow { term },
        MessageType::MsgReadIndex => match attempt(&message) {
            0 => return None,
            context => Message::ReadIndex { context },
        },
        MessageType::MsgReadIndexResp => Message::ReadIndexReply {
            term,
            context: attempt(&message),
            index: raft_index(message.index),
        },
        // Everything else is the engine's own.
        _ => return None,
    };
    sends.push(Outgoing { to, message: plain, raw: Vec::new() });
    None
}

fn attempt(message: &RaftMessage) -> u64 {
    message.entries.first().map_or(0, |entry| context_number(&entry.data))
}

/// One append, or several that follow each other.
fn appends(
    log: &CommitLog,
    message: &RaftMessage,
    message_bytes: u64,
    sends: &mut Vec<Outgoing>,
) -> Option<RaftIndex> {
    let mut at = log.anchor(RaftIndex(message.index))?;
    let mut part = Part::new(&at);
    let mut damaged = None;
    for entry in message.entries.iter() {
        let raft_index = RaftIndex(entry.index);
        if log.is_cold(raft_index)
            && log.batch_id(raft_index).is_some()
            && !log.is_intact(raft_index)
        {
            damaged = Some(raft_index);
            break;
        }
        let Some((content, bytes, behind)) = content(log, entry) else { break };
        let len = bytes.map_or(0, |(_, len)| u64::from(len));
        let says = match &content {
            Content::Membership(content) => content.len(),
            _ => 0,
        };
        let mut full = part.bytes + len > message_bytes || part.says + says > CONTENT_MAX;
        full |= part.entries.len() == ENTRIES_MAX;
        full |= log.plants().on(Plant::CommitOldTerm) && entry.term != at.term;
        if !part.entries.is_empty() && full {
            sends.push(std::mem::replace(&mut part, Part::new(&at)).outgoing(message));
        }
        part.bytes += len;
        part.says += says;
        part.raw.extend(bytes);
        part.entries.push(AppendEntry { term: entry.term, content });
        at = behind;
    }
    if !part.entries.is_empty() || message.entries.is_empty() {
        sends.push(part.outgoing(message));
    }
    damaged
}

struct Part {
    prev: RaftIndex,
    prev_term: u64,
    prev_chain: u32,
    entries: Vec<AppendEntry>,
    raw: Vec<Place>,
    bytes: u64,
    /// Bytes of membership entries: they go into the message itself, whose length is limited.
    says: usize,
}

impl Part {
    fn new(at: &Anchor) -> Part {
        let (prev, prev_term, prev_chain) = (at.raft_index, at.term, at.chain);
        Part { prev, prev_term, prev_chain, entries: vec![], raw: vec![], bytes: 0, says: 0 }
    }

    fn outgoing(self, message: &RaftMessage) -> Outgoing {
        let Part { prev, prev_term, prev_chain, entries, raw, .. } = self;
        let (term, commit) = (message.term, RaftIndex(message.commit));
        let append = Message::Append { term, prev, prev_term, prev_chain, commit, entries };
        Outgoing { to: message.to, message: append, raw }
    }
}

/// What a Raft entry holds, where its bytes are, and the anchor behind it.
fn content(log: &CommitLog, entry: &Entry) -> Option<(Content, Option<Place>, Anchor)> {
    let raft_index = RaftIndex(entry.index);
    let behind = log.anchor(raft_index).filter(|anchor| anchor.term == entry.term)?;
    Some(match thin(entry) {
        Thin::NoOp => (Content::NoOp, None, behind),
        Thin::Membership(content) => (Content::Membership(content.to_vec()), None, behind),
        Thin::Batch => {
            let (count, pos) = log.batch(raft_index)?;
            let len = u32::try_from(behind.pos.checked_sub(pos)?).ok()?;
            (Content::Batch { count, len }, Some((pos, len)), behind)
        }
    })
}
