//! The state in a block of `meta`, field by field, and whether the rest of the log says the same.

use std::collections::BTreeMap;

use super::{ControlEntry, Shape, u32_at, u64_at};

/// What lies behind a Raft entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    pub index: u64,
    pub pos: u64,
    pub raft_index: u64,
    pub term: u64,
    pub chain: u32,
    pub batch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub incarnation: u64,
    pub address: String,
}

/// The fields, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub group: String,
    pub node: u64,
    pub incarnation: u64,
    pub segment: u64,
    pub index_file: u64,
    pub unsynced: u64,
    pub term: u64,
    pub vote: u64,
    pub begin: Anchor,
    pub durable: Anchor,
    pub committed: Anchor,
    pub control_end: u64,
    pub dledger_end: (u64, u64),
    pub cut: bool,
    pub cut_to: Anchor,
    pub members_from: u64,
    pub members: Vec<Member>,
    pub voters: Vec<u64>,
    pub voters_outgoing: Vec<u64>,
    pub learners: Vec<u64>,
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
}

/// What the other files say.
pub struct Rest<'a> {
    pub controls: &'a [ControlEntry],
    /// Behind the last entry of `control`.
    pub control_end: u64,
    /// Behind each Raft entry there is.
    pub ends: &'a BTreeMap<u64, Anchor>,
    /// Behind DLedger's last record; zeros if there is none.
    pub dledger_end: (u64, u64),
}

struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn skip(&mut self, n: usize) -> usize {
        self.at += n;
        self.at - n
    }

    fn u16(&mut self) -> usize {
        let at = self.skip(2);
        usize::from(self.block[at]) << 8 | usize::from(self.block[at + 1])
    }

    fn u64(&mut self) -> u64 {
        u64_at(self.block, self.skip(8))
    }

    fn flag(&mut self) -> bool {
        let at = self.skip(1);
        assert!(self.block[at] < 2, "meta: a flag at {at}");
        self.block[at] == 1
    }

    fn text(&mut self) -> String {
        let len = self.u16();
        let at = self.skip(len);
        String::from_utf8(self.block[at..at + len].to_vec()).expect("meta: UTF-8")
    }

    fn ids(&mut self) -> Vec<u64> {
        (0..self.u16()).map(|_| self.u64()).collect()
    }

    fn anchor(&mut self) -> Anchor {
        let (index, pos, raft_index, term) = (self.u64(), self.u64(), self.u64(), self.u64());
        let chain = u32_at(self.block, self.skip(4));
        Anchor { index, pos, raft_index, term, chain, batch: self.u64() }
    }

    fn member(&mut self) -> Member {
        Member { id: self.u64(), incarnation: self.u64(), address: self.text() }
    }
}

/// Reads a block that is intact: its length is that of the state, and zeros follow.
pub fn read(block: &[u8]) -> Meta {
    assert!(u64_at(block, 16) > 0, "meta: writes are counted from 1");
    let mut fields = Fields { block, at: 24 };
    let f = &mut fields;
    let meta = Meta {
        group: f.text(),
        node: f.u64(),
        incarnation: f.u64(),
        segment: f.u64(),
        index_file: f.u64(),
        unsynced: f.u64(),
        term: f.u64(),
        vote: f.u64(),
        begin: f.anchor(),
        durable: f.anchor(),
        committed: f.anchor(),
        control_end: f.u64(),
        dledger_end: (f.u64(), f.u64()),
        cut: f.flag(),
        cut_to: f.anchor(),
        members_from: f.u64(),
        members: (0..f.u16()).map(|_| f.member()).collect(),
        voters: f.ids(),
        voters_outgoing: f.ids(),
        learners: f.ids(),
        learners_next: f.ids(),
        auto_leave: f.flag(),
    };
    assert_eq!(u32_at(block, 12) as usize, fields.at - 24, "meta: length of the state");
    assert!(block[fields.at..4092].iter().all(|b| *b == 0), "meta: zeros behind the state");
    meta
}

/// Compares a state with what the directory was made with, and with the other files.
pub fn check(meta: &Meta, shape: &Shape, rest: &Rest) {
    assert_eq!(meta.group, shape.group, "meta: group");
    assert_eq!(meta.node, shape.node, "meta: node id");
    assert_ne!(meta.incarnation, 0, "meta: incarnation");
    assert_eq!(meta.segment, shape.segment, "meta: segment size");
    assert_eq!(meta.index_file, shape.index_file, "meta: index size");
    assert_eq!(meta.unsynced, shape.unsynced, "meta: unsynced.max");
    assert_eq!(meta.dledger_end, rest.dledger_end, "meta: DLedger's end");
    assert!(!meta.cut && meta.cut_to == Anchor::default(), "meta: no cut is under way");
    check_bounds(meta, shape, rest);
    check_members(meta, rest);
}

fn check_bounds(meta: &Meta, shape: &Shape, rest: &Rest) {
    let begin = meta.begin;
    assert_eq!((begin.index, begin.pos, begin.batch), shape.begin, "meta: begin");
    assert_eq!(begin.chain, shape.begin_chain, "meta: chainCrc before begin");
    let first = rest.ends.first_key_value().map_or(u64::MAX, |(raft_index, _)| *raft_index);
    assert!((begin.batch..first).contains(&begin.raft_index), "meta: Raft index of begin");
    let terms = rest.ends.first_key_value().map_or(0, |(_, first)| first.term);
    assert!(begin.term <= terms, "meta: term of begin");
    if begin.raft_index == 0 || shape.dledgers > 0 && begin.raft_index == begin.index {
        assert_eq!(begin.term, 0, "meta: term before the first Raft entry");
    }
    for (name, bound) in [("durable", meta.durable), ("committed", meta.committed)] {
        let known = rest.ends.get(&bound.raft_index).copied();
        let known = known.or((bound.raft_index == begin.raft_index).then_some(begin));
        assert_eq!(Some(bound), known, "meta: {name}");
    }
    assert!(meta.committed.raft_index <= meta.durable.raft_index, "meta: committed above durable");
    let end = rest.ends.last_key_value().map_or(begin, |(_, end)| *end);
    if shape.open {
        assert!(meta.term >= end.term, "meta: term");
        assert!(meta.control_end <= rest.control_end, "meta: end of control");
        return;
    }
    // A clean stop has noted all of it, and a group of one has agreed to all of it.
    assert_eq!(meta.durable, end, "meta: durable after a stop");
    assert_eq!(meta.committed, end, "meta: committed after a stop");
    assert_eq!(meta.control_end, rest.control_end, "meta: end of control");
    assert_eq!((meta.term, meta.vote), (end.term, meta.node), "meta: term and vote");
}

/// A group of one, which has never changed its members.
fn check_members(meta: &Meta, rest: &Rest) {
    assert!(rest.controls.iter().all(|c| c.kind == 1), "a change of the members");
    assert_eq!(meta.members_from, 0, "meta: since when its members are valid");
    let one = Member { id: meta.node, incarnation: meta.incarnation, address: String::new() };
    assert_eq!(meta.members, [one], "meta: members");
    assert_eq!(meta.voters, [meta.node], "meta: voters");
    let others = [&meta.voters_outgoing, &meta.learners, &meta.learners_next];
    assert!(others.iter().all(|ids| ids.is_empty()), "meta: no other voters, no learners");
    assert!(!meta.auto_leave, "meta: no change is under way");
}
