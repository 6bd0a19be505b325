//! Opening a directory. The table below is the whole of recovery; each row is a test.
//!
//! | found | done |
//! |---|---|
//! | `meta` or `control` of a newer format; another group, member, segment or index size | refused, untouched |
//! | `control` damaged below the end that `meta` notes | damage |
//! | no intact copy of `meta`; records or Raft entries of ours and no `meta` | damage |
//! | nothing | born |
//! | no `meta`, records of DLedger's | imported: scanned from their begin, the end noted |
//! | a cut is noted | finished, before anything else |
//! | a data file of another length or name | damage |
//! | a data file missing below the durable bound | refused, or clamped if asked for |
//! | a data file below begin; a spare | removed (a purge, an allocation that did not end) |
//! | from the durable bound on: batches, then zeros | the log |
//! | an incomplete batch, or its control entries missing; records within `unsynced.max` behind | torn: cut |
//! | a hole with a record farther behind | damage |
//! | control entries behind the end that do not follow it | cut |
//! | derived units short below the bound or behind it, the last batch unit different, or a rewrite that did not end | rewritten |
//! | committed above the end | damage |
//! | DLedger's records behind ours | imported again with ours, the noted end moves; damage where one of ours before them is not intact |
//! | behind DLedger's end: what it cut (older terms), or a record within `unsynced.max` | stale, torn: cut |
//! | behind DLedger's end: a record farther behind, of no older term | damage |

mod takeover;
mod units;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use tracing::{info, warn};

use self::takeover::take_over;
use self::units::{REBUILD_BYTES, Rebuild};
use crate::commitlog::control::{Control, ControlEntry, ControlKind};
use crate::commitlog::index::{BatchUnit, Kind, Units};
use crate::commitlog::meta::{Meta, MetaStore};
use crate::commitlog::read::Reader;
use crate::commitlog::record::Header;
use crate::commitlog::scan::{Behind, Scan, Step};
use crate::commitlog::segment::{self, Segment, Shelf};
use crate::commitlog::write::control_unit;
use crate::commitlog::{Birth, CommitLog, import, work};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::plant::{Plant, Plants};
use crate::types::{Anchor, Mark, RaftIndex};

impl CommitLog {
    /// Recovers the log of a directory, or makes one. The directory is locked by the caller.
    pub fn open(disk: Arc<dyn Disk>, birth: &Birth) -> Result<CommitLog> {
        // All that is refused for what is in the directory is looked at before anything is made.
        if let Some(meta) = check_files(&*disk)? {
            belongs(&meta, birth)?;
        }
        if let Some((store, meta)) = MetaStore::open(&*disk)? {
            return Found::of(disk, meta, 0)?.recover(store, birth);
        }
        make_dirs(&*disk)?;
        check_renames(&*disk)?;
        disk.sync_dir("").map_err(|e| Error::sync("the directory", e))?;
        if disk.list("data").map_err(|e| Error::io("data", e))?.is_empty() {
            give_birth(disk, birth)
        } else {
            take_over(disk, birth)
        }
    }
}

/// Whether `meta` and `control` can be read, and are of a version that this library knows. Changes
/// nothing.
pub fn check_files(disk: &dyn Disk) -> Result<Option<Meta>> {
    let meta = MetaStore::read(disk)?;
    Control::check(disk)?;
    Ok(meta)
}

/// What is in a directory, before anything is decided.
struct Found {
    disk: Arc<dyn Disk>,
    meta: Meta,
    control: Control,
    controls: BTreeMap<RaftIndex, ControlEntry>,
    segments: Vec<Arc<Segment>>,
    index: Units,
    batches: Units,
    /// Bytes read from data segments, since recovery began.
    read: u64,
    /// Whether a scan met records of ours.
    ours: bool,
    /// Up to where the last scan met what is intact.
    torn: u64,
    /// What DLedger's state files say.
    dledgers: import::State,
}

impl Found {
    fn of(disk: Arc<dyn Disk>, meta: Meta, read: u64) -> Result<Found> {
        make_dirs(&*disk)?;
        let (control, controls) = Control::open(disk.clone(), meta.control_end)?;
        let segments = segments(&*disk, meta.segment_bytes, meta.begin.pos)?;
        let index = Units::open(&*disk, "index", meta.index_bytes, meta.begin.index.0)?;
        let batches = Units::open(&*disk, "batches", meta.index_bytes, meta.begin.raft_index.0)?;
        remove_spares(&*disk)?;
        let controls = controls.into_iter().map(|c| (c.raft_index, c)).collect();
        // Beside a log of ours a state file that cannot be read tells nothing, and costs nothing.
        let dledgers = import::state(&*disk).unwrap_or_default();
        let (ours, torn) = (false, 0);
        let found = Found {
            disk,
            meta,
            control,
            controls,
            segments,
            index,
            batches,
            read,
            ours,
            torn,
            dledgers,
        };
        Ok(found)
    }

    fn recover(mut self, store: MetaStore, birth: &Birth) -> Result<CommitLog> {
        if let Some(cut) = self.meta.cut {
            info!("finishing a cut at record {} (position {})", cut.index, cut.pos);
            self.controls.split_off(&(cut.raft_index + 1));
            let mut log = self.into_log(store, cut, birth.plants);
            log.finish_cut(cut)?;
            let CommitLog { disk, meta_store, meta, recovery_read, .. } = log;
            return Found::of(disk, meta, recovery_read)?.recover(meta_store, birth);
        }
        let clamped = self.missing_tail(birth)?;
        let rebuilds = clamped || !self.units_reach_durable()?;
        let from = if rebuilds {
            self.begin_rebuild()?
        } else {
            self.mend_last_unit()?;
            self.meta.durable
        };
        let durable = if clamped { self.meta.begin } else { self.meta.durable };
        self.index.in_use(from.index.0);
        self.batches.in_use(from.raft_index.0);
        let (mut end, dledgers) = self.scan(from, false)?;
        if let Some(first) = dledgers {
            return self.take_over_again(store, birth, &first);
        }
        end = self.trailing_controls(end)?;
        if end.raft_index < durable.raft_index {
            return Err(Error::corrupt(
                end.pos,
                format!("record {} was durable and is not intact", end.index),
            ));
        }
        // Clamped, all behind the end goes anyway.
        let behind = if clamped { None } else { Some(self.behind(&end)?) };
        if let Some(behind) = &behind
            && !birth.plants.on(Plant::TruncateAtFirstBadCrc)
        {
            refuse_far_hole(&end, behind)?;
            if self.meta.committed.raft_index > end.raft_index {
                return Err(Error::corrupt(end.pos, "the log ends before its committed bound"));
            }
        }
        if rebuilds {
            self.end_rebuild()?;
        }
        let stale =
            behind.is_none_or(|behind| behind.anything) || self.files_or_controls_behind(&end);
        let grew = end.raft_index > self.meta.durable.raft_index;
        self.settle(store, end, stale, grew, birth)
    }

    /// Makes what was found durable, cuts what is stale, and raises the bound to the end.
    fn settle(
        mut self,
        store: MetaStore,
        end: Anchor,
        stale: bool,
        grew: bool,
        birth: &Birth,
    ) -> Result<CommitLog> {
        let durable = self.meta.durable;
        let state = self.dledgers;
        let least_term = if state.found { import::raft_term(state.term) } else { 0 };
        if grew {
            self.read += rewrite(&self.segments, durable.pos, end.pos)?;
        }
        let mut log = self.into_log(store, end, birth.plants);
        if stale {
            warn!(
                "cutting what was never finished behind record {} (position {})",
                end.index, end.pos
            );
            log.truncate(end)?;
        }
        if grew {
            for segment in log.segments.iter().filter(|s| s.end() > durable.pos) {
                segment.file.sync().map_err(|e| Error::sync(segment::path(segment.pos), e))?;
            }
            log.rolls += 1;
            log.sync_names()?;
            if let Some(work::Work::Checkpoint(files, _)) = log.checkpoint() {
                for file in files {
                    file.sync().map_err(|e| Error::sync("derived units", e))?;
                }
            }
            for dir in ["index", "batches"] {
                log.disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
            }
        }
        let control_end = log.control.end();
        if grew
            || log.meta.term < least_term
            || log.meta.unsynced_max != birth.unsynced_max
            || log.meta.control_end != control_end
        {
            log.store_meta(|meta| {
                if end.raft_index > meta.durable.raft_index {
                    meta.durable = end;
                }
                meta.control_end = control_end;
                meta.unsynced_max = birth.unsynced_max;
                // DLedger was here since, if only to vote: no term of ours is one of its own.
                if meta.term < least_term {
                    (meta.term, meta.vote) = (least_term, birth.node);
                }
            })?;
        }
        log.allocate_now(birth.disk_full_ppm)?;
        log.publish();
        Ok(log)
    }

    /// Reads batches from an anchor on, writes the units that they derive, and returns the anchor
    /// behind the last whole one; and DLedger's first record behind it that is not noted.
    fn scan(&mut self, from: Anchor, import: bool) -> Result<(Anchor, Option<Header>)> {
        let dledger_end = if import { u64::MAX } else { self.meta.dledger_end.pos };
        let mut scan = Scan::new(self.segments.clone(), self.meta.segment_bytes, dledger_end);
        let mut end = from;
        let mut rebuild = Rebuild::new(&from);
        while let Step::Batch { batch, units, ours } = scan.step(&end, &self.controls)? {
            self.ours |= ours;
            for raft_index in end.raft_index.0 + 1..batch.raft_index.0 {
                if let Some(control) = self.controls.get(&RaftIndex(raft_index)) {
                    end.raft_index = control.raft_index;
                    end.term = control.term;
                    rebuild.batches.extend_from_slice(&control_unit(&end, control.kind).encode());
                }
            }
            let (first, count) = (end.index, batch.index - end.index);
            if batch.raft_index.0 > self.meta.dledger_end.index.0 && !import {
                let pos = batch.pos - units.iter().map(|u| u64::from(u.size)).sum::<u64>();
                let (chain, term) = (batch.chain, batch.term);
                let unit =
                    BatchUnit { kind: Kind::Batch, count: count as u32, chain, term, first, pos };
                rebuild.batches.extend_from_slice(&unit.encode());
            } else {
                rebuild.first_raft = batch.raft_index + 1;
            }
            for unit in units {
                rebuild.index.extend_from_slice(&unit.encode());
            }
            end = batch;
            if rebuild.index.len() >= REBUILD_BYTES {
                rebuild.write(&*self.disk, &mut self.index, &mut self.batches)?;
            }
        }
        let term = self.dledgers.found.then_some(self.dledgers.term);
        let dledgers = if import { None } else { scan.dledgers_behind(&end, term)? };
        rebuild.write(&*self.disk, &mut self.index, &mut self.batches)?;
        self.read += scan.bytes_read();
        self.torn = scan.torn();
        Ok((end, dledgers))
    }

    /// Control entries that follow the last batch are part of the log.
    fn trailing_controls(&mut self, mut end: Anchor) -> Result<Anchor> {
        let mut rebuild = Rebuild::new(&end);
        while let Some(control) = self.controls.get(&(end.raft_index + 1)) {
            end.raft_index = control.raft_index;
            end.term = control.term;
            rebuild.batches.extend_from_slice(&control_unit(&end, control.kind).encode());
        }
        rebuild.write(&*self.disk, &mut self.index, &mut self.batches)?;
        Ok(end)
    }

    /// Looks behind the end of the last scan, farther than may lie on no disk.
    fn behind(&mut self, end: &Anchor) -> Result<Behind> {
        let mut scan = Scan::new(self.segments.clone(), self.meta.segment_bytes, 0);
        let behind = scan.behind(end, self.torn, self.meta.unsynced_max);
        self.read += scan.bytes_read();
        behind
    }

    /// Whether there are control entries or data files behind the end, which have to go.
    fn files_or_controls_behind(&self, end: &Anchor) -> bool {
        let empty = end.index == self.meta.begin.index;
        self.controls.last_key_value().is_some_and(|(index, _)| *index > end.raft_index)
            || self.segments.iter().any(|s| s.pos >= end.pos || empty)
    }

    /// Whether the tail of the data is gone and may be: then recovery begins at begin.
    fn missing_tail(&self, birth: &Birth) -> Result<bool> {
        let durable = self.meta.durable;
        if durable.index == self.meta.begin.index {
            return Ok(false);
        }
        let there = self.segments.last().is_some_and(|s| durable.pos <= s.end());
        if there {
            return Ok(false);
        }
        let missing = self.segments.last().map_or(self.meta.begin.pos, |s| s.end());
        let missing = missing - missing % self.meta.segment_bytes;
        if birth.clamp_missing_tail {
            warn!("{} is missing: going on without what it had", segment::path(missing));
            return Ok(true);
        }
        Err(Error::corrupt(
            missing,
            format!(
                "{} is missing; recovery.missing.tail=clamp opens without it, and loses what was acknowledged",
                segment::path(missing)
            ),
        ))
    }

    fn into_log(self, store: MetaStore, end: Anchor, plants: Plants) -> CommitLog {
        let shelf = Shelf { segments: self.segments.clone(), index: self.index.clone() };
        let memberships = self
            .controls
            .into_values()
            .filter(|c| c.kind == ControlKind::Membership)
            .map(|c| (c.raft_index, c.content))
            .collect();
        CommitLog {
            reader: Arc::new(Reader::new(shelf, self.meta.dledger_end.pos)),
            disk: self.disk,
            meta_store: store,
            meta: self.meta,
            control: self.control,
            memberships,
            segments: self.segments,
            spares: VecDeque::new(),
            spares_made: 0,
            index: self.index,
            batches: self.batches,
            end,
            flushed: end,
            controls_written: end.raft_index,
            unsynced: Vec::new(),
            syncing: Vec::new(),
            rolls: 0,
            ahead: 0,
            sync_bytes: 0,
            rolls_synced: 0,
            rolls_syncing: 0,
            recovery_read: self.read,
            allocating: work::Allocating::default(),
            plants,
            index_buf: Vec::new(),
            batch_buf: Vec::new(),
        }
    }

    /// Syncs all data and units.
    fn sync(&self) -> Result<()> {
        for segment in &self.segments {
            segment.file.sync().map_err(|e| Error::sync(segment::path(segment.pos), e))?;
        }
        self.disk.sync_dir("data").map_err(|e| Error::sync("data", e))?;
        self.sync_units()
    }

    fn sync_units(&self) -> Result<()> {
        for (dir, units) in [("index", &self.index), ("batches", &self.batches)] {
            for file in units.touched(0, u64::MAX) {
                file.sync().map_err(|e| Error::sync(dir, e))?;
            }
            self.disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
        }
        Ok(())
    }
}

/// A hole with a whole record farther behind than may lie on no disk is damage.
fn refuse_far_hole(end: &Anchor, behind: &Behind) -> Result<()> {
    let Some(far) = behind.far else { return Ok(()) };
    let what =
        format!("record {} is not intact, and a whole record lies behind it at {far}", end.index);
    Err(Error::corrupt(end.pos, what))
}

/// Writes what lies in `from..to` once more, so that the next sync puts it on disk: after a failed
/// sync the page cache may hold bytes as clean that no disk has. Answers how many bytes were read.
fn rewrite(segments: &[Arc<Segment>], from: u64, to: u64) -> Result<u64> {
    let mut read = 0;
    let mut buf = vec![0u8; 1 << 20];
    for segment in segments {
        let failed = |e| Error::io(segment::path(segment.pos), e);
        let (mut at, end) = (from.max(segment.pos), to.min(segment.end()));
        // A segment that the log goes on behind is written to its end: the blank is part of it.
        let end = if to > segment.end() { segment.end() } else { end };
        while at < end {
            let n = buf.len().min((end - at) as usize);
            let offset = at - segment.pos;
            match segment.file.next_data(offset).map_err(failed)? {
                Some(data) if data > offset => {
                    at = segment.pos + data;
                    continue;
                }
                Some(_) => {}
                None => break,
            }
            segment.file.read_at(&mut buf[..n], offset).map_err(failed)?;
            read += n as u64;
            segment.file.write_at(&buf[..n], offset).map_err(failed)?;
            at += n as u64;
        }
    }
    Ok(read)
}

/// The data segments from begin on, without a gap; older ones are what a purge left.
fn segments(disk: &dyn Disk, segment_bytes: u64, begin: u64) -> Result<Vec<Arc<Segment>>> {
    let first = begin - begin % segment_bytes;
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    let mut stale = Vec::new();
    for (name, len) in disk.list("data").map_err(|e| Error::io("data", e))? {
        let pos = match name.parse::<u64>() {
            Ok(pos) if name.len() == 20 && pos % segment_bytes == 0 => pos,
            _ => {
                return Err(Error::corrupt(0, format!("data/{name} is not the name of a segment")));
            }
        };
        if pos < first {
            stale.push(segment::path(pos));
            continue;
        }
        let expected = segments.last().map_or(first, |s| s.end());
        if pos != expected {
            return Err(Error::corrupt(
                expected,
                format!("{} is missing", segment::path(expected)),
            ));
        }
        if len != segment_bytes {
            return Err(Error::corrupt(
                pos,
                format!("data/{name} has {len} bytes instead of {segment_bytes}"),
            ));
        }
        segments.push(Arc::new(Segment::open(disk, pos, segment_bytes)?));
    }
    for path in &stale {
        disk.remove(path).map_err(|e| Error::io(&**path, e))?;
    }
    Ok(segments)
}

fn make_dirs(disk: &dyn Disk) -> Result<()> {
    for dir in ["data", "index", "batches", "spare"] {
        disk.create_dir(dir).map_err(|e| Error::io(dir, e))?;
    }
    // It moves nothing in any case. Between two mounts the answer is another than else.
    renames(disk.rename("spare/.", "data/."))
}

/// Tries it with a file: within one mount it may be refused as well, between subvolumes or where
/// quotas are counted by directory. Only where there is no log yet: what a crash leaves in `data`
/// here must be of no harm.
fn check_renames(disk: &dyn Disk) -> Result<()> {
    for path in [PROBED, PROBE] {
        match disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io(path, e)),
            _ => {}
        }
    }
    // A full disk has no room for a file; nor has it for a log.
    disk.create(PROBE, 0).map_err(|e| Error::io(PROBE, e))?;
    let renamed = renames(disk.rename(PROBE, PROBED));
    let left = if renamed.is_ok() { PROBED } else { PROBE };
    disk.remove(left).map_err(|e| Error::io(left, e))?;
    for dir in ["data", "spare"] {
        disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
    }
    renamed
}

fn renames(tried: io::Result<()>) -> Result<()> {
    match tried {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => Err(Error::Config(
            "dir: a file in spare cannot be renamed into data: they are on two file systems, or \
             mounted twice. Segments are made in spare: have both lead to one place"
                .into(),
        )),
        _ => Ok(()),
    }
}

const PROBE: &str = "spare/.libdledger-probe";
const PROBED: &str = "data/.libdledger-probe";

/// A spare may have been in use when the machine went down: its name may be older than its bytes.
fn remove_spares(disk: &dyn Disk) -> Result<()> {
    let is_ours = |name: &str| name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    let spares = disk.list("spare").map_err(|e| Error::io("spare", e))?;
    for (name, _) in spares.into_iter().filter(|(name, _)| is_ours(name)) {
        let path = format!("spare/{name}");
        disk.remove(&path).map_err(|e| Error::io(path, e))?;
    }
    Ok(())
}

/// A directory is opened as what it is, or not at all.
fn belongs(meta: &Meta, birth: &Birth) -> Result<()> {
    let differs = |what: &str, there: &dyn std::fmt::Display, asked: &dyn std::fmt::Display| {
        Err(Error::Config(format!(
            "{what}: the directory was made with {there} and keeps it; the configuration says {asked}"
        )))
    };
    if meta.group != birth.group {
        return differs("group", &meta.group, &birth.group);
    }
    if meta.node != birth.node {
        return differs("node.id", &meta.node, &birth.node);
    }
    if meta.segment_bytes != birth.segment_bytes {
        return differs("segment.bytes", &meta.segment_bytes, &birth.segment_bytes);
    }
    if meta.index_bytes != birth.index_bytes {
        return differs("index.segment.bytes", &meta.index_bytes, &birth.index_bytes);
    }
    Ok(())
}

fn meta_of(birth: &Birth, begin: Anchor) -> Meta {
    Meta {
        group: birth.group.clone(),
        node: birth.node,
        incarnation: birth.incarnation,
        segment_bytes: birth.segment_bytes,
        index_bytes: birth.index_bytes,
        unsynced_max: birth.unsynced_max,
        term: 0,
        vote: 0,
        begin,
        durable: begin,
        committed: begin,
        control_end: 0,
        dledger_end: Mark::default(),
        cut: None,
        members: birth.members.clone(),
    }
}

fn give_birth(disk: Arc<dyn Disk>, birth: &Birth) -> Result<CommitLog> {
    no_raft_entries(disk.clone())?;
    let begin = Anchor { pos: birth.begin_pos, ..Anchor::default() };
    let mut meta = meta_of(birth, begin);
    let state = import::state(&*disk)?;
    if state.found {
        (meta.term, meta.vote) = (import::raft_term(state.term), birth.node);
    }
    Control::create(disk.clone())?;
    let store = MetaStore::create(&*disk, &meta)?;
    Found::of(disk, meta, 0)?.recover(store, birth)
}

/// Where Raft entries are there was a `meta`: it is lost, and term and vote with it.
fn no_raft_entries(disk: Arc<dyn Disk>) -> Result<()> {
    let there = disk.list("").map_err(|e| Error::io("the directory", e))?;
    if there.iter().all(|(name, _)| name != "control") {
        return Ok(());
    }
    match Control::open(disk, 0)? {
        (_, entries) if entries.is_empty() => Ok(()),
        _ => Err(Error::corrupt(0, "there are Raft entries in control and no meta")),
    }
}
