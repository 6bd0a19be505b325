//! Writing at the end: records, the units derived from them, and the syncs that make them durable.

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use crate::commitlog::control::{ControlEntry, ControlKind};
use crate::commitlog::index::{BatchUnit, Kind, UNIT, batch_slot};
use crate::commitlog::segment::{self, Segment};
use crate::commitlog::{Batch, CommitLog, LogEntry, record};
use crate::error::{Error, Result};
use crate::plant::Plant;
use crate::types::Anchor;

impl CommitLog {
    /// Writes Raft entries at the end, in order. Control entries are durable when this returns;
    /// records are after [`CommitLog::sync`]. `buf` holds the bytes of the batches.
    pub fn write(&mut self, buf: &[u8], entries: &[LogEntry]) -> Result<()> {
        self.write_controls(entries)?;
        self.write_data(buf, entries)?;
        self.write_units(buf, entries)
    }

    /// Makes all that was written durable: one sync per data file touched.
    pub fn sync(&mut self) -> Result<()> {
        self.sync_bytes = self.unsynced_bytes();
        self.sync_data()?;
        self.flushed = self.end;
        Ok(())
    }

    fn sync_data(&mut self) -> Result<()> {
        for segment in self.syncing.iter().chain(&self.unsynced) {
            segment.file.sync().map_err(|e| Error::sync(segment::path(segment.pos), e))?;
        }
        self.syncing.clear();
        self.unsynced.clear();
        self.sync_names()
    }

    fn write_controls(&mut self, entries: &[LogEntry]) -> Result<()> {
        let controls: Vec<ControlEntry> = entries
            .iter()
            .filter_map(|e| match e {
                LogEntry::Control(c) if c.raft_index > self.controls_written => Some(c.clone()),
                _ => None,
            })
            .collect();
        if controls.is_empty() {
            return Ok(());
        }
        self.control.append(&controls)?;
        for control in controls {
            self.controls_written = control.raft_index;
            if control.kind == ControlKind::Membership {
                self.memberships.insert(control.raft_index, control.content);
            }
        }
        Ok(())
    }

    /// One `pwrite` per run of batches that lie behind each other in the buffer and in a segment.
    fn write_data(&mut self, buf: &[u8], entries: &[LogEntry]) -> Result<()> {
        let mut written = Written { synced: self.flushed.pos, end: self.end.pos };
        let mut run: Option<(u64, Range<usize>)> = None;
        for entry in entries {
            let LogEntry::Batch(batch) = entry else { continue };
            let joins = run.as_ref().is_some_and(|(pos, bytes)| {
                bytes.end == batch.bytes.start && pos + bytes.len() as u64 == batch.pos
            });
            match &mut run {
                Some((_, bytes)) if joins => bytes.end = batch.bytes.end,
                _ => {
                    if let Some((pos, bytes)) = run.replace((batch.pos, batch.bytes.clone())) {
                        self.write_run(&mut written, pos, &buf[bytes])?;
                    }
                }
            }
        }
        if let Some((pos, bytes)) = run {
            self.write_run(&mut written, pos, &buf[bytes])?;
        }
        Ok(())
    }

    /// Writes records of one segment. What lies on no disk stays within `unsynced.max`, as recovery
    /// measures how far behind a hole a record may lie: from record to record, by position. So what is
    /// written is synced before more would be too much; a record that is too much by itself goes alone.
    fn write_run(&mut self, written: &mut Written, pos: u64, bytes: &[u8]) -> Result<()> {
        let (mut pos, mut bytes) = (pos, bytes);
        while !bytes.is_empty() {
            let alone = written.end == written.synced;
            let from = if alone { pos } else { written.synced };
            let room = (from + self.meta.unsynced_max).saturating_sub(pos);
            let len = match whole_records(bytes, room) {
                0 if alone => record::u32_at(bytes, 4) as usize,
                0 => {
                    self.sync_data()?;
                    written.synced = written.end;
                    continue;
                }
                len => len,
            };
            self.write_records(written.end, pos, &bytes[..len])?;
            (pos, bytes) = (pos + len as u64, &bytes[len..]);
            written.end = pos;
        }
        Ok(())
    }

    /// Writes bytes of one segment at `pos`; `behind` is the end of what lies before them.
    fn write_records(&mut self, behind: u64, pos: u64, bytes: &[u8]) -> Result<()> {
        if segment::find(&self.segments, pos).is_none() {
            if let Some(old) = self.segments.last().filter(|s| behind < s.end()).cloned() {
                let blank = record::blank(behind, self.meta.segment_bytes);
                let failed = |e| Error::io(segment::path(old.pos), e);
                old.file.write_at(&blank, behind - old.pos).map_err(failed)?;
                self.touch(&old);
            }
            self.roll(pos)?;
        }
        let Some(segment) = segment::find(&self.segments, pos).cloned() else {
            return Err(Error::corrupt(pos, "no segment has this position"));
        };
        let failed = |e| Error::io(segment::path(segment.pos), e);
        segment.file.write_at(bytes, pos - segment.pos).map_err(failed)?;
        self.touch(&segment);
        let end = pos + bytes.len() as u64;
        if end > self.ahead && self.sync_bytes < SMALL_SYNC {
            self.ahead = segment.end().min((end + AHEAD) / AHEAD * AHEAD);
            self.write_zeros(&segment, end..self.ahead).map_err(failed)?;
        }
        Ok(())
    }

    /// Where blocks were only allocated, the first sync of them makes the file system note in its own
    /// journal that they are written (ext4: an unwritten extent). Zeros behind the records, written
    /// with them now and then, leave most small syncs with the records alone.
    fn write_zeros(&self, segment: &Segment, range: Range<u64>) -> std::io::Result<()> {
        for at in range.clone().step_by(ZEROS.len()) {
            let len = ZEROS.len().min((range.end - at) as usize);
            segment.file.write_at(&ZEROS[..len], at - segment.pos)?;
        }
        Ok(())
    }

    /// Brings a spare into use as the segment that begins at `pos`.
    fn roll(&mut self, pos: u64) -> Result<()> {
        let spare = match self.spares.pop_front() {
            Some(spare) => spare,
            None => self.make_spare()?,
        };
        let path = segment::path(pos);
        self.disk.rename(&spare.path, &path).map_err(|e| Error::io(&*path, e))?;
        self.rolls += 1;
        let segment =
            Segment { pos, bytes: self.meta.segment_bytes, file: spare.file, map: spare.map };
        self.segments.push(Arc::new(segment));
        self.publish();
        Ok(())
    }

    pub(super) fn touch(&mut self, segment: &Arc<Segment>) {
        if !self.unsynced.iter().any(|s| Arc::ptr_eq(s, segment)) {
            self.unsynced.push(segment.clone());
        }
    }

    pub(super) fn sync_names(&mut self) -> Result<()> {
        if self.rolls > self.rolls_synced && !self.plants.on(Plant::SkipDirectorySync) {
            for dir in ["data", "spare"] {
                self.disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
            }
            self.rolls_synced = self.rolls;
        }
        Ok(())
    }

    /// Derives the units of what was just written, and moves the end behind it.
    fn write_units(&mut self, buf: &[u8], entries: &[LogEntry]) -> Result<()> {
        self.index_buf.clear();
        self.batch_buf.clear();
        let before = self.end;
        for entry in entries {
            let unit = match entry {
                LogEntry::Control(control) => self.end_with_control(control),
                LogEntry::Batch(batch) => {
                    put_index_units(&mut self.index_buf, &buf[batch.bytes.clone()]);
                    self.end_with_batch(batch)
                }
            };
            self.batch_buf.extend_from_slice(&unit.encode());
        }
        let index = self.index.write(before.index.0, &self.index_buf);
        let slot = batch_slot(before.raft_index + 1);
        let written = index.and_then(|()| self.batches.write(slot, &self.batch_buf));
        if written.is_err() {
            // A write that met a full disk is tried again from here.
            self.end = before;
        }
        written
    }

    fn end_with_control(&mut self, control: &ControlEntry) -> BatchUnit {
        self.end.raft_index = control.raft_index;
        self.end.term = control.term;
        control_unit(&self.end, control.kind)
    }

    fn end_with_batch(&mut self, batch: &Batch) -> BatchUnit {
        self.end = Anchor {
            index: batch.first + u64::from(batch.count),
            pos: batch.pos + batch.bytes.len() as u64,
            raft_index: batch.raft_index,
            term: batch.term,
            chain: batch.chain,
            batch: batch.raft_index,
        };
        BatchUnit {
            kind: Kind::Batch,
            count: batch.count,
            chain: batch.chain,
            term: batch.term,
            first: batch.first,
            pos: batch.pos,
        }
    }
}

/// How far a write has come.
struct Written {
    /// On disk up to here, at least.
    synced: u64,
    end: u64,
}

/// The length of the records at the beginning of `bytes` that `room` takes whole.
fn whole_records(bytes: &[u8], room: u64) -> usize {
    if bytes.len() as u64 <= room {
        return bytes.len();
    }
    let mut len = 0;
    while let Some(size) = bytes[len..].first_chunk::<8>().map(|head| record::u32_at(head, 4))
        && len as u64 + u64::from(size) <= room
    {
        len += size as usize;
    }
    len
}

/// The unit of a control entry that ends the log at `end`.
pub(super) fn control_unit(end: &Anchor, kind: ControlKind) -> BatchUnit {
    BatchUnit {
        kind: match kind {
            ControlKind::NoOp => Kind::NoOp,
            ControlKind::Membership => Kind::Membership,
        },
        count: 0,
        chain: end.chain,
        term: end.term,
        first: end.index,
        pos: end.pos,
    }
}

/// Appends the index units of the records in `bytes`: DLedger's fields lie in the header as they
/// do in the unit, in another order.
pub(super) fn put_index_units(units: &mut Vec<u8>, bytes: &[u8]) {
    let mut at = 0;
    while at < bytes.len() {
        let header = &bytes[at..at + record::HEADER];
        let mut unit = [0u8; UNIT as usize];
        unit[0..4].copy_from_slice(&header[0..4]);
        unit[4..12].copy_from_slice(&header[24..32]);
        unit[12..16].copy_from_slice(&header[4..8]);
        unit[16..32].copy_from_slice(&header[8..24]);
        units.extend_from_slice(&unit);
        at += record::u32_at(header, 4) as usize;
    }
}

/// How far ahead of the records zeros are written.
const AHEAD: u64 = 256 << 10;
/// A sync of so much that what the file system notes with it does not matter.
const SMALL_SYNC: u64 = 96 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
