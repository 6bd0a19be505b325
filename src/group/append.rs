//! An append, on the calling thread. The checks come in this order, each with its status: stopped
//! or failed, not leader, expected term, transferring, too large, pending full, disk full, a hook.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commitlog::record::HEADER;
use crate::error::Status;
use crate::group::clock::nanos;
use crate::group::metrics::Metrics;
use crate::group::shared::Shared;
use crate::group::staging::{Entry, Limits, Staging};
use crate::group::sync::lock_soon;
use crate::group::waiters::{Blocked, Completion, Slot, Token, Waiter};
use crate::types::Index;

/// How to append.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// `None`: `append.timeout`.
    pub timeout: Option<Duration>,
    /// 0: any; else only in this term.
    pub expected_term: u64,
}

/// Who hears of the end of an append.
enum Hears {
    Callback(Token),
    Caller(Arc<Slot>),
}

impl Shared {
    /// Appends one record; a callback hears of its end.
    pub fn append(
        &self,
        body: &[u8],
        options: &AppendOptions,
        token: Token,
    ) -> Result<Entry, Status> {
        self.append_one(body, options, Hears::Callback(token))
    }

    /// Appends records, all or none; one callback hears of the end of the last. `lens` are the
    /// lengths of `bodies`. `out` is called for each, and only if all were taken.
    pub fn append_batch(
        &self,
        bodies: &mut dyn Iterator<Item = &[u8]>,
        lens: &mut dyn Iterator<Item = usize>,
        options: &AppendOptions,
        token: Token,
        out: &mut dyn FnMut(usize, Entry),
    ) -> Result<(), Status> {
        let tripwire = Tripwire(self);
        let result = self.append_many(bodies, lens, options, token, out);
        std::mem::forget(tripwire);
        self.after_append(result.is_err());
        result
    }

    /// Appends one record and waits for its end. The entry comes whenever it was given a place.
    pub fn append_wait(&self, body: &[u8], options: &AppendOptions) -> (Status, Option<Entry>) {
        SLOT.with(|slot| {
            // A slot that the group thread still holds belongs to an append that timed out.
            let slot = slot.take().filter(|s| Arc::strong_count(s) == 1).unwrap_or_default();
            slot.clear();
            match self.append_one(body, options, Hears::Caller(slot.clone())) {
                Err(status) => (status, None),
                Ok(entry) => {
                    let timeout = self.timeout(options);
                    // Also if its time was over first, an answer may have come meanwhile.
                    let _ = self.callers.wait(entry.index + 1, timeout, || slot.is_answered());
                    let (status, _) = slot.over();
                    if status == Status::TimedOut {
                        Metrics::add(&self.metrics.timeouts, 1);
                        self.release(1, (HEADER + body.len()) as u64);
                    }
                    SLOT.with(|keep| keep.set(Some(slot)));
                    (status, Some(entry))
                }
            }
        })
    }

    fn append_one(
        &self,
        body: &[u8],
        options: &AppendOptions,
        hears: Hears,
    ) -> Result<Entry, Status> {
        let tripwire = Tripwire(self);
        let result = self.try_append(body, options, hears);
        std::mem::forget(tripwire);
        self.after_append(result.is_err());
        result
    }

    fn try_append(
        &self,
        body: &[u8],
        options: &AppendOptions,
        hears: Hears,
    ) -> Result<Entry, Status> {
        self.may_append(options)?;
        if body.len() as u64 > self.live.append_max.load(Ordering::Relaxed) {
            return Err(Status::TooLarge);
        }
        let bytes = (HEADER + body.len()) as u64;
        if bytes > self.live.pending_bytes.load(Ordering::Relaxed) {
            return Err(Status::TooLarge);
        }
        let mut staging = lock_soon(&self.staging);
        let limits = self.may_stage(&staging, options, 1, bytes)?;
        let undo = staging.mark();
        let staged = staging.push(body, &limits);
        match staged.and_then(|entry| self.enlist(&entry, 1, bytes, options, hears).map(|()| entry))
        {
            Ok(entry) => {
                self.publish_end(staging.next());
                Ok(entry)
            }
            Err(status) => {
                staging.back_to(undo);
                Err(status)
            }
        }
    }

    fn append_many(
        &self,
        bodies: &mut dyn Iterator<Item = &[u8]>,
        lens: &mut dyn Iterator<Item = usize>,
        options: &AppendOptions,
        token: Token,
        out: &mut dyn FnMut(usize, Entry),
    ) -> Result<(), Status> {
        self.may_append(options)?;
        let largest = self.live.append_max.load(Ordering::Relaxed);
        let (mut count, mut bytes) = (0u64, 0u64);
        for len in lens {
            if len as u64 > largest {
                return Err(Status::TooLarge);
            }
            count += 1;
            bytes += (HEADER + len) as u64;
        }
        if count == 0 {
            return Err(Status::Invalid);
        }
        let never = count > self.live.pending_max.load(Ordering::Relaxed)
            || bytes > self.live.pending_bytes.load(Ordering::Relaxed);
        if never {
            return Err(Status::TooLarge);
        }
        let mut staging = lock_soon(&self.staging);
        let limits = self.may_stage(&staging, options, count, bytes)?;
        let undo = staging.mark();
        let staged = staging.push_all(bodies, bytes, count as usize, &limits).and_then(|()| {
            let first = staging.since(&undo).next().ok_or(Status::Invalid)?;
            self.enlist(&first, count, bytes, options, Hears::Callback(token))
        });
        if let Err(status) = staged {
            staging.back_to(undo);
            if status == limits.beyond {
                self.call_records.fetch_max(count, Ordering::Relaxed);
                self.call_bytes.fetch_max(bytes, Ordering::Relaxed);
            }
            return Err(status);
        }
        staging.since(&undo).enumerate().for_each(|(n, entry)| out(n, entry));
        self.publish_end(staging.next());
        Ok(())
    }

    /// What can be told without the append lock.
    fn may_append(&self, options: &AppendOptions) -> Result<(), Status> {
        let term = self.gate();
        if term == 0 {
            return Err(self.refusal());
        }
        if options.expected_term != 0 && options.expected_term != term {
            return Err(Status::TermChanged);
        }
        if self.transferring.load(Ordering::Relaxed) {
            return Err(Status::Transferring);
        }
        Ok(())
    }

    /// The same under the append lock, where it holds, and what only holds there.
    fn may_stage(
        &self,
        staging: &Staging,
        options: &AppendOptions,
        count: u64,
        bytes: u64,
    ) -> Result<Limits, Status> {
        self.may_append(options)?;
        if staging.term() != self.gate() {
            return Err(self.refusal());
        }
        // An append that timed out is in flight no more, but its bytes may still be staged.
        let held = self.pending_bytes.now().max(staging.bytes() as u64);
        let full = self.pending.now() + count > self.live.pending_max.load(Ordering::Relaxed)
            || held + bytes > self.live.pending_bytes.load(Ordering::Relaxed);
        if full {
            return Err(Status::PendingFull);
        }
        if self.disk_full.load(Ordering::Relaxed) {
            return Err(Status::DiskFull);
        }
        let ended = self.room_ended.load(Ordering::Relaxed);
        Ok(Limits {
            room_pos: self.room_pos.load(Ordering::Relaxed),
            room_index: self.room_index.load(Ordering::Relaxed),
            beyond: if ended { Status::DiskFull } else { Status::PendingFull },
        })
    }

    /// Puts the append among those that wait. Under the inbox's lock the gate is looked at once
    /// more: what ends a leadership closes the gate under that lock, so no append of the old term
    /// comes after its end.
    fn enlist(
        &self,
        first: &Entry,
        count: u64,
        bytes: u64,
        options: &AppendOptions,
        hears: Hears,
    ) -> Result<(), Status> {
        let mut inbox = self.inbox();
        if self.gate() != first.term {
            return Err(self.refusal());
        }
        self.pending.enter(count);
        self.pending_bytes.enter(bytes);
        match hears {
            Hears::Callback(token) => {
                let since = self.clock.now();
                let deadline = since.saturating_add(nanos(self.timeout(options)));
                let completion = Completion {
                    token,
                    status: Status::Ok,
                    count: count as u32,
                    index: first.index,
                    term: first.term,
                    pos: first.pos,
                };
                inbox.waiters.push(Waiter { completion, bytes, since, deadline });
                self.callbacks_due.enter(1);
                drop(inbox);
                if deadline < self.armed.load(Ordering::SeqCst) {
                    self.delivery.ring();
                }
            }
            Hears::Caller(slot) => {
                let end: Index = first.index + count;
                inbox.blocked.push_back(Blocked {
                    end,
                    term: first.term,
                    records: count,
                    bytes,
                    slot,
                });
            }
        }
        Ok(())
    }

    fn timeout(&self, options: &AppendOptions) -> Duration {
        options.timeout.unwrap_or_else(|| {
            Duration::from_nanos(self.live.append_timeout.load(Ordering::Relaxed))
        })
    }

    /// The lock is free again: the group thread may have found it taken.
    fn after_append(&self, refused: bool) {
        if refused {
            Metrics::add(&self.metrics.refused, 1);
        }
        self.driver.ring();
    }
}

/// Dropped by a panic only: what was being staged is in no known state, so the log stops for good.
struct Tripwire<'a>(&'a Shared);

impl Drop for Tripwire<'_> {
    fn drop(&mut self) {
        self.0.bug("a panic in an append");
    }
}

thread_local! {
    /// Where this thread waited last.
    static SLOT: std::cell::Cell<Option<Arc<Slot>>> = const { std::cell::Cell::new(None) };
}
