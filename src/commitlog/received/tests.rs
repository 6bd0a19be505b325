//! P5: only the true successor of what is here is taken, whoever sent it.

use super::*;
use crate::commitlog::record::{Header, seal};
use crate::types::Index;

const SEGMENT: u64 = 4096;

fn anchor(pos: u64, controls: u64) -> Anchor {
    let batch = RaftIndex(5);
    let (index, raft_index) = (Index(10), batch + controls);
    Anchor { index, pos, raft_index, term: 3, chain: 0xabcd, batch }
}

fn claim(at: &Anchor, count: u32) -> Claim {
    Claim { raft_index: at.raft_index + 1, term: 4, count }
}

/// A batch as a leader seals it behind `at`.
fn batch(at: &Anchor, pos: u64, bodies: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (body, n) in bodies.iter().zip(0..) {
        let header = Header {
            magic: MAGIC,
            size: (HEADER + body.len()) as u32,
            index: at.index + n,
            term: 4,
            pos: pos + bytes.len() as u64,
            body_len: body.len() as u32,
            ..Header::default()
        };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(body);
    }
    seal(&mut bytes, at.raft_index - at.batch, at.chain);
    bytes
}

fn take(at: &Anchor, raw: &[u8], count: u32) -> Result<(Batch, Anchor), &'static str> {
    check(at, claim(at, count), raw, 0..raw.len(), SEGMENT)
}

const BODIES: &[&[u8]] = &[b"one", b"", b"three"];

/// At each kind of place what was sealed is taken, and the anchor behind it is the writer's.
#[test]
fn what_a_leader_sealed_is_taken() {
    let places = [
        (anchor(0, 0), 0, "the beginning"),
        (anchor(100, 0), 100, "mid segment"),
        (anchor(100, 3), 100, "behind control entries"),
        (anchor(100, 65_534), 100, "as many as can be counted"),
        (anchor(100, 65_535), 100, "one more"),
        (anchor(100, 70_000), 100, "many more"),
        (anchor(4040, 1), 4096, "rolled: no room"),
        (anchor(3000, 0), 4096, "rolled although there was room"),
        (anchor(4096, 0), 4096, "the first byte of a segment"),
        (anchor(4096 - 152 - 8, 0), 4096 - 152 - 8, "just fits"),
    ];
    for (at, pos, what) in places {
        let raw = [b"before", &batch(&at, pos, BODIES)[..], b"behind"].concat();
        let (range, claim) = (6..raw.len() - 6, claim(&at, 3));
        let (batch, behind) = check(&at, claim, &raw, range.clone(), SEGMENT).expect(what);
        let last = u32::from_be_bytes(raw[6 + 99 + 36..6 + 99 + 40].try_into().unwrap());
        assert_eq!((batch.first, batch.pos, batch.count), (at.index, pos, 3), "{what}");
        assert_eq!((batch.bytes, batch.chain), (range, last), "{what}");
        let expected = Anchor {
            index: at.index + 3,
            pos: pos + 152,
            raft_index: at.raft_index + 1,
            term: 4,
            chain: last,
            batch: at.raft_index + 1,
        };
        assert_eq!(behind, expected, "{what}");
    }
}

/// Every bit of it counts.
#[test]
fn each_flipped_byte_is_refused() {
    let at = anchor(100, 2);
    let whole = batch(&at, 100, BODIES);
    assert!(take(&at, &whole, 3).is_ok());
    for n in 0..whole.len() {
        for mask in [1, 0x80, 0xff] {
            let mut raw = whole.clone();
            raw[n] ^= mask;
            assert!(take(&at, &raw, 3).is_err(), "byte {n}");
        }
    }
    for n in 0..whole.len() {
        assert!(take(&at, &whole[..n], 3).is_err(), "{n} bytes");
    }
}

/// What is whole and belongs elsewhere is refused, and it is said why.
#[test]
fn a_batch_of_another_place_is_refused() {
    let at = anchor(100, 2);
    let raw = batch(&at, 100, BODIES);
    let is = |at: &Anchor, claim, raw: &[u8], why: &str| {
        let found = check(at, claim, raw, 0..raw.len(), SEGMENT).map(|_| ());
        assert_eq!(found, Err(why));
    };
    let right = claim(&at, 3);
    let place = "a record has another place or term";
    is(&at, Claim { count: 2, ..right }, &raw, "a record counts its batch differently");
    is(&at, Claim { count: 4, ..right }, &raw, "a record counts its batch differently");
    is(&at, Claim { term: 5, ..right }, &raw, place);
    is(&Anchor { index: Index(11), ..at }, right, &raw, place);
    is(&Anchor { pos: 101, ..at }, right, &raw, "it begins at another position");
    is(&Anchor { chain: 1, ..at }, right, &raw, "the chain of checksums is broken");
    let controls = "a record counts the control entries before it differently";
    is(&at, Claim { raft_index: at.raft_index + 2, ..right }, &raw, controls);
    is(&at, Claim { raft_index: at.batch, ..right }, &raw, controls);
    is(&at, right, &[], "records are missing");
    is(&at, right, &raw[..20], "half a header");
    is(&at, right, &raw[..50], "no whole record");
    assert_eq!(check(&at, right, &raw, 0..999, SEGMENT).unwrap_err(), "its bytes are not there");
    let gap = batch(&at, 108, BODIES);
    is(&at, right, &gap, "it begins at another position");
    let far = batch(&at, 8192, BODIES);
    is(&at, right, &far, "it begins at another position");
    for pos in [4096 - 152 - 7, 4096 - 60] {
        let at = Anchor { pos, ..at };
        is(&at, right, &batch(&at, pos, BODIES), "it spans two segments");
    }
}

/// A position near the last there is does not overflow.
#[test]
fn a_position_without_end_is_refused() {
    let at = anchor(100, 0);
    for pos in [u64::MAX, u64::MAX - 51, u64::MAX - 100] {
        let mut raw = batch(&at, 100, BODIES);
        raw[24..32].copy_from_slice(&pos.to_be_bytes());
        seal(&mut raw, 0, at.chain);
        assert_eq!(take(&at, &raw, 3).unwrap_err(), "it begins at another position");
    }
}
