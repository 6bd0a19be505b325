//! What waits to be sent to one peer: what must not wait goes first, appends stay in order behind
//! it, and both are bounded. A frame, once begun, is written to its end.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Mutex;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::limits::{FRAME_BYTES, URGENT_MAX};
use super::lock;
use crate::wire::{FrameError, Limits, Message, frame};

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// There is no connection to that member.
    #[error("there is no connection")]
    NotConnected,
    /// As many bytes as allowed are queued.
    #[error("too many bytes are queued")]
    Full,
    /// A peer would not take it, or the raw bytes are not those of its batches: a mistake here.
    #[error("no peer would take it: {0}")]
    Unfit(FrameError),
}

/// A frame that waits.
pub struct Frame {
    head: Vec<u8>,
    raw: Vec<Bytes>,
    bytes: usize,
    urgent: bool,
}

/// The queues for one peer. One task takes from them; anybody may put.
#[derive(Default)]
pub struct Outbox {
    queues: Mutex<Queues>,
    filled: Notify,
}

#[derive(Default)]
struct Queues {
    open: bool,
    urgent: Queue,
    ordered: Queue,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Those that are being written included.
    bytes: usize,
}

impl Frame {
    /// The frame of a message, with the raw bytes of its batches.
    pub fn new(message: &Message, raw: Vec<Bytes>, limits: &Limits) -> Result<Frame, Unsent> {
        let sum = raw.iter().map(|raw| raw.len() as u64).sum::<u64>();
        if sum != message.raw_len() {
            let raw = u32::try_from(sum).unwrap_or(u32::MAX);
            return Err(Unsent::Unfit(FrameError::RawSum { sum: message.raw_len(), raw }));
        }
        let mut head = Vec::new();
        frame::encode(message, limits, &mut head).map_err(Unsent::Unfit)?;
        let bytes = head.len() + sum as usize;
        // An append that overtakes another one is a gap to the follower, a reset is the begin of the
        // appends behind it, and nothing waits for a repair.
        let ordered = message.kind().has_raw() || matches!(message, Message::Reset { .. });
        let urgent = !ordered;
        Ok(Frame { head, raw, bytes, urgent })
    }

    fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let raw = self.raw.iter().filter(|raw| !raw.is_empty());
        std::iter::once(IoSlice::new(&self.head)).chain(raw.map(|raw| IoSlice::new(raw)))
    }
}

impl Outbox {
    /// Takes frames from now on.
    pub fn open(&self) {
        lock(&self.queues).open = true;
    }

    /// Refuses frames from now on; what is queued is gone.
    pub fn close(&self) {
        let old = std::mem::take(&mut *lock(&self.queues));
        drop(old);
    }

    /// Whether it takes frames.
    pub fn is_open(&self) -> bool {
        lock(&self.queues).open
    }

    /// Queues a frame; `max` bounds the bytes of appends. One alone may have more.
    pub fn put(&self, frame: Frame, max: usize) -> Result<(), Unsent> {
        let mut queues = lock(&self.queues);
        if !queues.open {
            return Err(Unsent::NotConnected);
        }
        let max = if frame.urgent { URGENT_MAX } else { max };
        let queue = queues.of(frame.urgent);
        if queue.bytes > 0 && queue.bytes.saturating_add(frame.bytes) > max {
            return Err(Unsent::Full);
        }
        queue.bytes += frame.bytes;
        queue.frames.push_back(frame);
        drop(queues);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for frames and takes as many as are written at once: [`FRAME_BYTES`], or one.
    pub async fn take(&self) -> Vec<Frame> {
        loop {
            let frames = lock(&self.queues).take();
            if !frames.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// Gives back the room of frames that were taken, and are written.
    pub fn written(&self, frames: &[Frame]) {
        let mut queues = lock(&self.queues);
        for frame in frames {
            queues.of(frame.urgent).bytes -= frame.bytes;
        }
    }

    /// Bytes that are queued or being written.
    pub fn bytes(&self) -> usize {
        let queues = lock(&self.queues);
        queues.urgent.bytes + queues.ordered.bytes
    }
}

impl Queues {
    fn of(&mut self, urgent: bool) -> &mut Queue {
        if urgent { &mut self.urgent } else { &mut self.ordered }
    }

    fn take(&mut self) -> Vec<Frame> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for queue in [&mut self.urgent, &mut self.ordered] {
            while let Some(frame) = queue.frames.front() {
                bytes += frame.bytes;
                if bytes > FRAME_BYTES && !taken.is_empty() {
                    return taken;
                }
                taken.extend(queue.frames.pop_front());
            }
        }
        taken
    }
}

/// Writes frames one behind the other, without a copy of their raw bytes, and says how many bytes
/// that were.
pub async fn write<S: AsyncWrite + Unpin>(out: &mut S, frames: &[Frame]) -> io::Result<u64> {
    let mut slices: Vec<_> = frames.iter().flat_map(Frame::slices).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let n = out.write_vectored(slices).await?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, n);
    }
    out.flush().await?;
    Ok(frames.iter().map(|frame| frame.bytes as u64).sum())
}
