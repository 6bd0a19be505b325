//! Deliberate mistakes, each of which the simulator must catch: the tests are tested. Without the
//! feature `planted-bugs` there are none, and the questions cost nothing.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Plant {
    /// Acknowledge what is not synced.
    AckBeforeSync,
    /// Do not write term and vote.
    VoteNotSynced,
    /// Deliver what is written, before it is agreed.
    DeliverBeforeCommit,
    /// Do not sync the directory after a roll.
    SkipDirectorySync,
    /// Recovery cuts at the first checksum that does not match, wherever it is.
    TruncateAtFirstBadCrc,
    /// A leader counts the members that have an entry of an earlier term, sent without one of its
    /// own, and takes it for agreed.
    CommitOldTerm,
    /// An open drops what `meta` does not say was agreed.
    TruncateBelowCommit,
    /// A new directory gets the incarnation that the one before it had.
    IncarnationKept,
    /// A reset drops the records before `meta` says so.
    ResetNotAtomic,
    /// A read barrier joins one that was asked for before it, and may have been answered by now.
    BarrierJoinsLate,
}

/// Mistakes that are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plants(#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code))] u32);

impl Plants {
    /// None.
    pub const NONE: Plants = Plants(0);

    /// One.
    #[cfg(feature = "planted-bugs")]
    pub fn one(plant: Plant) -> Plants {
        Plants(1 << plant as u32)
    }

    /// Whether this one is made.
    #[cfg(feature = "planted-bugs")]
    pub fn on(self, plant: Plant) -> bool {
        self.0 & (1 << plant as u32) != 0
    }

    /// Whether this one is made.
    #[cfg(not(feature = "planted-bugs"))]
    pub fn on(self, _plant: Plant) -> bool {
        false
    }
}
