//! The readers' side: committed records through the mapping, without a lock and without a copy.
//! What a caller is given lies below a committed position that it was told, and never changes.

use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::commitlog::index::{IndexUnit, UNIT};
use crate::commitlog::record::{self, HEADER, Header, MAGIC_NOOP};
use crate::commitlog::segment::{Segment, Shelf};
use crate::commitlog::walk;
use crate::disk::Through;
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
    /// it, and is made again. Through the file a unit or header that the medium has lost is an
    /// error of the disk, unless the walk finds the record without it.
    pub fn place(&self, through: Through, index: Index) -> Result<Place> {
        let shelf = self.shelf.load();
        let by_unit = match unit_of(&shelf, through, index) {
            Ok(Some(unit)) => match place_at(&shelf, through, unit.pos, index) {
                Ok(place) if unit == IndexUnit::of(&place.header) => return Ok(place),
                other => Some(other),
            },
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        if let Some(place) = walk::to(&shelf, through, index, self.dledger_end) {
            return Ok(place);
        }
        // Purged since the caller looked, or nothing tells where it is.
        let there = shelf.index.has(index.0);
        let lost = || if there { no_unit(index) } else { Status::Compacted.into() };
        by_unit.unwrap_or_else(|| Err(lost()))
    }

    /// The header of the record that follows at `pos` in the same segment. `index` is its index.
    pub fn next(&self, segment: &Segment, pos: u64, index: Index) -> Result<Header> {
        header_at(segment, Through::Map, pos, index)
    }

    /// The chainCrc in the header of a record, whatever else is in it; 0 in DLedger's. `None` if
    /// there is no such record.
    pub fn chain_of(&self, index: Index) -> Option<u32> {
        let header = self.raw_header(Through::Map, index).ok()?;
        header.map(|header| Header::decode(&header).chain_crc)
    }

    /// Checks body and header against their checksums. `begin` says what is known of the record
    /// before the first; what else it takes of the records before is read `through`.
    pub fn verify(
        &self,
        through: Through,
        place: &Place,
        body: &[u8],
        begin: &Anchor,
    ) -> Result<()> {
        let header = &place.header;
        if header.pos < self.dledger_end && header.is_dledgers() {
            return Ok(());
        }
        if record::body_crc(body) != header.body_crc {
            return Err(Error::corrupt(header.pos, "the body does not match its checksum"));
        }
        let follows = |before: u32| record::chain_crc(before, &header.encode()) == header.chain_crc;
        let raw = |index| self.raw_header(through, index);
        let before = |index: Index| -> Result<Option<u32>> {
            match index <= begin.index {
                true => Ok(Some(begin.chain)),
                false => Ok(raw(index - 1)?.map(|header| Header::decode(&header).chain_crc)),
            }
        };
        if before(header.index)?.is_some_and(follows) {
            return Ok(());
        }
        // Where the chainCrc of the record before is what is damaged, it follows from the rest.
        let last = header.index.0.checked_sub(1).map(Index).filter(|i| *i >= begin.index);
        let computed = match last {
            Some(last) => before(last)?.zip(raw(last)?),
            None => None,
        };
        if computed.is_some_and(|(chain, header)| follows(record::chain_crc(chain, &header))) {
            Ok(())
        } else {
            Err(Error::corrupt(header.pos, "the header does not match its checksum"))
        }
    }

    /// The bytes where the header of a record lies, damaged or not; an error only if they cannot be
    /// read.
    fn raw_header(&self, through: Through, index: Index) -> Result<Option<[u8; HEADER]>> {
        match self.place(through, index) {
            Ok(place) => return Ok(Some(place.header.encode())),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => {}
        }
        let shelf = self.shelf.load();
        let Some(unit) = unit_of(&shelf, through, index)? else { return Ok(None) };
        let Some(segment) = shelf.segment(unit.pos) else { return Ok(None) };
        let mut bytes = [0; HEADER];
        match segment.read(through, unit.pos, &mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(e) => match unreadable(unit.pos, index, e) {
                Error::Corrupt { .. } => Ok(None),
                error => Err(error),
            },
        }
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
        let by_units = first_behind(pos, bounds, |index| {
            Some(unit_of(&shelf, Through::Map, index).ok()??.end())
        });
        if let Ok(index) = by_units
            && self.has(index, pos, bounds)
        {
            return Ok(index);
        }
        // A unit on the way is damaged: asked for by place, it is made again.
        let by_records =
            first_behind(pos, bounds, |i| Some(self.place(Through::Map, i).ok()?.header.end()));
        by_records.map_err(|damaged| (Status::Corrupt, Some(damaged)))
    }

    /// Whether a record has the byte at `pos`, or is the first behind the blank that has it.
    fn has(&self, index: Index, pos: u64, bounds: &Bounds) -> bool {
        let place = |index| self.place(Through::Map, index).map(|place| place.header);
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

/// The unit of a record; `None` where another was written, or none.
pub(super) fn unit_of(shelf: &Shelf, through: Through, index: Index) -> Result<Option<IndexUnit>> {
    let unit = shelf.index.read(through, index.0)?.and_then(|unit| IndexUnit::decode(&unit));
    Ok(unit.filter(|unit| unit.index == index))
}

/// The record that begins at `pos`, by its header's shape.
pub(super) fn place_at(shelf: &Shelf, through: Through, pos: u64, index: Index) -> Result<Place> {
    let Some(segment) = shelf.segment(pos).cloned() else {
        // Its segment may have been purged since the caller looked; none is there before its time.
        let purged = shelf.segments.first().is_none_or(|first| pos < first.pos);
        return Err(if purged { Status::Compacted.into() } else { no_unit(index) });
    };
    let header = header_at(&segment, through, pos, index)?;
    Ok(Place { segment, header })
}

fn no_unit(index: Index) -> Error {
    Error::corrupt(index.0 * UNIT, format!("in the index files: the unit of record {index}"))
}

fn header_at(segment: &Segment, through: Through, pos: u64, index: Index) -> Result<Header> {
    let mut bytes = [0; HEADER];
    if let Err(error) = segment.read(through, pos, &mut bytes) {
        return Err(unreadable(pos, index, error));
    }
    let header = Header::decode(&bytes);
    let fits = header.is_whole()
        && (header.index, header.pos) == (index, pos)
        && header.end() <= segment.end();
    if fits { Ok(header) } else { Err(no_header(pos, index)) }
}

/// What a unit points at that is not wholly in the segment is damage; else the disk failed.
fn unreadable(pos: u64, index: Index, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => no_header(pos, index),
        _ => Error::io(format!("read of the header of record {index} at position {pos}"), error),
    }
}

fn no_header(pos: u64, index: Index) -> Error {
    Error::corrupt(pos, format!("the header of record {index}"))
}
