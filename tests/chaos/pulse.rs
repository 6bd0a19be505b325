//! How long the machine did not let this process run: what is claimed about time is claimed
//! without that.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

static LOST_NS: AtomicU64 = AtomicU64::new(0);
static BEATS: Once = Once::new();

/// So long it was, since this was first asked.
pub fn lost() -> Duration {
    BEATS.call_once(|| {
        thread::spawn(|| {
            loop {
                let begin = Instant::now();
                thread::sleep(BEAT);
                let late = begin.elapsed().saturating_sub(BEAT);
                if late > USUAL {
                    LOST_NS.fetch_add(late.as_nanos() as u64, Ordering::SeqCst);
                }
            }
        });
    });
    Duration::from_nanos(LOST_NS.load(Ordering::SeqCst))
}

const BEAT: Duration = Duration::from_millis(5);
/// Late by less is no loss.
const USUAL: Duration = Duration::from_millis(5);
