use proptest::prelude::*;

use super::*;
use crate::types::RaftIndex;
use crate::wire::message::tests::{golden, messages, unhex};
use crate::wire::message::{AppendEntry, Content};

const WIDE: Limits = Limits { raw_max: u32::MAX };

fn head(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, &WIDE, &mut out).unwrap();
    out
}

fn read(bytes: &[u8], limits: &Limits) -> Result<Message, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk() else { return Err(FrameError::Checksum) };
    let header = FrameHeader::decode(header, limits)?;
    header.message(&rest[..rest.len().min(header.message_len as usize)])
}

fn append(lens: &[u32]) -> Message {
    let entry = |len| AppendEntry { term: 7, content: Content::Batch { count: 1, len } };
    Message::Append {
        term: 7,
        prev: RaftIndex(1),
        prev_term: 1,
        prev_chain: 0,
        commit: RaftIndex(1),
        entries: lens.iter().map(|len| entry(*len)).collect(),
    }
}

proptest! {
    /// What is sent is read, behind whatever is in the buffer.
    #[test]
    fn round_trip(message in messages(), before in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut out = before.clone();
        encode(&message, &WIDE, &mut out).unwrap();
        prop_assert_eq!(&out[..before.len()], &before[..]);
        let bytes = &out[before.len()..];
        prop_assert_eq!(bytes, &head(&message)[..]);
        let header = FrameHeader::decode(bytes.first_chunk().unwrap(), &WIDE).unwrap();
        prop_assert_eq!(u64::from(header.raw_len), message.raw_len());
        prop_assert_eq!(header.message(&bytes[HEADER..]), Ok(message));
    }

    /// Each strict prefix of a head is refused.
    #[test]
    fn no_prefix_is_a_frame(message in messages()) {
        let bytes = head(&message);
        for len in 0..bytes.len() {
            prop_assert!(read(&bytes[..len], &WIDE).is_err(), "{} bytes", len);
        }
    }

    /// Each flipped bit of a head is noticed (P5).
    #[test]
    fn no_flipped_bit_goes_unseen(message in messages()) {
        let mut bytes = head(&message);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&bytes, &WIDE).is_err(), "bit {}", bit);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Any bytes give an answer (P19), and a header that is accepted keeps within the limits.
    #[test]
    fn arbitrary_headers(bytes in any::<[u8; HEADER]>(), kind in 0u8..16, raw_max in any::<u32>()) {
        let mut bytes = bytes;
        bytes[0] = 0;
        bytes[1] &= 3;
        (bytes[8], bytes[9], bytes[10], bytes[11]) = (kind, 0, 0, 0);
        if let Ok(header) = FrameHeader::decode(&bytes, &Limits { raw_max }) {
            prop_assert!(header.message_len as usize <= MESSAGE_MAX);
            prop_assert!(header.raw_len <= raw_max);
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}

/// The bytes of one whole head, and of every other header.
#[test]
fn golden_bytes() {
    let headers = [
        "00000029 00000000 01 00 0000 5fe01b18",
        "0000001a 00000000 02 00 0000 8659f13b",
        "00000060 00000097 03 00 0000 44cdd48f",
        "00000029 00000000 04 00 0000 105ba522",
        "00000018 00000000 05 00 0000 d015bb12",
        "00000018 00000000 06 00 0000 8823eb99",
        "00000091 00000000 07 00 0000 71223d72",
        "00000008 00000000 08 00 0000 71ad374e",
        "00000008 00000000 09 00 0000 0db05626",
        "00000018 00000000 0a 00 0000 fed1e808",
    ];
    for ((message, hex), header) in golden().into_iter().zip(headers) {
        assert_eq!(head(&message), unhex(&format!("{header} {hex}")), "{:?}", message.kind());
    }
}

/// Headers that a peer may send to harm us: refused before anything is allocated.
#[test]
fn hostile_headers() {
    let limits = Limits { raw_max: 1 << 20 };
    let ask = |hex: &str| FrameHeader::decode(unhex(hex).first_chunk().unwrap(), &limits).err();
    let length = |kind, len| Some(FrameError::MessageLength { kind, len });
    let raw = |len, max| Some(FrameError::RawLength { len, max });
    assert_eq!(ask("00000018 00000000 05 00 0000 00000000"), None);
    assert_eq!(ask("00000000 00000000 00 00 0000 00000000"), Some(FrameError::Kind(0)));
    assert_eq!(ask("00000018 00000000 0e 00 0000 00000000"), Some(FrameError::Kind(14)));
    assert_eq!(ask("00000018 00000000 ff 00 0000 00000000"), Some(FrameError::Kind(255)));
    assert_eq!(ask("00000018 00000000 05 01 0000 00000000"), Some(FrameError::Flags));
    assert_eq!(ask("00000018 00000000 05 00 0001 00000000"), Some(FrameError::Flags));
    assert_eq!(ask("00000018 00000000 05 00 8000 00000000"), Some(FrameError::Flags));
    assert_eq!(ask("00000000 00000000 05 00 0000 00000000"), length(Kind::Heartbeat, 0));
    assert_eq!(ask("00000019 00000000 05 00 0000 00000000"), length(Kind::Heartbeat, 25));
    assert_eq!(
        ask("ffffffff 00000000 05 00 0000 00000000"),
        length(Kind::Heartbeat, u32::MAX.into())
    );
    assert_eq!(ask("ffffffff ffffffff 03 00 0000 00000000"), length(Kind::Append, u32::MAX.into()));
    assert_eq!(ask("00000025 00000000 03 00 0000 00000000"), length(Kind::Append, 37));
    assert_eq!(ask("00000026 00000000 03 00 0000 00000000"), None);
    assert_eq!(ask("00020000 00100000 03 00 0000 00000000"), None);
    assert_eq!(ask("00020001 00000000 03 00 0000 00000000"), length(Kind::Append, 131_073));
    assert_eq!(ask("00020000 00100001 03 00 0000 00000000"), raw((1 << 20) + 1, 1 << 20));
    assert_eq!(ask("00000026 ffffffff 03 00 0000 00000000"), raw(u32::MAX.into(), 1 << 20));
    assert_eq!(ask("00000018 00000001 05 00 0000 00000000"), raw(1, 0));
    assert_eq!(ask("00001001 00000000 07 00 0000 00000000"), None);
    assert_eq!(ask("00002000 00000000 07 00 0000 00000000"), length(Kind::Reset, 8192));
}

/// The batches must have as many bytes as follow: not one more, and not 4 GiB more.
#[test]
fn the_raw_length_is_the_sum_of_the_batches() {
    let sealed = |lens: &[u32], raw_len| {
        let bytes = &head(&append(&[]))[HEADER..];
        let mut message = bytes[..bytes.len() - 2].to_vec();
        message.extend_from_slice(&(lens.len() as u16).to_be_bytes());
        for len in lens {
            message.extend_from_slice(&unhex("0000000000000007 01 00000001"));
            message.extend_from_slice(&len.to_be_bytes());
        }
        let message_len = message.len() as u32;
        let mut header = FrameHeader { kind: Kind::Append, message_len, raw_len, crc: 0 };
        header.crc = header.checksum(&message);
        header.message(&message)
    };
    assert_eq!(sealed(&[100, 60], 160), Ok(append(&[100, 60])));
    assert_eq!(sealed(&[100, 60], 161), Err(FrameError::RawSum { sum: 160, raw: 161 }));
    assert_eq!(sealed(&[100, 60], 0), Err(FrameError::RawSum { sum: 160, raw: 0 }));
    assert_eq!(sealed(&[], 1), Err(FrameError::RawSum { sum: 0, raw: 1 }));
    let sum = u64::from(u32::MAX) + 101;
    assert_eq!(sealed(&[u32::MAX, 101], 100), Err(FrameError::RawSum { sum, raw: 100 }));
}

/// A right checksum makes no message of bytes that are none; more bytes than announced are not
/// read.
#[test]
fn a_checksum_is_not_enough() {
    let mut header = FrameHeader { kind: Kind::TimeoutNow, message_len: 8, raw_len: 0, crc: 0 };
    header.crc = header.checksum(&[0; 8]);
    assert_eq!(header.message(&[0; 8]), Err(FrameError::Malformed(Kind::TimeoutNow)));
    let len = 9;
    let wrong = FrameError::MessageLength { kind: Kind::TimeoutNow, len };
    assert_eq!(header.message(&[0; 9]), Err(wrong));
}

/// The sender keeps within what the receiver takes; a refusal leaves the buffer as it was.
#[test]
fn what_a_peer_would_refuse_is_not_sent() {
    let limits = Limits { raw_max: 1000 };
    let mut out = b"before".to_vec();
    let mut refused = |message: &Message| {
        let error = encode(message, &limits, &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    let raw = |len| FrameError::RawLength { len, max: 1000 };
    assert_eq!(refused(&append(&[1000, 48])), raw(1048));
    assert_eq!(refused(&append(&[u32::MAX; 3])), raw(3 * u64::from(u32::MAX)));
    let malformed = FrameError::Malformed;
    assert_eq!(refused(&append(&[47])), malformed(Kind::Append));
    assert_eq!(refused(&append(&[0; 4097])), malformed(Kind::Append));
    assert_eq!(refused(&Message::TimeoutNow { term: 0 }), malformed(Kind::TimeoutNow));
    assert_eq!(refused(&Message::ReadIndex { context: 0 }), malformed(Kind::ReadIndex));
    assert!(matches!(refused(&append(&[48; 70_000])), FrameError::MessageLength { .. }));
    assert_eq!(encode(&append(&[952, 48]), &limits, &mut out), Ok(()));
    assert_eq!(out.len(), b"before".len() + HEADER + 38 + 2 * 17);
}

/// One batch fits, and one record that is larger than a batch may be.
#[test]
fn limits_follow_the_largest_record() {
    assert_eq!(Limits::new(4096).raw_max, 1 << 20);
    assert_eq!(Limits::new(4 << 20).raw_max, 4 << 20);
}
