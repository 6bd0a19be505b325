use super::*;

fn change(op: MemberOp, id: u64) -> MemberChange {
    let address = matches!(op, MemberOp::AddLearner | MemberOp::Move).then(|| format!("new:{id}"));
    MemberChange { op, id, address }
}

/// 1, 2 and 3 vote, 4 learns.
fn set() -> MemberSet {
    let member = |id: u64| Member { id, incarnation: id, address: format!("host{id}:1") };
    MemberSet {
        members: (1..=4).map(member).collect(),
        voters: vec![1, 2, 3],
        learners: vec![4],
        ..MemberSet::default()
    }
}

fn says<T: std::fmt::Debug>(result: Result<T>, status: Status, words: &str) {
    let error = result.expect_err(words);
    assert_eq!(error.status(), status, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

/// A call that makes no sense is refused before anybody is asked, and is told why.
#[test]
fn a_call_is_checked_by_itself() {
    use MemberOp::*;
    let refused = |changes: &[MemberChange], words| {
        says(check_call(changes), Status::Invalid, words);
    };
    assert!(check_call(&[change(AddLearner, 5), change(Remove, 4)]).is_ok());
    assert!(check_call(&[change(Move, 1), change(Move, 2)]).is_ok());
    refused(&[], "allowed: 1 to 1000");
    refused(&vec![change(Remove, 1); 1_001], "allowed: 1 to 1000");
    refused(&[change(Remove, 0)], "0 is no node_id");
    refused(&[change(Remove, 1 << 63)], "is no node_id");
    refused(&[change(Demote, 2), change(Promote, 2)], "member 2 is changed twice");
    refused(&[change(Move, 1), change(Remove, 2)], "a call of their own");
    let without = |op| MemberChange { op, id: 5, address: None };
    refused(&[without(AddLearner)], "needs an address, host:port");
    refused(&[without(Move)], "needs an address, host:port");
    let with = |op, address: &str| MemberChange { op, id: 5, address: Some(address.into()) };
    refused(&[with(Promote, "a:1")], "no address for member 5");
    refused(&[with(AddLearner, "a")], "allowed: host:port");
    refused(&[with(Move, &format!("{}:1", "a".repeat(256)))], "too long a host");
}

/// What the set in force does not allow is refused, and says what stands in the way.
#[test]
fn a_call_is_checked_against_the_set() {
    use MemberOp::*;
    let refused = |changes: &[MemberChange], words| {
        says(in_set(changes, &set(), 1), Status::Invalid, words);
    };
    refused(&[change(AddLearner, 4)], "member 4 is in the group already");
    refused(&[change(Promote, 2)], "member 2 has a vote already");
    refused(&[change(Demote, 4)], "member 4 is a learner already");
    refused(&[change(Remove, 1)], "dl_transfer_leader");
    refused(&[change(Demote, 1), change(Promote, 4)], "dl_transfer_leader");
    let all = [change(Remove, 1), change(Demote, 2), change(Remove, 3)];
    refused(&all, "the last voter");
    for op in [Promote, Demote, Remove, Move] {
        says(in_set(&[change(op, 9)], &set(), 1), Status::NoMember, "node_id 9");
    }
    let mut unnamed = set();
    unnamed.members[1].address.clear();
    let added = in_set(&[change(AddLearner, 5)], &unnamed, 1);
    says(added, Status::Invalid, "member 2 has no address");
}

/// A membership entry has the address that is known, where none is given, and leaves the
/// incarnation that is bound.
#[test]
fn an_entry_has_what_is_known() {
    use MemberOp::*;
    let asked = [change(AddLearner, 5), change(Promote, 4), change(Demote, 2), change(Remove, 3)];
    let entry = in_set(&asked, &set(), 1).unwrap();
    let told: Vec<_> = entry.iter().map(|c| (c.op, c.member.id, &c.member.address[..])).collect();
    let wanted = [
        (Op::Learner, 5, "new:5"),
        (Op::Voter, 4, "host4:1"),
        (Op::Learner, 2, "host2:1"),
        (Op::Remove, 3, ""),
    ];
    assert_eq!(told, wanted);
    assert!(entry.iter().all(|change| change.member.incarnation == 0));
    assert!(members::is_readable(&members::encode(&entry), &entry));
}
