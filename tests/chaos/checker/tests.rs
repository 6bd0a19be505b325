//! The checker finds what it is there for: a good history passes, and each way to spoil it is named.

use super::*;

fn append(body: &str, invoked: u64, returned: u64, outcome: Outcome) -> Append {
    Append { body: body.into(), invoked, returned, outcome }
}

fn committed(index: u64, term: u64) -> Outcome {
    Outcome::Committed { index, term }
}

/// Two terms; c is in the log without its client knowing; d never was, e may have been and is not.
fn good() -> History {
    let records = |n: usize| {
        let all = [(0, 1, "a"), (1, 1, "b"), (2, 2, "c"), (3, 2, "f")];
        all[..n].iter().map(|(index, term, body)| (*index, *term, (*body).into())).collect()
    };
    History {
        appends: vec![
            append("a", 10, 20, committed(0, 1)),
            append("b", 15, 40, committed(1, 1)),
            append("c", 30, 90, Outcome::Unknown),
            append("d", 50, 60, Outcome::Never),
            append("e", 50, 60, Outcome::Unknown),
            append("f", 70, 80, committed(3, 2)),
        ],
        barriers: vec![
            Barrier { invoked: 5, returned: 30, index: 0 },
            Barrier { invoked: 41, returned: 60, index: 2 },
        ],
        seen: vec![Seen { index: 1, term: 1, body: "b".into() }],
        roles: vec![
            Role { node: 1, term: 1, leads: true },
            Role { node: 2, term: 1, leads: false },
            Role { node: 1, term: 1, leads: false },
            Role { node: 2, term: 2, leads: true },
            Role { node: 1, term: 2, leads: false },
        ],
        logs: vec![Log { node: 1, records: records(4) }, Log { node: 2, records: records(4) }],
    }
}

fn spoiled(spoil: impl FnOnce(&mut History)) -> Violation {
    let mut history = good();
    spoil(&mut history);
    check(&history).unwrap_err()
}

#[test]
fn a_good_history() {
    check(&good()).unwrap();
    check(&History::default()).unwrap();
}

#[test]
fn logs_that_disagree() {
    let index = 2;
    for other in [(2, 2, "e".to_owned()), (2, 1, "c".to_owned())] {
        let found = spoiled(|history| history.logs[1].records[2] = other);
        assert!(matches!(found, Violation::Disagree { index: 2, .. }), "{found:?}");
    }
    let found = spoiled(|history| history.seen[0].body = "e".into());
    assert!(matches!(found, Violation::Disagree { index: 1, .. }), "{found:?}");
    let seen = Seen { index, term: 1, body: "c".into() };
    let found = spoiled(|history| history.seen.push(seen));
    assert!(matches!(found, Violation::Disagree { index: 2, .. }), "{found:?}");
    let found = spoiled(|history| history.appends[5].outcome = committed(2, 2));
    assert!(matches!(found, Violation::Disagree { index: 2, .. }), "{found:?}");
    let found = spoiled(|history| history.appends[5].outcome = committed(3, 1));
    assert!(matches!(found, Violation::Disagree { index: 3, .. }), "{found:?}");
}

#[test]
fn a_record_from_nowhere() {
    let found = spoiled(|history| drop(history.appends.remove(2)));
    assert_eq!(found, Violation::FromNowhere { index: 2, body: "c".into() });
    let seen = Seen { index: 9, term: 2, body: "x".into() };
    let found = spoiled(|history| history.seen.push(seen));
    assert_eq!(found, Violation::FromNowhere { index: 9, body: "x".into() });
}

#[test]
fn a_record_twice() {
    let again = |history: &mut History| {
        history.logs.iter_mut().for_each(|log| log.records.push((4, 2, "c".into())));
    };
    assert_eq!(spoiled(again), Violation::Twice { body: "c".into(), indexes: [2, 4] });
}

#[test]
fn a_committed_record_that_is_lost() {
    let found = spoiled(|history| history.logs[1].records.truncate(3));
    assert_eq!(found, Violation::Lost { node: 2, index: 3, body: "f".into() });
    let found = spoiled(|history| history.logs.iter_mut().for_each(|log| log.records.clear()));
    assert_eq!(found, Violation::Lost { node: 1, index: 0, body: "a".into() });
}

#[test]
fn a_record_that_was_said_never_to_be() {
    let found = spoiled(|history| history.appends[2].outcome = Outcome::Never);
    assert_eq!(found, Violation::Never { index: 2, body: "c".into() });
}

#[test]
fn a_gap() {
    let gap = |history: &mut History| drop(history.logs[0].records.remove(2));
    assert_eq!(spoiled(gap), Violation::Gap { node: 1, index: 2 });
}

#[test]
fn a_term_that_falls_along_the_log() {
    let falls = |history: &mut History| {
        history.logs.iter_mut().for_each(|log| log.records[1].1 = 3);
        history.seen[0].term = 3;
        history.appends[1].outcome = committed(1, 3);
    };
    assert_eq!(spoiled(falls), Violation::LogTerm { node: 1, index: 2 });
}

/// b is invoked after f returned, and lies before it.
#[test]
fn an_append_out_of_order() {
    let late = |history: &mut History| {
        (history.appends[1].invoked, history.appends[1].returned) = (81, 85);
    };
    assert_eq!(spoiled(late), Violation::Order { index: 1, returned: 4 });
}

#[test]
fn a_stale_read() {
    let found = spoiled(|history| history.barriers[1].index = 1);
    assert_eq!(found, Violation::Stale { index: 1, returned: 2 });
    // Nor may a read fall behind another.
    let read = |invoked, index| Barrier { invoked, returned: invoked + 1, index };
    let found = spoiled(|history| history.barriers = vec![read(61, 3), read(63, 2)]);
    assert_eq!(found, Violation::Stale { index: 2, returned: 3 });
}

#[test]
fn a_term_that_falls() {
    let found = spoiled(|history| history.roles[4].term = 0);
    assert_eq!(found, Violation::TermFell { node: 1, from: 1, to: 0 });
}

#[test]
fn a_term_with_two_leaders() {
    let found = spoiled(|history| history.roles[1].leads = true);
    assert_eq!(found, Violation::TwoLeaders { term: 1, nodes: [1, 2] });
}
