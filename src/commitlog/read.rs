//! The readers' side: committed records through the mapping, without a lock and without a copy.
//! What a caller is given lies below a committed position that it was told, and never changes.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::commitlog::index::{IndexUnit, UNIT};
use crate::commitlog::record::{self, HEADER, Header, MAGIC_NOOP};
use crate::commitlog::segment::{Segment, Shelf};
use crate::commitlog::walk;
use crate::error::{Error, Result, Status};
use crate::types::{Anchor, Index, Mark};

/// Reads what is committed. One per log, shared by all its readers.
pub struct Reader {
    shelf: ArcSwap<Shelf>,
    dledger_end: u64,
}

/// What may be read: records from `begin` on that are committed.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The first record kept.
    pub begin: Mark,
    /// Behind the last one agreed.
    pub committed: Mark,
}

impl Bounds {
    /// Whether the record may be read; else why not.
    pub fn check(&self, index: Index) -> std::result::Result<(), Status> {
        if index < self.begin.index {
            Err(Status::Compacted)
        } else if index >= self.committed.index {
            Err(Status::NotCommitted)
        } else {
            Ok(())
        }
    }

    /// Whether the byte may be read; else why not.
    pub fn check_pos(&self, pos: u64) -> std::result::Result<(), Status> {
        if pos < self.begin.pos {
            Err(Status::Compacted)
        } else if pos >= self.committed.pos {
            Err(Status::NotCommitted)
        } else {
            Ok(())
        }
    }
}

/// Where a record lies, in a segment that is kept alive.
pub struct Place {
    /// Its segment.
    pub segment: Arc<Segment>,
    /// Its header.
    pub header: Header,
}

/// Bytes of one segment, kept alive and readable.
#[derive(Clone)]
pub struct Slice {
    segment: Arc<Segment>,
    range: Range<u64>,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.segment.map.bytes(self.range.clone()).unwrap_or_default()
    }
}

impl Reader {
    /// `len` bytes at `pos` that are written, in one segment, committed or not; `None` if they are
    /// not there any more. They are not checked.
    pub fn slice(&self, pos: u64, len: u32) -> Option<Slice> {
        let segment = self.shelf.load().segment(pos).cloned()?;
        let at = pos - segment.pos;
        let range = at..at + u64::from(len);
        segment.map.bytes(range.clone())?;
        Some(Slice { segment, range })
    }

    /// A reader of what is on the shelf. `dledger_end` is the position below which DLedger wrote
    /// records, without checksums.
    pub fn new(shelf: Shelf, dledger_end: u64) -> Reader {
        Reader { shelf: ArcSwap::from_pointee(shelf), dledger_end }
    }

    /// Swaps in another shelf.
    pub fn show(&self, shelf: Shelf) {
        self.shelf.store(Arc::new(shelf));
    }

    /// The segment that has a committed position.
    pub fn segment(&self, pos: u64) -> std::result::Result<Arc<Segment>, Status> {
        self.shelf.load().segment(pos).cloned().ok_or(Status::Compacted)
    }

    /// The record at a committed index. A unit that is damaged costs a walk from a record before
    /// it, and is made again.
    pub fn place(&self, index: Index) -> Result<Place> {
        let shelf = self.shelf.load();
        let by_unit = match unit_of(&shelf, index) {
            Some(unit) => match place_at(&shelf, unit.pos, index) {
                Ok(place) if unit == IndexUnit::of(&place.header) => return Ok(place),
                other => Some(other),
            },
            None => None,
        };
        if let Some(place) = walk::to(&shelf, index, self.dledger_end) {
            return Ok(place);
        }
        // Purged since the caller looked, or nothing tells where it is.
        let there = shelf.index.get(index.0).is_some();
        let lost = || if there { no_unit(index) } else { Status::Compacted.into() };
        by_unit.unwrap_or_else(|| Err(lost()))
    }

    /// The header of the record that follows at `pos` in the same segment. `index` is its index.
    pub fn next(&self, segment: &Segment, pos: u64, index: Index) -> Result<Header> {
        header_at(segment, pos, index)
    }

    /// The chainCrc in the header of a record, whatever else is in it; 0 in DLedger's. `None` if
    /// there is no such record.
    pub fn chain_of(&self, index: Index) -> Option<u32> {
        self.raw_header(index).map(|header| Header::decode(&header).chain_crc)
    }

    /// Checks body and header against their checksums. `begin` says what is known of the record
    /// before the first.
    pub fn verify(&self, place: &Place, body: &[u8], begin: &Anchor) -> Result<()> {
        let header = &place.header;
        if header.pos < self.dledger_end && header.is_dledgers() {
            return Ok(());
        }
        if record::body_crc(body) != header.body_crc {
            return Err(Error::corrupt(header.pos, "the body does not match its checksum"));
        }
        let follows = |before: u32| record::chain_crc(before, &header.encode()) == header.chain_crc;
        let before = |index: Index| {
            if index <= begin.index { Some(begin.chain) } else { self.chain_of(index - 1) }
        };
        // Where the chainCrc of the record before is what is damaged, it follows from the rest.
        let computed = || {
            let last = header.index.0.checked_sub(1).map(Index).filter(|i| *i >= begin.index)?;
            Some(record::chain_crc(before(last)?, &self.raw_header(last)?))
        };
        if before(header.index).is_some_and(follows) || computed().is_some_and(follows) {
            Ok(())
        } else {
            Err(Error::corrupt(header.pos, "the header does not match its checksum"))
        }
    }

    /// The bytes where the header of a record lies, damaged or not.
    fn raw_header(&self, index: Index) -> Option<[u8; HEADER]> {
        if let Ok(place) = self.place(index) {
            return Some(place.header.encode());
        }
        let shelf = self.shelf.load();
        let unit = unit_of(&shelf, index)?;
        let segment = shelf.segment(unit.pos)?;
        let mut bytes = [0; HEADER];
        segment.map.copy(unit.pos - segment.pos, &mut bytes).then_some(bytes)
    }

    /// The committed record that has the byte at `pos`; in a blank: the next one. With
    /// [`Status::Corrupt`] comes the record that is damaged.
    pub fn index_at(
        &self,
        pos: u64,
        bounds: &Bounds,
    ) -> std::result::Result<Index, (Status, Option<Index>)> {
        bounds.check_pos(pos).map_err(|status| (status, None))?;
        let shelf = self.shelf.load();
        let by_units = first_behind(pos, bounds, |index| Some(unit_of(&shelf, index)?.end()));
        if let Ok(index) = by_units
            && self.has(index, pos, bounds)
        {
            return Ok(index);
        }
        // A unit on the way is damaged: asked for by place, it is made again.
        let by_records =
            first_behind(pos, bounds, |index| Some(self.place(index).ok()?.header.end()));
        by_records.map_err(|damaged| (Status::Corrupt, Some(damaged)))
    }

    /// Whether a record has the byte at `pos`, or is the first behind the blank that has it.
    fn has(&self, index: Index, pos: u64, bounds: &Bounds) -> bool {
        let place = |index| self.place(index).map(|place| place.header);
        let ends_before = |index| place(index).is_ok_and(|header| header.end() <= pos);
        let begins = |header: &Header| {
            header.pos <= pos || index == bounds.begin.index || ends_before(index - 1)
        };
        place(index).is_ok_and(|header| pos < header.end() && begins(&header))
    }
}

/// The first committed record that ends behind `pos`, by halves; `end_of` tells where one ends. The
/// first one for which it cannot is the error.
fn first_behind(
    pos: u64,
    bounds: &Bounds,
    end_of: impl Fn(Index) -> Option<u64>,
) -> std::result::Result<Index, Index> {
    let (mut low, mut high) = (bounds.begin.index.0, bounds.committed.index.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let end = end_of(Index(middle)).ok_or(Index(middle))?;
        if end <= pos { low = middle + 1 } else { high = middle }
    }
    Ok(Index(low))
}

/// Whether reads step over it: a no-op of DLedger's.
pub fn is_stepped_over(header: &Header) -> bool {
    header.magic == MAGIC_NOOP
}

pub(super) fn unit_of(shelf: &Shelf, index: Index) -> Option<IndexUnit> {
    IndexUnit::decode(&shelf.index.get(index.0)?).filter(|unit| unit.index == index)
}

/// The record that begins at `pos`, by its header's shape.
pub(super) fn place_at(shelf: &Shelf, pos: u64, index: Index) -> Result<Place> {
    let Some(segment) = shelf.segment(pos).cloned() else {
        // Its segment may have been purged since the caller looked; none is there before its time.
        let purged = shelf.segments.first().is_none_or(|first| pos < first.pos);
        return Err(if purged { Status::Compacted.into() } else { no_unit(index) });
    };
    let header = header_at(&segment, pos, index)?;
    Ok(Place { segment, header })
}

fn no_unit(index: Index) -> Error {
    Error::corrupt(index.0 * UNIT, format!("in the index files: the unit of record {index}"))
}

fn header_at(segment: &Segment, pos: u64, index: Index) -> Result<Header> {
    let mut bytes = [0; HEADER];
    let at = pos - segment.pos;
    let header = segment.map.copy(at, &mut bytes).then(|| Header::decode(&bytes));
    header
        .filter(|h| h.is_whole() && h.index == index && h.pos == pos && h.end() <= segment.end())
        .ok_or_else(|| Error::corrupt(pos, format!("the header of record {index}")))
}
