//! How numbers, texts, anchors and member sets are laid out, in `meta` and between members. All is
//! big-endian; nothing is padded.
//!
//! ```text
//! text        length 2 | UTF-8
//! flag        0 or 1, one byte
//! anchor      index 8 | pos 8 | raft_index 8 | term 8 | chain 4 | batch 8
//! member      id 8 | incarnation 8 | address: text
//! ids         count 2 | id 8 each
//! member set  raft_index 8 | count 2, members | voters: ids | voters_outgoing: ids
//!             | learners: ids | learners_next: ids | auto_leave: flag
//! ```

use super::{Member, MemberSet};
use crate::types::{Anchor, Index, RaftIndex};

/// Appends. What is too long to count is also longer than any caller allows a set to be: each
/// checks the length when all is written.
pub(crate) struct Out(pub Vec<u8>);

impl Out {
    pub fn members(&mut self, set: &MemberSet) {
        self.u64(set.raft_index.0);
        self.count(set.members.len());
        for member in &set.members {
            self.u64(member.id);
            self.u64(member.incarnation);
            self.text(&member.address);
        }
        for ids in [&set.voters, &set.voters_outgoing, &set.learners, &set.learners_next] {
            self.count(ids.len());
            self.numbers(ids);
        }
        self.flag(set.auto_leave);
    }

    pub fn anchor(&mut self, anchor: &Anchor) {
        self.u64(anchor.index.0);
        self.u64(anchor.pos);
        self.u64(anchor.raft_index.0);
        self.u64(anchor.term);
        self.u32(anchor.chain);
        self.u64(anchor.batch.0);
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn count(&mut self, n: usize) {
        self.u16(u16::try_from(n).unwrap_or(u16::MAX));
    }

    pub fn flag(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|n| self.u64(*n));
    }
}

/// Takes from the front; `None` when the bytes end or mean nothing. Allocates no more than there
/// are bytes.
pub(crate) struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    /// What `read` makes of all the bytes.
    pub fn all<T>(mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<T> {
        read(&mut self).filter(|_| self.0.is_empty())
    }

    pub fn members(&mut self) -> Option<MemberSet> {
        let raft_index = RaftIndex(self.u64()?);
        let mut members = Vec::new();
        for _ in 0..self.u16()? {
            let (id, incarnation) = (self.u64()?, self.u64()?);
            members.push(Member { id, incarnation, address: self.text()? });
        }
        Some(MemberSet {
            raft_index,
            members,
            voters: self.ids()?,
            voters_outgoing: self.ids()?,
            learners: self.ids()?,
            learners_next: self.ids()?,
            auto_leave: self.flag()?,
        })
    }

    fn ids(&mut self) -> Option<Vec<u64>> {
        let count = self.u16()?;
        let mut ids = In(self.take(usize::from(count) * 8)?);
        (0..count).map(|_| ids.u64()).collect()
    }

    pub fn anchor(&mut self) -> Option<Anchor> {
        Some(Anchor {
            index: Index(self.u64()?),
            pos: self.u64()?,
            raft_index: RaftIndex(self.u64()?),
            term: self.u64()?,
            chain: self.u32()?,
            batch: RaftIndex(self.u64()?),
        })
    }

    pub fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        std::str::from_utf8(self.take(len.into())?).ok().map(str::to_owned)
    }

    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
