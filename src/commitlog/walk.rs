//! A walk from record to record, header by header, where an index unit does not tell the way. What
//! the walk learns it writes into the units it has passed: they are derived, the records are the
//! truth. So a damaged unit costs one walk, also where a whole page of them is lost.
//!
//! Any reader may walk, beside others and beside the log's writer: only units of committed records
//! are written, always with the same bytes, and no cut comes so far back. No sync waits for them: a
//! unit that a power cut takes away again is made again when it is next met.

use std::sync::Arc;

use crate::commitlog::index::{IndexUnit, UNIT};
use crate::commitlog::read::{Place, place_at, unit_of};
use crate::commitlog::record::{self, HEADER, Header, MAGIC_BLANK};
use crate::commitlog::segment::{Segment, Shelf};
use crate::disk::Through;
use crate::types::Index;

/// The committed record with an index, found from one before it; `None` where the headers between
/// are damaged. `dledger_end` is the position below which records may have no checksums. All that it
/// takes is read `through`.
pub(super) fn to(shelf: &Shelf, through: Through, index: Index, dledger_end: u64) -> Option<Place> {
    let mut at = start(shelf, through, index)?;
    let mut learned = Learned { shelf, first: at.header.index, units: Vec::new() };
    while at.header.index < index {
        let next = behind(shelf, through, &at)?;
        learned.pass(&next.header, follows(&at.header, &next.header, dledger_end));
        at = next;
    }
    learned.write();
    Some(at)
}

/// Where to set out: the nearest record before `index` that a unit leads to, or else the first of a
/// segment.
fn start(shelf: &Shelf, through: Through, index: Index) -> Option<Place> {
    let nearest = (1..=NEAR).map_while(|n| index.0.checked_sub(n).map(Index)).find_map(|before| {
        let unit = unit_of(shelf, through, before).ok()??;
        place_at(shelf, through, unit.pos, before).ok()
    });
    let first_in = |segment| first_in(segment, through);
    // A segment's first record is no proof of itself, but of the one that follows.
    let first = || shelf.segments.first().and_then(first_in).filter(|p| p.header.index == index);
    let earlier = || {
        let firsts = shelf.segments.iter().rev().filter_map(first_in);
        firsts.into_iter().find(|place| place.header.index < index)
    };
    nearest.or_else(first).or_else(earlier)
}

/// The first record of a segment, perhaps behind a blank (DLedger's `resetOffset`).
fn first_in(segment: &Arc<Segment>, through: Through) -> Option<Place> {
    let mut at = 0;
    loop {
        let mut bytes = [0; HEADER];
        segment.read(through, segment.pos + at, &mut bytes).ok()?;
        let header = Header::decode(&bytes);
        if at == 0 && header.magic == MAGIC_BLANK && header.size > 0 {
            at = u64::from(header.size);
            continue;
        }
        let fits = header.is_whole() && header.pos == segment.pos + at;
        return (fits && header.end() <= segment.end())
            .then(|| Place { segment: segment.clone(), header });
    }
}

/// The record that follows: right behind, or at the next segment's beginning.
fn behind(shelf: &Shelf, through: Through, at: &Place) -> Option<Place> {
    let next = at.header.index + 1;
    let places = [at.header.end(), at.segment.end()];
    places.into_iter().find_map(|pos| place_at(shelf, through, pos, next).ok())
}

/// Whether a header is the true successor of the one before it, as far as can be told.
fn follows(before: &Header, header: &Header, dledger_end: u64) -> bool {
    let dledgers = header.pos < dledger_end && header.is_dledgers();
    dledgers || record::chain_crc(before.chain_crc, &header.encode()) == header.chain_crc
}

/// Units of records that were passed, on their way to the file.
struct Learned<'a> {
    shelf: &'a Shelf,
    /// Before the first of the units.
    first: Index,
    units: Vec<u8>,
}

impl Learned<'_> {
    /// Takes in the next record. What is no proven successor leaves its unit as it is.
    fn pass(&mut self, header: &Header, proven: bool) {
        if proven {
            self.units.extend_from_slice(&IndexUnit::of(header).encode());
        }
        if !proven || self.units.len() >= WRITE_BYTES {
            self.write();
            self.first = header.index;
        }
    }

    /// Writes what was learned; a disk that refuses costs the next reader a walk.
    fn write(&mut self) {
        if self.units.is_empty() {
            return;
        }
        let (from, count) = (self.first + 1, self.units.len() as u64 / UNIT);
        match self.shelf.index.write(from.0, &self.units) {
            Ok(()) => tracing::warn!("made {count} index units again, from record {from} on"),
            Err(error) => tracing::warn!("index units from record {from} on: {error}"),
        }
        self.units.clear();
    }
}

/// Units to look at before it is quicker to begin at a segment's first record.
const NEAR: u64 = 4096;
/// Bytes of units to keep before they are written.
const WRITE_BYTES: usize = 1 << 20;
