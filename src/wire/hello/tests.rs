use proptest::prelude::*;

use super::*;
use crate::commitlog::meta::Member;
use crate::options::Options;
use crate::types::{Index, RaftIndex};
use crate::wire::message::tests::{anchors, member_sets, unhex};

fn names() -> impl Strategy<Value = String> {
    prop_oneof!["[^\\p{Cc}]{1,60}", "[a-z]{255}"]
}

fn hellos() -> impl Strategy<Value = Hello> {
    let numbers = any::<([u64; 4], u32)>();
    (names(), numbers, 1u64.., anchors(), anchors(), member_sets()).prop_map(
        |(group, ([from, to, to_incarnation, segment_bytes], priority), incarnation, a, b, set)| {
            let (mut begin, mut end) = (a, b);
            (begin.index, end.index) = (a.index.min(b.index), a.index.max(b.index));
            (begin.pos, end.pos) = (a.pos.min(b.pos), a.pos.max(b.pos));
            if begin.raft_index > end.raft_index {
                (begin.raft_index, end.raft_index) = (b.raft_index, a.raft_index);
                (begin.batch, end.batch) = (b.batch, a.batch);
            }
            Hello {
                version: VERSION,
                group,
                from,
                to,
                incarnation,
                to_incarnation,
                segment_bytes,
                priority,
                begin,
                end,
                members: set,
            }
        },
    )
}

fn answers() -> impl Strategy<Value = HelloAnswer> {
    let refusals = prop::sample::select(&REFUSALS[..]);
    prop_oneof![
        hellos().prop_map(|hello| HelloAnswer::Hello(Box::new(hello))),
        refusals.prop_map(HelloAnswer::Refusal)
    ]
}

fn hello() -> Hello {
    let begin = Anchor {
        index: Index(1000),
        pos: 0x4000_0000,
        raft_index: RaftIndex(90),
        term: 6,
        chain: 0xdead_beef,
        batch: RaftIndex(88),
    };
    let end = Anchor {
        index: Index(1005),
        pos: 0x4000_0200,
        raft_index: RaftIndex(93),
        term: 7,
        chain: 0xcafe_f00d,
        batch: RaftIndex(93),
    };
    Hello {
        version: VERSION,
        group: "grün".into(),
        from: 1,
        to: 2,
        incarnation: 0x11,
        to_incarnation: 0x22,
        segment_bytes: 1 << 30,
        priority: 7,
        begin,
        end,
        members: shown(89, &[(1, 0x11), (2, 0)]),
    }
}

/// A set in force from that Raft entry on, of voters with these incarnations.
fn shown(raft_index: u64, members: &[(u64, u64)]) -> MemberSet {
    let member = |(id, incarnation): &(u64, u64)| Member {
        id: *id,
        incarnation: *incarnation,
        address: format!("h:{id}"),
    };
    MemberSet {
        raft_index: RaftIndex(raft_index),
        members: members.iter().map(member).collect(),
        voters: members.iter().map(|(id, _)| *id).collect(),
        ..MemberSet::default()
    }
}

const MEMBER: &str = "0000000000000001 0000000000000002 0000000000000011 0000000000000022 \
     0000000040000000 00000007 \
     00000000000003e8 0000000040000000 000000000000005a 0000000000000006 deadbeef \
     0000000000000058 \
     00000000000003ed 0000000040000200 000000000000005d 0000000000000007 cafef00d \
     000000000000005d \
     0005 6772c3bc6e \
     0000000000000059 0002 0000000000000001 0000000000000011 0003 683a31 \
     0000000000000002 0000000000000000 0003 683a32 \
     0002 0000000000000001 0000000000000002 0000 0000 0000 00";

/// Hex with the CRC that it should have.
fn with_crc(hex: &str) -> Vec<u8> {
    let mut bytes = unhex(hex);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

proptest! {
    /// A hello comes back as it was sent, and its prefix says how long it is.
    #[test]
    fn round_trip(hello in hellos()) {
        let bytes = hello.encode().unwrap();
        prop_assert!(bytes.len() <= HELLO_MAX);
        prop_assert_eq!(Hello::rest(bytes.first_chunk().unwrap()), Ok(bytes.len() - PREFIX));
        prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
    }

    /// An answer, too.
    #[test]
    fn answers_round_trip(answer in answers()) {
        let bytes = answer.encode().unwrap();
        prop_assert!(bytes.len() <= HELLO_MAX);
        prop_assert_eq!(HelloAnswer::rest(bytes.first_chunk().unwrap()), Ok(bytes.len() - PREFIX));
        prop_assert_eq!(HelloAnswer::decode(&bytes), Ok(answer));
    }

    /// Each strict prefix is refused, and so is what goes on.
    #[test]
    fn neither_shorter_nor_longer(hello in hellos(), answer in answers(), more in any::<u8>()) {
        let (mut hello, mut answer) = (hello.encode().unwrap(), answer.encode().unwrap());
        for len in 0..hello.len() {
            prop_assert!(Hello::decode(&hello[..len]).is_err(), "{} bytes", len);
        }
        for len in 0..answer.len() {
            prop_assert!(HelloAnswer::decode(&answer[..len]).is_err(), "{} bytes", len);
        }
        hello.push(more);
        answer.push(more);
        prop_assert!(Hello::decode(&hello).is_err());
        prop_assert!(HelloAnswer::decode(&answer).is_err());
    }

    /// Each flipped bit is noticed (P5).
    #[test]
    fn no_flipped_bit_goes_unseen(hello in hellos(), answer in answers()) {
        let (mut hello, mut answer) = (hello.encode().unwrap(), answer.encode().unwrap());
        for bit in 0..hello.len() * 8 {
            hello[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Hello::decode(&hello).is_err(), "bit {}", bit);
            hello[bit / 8] ^= 1 << (bit % 8);
        }
        for bit in 0..answer.len() * 8 {
            answer[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(HelloAnswer::decode(&answer).is_err(), "bit {}", bit);
            answer[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Any fields with a right checksum give an answer (P19), and what is accepted has no second
    /// encoding.
    #[test]
    fn mutated_fields(
        hello in hellos(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = hello.encode().unwrap();
        bytes.truncate(bytes.len() - CRC);
        for (at, byte) in hits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert_eq!(hello.encode(), Ok(bytes));
        }
    }
}

/// The bytes of a hello and of both answers, which other members send and expect.
#[test]
fn golden_bytes() {
    let bytes = unhex(&format!("444c4748 0001 00dc {MEMBER} ed2a3ce4"));
    assert_eq!(hello().encode().unwrap(), bytes);
    let bytes = unhex(&format!("444c4741 0001 00de 0000 {MEMBER} 49647385"));
    assert_eq!(HelloAnswer::Hello(Box::new(hello())).encode().unwrap(), bytes);
    let bytes = unhex("444c4741 0001 0006 0005 c4de2b0b");
    assert_eq!(HelloAnswer::Refusal(Refusal::SegmentSize).encode().unwrap(), bytes);
}

/// Prefixes that a peer may send to harm us: refused before anything is allocated.
#[test]
fn hostile_prefixes() {
    let ask = |hex: &str| Hello::rest(unhex(hex).first_chunk().unwrap());
    assert_eq!(ask("444c4748 0001 0004"), Ok(4));
    assert_eq!(ask("444c4748 0001 1ff8"), Ok(HELLO_MAX - PREFIX));
    assert_eq!(ask("444c4748 0001 1ff9"), Err(HelloError::Length(HELLO_MAX + 1)));
    assert_eq!(ask("444c4748 0001 ffff"), Err(HelloError::Length(65_543)));
    assert_eq!(ask("444c4748 0001 0003"), Err(HelloError::Length(11)));
    assert_eq!(ask("444c4748 0001 0000"), Err(HelloError::Length(8)));
    assert_eq!(ask("444c4741 0001 0004"), Err(HelloError::Magic), "an answer");
    assert_eq!(ask("47455420 2f20 4854"), Err(HelloError::Magic), "HTTP");
    assert_eq!(ask("16030100 f801 0000"), Err(HelloError::Magic), "TLS");
}

/// Fields that cannot be, under a right checksum; and none of them can be sent.
#[test]
fn hostile_fields() {
    let refused = |what: &str, change: &dyn Fn(&mut Hello)| {
        let mut wrong = hello();
        change(&mut wrong);
        let mut out = begun(MAGIC_HELLO, VERSION);
        wrong.put(&mut out);
        let bytes = sealed(out).unwrap();
        assert_eq!(Hello::decode(&bytes), Err(HelloError::Malformed), "{what}");
        assert_eq!(wrong.encode(), Err(HelloError::Malformed), "{what}");
        assert_eq!(
            HelloAnswer::Hello(Box::new(wrong)).encode(),
            Err(HelloError::Malformed),
            "{what}"
        );
    };
    refused("no incarnation", &|h| h.incarnation = 0);
    refused("no name", &|h| h.group.clear());
    refused("a name that forges a line of the log", &|h| h.group.push('\n'));
    refused("a long name", &|h| h.group = "x".repeat(256));
    refused("a batch before the beginning", &|h| h.begin.batch.0 = 91);
    refused("a batch behind the end", &|h| h.end.batch.0 = 94);
    refused("an index that falls", &|h| h.end.index.0 = 999);
    refused("a position that falls", &|h| h.end.pos = h.begin.pos - 1);
    refused("a Raft index that falls", &|h| (h.end.raft_index.0, h.end.batch.0) = (89, 89));
    let long = Hello { group: "x".repeat(HELLO_MAX), ..hello() };
    assert!(matches!(long.encode(), Err(HelloError::Length(_))));
    let member = MEMBER.replace("c3bc", "c328");
    let bytes = with_crc(&format!("444c4748 0001 00dc {member}"));
    assert_eq!(Hello::decode(&bytes), Err(HelloError::Malformed), "not UTF-8");
    let bytes = with_crc(&format!("444c4748 0001 00dd {MEMBER} 00"));
    assert_eq!(Hello::decode(&bytes), Err(HelloError::Malformed), "a byte too many");
}

/// The names that the option takes are those that the wire takes.
#[test]
fn names_are_those_of_the_option() {
    for (len, fits) in [(0, false), (1, true), (GROUP_MAX, true), (GROUP_MAX + 1, false)] {
        let group = "x".repeat(len);
        assert_eq!(Options::default().set("group", &group).is_ok(), fits, "{len}");
        assert_eq!(Hello { group, ..hello() }.encode().is_ok(), fits, "{len}");
    }
}

/// A later version has more fields. It is understood as far as it goes, so that it can be refused
/// with a reason; this version may have none.
#[test]
fn later_versions_are_understood_and_refused() {
    let bytes = with_crc(&format!("444c4748 0002 00df {MEMBER} 010203"));
    let later = Hello::decode(&bytes).unwrap();
    assert_eq!(later, Hello { version: 2, ..hello() });
    assert_eq!(check(&later, None), Err(Refusal::Version));
    let bytes = with_crc("444c4741 0002 0008 0001 aabb");
    assert_eq!(HelloAnswer::decode(&bytes), Ok(HelloAnswer::Refusal(Refusal::Version)));
    let bytes = with_crc("444c4741 0001 0008 0001 aabb");
    assert_eq!(HelloAnswer::decode(&bytes), Err(HelloError::Malformed));
    let bytes = with_crc("444c4741 0002 0006 1234");
    assert_eq!(HelloAnswer::decode(&bytes), Err(HelloError::UnknownRefusal(0x1234)));
}

/// P10, P11: who is not a member of this group, or not the one it was, is refused, for the first
/// reason in the order of protocol.md.
#[test]
fn check_in_order() {
    let members = [(1, 0x11), (2, 0x22), (3, 0)];
    let member = |(id, incarnation)| Member { id, incarnation, ..Member::default() };
    let set = MemberSet { members: members.map(member).to_vec(), ..MemberSet::default() };
    let expected = Expected {
        group: "grün",
        me: 2,
        incarnation: 0x22,
        dialled: None,
        members: &set,
        book: None,
        segment_bytes: 1 << 30,
        begin: Anchor { pos: 1 << 30, ..Anchor::default() },
    };
    let ask = |hello: &Hello| check(hello, Some(&expected));
    assert_eq!(ask(&hello()), Ok(Binding::Bound));
    assert_eq!(ask(&Hello { to_incarnation: 0, ..hello() }), Ok(Binding::Bound));
    assert_eq!(ask(&Hello { from: 3, incarnation: 5, ..hello() }), Ok(Binding::ToBind));
    assert_eq!(ask(&Hello { from: 2, incarnation: 0x22, ..hello() }), Err(Refusal::NotMe));
    assert_eq!(check(&hello(), None), Err(Refusal::UnknownGroup));

    let dialled = |id| check(&hello(), Some(&Expected { dialled: Some(id), ..expected }));
    assert_eq!((dialled(1), dialled(3)), (Ok(Binding::Bound), Err(Refusal::NotMe)));

    // All that can be wrong, and then one by one put right.
    let mut wrong = Hello {
        version: 0,
        group: "other".into(),
        from: 4,
        to: 3,
        incarnation: 0x12,
        to_incarnation: 0x23,
        segment_bytes: 1 << 20,
        begin: Anchor::default(),
        ..hello()
    };
    type PutRight = fn(&mut Hello);
    let puts: [(Refusal, PutRight); 8] = [
        (Refusal::Version, |h| h.version = VERSION),
        (Refusal::UnknownGroup, |h| h.group = "grün".into()),
        (Refusal::NotMe, |h| h.to = 2),
        (Refusal::UnknownMember, |h| h.from = 1),
        (Refusal::SegmentSize, |h| h.segment_bytes = 1 << 30),
        (Refusal::Begin, |h| h.begin.pos = 1 << 30),
        (Refusal::OldIncarnation, |h| h.incarnation = 0x11),
        (Refusal::NotThisIncarnation, |h| h.to_incarnation = 0x22),
    ];
    for (refusal, put_right) in puts {
        assert_eq!(ask(&wrong), Err(refusal));
        put_right(&mut wrong);
    }
    assert_eq!(ask(&wrong), Ok(Binding::Bound));
    // Who has purged its head may begin anywhere.
    (wrong.begin.index, wrong.begin.raft_index, wrong.begin.pos) = (Index(1), RaftIndex(1), 0);
    assert_eq!(ask(&wrong), Ok(Binding::Bound));
}

/// The longest hello of this version is one: the longest name, and the longest set that fits in
/// `meta`. A longer set is none.
#[test]
fn the_longest_hello_fits() {
    let with = |len: usize| {
        let mut members = shown(89, &[(1, 0x11)]);
        members.members[0].address = "x".repeat(len);
        Hello { group: "x".repeat(GROUP_MAX), members, ..hello() }
    };
    let mut empty = Out(Vec::new());
    empty.members(&with(0).members);
    let longest = SET_MAX - empty.0.len();
    assert!(with(longest).encode().is_ok());
    assert_eq!(with(longest + 1).encode(), Err(HelloError::Malformed));
}

/// P11, P12. Who is in no set that a member knows is let in by the set that it shows: only if that
/// is newer than all that the member knows, and has both of them with the incarnations that they have.
#[test]
fn who_is_not_known_shows_a_newer_set() {
    use Binding::{Bound, Newer, ToBind};
    use Refusal::{NotThisIncarnation, OldIncarnation, UnknownMember};
    let set = shown(20, &[(1, 0x11), (2, 0x22), (3, 0x33)]);
    let book = shown(30, &[(2, 0x22), (4, 0x44), (5, 0)]);
    let expected = Expected {
        group: "grün",
        me: 2,
        incarnation: 0x22,
        dialled: None,
        members: &set,
        book: None,
        segment_bytes: 1 << 30,
        begin: Anchor::default(),
    };
    let with_book = Expected { book: Some(&book), ..expected };
    let ask = |expected: &Expected<'_>, from: (u64, u64), at, members: &[(u64, u64)]| {
        let (from, incarnation) = from;
        let members = shown(at, members);
        check(&Hello { from, incarnation, to_incarnation: 0, members, ..hello() }, Some(expected))
    };
    let both = [(2, 0x22), (4, 0x44)];
    let unbound = [(2, 0), (4, 0)];
    let row = |what, expected: &_, from, at, members: &[_], answer| {
        assert_eq!(ask(expected, from, at, members), answer, "{what}");
    };
    row("newer", &expected, (4, 0x44), 21, &both, Ok(Newer));
    row("nobody bound", &expected, (4, 0x44), 21, &unbound, Ok(Newer));
    row("equal", &expected, (4, 0x44), 20, &both, Err(UnknownMember));
    row("older", &expected, (4, 0x44), 19, &both, Err(UnknownMember));
    row("another that shows it", &expected, (4, 0x45), 21, &both, Err(OldIncarnation));
    row("without us", &expected, (4, 0x44), 21, &both[1..], Err(UnknownMember));
    row("without it", &expected, (4, 0x44), 21, &both[..1], Err(UnknownMember));
    row("another of us", &expected, (4, 0x44), 21, &[(2, 7), (4, 0)], Err(NotThisIncarnation));
    row("known, another one", &expected, (3, 0x34), 21, &[(2, 0), (3, 0)], Err(OldIncarnation));
    row("known", &expected, (3, 0x33), 21, &[(2, 0), (3, 0)], Ok(Bound));
    row("in the book", &with_book, (4, 0x44), 30, &both, Ok(Bound));
    row("in the book, older", &with_book, (4, 0x44), 0, &[], Ok(Bound));
    row("in the book, not bound", &with_book, (5, 0x55), 30, &[], Ok(ToBind));
    row("in the book, another one", &with_book, (4, 0x45), 30, &unbound, Err(OldIncarnation));
    row("newer than the book", &with_book, (6, 6), 31, &[(2, 0), (6, 6)], Ok(Newer));
    row("added anew since the book", &with_book, (4, 0x45), 31, &unbound, Ok(Newer));
    row("equal to the book", &with_book, (6, 6), 30, &[(2, 0), (6, 6)], Err(UnknownMember));
    row("older than the book", &with_book, (6, 6), 29, &[(2, 0), (6, 6)], Err(UnknownMember));
    row("known here, and none of the book", &with_book, (1, 0x11), 0, &[], Ok(Bound));
    row("known here, another one", &with_book, (1, 0x12), 31, &[(1, 0)], Err(OldIncarnation));
    // Who votes alone was asked for every change of its group.
    let alone = shown(20, &[(2, 0x22)]);
    let alone = Expected { members: &alone, ..expected };
    assert_eq!(ask(&alone, (4, 0x44), 21, &both), Err(UnknownMember));
    // A set is older than our own also where a book of before is left.
    let later = MemberSet { raft_index: RaftIndex(40), ..set.clone() };
    let later = Expected { members: &later, ..with_book };
    assert_eq!(ask(&later, (6, 6), 35, &[(2, 0), (6, 6)]), Err(UnknownMember));
}

/// Each number stands for one refusal, and each has a text of its own for the log.
#[test]
fn refusals_have_numbers_and_texts() {
    let mut texts = std::collections::HashSet::new();
    for (n, refusal) in (1..).zip(REFUSALS) {
        assert_eq!(refusal as u16, n);
        assert_eq!(Refusal::from_number(n), Some(refusal));
        assert!(texts.insert(refusal.to_string()));
    }
    assert_eq!((Refusal::from_number(0), Refusal::from_number(11)), (None, None));
}
