//! A batch that a peer sent: checked as recovery checks one on disk, before a byte of it is
//! written. It must be the true successor of what lies before it here: dense indexes, its own
//! positions, the chain of checksums, the framing.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::commitlog::Batch;
use crate::commitlog::record::{
    self, CONTROLS_MANY, HEADER, MAGIC, MIN_BLANK, chain_crc, segment_end,
};
use crate::types::{Anchor, RaftIndex};

/// What a peer says of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its Raft index.
    pub raft_index: RaftIndex,
    /// Its Raft term.
    pub term: u64,
    /// How many records.
    pub count: u32,
}

/// The batch whose bytes lie in `range` of `raw`, if it may follow `at`; else what is wrong with
/// it. The batch may begin the next segment although it would fit into this one: what is appended
/// in one call rolls together.
pub fn check(
    at: &Anchor,
    claim: Claim,
    raw: &[u8],
    range: Range<usize>,
    segment_bytes: u64,
) -> Result<(Batch, Anchor), &'static str> {
    let bytes = raw.get(range.clone()).ok_or("its bytes are not there")?;
    let here = segment_end(at.pos, segment_bytes);
    let next = if at.pos.is_multiple_of(segment_bytes) { at.pos } else { here };
    let (mut index, mut chain, mut seen) = (at.index, at.chain, 0u32);
    let mut left = bytes;
    let mut first = None;
    while !left.is_empty() {
        let header = left.first_chunk::<HEADER>().ok_or("half a header")?;
        let decoded = record::Header::decode(header);
        let whole = decoded.magic == MAGIC && decoded.is_whole();
        let body = left.get(HEADER..decoded.size as usize);
        let body = body.filter(|_| whole).ok_or("no whole record")?;
        let begin = *first.get_or_insert(decoded.pos);
        if begin != at.pos && begin != next {
            return Err("it begins at another position");
        }
        let pos = begin + (bytes.len() - left.len()) as u64;
        if (decoded.index, decoded.term, decoded.pos) != (index, claim.term, pos) {
            return Err("a record has another place or term");
        }
        seen += 1;
        if u32::from(decoded.follow) + seen != claim.count {
            return Err("a record counts its batch differently");
        }
        if decoded.controls != controls(at, claim.raft_index, seen == 1) {
            return Err("a record counts the control entries before it differently");
        }
        chain = chain_crc(chain, header);
        if chain != decoded.chain_crc {
            return Err("the chain of checksums is broken");
        }
        if record::body_crc(body) != decoded.body_crc {
            return Err("a body does not match its checksum");
        }
        index = index + 1;
        left = &left[decoded.size as usize..];
    }
    let pos = first.filter(|_| seen == claim.count).ok_or("records are missing")?;
    let end = pos + bytes.len() as u64;
    if end + MIN_BLANK > segment_end(pos, segment_bytes) {
        return Err("it spans two segments");
    }
    let Claim { raft_index, term, count } = claim;
    let batch = Batch { raft_index, term, count, first: at.index, pos, chain, bytes: range };
    Ok((batch, Anchor { index, pos: end, raft_index, term, chain, batch: raft_index }))
}

/// What a record of the batch at `raft_index` behind `at` says of the control entries before it.
pub(super) fn controls(at: &Anchor, raft_index: RaftIndex, first: bool) -> u16 {
    if !first {
        return 0;
    }
    let count = raft_index.0.saturating_sub(at.batch.0).saturating_sub(1);
    u16::try_from(count).unwrap_or(CONTROLS_MANY)
}
