//! Statuses, their names and sentences, the questions one may ask of them, and the version.
//! Numbers are never reused; [`crate::error::Status`] has the same ones.

use std::ffi::{CStr, c_char, c_int};

use super::guard;
use crate::error::{Error, Status};

/// DL_OK or one of the negative numbers DL_E_...
pub type dl_status = i32;

pub const DL_OK: i32 = 0;

/// The call was wrong: bad argument.
pub const DL_E_INVALID: i32 = -1;
/// Unknown option, or a value it does not take.
pub const DL_E_CONFIG: i32 = -2;
/// Header, library or files on disk do not fit each other.
pub const DL_E_VERSION: i32 = -3;
/// Not started, or stopped.
pub const DL_E_STOPPED: i32 = -4;
/// A [waits] function in a callback; in a hook any that takes a log, dl_open and dl_set_trace.
pub const DL_E_DEADLOCK: i32 = -5;
/// Opened by the parent process.
pub const DL_E_FORKED: i32 = -6;
/// Another process, or another handle, has the directory.
pub const DL_E_LOCKED: i32 = -7;
/// Body over append.max.bytes or append.pending.bytes, or does not fit the buffer.
pub const DL_E_TOO_LARGE: i32 = -8;
/// Not in this version.
pub const DL_E_UNSUPPORTED: i32 = -9;
/// Memory, threads, descriptors.
pub const DL_E_RESOURCE: i32 = -10;

/// The cluster cannot now: see dl_state.leader_id.
pub const DL_E_NOT_LEADER: i32 = -100;
/// Leader without a committed entry of its term: for dl_change_members.  Appends are taken, and
/// dl_read_index waits for it.
pub const DL_E_NOT_READY: i32 = -101;
/// Leadership is on its way to another member.
pub const DL_E_TRANSFERRING: i32 = -102;
/// append.pending.max or .bytes reached, or no segment or index units are ready yet to take more;
/// nothing was appended.
pub const DL_E_PENDING_FULL: i32 = -103;
/// For an append: it may still commit.
pub const DL_E_TIMED_OUT: i32 = -104;
/// Deposed before the commit was known: it may still commit.
pub const DL_E_LEADER_LOST: i32 = -105;
/// expected_term does not hold; nothing was appended.
pub const DL_E_TERM_CHANGED: i32 = -106;
/// A membership change is under way.
pub const DL_E_CHANGE_PENDING: i32 = -107;
/// No member has this node_id.
pub const DL_E_NO_MEMBER: i32 = -108;
/// An append hook refused; nothing was appended.
pub const DL_E_REJECTED: i32 = -109;
/// This member fell behind what the others still keep.  No function of this version returns it.
pub const DL_E_BEHIND: i32 = -110;

/// The place is not in the log: before dl_state.begin.
pub const DL_E_COMPACTED: i32 = -200;
/// The place is not in the log: at or after dl_state.committed.
pub const DL_E_NOT_COMMITTED: i32 = -201;

/// The storage failed.
pub const DL_E_IO: i32 = -300;
/// The disk is full, or above disk.full.ratio.
pub const DL_E_DISK_FULL: i32 = -301;
/// Checksum or structure.  Where: *err of dl_open(); of a read, dl_failure().
pub const DL_E_CORRUPT: i32 = -302;

/// The log stopped for good: see dl_failure().
pub const DL_E_FAILED: i32 = -400;
/// A bug in the library, caught.
pub const DL_E_PANIC: i32 = -401;

/// A question for dl_status_is(): the same call may succeed here a little later.
pub const DL_IS_RETRYABLE: u32 = 1;
/// Another member can serve it now.
pub const DL_IS_REDIRECT: u32 = 2;
/// Asked about a completion or dl_append(): the append may be in the log, now or later.  What
/// dl_append_async or dl_append_batch_async refused at once was not appended.
pub const DL_IS_MAYBE_COMMITTED: u32 = 3;
/// This log will never work again; reopen it.
pub const DL_IS_FATAL: u32 = 4;

/// Details of one failure, in memory of the caller.  Frozen: 256 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_error {
    pub status: dl_status,
    /// 0 if the system had no part in it.
    pub sys_errno: i32,
    /// UTF-8, NUL-terminated.
    pub message: [c_char; 248],
}

/// "DL_E_NOT_LEADER"; static.
#[unsafe(no_mangle)]
pub extern "C" fn dl_status_name(s: dl_status) -> *const c_char {
    guard::catch(|_| UNKNOWN.name, || known(s).name).as_ptr()
}

/// One sentence; static.
#[unsafe(no_mangle)]
pub extern "C" fn dl_strerror(s: dl_status) -> *const c_char {
    guard::catch(|_| UNKNOWN.sentence, || known(s).sentence).as_ptr()
}

/// 1 if the answer to the question (DL_IS_...) is yes, else 0; for DL_OK always 0.
#[unsafe(no_mangle)]
pub extern "C" fn dl_status_is(s: dl_status, question: u32) -> c_int {
    guard::catch(|_| 0, || known(s).answers.contains(&question).into())
}

/// As DL_VERSION, at run time.
#[unsafe(no_mangle)]
pub extern "C" fn dl_version() -> u32 {
    guard::catch(|_| 0, || VERSION)
}

/// "0.1.0 (git 1a2b3c4) ..."; static.
#[unsafe(no_mangle)]
pub extern "C" fn dl_version_string() -> *const c_char {
    guard::catch(|_| UNKNOWN.name, || VERSION_STRING).as_ptr()
}

/// DL_VERSION of this library.
pub(super) const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 24
    | number(env!("CARGO_PKG_VERSION_MINOR")) << 16
    | number(env!("CARGO_PKG_VERSION_PATCH")) << 8;

/// Fills `*err`, if there is one, with a failure.
///
/// # Safety
/// `err` is NULL or may be written.
pub(super) unsafe fn explain(err: *mut dl_error, error: &Error) {
    if err.is_null() {
        return;
    }
    let status = error.status();
    let filled = match error {
        Error::Status(_) => {
            describe(status, 0, &known(status as dl_status).sentence.to_string_lossy())
        }
        _ => describe(status, error.errno(), &error.to_string()),
    };
    // SAFETY: not NULL, and ours to write.
    unsafe { err.write(filled) }
}

/// The details as C sees them: the message cut at a character's edge, if need be, and at a NUL.
pub(super) fn describe(status: Status, errno: i32, message: &str) -> dl_error {
    let mut error = dl_error { status: status as dl_status, sys_errno: errno, message: [0; 248] };
    let message = message.split('\0').next().unwrap_or_default();
    let room = error.message.len() - 1;
    let len = (0..=room.min(message.len())).rev().find(|&n| message.is_char_boundary(n));
    for (to, from) in error.message.iter_mut().zip(&message.as_bytes()[..len.unwrap_or(0)]) {
        *to = *from as c_char;
    }
    error
}

/// What is known of one status.
struct Known {
    status: dl_status,
    name: &'static CStr,
    sentence: &'static CStr,
    answers: &'static [u32],
}

fn known(status: dl_status) -> &'static Known {
    KNOWN.iter().find(|known| known.status == status).unwrap_or(&UNKNOWN)
}

const fn number(text: &str) -> u32 {
    let (mut n, mut at) = (0, 0);
    while at < text.len() {
        n = n * 10 + (text.as_bytes()[at] - b'0') as u32;
        at += 1;
    }
    n
}

const VERSION_STRING: &CStr = match CStr::from_bytes_with_nul(
    concat!(env!("CARGO_PKG_VERSION"), " (git ", env!("DLEDGER_GIT"), ")\0").as_bytes(),
) {
    Ok(text) => text,
    Err(_) => c"unknown",
};

static UNKNOWN: Known = Known {
    status: i32::MIN,
    name: c"DL_E_UNKNOWN",
    sentence: c"this is no status of this library",
    answers: &[],
};

macro_rules! known {
    ($($status:ident $sentence:literal [$($answer:ident)*])*) => {
        static KNOWN: &[Known] = &[$(Known {
            status: $status,
            // A name without NUL inside, and with one at its end.
            name: match CStr::from_bytes_with_nul(concat!(stringify!($status), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            sentence: $sentence,
            answers: &[$($answer),*],
        }),*];
    };
}

// What an append that was taken may end with, and be in the log all the same, is MAYBE: also
// STOPPED, FAILED, IO and PANIC, which end what waits without knowing.
known! {
    DL_OK c"success" []
    DL_E_INVALID c"an argument is invalid" []
    DL_E_CONFIG c"an option is unknown, or does not take this value" []
    DL_E_VERSION c"header, library or files on disk do not fit each other" []
    DL_E_STOPPED c"the log is not started, or stopped" [DL_IS_MAYBE_COMMITTED]
    DL_E_DEADLOCK c"this function may not be called in a callback or hook" []
    DL_E_FORKED c"the log was opened by the parent process" [DL_IS_FATAL]
    DL_E_LOCKED c"the directory is in use by another process or handle" [DL_IS_RETRYABLE]
    DL_E_TOO_LARGE c"the body is too large, or does not fit the buffer" []
    DL_E_UNSUPPORTED c"this version of the library does not support it" []
    DL_E_RESOURCE c"memory, threads or descriptors ran out" [DL_IS_RETRYABLE]
    DL_E_NOT_LEADER c"this member is not the leader" [DL_IS_REDIRECT]
    DL_E_NOT_READY c"the leader has no committed entry of its term yet" [DL_IS_RETRYABLE]
    DL_E_TRANSFERRING c"leadership is on its way to another member" [DL_IS_RETRYABLE]
    DL_E_PENDING_FULL c"too many appends are in flight" [DL_IS_RETRYABLE]
    DL_E_TIMED_OUT c"the time is over" [DL_IS_RETRYABLE DL_IS_MAYBE_COMMITTED]
    DL_E_LEADER_LOST c"leadership was lost before the commit was known"
        [DL_IS_REDIRECT DL_IS_MAYBE_COMMITTED]
    DL_E_TERM_CHANGED c"the expected term does not hold" []
    DL_E_CHANGE_PENDING c"a membership change is under way" [DL_IS_RETRYABLE]
    DL_E_NO_MEMBER c"no member has this id" []
    DL_E_REJECTED c"an append hook refused" []
    DL_E_BEHIND c"this member fell behind what the others still keep" [DL_IS_REDIRECT]
    DL_E_COMPACTED c"the place lies before the begin of the log" []
    DL_E_NOT_COMMITTED c"the place is not committed yet" [DL_IS_RETRYABLE]
    DL_E_IO c"the storage failed" [DL_IS_MAYBE_COMMITTED]
    DL_E_DISK_FULL c"the disk is full" [DL_IS_RETRYABLE]
    DL_E_CORRUPT c"what is on disk is damaged" []
    DL_E_FAILED c"the log failed and stopped for good" [DL_IS_FATAL DL_IS_MAYBE_COMMITTED]
    DL_E_PANIC c"a bug in the library was caught" [DL_IS_FATAL DL_IS_MAYBE_COMMITTED]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the header and of [`Status`] are one set.
    #[test]
    fn statuses_are_those_of_the_crate() {
        let ours = [
            (DL_OK, Status::Ok),
            (DL_E_INVALID, Status::Invalid),
            (DL_E_CONFIG, Status::Config),
            (DL_E_VERSION, Status::Version),
            (DL_E_STOPPED, Status::Stopped),
            (DL_E_DEADLOCK, Status::Deadlock),
            (DL_E_FORKED, Status::Forked),
            (DL_E_LOCKED, Status::Locked),
            (DL_E_TOO_LARGE, Status::TooLarge),
            (DL_E_UNSUPPORTED, Status::Unsupported),
            (DL_E_RESOURCE, Status::Resource),
            (DL_E_NOT_LEADER, Status::NotLeader),
            (DL_E_NOT_READY, Status::NotReady),
            (DL_E_TRANSFERRING, Status::Transferring),
            (DL_E_PENDING_FULL, Status::PendingFull),
            (DL_E_TIMED_OUT, Status::TimedOut),
            (DL_E_LEADER_LOST, Status::LeaderLost),
            (DL_E_TERM_CHANGED, Status::TermChanged),
            (DL_E_CHANGE_PENDING, Status::ChangePending),
            (DL_E_NO_MEMBER, Status::NoMember),
            (DL_E_REJECTED, Status::Rejected),
            (DL_E_BEHIND, Status::Behind),
            (DL_E_COMPACTED, Status::Compacted),
            (DL_E_NOT_COMMITTED, Status::NotCommitted),
            (DL_E_IO, Status::Io),
            (DL_E_DISK_FULL, Status::DiskFull),
            (DL_E_CORRUPT, Status::Corrupt),
            (DL_E_FAILED, Status::Failed),
            (DL_E_PANIC, Status::Panic),
        ];
        assert_eq!(ours.len(), KNOWN.len());
        for ((number, status), known) in ours.iter().zip(KNOWN) {
            assert_eq!(*number, *status as dl_status);
            assert_eq!(*number, known.status, "the table keeps the header's order");
        }
    }

    /// A message is cut at 247 bytes, at a character's edge, and always ends in a NUL.
    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = |error: &dl_error| -> String {
            let bytes = error.message.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
            String::from_utf8(bytes).unwrap()
        };
        for (message, len) in [
            ("x".repeat(400), 247),
            ("é".repeat(200), 246),
            (format!("x{}", "é".repeat(200)), 247),
            ("a\0b".into(), 1),
            (String::new(), 0),
        ] {
            let error = describe(Status::Io, 5, &message);
            assert!(message.starts_with(&text(&error)));
            assert_eq!(text(&error).len(), len);
            assert_eq!((error.status, error.sys_errno), (DL_E_IO, 5));
        }
    }
}
