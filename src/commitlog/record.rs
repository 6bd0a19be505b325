//! The record: 48 bytes of header and the body, big-endian, in DLedger's layout
//! (`DLedgerEntryCoder`). The three fields that DLedger leaves at 0 carry the batch framing, the
//! chain of checksums and the body's checksum.
//!
//! ```text
//!  0 magic 4 | 4 size 4 | 8 index 8 | 16 term 8 | 24 pos 8
//! 32 channel 4 | 36 chainCrc 4 | 40 bodyCrc 4 | 44 body length 4 | 48 body
//! ```

use crate::types::Index;

/// Length of a record's header.
pub const HEADER: usize = 48;
/// Magic of a record.
pub const MAGIC: u32 = 1;
/// Magic of a no-op that DLedger's 0.4 line wrote: 48 bytes without a body. Reads step over it.
pub const MAGIC_NOOP: u32 = 2;
/// Magic of the blank that fills the end of a segment.
pub const MAGIC_BLANK: u32 = u32::MAX;
/// A blank's magic and length; so many bytes always remain at a segment's end.
pub const MIN_BLANK: u64 = 8;
/// `Header::controls` of a batch whose count of control entries stands in `control`.
pub const CONTROLS_MANY: u16 = u16::MAX;
/// Most records in a batch: what `channel` can count.
pub const BATCH_RECORDS: usize = 65_536;
/// Most bytes in a batch of several records; one larger record is a batch alone.
pub const BATCH_BYTES: usize = 1 << 20;

/// A decoded header. Decoding checks nothing: see [`Header::is_whole`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`], [`MAGIC_NOOP`] or [`MAGIC_BLANK`].
    pub magic: u32,
    /// 48 + body length; of a blank: the length of the rest of its segment.
    pub size: u32,
    /// Record index.
    pub index: Index,
    /// Raft term of the leader that took it.
    pub term: u64,
    /// Position of this header.
    pub pos: u64,
    /// How many records of its batch follow.
    pub follow: u16,
    /// How many control entries Raft holds between the batch before and this one; only in a
    /// batch's first record. [`CONTROLS_MANY`]: the count stands in `control`.
    pub controls: u16,
    /// CRC-32 over the chainCrc of the record before and this header's other 44 bytes.
    pub chain_crc: u32,
    /// CRC-32 of the body.
    pub body_crc: u32,
    /// Length of the body.
    pub body_len: u32,
}

impl Header {
    /// Reads a header.
    pub fn decode(bytes: &[u8; HEADER]) -> Header {
        let channel = u32_at(bytes, 32);
        Header {
            magic: u32_at(bytes, 0),
            size: u32_at(bytes, 4),
            index: Index(u64_at(bytes, 8)),
            term: u64_at(bytes, 16),
            pos: u64_at(bytes, 24),
            follow: channel as u16,
            controls: (channel >> 16) as u16,
            chain_crc: u32_at(bytes, 36),
            body_crc: u32_at(bytes, 40),
            body_len: u32_at(bytes, 44),
        }
    }

    /// Writes a header.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let channel = u32::from(self.controls) << 16 | u32::from(self.follow);
        bytes[0..4].copy_from_slice(&self.magic.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.size.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.index.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.term.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.pos.to_be_bytes());
        bytes[32..36].copy_from_slice(&channel.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.chain_crc.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.body_crc.to_be_bytes());
        bytes[44..48].copy_from_slice(&self.body_len.to_be_bytes());
        bytes
    }

    /// Whether magic, size and body length agree with each other: the shape of a record.
    pub fn is_whole(&self) -> bool {
        let magic = self.magic == MAGIC || self.magic == MAGIC_NOOP && self.body_len == 0;
        magic && u64::from(self.size) == HEADER as u64 + u64::from(self.body_len)
    }

    /// Whether it was written by DLedger, which computes no checksum and frames no batch, and counts
    /// in Java's numbers: one can be added to its index and term.
    pub fn is_dledgers(&self) -> bool {
        let plain =
            self.chain_crc == 0 && self.body_crc == 0 && self.follow == 0 && self.controls == 0;
        plain && [self.index.0, self.term].iter().all(|n| i64::try_from(*n).is_ok())
    }

    /// The first byte behind the record.
    pub fn end(&self) -> u64 {
        self.pos.saturating_add(u64::from(self.size))
    }
}

/// The chainCrc of a header whose predecessor has the chainCrc `before`.
pub fn chain_crc(before: u32, header: &[u8; HEADER]) -> u32 {
    let mut input = [0u8; HEADER];
    input[0..4].copy_from_slice(&before.to_be_bytes());
    input[4..40].copy_from_slice(&header[0..36]);
    input[40..48].copy_from_slice(&header[40..48]);
    crc32fast::hash(&input)
}

/// CRC-32 (IEEE) of a body.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}

/// Where the next `size` bytes go that must lie in one segment: `pos`, or the beginning of the
/// next segment if fewer than [`MIN_BLANK`] bytes would remain behind them in this one
/// (DLedger's `preAppend`).
pub fn place(pos: u64, size: u64, segment_bytes: u64) -> u64 {
    let end = segment_end(pos, segment_bytes);
    if size + MIN_BLANK > end - pos { end } else { pos }
}

/// The end of the segment that has `pos`.
pub fn segment_end(pos: u64, segment_bytes: u64) -> u64 {
    pos - pos % segment_bytes + segment_bytes
}

/// The blank that fills a segment from `pos` on, without the zeros behind it.
pub fn blank(pos: u64, segment_bytes: u64) -> [u8; MIN_BLANK as usize] {
    let rest = (segment_end(pos, segment_bytes) - pos) as u32;
    let mut bytes = [0xff; MIN_BLANK as usize];
    bytes[4..8].copy_from_slice(&rest.to_be_bytes());
    bytes
}

/// Big-endian `u32` at `at`. The caller knows that it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(array)
}

/// Big-endian `u64` at `at`. The caller knows that it is there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(array)
}

/// Computes the framing, the chain and the checksums of one batch in place. `batch` holds whole
/// records whose other fields are final. `controls` control entries stand between the batch
/// before and this one, whose last record has the chainCrc `chain`. Returns the chainCrc of the
/// last record and the number of records.
pub fn seal(batch: &mut [u8], controls: u64, chain: u32) -> (u32, usize) {
    let count = records(batch).count();
    let mut chain = chain;
    let mut at = 0;
    for follow in (0..count).rev() {
        let size = u32_at(batch, at + 4) as usize;
        let body = body_crc(&batch[at + HEADER..at + size]);
        let first = if at == 0 { controls.min(u64::from(CONTROLS_MANY)) as u32 } else { 0 };
        let header = &mut batch[at..at + HEADER];
        header[32..36].copy_from_slice(&(first << 16 | follow as u32).to_be_bytes());
        header[40..44].copy_from_slice(&body.to_be_bytes());
        if let Ok(header) = <&mut [u8; HEADER]>::try_from(header) {
            chain = chain_crc(chain, header);
            header[36..40].copy_from_slice(&chain.to_be_bytes());
        }
        at += size;
    }
    (chain, count)
}

/// Walks the records in `bytes`, as long as each has the shape of one.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.get(at..at + HEADER)?.try_into().ok()?;
        let header = Header::decode(header);
        if !header.is_whole() {
            return None;
        }
        let body = bytes.get(at + HEADER..at + header.size as usize)?;
        at += header.size as usize;
        Some((header, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(index: u64, pos: u64, body: &[u8]) -> Vec<u8> {
        let header = Header {
            magic: MAGIC,
            size: (HEADER + body.len()) as u32,
            index: Index(index),
            term: 7,
            pos,
            body_len: body.len() as u32,
            ..Header::default()
        };
        [&header.encode()[..], body].concat()
    }

    /// Behaviour 3: the golden bytes of a DLedger record ("abc", term 7) come out exactly.
    #[test]
    fn dledgers_golden_bytes() {
        let golden = [
            0, 0, 0, 1, 0, 0, 0, 0x33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x61, 0x62, 0x63,
        ];
        assert_eq!(record(0, 0, b"abc"), golden);
        assert_eq!(blank(247, 256), [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9]);
    }

    /// Behaviours 3 and 4: a record rolls unless 8 bytes remain behind it.
    #[test]
    fn a_record_rolls_when_fewer_than_eight_bytes_would_remain() {
        assert_eq!(place(200, 48, 256), 200, "exactly 8 remain: it fits");
        assert_eq!(place(200, 49, 256), 256);
        assert_eq!(place(512, 100, 256), 512, "a segment's first byte");
        assert_eq!(place(99, 148, 256), 99, "the golden directory's third record");
        assert_eq!(place(247, 58, 256), 256, "and its fourth");
    }

    /// P5: every byte of a sealed batch, and its place in the chain, is covered by a checksum.
    #[test]
    fn each_flipped_bit_breaks_the_chain_or_the_body() {
        let mut batch =
            [record(5, 300, b"hello"), record(6, 353, b""), record(7, 401, b"x")].concat();
        let (last, count) = seal(&mut batch, 2, 0xdead);
        assert_eq!(count, 3);
        let check = |batch: &[u8]| {
            let mut chain = 0xdead;
            let mut found = 0;
            for (header, body) in records(batch) {
                chain = chain_crc(chain, &header.encode());
                if chain != header.chain_crc || body_crc(body) != header.body_crc {
                    return false;
                }
                found += 1;
            }
            found == 3 && chain == last
        };
        assert!(check(&batch));
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!check(&flipped), "bit {bit}");
        }
        let framing: Vec<_> = records(&batch).map(|(h, _)| (h.controls, h.follow)).collect();
        assert_eq!(framing, [(2, 2), (0, 1), (0, 0)]);
    }
}
