//! The file `control`: Raft's own entries (no-op, membership), which take no byte of the data log.
//! Append-only; an entry is synced before anyone learns of it. A cut mark voids what it names of
//! the entries before it.
//!
//! Behind the last entry are zeros, always. What a crash tore at the end is zeroed, and that is
//! synced, before new bytes come there: stale ones never come back. An open writes again what it
//! read and `meta` does not vouch for: the page cache need not be what is on disk. One write between two syncs
//! has at most [`MAX_WRITE`] bytes, so damage with valid entries farther behind it is no torn
//! write, and is never cut off.

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use super::meta::fresh;
use crate::disk::{Disk, File, data_ranges};
use crate::error::{Error, Result, Status};
use crate::types::RaftIndex;

/// A Raft entry that is no batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlEntry {
    /// Its place.
    pub raft_index: RaftIndex,
    /// Its term.
    pub term: u64,
    /// What it is.
    pub kind: ControlKind,
    /// What it says; at most [`CONTENT_MAX`] bytes.
    pub content: Vec<u8>,
}

/// What a control entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// The first entry of a term.
    NoOp,
    /// A change of the member set.
    Membership,
}

/// The open file. After a failed write or sync it takes nothing more.
pub struct Control {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    len: u64,
    end: u64,
    /// Since the open nothing was written: bytes up to here may be what an earlier crash left.
    stale: Option<u64>,
    /// Blocks are there up to here, at least.
    allocated: u64,
    /// What comes next lies behind this Raft index.
    last: RaftIndex,
    failed: bool,
}

impl ControlEntry {
    /// Bytes that it takes in the file.
    pub fn bytes(&self) -> u64 {
        padded(self.content.len()) as u64
    }
}

impl Control {
    /// Makes the file, without entries, in place of any that is there. A crash leaves no half file
    /// under its name.
    pub fn create(disk: Arc<dyn Disk>) -> Result<Control> {
        let file = write_new(&*disk, &[])?;
        put_in_place(&*disk)?;
        Control::with(disk, file, START, RaftIndex(0))
    }

    /// Opens the file and answers its entries, in order, less those that cut marks void. All of
    /// them are durable when it returns.
    ///
    /// Below `durable_end` (what [`end`](Control::end) once was; 0: nothing is known) every entry
    /// must be intact.
    pub fn open(disk: Arc<dyn Disk>, durable_end: u64) -> Result<(Control, Vec<ControlEntry>)> {
        let Read { file, bytes, used, scan } = read(&*disk, durable_end)?;
        let Scan { entries, end, last } = scan;
        // A process that was killed, or a sync that failed, may have left entries in the page cache
        // only, where a sync alone may no longer find them. The same bytes again tear nothing.
        let doubtful = durable_end.clamp(START, end);
        file.write_at(&bytes[doubtful as usize..end as usize], doubtful)
            .map_err(|e| Error::io("write control", e))?;
        file.sync().map_err(|e| Error::sync("sync control", e))?;
        disk.sync_dir("").map_err(|e| Error::sync("sync the directory", e))?;
        let mut control = Control::with(disk, file, end, last)?;
        control.stale = Some(used);
        Ok((control, entries))
    }

    /// Refuses a file of a newer version, or one whose header is not intact, as
    /// [`open`](Control::open) does, and changes nothing on disk. A file that is missing is left to
    /// `open`.
    pub fn check(disk: &dyn Disk) -> Result<()> {
        let file = match disk.open(NAME) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| Error::io("open control", e))?,
        };
        length(&*file)?;
        let mut header = [0; START as usize];
        file.read_at(&mut header, 0).map_err(|e| Error::io("read control", e))?;
        check_header(&header)
    }

    /// Reads what [`open`](Control::open) would answer, and the end of it, and changes nothing on
    /// disk: for tools. It may not be durable yet.
    pub fn read(disk: &dyn Disk, durable_end: u64) -> Result<(Vec<ControlEntry>, u64)> {
        let Scan { entries, end, .. } = read(disk, durable_end)?.scan;
        Ok((entries, end))
    }

    /// Appends entries, whose Raft indexes grow and lie behind all that are here. They are durable
    /// when it returns. `DiskFull`: nothing was written, try again later.
    pub fn append(&mut self, entries: &[ControlEntry]) -> Result<()> {
        let mut last = self.last;
        let mut bytes = Vec::new();
        // Where one write may end and the next begin.
        let mut bounds = Vec::new();
        for entry in entries {
            if entry.raft_index <= last {
                let text = format!("control entry {} is not behind {last}", entry.raft_index);
                return Err(Error::Invalid(text.into()));
            }
            last = entry.raft_index;
            encode_entry(&mut bytes, entry)?;
            bounds.push(bytes.len());
        }
        self.write(&bytes, &bounds)?;
        self.last = last;
        Ok(())
    }

    /// Voids all entries from a Raft index on, which the next entry may then have. Durable when it
    /// returns. `DiskFull`: nothing was written.
    pub fn cut(&mut self, from: RaftIndex) -> Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, KIND_CUT, from, 0, &[]);
        self.write(&bytes, &[bytes.len()])?;
        self.last = after_cut(self.last, from);
        Ok(())
    }

    /// Bytes in use, all of them durable.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether a rewrite with entries of `live_bytes` (the sum of [`ControlEntry::bytes`]) would
    /// gain much, or is due because the file is nearly used up.
    pub fn worth_rewriting(&self, live_bytes: u64) -> bool {
        let used = self.end - START;
        let worth = used / 4 > live_bytes && used >= STEP;
        let due = self.end > self.len - self.len / 8;
        worth || due
    }

    /// Puts a new file with these entries in place of this one, through any crash: afterwards one
    /// of the two is there. [`end`](Control::end) falls, so `meta` must bound nothing of `control`
    /// (its `control_end` 0) before the call. `DiskFull`: the file is as it was.
    pub fn rewrite(&mut self, keep: &[ControlEntry]) -> Result<()> {
        if self.failed {
            return Err(Status::Failed.into());
        }
        let file = match write_new(&*self.disk, keep) {
            Err(e) if e.may_pass() || matches!(e, Error::Invalid(_)) => {
                // The half file is in nobody's way, and gone before the next attempt.
                let _ = self.disk.remove(NAME_NEW);
                return Err(e);
            }
            other => other.inspect_err(|_| self.failed = true)?,
        };
        put_in_place(&*self.disk).inspect_err(|_| self.failed = true)?;
        let end = START + keep.iter().map(ControlEntry::bytes).sum::<u64>();
        let last = keep.last().map_or(RaftIndex(0), |entry| entry.raft_index);
        *self = Control::with(self.disk.clone(), file, end, last)
            .inspect_err(|_| self.failed = true)?;
        Ok(())
    }

    fn with(
        disk: Arc<dyn Disk>,
        file: Arc<dyn File>,
        end: u64,
        last: RaftIndex,
    ) -> Result<Control> {
        let len = file.len().map_err(|e| Error::io("length of control", e))?;
        let failed = false;
        Ok(Control { disk, file, len, end, stale: None, allocated: end, last, failed })
    }

    /// Writes and syncs `bytes` at the end, in pieces that end at some of the `bounds`.
    fn write(&mut self, bytes: &[u8], bounds: &[usize]) -> Result<()> {
        if self.failed {
            return Err(Status::Failed.into());
        }
        self.allocate(bytes.len() as u64)?;
        self.failed = true;
        self.zero_stale()?;
        let mut done = 0;
        while done < bytes.len() {
            let fits = |bound: &&usize| **bound > done && **bound - done <= MAX_WRITE;
            let Some(next) = bounds.iter().rev().find(fits).copied() else {
                return Err(Error::Invalid("a control entry is longer than a write".into()));
            };
            let piece = &bytes[done..next];
            self.file.write_at(piece, self.end).map_err(|e| Error::io("write control", e))?;
            self.file.sync().map_err(|e| Error::sync("sync control", e))?;
            self.end += piece.len() as u64;
            done = next;
        }
        self.failed = false;
        Ok(())
    }

    /// Sees to it that `need` bytes at the end have blocks, and many more behind them. A full disk
    /// is an error only if there is no room left for those bytes.
    fn allocate(&mut self, need: u64) -> Result<()> {
        let end = self.end + need;
        if end > self.len {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(Error::io(format!("control: its {} bytes are used up", self.len), full));
        }
        if self.allocated >= end && self.allocated - end >= STEP / 2 {
            return Ok(());
        }
        // The step that `end` is in may have its blocks from an earlier life of this process: then
        // no full disk can refuse it.
        let step = end.next_multiple_of(STEP);
        for to in [step + STEP, step, end].map(|to| to.min(self.len)) {
            if to <= self.allocated {
                return Ok(());
            }
            match self.file.allocate(self.allocated, to - self.allocated) {
                Ok(()) => {
                    self.allocated = to;
                    return Ok(());
                }
                Err(e) => match Error::io("allocate control", e) {
                    Error::DiskFull { .. } if self.allocated >= end || to > end => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Clears what a crash tore, and what it may have torn although it reads as zeros: the page
    /// cache need not be what is on disk. The first bytes go first: with those gone, no part of the
    /// rest can be read as the next entry, however far the rest gets.
    fn zero_stale(&mut self) -> Result<()> {
        let Some(used) = self.stale else { return Ok(()) };
        let to = used.max((self.end + MAX_WRITE as u64).min(self.allocated));
        let mut at = self.end;
        let mut piece = ENTRY_HEADER as u64;
        while at < to {
            let zeros = vec![0; piece.min(to - at) as usize];
            self.file.write_at(&zeros, at).map_err(|e| Error::io("write control", e))?;
            if at == self.end {
                self.file.sync().map_err(|e| Error::sync("sync control", e))?;
            }
            at += zeros.len() as u64;
            piece = CHUNK;
        }
        self.file.sync().map_err(|e| Error::sync("sync control", e))?;
        self.stale = None;
        Ok(())
    }
}

/// A synced file of these entries under the new file's name.
fn write_new(disk: &dyn Disk, entries: &[ControlEntry]) -> Result<Arc<dyn File>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    let mut last = RaftIndex(0);
    for entry in entries {
        if entry.raft_index <= last {
            let text = format!("control entry {} is not behind {last}", entry.raft_index);
            return Err(Error::Invalid(text.into()));
        }
        last = entry.raft_index;
        encode_entry(&mut bytes, entry)?;
    }
    let used = bytes.len() as u64;
    let len = FILE.max(used.saturating_mul(4).next_multiple_of(STEP));
    let file = fresh(disk, NAME_NEW, len)?;
    let room = used.next_multiple_of(STEP);
    file.allocate(0, room).map_err(|e| Error::io("allocate control.new", e))?;
    file.write_at(&bytes, 0).map_err(|e| Error::io("write control.new", e))?;
    // Not in use yet: if this fails nothing is lost.
    file.sync().map_err(|e| Error::io("sync control.new", e))?;
    Ok(file)
}

fn put_in_place(disk: &dyn Disk) -> Result<()> {
    disk.rename(NAME_NEW, NAME).map_err(|e| Error::io("rename control.new", e))?;
    disk.sync_dir("").map_err(|e| Error::sync("sync the directory", e))
}

/// An open file, and what is in it.
struct Read {
    file: Arc<dyn File>,
    bytes: Vec<u8>,
    /// Bytes up to the last that is not zero.
    used: u64,
    scan: Scan,
}

fn read(disk: &dyn Disk, durable_end: u64) -> Result<Read> {
    let file = match disk.open(NAME) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::corrupt(0, "control: the file is missing"));
        }
        other => other.map_err(|e| Error::io("open control", e))?,
    };
    let (bytes, used) = read_all(&*file)?;
    check_header(&bytes)?;
    let scan = scan(&bytes, durable_end)?;
    Ok(Read { file, bytes, used, scan })
}

/// The file's bytes, and how many there are up to the last that is not zero. Of the zeros that
/// follow, as many as an entry may end with.
fn read_all(file: &dyn File) -> Result<(Vec<u8>, u64)> {
    let len = length(file)?;
    let mut bytes = Vec::new();
    for range in data_ranges(file, 0).map_err(|e| Error::io("read control", e))? {
        for from in range.clone().step_by(CHUNK as usize) {
            let mut chunk = vec![0; CHUNK.min(range.end - from) as usize];
            file.read_at(&mut chunk, from).map_err(|e| Error::io("read control", e))?;
            if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
                bytes.resize(from as usize, 0);
                bytes.extend_from_slice(&chunk[..=last]);
            }
        }
    }
    let used = bytes.len() as u64;
    bytes.resize((used + MAX_WRITE as u64).min(len) as usize, 0);
    Ok((bytes, used))
}

/// The file's length, if a header fits in it.
fn length(file: &dyn File) -> Result<u64> {
    let len = file.len().map_err(|e| Error::io("length of control", e))?;
    if len < START {
        let what = format!("control: the file has {len} bytes, too few for a header");
        return Err(Error::corrupt(len, what));
    }
    Ok(len)
}

fn check_header(bytes: &[u8]) -> Result<()> {
    let header = bytes.get(..START as usize).unwrap_or_default();
    let (magic, version, crc) = (header.get(..8), be32(header, 8), be32(header, 12));
    if magic != Some(&MAGIC) || crc != header.get(..12).map(crc32fast::hash) {
        return Err(Error::corrupt(0, "control: the file's header is not intact"));
    }
    match version {
        Some(VERSION) => Ok(()),
        version => Err(Error::Version(format!(
            "control: the file has format version {}, this library knows up to {VERSION}",
            version.unwrap_or_default()
        ))),
    }
}

struct Scan {
    entries: Vec<ControlEntry>,
    end: u64,
    last: RaftIndex,
}

/// The entries of a file whose bytes these are, and zeros behind them.
fn scan(bytes: &[u8], durable_end: u64) -> Result<Scan> {
    let mut entries: Vec<ControlEntry> = Vec::new();
    let mut last = RaftIndex(0);
    let mut at = START as usize;
    let bounded = |at: usize| (at as u64) < durable_end;
    while let Some(unit) = parse(bytes, at) {
        let damage = |what: String| Err(Error::corrupt(at as u64, format!("control: {what}")));
        let next = at + unit.size;
        if bounded(at) && !bounded(next - 1) {
            return damage(format!("the durable bound {durable_end} is inside this entry"));
        }
        let kind = match unit.kind {
            KIND_NO_OP => Some(ControlKind::NoOp),
            KIND_MEMBERSHIP => Some(ControlKind::Membership),
            _ => None,
        };
        if let Some(kind) = kind {
            if unit.raft_index <= last {
                return damage(format!("entry {} stands behind {last}", unit.raft_index));
            }
            last = unit.raft_index;
            let content = unit.content.to_vec();
            entries.push(ControlEntry { raft_index: last, term: unit.term, kind, content });
        } else {
            entries.truncate(entries.partition_point(|e| e.raft_index < unit.raft_index));
            last = after_cut(last, unit.raft_index);
        }
        at = next;
    }
    let end = at as u64;
    if bounded(at) {
        return Err(Error::corrupt(end, "control: an entry that was durable is not intact"));
    }
    let behind = (at + MAX_WRITE + 1).next_multiple_of(ALIGN)..bytes.len();
    match behind.step_by(ALIGN).find(|at| parse(bytes, *at).is_some()) {
        Some(valid) => {
            let what = format!(
                "control: no intact entry here, but one at {valid}: too far for one torn write"
            );
            Err(Error::corrupt(end, what))
        }
        None => Ok(Scan { entries, end, last }),
    }
}

/// Where the last Raft index is after a cut.
fn after_cut(last: RaftIndex, from: RaftIndex) -> RaftIndex {
    last.min(RaftIndex(from.0.saturating_sub(1)))
}

/// One intact entry, as it lies in the file.
struct Unit<'a> {
    size: usize,
    kind: u32,
    raft_index: RaftIndex,
    term: u64,
    content: &'a [u8],
}

/// The entry at `at`, if an intact one is there. Any bytes give an answer.
fn parse(bytes: &[u8], at: usize) -> Option<Unit<'_>> {
    let bytes = bytes.get(at..)?;
    let size = be32(bytes, 4)? as usize;
    let kind = be32(bytes, 8)?;
    let content_len = be32(bytes, 12)? as usize;
    if content_len > CONTENT_MAX || size != padded(content_len) {
        return None;
    }
    if !matches!(kind, KIND_NO_OP | KIND_MEMBERSHIP | KIND_CUT) {
        return None;
    }
    let bytes = bytes.get(..size)?;
    if crc32fast::hash(&bytes[4..]) != be32(bytes, 0)? {
        return None;
    }
    let raft_index = RaftIndex(be64(bytes, 16)?);
    let content = bytes.get(ENTRY_HEADER..ENTRY_HEADER + content_len)?;
    Some(Unit { size, kind, raft_index, term: be64(bytes, 24)?, content })
}

fn encode_entry(out: &mut Vec<u8>, entry: &ControlEntry) -> Result<()> {
    if entry.content.len() > CONTENT_MAX {
        let text =
            format!("a control entry of {} bytes; {CONTENT_MAX} are allowed", entry.content.len());
        return Err(Error::Invalid(text.into()));
    }
    let kind = match entry.kind {
        ControlKind::NoOp => KIND_NO_OP,
        ControlKind::Membership => KIND_MEMBERSHIP,
    };
    encode(out, kind, entry.raft_index, entry.term, &entry.content);
    Ok(())
}

fn encode(out: &mut Vec<u8>, kind: u32, raft_index: RaftIndex, term: u64, content: &[u8]) {
    let begin = out.len();
    let size = padded(content.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(size as u32).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(&raft_index.0.to_be_bytes());
    out.extend_from_slice(&term.to_be_bytes());
    out.extend_from_slice(content);
    out.resize(begin + size, 0);
    let crc = crc32fast::hash(&out[begin + 4..]);
    out[begin..begin + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Size of an entry with so much content.
fn padded(content: usize) -> usize {
    (ENTRY_HEADER + content).next_multiple_of(ALIGN)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The most that is written between two syncs.
pub const MAX_WRITE: usize = 64 << 10;
/// The most that an entry may say.
pub const CONTENT_MAX: usize = MAX_WRITE - ENTRY_HEADER;
/// Where the first entry begins: the end of a file that has none.
pub const START: u64 = 16;

const NAME: &str = "control";
const NAME_NEW: &str = "control.new";
const MAGIC: [u8; 8] = *b"DLEDCTRL";
const VERSION: u32 = 1;
const KIND_NO_OP: u32 = 1;
const KIND_MEMBERSHIP: u32 = 2;
const KIND_CUT: u32 = 3;
/// CRC, size, kind, content length, Raft index, term.
const ENTRY_HEADER: usize = 32;
const ALIGN: usize = 8;
/// Length of the file; nearly all of it has no blocks.
const FILE: u64 = 64 << 20;
/// Blocks are allocated in such steps.
const STEP: u64 = 256 << 10;
const CHUNK: u64 = 64 << 10;
