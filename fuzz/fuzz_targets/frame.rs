//! Any bytes are a frame or an error, never a panic, and what is accepted encodes to the same
//! bytes. The checksum and the lengths are put right first, or nothing would pass.
#![no_main]

use dledger::wire::frame::{self, FrameError, FrameHeader, HEADER, Limits};
use dledger::wire::message::{MESSAGE_MAX, Message};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { raw_max: 1 << 22 };

fuzz_target!(|data: &[u8]| {
    let _ = read(data);
    let Some((given, message)) = data.split_first_chunk::<HEADER>() else { return };
    let mut bytes = data.to_vec();
    bytes[0..4].copy_from_slice(&(message.len() as u32).to_be_bytes());
    // Kinds that there are, mostly.
    bytes[8] = given[8] % 12;
    bytes[9..12].fill(0);
    seal(&mut bytes);
    if let Err(FrameError::RawSum { sum, .. }) = read(&bytes)
        && sum <= LIMITS.raw_max.into()
    {
        bytes[4..8].copy_from_slice(&(sum as u32).to_be_bytes());
        seal(&mut bytes);
        assert_eq!(read(&bytes), Ok(()));
    }
});

fn seal(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&[&bytes[..12], &bytes[HEADER..]].concat());
    bytes[12..HEADER].copy_from_slice(&crc.to_be_bytes());
}

fn read(bytes: &[u8]) -> Result<(), FrameError> {
    let Some((header, message)) = bytes.split_first_chunk() else { return Ok(()) };
    let header = FrameHeader::decode(header, &LIMITS)?;
    assert!(header.message_len as usize <= MESSAGE_MAX && header.raw_len <= LIMITS.raw_max);
    let message = header.message(message)?;
    check(&message, &header, bytes);
    Ok(())
}

fn check(message: &Message, header: &FrameHeader, bytes: &[u8]) {
    let mut head = Vec::new();
    assert_eq!(frame::encode(message, &LIMITS, &mut head), Ok(()));
    assert_eq!(head, bytes);
    let mut end = 0;
    for range in message.raw_ranges() {
        assert!(range.start == end && range.end > end);
        end = range.end;
    }
    assert_eq!(end, u64::from(header.raw_len));
}
