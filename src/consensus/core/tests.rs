//! The contract of the core: three members in one thread, without a driver. Each has its log on a
//! disk in memory; what they say passes through the frames of the wire.

mod windows;

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::commitlog::meta::Member;
use crate::commitlog::record::{self, HEADER, Header, MAGIC};
use crate::commitlog::{Birth, LogEntry};
use crate::consensus::members::Op;
use crate::disk::memory::MemoryDisk;
use crate::plant::Plants;
use crate::wire::frame::{self, FrameHeader, Limits};
use crate::wire::message::ENTRIES_MAX;

const SEGMENT: u64 = 4096;
const LIMITS: Limits = Limits { raw_max: 1 << 20 };
const NO_PEER: u64 = 0;
const WINDOW: u64 = 16_000;

/// A frame on its way.
pub(in crate::consensus) struct Frame {
    pub from: u64,
    pub to: u64,
    pub bytes: Vec<u8>,
}

/// One member.
pub(in crate::consensus) struct Peer {
    pub core: Core,
    pub reads: Vec<(u64, RaftIndex)>,
    pub resets: usize,
    pub cuts: usize,
    /// What is written is sent, and never synced.
    unsynced: bool,
    disk: MemoryDisk,
}

pub(in crate::consensus) fn member(id: u64) -> Member {
    Member { id, incarnation: id, address: format!("host{id}:1") }
}

pub(in crate::consensus) fn set(voters: &[u64]) -> MemberSet {
    let members = voters.iter().map(|id| member(*id)).collect();
    MemberSet { members, voters: voters.to_vec(), ..MemberSet::default() }
}

fn pace(id: u64) -> Pace {
    let (election_ticks, heartbeat_ticks) = (10, 2);
    let (message_bytes, window_bytes) = (2000, WINDOW);
    Pace { tick_ns: 1, election_ticks, heartbeat_ticks, message_bytes, window_bytes, seed: id }
}

fn log(disk: &MemoryDisk, id: u64, members: MemberSet) -> CommitLog {
    let birth = Birth {
        group: "g".into(),
        node: id,
        incarnation: id,
        segment_bytes: SEGMENT,
        index_bytes: 4096,
        begin_pos: 0,
        unsynced_max: 64 << 10,
        members,
        clamp_missing_tail: false,
        disk_full_ppm: 1_000_000,
        plants: Plants::NONE,
    };
    CommitLog::open(Arc::new(disk.clone()), &birth).unwrap()
}

impl Peer {
    pub fn new(id: u64, members: MemberSet) -> Peer {
        Peer::on(MemoryDisk::new(), id, members)
    }

    fn on(disk: MemoryDisk, id: u64, members: MemberSet) -> Peer {
        let core = Core::new(log(&disk, id, members), pace(id)).unwrap();
        Peer { core, reads: Vec::new(), resets: 0, cuts: 0, unsynced: false, disk }
    }

    pub fn reopened(self) -> Peer {
        let (id, members) = (self.id(), self.core.log().meta().members.clone());
        drop(self.core);
        Peer::on(self.disk.restart(), id, members)
    }

    /// Opened again, without what was not synced.
    fn without_power(self) -> Peer {
        let (id, members) = (self.id(), self.core.log().meta().members.clone());
        Peer::on(self.disk.crash(&mut |n| 1 % n.max(1)), id, members)
    }

    fn id(&self) -> u64 {
        self.core.log().meta().node
    }

    /// Does what the core wants done, in the order of its contract. Returns what to send.
    pub fn settle(&mut self, raw: &[u8], sealed: &[Batch]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(output) = self.core.output() {
            let committed = self.core.log().meta().committed;
            if let Some((term, vote)) = output.vote {
                self.core.log_mut().set_vote(term, vote).unwrap();
            }
            if let Some((begin, members)) = output.reset.clone() {
                assert!(begin.raft_index > committed.raft_index);
                self.core.log_mut().reset(begin, members).unwrap();
                self.resets += 1;
            }
            if let Some(members) = output.members.clone() {
                self.core.begin_with(&members).unwrap();
                self.core.log_mut().set_members(members).unwrap();
            }
            if let Some(cut) = output.cut {
                let to = self.core.log().anchor(cut).unwrap();
                self.core.log_mut().truncate(to).unwrap();
                self.cuts += 1;
            }
            let entry = |entry: &OutEntry| match entry {
                OutEntry::Control(control) => LogEntry::Control(control.clone()),
                OutEntry::Received(batch) => LogEntry::Batch(batch.clone()),
                OutEntry::Batch { raft_index, term } => {
                    let own = sealed.iter().find(|b| b.raft_index == *raft_index).unwrap();
                    assert_eq!(own.term, *term);
                    LogEntry::Batch(own.clone())
                }
            };
            let entries: Vec<LogEntry> = output.entries.iter().map(entry).collect();
            self.core.log_mut().write(raw, &entries).unwrap();
            self.reads.extend(&output.reads);
            let changes = output.changes.clone();
            let sends = self.core.written(output);
            self.send(sends.now, &mut frames);
            for (raft_index, content) in changes {
                let members = self.core.change(raft_index, &content).unwrap();
                self.core.log_mut().set_members(members).unwrap();
            }
            if self.unsynced {
                continue;
            }
            self.core.log_mut().sync().unwrap();
            self.core.log_mut().allocate_now(1_000_000).unwrap();
            self.core.persisted();
            self.send(sends.persisted, &mut frames);
        }
        frames
    }

    fn send(&self, sends: Vec<Outgoing>, frames: &mut Vec<Frame>) {
        for Outgoing { to, message, raw } in sends {
            let mut bytes = Vec::new();
            frame::encode(&message, &LIMITS, &mut bytes).unwrap();
            for (pos, len) in raw {
                let segment = self.core.log().reader().segment(pos).unwrap();
                let mut part = vec![0; len as usize];
                assert!(segment.map.copy(pos - segment.pos, &mut part));
                bytes.extend_from_slice(&part);
            }
            frames.push(Frame { from: self.id(), to, bytes });
        }
    }

    /// Takes one frame.
    pub fn hear(
        &mut self,
        from: u64,
        bytes: &[u8],
    ) -> (std::result::Result<(), Refused>, Vec<Frame>) {
        let (head, rest) = bytes.split_first_chunk().unwrap();
        let header = FrameHeader::decode(head, &LIMITS).unwrap();
        let (message, raw) = rest.split_at(header.message_len as usize);
        let message = header.message(message).unwrap();
        let stepped = self.core.step(from, &message, raw);
        (stepped, self.settle(raw, &[]))
    }

    /// Seals a batch as the driver does, and proposes it.
    pub fn append(&mut self, bodies: &[&[u8]]) -> Vec<Frame> {
        let (end, term) = (self.core.log().end(), self.core.term());
        let bytes: usize = bodies.iter().map(|body| HEADER + body.len()).sum();
        let pos = record::place(end.pos, bytes as u64, SEGMENT);
        let mut buf = Vec::new();
        for (body, n) in bodies.iter().zip(0..) {
            let header = Header {
                magic: MAGIC,
                size: (HEADER + body.len()) as u32,
                index: end.index + n,
                term,
                pos: pos + buf.len() as u64,
                body_len: body.len() as u32,
                ..Header::default()
            };
            buf.extend_from_slice(&header.encode());
            buf.extend_from_slice(body);
        }
        let raft_index = self.core.last() + 1;
        let (chain, count) = record::seal(&mut buf, raft_index - end.batch - 1, end.chain);
        assert!(self.core.propose());
        let (first, count, bytes) = (end.index, count as u32, 0..buf.len());
        let batch = Batch { raft_index, term, count, first, pos, chain, bytes };
        self.settle(&buf, &[batch])
    }

    fn entries(&self) -> Vec<(RaftIndex, Anchor)> {
        let log = self.core.log();
        let from = log.begin().raft_index.0 + 1;
        (from..=log.end().raft_index.0)
            .map(|i| (RaftIndex(i), log.anchor(RaftIndex(i)).unwrap()))
            .collect()
    }
}

/// Members and what is under way between them.
struct Cluster {
    peers: Vec<Peer>,
    frames: VecDeque<Frame>,
    /// Who hears nobody and is heard by nobody.
    away: u64,
}

impl Cluster {
    fn new(ids: &[u64], members: &[u64]) -> Cluster {
        let peers = ids.iter().map(|id| Peer::new(*id, set(members))).collect();
        Cluster { peers, frames: VecDeque::new(), away: NO_PEER }
    }

    fn peer(&mut self, id: u64) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.id() == id).unwrap()
    }

    fn on(&mut self, id: u64, act: impl FnOnce(&mut Peer) -> Vec<Frame>) {
        let frames = act(self.peer(id));
        self.frames.extend(frames);
    }

    fn deliver(&mut self) {
        while let Some(Frame { from, to, bytes }) = self.frames.pop_front() {
            if from == self.away || to == self.away {
                continue;
            }
            let (stepped, frames) = self.peer(to).hear(from, &bytes);
            assert!(!matches!(stepped, Err(Refused::Close(_))), "{from} to {to}: {stepped:?}");
            self.frames.extend(frames);
        }
    }

    fn tick(&mut self, n: usize) {
        for _ in 0..n {
            for at in 0..self.peers.len() {
                let peer = &mut self.peers[at];
                peer.core.tick();
                let mut frames = Vec::new();
                peer.send(peer.core.introductions(), &mut frames);
                frames.extend(peer.settle(&[], &[]));
                self.frames.extend(frames);
                self.deliver();
            }
        }
    }

    /// Makes a member leader that can be.
    fn elect(&mut self, id: u64) {
        for _ in 0..20 {
            self.on(id, |peer| {
                peer.core.campaign().unwrap();
                peer.settle(&[], &[])
            });
            self.deliver();
            if self.peer(id).core.is_ready() {
                return;
            }
            self.tick(10);
        }
        assert!(self.peer(id).core.is_ready(), "{id} was not elected");
    }

    fn append(&mut self, id: u64, body: &[u8]) {
        self.on(id, |peer| peer.append(&[body, b"second"]));
        self.deliver();
    }

    fn change(&mut self, id: u64, changes: &[(Op, u64)]) -> bool {
        let changes: Vec<Change> =
            changes.iter().map(|(op, id)| Change { op: *op, member: member(*id) }).collect();
        let taken = self.peer(id).core.propose_change(&changes);
        self.on(id, |peer| peer.settle(&[], &[]));
        self.tick(6);
        taken
    }

    fn assert_same(&mut self) {
        self.tick(6);
        let expected = self.peers[0].entries();
        let last = self.peers[0].core.last();
        for peer in &self.peers {
            let mine = peer.entries();
            let skip = expected.len().saturating_sub(mine.len());
            assert_eq!(mine[mine.len().saturating_sub(expected.len())..], expected[skip..]);
            assert_eq!(peer.core.committed(), last, "member {}", peer.id());
            assert_eq!(
                peer.core.log().meta().members.voters,
                self.peers[0].core.log().meta().members.voters
            );
        }
    }
}

/// Elected, replicated through rolls, agreed by all; the logs are the same, after a reopen too.
#[test]
fn three_members_agree() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    for n in 0..40u8 {
        all.append(1, &vec![n; 300]);
    }
    all.assert_same();
    assert!(all.peers[0].core.log().end().pos > 3 * SEGMENT);
    all.peers = all.peers.into_iter().map(Peer::reopened).collect();
    all.elect(2);
    all.append(2, b"after");
    all.assert_same();
}

/// What a leader alone has goes when it comes back, and nothing else.
#[test]
fn a_tail_that_nobody_has_is_cut() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    all.append(1, b"agreed");
    all.assert_same();
    all.away = 1;
    for _ in 0..5 {
        all.append(1, &[7; 900]);
    }
    all.elect(2);
    all.append(2, b"other");
    all.away = NO_PEER;
    all.tick(20);
    all.assert_same();
    assert_eq!(all.peer(1).cuts, 1);
    assert_eq!(all.peer(2).cuts + all.peer(3).cuts, 0);
}

/// Who is behind the leader's begin begins there, and goes on by appends.
#[test]
fn a_member_behind_begin_is_reset() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    all.append(1, b"all have it");
    all.assert_same();
    all.away = 3;
    for n in 0..30u8 {
        all.append(1, &vec![n; 600]);
    }
    let leader = all.peer(1);
    let committed = leader.core.log().anchor(leader.core.committed()).unwrap();
    let work = leader.core.log_mut().purge(2 * SEGMENT, committed).unwrap();
    work.unwrap().run(&leader.disk);
    all.away = NO_PEER;
    all.peer(1).core.lost(3);
    all.tick(20);
    all.assert_same();
    assert_eq!(all.peer(3).resets, 1);
    assert_eq!(all.peer(3).core.log().begin(), all.peer(1).core.log().begin());
    all.peers = all.peers.into_iter().map(Peer::reopened).collect();
    all.elect(3);
    all.append(3, b"from the one that was behind");
    all.assert_same();
}

/// One becomes three through a joint state, and one again. No leader ends its own vote, and no
/// change comes into another.
#[test]
fn members_come_and_go() {
    let mut all = Cluster::new(&[1, 2, 3], &[1]);
    all.elect(1);
    all.append(1, b"alone");
    assert!(all.change(1, &[(Op::Learner, 2), (Op::Learner, 3)]));
    assert!(all.change(1, &[(Op::Voter, 2), (Op::Voter, 3)]));
    all.append(1, b"three");
    all.assert_same();
    assert_eq!(all.peer(3).core.log().meta().members.voters, [1, 2, 3]);
    assert!(all.peer(3).core.log().meta().members.voters_outgoing.is_empty());
    assert!(!all.change(1, &[(Op::Remove, 1)]), "it would lead without a vote");
    assert!(!all.change(1, &[]));
    assert!(all.change(1, &[(Op::Remove, 2), (Op::Remove, 3)]));
    all.append(1, b"one");
    assert!(!all.change(1, &[(Op::Remove, 1)]), "nobody would vote");
    assert_eq!(all.peer(1).core.log().meta().members.voters, [1]);
    assert_eq!(all.peer(1).core.committed(), all.peer(1).core.last());
}

/// Review case 2. A sole voter with a learner appends, loses its power before the sync, and appends
/// anew: no term is used twice, and what only the learner has of the life before goes.
#[test]
fn case_02_a_sole_voter_with_a_learner() {
    let mut all = Cluster::new(&[1, 2], &[1]);
    all.elect(1);
    assert!(all.change(1, &[(Op::Learner, 2)]));
    let mut terms = vec![all.peer(1).core.term()];
    for n in 1..=6 {
        all.append(1, &[n; 200]);
        all.assert_same();
        let agreed = all.peer(1).core.committed();
        all.peer(1).unsynced = true;
        all.append(1, &[n + 100; 200]);
        assert_eq!(all.peer(2).core.last(), agreed + 1, "it came before the sync");
        assert_eq!(all.peer(1).core.committed(), agreed);
        let voter = all.peers.remove(0).without_power();
        assert_eq!(voter.core.last(), agreed, "it is lost");
        all.peers.insert(0, voter);
        all.elect(1);
        all.peer(1).core.met(2, agreed + 1);
        terms.push(all.peer(1).core.term());
        all.assert_same();
        assert_eq!(all.peer(2).cuts, n as usize);
    }
    assert!(terms.is_sorted_by(|a, b| a < b), "{terms:?}");
}

/// The leadership is handed over; what is proposed meanwhile is dropped.
#[test]
fn a_leader_hands_over() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    all.append(1, b"before");
    all.on(1, |peer| {
        peer.core.transfer(3);
        assert_eq!(peer.core.transferee(), 3);
        assert!(!peer.core.propose());
        peer.settle(&[], &[])
    });
    all.deliver();
    assert!(all.peer(3).core.is_ready() && all.peer(1).core.state() == StateRole::Follower);
    all.append(3, b"after");
    all.assert_same();
}

/// A read index on the leader and on a follower; none without a majority.
#[test]
fn a_read_index_is_what_a_majority_confirms() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    all.append(1, b"read me");
    all.tick(4);
    let last = all.peer(1).core.committed();
    for id in [1, 2] {
        let mut attempt = 0;
        all.on(id, |peer| {
            attempt = peer.core.read_index();
            peer.settle(&[], &[])
        });
        all.deliver();
        assert_eq!(all.peer(id).reads, [(attempt, last)]);
    }
    all.away = 1;
    all.on(1, |peer| {
        peer.core.read_index();
        peer.settle(&[], &[])
    });
    all.deliver();
    assert_eq!(all.peer(1).reads.len(), 1);
}

/// A membership entry is proposed when the one before it is agreed. So a member that has two of them
/// counts with the first when it is opened, whatever it had heard: with the members before that it
/// could be elected beside a leader of those that the second brings.
#[test]
fn of_two_membership_entries_the_first_is_in_force() {
    for (entries, voters) in [(1, vec![1, 2, 3]), (2, vec![1, 2, 3, 4]), (3, vec![1, 2, 3, 4, 5])] {
        let disk = MemoryDisk::new();
        let mut log = log(&disk, 2, set(&[1, 2, 3]));
        log.set_vote(1, 1).unwrap();
        for id in 4..4 + entries {
            let raft_index = log.end().raft_index + 1;
            let content = members::encode(&[Change { op: Op::Voter, member: member(id) }]);
            let kind = ControlKind::Membership;
            let control = ControlEntry { raft_index, term: 1, kind, content };
            log.write(&[], &[LogEntry::Control(control)]).unwrap();
        }
        drop(log);
        let mut peer = Peer::on(disk.restart(), 2, set(&[1, 2, 3]));
        peer.settle(&[], &[]);
        assert_eq!(peer.core.log().meta().members.voters, voters, "of {entries}");
        peer.core.campaign().unwrap();
        let frames = peer.settle(&[], &[]);
        let mut asked: Vec<u64> = frames.iter().map(|frame| frame.to).collect();
        asked.sort_unstable();
        let others: Vec<u64> = voters.into_iter().filter(|id| *id != 2).collect();
        assert_eq!(asked, others, "of {entries}");
    }
}

/// However long the membership entries of a log are, each message fits in a frame.
#[test]
fn long_membership_entries_are_sent_one_by_one() {
    let mut log = log(&MemoryDisk::new(), 1, set(&[1, 2]));
    let mut message = RaftMessage { to: 2, term: 1, ..RaftMessage::default() };
    message.set_msg_type(MessageType::MsgAppend);
    let mut entries = Vec::new();
    for index in 1..=6 {
        let content = vec![0; 60_000 / index as usize];
        let context = [&[2][..], &content].concat().into();
        entries.push(Entry { index, term: 1, context, ..Entry::default() });
        let (raft_index, kind) = (RaftIndex(index), ControlKind::Membership);
        let control = ControlEntry { raft_index, term: 1, kind, content };
        log.write(&[], &[LogEntry::Control(control)]).unwrap();
    }
    message.set_entries(entries.into());
    let mut sends = Vec::new();
    send::outgoing(&log, message, 2000, &mut sends);
    let mut next = 1;
    for Outgoing { message, .. } in &sends {
        frame::encode(message, &LIMITS, &mut Vec::new()).unwrap();
        let Message::Append { prev, entries, .. } = message else { panic!("{message:?}") };
        assert_eq!(prev.0 + 1, next);
        next += entries.len() as u64;
    }
    assert_eq!((next, sends.len()), (7, 3));
}

/// What no member could read, or has room for in `meta`, is never agreed: it would stop them all.
#[test]
fn a_change_that_cannot_be_stored_is_dropped() {
    let mut all = Cluster::new(&[1, 2], &[1, 2]);
    all.elect(1);
    let change = |op, id, address: &str| {
        let member = Member { address: address.into(), ..member(id) };
        [Change { op, member }]
    };
    let core = &mut all.peer(1).core;
    let long = "x".repeat(3000);
    assert!(!core.propose_change(&change(Op::Voter, 3, &"x".repeat(5000))), "no room in meta");
    assert!(!core.propose_change(&change(Op::Move, 2, &"x".repeat(5000))), "no room in meta");
    assert!(!core.propose_change(&change(Op::Remove, 2, &"x".repeat(70_000))), "no such text");
    assert!(!core.propose_change(&change(Op::Remove, 2, &"x".repeat(65_500))), "a long entry");
    assert!(!core.propose_change(&change(Op::Learner, 0, "host:1")), "no member");
    assert!(!core.propose_change(&change(Op::Learner, 3, "")), "its group could not reset it");
    assert!(core.propose_change(&change(Op::Move, 2, &long)));
    assert!(!core.propose_change(&change(Op::Move, 1, &long)), "a move is under way");
    all.on(1, |peer| peer.settle(&[], &[]));
    all.tick(6);
    let core = &mut all.peer(1).core;
    assert!(!core.propose_change(&change(Op::Move, 1, &long)), "no room for both");
    assert!(core.propose_change(&change(Op::Move, 1, "host:2")));
    all.on(1, |peer| peer.settle(&[], &[]));
    all.assert_same();
    let addresses = |peer: &Peer| peer.core.log().meta().members.members.clone();
    assert_eq!(addresses(&all.peers[0]), addresses(&all.peers[1]));
    assert_eq!(addresses(&all.peers[0])[0].address, "host:2");
}

/// A member set in `meta` that the engine could not take is an error, not the end of the process.
#[test]
fn an_unsound_set_on_disk_is_an_error() {
    let unsound = [MemberSet::default(), MemberSet { learners: vec![1], ..set(&[1, 2, 3]) }];
    for members in unsound {
        let log = log(&MemoryDisk::new(), 1, members);
        assert!(matches!(Core::new(log, pace(1)).err(), Some(Error::Corrupt { .. })));
    }
}

/// P2: a log that differs is not acknowledged, by an append without entries neither.
#[test]
fn a_probe_tells_logs_apart_by_their_chain() {
    let mut all = Cluster::new(&[1, 2, 3], &[1, 2, 3]);
    all.elect(1);
    all.append(1, b"a record");
    let follower = &mut all.peer(2).core;
    let (end, commit, entries) = (follower.log().end(), follower.committed(), Vec::new());
    let (prev, prev_term, prev_chain) = (end.raft_index, end.term, end.chain);
    let term = follower.term();
    let probe = Message::Append { term, prev, prev_term, prev_chain, commit, entries };
    assert_eq!(follower.step(1, &probe, &[]), Ok(()));
    let mut other = probe;
    if let Message::Append { prev_chain, .. } = &mut other {
        *prev_chain ^= 1;
    }
    assert!(matches!(follower.step(1, &other, &[]), Err(Refused::Close(_))));
}
