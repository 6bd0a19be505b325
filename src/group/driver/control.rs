//! What the group thread is asked for, and how it answers: flush, read barrier, deletion of a head,
//! stop. After the writes of a turn; as far as it goes while the disk is full, and when the log failed.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::{info, warn};

use crate::commitlog::work::Work;
use crate::error::{Error, Result, Status};
use crate::group::clock::NEVER;
use crate::group::driver::barriers::Asker;
use crate::group::driver::{Driver, Next};
use crate::group::shared::Control;
use crate::group::waiters::{Slot, lock};
use crate::types::Index;

impl Driver {
    /// Answers what was asked. True if it was asked to stop, and is done. After an error the rest
    /// is still there, to be answered as a failed log does.
    pub(super) fn answer(&mut self, now: u64) -> Result<bool> {
        self.close_barriers();
        let mut controls = VecDeque::from(std::mem::take(&mut *lock(&self.shared.controls)));
        while let Some(control) = controls.pop_front() {
            match self.answer_one(&control, now) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(error) => {
                    let mut asked = lock(&self.shared.controls);
                    asked.push(control);
                    asked.extend(controls);
                    return Err(error);
                }
            }
        }
        Ok(false)
    }

    fn answer_one(&mut self, control: &Control, now: u64) -> Result<bool> {
        match control {
            // The caller may be who makes room: it must not wait for that.
            Control::Flush(slot) => match &self.stalled {
                Some(stalled) => drop(slot.answer(stalled.lacks, Index(0))),
                None => self.flush(slot)?,
            },
            Control::DeletePrefix(index) => self.delete_prefix(*index)?,
            Control::ReadIndex(slot, deadline) => {
                self.ask_engine(Asker::Caller(slot.clone()), *deadline, now);
            }
            Control::ReadIndexAsync(number, deadline) => {
                self.ask_engine(Asker::Callback(*number), *deadline, now);
            }
            Control::Transfer { slot, to, deadline } => {
                self.begin_transfer(slot, *to, *deadline, now);
            }
            Control::Change { slot, changes, deadline } => {
                self.begin_change(slot, changes, *deadline, now);
            }
            Control::Fail(cause) => return Err(Error::Bug(cause.clone())),
            Control::Stop(slot) => {
                self.stopping = true;
                self.end_asked(Status::Stopped);
                if self.outstanding > 0 {
                    lock(&self.shared.controls).push(Control::Stop(slot.clone()));
                    return Ok(false);
                }
                let synced = self.stop(now)?;
                let lacks = self.stalled.as_ref().map_or(Status::DiskFull, |stalled| stalled.lacks);
                slot.answer(if synced { Status::Ok } else { lacks }, Index(0));
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything appended is on disk; but what is staged and not taken yet comes first.
    fn flush(&mut self, slot: &Arc<Slot>) -> Result<()> {
        if self.unwritten() {
            lock(&self.shared.controls).push(Control::Flush(slot.clone()));
            self.shared.driver.ring();
            return Ok(());
        }
        self.sync()?;
        self.marks.flushed = self.core.log().flushed().mark();
        self.shared.publish(&self.marks);
        slot.answer(Status::Ok, self.marks.flushed.index);
        Ok(())
    }

    fn unwritten(&self) -> bool {
        let staged = self.shared.staging.try_lock().map_or(true, |staging| !staging.is_empty());
        staged || self.proposed < self.block.pieces.len()
    }

    fn delete_prefix(&mut self, index: Index) -> Result<()> {
        match self.core.log().segment_start(index) {
            Ok(Some(pos)) => self.purge(pos),
            Ok(None) => Ok(()),
            Err(error) => keeps_the_head(error),
        }
    }

    pub(super) fn purge(&mut self, pos: u64) -> Result<()> {
        let (committed, begin) = (self.committed, self.core.log().begin());
        let work = match self.core.log_mut().purge(pos, committed) {
            Err(error) if self.core.log().begin() == begin => return keeps_the_head(error),
            result => result?,
        };
        if let Some(work) = work {
            self.submit(work);
            let begin = self.core.log().begin();
            self.shared.set_begin(begin);
            info!("purged before record {} (position {})", begin.index, begin.pos);
        }
        Ok(())
    }

    /// The last turn: all is synced, and the bounds say so. False if a full disk leaves something
    /// unwritten: then what is written is synced.
    fn stop(&mut self, now: u64) -> Result<bool> {
        if !self.write_rest(now)? {
            self.core.log_mut().sync()?;
            return Ok(false);
        }
        self.sync()?;
        if let Some(Work::Checkpoint(files, anchor)) = self.core.log().checkpoint() {
            for file in files {
                file.sync().map_err(|e| Error::io("derived units", e))?;
            }
            self.note_checkpoint(anchor, now)?;
        }
        Ok(true)
    }

    /// Writes all that is staged. False if the disk is full.
    fn write_rest(&mut self, now: u64) -> Result<bool> {
        if self.stalled.is_some() {
            return Ok(false);
        }
        self.take_staged();
        loop {
            let more = self.propose()?;
            if !self.write_outputs(now)? {
                return Ok(false);
            }
            if !more {
                return Ok(true);
            }
        }
    }

    pub(super) fn turn_failed(&mut self) -> Next {
        let controls = std::mem::take(&mut *lock(&self.shared.controls));
        self.outstanding -= self.shared.done.take().len();
        for control in controls {
            match control {
                Control::Flush(slot)
                | Control::ReadIndex(slot, _)
                | Control::Transfer { slot, .. }
                | Control::Change { slot, .. } => {
                    slot.answer(Status::Failed, Index(0));
                }
                // Barriers for a callback ended with the log.
                Control::ReadIndexAsync(..) | Control::DeletePrefix(_) | Control::Fail(_) => {}
                Control::Stop(slot) if self.outstanding > 0 => {
                    lock(&self.shared.controls).push(Control::Stop(slot));
                }
                Control::Stop(slot) => {
                    slot.answer(Status::Failed, Index(0));
                    return Next::Over;
                }
            }
        }
        Next::At(NEVER)
    }

    /// The disk is full in the middle of a write. Until it is over, all goes on that needs no write
    /// to the log: what makes room above all.
    pub(super) fn stalled_turn(&mut self, now: u64) -> Result<Next> {
        let over = self.answer(now)?;
        // What was not made ahead for want of room may be what the write lacks.
        self.publish_room();
        self.publish_marks();
        if over {
            return Ok(Next::Over);
        }
        let next = self.timers_while_stalled(now);
        Ok(Next::At(next.min(self.timers.retry)))
    }
}

/// Where the log should begin anew there is damage, or no room to note it: the head stays, and
/// everything else goes on.
fn keeps_the_head(error: Error) -> Result<()> {
    match error {
        error if error.may_pass() || matches!(error, Error::Corrupt { .. }) => {
            warn!("nothing is purged: {error}");
            Ok(())
        }
        other => Err(other),
    }
}
