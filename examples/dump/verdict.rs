//! What recovery would do: the table of `src/commitlog/recover.rs`, decided without a write.

use std::collections::BTreeMap;
use std::sync::Arc;

use dledger::commitlog::control::{Control, ControlEntry};
use dledger::commitlog::import;
use dledger::commitlog::index::{BatchUnit, IndexUnit, UNIT, batch_slot};
use dledger::commitlog::meta::{Meta, MetaStore};
use dledger::commitlog::scan::{Behind, Scan, Step};
use dledger::commitlog::segment::{self, Segment};
use dledger::disk::Disk;
use dledger::error::{Error, Result};
use dledger::types::{Anchor, RaftIndex};

use super::disk::ReadOnly;
use super::records::Data;

/// A row of the table in `src/commitlog/recover.rs`.
pub enum Verdict {
    /// There is nothing: a log would be born.
    Born,
    /// Opens; nothing is cut.
    Clean(Anchor),
    /// Opens; what was never finished goes.
    Torn(Anchor),
    /// Opens; a cut that was begun is finished first.
    Cut(Anchor),
    /// Opens as DLedger's.
    Import(Anchor, &'static str),
    /// Opens, and a read of what lies there fails.
    Hidden { end: Anchor, at: Anchor },
    /// Does not open.
    Refused(Error),
}

impl Verdict {
    pub fn of(disk: &ReadOnly, data: &Data) -> Verdict {
        recovery(disk, data).unwrap_or_else(Verdict::Refused)
    }

    pub fn opens(&self) -> bool {
        !matches!(self, Verdict::Refused(_) | Verdict::Hidden { .. })
    }

    pub fn text(&self) -> String {
        let ends = |end: &Anchor| {
            format!("the log ends before record {} (position {})", end.index, end.pos)
        };
        match self {
            Verdict::Born => "empty: a log would be born here".to_owned(),
            Verdict::Clean(end) => format!("clean: {}", ends(end)),
            Verdict::Torn(end) => {
                let Anchor { index, pos, .. } = end;
                format!("torn tail: it would be cut at position {pos}, before record {index}")
            }
            Verdict::Cut(to) => format!("a cut was begun, it would be finished: {}", ends(to)),
            Verdict::Import(end, why) => format!("{why}, it would be imported: {}", ends(end)),
            Verdict::Hidden { end, at } => format!(
                "DAMAGE below the durable bound, where recovery does not look: the batch that \
                 begins with record {}, behind position {}, is not intact; the log would open, and \
                 reads find out; {}",
                at.index,
                at.pos,
                ends(end)
            ),
            Verdict::Refused(Error::Corrupt { pos, what }) => {
                format!("DAMAGE at position {pos}: {what}; it would not open, and nothing be cut")
            }
            Verdict::Refused(error) => format!("REFUSED: {error}"),
        }
    }
}

/// Decides as `CommitLog::open` does, and reads more: everything from begin on.
fn recovery(disk: &ReadOnly, data: &Data) -> Result<Verdict> {
    match MetaStore::read(disk)? {
        Some(meta) => {
            let found = Found::of(disk, data, meta)?;
            found.decide(disk)
        }
        None => without_meta(disk, data),
    }
}

/// Nothing, DLedger's, or what is left of ours.
fn without_meta(disk: &ReadOnly, data: &Data) -> Result<Verdict> {
    let lost = |pos, what: &str| Err(Error::corrupt(pos, what));
    if disk.open("control").is_ok() && !Control::read(disk, 0)?.0.is_empty() {
        return lost(0, "there are Raft entries in control and no meta");
    }
    if data.files.is_empty() && data.others.is_empty() {
        return Ok(Verdict::Born);
    }
    let first = data.files.first().map_or(0, |(pos, _)| *pos);
    let segments = segments(disk, data, first)?;
    let begin = segments.first().map(|first| import::begin(first, &mut 0)).transpose()?.flatten();
    let Some(begin) = begin else {
        return lost(first, "there are records and no meta, and they are not DLedger's");
    };
    let mut scan = Scan::new(segments, data.segment_bytes, u64::MAX);
    let Through { end, ours, .. } = through(&mut scan, begin, &BTreeMap::new())?;
    if ours {
        return lost(begin.pos, "there are records of ours and no meta");
    }
    refuse_far_hole(&mut scan, &end, UNSYNCED_PRESET)?;
    Ok(Verdict::Import(end, "written by DLedger"))
}

struct Found {
    meta: Meta,
    controls: BTreeMap<RaftIndex, ControlEntry>,
    segments: Vec<Arc<Segment>>,
}

impl Found {
    fn of(disk: &ReadOnly, data: &Data, meta: Meta) -> Result<Found> {
        let (entries, _) = Control::read(disk, meta.control_end)?;
        let segments = segments(disk, data, meta.begin.pos)?;
        let controls = entries.into_iter().map(|entry| (entry.raft_index, entry)).collect();
        Ok(Found { meta, controls, segments })
    }

    fn scan(&self) -> Scan {
        Scan::new(self.segments.clone(), self.meta.segment_bytes, self.meta.dledger_end.pos)
    }

    fn decide(mut self, disk: &ReadOnly) -> Result<Verdict> {
        let meta = self.meta.clone();
        if let Some(cut) = meta.cut {
            self.controls.split_off(&(cut.raft_index + 1));
        }
        self.missing_tail()?;
        let from = if units_reach_durable(disk, &meta) { meta.durable } else { meta.begin };
        let mut scan = self.scan();
        let Through { mut end, .. } = through(&mut scan, from, &self.controls)?;
        if let Some(cut) = meta.cut {
            // What lies behind it is on its way out; what lies before it must be there.
            if end.raft_index >= cut.raft_index || self.reaches(&mut end, &cut) {
                return Ok(Verdict::Cut(cut));
            }
        }
        let state = import::state(disk).unwrap_or_default();
        let term = state.found.then_some(state.term);
        if let Some(first) = scan.dledgers_behind(&end, term)? {
            let raft_index = RaftIndex(meta.begin.index.0);
            let begin = Anchor { raft_index, term: 0, batch: raft_index, ..meta.begin };
            let mut scan = Scan::new(self.segments.clone(), meta.segment_bytes, u64::MAX);
            let end = through(&mut scan, begin, &BTreeMap::new())?.end;
            if end.pos <= first.pos {
                let (index, pos) = (end.index, first.pos);
                let what =
                    format!("record {index} is not intact, and DLedger went on behind it at {pos}");
                return Err(Error::corrupt(end.pos, what));
            }
            refuse_far_hole(&mut scan, &end, meta.unsynced_max)?;
            return Ok(Verdict::Import(end, "DLedger wrote behind our records"));
        }
        if end.raft_index < meta.durable.raft_index {
            let what = format!("record {} was durable and is not intact", end.index);
            return Err(Error::corrupt(end.pos, what));
        }
        let bytes_behind = refuse_far_hole(&mut scan, &end, meta.unsynced_max)?;
        if meta.committed.raft_index > end.raft_index {
            return Err(Error::corrupt(end.pos, "the log ends before its committed bound"));
        }
        let intact = through(&mut self.scan(), meta.begin, &self.controls)?.end;
        let hidden = intact.index < end.index;
        self.trailing_controls(&mut end);
        if hidden {
            return Ok(Verdict::Hidden { end, at: intact });
        }
        let torn = bytes_behind || self.files_or_controls_behind(&end);
        Ok(if torn { Verdict::Torn(end) } else { Verdict::Clean(end) })
    }

    fn trailing_controls(&self, end: &mut Anchor) {
        while let Some(control) = self.controls.get(&(end.raft_index + 1)) {
            end.raft_index = control.raft_index;
            end.term = control.term;
        }
    }

    /// Whether control entries lead from `end` to the cut.
    fn reaches(&self, end: &mut Anchor, cut: &Anchor) -> bool {
        self.trailing_controls(end);
        end.raft_index >= cut.raft_index
    }

    fn missing_tail(&self) -> Result<()> {
        let (begin, durable) = (self.meta.begin, self.meta.durable);
        let there = self.segments.last().is_some_and(|last| durable.pos <= last.end());
        if durable.index == begin.index || there {
            return Ok(());
        }
        let missing = self.segments.last().map_or(begin.pos, |last| last.end());
        let missing = missing - missing % self.meta.segment_bytes;
        let what = format!(
            "{} is missing (recovery.missing.tail=clamp opens without it, and loses what was \
             acknowledged)",
            segment::path(missing)
        );
        Err(Error::corrupt(missing, what))
    }

    fn files_or_controls_behind(&self, end: &Anchor) -> bool {
        let empty = end.index == self.meta.begin.index;
        self.controls.last_key_value().is_some_and(|(index, _)| *index > end.raft_index)
            || self.segments.iter().any(|segment| segment.pos >= end.pos || empty)
    }
}

/// What whole batches lead to.
struct Through {
    end: Anchor,
    /// Records of ours were among them.
    ours: bool,
}

fn through(
    scan: &mut Scan,
    from: Anchor,
    controls: &BTreeMap<RaftIndex, ControlEntry>,
) -> Result<Through> {
    let mut found = Through { end: from, ours: false };
    loop {
        match scan.step(&found.end, controls)? {
            Step::Batch { batch, ours, .. } => {
                found.end = batch;
                found.ours |= ours;
            }
            Step::End => return Ok(found),
        }
    }
}

/// Refuses a hole with a record far behind it, and answers whether there is anything behind it.
fn refuse_far_hole(scan: &mut Scan, end: &Anchor, unsynced_max: u64) -> Result<bool> {
    let Behind { far, anything } = scan.behind(end, scan.torn(), unsynced_max)?;
    let Some(far) = far else { return Ok(anything) };
    let what =
        format!("record {} is not intact, and a whole record lies behind it at {far}", end.index);
    Err(Error::corrupt(end.pos, what))
}

/// The segments that recovery would use: from begin on, without a gap.
fn segments(disk: &ReadOnly, data: &Data, begin: u64) -> Result<Vec<Arc<Segment>>> {
    if let Some(name) = data.others.first() {
        return Err(Error::corrupt(0, format!("data/{name} is not the name of a segment")));
    }
    let mut next = begin - begin % data.segment_bytes;
    let mut segments = Vec::new();
    for &(pos, len) in &data.files {
        if pos < next {
            continue; // what a purge left
        }
        if pos != next {
            return Err(Error::corrupt(next, format!("{} is missing", segment::path(next))));
        }
        if len != data.segment_bytes {
            let what =
                format!("{} has {len} bytes instead of {}", segment::path(pos), data.segment_bytes);
            return Err(Error::corrupt(pos, what));
        }
        segments.push(Arc::new(Segment::open(disk, pos, len)?));
        next = pos + len;
    }
    Ok(segments)
}

/// Whether the derived files are there up to the durable bound. If not, recovery makes them again
/// from begin on.
fn units_reach_durable(disk: &ReadOnly, meta: &Meta) -> bool {
    let unit = |dir: &str, first: u64, slot: u64| -> Option<[u8; UNIT as usize]> {
        let per_file = meta.index_bytes / UNIT;
        let files: BTreeMap<String, u64> = disk.list(dir).ok()?.into_iter().collect();
        let name = |file: u64| format!("{:020}", file * meta.index_bytes);
        let whole = |file: u64| files.get(&name(file)) == Some(&meta.index_bytes);
        let (from, file) = (first / per_file, slot / per_file);
        if !(from..=file).all(whole) {
            return None;
        }
        let mut bytes = [0; UNIT as usize];
        let open = disk.open(&format!("{dir}/{}", name(file))).ok()?;
        open.read_at(&mut bytes, slot % per_file * UNIT).ok()?;
        Some(bytes)
    };
    let (begin, durable) = (meta.begin, meta.durable);
    let index = durable.index == begin.index
        || [begin.index.0, durable.index.0 - 1].iter().all(|&at| {
            let unit = unit("index", begin.index.0, at).and_then(|unit| IndexUnit::decode(&unit));
            unit.is_some_and(|unit| unit.index.0 == at)
        });
    let noted = RaftIndex(meta.dledger_end.index.0).max(begin.raft_index);
    let batches = durable.raft_index <= noted
        || [noted + 1, durable.raft_index].iter().all(|&at| {
            let unit = unit("batches", begin.raft_index.0, batch_slot(at));
            unit.is_some_and(|unit| BatchUnit::decode(&unit).is_some())
        });
    index && batches
}

/// The preset of `unsynced.max`: a directory without `meta` does not know better.
const UNSYNCED_PRESET: u64 = 16 << 20;
