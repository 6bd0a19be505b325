//! The numbers that name a place in the log. A record index and a Raft index never mix: each is a
//! type of its own. Positions and terms are plain `u64`.

use std::fmt;
use std::ops::{Add, Sub};

/// Place of a record: from 0, dense. Raft's own entries take none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// Place of a Raft entry: from 1; counts batches and control entries. 0 is the place before the
/// first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftIndex(pub u64);

macro_rules! counts {
    ($name:ident) => {
        impl Add<u64> for $name {
            type Output = $name;
            fn add(self, n: u64) -> $name {
                $name(self.0 + n)
            }
        }
        impl Sub<u64> for $name {
            type Output = $name;
            fn sub(self, n: u64) -> $name {
                $name(self.0 - n)
            }
        }
        impl Sub<$name> for $name {
            type Output = u64;
            fn sub(self, other: $name) -> u64 {
                self.0 - other.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
counts!(Index);
counts!(RaftIndex);

/// A boundary in the log: the first record, and the first byte, behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The first record behind the boundary.
    pub index: Index,
    /// The first byte behind the boundary, in bytes from the beginning of time.
    pub pos: u64,
}

/// The state of the log just behind one Raft entry: all that is needed to go on from there, to
/// scan from there, or to begin there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The first record behind it.
    pub index: Index,
    /// The first byte behind it.
    pub pos: u64,
    /// The Raft entry it stands behind; 0 at the beginning of time.
    pub raft_index: RaftIndex,
    /// The Raft term of that entry.
    pub term: u64,
    /// chainCrc of the last record before it.
    pub chain: u32,
    /// The Raft index of the last batch at or before it. `raft_index - batch` control entries
    /// stand between that batch and this anchor.
    pub batch: RaftIndex,
}

impl Anchor {
    /// The boundary in records and bytes.
    pub fn mark(&self) -> Mark {
        Mark { index: self.index, pos: self.pos }
    }
}
