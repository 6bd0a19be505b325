//! Hellos that are not answered at once, or not by whom they should be.

use std::net::TcpListener as StdListener;

use super::*;

/// P11: the first incarnation of a member is answered only when it is bound; if another one was
/// bound meanwhile it is refused, and if the group stops it is put off.
#[test]
fn an_incarnation_is_bound_before_the_answer() {
    let unbound = |id| Member { id, ..Member::default() };
    let handler = Recorder::new("g", 1, &[unbound(1), unbound(2), unbound(3)]);
    let node = Node::start(handler, config());
    let asked = || {
        node.handler.wait("a binding", |state| {
            let (from, incarnation, answer) = state.bindings.pop()?;
            assert_eq!((from, incarnation), (3, incarnation_of_3()));
            Some(answer)
        })
    };
    let says_hello = || {
        let mut stranger = Stranger::dials(&node);
        stranger.sends(&hello(3, 1).encode().unwrap());
        stranger
    };

    let mut stranger = says_hello();
    let answer = asked();
    stranger.0.set_read_timeout(Some(20 * TICK)).unwrap();
    assert!(stranger.0.read(&mut [0; 1]).is_err(), "answered before it was bound");
    stranger.0.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(lock(&node.handler.state).heard.is_empty());
    answer.send(true).unwrap();
    assert!(matches!(stranger.answer(), HelloAnswer::Hello(hello) if hello.from == 1));
    node.handler.next(&Heard::Connected(3));

    for (answer, refusal) in [(Some(false), Refusal::OldIncarnation), (None, Refusal::Busy)] {
        let mut stranger = says_hello();
        let ask = asked();
        match answer {
            Some(answer) => ask.send(answer).unwrap(),
            None => drop(ask),
        }
        assert_eq!(stranger.answer(), HelloAnswer::Refusal(refusal));
        stranger.sees_the_end();
        until("the count", || node.count(Fault::Refused(refusal)) == 1);
    }
}

fn incarnation_of_3() -> u64 {
    incarnation(3)
}

/// Who dials binds too what it finds there.
#[test]
fn a_dialler_binds_whom_it_reaches() {
    let two = Node::member(2);
    let mut set = members();
    set[1].incarnation = 0;
    let mut one = Node::start(Recorder::new("g", 1, &set), config());
    one.net().set_peers(&[two.peer()]);
    let answer = one.handler.wait("a binding", |state| state.bindings.pop());
    assert_eq!((answer.0, answer.1), (2, incarnation(2)));
    assert!(!one.net().is_connected(2));
    answer.2.send(true).unwrap();
    one.handler.next(&Heard::Reached(2));
    one.says(&two, 1);
}

/// P11: when the group binds another incarnation the connections with the old one end, at once
/// and on both sides.
#[test]
fn a_new_binding_ends_old_connections() {
    let (mut one, mut two) = pair();
    one.says(&two, 1);
    two.says(&one, 2);
    one.handler.change(|state| {
        let mut set = members();
        set[1].incarnation += 1;
        state.members = Arc::new(super::set(&set));
    });
    one.handler.change(|state| state.heard.clear());
    let peers = [two.peer()];
    one.net().set_peers(&peers);
    assert!(!one.net().is_connected(2));
    one.handler.next(&Heard::Lost(2));
    two.handler.next(&Heard::Lost(1));
    until("the refusal of what it answers", || {
        one.count(Fault::Refused(Refusal::OldIncarnation)) > 0
    });
    until("the refusal of what it dials", || {
        two.count(Fault::RefusedBy(Refusal::OldIncarnation)) > 0
    });
    assert!(!one.net().is_connected(2));
}

/// P11, P12. A member that is not known shows a newer set, and is let in when that is the book. When
/// our own set has come to it without an incarnation of that member, the member is bound as any is:
/// the connections of before end.
#[test]
fn who_shows_a_newer_set_is_let_in() {
    let newer = |own: u64| {
        let fourth = Member { id: 4, incarnation: own, address: String::new() };
        let set = super::set(&[members(), vec![fourth]].concat());
        MemberSet { raft_index: RaftIndex(7), ..set }
    };
    let mut one = Node::member(1);
    let four = Node::start(Recorder::new("g", 4, &newer(incarnation(4)).members), config());
    four.handler.change(|state| state.members = Arc::new(newer(incarnation(4))));
    let shows = Hello { members: newer(incarnation(4)), ..hello(4, 1) };
    let mut stranger = Stranger::dials(&one);
    stranger.sends(&shows.encode().unwrap());
    let (from, asked, answer) = one.handler.wait("a binding", |state| state.bindings.pop());
    assert_eq!((from, asked), (4, incarnation(4)));
    one.handler.change(|state| state.book = Some(Arc::new(newer(incarnation(4)))));
    one.net().set_peers(&[four.peer()]);
    answer.send(true).unwrap();
    assert!(matches!(stranger.answer(), HelloAnswer::Hello(_)));
    one.handler.wait_for(&Heard::Connected(4));
    one.handler.wait_for(&Heard::Reached(4));
    one.says(&four, 1);

    one.handler.change(|state| (state.members, state.book) = (Arc::new(newer(0)), None));
    one.net().set_peers(&[four.peer()]);
    stranger.sees_the_end();
    one.handler.next(&Heard::Lost(4));
    let answer = one.handler.wait("another binding", |state| state.bindings.pop());
    assert_eq!((answer.0, answer.1), (4, incarnation(4)));

    let older = Hello { members: MemberSet { raft_index: RaftIndex(0), ..newer(0) }, ..shows };
    one.handler.change(|state| state.members = Arc::new(super::set(&members())));
    let mut stranger = Stranger::dials(&one);
    stranger.sends(&older.encode().unwrap());
    assert_eq!(stranger.answer(), HelloAnswer::Refusal(Refusal::UnknownMember));
}

/// A member that was away when it was removed hears of it from those that it dials.
#[test]
fn who_was_removed_hears_of_it() {
    let mut two = Node::member(2);
    let one = Node::start(Recorder::new("g", 1, &members()[..1]), config());
    two.net().set_peers(&[one.peer()]);
    two.handler.next(&Heard::Unknown(1));
    assert_eq!(two.net().counters().dialled.get(), 0);
}

/// Who accepts and hangs up at once is dialled no faster than who is not there.
#[test]
fn who_hangs_up_is_not_dialled_in_a_hurry() {
    let mut one = Node::start(
        Recorder::new("g", 1, &members()),
        Config { redial_min: TICK / 8, redial_max: DEADLINE, ..config() },
    );
    let rude = StdListener::bind("127.0.0.1:0").unwrap();
    one.net().set_peers(&[(2, rude.local_addr().unwrap().to_string())]);
    let end = Anchor { raft_index: RaftIndex(2), ..Anchor::default() };
    let answer = HelloAnswer::Hello(Box::new(Hello { end, ..hello(2, 1) })).encode().unwrap();
    let since = std::time::Instant::now();
    for _ in 0..8 {
        let mut stranger = Stranger(rude.accept().unwrap().0);
        stranger.sends(&answer);
        one.handler.next(&Heard::Reached(2));
    }
    // Seven pauses that double, each at least half of itself.
    assert!(since.elapsed() >= TICK / 16 * 127, "{:?}", since.elapsed());
}

/// A member whose own dial replaces what it dialled before: there is one connection, the new one.
#[test]
fn a_new_connection_replaces_the_old_one() {
    let node = Node::member(1);
    let old = Stranger::enters(&node, &hello(3, 1));
    let mut new = Stranger::enters(&node, &hello(3, 1));
    old.sees_the_end();
    let mut frame = Vec::new();
    crate::wire::frame::encode(&heartbeat(5), &config().frames, &mut frame).unwrap();
    new.sends(&frame);
    node.handler.wait_for(&came(3, heartbeat(5), Bytes::new()));
}

/// Who accepts may be anybody too: one that does not answer, that answers noise, that is another
/// member, or that speaks on a connection that is not its own.
#[test]
fn an_acceptor_may_be_bad() {
    let mut one = Node::start(
        Recorder::new("g", 1, &members()),
        Config { hello_limit: 20 * TICK, ..config() },
    );
    let bad = StdListener::bind("127.0.0.1:0").unwrap();
    one.net().set_peers(&[(2, bad.local_addr().unwrap().to_string())]);
    let accept = || {
        let (stream, _) = bad.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut prefix = [0; PREFIX];
        let mut stranger = Stranger(stream);
        stranger.0.read_exact(&mut prefix).unwrap();
        let mut rest = vec![0; Hello::rest(&prefix).unwrap()];
        stranger.0.read_exact(&mut rest).unwrap();
        let hello = Hello::decode(&[&prefix[..], &rest].concat()).unwrap();
        assert_eq!(hello.to_incarnation, incarnation(2));
        assert_eq!((hello.from, hello.to, hello.end.raft_index), (1, 2, RaftIndex(1)));
        stranger
    };
    let answer = |hello| HelloAnswer::Hello(Box::new(hello)).encode().unwrap();

    accept().sees_the_end();
    until("the count of who is slow", || one.count(Fault::Slow) == 1);

    let mut noise = accept();
    noise.sends(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    noise.sees_the_end();
    until("the count of noise", || one.count(Fault::Hello(crate::wire::HelloError::Magic)) == 1);

    let mut other = accept();
    other.sends(&answer(hello(3, 1)));
    other.sees_the_end();
    until("the count of another member", || one.count(Fault::Refused(Refusal::NotMe)) == 1);
    assert!(lock(&one.handler.state).heard.is_empty());

    let mut talks = accept();
    let right = Hello { end: one.net.as_ref().unwrap().inner.hello(2).end, ..hello(2, 1) };
    let right = Hello { end: Anchor { raft_index: RaftIndex(2), ..right.end }, ..right };
    talks.sends(&answer(right));
    one.handler.next(&Heard::Reached(2));
    talks.sends(b"x");
    one.handler.next(&Heard::Lost(2));
    talks.sees_the_end();
    until("the count of who talks", || one.count(Fault::Talks) == 1);
}
