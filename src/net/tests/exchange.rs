//! Members that behave.

use super::*;
use crate::wire::Campaign;

/// Protocol: every kind of message goes from one member to the other, in both directions, and the
/// raw bytes of appends arrive as they were.
#[test]
fn every_message_arrives() {
    let (mut one, mut two) = pair();
    let anchor = Anchor { raft_index: RaftIndex(9), pos: 77, ..Anchor::default() };
    let entry = |len| AppendEntry { term: 2, content: Content::Batch { count: 1, len } };
    let of_three = Message::Append {
        term: 3,
        prev: RaftIndex(4),
        prev_term: 2,
        prev_chain: 5,
        commit: RaftIndex(3),
        entries: vec![
            entry(100),
            AppendEntry { term: 2, content: Content::NoOp },
            AppendEntry { term: 2, content: Content::Membership(vec![1, 2, 3]) },
            entry(70_000),
        ],
    };
    let messages = [
        (
            Message::VoteRequest {
                term: 3,
                campaign: Campaign::PreVote,
                last: RaftIndex(9),
                last_term: 2,
                commit: RaftIndex(8),
                commit_term: 2,
            },
            vec![],
        ),
        (
            Message::VoteReply {
                term: 3,
                pre: true,
                reject: false,
                commit: RaftIndex(0),
                commit_term: 0,
            },
            vec![],
        ),
        (of_three, vec![raw(1, 100), raw(2, 60_000), Bytes::new(), raw(3, 10_000)]),
        (append(1, 1 << 20), vec![raw(4, 1 << 20)]),
        (
            Message::AppendReply {
                term: 3,
                index: RaftIndex(4),
                reject: true,
                reject_hint: RaftIndex(2),
                log_term: 1,
                commit: RaftIndex(1),
            },
            vec![],
        ),
        (heartbeat(3), vec![]),
        (Message::HeartbeatReply { term: 3, commit: RaftIndex(3), context: 7 }, vec![]),
        (Message::Reset { term: 3, begin: anchor, members: set(&members()) }, vec![]),
        (Message::TimeoutNow { term: 3 }, vec![]),
        (Message::Members { term: 3, members: set(&members()) }, vec![]),
        (Message::ReadIndex { context: 8 }, vec![]),
        (Message::ReadIndexReply { term: 3, context: 8, index: RaftIndex(9) }, vec![]),
    ];
    for (message, raw) in &messages {
        one.net().send(2, message, raw.clone()).unwrap();
        two.net().send(1, message, raw.clone()).unwrap();
    }
    for (message, raw) in &messages {
        let raw = Bytes::from(raw.concat());
        two.handler.wait_for(&came(1, message.clone(), raw.clone()));
        one.handler.wait_for(&came(2, message.clone(), raw));
    }
    assert!(one.net().counters().faults().all(|(_, n)| n == 0));
    until("all written", || one.net().queued_bytes(2) == 0);
    let out = one.net().counters().bytes_out.get();
    until("equal counts", || two.net().counters().bytes_in.get() == out);
    for node in [&one, &two] {
        let name = format!("group {}", node.handler.identity.node);
        assert_eq!(lock(&node.handler.state).threads, HashSet::from([name]));
    }
}

/// Decision 7 and the flow: a heartbeat goes before all bulk that is queued, and waits for one
/// frame only; the appends stay in order. A receiver that stalls costs bounded memory on both
/// sides (P18), and is fed on when it recovers (22).
#[test]
fn a_heartbeat_overtakes_bulk() {
    const FRAME: usize = 200 << 10;
    let (mut one, two) = (Node::member(1), Node::start(slow(), small()));
    one.net().set_peers(&[two.peer()]);
    one.handler.wait_for(&Heard::Reached(2));
    let mut n = 0;
    while one.net().send(2, &append(n, FRAME), vec![raw(n, FRAME)]).is_ok() {
        n += 1;
        assert!(n < 4096, "the queue has no bound");
    }
    // What is not refused now has left for the kernel; at last it takes no more.
    let mut quiet = 0;
    while quiet < 40 {
        std::thread::sleep(TICK);
        match one.net().send(2, &append(n, FRAME), vec![raw(n, FRAME)]) {
            Ok(()) => (n, quiet) = (n + 1, 0),
            Err(why) => {
                assert_eq!(why, Unsent::Full);
                quiet += 1;
            }
        }
    }
    let queued = one.net().queued_bytes(2);
    assert!((32 << 20..=64 << 20).contains(&queued), "{queued} bytes queued");
    let held = lock(&two.handler.state).held.iter().map(|i| i.raw.len()).sum::<usize>();
    assert!(held <= small().incoming_max, "{held} bytes held");
    one.net().send(2, &heartbeat(1), Vec::new()).unwrap();
    two.handler.change(|state| {
        state.holds = false;
        state.held.clear();
    });
    let is_append = |heard: &&Heard| match heard {
        Heard::Received(_, message, _) => message.kind() == crate::wire::Kind::Append,
        _ => false,
    };
    two.handler.wait("the last append", |state| {
        (state.heard.iter().filter(is_append).count() as u64 == n).then_some(())
    });
    let state = lock(&two.handler.state);
    let beat = came(1, heartbeat(1), Bytes::new());
    let at = state.heard.iter().position(|heard| *heard == beat).unwrap();
    let behind = state.heard[at..].iter().filter(is_append).count();
    let waited = queued / FRAME;
    assert!(behind + 3 >= waited, "{behind} appends behind the heartbeat, {waited} were queued");
    for (heard, n) in state.heard.iter().filter(is_append).zip(0..) {
        assert!(*heard == came(1, append(n, FRAME), raw(n, FRAME)), "append {n}");
    }
}

fn slow() -> Arc<Recorder> {
    let handler = Recorder::new("g", 2, &members());
    handler.change(|state| state.holds = true);
    handler
}

fn small() -> Config {
    Config { incoming_max: 1 << 20, ..config() }
}

/// A frame that is larger than all the room there ever is goes through nevertheless, and so does
/// the one behind it, as soon as the first is done with.
#[test]
fn a_frame_larger_than_all_room_arrives() {
    let config = Config { incoming_max: 1000, queued_max: 1000, ..config() };
    let (mut one, two) = (Node::start(Recorder::new("g", 1, &members()), config.clone()), {
        Node::start(slow(), config)
    });
    one.net().set_peers(&[two.peer()]);
    one.handler.wait_for(&Heard::Reached(2));
    one.net().send(2, &append(1, 100_000), vec![raw(1, 100_000)]).unwrap();
    two.handler.wait_for(&came(1, append(1, 100_000), raw(1, 100_000)));
    until("all written", || one.net().queued_bytes(2) == 0);
    one.net().send(2, &append(2, 500), vec![raw(2, 500)]).unwrap();
    until("all written", || one.net().queued_bytes(2) == 0);
    assert_eq!(lock(&two.handler.state).held.len(), 1);
    two.handler.change(|state| state.held.clear());
    two.handler.wait_for(&came(1, append(2, 500), raw(2, 500)));
}

/// A member that goes away and comes back, at the same address, is reached again; what is sent
/// meanwhile is refused at once. The address is free as soon as a `Net` is dropped.
#[test]
fn a_member_comes_back() {
    let (mut one, mut two) = pair();
    let address = two.address().to_string();
    for n in 1..4 {
        one.handler.next(&Heard::Reached(2));
        one.says(&two, n);
        drop(two);
        one.handler.next(&Heard::Lost(2));
        assert_eq!(one.net().send(2, &heartbeat(0), Vec::new()), Err(Unsent::NotConnected));
        let config = Config { listen: address.clone(), ..config() };
        two = Node::start(Recorder::new("g", 2, &members()), config);
    }
    one.handler.next(&Heard::Reached(2));
    one.says(&two, 4);
    let counters = one.net().counters();
    assert_eq!((counters.dialled.get(), counters.lost.get(), counters.unsent.get()), (4, 3, 3));
}

/// Members that go are left, those whose address changed are dialled there, and nobody dials
/// himself.
#[test]
fn peers_change() {
    let (mut one, mut two) = pair();
    let three = Node::member(3);
    let me = one.peer();
    one.net().set_peers(&[me.clone(), two.peer(), three.peer()]);
    one.handler.next(&Heard::Reached(3));
    one.says(&three, 1);
    one.says(&two, 2);
    assert_eq!(one.net().counters().lost.get(), 0, "a peer that stays was dialled again");

    assert_eq!(one.net().send(2, &heartbeat(9), Vec::new()), Ok(()));
    one.net().set_peers(&[me.clone(), three.peer()]);
    two.handler.next(&came(1, heartbeat(9), Bytes::new()));
    assert!(!one.net().is_connected(2));
    assert_eq!(one.net().send(2, &heartbeat(3), Vec::new()), Err(Unsent::NotConnected));
    // What it dialled is its own affair, as long as it is a member.
    two.says(&one, 4);

    let moved = Node::member(3);
    one.net().set_peers(&[moved.peer()]);
    one.handler.next(&Heard::Lost(3));
    one.handler.next(&Heard::Reached(3));
    one.says(&moved, 5);
    assert_eq!(one.net().counters().accepted.get(), 1);
}

/// Two groups share an address, each gets what is meant for it, a third of the same name is
/// refused, and the listener lives as long as one of them.
#[test]
fn groups_share_a_listener() {
    let mut one = Node::member(1);
    let address = one.address();
    let at = |group: &str| {
        let handler = Recorder::new(group, 1, &members());
        Node::start(handler, Config { listen: address.to_string(), ..config() })
    };
    let mut other = at("h");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { listen: address.to_string(), ..config() };
    let twin = Net::start(runtime.handle(), Recorder::new("g", 1, &members()), config);
    assert!(matches!(twin, Err(Error::Invalid(text)) if text.contains("the group g")));
    let mut dialler = Node::member(2);
    let mut of_h = Node::start(Recorder::new("h", 2, &members()), super::config());
    dialler.net().set_peers(&[one.peer()]);
    of_h.net().set_peers(&[other.peer()]);
    dialler.handler.next(&Heard::Reached(1));
    of_h.handler.next(&Heard::Reached(1));
    dialler.says(&one, 1);
    of_h.says(&other, 2);
    for node in [&mut one, &mut other] {
        assert_eq!(node.net().counters().accepted.get(), 1);
    }
    drop(one);
    dialler.handler.next(&Heard::Lost(1));
    of_h.says(&other, 3);
    until("the refusal", || dialler.count(Fault::RefusedBy(Refusal::UnknownGroup)) > 0);
    let one = at("g");
    dialler.handler.next(&Heard::Reached(1));
    dialler.says(&one, 4);
    drop((one, other));
    assert!(std::net::TcpListener::bind(address).is_ok(), "the listener is still there");
}

/// Without TLS a port that is open to the network is a decision: the error names the option.
#[test]
fn an_open_port_is_a_decision() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let start = |listen: &str, insecure_listen| {
        let config = Config { listen: listen.into(), insecure_listen, ..config() };
        Net::start(runtime.handle(), Recorder::new("g", 1, &members()), config)
    };
    for open in ["0.0.0.0:0", "[::]:0"] {
        let error = start(open, false).err().unwrap();
        assert!(matches!(error, Error::Config(_)), "{error:?}");
        assert!(error.to_string().contains("insecure.listen"), "{error}");
    }
    assert!(matches!(start("nowhere", true), Err(Error::Config(_))));
    assert_eq!(start("0.0.0.0:0", true).unwrap().local_address().ip().to_string(), "0.0.0.0");
    let taken = start("127.0.0.1:0", false).unwrap();
    let port = taken.local_address().port();
    assert!(matches!(start(&format!("0.0.0.0:{port}"), true), Err(Error::Io { .. })));
}
