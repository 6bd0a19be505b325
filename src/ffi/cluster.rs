//! Leadership and membership.

use std::ffi::{CString, c_char, c_void};

use super::callback::call;
use super::guard::{self, Context, Waits};
use super::handle;
use super::log::dl_log;
use super::status::{dl_error, dl_status};
use super::text;
use crate::error::{Error, Result, Status};
use crate::group::changes::CHANGES_MAX;
use crate::group::{MemberChange, MemberOp};

/// To node_id, or with 0 to the best voter.  Leader only.  Appends are refused meanwhile
/// (DL_E_TRANSFERRING): up to one election.timeout until what is in flight is committed, and up to
/// one more until the other leads, also beyond timeout_ms.  DL_OK: the other leads.
/// DL_E_NO_MEMBER: no such voter.  DL_E_CHANGE_PENDING: another transfer is under way.
/// DL_E_TIMED_OUT: it did not take it, or not yet.  With timeout_ms 0 it begins and returns: watch
/// the events.  [waits]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_transfer_leader(
    log: *mut dl_log,
    node_id: u64,
    timeout_ms: u32,
    err: *mut dl_error,
) -> dl_status {
    let transfer = || {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::with_timeout(timeout_ms)) }?;
        handle.group.transfer_leader(node_id, handle::limit(timeout_ms))
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, transfer) }
}

/// An op of dl_change: needs address.
pub const DL_MEMBER_ADD_LEARNER: u32 = 1;
/// Learner to voter, once it has caught up.
pub const DL_MEMBER_PROMOTE: u32 = 2;
pub const DL_MEMBER_DEMOTE: u32 = 3;
pub const DL_MEMBER_REMOVE: u32 = 4;
/// New address.
pub const DL_MEMBER_MOVE: u32 = 5;

/// One change of the members.  Frozen: 24 bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_change {
    /// DL_MEMBER_...
    pub op: u32,
    pub reserved: u32,
    pub node_id: u64,
    /// Of ADD_LEARNER and MOVE, "host:port"; else NULL, or DL_E_INVALID.
    pub address: *const c_char,
}

/// All n changes in one step; DL_MEMBER_MOVE not together with others.  Leader only, and it does
/// not remove or demote itself.  DL_OK: in force here.  DL_E_CHANGE_PENDING: another one is under
/// way.  DL_E_LEADER_LOST, DL_E_TIMED_OUT: what was proposed goes on, and may be made.  With
/// timeout_ms 0 it checks, begins and returns: watch the events.  A learner is promoted once it has
/// what the leader has now: until timeout_ms, or with 0 for up to 60 s, the promotion waits for
/// it, and is the one under way.  [waits]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_change_members(
    log: *mut dl_log,
    changes: *const dl_change,
    n: usize,
    timeout_ms: u32,
    err: *mut dl_error,
) -> dl_status {
    let change = || {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::with_timeout(timeout_ms)) }?;
        if changes.is_null() || n == 0 {
            return Err(Error::Invalid("no changes are given".into()));
        }
        if n > CHANGES_MAX {
            let why = format!("{n} changes in one call; allowed: 1 to {CHANGES_MAX}");
            return Err(Error::Invalid(why.into()));
        }
        // SAFETY: not NULL, and the caller has n of them.
        let given = unsafe { std::slice::from_raw_parts(changes, n) };
        // SAFETY: what the caller's changes point to is text, or NULL.
        let changes: Result<Vec<_>> = given.iter().map(|c| unsafe { member_change(c) }).collect();
        handle.group.change_members(changes?, handle::limit(timeout_ms))
    };
    // SAFETY: `err` is the caller's, or NULL.
    unsafe { guard::explained(err, change) }
}

/// # Safety
/// The address is NULL or ends with a NUL.
unsafe fn member_change(change: &dl_change) -> Result<MemberChange> {
    let op = match change.op {
        DL_MEMBER_ADD_LEARNER => MemberOp::AddLearner,
        DL_MEMBER_PROMOTE => MemberOp::Promote,
        DL_MEMBER_DEMOTE => MemberOp::Demote,
        DL_MEMBER_REMOVE => MemberOp::Remove,
        DL_MEMBER_MOVE => MemberOp::Move,
        op => {
            let why = format!("{op} is no op of dl_change; allowed: 1 to 5, see DL_MEMBER_...");
            return Err(Error::Invalid(why.into()));
        }
    };
    if change.reserved != 0 {
        return Err(Error::Invalid("dl_change.reserved must be 0".into()));
    }
    let address = match change.address.is_null() {
        true => None,
        // SAFETY: the caller's promise.
        false => match unsafe { text::given(change.address, "address of a member") } {
            Ok(address) => Some(address.to_owned()),
            Err(error) => return Err(Error::Invalid(error.to_string().into())),
        },
    };
    Ok(MemberChange { op, id: change.node_id, address })
}

/// One member.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dl_member {
    /// Out: sizeof(dl_member) in the library.
    pub size: u32,
    pub voter: u32,
    pub node_id: u64,
    pub address: *const c_char,
    /// 0 unless known here (on the leader).
    pub match_index: u64,
    /// Since it was last heard; UINT64_MAX = never.
    pub contact_ms: u64,
}

/// Called for one member; *m is valid for that call.
pub type dl_member_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, m: *const dl_member)>;

/// Calls fn here and now for each member.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dl_members(
    log: *mut dl_log,
    r#fn: dl_member_fn,
    user_data: *mut c_void,
) -> dl_status {
    guard::status(|| {
        // SAFETY: the header's rules for `log`.
        let handle = unsafe { handle::get(log, Waits::No) }?;
        let show = r#fn.ok_or(Status::Invalid)?;
        for member in handle.group.members() {
            let address = CString::new(member.address).unwrap_or_default();
            let contact_ms = |ago: std::time::Duration| u64::try_from(ago.as_millis());
            let shown = dl_member {
                size: size_of::<dl_member>() as u32,
                voter: member.voter.into(),
                node_id: member.id,
                address: address.as_ptr(),
                match_index: member.match_index.0,
                contact_ms: member.contact.map_or(Ok(u64::MAX), contact_ms).unwrap_or(u64::MAX),
            };
            // SAFETY: the caller's function, with its pointer; `shown` lives until it returns.
            call(Context::CALLBACK, "dl_member_fn", || unsafe { show(user_data, &shown) });
        }
        Ok(())
    })
}
