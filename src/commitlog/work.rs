//! What may take long, as values: allocation, syncs of derived files, removal. Each piece runs on
//! any thread, knows only the disk, and comes back as a [`Done`] to the log that asked for it.

use std::sync::Arc;

use crate::commitlog::index::{Allocation, UNIT, UnitFile};
use crate::commitlog::{CommitLog, Room};
use crate::disk::{Disk, File, Map, Space};
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

/// A piece of work.
pub enum Work {
    /// Makes a segment ahead of need: path, length, and the part of the file system, in millionths,
    /// that may be used with it.
    Spare(String, u64, u64),
    /// Allocates index units.
    Index(Allocation),
    /// Allocates batch units.
    Batches(Allocation),
    /// Syncs derived files, so that the bound in `meta` may rise to the anchor.
    Checkpoint(Vec<Arc<dyn File>>, Anchor),
    /// Syncs data files (and directories first named), so that all before the anchor is on disk.
    Sync(Vec<Arc<dyn File>>, Vec<&'static str>, Anchor),
    /// Removes files, and makes that durable.
    Remove(Vec<String>),
    /// Asks for the room on the file system of the segments.
    Space,
    /// Asks when segments were last written.
    Ages(Vec<(u64, Arc<dyn File>)>),
}

/// What came of it.
pub enum Done {
    /// A spare segment.
    Spare(Result<Spare>),
    /// Index units have their blocks.
    Index(Result<(UnitFile, (u64, u64))>),
    /// Batch units have their blocks.
    Batches(Result<(UnitFile, (u64, u64))>),
    /// Derived files are on disk up to the anchor.
    Checkpoint(Result<Anchor>),
    /// Data files are on disk up to the anchor.
    Sync(Result<Anchor>),
    /// Files are gone.
    Remove(Result<()>),
    /// The room on the file system of the segments.
    Space(Result<Space>),
    /// Segments by position, and when they were last written (milliseconds since 1970).
    Ages(Result<Vec<(u64, u64)>>),
}

/// A segment that was made ahead.
pub struct Spare {
    /// Its name in `spare/`.
    pub path: String,
    /// To write.
    pub file: Arc<dyn File>,
    /// To read.
    pub map: Arc<Map>,
}

/// What is being allocated. Each kind for itself: room for a few units is none for a segment.
#[derive(Default)]
pub struct Allocating {
    /// The largest call that there must be room for, in records and in bytes.
    call: (u64, u64),
    spare: Asked,
    index: Asked,
    batches: Asked,
}

/// One kind of allocation.
#[derive(Default)]
struct Asked {
    under_way: bool,
    /// What is under way is for a log that has begun anew since.
    stale: bool,
    /// The last one met a full disk, or had no descriptor.
    refused: Option<Error>,
}

impl Asked {
    /// Takes in what came of it; `None`: it is of no use. A full disk, or that there was no
    /// descriptor, is remembered, not an error: it is tried again.
    fn back<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        let stale = std::mem::take(&mut self.stale);
        self.under_way = false;
        let before = self.refused.take();
        match result {
            Err(error) if error.may_pass() => {
                if before.is_none() {
                    tracing::warn!("nothing is made ahead: {error}");
                }
                self.refused = Some(error);
                Ok(None)
            }
            other => other.map(|done| Some(done).filter(|_| !stale)),
        }
    }
}

impl Allocating {
    /// The log begins anew: what is being allocated of the old one is of no use when it comes.
    pub(super) fn begin_anew(&mut self) {
        self.index.stale = self.index.under_way;
        self.batches.stale = self.batches.under_way;
    }

    /// What the last one of each kind met.
    fn refused(&self) -> [Option<&Error>; 3] {
        [&self.spare, &self.index, &self.batches].map(|asked| asked.refused.as_ref())
    }

    fn no_descriptor(&mut self) -> Option<Error> {
        let all = [&mut self.spare, &mut self.index, &mut self.batches];
        let lacks = |asked: &&mut Asked| matches!(asked.refused, Some(Error::Descriptors { .. }));
        all.into_iter().find(lacks)?.refused.take()
    }
}

impl Work {
    /// Does it. Waits for the disk.
    pub fn run(self, disk: &dyn Disk) -> Done {
        match self {
            Work::Spare(path, bytes, full_ppm) => {
                let room = leaves_room(disk, bytes, full_ppm);
                let room = room.map_err(|error| Error::io(path.clone(), error));
                Done::Spare(room.and_then(|()| make(disk, path, bytes)))
            }
            Work::Index(allocation) => Done::Index(allocation.run(disk)),
            Work::Batches(allocation) => Done::Batches(allocation.run(disk)),
            Work::Checkpoint(files, anchor) => {
                Done::Checkpoint(sync(disk, &files, &[]).map(|()| anchor))
            }
            Work::Sync(files, dirs, anchor) => {
                Done::Sync(sync(disk, &files, &dirs).map(|()| anchor))
            }
            Work::Remove(paths) => Done::Remove(remove(disk, &paths)),
            Work::Space => Done::Space(disk.space("data").map_err(|e| Error::io("statvfs", e))),
            Work::Ages(files) => Done::Ages(ages(&files)),
        }
    }
}

impl CommitLog {
    /// How far an appender may go with what is allocated.
    pub fn room(&self) -> Room {
        let segment_bytes = self.meta.segment_bytes;
        let next = match self.segments.last() {
            Some(last) => last.end(),
            None => self.end.pos - self.end.pos % segment_bytes,
        };
        // Every record could be a batch of its own, and elections take batch units too.
        let batches =
            self.batches.allocated().saturating_sub(self.end.raft_index.0 + CONTROL_UNITS);
        let index = self.index.allocated().min(self.end.index.0 + batches);
        let raft_index = RaftIndex(self.batches.allocated() + 1);
        Room { pos: next + self.spare_bytes(), index: Index(index), raft_index }
    }

    /// Whether the last allocation of any kind met a full disk.
    pub fn allocation_met_full_disk(&self) -> bool {
        let is_full = |error: &Error| matches!(error, Error::DiskFull { .. });
        self.allocating.refused().into_iter().flatten().any(is_full)
    }

    /// Whether the last allocation of any kind is to be tried again, after a while.
    pub fn allocation_was_refused(&self) -> bool {
        self.allocating.refused().iter().any(|refused| refused.is_some())
    }

    /// Sees to it that a call of so many records and bytes has room, when it comes alone.
    pub fn make_room_for(&mut self, records: u64, bytes: u64) {
        let (r, b) = self.allocating.call;
        self.allocating.call = (r.max(records), b.max(bytes));
    }

    /// What to allocate now, so that appends do not meet the end of the room. Each piece is given
    /// out once, until its [`Done`] comes back. No segment is made ahead that would leave the file
    /// system fuller than `full_ppm` millionths: segments made ahead must not be what refuses the
    /// appends they are for.
    pub fn wanted(&mut self, full_ppm: u64) -> Vec<Work> {
        let mut work = Vec::new();
        if !self.allocating.spare.under_way && (self.spares.len() as u64) < self.spares_wanted() {
            self.allocating.spare.under_way = true;
            work.push(Work::Spare(self.spare_path(), self.meta.segment_bytes, full_ppm));
        }
        let step = self.unit_step();
        let ahead = self.end.index.0 + step.max(self.allocating.call.0 * 2);
        if !self.allocating.index.under_way
            && let Some(allocation) = self.index.allocation(ahead, step)
        {
            self.allocating.index.under_way = true;
            work.push(Work::Index(allocation));
        }
        let ahead = self.end.raft_index.0 + CONTROL_UNITS + step.max(self.allocating.call.0 * 2);
        if !self.allocating.batches.under_way
            && let Some(allocation) = self.batches.allocation(ahead, step)
        {
            self.allocating.batches.under_way = true;
            work.push(Work::Batches(allocation));
        }
        work
    }

    /// Takes in what was allocated. A full disk is no error, nor is it that there was no descriptor:
    /// it is tried again.
    pub fn allocated(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Spare(result) => self.spares.extend(self.allocating.spare.back(result)?),
            Done::Index(result) => {
                if let Some((file, range)) = self.allocating.index.back(result)? {
                    self.index.allocated_now(file, range);
                    self.publish();
                }
            }
            Done::Batches(result) => {
                if let Some((file, range)) = self.allocating.batches.back(result)? {
                    self.batches.allocated_now(file, range);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Bytes of segments made ahead: used on the file system, and still room for appends.
    pub fn spare_bytes(&self) -> u64 {
        self.spares.len() as u64 * self.meta.segment_bytes
    }

    /// Allocates all that is wanted, here and now; a full disk is left for later. Without a
    /// descriptor there may not even be a file for the first entry: that is an error.
    pub fn allocate_now(&mut self, full_ppm: u64) -> Result<()> {
        loop {
            let work = self.wanted(full_ppm);
            if work.is_empty() {
                return Ok(());
            }
            // All of it: what is given out and does not come back is never given out again.
            let mut refused = false;
            for work in work {
                let done = work.run(&*self.disk.clone());
                self.allocated(done)?;
                refused |= self.allocation_was_refused();
            }
            if refused {
                return self.allocating.no_descriptor().map_or(Ok(()), Err);
            }
        }
    }

    /// A checkpoint of all that is flushed: the derived files to sync. `None` if nothing is new.
    pub fn checkpoint(&self) -> Option<Work> {
        let (durable, flushed) = (self.meta.durable, self.flushed);
        (flushed.raft_index > durable.raft_index).then(|| {
            let mut files = self.index.touched(durable.index.0, flushed.index.0);
            files.extend(self.batches.touched(durable.raft_index.0, flushed.raft_index.0));
            Work::Checkpoint(files, flushed)
        })
    }

    /// A sync of all that is written, to be done elsewhere. `None` if nothing is new.
    pub fn sync_elsewhere(&mut self) -> Option<Work> {
        if self.end.raft_index == self.flushed.raft_index {
            return None;
        }
        self.sync_bytes = self.unsynced_bytes();
        self.syncing.append(&mut self.unsynced);
        let files = self.syncing.iter().map(|s| s.file.clone()).collect();
        let named = self.rolls > self.rolls_synced;
        self.rolls_syncing = self.rolls;
        let dirs = if named { vec!["data", "spare"] } else { Vec::new() };
        Some(Work::Sync(files, dirs, self.end))
    }

    /// What was synced elsewhere is on disk.
    pub fn synced_elsewhere(&mut self, anchor: Anchor) {
        self.syncing.clear();
        self.rolls_synced = self.rolls_synced.max(self.rolls_syncing);
        if anchor.raft_index > self.flushed.raft_index {
            self.flushed = anchor;
        }
    }

    pub(super) fn make_spare(&mut self) -> Result<Spare> {
        let path = self.spare_path();
        make(&*self.disk, path, self.meta.segment_bytes)
    }

    fn spare_path(&mut self) -> String {
        self.spares_made += 1;
        format!("spare/{:020}", self.spares_made)
    }

    /// Enough for some tens of megabytes: one large segment, or many small ones.
    fn spares_wanted(&self) -> u64 {
        // A call leaves less than half of what it goes through empty: two records that follow each
        // other in two segments had no room in one.
        let call = self.allocating.call.1.saturating_mul(2) / self.meta.segment_bytes + 2;
        let preset = (AHEAD_BYTES / self.meta.segment_bytes).clamp(1, 64);
        if self.allocating.call.1 == 0 { preset } else { preset.max(call) }
    }

    /// Units to allocate at a time: in proportion to a segment, so that small logs stay small.
    fn unit_step(&self) -> u64 {
        (self.meta.segment_bytes / 8).clamp(64 << 10, 8 << 20) / UNIT
    }
}

fn make(disk: &dyn Disk, path: String, bytes: u64) -> Result<Spare> {
    let made = || {
        let file = disk.create(&path, bytes)?;
        file.allocate(0, bytes)?;
        file.sync()?;
        disk.sync_dir("spare")?;
        let map = file.map()?;
        Ok((file, map))
    };
    match made() {
        Ok((file, map)) => Ok(Spare { path, file, map }),
        Err(error) => {
            // Half a spare would keep the blocks that a full disk lacks.
            let _ = disk.remove(&path);
            Err(Error::io(path, error))
        }
    }
}

/// Whether the file system of the segments may take so many more bytes; if not, it counts as full.
fn leaves_room(disk: &dyn Disk, bytes: u64, full_ppm: u64) -> std::io::Result<()> {
    if full_ppm >= NEVER_FULL {
        return Ok(());
    }
    let space = disk.space("data")?;
    let used = space.total.saturating_sub(space.available).saturating_add(bytes);
    match u128::from(used) * 1_000_000 > u128::from(space.total) * u128::from(full_ppm) {
        true => Err(std::io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    }
}

fn sync(disk: &dyn Disk, files: &[Arc<dyn File>], dirs: &[&'static str]) -> Result<()> {
    for file in files {
        file.sync().map_err(|e| Error::sync("sync", e))?;
    }
    for dir in dirs {
        disk.sync_dir(dir).map_err(|e| Error::sync(*dir, e))?;
    }
    Ok(())
}

fn remove(disk: &dyn Disk, paths: &[String]) -> Result<()> {
    for path in paths {
        match disk.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&**path, e));
            }
            _ => {}
        }
    }
    for dir in ["data", "index", "batches"] {
        if paths.iter().any(|p| p.starts_with(dir)) {
            disk.sync_dir(dir).map_err(|e| Error::sync(dir, e))?;
        }
    }
    Ok(())
}

fn ages(files: &[(u64, Arc<dyn File>)]) -> Result<Vec<(u64, u64)>> {
    let age = |(pos, file): &(u64, Arc<dyn File>)| {
        file.modified().map(|ms| (*pos, ms)).map_err(|e| Error::io("stat", e))
    };
    files.iter().map(age).collect()
}

/// Batch units kept for elections when appends are refused for want of room.
const CONTROL_UNITS: u64 = 256;
/// All of a file system, in millionths.
const NEVER_FULL: u64 = 1_000_000;
/// Bytes of segments to make ahead.
const AHEAD_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::real::RealDisk;

    /// Guards `disk.full.ratio`: the room is that of the disk which has the segments.
    #[test]
    fn room_is_that_of_the_segments() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path()).unwrap();
        // A file system that has no room at all.
        std::os::unix::fs::symlink("/proc", dir.path().join("data")).unwrap();
        let Done::Space(space) = Work::Space.run(&disk) else { panic!("another answer") };
        assert_eq!(space.unwrap(), Space { total: 0, available: 0 });
        assert!(disk.space("").unwrap().total > 0);
    }
}
