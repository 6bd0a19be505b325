use proptest::prelude::*;

use super::*;
use crate::commitlog::meta::Member;
use crate::types::Index;
use crate::wire::frame::{self, FrameHeader, Limits};

pub(in crate::wire) fn anchors() -> impl Strategy<Value = Anchor> {
    any::<(u64, u64, u64, u64, u32, u64)>().prop_map(|(index, pos, a, term, chain, b)| Anchor {
        index: Index(index),
        pos,
        raft_index: RaftIndex(a.max(b)),
        term,
        chain,
        batch: RaftIndex(a.min(b)),
    })
}

pub(in crate::wire) fn member_sets() -> impl Strategy<Value = MemberSet> {
    let members = prop::collection::vec(any::<(u64, u64, String)>(), 0..8);
    let ids = || prop::collection::vec(any::<u64>(), 0..8);
    (any::<u64>(), members, [ids(), ids(), ids(), ids()], any::<bool>()).prop_map(
        |(at, members, [voters, voters_outgoing, learners, learners_next], auto_leave)| MemberSet {
            raft_index: RaftIndex(at),
            members: members
                .into_iter()
                .map(|(id, incarnation, address)| Member { id, incarnation, address })
                .collect(),
            voters,
            voters_outgoing,
            learners,
            learners_next,
            auto_leave,
        },
    )
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        (1..=BATCH_RECORDS as u32, any::<u16>()).prop_map(|(count, more)| {
            Content::Batch { count, len: count * HEADER as u32 + u32::from(more) }
        }),
        Just(Content::NoOp),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Content::Membership),
    ]
}

fn append_entries() -> impl Strategy<Value = Vec<AppendEntry>> {
    let entry = (1u64.., contents()).prop_map(|(term, content)| AppendEntry { term, content });
    prop::collection::vec(entry, 0..20)
}

fn batch_ids() -> impl Strategy<Value = BatchId> {
    (1u64.., 1u64.., any::<u32>()).prop_map(|(raft_index, term, chain)| BatchId {
        raft_index: RaftIndex(raft_index),
        term,
        chain,
    })
}

fn indexes() -> impl Strategy<Value = RaftIndex> {
    any::<u64>().prop_map(RaftIndex)
}

pub(in crate::wire) fn messages() -> impl Strategy<Value = Message> {
    let campaigns =
        prop_oneof![Just(Campaign::PreVote), Just(Campaign::Vote), Just(Campaign::Transfer)];
    let n = any::<u64>;
    prop_oneof![
        (1u64.., campaigns, indexes(), n(), indexes(), n()).prop_map(
            |(term, campaign, last, last_term, commit, commit_term)| Message::VoteRequest {
                term,
                campaign,
                last,
                last_term,
                commit,
                commit_term
            }
        ),
        (1u64.., any::<bool>(), any::<bool>(), indexes(), n()).prop_map(
            |(term, pre, reject, commit, commit_term)| Message::VoteReply {
                term,
                pre,
                reject,
                commit,
                commit_term
            }
        ),
        (1u64.., ..=u64::MAX - 20, n(), any::<u32>(), indexes(), append_entries()).prop_map(
            |(term, prev, prev_term, prev_chain, commit, entries)| Message::Append {
                term,
                prev: RaftIndex(prev),
                prev_term,
                prev_chain,
                commit,
                entries
            }
        ),
        (1u64.., indexes(), any::<bool>(), indexes(), n(), indexes()).prop_map(
            |(term, index, reject, reject_hint, log_term, commit)| Message::AppendReply {
                term,
                index,
                reject,
                reject_hint,
                log_term,
                commit
            }
        ),
        (1u64.., indexes(), n()).prop_map(|(term, commit, context)| Message::Heartbeat {
            term,
            commit,
            context
        }),
        (1u64.., indexes(), n()).prop_map(|(term, commit, context)| Message::HeartbeatReply {
            term,
            commit,
            context
        }),
        (1u64.., anchors(), member_sets()).prop_map(|(term, begin, members)| Message::Reset {
            term,
            begin,
            members
        }),
        (1u64..).prop_map(|term| Message::TimeoutNow { term }),
        (1u64..).prop_map(|context| Message::ReadIndex { context }),
        (1u64.., 1u64.., indexes()).prop_map(|(term, context, index)| Message::ReadIndexReply {
            term,
            context,
            index
        }),
        (1u64.., member_sets()).prop_map(|(term, members)| Message::Members { term, members }),
        batch_ids().prop_map(|batch| Message::RepairRequest { batch }),
        (batch_ids(), HEADER as u32..).prop_map(|(batch, len)| Message::RepairReply { batch, len }),
    ]
}

/// One of each message, and its bytes.
pub(in crate::wire) fn golden() -> Vec<(Message, &'static str)> {
    let r = RaftIndex;
    let term = 7;
    let begin = Anchor {
        index: Index(1000),
        pos: 0x4000_0000,
        raft_index: r(90),
        term: 6,
        chain: 0xdead_beef,
        batch: r(88),
    };
    let member =
        |id, incarnation, address: &str| Member { id, incarnation, address: address.into() };
    let members = MemberSet {
        raft_index: r(95),
        members: vec![member(1, 0x11, "a:1"), member(2, 0, "b:2")],
        voters: vec![1],
        voters_outgoing: vec![1, 2],
        learners: vec![],
        learners_next: vec![2],
        auto_leave: true,
    };
    let entry = |content| AppendEntry { term: 6, content };
    let batch = BatchId { raft_index: r(96), term: 6, chain: 0xcafe_f00d };
    vec![
        (
            Message::VoteRequest {
                term,
                campaign: Campaign::Transfer,
                last: r(100),
                last_term: 6,
                commit: r(98),
                commit_term: 5,
            },
            "0000000000000007 02 0000000000000064 0000000000000006 \
             0000000000000062 0000000000000005",
        ),
        (
            Message::VoteReply { term, pre: true, reject: false, commit: r(98), commit_term: 5 },
            "0000000000000007 01 00 0000000000000062 0000000000000005",
        ),
        (
            Message::Append {
                term,
                prev: r(100),
                prev_term: 5,
                prev_chain: 0xcafe_f00d,
                commit: r(98),
                entries: vec![
                    entry(Content::NoOp),
                    entry(Content::Batch { count: 2, len: 100 }),
                    entry(Content::Membership(vec![0xab, 0xcd])),
                    entry(Content::Batch { count: 1, len: 51 }),
                ],
            },
            "0000000000000007 0000000000000064 0000000000000005 cafef00d 0000000000000062 0004 \
             0000000000000006 02 \
             0000000000000006 01 00000002 00000064 \
             0000000000000006 03 00000002 abcd \
             0000000000000006 01 00000001 00000033",
        ),
        (
            Message::AppendReply {
                term,
                index: r(100),
                reject: true,
                reject_hint: r(97),
                log_term: 5,
                commit: r(96),
            },
            "0000000000000007 0000000000000064 01 0000000000000061 0000000000000005 \
             0000000000000060",
        ),
        (
            Message::Heartbeat { term, commit: r(98), context: 0x0102_0304_0506_0708 },
            "0000000000000007 0000000000000062 0102030405060708",
        ),
        (
            Message::HeartbeatReply { term, commit: r(98), context: 0 },
            "0000000000000007 0000000000000062 0000000000000000",
        ),
        (
            Message::Reset { term, begin, members },
            "0000000000000007 \
             00000000000003e8 0000000040000000 000000000000005a 0000000000000006 deadbeef \
             0000000000000058 \
             000000000000005f \
             0002 0000000000000001 0000000000000011 0003613a31 \
             0000000000000002 0000000000000000 0003623a32 \
             0001 0000000000000001 \
             0002 0000000000000001 0000000000000002 \
             0000 \
             0001 0000000000000002 \
             01",
        ),
        (Message::TimeoutNow { term }, "0000000000000007"),
        (Message::ReadIndex { context: 9 }, "0000000000000009"),
        (
            Message::ReadIndexReply { term, context: 9, index: r(98) },
            "0000000000000007 0000000000000009 0000000000000062",
        ),
        (
            Message::Members {
                term,
                members: MemberSet {
                    raft_index: r(95),
                    members: vec![member(1, 0x11, "a:1"), member(5, 0, "e:5")],
                    voters: vec![1],
                    learners: vec![5],
                    ..MemberSet::default()
                },
            },
            "0000000000000007 \
             000000000000005f \
             0002 0000000000000001 0000000000000011 0003613a31 \
             0000000000000005 0000000000000000 0003653a35 \
             0001 0000000000000001 \
             0000 \
             0001 0000000000000005 \
             0000 \
             00",
        ),
        (Message::RepairRequest { batch }, "0000000000000060 0000000000000006 cafef00d"),
        (
            Message::RepairReply { batch, len: 151 },
            "0000000000000060 0000000000000006 cafef00d 00000097",
        ),
    ]
}

pub(in crate::wire) fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = Out(Vec::new());
    message.encode(&mut out);
    out.0
}

fn append(entries: &str) -> Vec<u8> {
    let fixed = "0000000000000007 0000000000000064 0000000000000005 cafef00d 0000000000000062";
    unhex(&format!("{fixed} {entries}"))
}

proptest! {
    /// Every message comes back as it was sent, and has a size that its kind may have.
    #[test]
    fn round_trip(message in messages()) {
        let bytes = encoded(&message);
        prop_assert!(message.kind().sizes().contains(&bytes.len()));
        prop_assert_eq!(Message::decode(message.kind(), &bytes), Some(message));
    }

    /// A message that was cut short, or goes on, is none.
    #[test]
    fn neither_shorter_nor_longer(message in messages(), more in any::<u8>()) {
        let mut bytes = encoded(&message);
        for len in 0..bytes.len() {
            prop_assert_eq!(Message::decode(message.kind(), &bytes[..len]), None, "{} bytes", len);
        }
        bytes.push(more);
        prop_assert_eq!(Message::decode(message.kind(), &bytes), None);
    }

    /// Any bytes give an answer, and what is accepted has no second encoding (P19).
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in KINDS {
            if let Some(message) = Message::decode(kind, &bytes) {
                prop_assert_eq!(encoded(&message), bytes.clone());
            }
        }
    }

    /// The same for bytes that differ from a message's in a few places.
    #[test]
    fn mutated_bytes(
        message in messages(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&message);
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(decoded) = Message::decode(message.kind(), &bytes) {
            prop_assert_eq!(encoded(&decoded), bytes);
        }
    }
}

/// The bytes of each message, which other members send and expect.
#[test]
fn golden_bytes() {
    for (message, hex) in golden() {
        assert_eq!(encoded(&message), unhex(hex), "{:?}", message.kind());
        assert_eq!(Message::decode(message.kind(), &unhex(hex)), Some(message));
    }
    let kinds: Vec<_> = golden().iter().map(|(message, _)| message.kind()).collect();
    assert_eq!(kinds, KINDS, "one of each");
}

/// The ranges of the raw bytes follow each other, one for each batch.
#[test]
fn raw_ranges() {
    for (message, _) in golden() {
        let ranges: Vec<_> = message.raw_ranges().collect();
        match message.kind() {
            Kind::Append => assert_eq!(ranges, [0..100, 100..151]),
            Kind::RepairReply => assert_eq!(ranges, std::slice::from_ref(&(0..151))),
            _ => assert_eq!(ranges, []),
        }
        let end = ranges.last().map_or(0, |range| range.end);
        assert_eq!(message.raw_len(), end);
    }
}

/// Raft entries that cannot be there, each with the reason it is refused for.
#[test]
fn hostile_appends() {
    let no_ops = |n: usize| format!("{n:04x} {}", "0000000000000006 02".repeat(n));
    let membership =
        |len: usize| format!("0001 0000000000000006 03 {len:08x} {}", "00".repeat(len));
    let accepted = |what: &str, entries: &str| {
        assert!(Message::decode(Kind::Append, &append(entries)).is_some(), "{what}");
    };
    let refused = |what: &str, entries: &str| {
        assert_eq!(Message::decode(Kind::Append, &append(entries)), None, "{what}");
    };
    accepted("none", "0000");
    accepted("a no-op", "0001 0000000000000006 02");
    refused("a term of 0", "0001 0000000000000000 02");
    refused("content 0", "0001 0000000000000006 00");
    refused("content 4", "0001 0000000000000006 04");
    refused("fewer than the count", "0002 0000000000000006 02");
    refused("more than the count", "0000 0000000000000006 02");
    refused("a count that no bytes stand behind", "1000");
    refused("the largest count", "ffff");
    accepted("the most there may be", &no_ops(ENTRIES_MAX));
    refused("one more", &no_ops(ENTRIES_MAX + 1));
    accepted("a batch of the smallest record", "0001 0000000000000006 01 00000001 00000030");
    refused("a batch of no records", "0001 0000000000000006 01 00000000 00000030");
    refused("shorter than its header", "0001 0000000000000006 01 00000001 0000002f");
    refused("shorter than its headers", "0001 0000000000000006 01 00000003 0000008f");
    accepted("a full batch", "0001 0000000000000006 01 00010000 00300000");
    refused("one record more", "0001 0000000000000006 01 00010001 00400000");
    refused("headers beyond 4 GiB", "0001 0000000000000006 01 ffffffff ffffffff");
    accepted("a change without content", &membership(0));
    accepted("the longest change", &membership(CONTENT_MAX));
    refused("a longer one", &membership(CONTENT_MAX + 1));
    refused("a change of 4 GiB", "0001 0000000000000006 03 ffffffff 00");
    refused("a change that ends early", "0001 0000000000000006 03 00000002 00");
}

/// Sums over 4 GiB do not wrap.
#[test]
fn raw_lengths_add_up_beyond_32_bits() {
    let four = "0000000000000006 01 00000001 ffffffff".repeat(4096);
    let message = Message::decode(Kind::Append, &append(&format!("1000 {four}"))).unwrap();
    assert_eq!(message.raw_len(), 4096 * u64::from(u32::MAX));
}

/// Raft indexes end somewhere.
#[test]
fn no_raft_entry_beyond_the_last_index() {
    let at = |prev: u64, count: usize| {
        let entries = format!("{count:04x} {}", "0000000000000006 02".repeat(count));
        let mut bytes = append(&entries);
        bytes[8..16].copy_from_slice(&prev.to_be_bytes());
        Message::decode(Kind::Append, &bytes).is_some()
    };
    assert!(at(u64::MAX - 2, 2));
    assert!(!at(u64::MAX - 1, 2));
    assert!(at(u64::MAX, 0));
}

/// The engine takes a message of term 0 for one of its own, and a read index without a context
/// would have no answer.
#[test]
fn no_zero_where_zero_has_a_meaning_of_its_own() {
    for (message, hex) in golden() {
        let mut bytes = unhex(hex);
        bytes[..8].fill(0);
        assert_eq!(Message::decode(message.kind(), &bytes), None, "{:?}", message.kind());
    }
    let reply = unhex("0000000000000007 0000000000000000 0000000000000062");
    assert_eq!(Message::decode(Kind::ReadIndexReply, &reply), None);
}

/// Flags and enums have no other values, and no batch stands behind the anchor that counts it.
#[test]
fn fields_out_of_range() {
    let golden = golden();
    let refused = |kind: Kind, at: usize, byte: u8| {
        let (_, hex) = golden.iter().find(|(message, _)| message.kind() == kind).unwrap();
        let mut bytes = unhex(hex);
        bytes[at] = byte;
        assert_eq!(Message::decode(kind, &bytes), None, "{kind:?}, byte {at}");
    };
    refused(Kind::VoteRequest, 8, 3);
    refused(Kind::VoteReply, 8, 2);
    refused(Kind::VoteReply, 9, 2);
    refused(Kind::AppendReply, 16, 2);
    refused(Kind::Reset, 8 + 43, 0x5b);
    refused(Kind::Reset, 8 + 44 + 8 + 2 + 18, 0xff);
    refused(Kind::Members, 8 + 8 + 2 + 18, 0xff);
}

/// What the log may hold can be sent: the most batches, the longest control entry, and any member
/// set that `meta` takes.
#[test]
fn the_largest_messages_fit() {
    let fits = |message: &Message| {
        let limits = Limits { raw_max: u32::MAX };
        let mut head = Vec::new();
        frame::encode(message, &limits, &mut head).unwrap();
        assert!(head.len() <= frame::HEAD_MAX);
        let (header, bytes) = head.split_first_chunk().unwrap();
        let header = FrameHeader::decode(header, &limits).unwrap();
        assert_eq!(header.message(bytes).as_ref(), Ok(message));
    };
    let append = |entries| Message::Append {
        term: 7,
        prev: RaftIndex(1),
        prev_term: 1,
        prev_chain: 0,
        commit: RaftIndex(1),
        entries,
    };
    let batch = Content::Batch { count: 1, len: 1000 };
    fits(&append(vec![AppendEntry { term: 7, content: batch }; ENTRIES_MAX]));
    let change = Content::Membership(vec![1; CONTENT_MAX]);
    fits(&append(vec![AppendEntry { term: 7, content: change }]));
    let member = Member { id: 1, incarnation: 1, address: "x".repeat(SET_MAX - SET_MIN - 18) };
    let members = MemberSet { members: vec![member], ..MemberSet::default() };
    fits(&Message::Members { term: 7, members: members.clone() });
    fits(&Message::Reset { term: 7, begin: Anchor::default(), members });
    fits(&Message::Reset { term: 7, begin: Anchor::default(), members: MemberSet::default() });
    fits(&Message::Members { term: 7, members: MemberSet::default() });
}

/// Each number stands for one kind.
#[test]
fn kinds_have_numbers() {
    for (n, kind) in (1..).zip(KINDS) {
        assert_eq!(kind as u8, n);
        assert_eq!(Kind::from_number(n), Some(kind));
    }
    assert_eq!((Kind::from_number(0), Kind::from_number(14)), (None, None));
}
