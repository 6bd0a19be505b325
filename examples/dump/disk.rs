//! A disk that cannot be written.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use dledger::disk::memory::MemoryDisk;
use dledger::disk::{Disk, File, Map, Space};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// A directory whose files are opened to read only; all that would change it is refused.
pub struct ReadOnly(pub PathBuf);

impl Disk for ReadOnly {
    fn lock(&self) -> io::Result<Box<dyn Send + Sync>> {
        refused()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(self.0.join(dir)) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let meta = fs::metadata(entry.path())?;
            if let (Ok(name), true) = (entry.file_name().into_string(), meta.is_file()) {
                files.push((name, meta.len()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(ReadOnlyFile(fs::File::open(self.0.join(path))?)))
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn space(&self, _: &str) -> io::Result<Space> {
        refused()
    }
}

struct ReadOnlyFile(fs::File);

impl File for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, at)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        let len = self.len()?;
        if at >= len {
            return Ok(None);
        }
        match rustix::fs::seek(&self.0, SeekFrom::Data(at)) {
            Ok(data) => Ok((data < len).then_some(data)),
            Err(Errno::NXIO) => Ok(None),
            // The file system does not know.
            Err(_) => Ok(Some(at)),
        }
    }

    fn next_hole(&self, at: u64) -> io::Result<u64> {
        let len = self.len()?;
        match rustix::fs::seek(&self.0, SeekFrom::Hole(at)) {
            Ok(hole) => Ok(hole.min(len)),
            Err(_) => Ok(len),
        }
    }

    fn modified(&self) -> io::Result<u64> {
        let since = self.0.metadata()?.modified()?.duration_since(UNIX_EPOCH);
        Ok(since.map_or(0, |since| since.as_millis() as u64))
    }

    /// An empty one: nothing here looks through a mapping, where a medium error is a signal.
    fn map(&self) -> io::Result<Arc<Map>> {
        MemoryDisk::new().create("empty", 0)?.map()
    }
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}
