//! One error type; each variant is what a caller can do about it, and maps to one C status.

use std::borrow::Cow;
use std::io;

/// The statuses of the C ABI. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs)] // documented where the header takes them from: ffi/status.rs
pub enum Status {
    Ok = 0,
    Invalid = -1,
    Config = -2,
    Version = -3,
    Stopped = -4,
    Deadlock = -5,
    Forked = -6,
    Locked = -7,
    TooLarge = -8,
    Unsupported = -9,
    Resource = -10,
    NotLeader = -100,
    NotReady = -101,
    Transferring = -102,
    PendingFull = -103,
    TimedOut = -104,
    LeaderLost = -105,
    TermChanged = -106,
    ChangePending = -107,
    NoMember = -108,
    Rejected = -109,
    Behind = -110,
    Compacted = -200,
    NotCommitted = -201,
    Io = -300,
    DiskFull = -301,
    Corrupt = -302,
    Failed = -400,
    Panic = -401,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bare answer: the status says it all. The append and read paths use it: it allocates
    /// nothing.
    #[error("{0:?}")]
    Status(Status),
    /// A status, and what it means here.
    #[error("{1}")]
    Explained(Status, Cow<'static, str>),
    /// The call was wrong.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// An option is unknown, or does not take the value.
    #[error("{0}")]
    Config(String),
    /// Files or header do not fit this library; nothing was touched.
    #[error("{0}")]
    Version(String),
    /// Another process, or another handle, has the directory.
    #[error("the directory is in use by another process or handle")]
    Locked,
    /// Memory, threads or descriptors ran out.
    #[error("{what}: {source}")]
    Resource {
        /// What was wanted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no descriptor for a file. There may be one later, as room on a full disk.
    #[error("no descriptor: {what}: {source}")]
    Descriptors {
        /// What was wanted.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk is full.
    #[error("disk full: {what}: {source}")]
    DiskFull {
        /// What was wanted.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the file's name.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Bytes on disk that were durable are not what was written.
    #[error("damaged at position {pos}: {what}")]
    Corrupt {
        /// Position in the log, or in the file that `what` names.
        pos: u64,
        /// What is wrong there.
        what: String,
    },
    /// A bug in this library, caught.
    #[error("{0}")]
    Bug(String),
}

impl Error {
    /// The status that the C ABI answers.
    pub fn status(&self) -> Status {
        match self {
            Error::Status(status) | Error::Explained(status, _) => *status,
            Error::Invalid(_) => Status::Invalid,
            Error::Config(_) => Status::Config,
            Error::Version(_) => Status::Version,
            Error::Locked => Status::Locked,
            Error::Resource { .. } | Error::Descriptors { .. } => Status::Resource,
            Error::DiskFull { .. } => Status::DiskFull,
            Error::Io { .. } => Status::Io,
            Error::Corrupt { .. } => Status::Corrupt,
            Error::Bug(_) => Status::Panic,
        }
    }

    /// The system's error number, or 0 if the system had no part in it.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Resource { source, .. }
            | Error::Descriptors { source, .. }
            | Error::DiskFull { source, .. }
            | Error::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether what was lacking may be there later: room on the disk, or a descriptor. Until a sync
    /// has failed for it nothing is lost by trying again.
    pub fn may_pass(&self) -> bool {
        matches!(self, Error::DiskFull { .. } | Error::Descriptors { .. })
    }

    /// An error while doing `what` with the disk; a full disk has a variant of its own, and what the
    /// system lacked is no fault of the disk's.
    pub fn io(what: impl Into<String>, source: io::Error) -> Error {
        let what = what.into();
        match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => return Error::Descriptors { what, source },
            Some(libc::ENOMEM) => return Error::Resource { what: "memory for a file", source },
            _ => {}
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::DiskFull { what, source }
            }
            _ => Error::Io { what, source },
        }
    }

    /// The same of a sync. A failed one is final, whatever the system called it: what it did not write
    /// may count as written from then on.
    pub fn sync(what: impl Into<String>, source: io::Error) -> Error {
        match Error::io(what, source) {
            Error::DiskFull { what, source } => Error::Io { what, source },
            other => other,
        }
    }

    /// Damage at `pos`.
    pub fn corrupt(pos: u64, what: impl Into<String>) -> Error {
        Error::Corrupt { pos, what: what.into() }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        Error::Status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the system lacked is not the disk's fault, and keeps its number.
    #[test]
    fn what_the_system_lacks_is_a_resource() {
        for (errno, status) in [
            (libc::EMFILE, Status::Resource),
            (libc::ENFILE, Status::Resource),
            (libc::ENOMEM, Status::Resource),
            (libc::ENOSPC, Status::DiskFull),
            (libc::EDQUOT, Status::DiskFull),
            (libc::EIO, Status::Io),
        ] {
            let error = Error::io("data", io::Error::from_raw_os_error(errno));
            assert_eq!((error.status(), error.errno()), (status, errno));
        }
    }
}
