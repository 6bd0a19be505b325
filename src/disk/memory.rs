//! A disk in memory that can crash, tear, rot, fill up and fail, for simulation and crash tests.
//!
//! Nothing survives [`MemoryDisk::crash`] for certain but what was synced: bytes by
//! [`File::sync`], names by [`Disk::sync_dir`]. Of the rest it leaves whole sectors of 512 bytes,
//! each as it was last written or as it was last durable, and the oldest changes of names. All
//! chance is drawn from the caller's generator, in a fixed order: one seed is one outcome.

mod content;
mod names;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::content::{BLOCK_BYTES, Content, Keep};
use self::names::{Change, Inode, Names, Tree, above, parent};
use super::real::LOCK;
use super::{Disk, File, Map, Space};

/// A generator: `rng(n)` is one of `0..n`.
pub type Rng<'a> = &'a mut dyn FnMut(u64) -> u64;

/// A disk in memory. A clone is another handle of the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

/// What was done on a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes read by `read_at`.
    pub bytes_read: u64,
    /// Bytes written by `write_at`.
    pub bytes_written: u64,
    /// Syncs of files, failed ones too.
    pub syncs: u64,
    /// Syncs of directories, failed ones too.
    pub dir_syncs: u64,
}

struct State {
    names: Names,
    /// Crashed: every operation fails from then on.
    dead: bool,
    locked: bool,
    capacity: u64,
    now_ms: u64,
    ops: u64,
    stats: Stats,
    /// Mutating operations that still succeed.
    ops_left: Option<u64>,
    /// Which sync from now on fails; 1 is the next.
    sync_to_fail: Option<u64>,
    dir_sync_to_fail: Option<u64>,
    /// Writes to files below it meet a full disk.
    full_under: Option<String>,
}

impl MemoryDisk {
    /// An empty disk of 1 TiB, at the beginning of 1970.
    pub fn new() -> MemoryDisk {
        MemoryDisk::with(Names::default(), CAPACITY_BYTES, 0)
    }

    fn with(names: Names, capacity: u64, now_ms: u64) -> MemoryDisk {
        let state = State {
            names,
            dead: false,
            locked: false,
            capacity,
            now_ms,
            ops: 0,
            stats: Stats::default(),
            ops_left: None,
            sync_to_fail: None,
            dir_sync_to_fail: None,
            full_under: None,
        };
        MemoryDisk { shared: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power. Returns a new disk, at rest, with what survives; this one is dead: every
    /// operation through it or its files fails. It keeps its contents, so that another outcome of
    /// the same cut can be drawn.
    ///
    /// Sectors that cannot be read, the size and the clock stay as they are; all other switches,
    /// counters and the lock are reset. Panics if memory runs out.
    pub fn crash(&self, rng: Rng<'_>) -> MemoryDisk {
        let mut state = self.state();
        state.dead = true;
        let pending = state.names.pending();
        let kept = match Keep::draw(rng) {
            Keep::All => pending,
            Keep::Nothing => 0,
            Keep::Some => rng(pending + 1),
        };
        let bytes = Keep::draw(rng);
        let mut tree = state.names.survivors(kept);
        for inode in tree.files.values_mut() {
            // One file whole and another lost is what a coin per sector would hardly ever draw.
            let keep = if let Keep::Some = bytes { Keep::draw(rng) } else { bytes };
            #[allow(clippy::expect_used)] // memory for a test's disk, nothing that was read
            let left = guard(inode).survivor(keep, rng).expect(MEMORY);
            *inode = Arc::new(Mutex::new(left));
        }
        MemoryDisk::with(Names::of(tree), state.capacity, state.now_ms)
    }

    /// Kills the process. Returns the disk as the next process finds it, nothing lost and nothing
    /// more durable than before; this one is dead, and empty. Switches and counters are reset.
    pub fn restart(&self) -> MemoryDisk {
        let mut state = self.state();
        state.dead = true;
        let names = std::mem::take(&mut state.names);
        MemoryDisk::with(names, state.capacity, state.now_ms)
    }

    /// Lets `n` more mutating operations succeed (create, create_dir, rename, remove, write,
    /// allocate, sync, sync_dir); then everything fails. If the first that fails is a write, a
    /// crash may find parts of it.
    pub fn fail_after_ops(&self, n: u64) {
        self.state().ops_left = Some(n);
    }

    /// Mutating operations so far, failed ones too.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Lets the `n`-th sync of a file from now on, 1 being the next, fail with EIO. What it should
    /// have made durable never will be, whatever later syncs say, unless it is written again.
    pub fn fail_sync(&self, n: u64) {
        self.state().sync_to_fail = Some(n);
    }

    /// Lets the `n`-th sync of a directory from now on, 1 being the next, fail with EIO.
    pub fn fail_dir_sync(&self, n: u64) {
        self.state().dir_sync_to_fail = Some(n);
    }

    /// Lets every write to a file whose path begins so meet a full disk half way, allocated or not,
    /// as on a file system that copies on write; `None`: no more.
    pub fn fill(&self, under: Option<&str>) {
        self.state().full_under = under.map(String::from);
    }

    /// Sets the disk's size. Blocks beyond it cannot be had: `StorageFull`. Also below what is in
    /// use, which stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Sets the wall clock, in milliseconds since 1970.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    /// Lets every `read_at` that touches the sector of byte `at` fail with EIO, until the sector
    /// is written. False if there is no such byte.
    pub fn fail_read(&self, path: &str, at: u64) -> bool {
        self.damage(path, at, |content| content.fail_read(at))
    }

    /// Flips the bits of `mask` in byte `at`, in the cache and on the disk, also in mappings (so
    /// never in bytes that a reader holds at this moment). False if there is no such byte.
    pub fn flip(&self, path: &str, at: u64, mask: u8) -> bool {
        self.damage(path, at, |content| content.flip(at, mask))
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.state().stats
    }

    /// A file's bytes, also of a dead disk. Not counted.
    pub fn read_file(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.live.files.get(path).map(|inode| guard(inode).bytes())
    }

    /// Puts a file there, in place of any other of the name, with the directories above it, and
    /// makes all of it durable, and every other change of names as well. Meant for fixtures: no
    /// switch and no limit applies, nothing is counted. Panics if memory runs out.
    pub fn write_file(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        #[allow(clippy::expect_used)] // memory for a test's disk, nothing that was read
        let mut content = Content::new(bytes.len() as u64, state.now_ms).expect(MEMORY);
        content.write(bytes, 0, u64::MAX);
        content.sync();
        let dirs: Vec<String> = above(path).map(String::from).collect();
        state.names.live.dirs.extend(dirs);
        state.names.live.files.insert(path.into(), Arc::new(Mutex::new(content)));
        state.names.sync_all();
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<String> {
        self.state().names.live.files.keys().cloned().collect()
    }

    fn damage(&self, path: &str, at: u64, damage: impl FnOnce(&mut Content)) -> bool {
        let state = self.state();
        let Some(inode) = state.names.live.files.get(path) else { return false };
        let mut content = guard(inode);
        let there = at < content.len();
        if there {
            damage(&mut content);
        }
        there
    }

    fn state(&self) -> MutexGuard<'_, State> {
        guard(&self.shared)
    }

    fn file(&self, inode: &Inode) -> Arc<dyn File> {
        Arc::new(MemoryFile { disk: self.clone(), inode: inode.clone() })
    }
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        MemoryDisk::new()
    }
}

impl Disk for MemoryDisk {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.state();
        state.alive()?;
        if std::mem::replace(&mut state.locked, true) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !state.names.live.files.contains_key(LOCK) {
            let inode = Arc::new(Mutex::new(Content::new(0, state.now_ms)?));
            state.names.change(Change::Create(LOCK.into(), inode));
        }
        Ok(Box::new(Lock(self.clone())))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        state.alive()?;
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let files = state.names.live.files.iter();
        Ok(files
            .filter(|(path, _)| parent(path) == dir)
            .map(|(path, inode)| (path[prefix.len()..].to_string(), guard(inode).len()))
            .collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        if state.names.live.has_dir(dir) {
            return Ok(());
        }
        state.names.live.vacant(dir)?;
        state.names.change(Change::MakeDir(dir.into()));
        Ok(())
    }

    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.mutate()?;
        state.names.live.vacant(path)?;
        if state.room() == 0 {
            return Err(full());
        }
        let inode = Arc::new(Mutex::new(Content::new(len, state.now_ms)?));
        state.names.change(Change::Create(path.into(), inode.clone()));
        Ok(self.file(&inode))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.alive()?;
        Ok(self.file(state.names.live.find(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.names.live.find(from)?;
        if !state.names.live.files.contains_key(to) {
            state.names.live.vacant(to)?;
        }
        state.names.change(Change::Rename { from: from.into(), to: to.into() });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.names.live.find(path)?;
        state.names.change(Change::Remove(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state();
        state.mutate()?;
        state.stats.dir_syncs += 1;
        if !state.names.live.has_dir(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        if falls_due(&mut state.dir_sync_to_fail) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        state.names.sync(dir);
        Ok(())
    }

    fn space(&self, _: &str) -> io::Result<Space> {
        let state = self.state();
        state.alive()?;
        Ok(Space { total: state.capacity, available: state.room() * BLOCK_BYTES })
    }
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("crashed")) } else { Ok(()) }
    }

    /// Counts an operation that changes something; fails if it comes after the last that may.
    fn mutate(&mut self) -> io::Result<()> {
        self.alive()?;
        self.ops += 1;
        match &mut self.ops_left {
            Some(0) => self.dead = true,
            Some(n) => *n -= 1,
            None => {}
        }
        self.alive()
    }

    /// Whether a write to this file meets a full disk whatever room there is.
    fn refuses(&self, inode: &Inode) -> bool {
        let Some(under) = &self.full_under else { return false };
        let mut files = self.names.live.files.iter();
        files.any(|(path, file)| path.starts_with(under) && Arc::ptr_eq(file, inode))
    }

    /// How many blocks are free.
    fn room(&self) -> u64 {
        let files = self.names.live.files.values();
        let used: u64 = files.map(|inode| guard(inode).allocated_bytes()).sum();
        self.capacity.saturating_sub(used) / BLOCK_BYTES
    }
}

impl Tree {
    fn find(&self, path: &str) -> io::Result<&Inode> {
        self.files.get(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Refuses a name that is taken, or has no directory to be in.
    fn vacant(&self, path: &str) -> io::Result<()> {
        if self.has(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if self.has_dir(parent(path)) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }
}

/// An open file. The disk's state is always locked before the file's content.
struct MemoryFile {
    disk: MemoryDisk,
    inode: Inode,
}

impl MemoryFile {
    /// The content, for an operation that changes nothing.
    fn content(&self) -> io::Result<MutexGuard<'_, Content>> {
        self.disk.state().alive()?;
        Ok(guard(&self.inode))
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive()?;
        let content = guard(&self.inode);
        if !content.has(at, buf.len() as u64) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        content.read(buf, at)?;
        state.stats.bytes_read += buf.len() as u64;
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.alive()?;
        // The write during which the power fails does reach the cache, where the cut may tear it.
        let fate = state.mutate();
        let (room, refused) = (state.room(), state.refuses(&self.inode));
        let mut content = guard(&self.inode);
        if !content.has(at, bytes.len() as u64) {
            return fate.and(Err(ErrorKind::InvalidInput.into()));
        }
        let most = if refused { bytes.len() / 2 } else { bytes.len() };
        let written = content.write(&bytes[..most], at, room);
        content.modified_ms = state.now_ms;
        state.stats.bytes_written += written as u64;
        fate.and(if written == bytes.len() { Ok(()) } else { Err(full()) })
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.mutate()?;
        let room = state.room();
        let mut content = guard(&self.inode);
        if !content.has(at, len) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if content.allocate(at, len, room) == len { Ok(()) } else { Err(full()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.mutate()?;
        state.stats.syncs += 1;
        let mut content = guard(&self.inode);
        if falls_due(&mut state.sync_to_fail) {
            content.fail_sync();
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        content.sync();
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        Ok(self.content()?.next_data(at))
    }

    fn next_hole(&self, at: u64) -> io::Result<u64> {
        Ok(self.content()?.next_hole(at))
    }

    fn modified(&self) -> io::Result<u64> {
        Ok(self.content()?.modified_ms)
    }

    fn map(&self) -> io::Result<Arc<Map>> {
        Ok(self.content()?.map.clone())
    }
}

/// The disk's lock, held.
struct Lock(MemoryDisk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

/// Counts down to a failure, and says whether this is it.
fn falls_due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(n) if *n > 1 => *n -= 1,
        Some(_) => {
            *countdown = None;
            return true;
        }
        None => {}
    }
    false
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

/// Locks; a panic of another holder, in some test, does not matter here.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MEMORY: &str = "memory for the contents of a file";
const CAPACITY_BYTES: u64 = 1 << 40;
