//! The order of appends. On the calling thread, under the append lock: check, place, copy, stamp,
//! hooks. No IO, no allocation of a segment, no wait. The group thread takes what is staged, many
//! records at a time, and only ever *tries* the lock: a hook that pauses must not cost the
//! leadership.

use std::ops::Range;

use crate::commitlog::record::{self, BATCH_BYTES, BATCH_RECORDS, HEADER, MAGIC, MIN_BLANK};
use crate::error::Status;
use crate::options::{Stamp, StampEncoding, StampValue};
use crate::types::{Index, Mark};

/// A record's place, as its appender sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// From 0, without gaps.
    pub index: Index,
    /// Raft term of the leader that took it.
    pub term: u64,
    /// Of its header, in bytes from the beginning of time.
    pub pos: u64,
    /// Length of the body.
    pub body_len: u32,
}

/// Called for each record on the appending thread, under the append lock; may change the body.
/// Returns false to refuse the whole call.
pub type Hook = Box<dyn Fn(&Entry, &mut [u8]) -> bool + Send>;

/// Records of one batch, not sealed yet: in one segment, of one term, within a batch's limits.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Where its bytes are in the block.
    pub bytes: Range<usize>,
    /// How many records.
    pub count: usize,
    /// The first of them.
    pub first: Index,
    /// Position of the first of them.
    pub pos: u64,
    /// Raft term.
    pub term: u64,
}

/// Bytes laid out as the log will have them, in pieces.
#[derive(Default)]
pub struct Block {
    /// Headers and bodies; framing and checksums are still to come.
    pub buf: Vec<u8>,
    /// In order.
    pub pieces: Vec<Piece>,
}

impl Block {
    /// Empties it, keeping the memory that a usual one has: what a burst took is given back.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.pieces.clear();
        self.buf.shrink_to(KEPT_BYTES);
    }
}

/// What an append may not go beyond.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// End of the last segment there is.
    pub room_pos: u64,
    /// The first index without a unit.
    pub room_index: u64,
    /// What to answer beyond.
    pub beyond: Status,
}

/// The state under the append lock.
pub struct Staging {
    segment_bytes: u64,
    /// The term whose leader's order this is; 0: nobody's.
    term: u64,
    next: Mark,
    block: Block,
    hooks: Vec<(u64, Hook)>,
    hooks_made: u64,
    stamp: Option<Stamp>,
}

/// A place in the staged order to come back to, when an append is refused half way.
pub struct Undo {
    next: Mark,
    bytes: usize,
    pieces: usize,
    last: Option<(usize, usize)>,
}

impl Staging {
    /// Nothing staged, no term.
    pub fn new(segment_bytes: u64, next: Mark, stamp: Option<Stamp>) -> Staging {
        Staging {
            segment_bytes,
            term: 0,
            next,
            block: Block::default(),
            hooks: Vec::new(),
            hooks_made: 0,
            stamp,
        }
    }

    /// The term whose order this is.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Where the next record goes.
    pub fn next(&self) -> Mark {
        self.next
    }

    /// Begins the order of a leadership behind Raft's end. What the one before left staged goes.
    pub fn begin(&mut self, term: u64, next: Mark) {
        self.block.clear();
        self.term = term;
        self.next = next;
    }

    /// Swaps an empty block for what is staged.
    pub fn take(&mut self, empty: &mut Block) {
        std::mem::swap(&mut self.block, empty);
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        self.block.pieces.is_empty()
    }

    /// Bytes that are staged and not taken yet.
    pub fn bytes(&self) -> usize {
        self.block.buf.len()
    }

    /// Sets the built-in hook.
    pub fn set_stamp(&mut self, stamp: Option<Stamp>) {
        self.stamp = stamp;
    }

    /// Adds a hook behind those there are.
    pub fn add_hook(&mut self, hook: Hook) -> u64 {
        self.hooks_made += 1;
        self.hooks.push((self.hooks_made, hook));
        self.hooks_made
    }

    /// Takes a hook out.
    pub fn remove_hook(&mut self, id: u64) -> Option<Hook> {
        let at = self.hooks.iter().position(|(there, _)| *there == id)?;
        Some(self.hooks.remove(at).1)
    }

    /// Stages one record. On an error the caller goes [`Staging::back_to`] its mark.
    pub fn push(&mut self, body: &[u8], limits: &Limits) -> Result<Entry, Status> {
        self.stage(body, 0, limits)
    }

    /// Stages records: together in one batch, and so all or none through a crash, if one can hold
    /// them. On an error the caller goes [`Staging::back_to`] its mark.
    pub fn push_all(
        &mut self,
        bodies: &mut dyn Iterator<Item = &[u8]>,
        total: u64,
        count: usize,
        limits: &Limits,
    ) -> Result<(), Status> {
        let together = total <= BATCH_BYTES as u64
            && total + MIN_BLANK <= self.segment_bytes
            && count <= BATCH_RECORDS;
        if together {
            self.make_room_for(total, count);
        }
        for (n, body) in bodies.enumerate() {
            let ahead = if together && n == 0 { total } else { 0 };
            self.stage(body, ahead, limits)?;
        }
        Ok(())
    }

    /// The records that were staged since a mark.
    pub fn since(&self, undo: &Undo) -> impl Iterator<Item = Entry> {
        record::records(&self.block.buf[undo.bytes..]).map(|(header, _)| Entry {
            index: header.index,
            term: header.term,
            pos: header.pos,
            body_len: header.body_len,
        })
    }

    /// A place to come back to.
    pub fn mark(&self) -> Undo {
        let last = self.block.pieces.last().map(|piece| (piece.bytes.end, piece.count));
        let (bytes, pieces) = (self.block.buf.len(), self.block.pieces.len());
        Undo { next: self.next, bytes, pieces, last }
    }

    /// Gives back what was staged since the mark.
    pub fn back_to(&mut self, undo: Undo) {
        self.next = undo.next;
        self.block.buf.truncate(undo.bytes);
        self.block.pieces.truncate(undo.pieces);
        if let (Some(piece), Some((end, count))) = (self.block.pieces.last_mut(), undo.last) {
            (piece.bytes.end, piece.count) = (end, count);
        }
    }

    /// Places one record, copies it, runs the hooks. `ahead`: bytes that must fit with it in one
    /// segment.
    fn stage(&mut self, body: &[u8], ahead: u64, limits: &Limits) -> Result<Entry, Status> {
        let size = (HEADER + body.len()) as u64;
        let pos = record::place(self.next.pos, size.max(ahead), self.segment_bytes);
        if pos + size + MIN_BLANK > limits.room_pos || self.next.index.0 >= limits.room_index {
            return Err(limits.beyond);
        }
        let entry =
            Entry { index: self.next.index, term: self.term, pos, body_len: body.len() as u32 };
        let at = self.copy(&entry, size as u32, body);
        self.run_hooks(&entry, at + HEADER)?;
        self.join_piece(&entry, at, size as usize);
        self.next = Mark { index: entry.index + 1, pos: pos + size };
        Ok(entry)
    }

    /// Lays the record out at the end of the block. Returns where.
    fn copy(&mut self, entry: &Entry, size: u32, body: &[u8]) -> usize {
        let at = self.block.buf.len();
        let mut header = [0u8; HEADER];
        header[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        header[4..8].copy_from_slice(&size.to_be_bytes());
        header[8..16].copy_from_slice(&entry.index.0.to_be_bytes());
        header[16..24].copy_from_slice(&entry.term.to_be_bytes());
        header[24..32].copy_from_slice(&entry.pos.to_be_bytes());
        header[44..48].copy_from_slice(&entry.body_len.to_be_bytes());
        self.block.buf.reserve(HEADER + body.len());
        self.block.buf.extend_from_slice(&header);
        self.block.buf.extend_from_slice(body);
        at
    }

    fn run_hooks(&mut self, entry: &Entry, body: usize) -> Result<(), Status> {
        let body = &mut self.block.buf[body..];
        if let Some(stamp) = &self.stamp {
            write_stamp(stamp, entry, body).ok_or(Status::Rejected)?;
        }
        for (_, hook) in &self.hooks {
            if !hook(entry, body) {
                return Err(Status::Rejected);
            }
        }
        Ok(())
    }

    /// Puts the record into the last piece, or begins another.
    fn join_piece(&mut self, entry: &Entry, at: usize, size: usize) {
        let (first, pos, term) = (entry.index, entry.pos, entry.term);
        let alone = Piece { bytes: at..at + size, count: 1, first, pos, term };
        match self.block.pieces.last_mut() {
            Some(piece) if piece.count == 0 => *piece = alone,
            Some(piece)
                if piece.term == term
                    && piece.pos + piece.bytes.len() as u64 == pos
                    && piece.bytes.len() + size <= BATCH_BYTES
                    && piece.count < BATCH_RECORDS =>
            {
                piece.bytes.end = at + size;
                piece.count += 1;
            }
            _ => self.block.pieces.push(alone),
        }
    }

    /// Begins another piece if the last one cannot hold all of a call that is to stay together.
    fn make_room_for(&mut self, total: u64, count: usize) {
        let full = self.block.pieces.last().is_some_and(|piece| {
            piece.bytes.len() as u64 + total > BATCH_BYTES as u64
                || piece.count + count > BATCH_RECORDS
        });
        if full {
            let at = self.block.buf.len();
            // Empty until the first record of the call comes.
            self.block.pieces.push(Piece {
                bytes: at..at,
                count: 0,
                first: self.next.index,
                pos: self.next.pos,
                term: self.term,
            });
        }
    }
}

fn write_stamp(stamp: &Stamp, entry: &Entry, body: &mut [u8]) -> Option<()> {
    let value = match stamp.value {
        StampValue::BodyPos => entry.pos + HEADER as u64,
        StampValue::Pos => entry.pos,
        StampValue::Index => entry.index.0,
    };
    let at = stamp.offset as usize;
    let place = body.get_mut(at..at.checked_add(8)?)?;
    place.copy_from_slice(&match stamp.encoding {
        StampEncoding::Be64 => value.to_be_bytes(),
        StampEncoding::Le64 => value.to_le_bytes(),
    });
    Some(())
}

/// Memory that an empty block keeps: a few batches.
const KEPT_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a burst staged costs no memory when it is taken and done with; a usual block stays.
    #[test]
    fn a_block_gives_back_what_a_burst_took() {
        let beyond = Status::DiskFull;
        let limits = Limits { room_pos: 1 << 40, room_index: 1 << 20, beyond };
        let mut staging = Staging::new(1 << 30, Mark::default(), None);
        let mut block = Block::default();
        for (bodies, kept) in [(KEPT_BYTES / 4, true), (8 * KEPT_BYTES, false)] {
            staging.begin(1, Mark::default());
            for _ in 0..bodies >> 16 {
                staging.push(&[7; 1 << 16], &limits).unwrap();
            }
            staging.take(&mut block);
            let taken = block.buf.capacity();
            assert!(taken >= bodies);
            block.clear();
            assert!(block.buf.is_empty() && block.pieces.is_empty());
            assert_eq!(block.buf.capacity(), if kept { taken } else { KEPT_BYTES });
        }
    }
}
