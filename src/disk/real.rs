//! The disk of the operating system: a directory and the files in it.
//!
//! Bytes are read and written with `pread` and `pwrite`, never through a mapping, so a full or
//! failing disk is an error and not a signal. Every call goes through libc's own symbols, where a
//! test can stand in between. A sync that failed is reported once and never tried again: the
//! kernel may have dropped the pages, and a second try would then succeed without them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use rustix::fs::{Advice, FallocateFlags, FlockOperation, SeekFrom};
use rustix::io::Errno;

use super::{Disk, File, Map, Space};

/// A directory of the file system.
pub struct RealDisk {
    /// Absolute: the host program may change its working directory.
    dir: PathBuf,
    /// Directories by name, kept open: what is written goes on where the process has no descriptor
    /// left.
    dirs: Mutex<BTreeMap<String, Arc<fs::File>>>,
}

impl RealDisk {
    /// Makes the directory, durably, unless it is there.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let dir = std::path::absolute(dir.into())?;
        make_dirs(&dir)?;
        let disk = RealDisk { dir, dirs: Mutex::default() };
        disk.opened("")?;
        Ok(disk)
    }

    /// The directory's path, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory, open from now on.
    fn opened(&self, dir: &str) -> io::Result<Arc<fs::File>> {
        let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = dirs.get(dir) {
            return Ok(open.clone());
        }
        let open = Arc::new(fs::File::open(self.path(dir))?);
        dirs.insert(dir.into(), open.clone());
        Ok(open)
    }

    fn path(&self, path: &str) -> PathBuf {
        // Joining "" would add a slash.
        if path.is_empty() { self.dir.clone() } else { self.dir.join(path) }
    }
}

impl Disk for RealDisk {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        let path = self.path(LOCK);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // A lock of the open file, not of the process: two handles in one process exclude each
        // other as well.
        retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))?;
        Ok(Box::new(Lock { file, process: std::process::id() }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        let dir = self.path(dir);
        let entries = match fs::read_dir(&dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => files.push((name, meta.len())),
                Ok(_) => {}
                // Removed since, or a link to nowhere.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        files.sort();
        Ok(files)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        make_dir(&self.path(dir))?;
        self.opened(dir).map(drop)
    }

    fn create(&self, path: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path(path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if let Err(e) = file.set_len(len) {
            // A file of another length than was asked for must not be found later.
            let _ = fs::remove_file(&path);
            return Err(e);
        }
        Ok(Arc::new(RealFile { file, len }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(path))?;
        let len = file.metadata()?.len();
        // What is opened is recovered: read up to its end, behind which are blocks that were only
        // allocated. Read-ahead would fill the cache with their zeros, which then count as data.
        // Mappings are not concerned, and where the advice is not known more is read.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Random);
        Ok(Arc::new(RealFile { file, len }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.opened(dir)?.sync_all()
    }

    fn space(&self, dir: &str) -> io::Result<Space> {
        let dir = self.opened(dir)?;
        let stat = retry(|| rustix::fs::fstatvfs(&dir))?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        Ok(space(used, stat.f_bavail, stat.f_frsize))
    }
}

/// An open file. Its length is set when it is made and never changes.
struct RealFile {
    file: fs::File,
    len: u64,
}

impl RealFile {
    /// Refuses what would make the file longer.
    fn within(&self, at: u64, len: u64) -> io::Result<()> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "beyond the end of the file")),
        }
    }

    /// For file systems that cannot allocate: writes zeros where zeros are read, which makes
    /// blocks of holes and changes no byte.
    fn fill(&self, at: u64, len: u64) -> io::Result<()> {
        let mut buf = vec![0; FILL_BYTES];
        let mut at = at;
        let end = at + len;
        while at < end {
            let n = (end - at).min(FILL_BYTES as u64) as usize;
            let chunk = &mut buf[..n];
            self.file.read_exact_at(chunk, at)?;
            if is_zero(chunk) {
                self.file.write_all_at(chunk, at)?;
            } else {
                for (i, sector) in chunk.chunks(SECTOR_BYTES).enumerate() {
                    if is_zero(sector) {
                        self.file.write_all_at(sector, at + (i * SECTOR_BYTES) as u64)?;
                    }
                }
            }
            at += n as u64;
        }
        Ok(())
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.within(at, bytes.len() as u64)?;
        self.file.write_all_at(bytes, at)
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.within(at, len)?;
        if len == 0 {
            return Ok(());
        }
        match retry(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), at, len)) {
            Err(e) if unsupported(&e) => self.fill(at, len),
            result => result,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        let len = self.len()?;
        if at >= len {
            return Ok(None);
        }
        // This moves the file's cursor, which nothing uses.
        match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok((data < len).then_some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(e) if e == Errno::INVAL || unsupported(&e.into()) => Ok(Some(at)),
            Err(e) => Err(e.into()),
        }
    }

    fn next_hole(&self, at: u64) -> io::Result<u64> {
        let len = self.len()?;
        if at >= len {
            return Ok(len);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Hole(at)) {
            Ok(hole) => Ok(hole.min(len)),
            Err(Errno::NXIO) => Ok(len),
            Err(e) if e == Errno::INVAL || unsupported(&e.into()) => Ok(len),
            Err(e) => Err(e.into()),
        }
    }

    fn modified(&self) -> io::Result<u64> {
        let modified = self.file.metadata()?.modified()?;
        // A clock before 1970 counts as 1970.
        Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
    }

    fn map(&self) -> io::Result<Arc<Map>> {
        Ok(Arc::new(Map::of_file(&self.file, self.len()?)?))
    }
}

/// The directory's lock, held.
struct Lock {
    file: fs::File,
    process: u32,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would be enough, had no child been forked meanwhile: a child shares the lock. So
        // it is given up here for all of them, but never by a child.
        if std::process::id() == self.process {
            let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Makes a directory and what is missing above it, and syncs the directory above each.
fn make_dirs(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    if dir.is_dir() {
        // An earlier process may have made it and died before this sync. One that was given to us
        // in a directory that we may not read is its owner's business.
        return match sync_dir(parent) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(()),
            result => result,
        };
    }
    make_dirs(parent)?;
    make_dir(dir)?;
    sync_dir(parent)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        result => result,
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

/// As `df` tells it: free blocks that are kept for others are no part of the file system.
fn space(used: u64, available: u64, block_bytes: u64) -> Space {
    let bytes = |blocks: u64| blocks.saturating_mul(block_bytes);
    Space { total: bytes(used.saturating_add(available)), available: bytes(available) }
}

/// Calls again what a signal interrupted.
fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    rustix::io::retry_on_intr(call).map_err(io::Error::from)
}

fn unsupported(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The file that is locked; it is empty.
pub(super) const LOCK: &str = "LOCK";
const FILL_BYTES: usize = 64 * 1024;
/// No file system has smaller blocks.
const SECTOR_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::disk::suite;

    fn disk() -> (RealDisk, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (RealDisk::new(dir.path().join("a/b")).unwrap(), dir)
    }

    suite::for_disk!(super::disk());

    /// Guards P8 on file systems without `fallocate`: filling makes blocks and keeps all bytes.
    #[test]
    fn fill_keeps_bytes() {
        use std::os::unix::fs::MetadataExt;
        let (disk, _dir) = disk();
        disk.create("x", 300_000).unwrap().write_at(b"here", 70_000).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(disk.path("x")).unwrap();
        let file = RealFile { file, len: 300_000 };
        file.fill(100, 299_900).unwrap();
        let mut bytes = vec![0; 300_000];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[70_000..70_004], b"here");
        assert!(is_zero(&bytes[..70_000]) && is_zero(&bytes[70_004..]));
        assert!(file.file.metadata().unwrap().blocks() * 512 >= 299_900);
    }

    /// Guards P8: on a full file system allocating is an error of its own kind, what was
    /// allocated takes writes all the same, and room that is freed can be used.
    #[test]
    fn full_file_system() {
        let mount = tempfile::tempdir().unwrap();
        let Some(_mounted) = Tmpfs::mount(mount.path()) else {
            // What `print!` writes is kept from who looks at a test that passes.
            let line = b"SKIPPED full_file_system: mounting is not permitted\n";
            return io::stderr().write_all(line).unwrap();
        };
        let disk = RealDisk::new(mount.path()).unwrap();
        assert_eq!(disk.space("").unwrap().total, 1 << 20);
        let taken = disk.create("taken", 700 << 10).unwrap();
        taken.allocate(0, 700 << 10).unwrap();
        let other = disk.create("other", 700 << 10).unwrap();
        let error = other.allocate(0, 700 << 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let error = other.write_at(&vec![1; 700 << 10], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        taken.write_at(&vec![2; 700 << 10], 0).unwrap();
        taken.sync().unwrap();
        disk.remove("other").unwrap();
        drop(other);
        assert!(disk.space("").unwrap().available >= 300 << 10);
        disk.create("third", 300 << 10).unwrap().allocate(0, 300 << 10).unwrap();
    }

    /// Guards `disk.full.ratio`: what root alone may use counts for nothing, as in `df`.
    #[test]
    fn reserved_blocks_are_not_room() {
        let space = space(60, 30, 4096);
        assert_eq!(space, Space { total: 90 * 4096, available: 30 * 4096 });
    }

    /// Guards that the host may change its working directory after a relative path was given.
    #[test]
    fn path_is_absolute() {
        let disk = RealDisk::new(".").unwrap();
        assert!(disk.dir().is_absolute());
    }

    /// A small file system in memory, unmounted when dropped.
    struct Tmpfs(PathBuf);

    impl Tmpfs {
        fn mount(at: &Path) -> Option<Tmpfs> {
            let options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs"];
            let status = std::process::Command::new("mount")
                .args(options)
                .arg(at)
                .stderr(std::process::Stdio::null())
                .status();
            status.ok()?.success().then(|| Tmpfs(at.into()))
        }
    }

    impl Drop for Tmpfs {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}
