//! Reading through a log's handle: bounds, waiting, pinning. Never a lock, never a copy, unless
//! asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::commitlog::read::{Place, is_stepped_over};
use crate::commitlog::record::{self, HEADER, Header};
use crate::commitlog::segment::Segment;
use crate::disk::Through;
use crate::error::{Error, Status};
use crate::group::shared::{Life, Shared};
use crate::group::staging::Entry;
use crate::types::Index;

/// How to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// 0: one.
    pub max_entries: u32,
    /// 0: no limit; the first record comes in any case.
    pub max_bytes: u64,
    /// How long to wait for the first record to be committed; `None`: no limit.
    pub wait: Option<Duration>,
    /// Check checksums.
    pub verify: bool,
    /// Read ahead.
    pub sequential: bool,
}

/// A pinned piece of the log. Dropping it unpins; it outlives the log's handle.
pub struct View {
    pin: Pin,
    pos: u64,
    len: u64,
    entries: Entries,
    next_index: Index,
}

/// One, the most frequent number, needs no memory of its own.
enum Entries {
    One(Entry),
    Many(Vec<Entry>),
}

impl Entries {
    /// Adds one; `most` come at most.
    fn push(&mut self, entry: Entry, most: u64) {
        match self {
            Entries::One(first) => {
                let mut entries = Vec::with_capacity(most.min(1024) as usize);
                entries.extend([*first, entry]);
                *self = Entries::Many(entries);
            }
            Entries::Many(entries) => entries.push(entry),
        }
    }

    fn as_slice(&self) -> &[Entry] {
        match self {
            Entries::One(entry) => std::slice::from_ref(entry),
            Entries::Many(entries) => entries,
        }
    }
}

impl View {
    /// Bytes from [`View::pos`] on: records with their headers.
    pub fn bytes(&self) -> &[u8] {
        let at = self.pos - self.pin.segment.pos;
        self.pin.segment.map.bytes(at..at + self.len).unwrap_or_default()
    }

    /// Position of the first byte.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// The records in it; none from [`Shared::read_pos`].
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_slice()
    }

    /// Where to go on reading: the first record behind it; of [`Shared::read_pos`]: the record that
    /// has the byte behind it.
    pub fn next_index(&self) -> Index {
        self.next_index
    }
}

/// A whole mapped and pinned segment. Dropping it unpins; it outlives the log's handle.
pub struct PinnedSegment {
    pin: Pin,
    begin: u64,
}

impl PinnedSegment {
    /// Its first byte. To be read only below the committed position.
    pub fn as_ptr(&self) -> *const u8 {
        self.pin.segment.map.as_ptr()
    }

    /// Position of its first byte.
    pub fn pos(&self) -> u64 {
        self.pin.segment.pos
    }

    /// Its length.
    pub fn size(&self) -> u64 {
        self.pin.segment.bytes
    }

    /// The first valid position in it.
    pub fn begin(&self) -> u64 {
        self.begin
    }
}

/// Keeps a segment mapped, and is counted.
struct Pin {
    segment: Arc<Segment>,
    open: Arc<AtomicU64>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Pins committed records from `index` on, as many as the limits allow and lie in one segment.
    /// No-ops of DLedger's are stepped over: there is always a record in it.
    pub fn read(&self, index: Index, options: &ReadOptions) -> Result<View, Status> {
        // The clock is looked at if there is something to wait for.
        let (mut index, mut deadline, mut bounds) = (index, None, self.bounds());
        let first = loop {
            if bounds.check(index) == Err(Status::NotCommitted)
                && options.wait != Some(Duration::ZERO)
            {
                let deadline = deadline.get_or_insert_with(|| self.clock.deadline(options.wait));
                self.wait_for(index, *deadline)?;
                bounds = self.bounds();
            }
            bounds.check(index)?;
            let first = self.place(index)?;
            if !is_stepped_over(&first.header) {
                break first;
            }
            index = index + 1;
        };
        if options.sequential {
            first.segment.map.advise_sequential();
        }
        let committed = bounds.committed.index;
        let most = u64::from(options.max_entries.max(1)).min(committed.0 - index.0);
        let mut view = View {
            pos: first.header.pos,
            len: 0,
            entries: Entries::One(entry_of(&first.header)),
            next_index: index,
            pin: self.pin(first.segment),
        };
        let mut header = first.header;
        loop {
            if options.verify {
                self.verify(&view.pin.segment, &header)?;
            }
            view.len = header.end() - view.pos;
            view.next_index = header.index + 1;
            let next = view.next_index;
            let all = next >= committed || view.entries().len() as u64 >= most;
            if all || header.end() + HEADER as u64 > view.pin.segment.end() {
                break;
            }
            match self.next_in(&view.pin.segment, header.end(), next)? {
                Some(follows) => header = follows,
                None => break,
            }
            let over = options.max_bytes > 0 && header.end() - view.pos > options.max_bytes;
            if over {
                break;
            }
            if !is_stepped_over(&header) {
                view.entries.push(entry_of(&header), most);
            }
        }
        Ok(view)
    }

    /// Pins committed bytes from any position on, up to `max_len`, the end of the segment or the
    /// committed position.
    pub fn read_pos(&self, pos: u64, max_len: usize) -> Result<View, Status> {
        let bounds = self.bounds();
        bounds.check_pos(pos)?;
        let segment = self.reader.segment(pos)?;
        let end = segment.end().min(bounds.committed.pos);
        let len = (end - pos).min(max_len as u64);
        let next_index = if pos + len == bounds.committed.pos {
            bounds.committed.index
        } else {
            // Where it cannot be told, a read there says what is damaged.
            let found = self.reader.index_at(pos + len, &bounds);
            found.unwrap_or_else(|(_, damaged)| damaged.unwrap_or(bounds.committed.index))
        };
        Ok(View {
            pin: self.pin(segment),
            pos,
            len,
            entries: Entries::Many(Vec::new()),
            next_index,
        })
    }

    /// Copies one body and verifies it. All that it takes it reads by `read`, never through a mapping:
    /// a medium error is an error, not a signal. The entry comes with [`Status::TooLarge`] as well.
    pub fn read_copy(
        &self,
        index: Index,
        buf: &mut [u8],
    ) -> Result<Entry, (Status, Option<Entry>)> {
        let alone = |status| (status, None);
        self.bounds().check(index).map_err(alone)?;
        let lost = |error| alone(self.report(index, error));
        let place = self.reader.place(Through::File, index).map_err(lost)?;
        let entry = entry_of(&place.header);
        let Some(body) = buf.get_mut(..entry.body_len as usize) else {
            return Err((Status::TooLarge, Some(entry)));
        };
        place.segment.read(Through::File, entry.pos + HEADER as u64, body).map_err(|error| {
            let what = format!("read of record {index} at position {}", entry.pos);
            lost(Error::io(what, error))
        })?;
        match self.reader.verify(Through::File, &place, body, &self.begin()) {
            Ok(()) => Ok(entry),
            Err(error) => Err(lost(error)),
        }
    }

    /// The committed record that has the byte at `pos`; in a blank: the next one.
    pub fn index_at(&self, pos: u64) -> Result<Index, Status> {
        self.reader.index_at(pos, &self.bounds()).map_err(|(status, damaged)| {
            if let Some(damaged) = damaged {
                let what = format!("no record is found that has it: record {damaged} is damaged");
                self.report(damaged, Error::corrupt(pos, what));
            }
            status
        })
    }

    /// Pins the whole segment that has `pos`.
    pub fn pin_segment(&self, pos: u64) -> Result<PinnedSegment, Status> {
        let bounds = self.bounds();
        bounds.check_pos(pos)?;
        let segment = self.reader.segment(pos)?;
        let begin = bounds.begin.pos.max(segment.pos);
        Ok(PinnedSegment { pin: self.pin(segment), begin })
    }

    /// Waits until the record is committed. A wait that the end of the log cuts short says so.
    fn wait_for(&self, index: Index, deadline: u64) -> Result<(), Status> {
        if self.wait_committed(index, deadline) {
            return Ok(());
        }
        let over = self.clock.now() >= deadline;
        Err(match self.life() {
            Life::Stopped if !over => Status::Stopped,
            Life::Failed if !over => Status::Failed,
            _ => Status::NotCommitted,
        })
    }

    fn pin(&self, segment: Arc<Segment>) -> Pin {
        self.open_views.fetch_add(1, Ordering::Relaxed);
        Pin { segment, open: self.open_views.clone() }
    }

    fn place(&self, index: Index) -> Result<Place, Status> {
        self.reader.place(Through::Map, index).map_err(|error| self.report(index, error))
    }

    /// The header at `pos`, where a record with this index begins; `None` if a blank does.
    fn next_in(&self, segment: &Segment, pos: u64, index: Index) -> Result<Option<Header>, Status> {
        let mut magic = [0; 4];
        let there = segment.map.copy(pos - segment.pos, &mut magic);
        if !there || u32::from_be_bytes(magic) == record::MAGIC_BLANK {
            return Ok(None);
        }
        self.reader.next(segment, pos, index).map(Some).map_err(|error| self.report(index, error))
    }

    fn verify(&self, segment: &Arc<Segment>, header: &Header) -> Result<(), Status> {
        let at = header.pos - segment.pos + HEADER as u64;
        let body = segment.map.bytes(at..at + u64::from(header.body_len)).unwrap_or_default();
        let place = Place { segment: segment.clone(), header: *header };
        self.reader
            .verify(Through::Map, &place, body, &self.begin())
            .map_err(|error| self.report(header.index, error))
    }

    /// A bad read fails that one call; the trace and [`Shared::bad_read`] say where, and the group
    /// thread looks after it.
    fn report(&self, index: Index, error: Error) -> Status {
        if !matches!(error, Error::Status(_)) {
            self.note_bad_read(&error);
            self.note_damage(index);
        }
        error.status()
    }
}

fn entry_of(header: &Header) -> Entry {
    Entry { index: header.index, term: header.term, pos: header.pos, body_len: header.body_len }
}
