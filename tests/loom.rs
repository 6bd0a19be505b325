//! T8: what is shared without a lock, in every order that two or three threads can meet:
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom`.
#![cfg(loom)]

use dledger::group::sync::{Flag, Snapshot};
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Watermarks: a reader sees the numbers of one write, never a mixture, and never goes back.
#[test]
fn a_snapshot_is_of_one_write() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let marks = Arc::new(Snapshot::new([0, 0]));
        let writer = {
            let marks = marks.clone();
            thread::spawn(move || {
                marks.write([1, 10]);
                marks.write([2, 20]);
            })
        };
        let first = marks.read();
        let second = marks.read();
        assert_eq!(first[1], first[0] * 10);
        assert_eq!(second[1], second[0] * 10);
        assert!(first[0] <= second[0]);
        writer.join().unwrap();
        assert_eq!(marks.read(), [2, 20]);
    });
}

/// The staging hand-over: whatever is staged is taken, although the group thread only tries the
/// lock and sleeps when it finds it taken, and appenders ring after they let it go.
#[test]
fn staging_is_taken_however_the_lock_is_met() {
    loom::model(|| {
        struct Shared {
            staging: Mutex<u32>,
            bell: Flag,
            /// The token that a thread is unparked with.
            token: AtomicBool,
        }
        let shared = Arc::new(Shared {
            staging: Mutex::new(0),
            bell: Flag::default(),
            token: AtomicBool::new(false),
        });
        let appender = {
            let shared = shared.clone();
            thread::spawn(move || {
                *shared.staging.lock().unwrap() += 1;
                if shared.bell.raise() {
                    shared.token.store(true, Ordering::Release);
                }
            })
        };
        let turn = |taken: &mut u32| {
            shared.bell.lower();
            if let Ok(mut staging) = shared.staging.try_lock() {
                *taken += std::mem::take(&mut *staging);
            }
        };
        let mut taken = 0;
        turn(&mut taken);
        // It would sleep here; the token wakes it.
        appender.join().unwrap();
        while shared.token.swap(false, Ordering::AcqRel) {
            turn(&mut taken);
        }
        assert_eq!(taken, 1, "staged, and never taken");
    });
}

/// Stop and the end of a leadership: an append that got in is ended by it, one that did not is
/// refused; none waits for ever.
#[test]
fn no_append_comes_after_the_end_of_its_term() {
    loom::model(|| {
        struct Shared {
            gate: AtomicU64,
            inbox: Mutex<Vec<&'static str>>,
        }
        let shared = Arc::new(Shared { gate: AtomicU64::new(7), inbox: Mutex::new(Vec::new()) });
        let appender = {
            let shared = shared.clone();
            thread::spawn(move || {
                if shared.gate.load(Ordering::Acquire) != 7 {
                    return false;
                }
                let mut inbox = shared.inbox.lock().unwrap();
                if shared.gate.load(Ordering::SeqCst) != 7 {
                    return false;
                }
                inbox.push("append");
                true
            })
        };
        shared.gate.store(0, Ordering::SeqCst);
        shared.inbox.lock().unwrap().push("end");
        let got_in = appender.join().unwrap();
        let inbox = shared.inbox.lock().unwrap();
        let before_the_end = inbox.first() == Some(&"append");
        assert_eq!(got_in, before_the_end, "{inbox:?}");
    });
}
