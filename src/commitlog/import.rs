//! Opening a directory that DLedger wrote. Its records have no checksums and no batches: below the
//! noted end a Raft term is the header's term + 1 and a Raft index the record's index + 1 (the
//! engine answers term 0 for what it does not have, and DLedger's terms begin at 0). No record is
//! changed, so going back stays possible. Behind DLedger's end an open leaves zeros, as behind any:
//! what it cut and wrote over is still there, and could become records again.
//!
//! State files (`MemberState`, `DLedgerMmapFileStore`): Java properties beside `data/`, `currterm`
//! (`currTerm`, `voteLeader`) and `checkpoint` (`endIndex`, `committedIndex`; 0.3 line only).

use crate::commitlog::index::IndexUnit;
use crate::commitlog::record::{HEADER, Header, MAGIC_BLANK};
use crate::commitlog::segment::Segment;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::types::{Anchor, Index, RaftIndex};

/// What DLedger's state files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether `currterm` is there.
    pub found: bool,
    /// `currTerm`.
    pub term: u64,
    /// `committedIndex`; `None` if not told.
    pub committed: Option<Index>,
}

/// The Raft term of a record that DLedger wrote.
pub fn raft_term(term: u64) -> u64 {
    term + 1
}

/// The anchor behind a record that DLedger wrote.
pub fn anchor_behind(unit: &IndexUnit) -> Anchor {
    let raft_index = RaftIndex(unit.index.0 + 1);
    Anchor {
        index: unit.index + 1,
        pos: unit.pos + u64::from(unit.size),
        raft_index,
        term: raft_term(unit.term),
        chain: 0,
        batch: raft_index,
    }
}

/// Reads DLedger's state files, if they are there.
pub fn state(disk: &dyn Disk) -> Result<State> {
    let term = property(disk, "currterm", "currTerm")?;
    let committed = property(disk, "checkpoint", "committedIndex")?;
    Ok(State {
        found: term.is_some(),
        term: term.and_then(|t| u64::try_from(t).ok()).unwrap_or(0),
        committed: committed.and_then(|i| u64::try_from(i).ok()).map(Index),
    })
}

/// The anchor before the first record of a directory that DLedger wrote; `None` if the first
/// segment does not begin with a record of DLedger's, perhaps behind a blank (`resetOffset`). `read`
/// grows by the bytes that were read.
pub fn begin(first: &Segment, read: &mut u64) -> Result<Option<Anchor>> {
    let mut at = 0;
    loop {
        let mut bytes = [0; HEADER];
        if at + HEADER as u64 > first.bytes {
            return Ok(None);
        }
        first
            .file
            .read_at(&mut bytes, at)
            .map_err(|e| Error::io(super::segment::path(first.pos), e))?;
        *read += HEADER as u64;
        let header = Header::decode(&bytes);
        if header.magic == MAGIC_BLANK && header.size >= 8 && at == 0 {
            at = u64::from(header.size);
            continue;
        }
        let fits = header.is_whole() && header.is_dledgers() && header.pos == first.pos + at;
        return Ok(fits.then(|| {
            let raft_index = RaftIndex(header.index.0);
            let (index, pos) = (header.index, header.pos);
            Anchor { index, pos, raft_index, term: 0, chain: 0, batch: raft_index }
        }));
    }
}

/// The value of a key in a file of Java properties; `None` if there is no such file or key.
fn property(disk: &dyn Disk, path: &str, key: &str) -> Result<Option<i64>> {
    let file = match disk.open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::io(path, e))?,
    };
    let len = file.len().map_err(|e| Error::io(path, e))?.min(LONGEST_STATE);
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, 0).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    match value.map(|v| v.trim().parse()) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(Error::corrupt(0, format!("{path}: {key} is not a number"))),
    }
}

/// DLedger's state files have two short lines.
const LONGEST_STATE: u64 = 4096;
