//! The table of known panics of the engine. Each row is a message from a peer; that it ends a bare
//! engine is shown with one (`raw`), or that it does harm of another kind is told; that it is
//! refused, lowered or answered is shown through [`Core::step`](crate::consensus::core::Core).

use std::panic::{AssertUnwindSafe, catch_unwind};

use raft::storage::MemStorage;
use raft::{Config, RawNode};

use super::*;
use crate::commitlog::meta::MemberSet;
use crate::consensus::core::tests::{Peer, member, set};
use crate::consensus::logger::logger;
use crate::types::Index;
use crate::wire::frame::{Limits, encode};

/// A bare engine of three members in `state`: term 2, entries 1 (term 1) and 2 (term 2), the first
/// of them agreed. The same as [`real`] makes.
fn bare(role: StateRole) -> RawNode<MemStorage> {
    let (election_tick, check_quorum, pre_vote) = (10, true, true);
    let config = Config { id: 1, election_tick, check_quorum, pre_vote, ..Config::default() };
    let store = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
    let entry = |index, term| Entry { index, term, ..Entry::default() };
    store.wl().append(&[entry(1, 1), entry(2, 2)]).unwrap();
    store.wl().mut_hard_state().term = 2;
    store.wl().mut_hard_state().commit = 1;
    let mut node = RawNode::new(&config, store, &logger("bare")).unwrap();
    match role {
        StateRole::Follower => node.raft.become_follower(2, 2),
        _ => node.campaign().unwrap(),
    }
    if role == StateRole::Leader {
        for kind in [MessageType::MsgRequestPreVoteResponse, MessageType::MsgRequestVoteResponse] {
            let mut vote = RaftMessage { from: 2, to: 1, term: 3, ..RaftMessage::default() };
            vote.set_msg_type(kind);
            node.step(vote).unwrap();
        }
    }
    if role == StateRole::Leader {
        // An entry of its term is agreed: without that it answers no read index.
        settle(&mut node);
        let acknowledged = raw(MessageType::MsgAppendResponse, 3, |m| (m.from, m.index) = (3, 3));
        node.step(acknowledged).unwrap();
        settle(&mut node);
    }
    assert_eq!(node.raft.state, role);
    node
}

fn settle(node: &mut RawNode<MemStorage>) {
    while node.has_ready() {
        let ready = node.ready();
        node.mut_store().wl().append(ready.entries()).unwrap();
        let _ = node.advance(ready);
        node.advance_apply();
    }
}

fn raw(kind: MessageType, term: u64, fill: impl FnOnce(&mut RaftMessage)) -> RaftMessage {
    let mut message = RaftMessage { from: 2, to: 1, term, ..RaftMessage::default() };
    message.set_msg_type(kind);
    fill(&mut message);
    message
}

fn ends(role: StateRole, message: RaftMessage) -> bool {
    let mut node = bare(role);
    catch_unwind(AssertUnwindSafe(|| {
        let _ = node.step(message);
        settle(&mut node);
    }))
    .is_err()
}

fn hear(peer: &mut Peer, message: &Message) -> Result<(), Refused> {
    let mut bytes = Vec::new();
    encode(message, &Limits { raw_max: 1 << 20 }, &mut bytes).unwrap();
    peer.hear(2, &bytes).0
}

/// A member of three, as [`bare`] is: entry 1 of term 1 agreed, entry 2 of term 2 not.
fn real(role: StateRole) -> Peer {
    let mut peer = Peer::new(1, set(&[1, 2, 3]));
    let no_op = |term| AppendEntry { term, content: Content::NoOp };
    let append = |term, prev, prev_term, entries| Message::Append {
        term,
        prev: RaftIndex(prev),
        prev_term,
        prev_chain: 0,
        commit: RaftIndex(1),
        entries,
    };
    hear(&mut peer, &append(1, 0, 0, vec![no_op(1)])).unwrap();
    hear(&mut peer, &append(2, 1, 1, vec![no_op(2)])).unwrap();
    if role != StateRole::Follower {
        peer.core.campaign().unwrap();
        peer.settle(&[], &[]);
    }
    if role == StateRole::Leader {
        for pre in [true, false] {
            let (reject, commit, commit_term) = (false, RaftIndex(0), 0);
            let vote = Message::VoteReply { term: 3, pre, reject, commit, commit_term };
            hear(&mut peer, &vote).unwrap();
        }
    }
    if role == StateRole::Leader {
        let acknowledged = Message::AppendReply {
            term: 3,
            index: RaftIndex(3),
            reject: false,
            reject_hint: RaftIndex(0),
            log_term: 0,
            commit: RaftIndex(0),
        };
        assert_eq!(peer.core.step(3, &acknowledged, &[]), Ok(()));
        peer.settle(&[], &[]);
        assert!(peer.core.is_ready());
    }
    assert_eq!(peer.core.state(), role);
    peer
}

fn begin(raft_index: u64, term: u64) -> Anchor {
    let raft_index = RaftIndex(raft_index);
    Anchor { index: Index(9), pos: 4096, raft_index, term, chain: 1, batch: raft_index }
}

fn told(term: u64, members: MemberSet) -> Message {
    Message::Members { term, members }
}

fn reset(term: u64, begin: Anchor, members: MemberSet) -> Message {
    Message::Reset { term, begin, members }
}

/// A set from Raft entry 7 on, with a learner of that id and incarnation.
fn with_learner(id: u64, incarnation: u64) -> MemberSet {
    let mut grown = set(&[2, 3]);
    grown.raft_index = RaftIndex(7);
    grown.members.push(Member { incarnation, ..member(id) });
    grown.learners.push(id);
    grown
}

/// Who was born to be added takes no append before it was told of the members, and of all that it is
/// told the first set that it is in. It has them when it is opened again.
#[test]
fn members_to_begin_with() {
    let heartbeat = Message::Heartbeat { term: 3, commit: RaftIndex(5), context: 0 };
    let entries = vec![AppendEntry { term: 3, content: Content::NoOp }];
    let (prev, commit) = (RaftIndex(0), RaftIndex(1));
    let append = Message::Append { term: 3, prev, prev_term: 0, prev_chain: 0, commit, entries };
    let mut joint = with_learner(1, 0);
    joint.voters_outgoing = vec![2];
    let mut peer = Peer::new(1, set(&[2, 3]));
    let rows = [
        (heartbeat, Ok(())),
        (append.clone(), Err(Drop("it waits for the members"))),
        (told(3, joint), Err(Close("the members, with a change under way"))),
        (told(3, with_learner(4, 0)), Err(Drop("members that this one is none of"))),
        (told(3, with_learner(1, 9)), Err(Drop("members with another in its place"))),
        (told(2, with_learner(1, 0)), Err(Drop("the members of a term that is over"))),
        (append.clone(), Err(Drop("it waits for the members"))),
        (told(3, with_learner(1, 1)), Ok(())),
        (told(3, with_learner(1, 0)), Err(Drop("it knows the members"))),
    ];
    for (message, expected) in rows {
        assert_eq!(hear(&mut peer, &message), expected, "{message:?}");
    }
    let mut peer = peer.reopened();
    assert_eq!(peer.core.log().meta().members, with_learner(1, 1));
    assert!(!peer.core.promotable());
    assert_eq!(hear(&mut peer, &append), Ok(()));
    assert_eq!(peer.core.last(), RaftIndex(1));
}

fn snapshot_of(begin: Anchor, members: &MemberSet) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (begin.raft_index.0, begin.term);
    metadata.set_conf_state(members::conf_state(members));
    snapshot
}

fn unsound() -> MemberSet {
    MemberSet { learners: vec![1], ..set(&[1, 2, 3]) }
}

/// What ends a bare engine does not end ours.
#[test]
fn known_panics_of_the_engine() {
    use MessageType::*;
    use StateRole::{Follower, Leader};
    let append = |term, prev, prev_term, commit, terms: &[u64]| Message::Append {
        term,
        prev: RaftIndex(prev),
        prev_term,
        prev_chain: 0,
        commit: RaftIndex(commit),
        entries: terms
            .iter()
            .map(|term| AppendEntry { term: *term, content: Content::NoOp })
            .collect(),
    };
    let entries = |from: u64, terms: &[u64]| {
        let entry = |(index, term): (u64, &u64)| Entry { index, term: *term, ..Entry::default() };
        (from..).zip(terms).map(entry).collect::<Vec<_>>()
    };
    let close = |why| Err(Close(why));
    type Row<'a> = (&'a str, StateRole, RaftMessage, Message, Result<(), Refused>);
    let table: Vec<Row<'_>> = vec![
        (
            "a heartbeat agrees on what is not here: lowered",
            Follower,
            raw(MsgHeartbeat, 2, |m| m.commit = 99),
            Message::Heartbeat { term: 2, commit: RaftIndex(99), context: 0 },
            Ok(()),
        ),
        (
            "an append contradicts what is agreed",
            Follower,
            raw(MsgAppend, 3, |m| {
                (m.index, m.log_term, m.commit) = (1, 1, 1);
                m.set_entries(entries(1, &[3, 3]).into());
            }),
            append(3, 0, 0, 1, &[3, 3]),
            // It lies before what is agreed: answered with that, its entries unseen.
            Ok(()),
        ),
        (
            "an append behind the end that claims the term 0",
            Follower,
            raw(MsgAppend, 2, |m| {
                (m.index, m.log_term, m.commit) = (50, 0, 50);
            }),
            append(2, 50, 0, 50, &[]),
            close("only the beginning has the term 0"),
        ),
        (
            "a reset with members that cannot be",
            Follower,
            raw(MsgSnapshot, 2, |m| m.set_snapshot(snapshot_of(begin(9, 2), &unsound()))),
            reset(2, begin(9, 2), unsound()),
            close("members that cannot be"),
        ),
        (
            "a reset to the term 0, which everything unknown has",
            Follower,
            raw(MsgSnapshot, 2, |m| m.set_snapshot(snapshot_of(begin(9, 0), &set(&[1, 2, 3])))),
            reset(2, begin(9, 0), set(&[1, 2, 3])),
            close("a reset to a place that cannot be"),
        ),
        (
            "a read index that asks for nothing: the wire has no such message",
            Leader,
            {
                let mut m = raw(MsgReadIndex, 0, |_| {});
                m.from = 2;
                m
            },
            Message::ReadIndex { context: 7 },
            Ok(()),
        ),
        (
            "a proposal without entries: the wire has no proposals",
            Leader,
            raw(MsgPropose, 0, |_| {}),
            Message::ReadIndex { context: 7 },
            Ok(()),
        ),
        (
            "a rejection of the largest index",
            Leader,
            raw(MsgAppendResponse, 3, |m| {
                (m.reject, m.index, m.reject_hint) = (true, 2, u64::MAX);
            }),
            Message::AppendReply {
                term: 3,
                index: RaftIndex(2),
                reject: true,
                reject_hint: RaftIndex(u64::MAX),
                log_term: 0,
                commit: RaftIndex(0),
            },
            close("a number in it is beyond what a log can reach"),
        ),
        (
            "a term beyond which there is none",
            Follower,
            raw(MsgRequestVoteResponse, u64::MAX, |_| {}),
            Message::VoteReply {
                term: u64::MAX,
                pre: false,
                reject: true,
                commit: RaftIndex(0),
                commit_term: 0,
            },
            close("a number in it is beyond what a log can reach"),
        ),
    ];
    for (what, role, raw, message, expected) in table {
        // A term alone ends the engine only when it campaigns for the next.
        let harmless_yet = raw.term == u64::MAX;
        assert!(harmless_yet || ends(role, raw), "{what}: the bare engine lives");
        let mut peer = real(role);
        let committed = peer.core.committed();
        let heard = catch_unwind(AssertUnwindSafe(|| hear(&mut peer, &message)));
        assert_eq!(heard.expect(what), expected, "{what}");
        assert_eq!(peer.core.committed(), committed, "{what}");
    }
}

/// A bare engine counts on from the last term there is.
#[test]
fn the_last_term_ends_the_engine() {
    let mut node = bare(StateRole::Follower);
    node.step(raw(MessageType::MsgRequestVoteResponse, u64::MAX, |_| {})).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| node.campaign())).is_err());
}

/// Who wins with a log that is not durable yet ends the engine; the vote is dropped.
#[test]
fn a_vote_before_its_request_is_dropped() {
    let mut peer = real(StateRole::Follower);
    let view = |persisted| View {
        log: peer.core.log(),
        book: None,
        id: 1,
        term: 3,
        state: StateRole::Candidate,
        leader: 0,
        committed: RaftIndex(1),
        matched: RaftIndex(0),
        persisted,
        room: peer.core.log().room(),
    };
    let (reject, commit, commit_term) = (false, RaftIndex(0), 0);
    let vote = Message::VoteReply { term: 3, pre: false, reject, commit, commit_term };
    assert!(admit(&view(true), 2, &vote, &[]).is_ok());
    let early = Err(Drop("a vote that was not asked for yet"));
    assert_eq!(admit(&view(false), 2, &vote, &[]).map(|_| ()), early);
    peer.core.tick();
}

/// P11, P12. Members of the book are heard, and get votes; theirs do not count, nor does the book.
#[test]
fn members_of_the_book_are_heard_and_do_not_vote() {
    let mut peer = real(StateRole::Follower);
    peer.core.campaign().unwrap();
    peer.settle(&[], &[]);
    let term = peer.core.term() + 1;
    let vote =
        Message::VoteReply { term, pre: true, reject: false, commit: RaftIndex(0), commit_term: 0 };
    assert_eq!(peer.core.step(4, &vote, &[]), Err(Drop("it comes from no member")));
    let book = MemberSet { raft_index: RaftIndex(9), ..set(&[1, 4]) };
    peer.core.set_book(Some(book));
    assert_eq!(peer.core.step(4, &vote, &[]), Err(Drop("a vote that does not count here")));
    assert_eq!(peer.core.step(5, &vote, &[]), Err(Drop("it comes from no member")));
    peer.settle(&[], &[]);
    assert_eq!((peer.core.state(), peer.core.term()), (StateRole::PreCandidate, term - 1));
    let request = Message::VoteRequest {
        term: term + 1,
        campaign: Campaign::Transfer,
        last: RaftIndex(99),
        last_term: term,
        commit: RaftIndex(0),
        commit_term: 0,
    };
    assert_eq!(peer.core.step(4, &request, &[]), Ok(()));
    peer.settle(&[], &[]);
    assert_eq!((peer.core.term(), peer.core.log().meta().vote), (term + 1, 4));
    // Another incarnation of it would lead the same term.
    let twice = Err(Drop("it has this member's vote of that term"));
    assert_eq!(peer.core.step(4, &request, &[]), twice);
    let heartbeat = Message::Heartbeat { term: term + 1, commit: RaftIndex(0), context: 0 };
    assert_eq!(peer.core.step(4, &heartbeat, &[]), Ok(()));
    assert_eq!(peer.core.leader(), 4);
    peer.core.set_book(None);
    assert_eq!(peer.core.step(4, &heartbeat, &[]), Err(Drop("it comes from no member")));
}

/// What no engine panics at, and what would harm the log or the group all the same.
#[test]
fn other_harm_is_refused() {
    use StateRole::{Follower, Leader};
    let sound = || set(&[1, 2, 3]);
    let long = || {
        let mut set = sound();
        set.members[2].address = "x".repeat(3900);
        set
    };
    let append = |term, terms: &[u64]| Message::Append {
        term,
        prev: RaftIndex(2),
        prev_term: 2,
        prev_chain: 0,
        commit: RaftIndex(0),
        entries: terms
            .iter()
            .map(|term| AppendEntry { term: *term, content: Content::NoOp })
            .collect(),
    };
    let heartbeat = |term| Message::Heartbeat { term, commit: RaftIndex(0), context: 0 };
    let high = Anchor { index: Index(1 << 60), ..begin(9, 2) };
    let middle = Anchor { pos: 4097, ..begin(9, 2) };
    let rejects = |hint| Message::AppendReply {
        term: 3,
        index: RaftIndex(2),
        reject: true,
        reject_hint: RaftIndex(hint),
        log_term: 0,
        commit: RaftIndex(0),
    };
    // Without a panic: the next append would lie behind a gap.
    let beyond = Message::AppendReply {
        term: 3,
        index: RaftIndex(99),
        reject: false,
        reject_hint: RaftIndex(0),
        log_term: 0,
        commit: RaftIndex(0),
    };
    let rows: Vec<(StateRole, Message, Result<(), Refused>)> = vec![
        (Leader, heartbeat(3), Err(Close("it leads a term that this member leads"))),
        (Leader, append(3, &[]), Err(Close("it leads a term that this member leads"))),
        (Leader, rejects(1), Ok(())),
        (Leader, beyond, Err(Close("it has Raft entries that its leader does not have"))),
        (Follower, append(2, &[3]), Err(Close("a Raft entry of a term that cannot be there"))),
        (Follower, append(2, &[1]), Err(Close("a Raft entry of a term that cannot be there"))),
        (
            Follower,
            reset(2, high, sound()),
            Err(Close("a number in it is beyond what a log can reach")),
        ),
        (Follower, reset(2, middle, sound()), Err(Close("a reset into the middle of a segment"))),
        (
            Follower,
            reset(2, begin(1, 2), sound()),
            Err(Close("a reset contradicts what is agreed")),
        ),
        (
            Follower,
            reset(2, begin(9, 2), long()),
            Err(Close("more members than there is room for")),
        ),
        (Follower, reset(2, begin(9, 3), sound()), Err(Close("a reset to a place that cannot be"))),
        (
            Follower,
            reset(2, begin(9, 2), set(&[2, 3])),
            Err(Drop("a reset of a group that this member is not in")),
        ),
        (
            Follower,
            Message::ReadIndex { context: 1 },
            Err(Drop("it asks for a read index of a member that does not lead")),
        ),
        (Leader, Message::TimeoutNow { term: 3 }, Err(Drop("a transfer that is over"))),
        (Leader, told(3, sound()), Err(Close("it leads a term that this member leads"))),
        (Follower, told(2, sound()), Err(Drop("it knows the members"))),
        (Follower, told(2, unsound()), Err(Close("members that cannot be"))),
    ];
    for (role, message, expected) in rows {
        let mut peer = real(role);
        assert_eq!(hear(&mut peer, &message), expected, "{message:?}");
    }
    let mut peer = real(Follower);
    let ours = peer.core.step(1, &heartbeat(2), &[]);
    assert_eq!(ours, Err(Close("it claims to come from this member")));
    let other = peer.core.step(4, &heartbeat(2), &[]);
    assert_eq!(other, Err(Drop("it comes from no member")));
    assert_eq!(peer.core.step(2, &heartbeat(2), &[]), Ok(()));
    peer.settle(&[], &[]);
    let third = peer.core.step(3, &heartbeat(2), &[]);
    assert_eq!(third, Err(Close("it leads a term that another member leads")));
}

/// Control entries need units: what finds none is dropped, and comes again.
#[test]
fn control_entries_wait_for_room() {
    let mut peer = real(StateRole::Follower);
    for round in 0..3 {
        let end = peer.core.log().end();
        let entries = vec![AppendEntry { term: 2, content: Content::NoOp }; 4096];
        let (prev, commit) = (end.raft_index, RaftIndex(0));
        let append =
            Message::Append { term: 2, prev, prev_term: 2, prev_chain: 0, commit, entries };
        hear(&mut peer, &append).unwrap();
        assert!(peer.core.last() > end.raft_index, "round {round}");
        assert_eq!(peer.core.last(), peer.core.log().end().raft_index);
    }
}

/// A learner that is told to campaign does not.
#[test]
fn a_learner_stays_one() {
    let mut members = set(&[2, 3]);
    members.members.insert(0, member(1));
    members.learners = vec![1];
    let mut peer = Peer::new(1, members);
    let heartbeat = Message::Heartbeat { term: 1, commit: RaftIndex(0), context: 0 };
    hear(&mut peer, &heartbeat).unwrap();
    hear(&mut peer, &Message::TimeoutNow { term: 1 }).unwrap();
    assert_eq!((peer.core.state(), peer.core.term()), (StateRole::Follower, 1));
}

/// A rejection that comes after the acknowledgement: the engine would probe below what matches.
#[test]
fn a_late_rejection_is_dropped() {
    let mut peer = real(StateRole::Leader);
    let reply = |index, reject| Message::AppendReply {
        term: 3,
        index: RaftIndex(index),
        reject,
        reject_hint: RaftIndex(0),
        log_term: 0,
        commit: RaftIndex(0),
    };
    assert_eq!(hear(&mut peer, &reply(2, false)), Ok(()));
    peer.core.met(2, RaftIndex(3));
    let late = Err(Drop("it rejects what it has acknowledged since"));
    for index in [1, 2] {
        assert_eq!(hear(&mut peer, &reply(index, true)), late);
    }
    assert_eq!(hear(&mut peer, &reply(3, true)), Ok(()));
    assert_eq!(peer.core.matched(2), RaftIndex(2));
}
