//! Peers that are not what they should be: each is closed and counted, and the group goes on as if
//! nothing were (P9, P10; 7, 30).

use super::*;
use crate::wire::frame::{self, HEADER};
use crate::wire::{FrameError, HelloError, Kind};

/// Two members that speak with each other all the time, and what they have to show for it.
pub struct Group {
    pub one: Node,
    pub two: Node,
    said: u64,
}

impl Group {
    fn new(config: Config) -> Group {
        Group::of(config, super::config())
    }

    /// With settings of their own.
    pub fn of(one: Config, two: Config) -> Group {
        let mut one = Node::start(Recorder::new("g", 1, &members()), one);
        let mut two = Node::start(Recorder::new("g", 2, &members()), two);
        meet(&mut one, &mut two);
        Group { one, two, said: 0 }
    }

    /// Both directions work.
    pub fn goes_on(&mut self) {
        self.said += 1;
        self.one.says(&self.two, self.said);
        self.two.says(&self.one, self.said);
    }

    /// No connection of the two was lost, or made again.
    pub fn was_undisturbed(mut self) {
        self.goes_on();
        for node in [&mut self.one, &mut self.two] {
            let counters = node.net().counters();
            assert_eq!((counters.dialled.get(), counters.lost.get()), (1, 0));
        }
        assert_eq!(self.two.net().counters().accepted.get(), 1);
    }
}

/// P10, behaviour 12, line by line: who is refused gets the reason, is closed, and is counted.
#[test]
fn behaviour_12_a_bad_hello_is_refused() {
    let mut group = Group::new(config());
    let good = || hello(3, 1);
    let elsewhere = Anchor { pos: 1 << 30, ..Anchor::default() };
    let cases = [
        (Refusal::Version, Hello { version: 2, ..good() }),
        (Refusal::UnknownGroup, Hello { group: "another".into(), ..good() }),
        (Refusal::UnknownMember, Hello { from: 4, ..good() }),
        (Refusal::NotMe, Hello { to: 2, ..good() }),
        (Refusal::NotMe, Hello { from: 1, ..good() }),
        (Refusal::SegmentSize, Hello { segment_bytes: 4096, ..good() }),
        (Refusal::Begin, Hello { begin: elsewhere, end: elsewhere, ..good() }),
        (Refusal::OldIncarnation, Hello { incarnation: 7, ..good() }),
        (Refusal::NotThisIncarnation, Hello { to_incarnation: 7, ..good() }),
    ];
    for (refusal, hello) in cases {
        let fault = Fault::Refused(refusal);
        let count = |group: &Group| match refusal {
            Refusal::UnknownGroup => group.one.listener_count(fault),
            _ => group.one.count(fault),
        };
        let before = count(&group);
        let mut stranger = Stranger::dials(&group.one);
        stranger.sends(&hello.encode().unwrap());
        assert_eq!(stranger.answer(), HelloAnswer::Refusal(refusal), "{hello:?}");
        stranger.sees_the_end();
        assert_eq!(count(&group), before + 1, "{refusal:?}");
        group.goes_on();
    }
    assert!(!lock(&group.one.handler.state).heard.contains(&Heard::Connected(3)));
    group.was_undisturbed();
}

/// P9: what is no hello is not answered.
#[test]
fn noise_is_no_hello() {
    let mut group = Group::new(config());
    let good = hello(3, 1).encode().unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let cases = [
        (HelloError::Magic, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (HelloError::Magic, raw(1, 4096).to_vec()),
        (HelloError::Magic, vec![0xff; 8]),
        (HelloError::Length(0), changed(6, &[0xff; 2])),
        (HelloError::Length(0), changed(6, &[0; 2])),
        (HelloError::Checksum, changed(20, &[0x5a])),
    ];
    for (error, bytes) in cases {
        let fault = Fault::Hello(error);
        let before = group.one.listener_count(fault);
        let mut stranger = Stranger::dials(&group.one);
        stranger.sends(&bytes);
        stranger.sees_the_end();
        assert_eq!(group.one.listener_count(fault), before + 1, "{error:?}");
        group.goes_on();
    }
    group.was_undisturbed();
}

/// P9, 7: a member with a good hello that sends no frames: a length of 4 GiB is closed after the
/// header, when nothing else was sent.
#[test]
fn a_bad_frame_closes_the_connection() {
    let mut group = Group::new(config());
    let header = |message: u32, raw: u32, kind: u8, flags: u8| {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&message.to_be_bytes());
        bytes[4..8].copy_from_slice(&raw.to_be_bytes());
        (bytes[8], bytes[9]) = (kind, flags);
        bytes.to_vec()
    };
    let mut good = Vec::new();
    frame::encode(&append(1, 100), &config().frames, &mut good).unwrap();
    let mut other_raw = good.clone();
    other_raw[7] += 1;
    let mut bad_sum = good.clone();
    bad_sum[HEADER + 7] ^= 1;
    let (kind, append) = (Kind::Heartbeat, Kind::Append as u8);
    let cases = [
        (FrameError::MessageLength { kind, len: 0 }, header(u32::MAX, 0, append, 0)),
        (FrameError::RawLength { len: 0, max: 0 }, header(64, u32::MAX, append, 0)),
        (FrameError::RawLength { len: 0, max: 0 }, header(24, 1, kind as u8, 0)),
        (FrameError::Kind(0), header(24, 0, 0, 0)),
        (FrameError::Kind(0), vec![0xff; 4096]),
        (FrameError::Flags, header(24, 0, kind as u8, 1)),
        (FrameError::Checksum, bad_sum),
        (FrameError::Checksum, other_raw),
    ];
    for (error, bytes) in cases {
        let fault = Fault::Frame(error);
        let before = group.one.count(fault);
        let mut stranger = Stranger::enters(&group.one, &hello(3, 1));
        stranger.sends(&bytes);
        stranger.sees_the_end();
        until("the count", || group.one.count(fault) == before + 1);
        group.goes_on();
    }
    // A frame that is cut is not told to the group.
    let before = group.one.count(Fault::Lost(std::io::ErrorKind::UnexpectedEof));
    let mut stranger = Stranger::enters(&group.one, &hello(3, 1));
    stranger.sends(&good);
    stranger.sends(&[0; 99]);
    drop(stranger);
    until("the count of a frame that is cut", || {
        group.one.count(Fault::Lost(std::io::ErrorKind::UnexpectedEof)) == before + 1
    });
    let from_3 = |heard: &Heard| matches!(heard, Heard::Received(3, ..));
    assert!(!lock(&group.one.handler.state).heard.iter().any(from_3));
    group.was_undisturbed();
}

/// A hello that does not come, or comes too slowly, is closed at its limit.
#[test]
fn a_slow_hello_sees_the_end() {
    let mut group = Group::new(Config { hello_limit: 40 * TICK, ..config() });
    let bytes = hello(3, 1).encode().unwrap();
    let silent = Stranger::dials(&group.one);
    let mut slow = Stranger::dials(&group.one);
    slow.sends(&bytes[..bytes.len() - 1]);
    silent.sees_the_end();
    slow.sees_the_end();
    assert_eq!(group.one.listener_count(Fault::Slow), 2);
    group.goes_on();
    group.was_undisturbed();
}

/// A thousand connections that say nothing: no more than the limit stay, and a member that comes
/// now is let in.
#[test]
fn idle_connections_keep_nobody_out() {
    const IDLE: usize = 1000;
    let limit = rustix::process::Resource::Nofile;
    let mut files = rustix::process::getrlimit(limit);
    files.current = files.maximum;
    rustix::process::setrlimit(limit, files).unwrap();

    let mut group = Group::new(Config { hello_limit: 2 * DEADLINE, ..config() });
    let idle: Vec<_> = (0..IDLE).map(|_| Stranger::dials(&group.one)).collect();
    let crowded = (IDLE - limits::HELLOS_MAX) as u64;
    until("the limit", || group.one.listener_count(Fault::Crowded) >= crowded);
    let mut three = Node::member(3);
    three.net().set_peers(&[group.one.peer()]);
    three.handler.next(&Heard::Reached(1));
    three.says(&group.one, 1);
    group.goes_on();
    let crowded = group.one.listener_count(Fault::Crowded) as usize;
    assert!(crowded <= IDLE - limits::HELLOS_MAX + 1, "{crowded} were closed");
    for stranger in idle.into_iter().take(crowded) {
        stranger.sees_the_end();
    }
    assert_eq!(group.one.listener_count(Fault::Slow), 0);
    group.was_undisturbed();
}

/// A member that opens connection after connection while its incarnation is being bound has a few
/// at most.
#[test]
fn a_member_has_few_connections() {
    let mut set = members();
    set[2].incarnation = 0;
    let node = Node::start(Recorder::new("g", 1, &set), config());
    let mut strangers = Vec::new();
    for n in 1..=limits::ACCEPTED_MAX + 2 {
        let mut stranger = Stranger::dials(&node);
        stranger.sends(&hello(3, 1).encode().unwrap());
        strangers.push(stranger);
        node.handler.wait("the bindings", |state| (state.bindings.len() == n).then_some(()));
    }
    let stay = strangers.split_off(2);
    strangers.into_iter().for_each(Stranger::sees_the_end);
    assert_eq!(node.count(Fault::Crowded), 2);
    let last = node.handler.change(|state| state.bindings.pop()).unwrap();
    last.2.send(true).unwrap();
    let mut stay = stay.into_iter().rev();
    let mut new = stay.next().unwrap();
    assert!(matches!(new.answer(), HelloAnswer::Hello(_)));
    stay.for_each(Stranger::sees_the_end);
    node.handler.next(&Heard::Connected(3));
}
