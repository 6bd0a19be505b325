//! Any bytes are a hello or an answer, or an error, never a panic; and what is accepted of our own
//! version encodes to the same bytes. The checksum and the length are put right first, or nothing
//! would pass.
#![no_main]

use dledger::commitlog::meta::{Member, MemberSet};
use dledger::types::{Anchor, RaftIndex};
use dledger::wire::Binding;
use dledger::wire::hello::{self, Expected, Hello, HelloAnswer, PREFIX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ask(data);
    if data.len() >= PREFIX {
        let mut bytes = data.to_vec();
        let rest = (bytes.len() - PREFIX + 4) as u16;
        bytes[6..PREFIX].copy_from_slice(&rest.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        ask(&bytes);
    }
});

fn ask(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert!(bytes.len() <= hello::HELLO_MAX);
        if hello.version <= hello::VERSION {
            assert_eq!(hello.encode().as_deref(), Ok(bytes));
        }
        decide(&hello);
    }
    if let Ok(answer) = HelloAnswer::decode(bytes) {
        let again = answer.encode().expect("what was read can be written");
        assert_eq!(HelloAnswer::decode(&again), Ok(answer.clone()));
        if let HelloAnswer::Hello(hello) = answer {
            decide(&hello);
        }
    }
}

/// Whoever is accepted is a member, becomes one that was expected, or shows a newer set that names
/// both.
fn decide(hello: &Hello) {
    let member = |id, incarnation| Member { id, incarnation, ..Member::default() };
    let members = MemberSet { members: vec![member(1, 1), member(2, 0)], ..MemberSet::default() };
    let book =
        MemberSet { raft_index: RaftIndex(9), members: vec![member(4, 4)], ..members.clone() };
    let expected = Expected {
        group: "g",
        me: 3,
        incarnation: 3,
        dialled: None,
        members: &members,
        book: Some(&book),
        segment_bytes: 1 << 30,
        begin: Anchor::default(),
    };
    let Ok(binding) = hello::check(hello, Some(&expected)) else { return };
    assert_eq!(hello.to, 3);
    let is = |id, incarnation| (hello.from, hello.incarnation) == (id, incarnation);
    let shows = |id, incarnation| {
        let mut shown = hello.members.members.iter();
        let shown = shown.find(|member| member.id == id);
        shown.is_some_and(|member| [0, incarnation].contains(&member.incarnation))
    };
    match binding {
        Binding::Bound => assert!(is(1, 1) || is(4, 4)),
        Binding::ToBind => assert_eq!(hello.from, 2),
        Binding::Newer => {
            assert!(![1, 2, 3].contains(&hello.from));
            assert!(hello.members.raft_index > book.raft_index);
            assert!(shows(3, 3) && shows(hello.from, hello.incarnation));
        }
    }
}
