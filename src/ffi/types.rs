//! The types that several sections share: the handles, places in the log, entries, completions,
//! pinned pieces, the state. Layouts are frozen or grow at their end; the header asserts sizes.

use std::ffi::c_void;

use super::status::dl_status;
use crate::group::{Completion, Entry, State};
use crate::types::Mark;

/// Called once when `user_data` is not needed any more.  Like a callback it may call anything that
/// is not [waits], also on the log that dl_close is closing: that one answers as after dl_stop, and
/// nothing can be registered with it.
pub type dl_drop_fn = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

/// A boundary in the log: the first entry, and the first byte, behind it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_mark {
    pub index: u64,
    pub pos: u64,
}

/// One entry.  Index, term and positions are equal on all members.  Frozen: 64 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_entry {
    /// From 0, without gaps: the library's own Raft entries take none.
    pub index: u64,
    pub term: u64,
    /// Of the 48-byte header, in bytes from the beginning of time.
    pub pos: u64,
    /// = pos + 48: the broker's physical offset.
    pub body_pos: u64,
    /// NULL where no bytes come with it.
    pub body: *const u8,
    pub body_len: u32,
    /// 48 + body_len: the header's size field.
    pub size: u32,
    pub reserved: [u64; 2],
}

/// The end of one append.  Frozen: 48 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_completion {
    pub user_data: *mut c_void,
    /// DL_OK: committed.  Else ask DL_IS_MAYBE_COMMITTED.
    pub status: dl_status,
    /// Entries of the call.
    pub count: u32,
    /// Of its first entry, as term and pos.
    pub index: u64,
    pub term: u64,
    pub pos: u64,
    pub reserved: u64,
}

/// A pinned piece of the log.  Frozen: 64 bytes.
#[repr(C)]
pub struct dl_view {
    /// Bytes pos .. pos + len, records with their headers.
    pub data: *const u8,
    pub len: usize,
    pub pos: u64,
    /// NULL from dl_read_pos().
    pub entries: *const dl_entry,
    pub count: usize,
    /// Where to go on reading.
    pub next_index: u64,
    pub r#priv: [*mut c_void; 2],
}

/// One data segment, mapped whole and pinned.  Frozen: 48 bytes.
#[repr(C)]
pub struct dl_segment {
    /// segment.bytes long; read only below dl_state.committed.pos.
    pub base: *const u8,
    /// Position of base[0]: a multiple of segment.bytes.
    pub pos: u64,
    /// = segment.bytes.
    pub size: u64,
    /// First valid position in it.
    pub begin: u64,
    pub r#priv: [*mut c_void; 2],
}

/// Not started, or stopped.
pub const DL_ROLE_STOPPED: u32 = 0;
pub const DL_ROLE_FOLLOWER: u32 = 1;
pub const DL_ROLE_CANDIDATE: u32 = 2;
pub const DL_ROLE_LEADER: u32 = 3;
/// Receives the log and has no vote.
pub const DL_ROLE_LEARNER: u32 = 4;

/// How things are; always begin <= committed <= end and flushed <= end, index and pos alike.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_state {
    /// In: sizeof(dl_state).
    pub size: u32,
    /// DL_ROLE_...
    pub role: u32,
    /// 1: leader, and its term has a committed entry.
    pub ready: u32,
    pub open_views: u32,
    pub node_id: u64,
    /// 0 = unknown.
    pub leader_id: u64,
    pub term: u64,
    /// Kept: begin.index <= i.
    pub begin: dl_mark,
    /// Readable: i < committed.index.
    pub committed: dl_mark,
    /// On this member's disk: i < flushed.index.
    pub flushed: dl_mark,
    /// Appended: i < end.index.
    pub end: dl_mark,
}

/// Levels of dl_set_trace().
pub const DL_LEVEL_ERROR: u32 = 1;
pub const DL_LEVEL_WARN: u32 = 2;
pub const DL_LEVEL_INFO: u32 = 3;
pub const DL_LEVEL_DEBUG: u32 = 4;
pub const DL_LEVEL_TRACE: u32 = 5;

/// Bytes of a record before its body.
const HEADER_BYTES: u32 = 48;

impl dl_entry {
    /// The entry with its body at `body`, which may be NULL.
    pub(super) fn new(entry: &Entry, body: *const u8) -> dl_entry {
        dl_entry {
            index: entry.index.0,
            term: entry.term,
            pos: entry.pos,
            body_pos: entry.pos + u64::from(HEADER_BYTES),
            body,
            body_len: entry.body_len,
            size: entry.body_len.saturating_add(HEADER_BYTES),
            reserved: [0; 2],
        }
    }
}

impl From<Mark> for dl_mark {
    fn from(mark: Mark) -> dl_mark {
        dl_mark { index: mark.index.0, pos: mark.pos }
    }
}

impl From<&Completion> for dl_completion {
    fn from(end: &Completion) -> dl_completion {
        dl_completion {
            user_data: std::ptr::with_exposed_provenance_mut(end.token.user_data),
            status: end.status as dl_status,
            count: end.count,
            index: end.index.0,
            term: end.term,
            pos: end.pos,
            reserved: 0,
        }
    }
}

impl From<&State> for dl_state {
    fn from(state: &State) -> dl_state {
        dl_state {
            size: size_of::<dl_state>() as u32,
            role: state.role as u32,
            ready: state.ready.into(),
            open_views: state.open_views,
            node_id: state.node_id,
            leader_id: state.leader_id,
            term: state.term,
            begin: state.begin.into(),
            committed: state.committed.into(),
            flushed: state.flushed.into(),
            end: state.end.into(),
        }
    }
}
