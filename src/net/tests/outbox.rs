//! The queues for a peer, without a socket.

use super::*;
use crate::net::limits::{FRAME_BYTES, URGENT_MAX};
use crate::net::outbox::{Frame, Outbox, write};
use crate::wire::FrameError;

fn frame(message: &Message, raw: Vec<Bytes>) -> Frame {
    Frame::new(message, raw, &config().frames).map_err(|why| panic!("{why}")).unwrap()
}

fn bulk(n: u64, len: usize) -> Frame {
    frame(&append(n, len), vec![raw(n, len)])
}

fn now<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().build().unwrap().block_on(future)
}

/// P18: both queues are bounded, each alone: bulk never keeps a heartbeat out.
#[test]
fn the_queues_are_bounded() {
    let outbox = Outbox::default();
    assert_eq!(outbox.put(bulk(1, 100), 1000), Err(Unsent::NotConnected));
    outbox.open();
    outbox.put(bulk(1, 2000), 1000).unwrap();
    assert_eq!(outbox.put(bulk(2, 100), 1000), Err(Unsent::Full));
    assert_eq!(outbox.put(frame(&append(3, 0).emptied(), vec![]), 1000), Err(Unsent::Full));
    let mut n = 0;
    while outbox.put(frame(&heartbeat(n), vec![]), 1000).is_ok() {
        n += 1;
    }
    assert_eq!(n, URGENT_MAX as u64 / 40);
    let taken = now(outbox.take());
    assert_eq!(outbox.put(frame(&heartbeat(n), vec![]), 1000), Err(Unsent::Full));
    outbox.written(&taken);
    outbox.put(frame(&heartbeat(n), vec![]), 1000).unwrap();
    outbox.close();
    assert_eq!(outbox.bytes(), 0);
    outbox.open();
    outbox.put(bulk(1, 100), 1000).unwrap();
    let taken = now(outbox.take());
    assert_eq!(taken.len(), 1, "what was queued before the close came out");
    assert!(outbox.bytes() > 100, "what is being written takes no room");
    outbox.written(&taken);
    assert_eq!(outbox.bytes(), 0);
}

/// What goes first goes first; appends and resets keep their order; no more is taken at once than
/// a heartbeat may wait for, but for one frame that has more.
#[test]
fn what_must_not_wait_goes_first() {
    let reset = Message::Reset { term: 1, begin: Anchor::default(), members: set(&members()) };
    let outbox = Outbox::default();
    outbox.open();
    let max = 64 << 20;
    for n in 0..4 {
        outbox.put(bulk(n, 100 << 10), max).unwrap();
    }
    outbox.put(frame(&reset, vec![]), max).unwrap();
    outbox.put(bulk(4, 1 << 20), max).unwrap();
    outbox.put(frame(&append(5, 0).emptied(), vec![]), max).unwrap();
    outbox.put(frame(&heartbeat(1), vec![]), max).unwrap();
    outbox.put(frame(&heartbeat(2), vec![]), max).unwrap();
    let mut takes = Vec::new();
    let mut expected = Vec::new();
    while outbox.bytes() > 0 {
        let taken = now(outbox.take());
        let mut bytes = Vec::new();
        let n = now(write(&mut bytes, &taken)).unwrap();
        assert_eq!(n, bytes.len() as u64);
        assert!(bytes.len() <= FRAME_BYTES || taken.len() == 1);
        outbox.written(&taken);
        takes.push(taken.len());
        expected.extend(bytes);
    }
    assert_eq!(takes, [4, 2 + 1, 1, 1]);
    let mut written = Vec::new();
    let frames = [frame(&heartbeat(1), vec![]), frame(&heartbeat(2), vec![])]
        .into_iter()
        .chain((0..4).map(|n| bulk(n, 100 << 10)))
        .chain([frame(&reset, vec![]), bulk(4, 1 << 20)])
        .chain([frame(&append(5, 0).emptied(), vec![])]);
    now(write(&mut written, &frames.collect::<Vec<_>>())).unwrap();
    assert!(written == expected, "other bytes, or in another order");
}

/// Raw bytes that are not those of the batches would be taken for the next frame.
#[test]
fn an_unfit_message_is_not_queued() {
    let limits = config().frames;
    let unfit = |message: &Message, raw| match Frame::new(message, raw, &limits) {
        Err(Unsent::Unfit(error)) => error,
        _ => panic!("taken"),
    };
    let sum = unfit(&append(1, 100), vec![raw(1, 99)]);
    assert_eq!(sum, FrameError::RawSum { sum: 100, raw: 99 });
    unfit(&heartbeat(1), vec![raw(1, 1)]);
    let len = limits.raw_max as usize + 1;
    let large = unfit(&append(1, len), vec![raw(1, len)]);
    assert!(matches!(large, FrameError::RawLength { .. }));
}

impl Message {
    /// An append without its entries.
    fn emptied(self) -> Message {
        match self {
            Message::Append { term, prev, prev_term, prev_chain, commit, .. } => {
                Message::Append { term, prev, prev_term, prev_chain, commit, entries: Vec::new() }
            }
            other => other,
        }
    }
}
