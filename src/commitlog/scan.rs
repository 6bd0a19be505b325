//! Reading data segments the hard way: record by record through `read`, checking everything. Used
//! by recovery and by tools; it believes no mark, no unit, nothing but checksums.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::commitlog::control::ControlEntry;
use crate::commitlog::import;
use crate::commitlog::index::IndexUnit;
use crate::commitlog::record::{
    self, CONTROLS_MANY, HEADER, Header, MAGIC, MAGIC_BLANK, MIN_BLANK, segment_end,
};
use crate::commitlog::segment::{self, Segment};
use crate::disk::data_ranges;
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

/// A reader of segments that trusts nothing.
pub struct Scan {
    segments: Vec<Arc<Segment>>,
    segment_bytes: u64,
    /// Below it DLedger's records are taken as they are.
    dledger_end: u64,
    buf: Vec<u8>,
    buf_pos: u64,
    bytes_read: u64,
    /// Whether a look behind an end met a byte other than zero.
    not_zeros: bool,
    /// Up to where the batch is intact that is not whole.
    torn: u64,
}

/// What lies behind the end of a log.
pub struct Behind {
    /// A whole record, farther away than was asked for.
    pub far: Option<u64>,
    /// Whether anything but zeros was met.
    pub anything: bool,
}

/// What follows an anchor.
pub enum Step {
    /// A whole batch, and the units of its records.
    Batch {
        /// Behind it.
        batch: Anchor,
        /// One per record.
        units: Vec<IndexUnit>,
        /// Whether it has checksums: DLedger's have none.
        ours: bool,
    },
    /// Nothing that is whole.
    End,
}

impl Scan {
    /// A scan of segments in order and without gaps.
    pub fn new(segments: Vec<Arc<Segment>>, segment_bytes: u64, dledger_end: u64) -> Scan {
        let (buf, buf_pos, bytes_read, not_zeros, torn) = (Vec::new(), 0, 0, false, 0);
        Scan { segments, segment_bytes, dledger_end, buf, buf_pos, bytes_read, not_zeros, torn }
    }

    /// Bytes that were read.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Up to where the last step met what is intact: the end of the log, or, where a batch is there in
    /// part, its first record that is not intact.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The batch that follows an anchor, if it is whole and its control entries are there.
    pub fn step(
        &mut self,
        at: &Anchor,
        controls: &BTreeMap<RaftIndex, ControlEntry>,
    ) -> Result<Step> {
        self.torn = at.pos;
        let Some(mut pos) = self.after_blank(at.pos)? else { return Ok(Step::End) };
        let (mut index, mut chain) = (at.index, at.chain);
        let mut units = Vec::new();
        let mut first: Option<Header> = None;
        let dledger_end = self.dledger_end;
        loop {
            let Some((header, bytes)) = self.record(pos, index)? else { return Ok(Step::End) };
            if first.is_none() && pos < dledger_end && header.is_dledgers() {
                return Ok(batch_of_one(at, &header));
            }
            let body = bytes.get(HEADER..).unwrap_or_default();
            let next = record::chain_crc(chain, &header.encode());
            let intact = header.magic == MAGIC
                && next == header.chain_crc
                && record::body_crc(body) == header.body_crc;
            if first.is_none() && pos < dledger_end {
                return Ok(taken_over(at, &header, intact));
            }
            let framed = match (&first, units.len()) {
                (None, _) => header.term >= at.term,
                (Some(first), n) => {
                    header.controls == 0
                        && header.term == first.term
                        && usize::from(header.follow) + n == usize::from(first.follow)
                }
            };
            if !intact || !framed {
                return Ok(Step::End);
            }
            chain = next;
            units.push(IndexUnit::of(&header));
            pos = header.end();
            index = index + 1;
            self.torn = pos;
            let follow = header.follow;
            let first = *first.get_or_insert(header);
            if follow > 0 {
                continue;
            }
            let Some(raft_index) = raft_index_of(at, &first, controls) else {
                return Ok(Step::End);
            };
            let batch =
                Anchor { index, pos, raft_index, term: first.term, chain, batch: raft_index };
            return Ok(Step::Batch { batch, units, ours: true });
        }
    }

    /// DLedger's first record behind an anchor: DLedger went on behind what it took for records, ours
    /// among them, whole batches or not. Its own are framed as ever (dense indexes, each at its own
    /// place, terms that never fall) and have no checksums. `term` is what DLedger's state file says:
    /// no record of ours has a term so low.
    pub fn dledgers_behind(&mut self, at: &Anchor, term: Option<u64>) -> Result<Option<Header>> {
        let (mut pos, mut index, mut least) = (at.pos, at.index, at.term.saturating_sub(1));
        loop {
            let Some(next) = self.after_blank(pos)? else { return Ok(None) };
            let Some((header, _)) = self.record(next, index)? else { return Ok(None) };
            if header.term < least {
                return Ok(None);
            }
            let proven = !may_be_torn(&header) || term.is_some_and(|term| header.term <= term);
            if header.is_dledgers() && proven {
                return Ok(Some(header));
            }
            (pos, index, least) = (header.end(), index + 1, header.term);
        }
    }

    /// What lies behind a hole at `torn`, in or behind the batch that follows `end`: the first whole record
    /// that begins `distance` bytes or more behind it, and whether there is anything but zeros behind
    /// `end` in its segment. Where the hole's own
    /// segment has no record, the distance counts from the next one: the blank between was never
    /// written.
    ///
    /// One pass. It goes on to the end of the last segment, wherever zeros count as data: how far a
    /// damaged stretch reaches is not bounded, and stale bytes may lie anywhere behind it.
    pub fn behind(&mut self, end: &Anchor, torn: u64, distance: u64) -> Result<Behind> {
        self.not_zeros = torn > end.pos;
        let here = segment_end(torn, self.segment_bytes);
        let last = self.segments.last().map_or(here, |s| s.end());
        let far = match self.find_record(torn, here, end)? {
            Some(near) if near < torn.saturating_add(distance) => {
                let from = torn.saturating_add(distance).max(near + 1);
                self.find_record(from, last, end)?
            }
            Some(far) => Some(far),
            None => self.find_record(here.saturating_add(distance), last, end)?,
        };
        Ok(Behind { far, anything: self.not_zeros })
    }

    /// The first whole record in `from..to` that may belong behind `after`, wherever it begins.
    fn find_record(&mut self, from: u64, to: u64, after: &Anchor) -> Result<Option<u64>> {
        let mut pos = from;
        while pos < to {
            let Some(segment) = segment::find(&self.segments, pos).cloned() else {
                return Ok(None);
            };
            let failed = |e| Error::io(segment::path(segment.pos), e);
            let ranges = data_ranges(&*segment.file, pos - segment.pos).map_err(failed)?;
            for range in ranges {
                // A header may begin in the last bytes of a range.
                let end = (segment.pos + range.end + HEADER as u64).min(segment.end());
                let range = segment.pos + range.start..end.min(to + HEADER as u64);
                if let Some(hit) = self.find_in(range, segment.end(), after)? {
                    return Ok(Some(hit));
                }
            }
            pos = segment.end();
        }
        Ok(None)
    }

    /// The same in a stretch of one segment.
    fn find_in(
        &mut self,
        range: Range<u64>,
        segment_end: u64,
        after: &Anchor,
    ) -> Result<Option<u64>> {
        let mut pos = range.start;
        while pos < range.end {
            let len = WINDOW.min(segment_end.min(range.end) - pos);
            let Some(window) = self.bytes(pos, len)? else { return Ok(None) };
            let zeros = window.iter().all(|&byte| byte == 0);
            let hits: Vec<u64> = if zeros { Vec::new() } else { candidates(window, pos).collect() };
            self.not_zeros |= !zeros;
            for hit in hits {
                if let Some((header, bytes)) = self.whole_record(hit)? {
                    let crc = record::body_crc(bytes.get(HEADER..).unwrap_or_default());
                    // What DLedger cut and wrote over has older terms: its bytes stay behind its end.
                    let current = match header.is_dledgers() {
                        true => header.term >= after.term.saturating_sub(1),
                        false => crc == header.body_crc,
                    };
                    if header.index > after.index && current {
                        return Ok(Some(hit));
                    }
                }
            }
            // Headers that straddle two windows are seen by the next one.
            pos += if pos + len >= range.end { len } else { len - HEADER as u64 };
        }
        Ok(None)
    }

    /// The record at `pos` if it has the shape of one, this index, and lies in its segment.
    fn record(&mut self, pos: u64, index: Index) -> Result<Option<(Header, &[u8])>> {
        let found = self.whole_record(pos)?;
        Ok(found.filter(|(header, _)| header.index == index))
    }

    fn whole_record(&mut self, pos: u64) -> Result<Option<(Header, &[u8])>> {
        let segment_end = segment_end(pos, self.segment_bytes);
        let Some(bytes) = self.bytes(pos, HEADER as u64)? else { return Ok(None) };
        let Ok(bytes) = <&[u8; HEADER]>::try_from(bytes) else { return Ok(None) };
        let header = Header::decode(bytes);
        let fits =
            header.is_whole() && header.pos == pos && header.end() + MIN_BLANK <= segment_end;
        if !fits {
            return Ok(None);
        }
        Ok(self.bytes(pos, u64::from(header.size))?.map(|bytes| (header, bytes)))
    }

    /// Where the record after `pos` begins: there, or behind the blank that is there. `None` if
    /// no segment has it.
    fn after_blank(&mut self, pos: u64) -> Result<Option<u64>> {
        let end = segment_end(pos, self.segment_bytes);
        let Some(bytes) = self.bytes(pos, MIN_BLANK)? else { return Ok(None) };
        let blank = record::u32_at(bytes, 0) == MAGIC_BLANK
            && u64::from(record::u32_at(bytes, 4)) == end - pos;
        Ok(Some(if blank { end } else { pos }))
    }

    /// `len` bytes at `pos`, all in one segment; `None` where there is no such segment.
    fn bytes(&mut self, pos: u64, len: u64) -> Result<Option<&[u8]>> {
        let buffered = pos >= self.buf_pos
            && pos + len <= self.buf_pos + self.buf.len() as u64
            && !self.buf.is_empty();
        if !buffered {
            let Some(segment) = segment::find(&self.segments, pos) else { return Ok(None) };
            if pos + len > segment.end() {
                return Ok(None);
            }
            // What is here already of a record that began in this window is not read again.
            let buf_end = self.buf_pos + self.buf.len() as u64;
            if (self.buf_pos.max(segment.pos)..buf_end.min(segment.end())).contains(&pos) {
                self.buf.drain(..(pos - self.buf_pos) as usize);
            } else {
                self.buf.clear();
            }
            let have = self.buf.len();
            let n = len.max(WINDOW).min(segment.end() - pos);
            self.buf.resize(n as usize, 0);
            self.buf_pos = pos;
            let read = segment.file.read_at(&mut self.buf[have..], pos - segment.pos + have as u64);
            self.bytes_read += n - have as u64;
            if let Err(e) = read {
                self.buf.clear();
                return Err(Error::io(segment::path(segment.pos), e));
            }
        }
        let at = (pos - self.buf_pos) as usize;
        Ok(self.buf.get(at..at + len as usize))
    }
}

/// Which Raft entry a batch is: the one behind its control entries, all of which must be there.
fn raft_index_of(
    at: &Anchor,
    first: &Header,
    controls: &BTreeMap<RaftIndex, ControlEntry>,
) -> Option<RaftIndex> {
    if first.controls == CONTROLS_MANY {
        let mut next = at.raft_index + 1;
        while controls.contains_key(&next) {
            next = next + 1;
        }
        return (next - at.batch > u64::from(CONTROLS_MANY)).then_some(next);
    }
    let raft_index = at.batch + u64::from(first.controls) + 1;
    let there = (at.raft_index.0 + 1..raft_index.0)
        .all(|i| controls.get(&RaftIndex(i)).is_some_and(|c| c.term <= first.term));
    (raft_index > at.raft_index && there).then_some(raft_index)
}

/// DLedger's record below the noted end: a batch of its own.
fn batch_of_one(at: &Anchor, header: &Header) -> Step {
    let unit = IndexUnit::of(header);
    let batch = import::anchor_behind(&unit);
    let units = vec![unit];
    if batch.term >= at.term { Step::Batch { batch, units, ours: false } } else { Step::End }
}

/// Whether a record that looks like DLedger's could be a torn one of ours. Only the checksums may be
/// missing, so that its header lay in two sectors, and it has no body: the body's length stands
/// behind the checksums.
fn may_be_torn(header: &Header) -> bool {
    let two_sectors = header.pos % SECTOR + HEADER as u64 > SECTOR;
    header.magic == MAGIC && header.body_len == 0 && two_sectors
}

/// A record of ours below DLedger's noted end: DLedger went on behind it, and it counts as one of
/// DLedger's since, a batch of its own. Its checksums hold as ever.
fn taken_over(at: &Anchor, header: &Header, intact: bool) -> Step {
    if !intact {
        return Step::End;
    }
    let unit = IndexUnit::of(header);
    let batch = Anchor { chain: header.chain_crc, ..import::anchor_behind(&unit) };
    if batch.term >= at.term {
        Step::Batch { batch, units: vec![unit], ours: true }
    } else {
        Step::End
    }
}

/// Places in a window that may be the header of a record: they know their own position.
fn candidates(window: &[u8], pos: u64) -> impl Iterator<Item = u64> + '_ {
    let last = window.len().saturating_sub(HEADER - 1);
    (0..last).filter_map(move |at| {
        let here = window[at + 3] == MAGIC as u8
            && record::u64_at(window, at + 24) == pos + at as u64
            && record::u32_at(window, at) == MAGIC;
        here.then_some(pos + at as u64)
    })
}

/// Bytes to read at a time.
const WINDOW: u64 = 128 << 10;
/// What a disk writes as a whole.
const SECTOR: u64 = 512;
