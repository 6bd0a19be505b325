//! The file `control`: Raft's own entries (no-op, membership), which take no byte of the data log.
//! Append-only; an entry is synced before anyone learns of it. A cut mark voids what it names of
//! the entries before it.
//!
//! Behind the last entry are zeros, always. What a crash tore at the end is zeroed, and that is
//! synced, before new bytes come there: stale ones never come back. One write between two syncs
//! has at most [`MAX_WRITE`] bytes, so damage with valid entries farther behind it is no torn
//! write, and is never cut off.

use std::io;
use std::sync::Arc;

use super::meta::fresh;
use crate::disk::{Disk, File};
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
    /// What an earlier crash left behind `end`; at most `end` once it is zeroed.
    stale_end: u64,
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
        let file = match disk.open(NAME) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::corrupt(0, "control: the file is missing"));
            }
            other => other.map_err(|e| Error::io("open control", e))?,
        };
        let (bytes, used) = read_all(&*file)?;
        check_header(&bytes)?;
        let Scan { entries, end, last } = scan(&bytes, durable_end)?;
        // A process that was killed may have left them in the page cache only.
        file.sync().map_err(|e| Error::io("sync control", e))?;
        let mut control = Control::with(disk, file, end, last)?;
        control.stale_end = used;
        Ok((control, entries))
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
            Err(e @ (Error::DiskFull { .. } | Error::Invalid(_))) => {
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
        Ok(Control { disk, file, len, end, stale_end: 0, allocated: end, last, failed })
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
            self.file.sync().map_err(|e| Error::io("sync control", e))?;
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

    /// Clears what a crash tore. Its first bytes go first: with those gone, no part of the rest can
    /// be read as the next entry, however far the rest gets.
    fn zero_stale(&mut self) -> Result<()> {
        let mut at = self.end;
        let mut piece = ENTRY_HEADER as u64;
        while at < self.stale_end {
            let zeros = vec![0; piece.min(self.stale_end - at) as usize];
            self.file.write_at(&zeros, at).map_err(|e| Error::io("write control", e))?;
            if at == self.end {
                self.file.sync().map_err(|e| Error::io("sync control", e))?;
            }
            at += zeros.len() as u64;
            piece = CHUNK;
        }
        if self.end < self.stale_end {
            self.file.sync().map_err(|e| Error::io("sync control", e))?;
        }
        self.stale_end = 0;
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
    file.sync().map_err(|e| Error::io("sync control.new", e))?;
    Ok(file)
}

fn put_in_place(disk: &dyn Disk) -> Result<()> {
    disk.rename(NAME_NEW, NAME).map_err(|e| Error::io("rename control.new", e))?;
    disk.sync_dir("").map_err(|e| Error::io("sync the directory", e))
}

/// The file's bytes, and how many there are up to the last that is not zero. Of the zeros that
/// follow, as many as an entry may end with.
fn read_all(file: &dyn File) -> Result<(Vec<u8>, u64)> {
    let len = file.len().map_err(|e| Error::io("length of control", e))?;
    if len < START {
        let what = format!("control: the file has {len} bytes, too few for a header");
        return Err(Error::corrupt(len, what));
    }
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(from) = file.next_data(at).map_err(|e| Error::io("read control", e))? {
        if from >= len {
            break;
        }
        at = (from + CHUNK).min(len);
        let mut chunk = vec![0; (at - from) as usize];
        file.read_at(&mut chunk, from).map_err(|e| Error::io("read control", e))?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
            bytes.resize(from as usize, 0);
            bytes.extend_from_slice(&chunk[..=last]);
        }
        if at == len {
            break;
        }
    }
    let used = bytes.len() as u64;
    bytes.resize((used + MAX_WRITE as u64).min(len) as usize, 0);
    Ok((bytes, used))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commitlog::crash::CrashDisk;

    fn entry(raft_index: u64, content: usize) -> ControlEntry {
        let kind = if content == 0 { ControlKind::NoOp } else { ControlKind::Membership };
        let content = vec![raft_index as u8; content];
        ControlEntry { raft_index: RaftIndex(raft_index), term: raft_index << 8, kind, content }
    }

    fn create(disk: &CrashDisk) -> Control {
        Control::create(Arc::new(disk.clone())).unwrap()
    }

    fn open(disk: &CrashDisk, durable_end: u64) -> Result<(Control, Vec<ControlEntry>)> {
        Control::open(Arc::new(disk.clone()), durable_end)
    }

    fn found(disk: &CrashDisk) -> Vec<u64> {
        let entries = open(disk, 0).unwrap().1;
        entries.iter().map(|entry| entry.raft_index.0).collect()
    }

    fn corrupt_at(disk: &CrashDisk, durable_end: u64) -> u64 {
        match open(disk, durable_end).map(|(_, entries)| entries) {
            Err(Error::Corrupt { pos, .. }) => pos,
            other => panic!("{other:?}"),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<(u64, usize)>),
        Cut(u64),
        Rewrite,
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let appended = prop::collection::vec((1..4u64, prop_oneof![0..200usize, Just(0)]), 1..5);
        let step = prop_oneof![
            4 => appended.prop_map(Step::Append),
            2 => (0..12u64).prop_map(Step::Cut),
            1 => Just(Step::Rewrite),
            1 => Just(Step::Reopen),
        ];
        prop::collection::vec(step, 1..20)
    }

    /// Does one step to the file and to the model; whether the file took it.
    fn step(
        disk: &CrashDisk,
        control: &mut Control,
        model: &mut Vec<ControlEntry>,
        step: &Step,
    ) -> Result<()> {
        match step {
            Step::Append(gaps) => {
                let mut at = control.last.0;
                let mut entries = Vec::new();
                for (gap, content) in gaps {
                    at += gap;
                    entries.push(entry(at, *content));
                }
                model.extend_from_slice(&entries);
                control.append(&entries)
            }
            Step::Cut(back) => {
                let from = RaftIndex(control.last.0.saturating_sub(*back));
                model.retain(|entry| entry.raft_index < from);
                control.cut(from)
            }
            Step::Rewrite => control.rewrite(model),
            Step::Reopen => open(disk, control.end()).map(|(opened, _)| *control = opened),
        }
    }

    proptest! {
        /// What was appended and not cut comes back, in order, through any sequence of calls.
        #[test]
        fn keeps_what_it_took(steps in steps()) {
            let disk = CrashDisk::default();
            let (mut control, mut model) = (create(&disk), Vec::new());
            for one in &steps {
                step(&disk, &mut control, &mut model, one).unwrap();
                let (opened, entries) = open(&disk, control.end()).unwrap();
                prop_assert_eq!(&entries, &model);
                prop_assert_eq!((opened.end, opened.last), (control.end, control.last));
            }
        }

        /// A power cut at any step of any call leaves the entries before the call, or some of what
        /// it appends, or all it does; the file then goes on, and a cut within the open or the next
        /// append takes nothing back (P1, P17; scenarios 10 and 18).
        #[test]
        fn power_cut(steps in steps(), stop in 0..60usize, again in 0..8usize, seed in any::<u64>()) {
            let mut random = fastrand::Rng::with_seed(seed);
            let disk = CrashDisk::default();
            let (mut control, mut model) = (create(&disk), Vec::new());
            let mut before = model.clone();
            disk.stop_after(stop);
            for one in &steps {
                before = model.clone();
                if step(&disk, &mut control, &mut model, one).is_err() {
                    break;
                }
                before = model.clone();
            }
            let disk = disk.power_cut(&mut random);
            let (mut control, entries) = open(&disk, 0).unwrap();
            let part_of_append = model.starts_with(&entries) && entries.starts_with(&before);
            prop_assert!(part_of_append || entries == before || entries == model);
            disk.stop_after(again);
            let mut model = entries.clone();
            let added = Step::Append(vec![(1, 0), (1, 100)]);
            let done = step(&disk, &mut control, &mut model, &added).is_ok();
            let disk = disk.power_cut(&mut random);
            let (_, then) = open(&disk, 0).unwrap();
            prop_assert!(model.starts_with(&then) && then.starts_with(&entries));
            prop_assert!(!done || then == model);
        }

        /// Arbitrary bytes behind a header are an answer or an error, never a panic (P19).
        #[test]
        fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), bound in 0..500u64) {
            let _ = scan(&bytes, bound);
            let disk = CrashDisk::default();
            create(&disk);
            let mut file = disk.get(NAME, START as usize);
            file.extend_from_slice(&bytes);
            disk.put(NAME, &file, FILE);
            let _ = open(&disk, bound);
            disk.put(NAME, &bytes, bytes.len() as u64);
            let _ = open(&disk, bound);
        }

        /// Entries with right checksums and any other fields are an answer or an error.
        #[test]
        fn arbitrary_entries(
            entries in prop::collection::vec((0..5u32, 0..9u64, any::<u64>(), 0..40usize), 0..9),
        ) {
            let mut bytes = vec![0; START as usize];
            for (kind, raft_index, term, content) in entries {
                encode(&mut bytes, kind, RaftIndex(raft_index), term, &vec![7; content]);
            }
            if let Ok(Scan { entries, .. }) = scan(&bytes, 0) {
                prop_assert!(entries.is_sorted_by(|a, b| a.raft_index < b.raft_index));
            }
        }
    }

    /// Any changed byte below the durable bound is named as damage where it is, never cut (P5).
    #[test]
    fn damage_below_the_bound() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        control.append(&[entry(1, 0), entry(2, 13), entry(5, 0)]).unwrap();
        let end = control.end();
        for at in 0..end {
            let damaged = disk.killed();
            damaged.flip(NAME, at, 1 << (at % 8));
            let pos = corrupt_at(&damaged, end);
            assert!(pos <= at && at - pos < 48, "byte {at} at {pos}");
            if at >= end - 32 {
                assert_eq!(open(&damaged, 0).unwrap().1.len(), 2, "a torn tail");
            }
        }
        assert_eq!(corrupt_at(&disk, end + 1), end, "the bound is above the file's end");
        assert_eq!(corrupt_at(&disk, end - 1), end - 32, "the bound is within an entry");
    }

    /// A hole that one torn write can have made ends the file; one with valid entries farther
    /// behind is damage (P5).
    #[test]
    fn hole_above_the_bound() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        control.append(&[entry(1, 0)]).unwrap();
        let hole = control.end();
        let content = 1000 - ENTRY_HEADER;
        let within: Vec<_> = (2..64).map(|at| entry(at, content)).collect();
        control.append(&within).unwrap();
        let torn = disk.killed();
        torn.flip(NAME, hole, 1);
        assert_eq!(found(&torn), [1]);
        let beyond: Vec<_> = (64..90).map(|at| entry(at, content)).collect();
        control.append(&beyond).unwrap();
        disk.flip(NAME, hole, 1);
        assert_eq!(corrupt_at(&disk, 0), hole);
    }

    /// What a crash tore never comes back, however long what is written over it (scenario 10).
    #[test]
    fn stale_bytes_are_zeroed() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        control.append(&(1..40).map(|at| entry(at, 100)).collect::<Vec<_>>()).unwrap();
        disk.flip(NAME, START + 3, 1);
        let (mut control, entries) = open(&disk, 0).unwrap();
        assert_eq!(entries, []);
        control.append(&[entry(1, 100)]).unwrap();
        assert_eq!(found(&disk), [1]);
        let behind = disk.get(NAME, 8192).split_off(control.end() as usize);
        assert!(behind.iter().all(|byte| *byte == 0));
    }

    /// Entries that a killed process had written and not synced are durable once they are read.
    #[test]
    fn what_was_opened_stays() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20 {
            let disk = CrashDisk::default();
            let mut control = create(&disk);
            disk.stop_after(2);
            control.append(&[entry(1, 2000)]).unwrap_err();
            assert_eq!(control.append(&[]).unwrap_err().status(), Status::Failed);
            let disk = disk.killed();
            assert_eq!(found(&disk), [1]);
            assert_eq!(found(&disk.power_cut(&mut random)), [1]);
        }
    }

    /// Power cut while the first file is made leaves none, or a whole one (scenario 19).
    #[test]
    fn power_cut_in_create() {
        let mut random = fastrand::Rng::with_seed(2);
        for round in 0..100 {
            let disk = CrashDisk::default();
            disk.stop_after(round % 7);
            let _ = Control::create(Arc::new(disk.clone()));
            let disk = disk.power_cut(&mut random);
            if disk.open(NAME).is_ok() {
                assert!(found(&disk).is_empty());
            } else {
                assert_eq!(corrupt_at(&disk, 0), 0);
            }
            create(&disk).append(&[entry(1, 1)]).unwrap();
            assert_eq!(found(&disk), [1]);
        }
    }

    /// A full disk stops nothing while there are blocks, refuses without harm when there are none,
    /// and freed space is enough to go on (P8); also for a process that starts on a full disk.
    #[test]
    fn disk_full() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        disk.room(0);
        let mut at = 0;
        let mut fill = |control: &mut Control| loop {
            at += 1;
            match control.append(&[entry(at, 1000)]) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.status(), Status::DiskFull);
                    at -= 1;
                    return at;
                }
            }
        };
        let taken = fill(&mut control);
        assert_eq!(taken, (STEP - START) / 1032);
        assert_eq!(control.cut(RaftIndex(1)).unwrap_err().status(), Status::DiskFull);
        disk.room(STEP);
        let more = fill(&mut control);
        assert_eq!(more, (2 * STEP - START) / 1032);
        disk.room(3 * STEP);
        control.append(&[entry(more + 1, 1000)]).unwrap();
        disk.room(0);
        let (mut control, entries) = open(&disk, control.end()).unwrap();
        assert_eq!(entries.len() as u64, more + 1);
        control.append(&[entry(more + 2, 1000)]).unwrap();
        assert_eq!(control.rewrite(&entries[..1]).unwrap_err().status(), Status::DiskFull);
        control.append(&[entry(more + 3, 1000)]).unwrap();
        assert_eq!(found(&disk).len() as u64, more + 3);
    }

    /// A file that is used up says so and asks for a rewrite in time; that makes room.
    #[test]
    fn used_up() {
        let disk = CrashDisk::default();
        create(&disk);
        let header = disk.get(NAME, START as usize);
        disk.put(NAME, &header, 8192);
        let (mut control, _) = open(&disk, 0).unwrap();
        assert!(!control.worth_rewriting(0));
        let mut at = 1;
        while control.append(&[entry(at, 900)]).is_ok() {
            at += 1;
        }
        assert!(control.worth_rewriting(control.end() - START));
        assert_eq!(control.append(&[entry(at, 900)]).unwrap_err().status(), Status::DiskFull);
        control.rewrite(&[entry(at - 1, 900)]).unwrap();
        assert!(!control.worth_rewriting(entry(at - 1, 900).bytes()));
        control.append(&[entry(at, 900)]).unwrap();
        assert_eq!(found(&disk), [at - 1, at]);
    }

    /// Most of a file cut away makes a rewrite worth it.
    #[test]
    fn worth_rewriting() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        let entries: Vec<_> = (1..300).map(|at| entry(at, 1000)).collect();
        control.append(&entries).unwrap();
        let all = entries.iter().map(ControlEntry::bytes).sum();
        assert!(!control.worth_rewriting(all));
        control.cut(RaftIndex(3)).unwrap();
        assert!(control.worth_rewriting(2 * entries[0].bytes()));
    }

    /// Calls that make no sense are refused and change nothing.
    #[test]
    fn refused() {
        let disk = CrashDisk::default();
        let mut control = create(&disk);
        control.append(&[entry(4, 0)]).unwrap();
        for wrong in [vec![entry(4, 0)], vec![entry(6, 0), entry(5, 0)], vec![entry(9, 65_505)]] {
            assert_eq!(control.append(&wrong).unwrap_err().status(), Status::Invalid);
            assert_eq!(
                control
                    .rewrite(&[&[entry(9, 0)], &wrong[..], &[entry(9, 0)]].concat())
                    .unwrap_err()
                    .status(),
                Status::Invalid
            );
        }
        control.append(&[entry(5, CONTENT_MAX), entry(6, CONTENT_MAX), entry(7, 0)]).unwrap();
        assert_eq!(found(&disk), [4, 5, 6, 7]);
        let last = control.end() - 32;
        let mut bytes = disk.get(NAME, control.end() as usize);
        bytes.extend_from_within(START as usize..START as usize + 32);
        disk.put(NAME, &bytes, FILE);
        assert_eq!(corrupt_at(&disk, 0), last + 32, "an index that goes back");
    }

    /// A file of a newer format is refused, untouched (P19); one too short is damage.
    #[test]
    fn header() {
        let disk = CrashDisk::default();
        create(&disk);
        let mut header = disk.get(NAME, START as usize);
        header[11] = 2;
        let crc = crc32fast::hash(&header[..12]);
        header[12..].copy_from_slice(&crc.to_be_bytes());
        disk.put(NAME, &header, FILE);
        let steps = disk.steps();
        let error = open(&disk, 0).map(|_| ()).unwrap_err();
        assert_eq!((error.status(), disk.steps()), (Status::Version, steps));
        assert!(error.to_string().contains("version 2"), "{error}");
        for len in [0, 15, 16, FILE] {
            disk.put(NAME, &[], len);
            corrupt_at(&disk, 0);
        }
    }
}
