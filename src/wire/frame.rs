//! A frame: a header of fixed size, one message, and the raw bytes of its batches.
//!
//! ```text
//!  0 message length 4 | 4 raw length 4 | 8 kind 1 | 9 flags 1 | 10 zeros 2 | 12 CRC-32 4
//! 16 message | 16 + message length: raw bytes, as they lie in the log
//! ```
//!
//! Flags are 0. The CRC covers the first 12 bytes and the message. It does not cover the raw
//! bytes: the records bring their own checksums, and the follower verifies those.
//!
//! A reader takes [`HEADER`] bytes, asks [`FrameHeader::decode`], takes `message_len` bytes, asks
//! [`FrameHeader::message`], and only then takes `raw_len` bytes. After an error it closes the
//! connection: where the next frame begins is not known.

#[cfg(test)]
mod tests;

use crc32fast::Hasher;

use super::message::{Kind, MESSAGE_MAX, Message};
use crate::commitlog::meta::Out;
use crate::commitlog::record;

/// What a frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most raw bytes of one frame.
    pub raw_max: u32,
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the message is.
    pub kind: Kind,
    /// Bytes of the message; at most [`MESSAGE_MAX`].
    pub message_len: u32,
    /// Bytes behind the message; 0 but for an append and a repair.
    pub raw_len: u32,
    crc: u32,
}

/// Why bytes are no frame, or a message cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind of message that is not known here.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// Flags that are not known here, or zeros that are none.
    #[error("a frame with unknown flags")]
    Flags,
    /// No message of that kind has that length.
    #[error("a frame with {len} bytes of {kind:?}")]
    MessageLength {
        /// The kind.
        kind: Kind,
        /// The length of the message.
        len: u64,
    },
    /// More raw bytes than allowed, or some where none belong.
    #[error("a frame with {len} raw bytes, at most {max} are allowed")]
    RawLength {
        /// The raw bytes.
        len: u64,
        /// How many there may be.
        max: u32,
    },
    /// Header and message are not what was sent.
    #[error("a frame with a wrong checksum")]
    Checksum,
    /// The checksum holds, and yet it is no such message.
    #[error("a frame whose bytes are no {0:?}")]
    Malformed(Kind),
    /// The batches of a message have not as many bytes as the header says.
    #[error("a frame whose batches have {sum} bytes, with {raw} raw bytes")]
    RawSum {
        /// The sum over the batches.
        sum: u64,
        /// What the header says.
        raw: u32,
    },
}

impl Limits {
    /// For a group whose records have at most `record_max` bytes, header included: what one batch
    /// may have. All members must agree on it, or what a leader took cannot be sent. So it follows
    /// from the segment size, not from `append.max.bytes`, which each member may change alone.
    pub fn new(record_max: u32) -> Limits {
        Limits { raw_max: record_max.max(record::BATCH_BYTES as u32) }
    }
}

impl FrameHeader {
    /// Reads a header. Kind and lengths are checked here, before anything is allocated for them.
    pub fn decode(bytes: &[u8; HEADER], limits: &Limits) -> Result<FrameHeader, FrameError> {
        let message_len = record::u32_at(bytes, 0);
        let raw_len = record::u32_at(bytes, 4);
        let kind = Kind::from_number(bytes[8]).ok_or(FrameError::Kind(bytes[8]))?;
        if bytes[9..12] != [0; 3] {
            return Err(FrameError::Flags);
        }
        check_lengths(kind, message_len.into(), raw_len.into(), limits)?;
        Ok(FrameHeader { kind, message_len, raw_len, crc: record::u32_at(bytes, 12) })
    }

    /// The message that `bytes`, those behind the header, are. The raw bytes that follow are as
    /// many as its batches have.
    pub fn message(&self, bytes: &[u8]) -> Result<Message, FrameError> {
        if bytes.len() as u64 != u64::from(self.message_len) {
            return Err(FrameError::MessageLength { kind: self.kind, len: bytes.len() as u64 });
        }
        if self.checksum(bytes) != self.crc {
            return Err(FrameError::Checksum);
        }
        let message = Message::decode(self.kind, bytes).ok_or(FrameError::Malformed(self.kind))?;
        let sum = message.raw_len();
        if sum != u64::from(self.raw_len) {
            return Err(FrameError::RawSum { sum, raw: self.raw_len });
        }
        Ok(message)
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.message_len.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.raw_len.to_be_bytes());
        bytes[8] = self.kind as u8;
        bytes[12..16].copy_from_slice(&self.crc.to_be_bytes());
        bytes
    }

    fn checksum(&self, message: &[u8]) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.encode()[..COVERED]);
        hasher.update(message);
        hasher.finalize()
    }
}

/// Appends header and message to `out`: the head of a frame. The sender writes the bytes of the
/// batches behind it, as many as each of [`Message::raw_ranges`] has. Refuses what a peer with
/// these limits would refuse, and then leaves `out` as it was.
pub fn encode(message: &Message, limits: &Limits, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let begin = out.len();
    let mut head = Out(std::mem::take(out));
    head.0.extend_from_slice(&[0; HEADER]);
    message.encode(&mut head);
    *out = head.0;
    let sealed = seal(message, limits, &mut out[begin..]);
    if sealed.is_err() {
        out.truncate(begin);
    }
    sealed
}

/// Puts the header before the message that `head` has behind [`HEADER`] bytes.
fn seal(message: &Message, limits: &Limits, head: &mut [u8]) -> Result<(), FrameError> {
    let (place, bytes) = head.split_at_mut(HEADER);
    let kind = message.kind();
    let (len, raw) = (bytes.len() as u64, message.raw_len());
    check_lengths(kind, len, raw, limits)?;
    if Message::decode(kind, bytes).as_ref() != Some(message) {
        return Err(FrameError::Malformed(kind));
    }
    let mut header = FrameHeader { kind, message_len: len as u32, raw_len: raw as u32, crc: 0 };
    header.crc = header.checksum(bytes);
    place.copy_from_slice(&header.encode());
    Ok(())
}

fn check_lengths(kind: Kind, len: u64, raw: u64, limits: &Limits) -> Result<(), FrameError> {
    if !usize::try_from(len).is_ok_and(|len| kind.sizes().contains(&len)) {
        return Err(FrameError::MessageLength { kind, len });
    }
    let max = if kind.has_raw() { limits.raw_max } else { 0 };
    if raw > u64::from(max) {
        return Err(FrameError::RawLength { len: raw, max });
    }
    Ok(())
}

/// Length of a header.
pub const HEADER: usize = 16;
/// Most bytes of a frame before its raw bytes.
pub const HEAD_MAX: usize = HEADER + MESSAGE_MAX;

/// What the CRC covers of the header.
const COVERED: usize = 12;
