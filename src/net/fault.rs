//! What goes wrong between members: each fault is counted, and logged once a minute for each peer
//! and kind. The memory of the log is bounded, whoever knocks.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::lock;
use super::tls::TlsError;
use crate::wire::{FrameError, HelloError, Refusal};

/// Why a connection was not made, or is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// We refuse the other side.
    #[error("we refuse it, with the answer {0:?}")]
    Refused(Refusal),
    /// The other side refuses us.
    #[error("it refuses us: {0}")]
    RefusedBy(Refusal),
    /// What should have been a hello, or an answer, is none.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// What should have been a frame is none.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// TLS was not made, or broke.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// No hello, or no answer, came in time.
    #[error("it does not say hello in time")]
    Slow,
    /// Too many connections have not said hello: this one was the oldest.
    #[error("too many connections do not say hello: the oldest is closed")]
    Crowded,
    /// Who accepted a connection speaks on it.
    #[error("it sends on a connection that is ours to send on")]
    Talks,
    /// No honest member sends what it sent.
    #[error("no honest member sends this: {0}")]
    Message(&'static str),
    /// The other side cannot be reached.
    #[error("it cannot be reached: {0}")]
    Dial(io::ErrorKind),
    /// The connection ended, or failed.
    #[error("the connection is lost: {0}")]
    Lost(io::ErrorKind),
}

/// Whom a fault is blamed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A member, by its id.
    Member(u64),
    /// Somebody at an address. The port is left out: each attempt has another.
    Address(IpAddr),
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

/// What was counted, of a group or at a listener.
pub struct Counters {
    /// Whose they are, for the log.
    of: String,
    /// Connections that members made with us.
    pub accepted: Count,
    /// Connections that we made with members.
    pub dialled: Count,
    /// Connections that we had made and lost.
    pub lost: Count,
    /// Messages that could not be queued.
    pub unsent: Count,
    /// Bytes of whole frames that came in.
    pub bytes_in: Count,
    /// Bytes of whole frames that went out.
    pub bytes_out: Count,
    faults: [Count; NAMES.len()],
    logged: Mutex<HashMap<(Who, usize), Logged>>,
}

struct Logged {
    at: Instant,
    since: u64,
}

impl Fault {
    /// A name for metrics, equal for all faults that are counted together.
    pub fn name(&self) -> &'static str {
        NAMES[self.slot()]
    }

    fn slot(&self) -> usize {
        match self {
            Fault::Slow => 0,
            Fault::Crowded => 1,
            Fault::Talks => 2,
            Fault::Dial(_) => 3,
            Fault::Lost(_) => 4,
            Fault::Message(_) => 5,
            Fault::Hello(error) => HELLO + hello_slot(error),
            Fault::Frame(error) => FRAME + frame_slot(error),
            Fault::Tls(error) => TLS + tls_slot(error),
            Fault::Refused(refusal) => REFUSED + *refusal as usize - 1,
            Fault::RefusedBy(refusal) => REFUSED_BY + *refusal as usize - 1,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(inner) => Fault::Tls(inner.into()),
            None => Fault::Lost(error.kind()),
        }
    }
}

impl Count {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

impl Counters {
    pub(super) fn new(of: String) -> Counters {
        Counters {
            of,
            accepted: Count::default(),
            dialled: Count::default(),
            lost: Count::default(),
            unsent: Count::default(),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            faults: [const { Count(AtomicU64::new(0)) }; NAMES.len()],
            logged: Mutex::default(),
        }
    }

    /// How often a fault of this kind was met.
    pub fn count(&self, fault: Fault) -> u64 {
        self.faults[fault.slot()].get()
    }

    /// All kinds of faults, as `kind="slow"`, with how often they were met.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        LABELS.into_iter().zip(self.faults.iter().map(Count::get))
    }

    /// Counts a fault, and logs it unless its like was logged a short time ago.
    pub(super) fn blame(&self, who: Who, fault: Fault) {
        self.faults[fault.slot()].add(1);
        match self.to_log(who, fault.slot(), Instant::now()) {
            None => {}
            Some(0) => tracing::warn!("{}: {who}: {fault}", self.of),
            Some(more) => tracing::warn!("{}: {who}: {fault} ({more} times before)", self.of),
        }
    }

    /// Whether to log now, and how many were not logged since the last time.
    fn to_log(&self, who: Who, slot: usize, now: Instant) -> Option<u64> {
        let mut logged = lock(&self.logged);
        if let Some(last) = logged.get_mut(&(who, slot)) {
            if now.duration_since(last.at) < QUIET {
                last.since += 1;
                return None;
            }
            return Some(std::mem::replace(last, Logged { at: now, since: 0 }).since);
        }
        if logged.len() == LOGGED_MAX {
            logged.retain(|_, last| now.duration_since(last.at) < QUIET);
        }
        // A crowd of peers that are all at fault: it was told often enough.
        if logged.len() == LOGGED_MAX {
            return None;
        }
        logged.insert((who, slot), Logged { at: now, since: 0 });
        Some(0)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Member(id) => write!(f, "member {id}"),
            Who::Address(address) => write!(f, "somebody at {address}"),
        }
    }
}

fn hello_slot(error: &HelloError) -> usize {
    match error {
        HelloError::Magic => 0,
        HelloError::Length(_) => 1,
        HelloError::Checksum => 2,
        HelloError::Malformed => 3,
        HelloError::UnknownRefusal(_) => 4,
    }
}

fn frame_slot(error: &FrameError) -> usize {
    match error {
        FrameError::Kind(_) => 0,
        FrameError::Flags => 1,
        FrameError::MessageLength { .. } => 2,
        FrameError::RawLength { .. } => 3,
        FrameError::Checksum => 4,
        FrameError::Malformed(_) => 5,
        FrameError::RawSum { .. } => 6,
    }
}

fn tls_slot(error: &TlsError) -> usize {
    match error {
        TlsError::Noise => 0,
        TlsError::Incompatible => 1,
        TlsError::NoCertificate => 2,
        TlsError::Authority => 3,
        TlsError::Time => 4,
        TlsError::Signature => 5,
        TlsError::Certificate => 6,
        TlsError::Alert(_) => 7,
        TlsError::Failed => 8,
    }
}

/// A fault is not logged again for so long.
const QUIET: Duration = Duration::from_secs(60);
/// So many peers and kinds are remembered.
const LOGGED_MAX: usize = 1024;

const HELLO: usize = 6;
const FRAME: usize = HELLO + 5;
const TLS: usize = FRAME + 7;
const REFUSED: usize = TLS + 9;
const REFUSED_BY: usize = REFUSED + 10;
/// The names of faults, and each as a label of a metric.
macro_rules! names {
    ($($name:literal)*) => {
        const NAMES: [&str; REFUSED_BY + 10] = [$($name),*];
        const LABELS: [&str; REFUSED_BY + 10] = [$(concat!("kind=\"", $name, "\"")),*];
    };
}

names! {
    "slow"
    "crowded"
    "talks"
    "dial"
    "lost"
    "message"
    "hello.magic"
    "hello.length"
    "hello.checksum"
    "hello.malformed"
    "hello.unknown_refusal"
    "frame.kind"
    "frame.flags"
    "frame.message_length"
    "frame.raw_length"
    "frame.checksum"
    "frame.malformed"
    "frame.raw_sum"
    "tls.noise"
    "tls.incompatible"
    "tls.no_certificate"
    "tls.authority"
    "tls.time"
    "tls.signature"
    "tls.certificate"
    "tls.alert"
    "tls.failed"
    "refused.version"
    "refused.unknown_group"
    "refused.not_me"
    "refused.unknown_member"
    "refused.segment_size"
    "refused.old_incarnation"
    "refused.not_this_incarnation"
    "refused.busy"
    "refused.certificate"
    "refused.begin"
    "refused_by.version"
    "refused_by.unknown_group"
    "refused_by.not_me"
    "refused_by.unknown_member"
    "refused_by.segment_size"
    "refused_by.old_incarnation"
    "refused_by.not_this_incarnation"
    "refused_by.busy"
    "refused_by.certificate"
    "refused_by.begin"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;

    /// Each kind of fault has a count and a name of its own.
    #[test]
    fn each_fault_has_its_slot() {
        let refusals = (1..).map_while(Refusal::from_number);
        let mut names: Vec<_> =
            refusals.flat_map(|r| [Fault::Refused(r).name(), Fault::RefusedBy(r).name()]).collect();
        let raw = FrameError::RawLength { len: 1, max: 0 };
        let kind = Kind::Heartbeat;
        names.extend([
            Fault::Slow.name(),
            Fault::Crowded.name(),
            Fault::Talks.name(),
            Fault::Message("").name(),
            Fault::Dial(io::ErrorKind::TimedOut).name(),
            Fault::Lost(io::ErrorKind::TimedOut).name(),
            Fault::Hello(HelloError::Magic).name(),
            Fault::Hello(HelloError::Length(1)).name(),
            Fault::Hello(HelloError::Checksum).name(),
            Fault::Hello(HelloError::Malformed).name(),
            Fault::Hello(HelloError::UnknownRefusal(77)).name(),
            Fault::Frame(FrameError::Kind(0)).name(),
            Fault::Frame(FrameError::Flags).name(),
            Fault::Frame(FrameError::MessageLength { kind, len: 0 }).name(),
            Fault::Frame(raw).name(),
            Fault::Frame(FrameError::Checksum).name(),
            Fault::Frame(FrameError::Malformed(kind)).name(),
            Fault::Frame(FrameError::RawSum { sum: 1, raw: 0 }).name(),
            Fault::Tls(TlsError::Noise).name(),
            Fault::Tls(TlsError::Incompatible).name(),
            Fault::Tls(TlsError::NoCertificate).name(),
            Fault::Tls(TlsError::Authority).name(),
            Fault::Tls(TlsError::Time).name(),
            Fault::Tls(TlsError::Signature).name(),
            Fault::Tls(TlsError::Certificate).name(),
            Fault::Tls(TlsError::Alert(rustls::AlertDescription::UnknownCA)).name(),
            Fault::Tls(TlsError::Failed).name(),
        ]);
        names.sort_unstable();
        let mut all = NAMES;
        all.sort_unstable();
        assert_eq!(names, all);
    }

    /// One line a minute for each peer and kind, and a bounded memory of them.
    #[test]
    fn a_fault_is_logged_once_a_minute() {
        let counters = Counters::new("group g".into());
        let now = Instant::now();
        let one = Who::Member(1);
        assert_eq!(counters.to_log(one, 0, now), Some(0));
        assert_eq!(counters.to_log(one, 0, now), None);
        assert_eq!(counters.to_log(one, 0, now + QUIET / 2), None);
        assert_eq!(counters.to_log(one, 1, now), Some(0));
        assert_eq!(counters.to_log(Who::Member(2), 0, now), Some(0));
        assert_eq!(counters.to_log(one, 0, now + QUIET), Some(2));
        for id in 0..10 * LOGGED_MAX as u64 {
            counters.to_log(Who::Member(id), 0, now);
        }
        assert_eq!(lock(&counters.logged).len(), LOGGED_MAX);
        assert_eq!(counters.to_log(Who::Member(u64::MAX), 0, now + 3 * QUIET), Some(0));
    }
}
