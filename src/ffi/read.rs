//! Reads: views, pinned segments, copies. A view owns its pins alone, without the handle: it stays
//! readable after dl_close, and in the end it is released from whatever thread.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::slice;
use std::time::Duration;

use super::guard::{self, Waits};
use super::handle;
use super::log::dl_log;
use super::sized::{self, Growing};
use super::status::dl_status;
use super::types::{dl_entry, dl_segment, dl_view};
use crate::error::Status;
use crate::group::{PinnedSegment, ReadOptions, View};
use crate::types::Index;

/// A flag of dl_read_opts: compare checksums.
pub const DL_READ_VERIFY: u32 = 1;
/// Read ahead.
pub const DL_READ_SEQUENTIAL: u32 = 2;

/// How to read; NULL instead is DL_READ_OPTS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_read_opts {
    /// In: sizeof(dl_read_opts).
    pub size: u32,
    /// DL_READ_...
    pub flags: u32,
    /// 0 = 1.
    pub max_entries: u32,
    /// How long to wait for the first entry to be committed.
    pub timeout_ms: u32,
    /// 0 = no limit; the first entry comes in any case.
    pub max_bytes: u64,
}

/// Pins committed entries from `index` on, without a copy, as many as the limits allow and lie
/// in one segment.  Release *out with dl_view_release().  opts may be NULL: one entry, now.  To
/// scan, go on at out->next_index; with a timeout this follows the log.  DL_E_COMPACTED;
/// DL_E_NOT_COMMITTED, also when the time is over.  [waits] with a timeout only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_read(
    log: *mut dl_log,
    index: u64,
    opts: *const dl_read_opts,
    out: *mut dl_view,
) -> dl_status {
    guard::status(|| {
        // SAFETY: NULL or the caller's struct.
        let options = unsafe { options(opts) }?;
        let waits = if options.wait == Some(Duration::ZERO) { Waits::No } else { Waits::Yes };
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, waits) }?;
        if out.is_null() {
            return Err(Status::Invalid);
        }
        let view = handle.group.read(Index(index), &options)?;
        // SAFETY: not NULL, the caller's to be written.
        unsafe { out.write(pin(view, handle.generation, true)) };
        Ok(())
    })
}

/// Pins committed bytes from any position on: up to max_len, the end of the segment or
/// committed.pos.  out->entries is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_read_pos(
    log: *mut dl_log,
    pos: u64,
    max_len: usize,
    out: *mut dl_view,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if out.is_null() {
            return Err(Status::Invalid);
        }
        let view = handle.group.read_pos(pos, max_len)?;
        // SAFETY: not NULL, the caller's to be written.
        unsafe { out.write(pin(view, handle.generation, false)) };
        Ok(())
    })
}

/// Copies one body into buf by read(2), and verifies it.  DL_E_TOO_LARGE: *out is filled in all
/// the same and tells body_len.  out->body is buf.  out may be NULL, and buf if cap is 0.  What is
/// in buf after a failure is undefined.  [waits] for the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_read_copy(
    log: *mut dl_log,
    index: u64,
    buf: *mut c_void,
    cap: usize,
    out: *mut dl_entry,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::Yes) }?;
        if cap > isize::MAX as usize || (buf.is_null() && cap != 0) {
            return Err(Status::Invalid);
        }
        let room = match cap {
            0 => &mut [],
            // SAFETY: `cap` bytes of the caller to be written, and all of them may be looked at
            // as bytes since nothing but writes is done with them.
            _ => unsafe { slice::from_raw_parts_mut(buf.cast::<u8>(), cap) },
        };
        let (status, entry) = match handle.group.read_copy(Index(index), room) {
            Ok(entry) => (Status::Ok, Some(entry)),
            Err((status, entry)) => (status, entry.filter(|_| status == Status::TooLarge)),
        };
        if let (Some(entry), false) = (entry, out.is_null()) {
            // SAFETY: not NULL, the caller's to be written.
            unsafe { out.write(dl_entry::new(&entry, buf.cast_const().cast())) };
        }
        handle::check(status)
    })
}

/// Which committed entry has the byte at pos?  In a blank: the next one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_index_at(log: *mut dl_log, pos: u64, index: *mut u64) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if index.is_null() {
            return Err(Status::Invalid);
        }
        let found = handle.group.index_at(pos)?;
        // SAFETY: not NULL, the caller's to be written.
        unsafe { index.write(found.0) };
        Ok(())
    })
}

/// Unpins, and clears *view: twice is harmless, but release only one of two copies.  Until then
/// the file keeps its blocks on disk, deleted or not.  Also after dl_stop() and dl_close().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_view_release(view: *mut dl_view) {
    guard::catch(
        |_| (),
        || {
            // SAFETY: NULL or the caller's, used by one thread at a time.
            let Some(view) = (unsafe { view.as_mut() }) else { return };
            // SAFETY: a view that `pin` made, or one that is cleared.
            if unsafe { unpin::<(View, Entries)>(&mut view.r#priv) } {
                *view = NO_VIEW;
            }
        },
    )
}

/// Pins the whole segment that has `pos`, for a caller that keeps its own table of segments (one
/// DirectByteBuffer each, say) and reads without a call.  Release *out with dl_segment_unpin().
/// DL_E_COMPACTED; DL_E_NOT_COMMITTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_segment_pin(
    log: *mut dl_log,
    pos: u64,
    out: *mut dl_segment,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        if out.is_null() {
            return Err(Status::Invalid);
        }
        let segment = handle.group.pin_segment(pos)?;
        let pinned = dl_segment {
            base: segment.as_ptr(),
            pos: segment.pos(),
            size: segment.size(),
            begin: segment.begin(),
            r#priv: keep(segment, handle.generation),
        };
        // SAFETY: not NULL, the caller's to be written.
        unsafe { out.write(pinned) };
        Ok(())
    })
}

/// Unpins, and clears *segment, as dl_view_release() does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_segment_unpin(segment: *mut dl_segment) {
    guard::catch(
        |_| (),
        || {
            // SAFETY: NULL or the caller's, used by one thread at a time.
            let Some(segment) = (unsafe { segment.as_mut() }) else { return };
            // SAFETY: a segment that was pinned, or one that is cleared.
            if unsafe { unpin::<PinnedSegment>(&mut segment.r#priv) } {
                *segment = NO_SEGMENT;
            }
        },
    )
}

// SAFETY: repr(C), plain numbers behind a u32.
unsafe impl Growing for dl_read_opts {}

/// # Safety
/// NULL, or the caller's struct.
unsafe fn options(opts: *const dl_read_opts) -> Result<ReadOptions, Status> {
    if opts.is_null() {
        let now = Some(Duration::ZERO);
        return Ok(ReadOptions { max_entries: 1, wait: now, ..ReadOptions::default() });
    }
    // SAFETY: the caller's promise.
    let opts = unsafe { sized::read(opts) }?;
    if opts.flags & !(DL_READ_VERIFY | DL_READ_SEQUENTIAL) != 0 {
        return Err(Status::Unsupported);
    }
    Ok(ReadOptions {
        max_entries: opts.max_entries,
        max_bytes: opts.max_bytes,
        wait: handle::limit(opts.timeout_ms),
        verify: opts.flags & DL_READ_VERIFY != 0,
        sequential: opts.flags & DL_READ_SEQUENTIAL != 0,
    })
}

/// What a pin of ours keeps, and in which process it was made.
struct Kept<T> {
    generation: u64,
    what: T,
}

/// The entries as C sees them; one, the most frequent number, without memory of its own.
enum Entries {
    One(dl_entry),
    Many(Vec<dl_entry>),
}

// SAFETY: they point into the view that is kept beside them, and which may be sent.
unsafe impl Send for Entries {}

/// The view in C's hands.
fn pin(view: View, generation: u64, with_entries: bool) -> dl_view {
    let bytes = view.bytes();
    let shown = dl_view {
        data: bytes.as_ptr(),
        len: bytes.len(),
        pos: view.pos(),
        next_index: view.next_index().0,
        ..NO_VIEW
    };
    if !with_entries {
        return dl_view { r#priv: keep((view, Entries::Many(Vec::new())), generation), ..shown };
    }
    let entry_of = |entry: &crate::group::Entry| {
        let shape = dl_entry::new(entry, null());
        let at = (shape.body_pos - shown.pos) as usize;
        dl_entry { body: bytes[at..at + entry.body_len as usize].as_ptr(), ..shape }
    };
    let entries = match view.entries() {
        [one] => Entries::One(entry_of(one)),
        many => Entries::Many(many.iter().map(entry_of).collect()),
    };
    let kept = keep((view, entries), generation);
    // SAFETY: just made by `keep`, and nobody else has it.
    let (_, entries) = unsafe { &(*kept[0].cast::<Kept<(View, Entries)>>()).what };
    let entries = match entries {
        Entries::One(one) => slice::from_ref(one),
        Entries::Many(many) => many,
    };
    dl_view { entries: entries.as_ptr(), count: entries.len(), r#priv: kept, ..shown }
}

fn keep<T: Send>(what: T, generation: u64) -> [*mut c_void; 2] {
    [Box::into_raw(Box::new(Kept { generation, what })).cast(), null_mut()]
}

/// Gives back what was kept, once. A forked child leaves it: the parent's locks may be held there
/// by threads that do not exist.
///
/// # Safety
/// `kept` is zeros, or came from `keep` with this `T`.
unsafe fn unpin<T>(kept: &mut [*mut c_void; 2]) -> bool {
    let here = kept[0].cast::<Kept<T>>();
    // SAFETY: the caller's promise.
    match unsafe { here.as_ref() } {
        Some(pin) if pin.generation == guard::generation() => {}
        _ => return false,
    }
    *kept = [null_mut(); 2];
    // SAFETY: made as a Box by `keep`, and cleared above, so taken once.
    drop(unsafe { Box::from_raw(here) });
    true
}

const NO_VIEW: dl_view = dl_view {
    data: null(),
    len: 0,
    pos: 0,
    entries: null(),
    count: 0,
    next_index: 0,
    r#priv: [null_mut(); 2],
};

const NO_SEGMENT: dl_segment =
    dl_segment { base: null(), pos: 0, size: 0, begin: 0, r#priv: [null_mut(); 2] };
