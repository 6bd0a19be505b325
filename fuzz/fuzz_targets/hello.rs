//! Any bytes are a hello or an answer, or an error, never a panic; and what is accepted of our own
//! version encodes to the same bytes. The checksum and the length are put right first, or nothing
//! would pass.
#![no_main]

use dledger::commitlog::meta::{Member, MemberSet};
use dledger::types::Anchor;
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

/// Whoever is accepted is a member, or becomes one that was expected.
fn decide(hello: &Hello) {
    let member = |id, incarnation| Member { id, incarnation, ..Member::default() };
    let members = MemberSet { members: vec![member(1, 1), member(2, 0)], ..MemberSet::default() };
    let expected = Expected {
        group: "g",
        me: 3,
        incarnation: 3,
        dialled: None,
        members: &members,
        segment_bytes: 1 << 30,
        begin: Anchor::default(),
    };
    if hello::check(hello, Some(&expected)).is_ok() {
        let bound = (hello.from, hello.incarnation) == (1, 1);
        assert!(hello.to == 3 && (bound || hello.from == 2));
    }
}
