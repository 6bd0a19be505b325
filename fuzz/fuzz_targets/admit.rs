//! A live member of three, or one that waits to be added, and peers that say anything: it never
//! panics, what is agreed never falls and never changes. Appends bring batches that are sealed as a leader would, and spoiled
//! ones.
#![no_main]

use std::sync::Arc;

use dledger::commitlog::meta::{Member, MemberSet};
use dledger::commitlog::record::{self, HEADER, Header, MAGIC};
use dledger::commitlog::{Birth, CommitLog, LogEntry};
use dledger::consensus::admit::Refused;
use dledger::consensus::core::{Core, OutEntry, Pace};
use dledger::consensus::members::{self, Change, Op};
use dledger::disk::memory::MemoryDisk;
use dledger::error::Error;
use dledger::plant::Plants;
use dledger::types::{Anchor, Index, RaftIndex};
use dledger::wire::frame::{self, FrameHeader, Limits};
use dledger::wire::{AppendEntry, Campaign, Content, Message};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { raw_max: 1 << 20 };
const SEGMENT: u64 = 4096;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    // One of the founders, or one that was born to be added.
    let mut live = Live::new(if bytes.flag() { &[1, 2, 3] } else { &[2, 3] });
    // What came meanwhile, as a hello showed it.
    if bytes.flag() {
        let book = MemberSet { raft_index: RaftIndex(40), ..set(&[1, 4]) };
        live.core.set_book(Some(book));
    }
    for _ in 0..64 {
        let Some(verb) = bytes.next() else { break };
        live.act(verb, &mut bytes);
        live.settle(&[]);
        if live.stopped {
            break;
        }
        live.check();
    }
});

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A small number, or one of the largest.
    fn number(&mut self) -> u64 {
        match self.next().unwrap_or(0) {
            n @ 0..=239 => u64::from(n % 48),
            n => u64::MAX >> (n - 240),
        }
    }

    fn flag(&mut self) -> bool {
        self.next().unwrap_or(0) & 1 == 1
    }
}

struct Live {
    disk: MemoryDisk,
    core: Core,
    committed: RaftIndex,
    /// What was agreed, by Raft index from `first` on.
    agreed: Vec<Anchor>,
    /// What is agreed cannot be: a log stops for good then.
    stopped: bool,
}

fn member(id: u64) -> Member {
    Member { id, incarnation: id, address: format!("host{id}:1") }
}

fn set(ids: &[u64]) -> MemberSet {
    let members = ids.iter().map(|id| member(*id)).collect();
    MemberSet { members, voters: ids.to_vec(), ..MemberSet::default() }
}

impl Live {
    fn new(members: &[u64]) -> Live {
        let birth = Birth {
            group: "g".into(),
            node: 1,
            incarnation: 1,
            segment_bytes: SEGMENT,
            index_bytes: 4096,
            begin_pos: 0,
            unsynced_max: 64 << 10,
            members: set(members),
            clamp_missing_tail: false,
            // Segments are made ahead one by one, below: room is short at times.
            disk_full_ppm: 0,
            plants: Plants::NONE,
        };
        let disk = MemoryDisk::new();
        let log = CommitLog::open(Arc::new(disk.clone()), &birth).unwrap();
        let (election_ticks, heartbeat_ticks) = (5, 1);
        let (message_bytes, window_bytes) = (2000, 8000);
        let pace = Pace {
            tick_ns: 1,
            election_ticks,
            heartbeat_ticks,
            message_bytes,
            window_bytes,
            seed: 1,
        };
        let core = Core::new(log, pace).unwrap();
        Live { disk, core, committed: RaftIndex(0), agreed: Vec::new(), stopped: false }
    }

    fn act(&mut self, verb: u8, bytes: &mut Bytes<'_>) {
        match verb % 20 {
            0 => self.core.tick(),
            1 => (0..10).for_each(|_| {
                self.core.tick();
                self.settle(&[]);
            }),
            2 => self.core.campaign().unwrap(),
            3 => self.core.transfer(bytes.number()),
            4 => drop(self.core.read_index()),
            5 => self.core.met(bytes.number(), RaftIndex(bytes.number())),
            6 => self.core.lost(bytes.number()),
            7 => {
                let op = [Op::Voter, Op::Learner, Op::Remove, Op::Move];
                let count = 1 + bytes.number() % 3;
                let changes: Vec<Change> = (0..count)
                    .map(|_| Change {
                        op: op[bytes.number() as usize % 4],
                        member: member(1 + bytes.number() % 5),
                    })
                    .collect();
                self.core.propose_change(&changes);
            }
            8 => self.hear(bytes.0),
            _ => {
                let (message, raw) = self.message(bytes);
                let mut frame = Vec::new();
                if frame::encode(&message, &LIMITS, &mut frame).is_ok() {
                    frame.extend_from_slice(&raw);
                    let from = 2 + bytes.number() % 3;
                    self.hear_from(from, &frame);
                }
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if bytes.len() > frame::HEADER {
            // The checksum is put right, or nothing would pass.
            let len = (bytes.len() - frame::HEADER) as u32;
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].fill(0);
            bytes[9..12].fill(0);
            let crc = crc32fast::hash(&[&bytes[..12], &bytes[frame::HEADER..]].concat());
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        }
        self.hear_from(2, &bytes);
    }

    fn hear_from(&mut self, from: u64, bytes: &[u8]) {
        let Some((head, rest)) = bytes.split_first_chunk() else { return };
        let Ok(header) = FrameHeader::decode(head, &LIMITS) else { return };
        let Some((message, raw)) = rest.split_at_checked(header.message_len as usize) else {
            return;
        };
        let Ok(message) = header.message(message) else { return };
        if raw.len() != header.raw_len as usize {
            return;
        }
        let _: Result<(), Refused> = self.core.step(from, &message, raw);
        self.settle(raw);
    }

    fn message(&mut self, bytes: &mut Bytes<'_>) -> (Message, Vec<u8>) {
        // Terms near our own, mostly.
        let term = match bytes.next().unwrap_or(0) {
            n @ 0..=200 => self.core.term() + u64::from(n % 3),
            _ => bytes.number(),
        };
        let near = |bytes: &mut Bytes<'_>, at: RaftIndex| match bytes.next().unwrap_or(0) {
            n @ 0..=200 => RaftIndex(at.0.saturating_add(u64::from(n % 5)).saturating_sub(2)),
            _ => RaftIndex(bytes.number()),
        };
        let last = self.core.last();
        let mut raw = Vec::new();
        let message = match bytes.next().unwrap_or(0) % 12 {
            0 => Message::VoteRequest {
                term,
                campaign: [Campaign::PreVote, Campaign::Vote, Campaign::Transfer]
                    [bytes.number() as usize % 3],
                last: near(bytes, last),
                last_term: bytes.number(),
                commit: near(bytes, last),
                commit_term: bytes.number(),
            },
            1 => Message::VoteReply {
                term,
                pre: bytes.flag(),
                reject: bytes.flag(),
                commit: near(bytes, last),
                commit_term: bytes.number(),
            },
            2..=4 => return self.append(term, near(bytes, last), bytes, &mut raw),
            5 => Message::AppendReply {
                term,
                index: near(bytes, last),
                reject: bytes.flag(),
                reject_hint: near(bytes, last),
                log_term: bytes.number(),
                commit: near(bytes, last),
            },
            6 => Message::Heartbeat { term, commit: near(bytes, last), context: bytes.number() },
            7 => {
                Message::HeartbeatReply { term, commit: near(bytes, last), context: bytes.number() }
            }
            8 => {
                let mut members = set(&[1, 2, 3]);
                members.raft_index = near(bytes, last);
                if bytes.flag() {
                    members.voters.pop();
                    members.learners.push(bytes.number() % 4);
                    members.voters_outgoing = vec![1, bytes.number() % 4];
                    members.auto_leave = bytes.flag();
                }
                let raft_index = near(bytes, last + 5);
                let half = bytes.number();
                let (index, pos) = (Index(bytes.number()), half.wrapping_mul(SEGMENT / 2));
                let batch = if bytes.flag() { raft_index } else { RaftIndex(bytes.number()) };
                let (anchor_term, chain) = (bytes.number(), 7);
                let begin = Anchor { index, pos, raft_index, term: anchor_term, chain, batch };
                Message::Reset { term, begin, members }
            }
            9 => Message::TimeoutNow { term },
            10 => {
                let mut members = set(&[2, 3]);
                members.raft_index = near(bytes, last);
                let id = bytes.number() % 4;
                members.members.push(member(id));
                if bytes.flag() {
                    members.learners.push(id)
                } else {
                    members.voters.push(id)
                }
                Message::Members { term, members }
            }
            _ if bytes.flag() => Message::ReadIndex { context: bytes.number() },
            _ => {
                let (context, index) = (bytes.number(), near(bytes, last));
                Message::ReadIndexReply { term, context, index }
            }
        };
        (message, raw)
    }

    /// An append behind an entry that is here, if there is one: with batches that may follow it.
    fn append(
        &mut self,
        term: u64,
        prev: RaftIndex,
        bytes: &mut Bytes<'_>,
        raw: &mut Vec<u8>,
    ) -> (Message, Vec<u8>) {
        let log = self.core.log();
        let mut at = log.anchor(prev).unwrap_or(Anchor { raft_index: prev, ..log.end() });
        at.raft_index = RaftIndex(at.raft_index.0.min(1 << 60));
        let (prev_term, prev_chain) = (at.term, at.chain);
        let mut entries = Vec::new();
        for _ in 0..bytes.number() % 6 {
            let entry_term = if bytes.flag() { term } else { at.term.max(1) };
            at.term = entry_term;
            let content = match bytes.next().unwrap_or(0) % 5 {
                0 => Content::NoOp,
                // What the engine cannot make its configuration is an error, and stops the log: only
                // a change that it takes in any state.
                1 => {
                    let member = member(2 + bytes.number() % 2);
                    Content::Membership(members::encode(&[Change { op: Op::Move, member }]))
                }
                _ => {
                    let len = (bytes.number() % 75) as usize * 20;
                    let size = HEADER + len;
                    let pos = record::place(at.pos, size as u64, SEGMENT);
                    let header = Header {
                        magic: MAGIC,
                        size: size as u32,
                        index: at.index,
                        term: entry_term,
                        pos,
                        body_len: len as u32,
                        ..Header::default()
                    };
                    let mut batch = [&header.encode()[..], &vec![5; len]].concat();
                    let controls = at.raft_index.0.saturating_sub(at.batch.0);
                    let (chain, _) = record::seal(&mut batch, controls, at.chain);
                    if bytes.next().unwrap_or(0) == 255 {
                        let n = bytes.number() as usize % batch.len();
                        batch[n] ^= 1;
                    }
                    (at.index, at.pos, at.chain) = (at.index + 1, pos + size as u64, chain);
                    at.batch = at.raft_index + 1;
                    raw.extend_from_slice(&batch);
                    Content::Batch { count: 1, len: size as u32 }
                }
            };
            at.raft_index = RaftIndex(at.raft_index.0.saturating_add(1).min(1 << 60));
            entries.push(AppendEntry { term: entry_term, content });
        }
        let commit = self.core.committed() + bytes.number() % 4;
        let append = Message::Append { term, prev, prev_term, prev_chain, commit, entries };
        (append, std::mem::take(raw))
    }

    fn settle(&mut self, raw: &[u8]) {
        while !self.stopped
            && let Some(output) = self.core.output()
        {
            let log = self.core.log_mut();
            if let Some((term, vote)) = output.vote {
                log.set_vote(term, vote).unwrap();
            }
            if let Some((begin, members)) = output.reset.clone() {
                log.reset(begin, members).unwrap();
                // What is agreed lies before it.
                self.agreed.clear();
            }
            if let Some(members) = output.members.clone() {
                self.core.begin_with(&members).unwrap();
                self.core.log_mut().set_members(members).unwrap();
            }
            let log = self.core.log_mut();
            if let Some(cut) = output.cut {
                assert!(cut >= self.committed);
                let to = log.anchor(cut).unwrap();
                log.truncate(to).unwrap();
            }
            let entry = |entry: &OutEntry| match entry {
                OutEntry::Control(control) => LogEntry::Control(control.clone()),
                OutEntry::Received(batch) => LogEntry::Batch(batch.clone()),
                OutEntry::Batch { .. } => unreachable!("nothing was proposed"),
            };
            let entries: Vec<LogEntry> = output.entries.iter().map(entry).collect();
            log.write(raw, &entries).unwrap();
            let changes = output.changes.clone();
            self.core.written(output);
            for (raft_index, content) in changes {
                let members = match self.core.change(raft_index, &content) {
                    Ok(members) => members,
                    // Of members that this one was not begun with.
                    Err(Error::Config(_)) => {
                        self.stopped = true;
                        return;
                    }
                    Err(error) => panic!("{error}"),
                };
                self.core.log_mut().set_members(members).unwrap();
            }
            self.core.log_mut().sync().unwrap();
            for work in self.core.log_mut().wanted(1_000_000) {
                let done = work.run(&self.disk);
                self.core.log_mut().allocated(done).unwrap();
            }
            self.core.persisted();
        }
    }

    fn check(&mut self) {
        let committed = self.core.committed();
        assert!(committed >= self.committed, "what is agreed fell");
        let log = self.core.log();
        for anchor in &self.agreed {
            assert_eq!(log.term(anchor.raft_index), Some(anchor.term), "what is agreed changed");
        }
        // A reset may begin far beyond what was agreed here.
        for at in self.committed.max(log.begin().raft_index).0 + 1..=committed.0 {
            let at = log.anchor(RaftIndex(at));
            self.agreed.extend(at.filter(|at| at.raft_index > log.begin().raft_index));
        }
        self.committed = committed;
        assert!(log.end().raft_index == self.core.last());
    }
}
