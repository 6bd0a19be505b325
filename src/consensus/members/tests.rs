//! The member set against the engine's own configuration: what it reaches, and what it refuses.

use proptest::prelude::*;
use raft::storage::MemStorage;
use raft::{Config, RawNode};

use super::*;
use crate::consensus::logger::logger;
use crate::error::Status;

fn member(id: u64) -> Member {
    Member { id, incarnation: id * 10, address: format!("host{id}:1") }
}

fn change(op: Op, id: u64) -> Change {
    Change { op, member: member(id) }
}

fn engine(state: ConfState) -> RawNode<MemStorage> {
    let config = Config { id: 1, ..Config::default() };
    let store = MemStorage::new();
    store.wl().set_conf_state(state);
    RawNode::new(&config, store, &logger("test")).unwrap()
}

/// Whether the engine makes this its configuration: it panics or errs if not.
fn takes(set: &MemberSet) -> bool {
    let state = conf_state(set);
    std::panic::catch_unwind(|| {
        let config = Config { id: 1, ..Config::default() };
        let store = MemStorage::new();
        store.wl().set_conf_state(state);
        RawNode::new(&config, store, &logger("test")).is_ok()
    })
    .unwrap_or(false)
}

fn any_change() -> impl Strategy<Value = Change> {
    let op = prop_oneof![
        3 => Just(Op::Voter), 2 => Just(Op::Learner), 2 => Just(Op::Remove), 1 => Just(Op::Move)
    ];
    (op, 1u64..=5, 0u64..3, "[a-z]{0,8}").prop_map(|(op, id, incarnation, address)| Change {
        op,
        member: Member { id, incarnation, address },
    })
}

fn ids() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0u64..=4, 0..4)
}

proptest! {
    /// What a membership entry says comes back, and is read to its last byte.
    #[test]
    fn content_round_trips(changes in prop::collection::vec(any_change(), 1..6)) {
        let content = encode(&changes);
        prop_assert_eq!(decode(&content), Some(changes));
        for len in 1..content.len() {
            prop_assert_eq!(decode(&content[..len]), None);
        }
        prop_assert_eq!(decode(&[&content[..], &[0]].concat()), None);
    }

    /// A peer's bytes are changes or nothing; what is read encodes to the same bytes.
    #[test]
    fn any_bytes_are_content_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for head in [vec![], vec![0, 1, 1], vec![0, 2, 4]] {
            let bytes = [head, bytes.clone()].concat();
            if let Some(changes) = decode(&bytes).filter(|changes| !changes.is_empty()) {
                prop_assert_eq!(encode(&changes), bytes);
            }
        }
    }

    /// Random changes, through joint states: the set is always what the engine has, is sound, and
    /// tells of each member once.
    #[test]
    fn the_set_follows_the_engine(
        steps in prop::collection::vec(prop::collection::vec(any_change(), 1..4), 1..12),
    ) {
        let mut set =
            MemberSet { members: vec![member(1)], voters: vec![1], ..MemberSet::default() };
        let mut node = engine(conf_state(&set));
        let mut at = 0;
        let leave = Vec::new();
        for changes in &steps {
            if is_move(changes) {
                at += 1;
                set = apply(&set, changes, &conf_state(&set), RaftIndex(at));
                prop_assert!(is_sound(&set), "{:?}", set);
                continue;
            }
            let joint = joint(&set, changes);
            let state = match node.apply_conf_change(&conf_change(changes)) {
                Ok(state) => state,
                Err(_) => continue,
            };
            at += 1;
            set = apply(&set, changes, &state, RaftIndex(at));
            prop_assert_eq!(&set.voters, &joint.voters);
            if !set.voters_outgoing.is_empty() {
                prop_assert_eq!(&set, &MemberSet { raft_index: RaftIndex(at), ..joint.clone() });
            }
            prop_assert!(bytes(&set) <= bytes(&joint));
            prop_assert!(is_sound(&set) && takes(&set), "{:?}", set);
            if !set.voters_outgoing.is_empty() {
                let state = node.apply_conf_change(&conf_change(&leave)).unwrap();
                at += 1;
                set = apply(&set, &leave, &state, RaftIndex(at));
                prop_assert!(bytes(&set) <= bytes(&joint));
                prop_assert!(is_sound(&set) && takes(&set), "{:?}", set);
            }
            prop_assert_eq!(set.raft_index, RaftIndex(at));
        }
    }

    /// Whatever passes does not end the process.
    #[test]
    fn a_sound_set_is_one_that_the_engine_takes(
        (voters, voters_outgoing, learners, learners_next) in (ids(), ids(), ids(), ids()),
        auto_leave: bool,
    ) {
        let parts = [&voters, &voters_outgoing, &learners];
        let mut all: Vec<u64> = parts.into_iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let members = all.into_iter().map(member).collect();
        let set = MemberSet {
            raft_index: RaftIndex(1),
            members, voters, voters_outgoing, learners, learners_next, auto_leave,
        };
        if is_sound(&set) {
            prop_assert!(takes(&set), "{:?}", set);
        }
    }
}

fn bytes(set: &MemberSet) -> usize {
    let mut out = Out(Vec::new());
    out.members(set);
    out.0.len()
}

fn sound() -> MemberSet {
    MemberSet {
        raft_index: RaftIndex(7),
        members: (1..=5).map(member).collect(),
        voters: vec![1, 2, 3],
        voters_outgoing: vec![1, 2, 4],
        learners: vec![5],
        learners_next: vec![4],
        auto_leave: true,
    }
}

/// Each kind of set that no engine reaches is refused.
#[test]
fn an_unsound_set_is_refused() {
    assert!(is_sound(&sound()) && takes(&sound()));
    type Spoil = fn(&mut MemberSet);
    let spoils: [(&str, Spoil); 13] = [
        ("nobody votes", |s| s.voters.clear()),
        ("a voter twice", |s| s.voters.push(1)),
        ("an old voter twice", |s| s.voters_outgoing.push(1)),
        ("a learner twice", |s| s.learners.push(5)),
        ("a next learner twice", |s| s.learners_next.push(4)),
        ("no id", |s| s.voters.push(0)),
        ("a learner that votes", |s| s.learners.push(1)),
        ("a next learner that did not vote", |s| s.learners_next = vec![5]),
        ("a next learner that votes on", |s| s.learners_next.push(1)),
        ("not joint, a next learner", |s| s.voters_outgoing.clear()),
        ("a member in no part", |s| s.members.push(member(9))),
        ("a member twice", |s| s.members.push(member(1))),
        ("a voter that nobody tells of", |s| s.members.retain(|m| m.id != 3)),
    ];
    for (what, spoil) in spoils {
        let mut set = sound();
        spoil(&mut set);
        assert!(!is_sound(&set), "{what}");
    }
    let mut set = sound();
    (set.voters_outgoing, set.learners_next) = (vec![], vec![]);
    set.members.retain(|m| m.id != 4);
    assert!(!is_sound(&set), "not joint, and to be left");
    set.auto_leave = false;
    assert!(is_sound(&set) && takes(&set));
}

/// A promotion keeps the incarnation that is bound; a move changes the address alone.
#[test]
fn what_is_bound_stays() {
    let set = sound();
    let state = conf_state(&set);
    let unbound = Member { incarnation: 0, address: "new:2".into(), ..member(5) };
    let promoted = [Change { op: Op::Voter, member: unbound.clone() }];
    let moved = [Change { op: Op::Move, member: unbound }];
    for changes in [&promoted, &moved] {
        let after = apply(&set, changes, &state, RaftIndex(8));
        let five = after.members.iter().find(|m| m.id == 5).unwrap();
        assert_eq!((five.incarnation, &*five.address), (50, "new:2"));
    }
    assert!(is_move(&moved) && !is_move(&promoted) && !is_move(&[]));
    let agreed = [Change { op: Op::Move, member: Member { incarnation: 51, ..member(5) } }];
    let after = apply(&set, &agreed, &state, RaftIndex(8));
    assert_eq!(after.members.iter().find(|m| m.id == 5).unwrap().incarnation, 51);
    assert!(is_move(&agreed));
    assert_eq!(joint(&set, &[change(Op::Remove, 1), change(Op::Voter, 5)]).voters, [2, 3, 5]);
}

/// P11. Who was met as one of another set stays the one that it was; what is bound already, and who
/// was not met, is left as it is.
#[test]
fn who_was_met_is_bound() {
    let set = |incarnations: [u64; 4]| MemberSet {
        members: (1..)
            .zip(incarnations)
            .map(|(id, incarnation)| Member { incarnation, ..member(id) })
            .collect(),
        ..MemberSet::default()
    };
    let bound = bind(set([0, 7, 0, 0]), &set([11, 22, 33, 0]), |id| id != 3);
    assert_eq!(bound, set([11, 7, 0, 0]));
}

/// A joiner that was told of members other than those that the group began with would make another
/// set of each entry than the others do: an entry of a member that it does not know shows it.
#[test]
fn an_entry_of_a_strange_member_does_not_fit() {
    let set = MemberSet {
        members: vec![member(1), member(4), member(6)],
        voters: vec![1, 4],
        learners: vec![6],
        ..MemberSet::default()
    };
    let fit = |changes: &[Change]| fits(&set, RaftIndex(9), changes);
    fit(&[]).unwrap();
    for op in [Op::Remove, Op::Move] {
        fit(&[change(op, 4), change(op, 6), change(Op::Learner, 2)]).unwrap();
        let error = fit(&[change(Op::Learner, 4), change(op, 2)]).unwrap_err();
        assert_eq!(error.status(), Status::Config);
        assert!(error.to_string().contains("Raft entry 9 is of member 2"), "{error}");
    }
}
