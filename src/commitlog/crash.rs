//! For tests of this module: a directory in memory whose power can be cut before, within and after
//! every single step that changes it. A cut keeps what was synced, a random subset of 512-byte
//! sectors of what was not, and a prefix of the renames and removals since the last directory sync.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, File, Map, Space};

/// A handle; clones are the same directory.
#[derive(Clone, Default)]
pub struct CrashDisk(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Each state of the names since the last directory sync.
    names_since: Vec<BTreeMap<String, usize>>,
    steps: usize,
    stop_at: Option<usize>,
    room: Option<u64>,
}

#[derive(Clone, Default)]
struct Inode {
    len: u64,
    allocated: u64,
    now: Sectors,
    durable: Sectors,
}

type Sectors = BTreeMap<u64, [u8; SECTOR as usize]>;

impl CrashDisk {
    /// Lets `steps` more changes through; the next one happens in part, and all after it fail.
    pub fn stop_after(&self, steps: usize) {
        let mut state = self.state();
        state.stop_at = Some(state.steps + steps);
    }

    /// Changes so far.
    pub fn steps(&self) -> usize {
        self.state().steps
    }

    /// Lets allocations take so many more bytes.
    pub fn room(&self, bytes: u64) {
        self.state().room = Some(bytes);
    }

    /// What is found after the power was cut here.
    pub fn power_cut(&self, random: &mut fastrand::Rng) -> CrashDisk {
        let mut state = self.state().clone();
        for file in &mut state.files {
            let mut kept = file.durable.clone();
            for (at, sector) in &file.now {
                if random.bool() {
                    kept.insert(*at, *sector);
                }
            }
            (file.now, file.durable) = (kept.clone(), kept);
        }
        state.names_since.insert(0, state.durable_names.clone());
        state.names = state.names_since[random.usize(..state.names_since.len())].clone();
        state.alive()
    }

    /// What a next process finds after this one was killed: the page cache survives.
    pub fn killed(&self) -> CrashDisk {
        self.state().clone().alive()
    }

    /// Changes a file's byte, at rest.
    pub fn flip(&self, path: &str, at: u64, mask: u8) {
        let mut state = self.state();
        let id = state.names[path];
        let file = &mut state.files[id];
        for sectors in [&mut file.now, &mut file.durable] {
            sectors.entry(at / SECTOR).or_insert([0; SECTOR as usize])[(at % SECTOR) as usize] ^=
                mask;
        }
    }

    /// A durable file of these bytes and zeros up to `len`.
    pub fn put(&self, path: &str, bytes: &[u8], len: u64) {
        let file = match self.open(path) {
            Ok(_) => self.remove(path).and_then(|()| self.create(path, len)),
            Err(_) => self.create(path, len),
        };
        let file = file.unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        self.sync_dir("").unwrap();
    }

    /// The first bytes of a file.
    pub fn get(&self, path: &str, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.open(path).unwrap().read_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn alive(mut self) -> CrashDisk {
        self.durable_names = self.names.clone();
        self.names_since.clear();
        self.stop_at = None;
        CrashDisk(Arc::new(Mutex::new(self)))
    }

    /// Counts a change. `Ok(true)`: it is the one that the crash meets, so it may happen in part.
    fn step(&mut self) -> Result<bool> {
        self.steps += 1;
        match self.stop_at {
            Some(stop) if self.steps > stop + 1 => Err(stopped()),
            Some(stop) => Ok(self.steps == stop + 1),
            None => Ok(false),
        }
    }

    fn name(&self, path: &str) -> Result<usize> {
        self.names.get(path).copied().ok_or(ErrorKind::NotFound.into())
    }

    fn renamed(&mut self) {
        self.names_since.push(self.names.clone());
    }
}

fn stopped() -> Error {
    Error::other("the power is off")
}

fn after(met: bool) -> Result<()> {
    if met { Err(stopped()) } else { Ok(()) }
}

impl Disk for CrashDisk {
    fn lock(&self) -> Result<Box<dyn Send + Sync>> {
        Ok(Box::new(()))
    }

    fn list(&self, _: &str) -> Result<Vec<(String, u64)>> {
        let state = self.state();
        Ok(state.names.iter().map(|(name, id)| (name.clone(), state.files[*id].len)).collect())
    }

    fn create_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn create(&self, path: &str, len: u64) -> Result<Arc<dyn File>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let met = state.step()?;
        let id = state.files.len();
        state.files.push(Inode { len, ..Inode::default() });
        state.names.insert(path.into(), id);
        state.renamed();
        after(met)?;
        drop(state);
        Ok(Arc::new(Handle(self.clone(), id)))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn File>> {
        let id = self.state().name(path)?;
        Ok(Arc::new(Handle(self.clone(), id)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.state();
        let id = state.name(from)?;
        let met = state.step()?;
        state.names.remove(from);
        state.names.insert(to.into(), id);
        state.renamed();
        after(met)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut state = self.state();
        state.name(path)?;
        let met = state.step()?;
        state.names.remove(path);
        state.renamed();
        after(met)
    }

    fn sync_dir(&self, _: &str) -> Result<()> {
        let mut state = self.state();
        after(state.step()?)?;
        state.durable_names = state.names.clone();
        state.names_since.clear();
        Ok(())
    }

    fn space(&self) -> Result<Space> {
        Ok(Space { total: u64::MAX, available: u64::MAX })
    }
}

struct Handle(CrashDisk, usize);

impl File for Handle {
    fn len(&self) -> Result<u64> {
        Ok(self.0.state().files[self.1].len)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<()> {
        let state = self.0.state();
        let file = &state.files[self.1];
        if at + buf.len() as u64 > file.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        for (at, byte) in (at..).zip(buf) {
            *byte = file.now.get(&(at / SECTOR)).map_or(0, |s| s[(at % SECTOR) as usize]);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let mut state = self.0.state();
        let met = state.step()?;
        let file = &mut state.files[self.1];
        assert!(at + bytes.len() as u64 <= file.len, "a write beyond the file's length");
        for (at, byte) in (at..).zip(bytes) {
            file.now.entry(at / SECTOR).or_insert([0; SECTOR as usize])[(at % SECTOR) as usize] =
                *byte;
        }
        after(met)
    }

    fn allocate(&self, at: u64, len: u64) -> Result<()> {
        let mut state = self.0.state();
        let met = state.step()?;
        let more = (at + len).saturating_sub(state.files[self.1].allocated);
        assert!(at + len <= state.files[self.1].len, "an allocation beyond the file's length");
        if let Some(room) = state.room {
            state.room = Some(room.checked_sub(more).ok_or(ErrorKind::StorageFull)?);
        }
        state.files[self.1].allocated += more;
        after(met)
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.0.state();
        after(state.step()?)?;
        let file = &mut state.files[self.1];
        file.durable = file.now.clone();
        Ok(())
    }

    fn next_data(&self, at: u64) -> Result<Option<u64>> {
        let state = self.0.state();
        let next = state.files[self.1].now.range(at / SECTOR..).next();
        Ok(next.map(|(sector, _)| at.max(sector * SECTOR)))
    }

    fn modified(&self) -> Result<u64> {
        Ok(0)
    }

    fn map(&self) -> Result<Arc<Map>> {
        Err(ErrorKind::Unsupported.into())
    }
}

const SECTOR: u64 = 512;
