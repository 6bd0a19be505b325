//! How much, how long and how often: what bounds the sockets of a group.

use std::time::Duration;

use super::tls::Tls;
use crate::wire::Limits;

/// The settings of a [`Net`](super::Net).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, `host:port`. Groups with an equal address share a listener;
    /// with port 0 each has its own.
    pub listen: String,
    /// With it all connections are TLS; `None`: none is. Groups that share a listener have the same
    /// files, and the listener has what the last one of them read.
    pub tls: Option<Tls>,
    /// Listen without TLS at other addresses than loopback too.
    pub insecure_listen: bool,
    /// What a frame may have.
    pub frames: Limits,
    /// Most bytes of appends that are queued for one peer. At least one append is always taken.
    pub queued_max: usize,
    /// Most raw bytes from one peer that the group has not done with. At least one append is
    /// always read. At 0 too.
    pub incoming_max: usize,
    /// How long a connection may take to be made.
    pub connect_limit: Duration,
    /// How long a hello may take, TLS before it and its answer included. A listener has that of its first group.
    pub hello_limit: Duration,
    /// The first pause before a member that could not be reached is dialled again; it doubles.
    pub redial_min: Duration,
    /// The longest such pause.
    pub redial_max: Duration,
    /// Where the jitter of these pauses comes from.
    pub seed: u64,
}

impl Config {
    /// The usual settings for a group at `listen`, whose frames have `frames`.
    pub fn new(listen: impl Into<String>, frames: Limits, seed: u64) -> Config {
        Config {
            listen: listen.into(),
            tls: None,
            insecure_listen: false,
            frames,
            queued_max: 64 << 20,
            incoming_max: 64 << 20,
            connect_limit: Duration::from_secs(3),
            hello_limit: Duration::from_secs(3),
            redial_min: Duration::from_millis(50),
            redial_max: Duration::from_secs(2),
            seed,
        }
    }
}

/// The pauses between two dials: they double, and each is between half and all of itself.
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// The pauses of `config`; each `id` has its own jitter.
    pub fn new(config: &Config, id: u64) -> Backoff {
        let (min, max) = (config.redial_min, config.redial_max);
        let random = fastrand::Rng::with_seed(config.seed.wrapping_add(id));
        Backoff { min, max, next: min, random }
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// The pause after a failure.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

/// Connections at one listener that have not said hello; beyond it the oldest is closed.
pub const HELLOS_MAX: usize = 256;
/// Connections of one member with one group, counted before their hello is answered: beyond it
/// the oldest is closed.
pub const ACCEPTED_MAX: usize = 4;
/// Bytes that are written at once, and left to the kernel unsent, at most, but for one frame.
pub const FRAME_BYTES: usize = 256 << 10;
/// Most bytes of what goes first that are queued for one peer.
pub const URGENT_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses grow up to their bound, fall back after a success, and are equal for one seed.
    #[test]
    fn pauses_double_up_to_their_bound() {
        let config = Config::new("", Limits::new(0), 7);
        let pauses = || {
            let mut backoff = Backoff::new(&config, 3);
            let pauses: Vec<_> = (0..10).map(|_| backoff.pause()).collect();
            backoff.reset();
            (pauses, backoff.pause())
        };
        let (grown, reset) = pauses();
        let mut whole = config.redial_min;
        for pause in &grown {
            assert!((whole / 2..=whole).contains(pause), "{pause:?} of {whole:?}");
            whole = (whole * 2).min(config.redial_max);
        }
        assert!(reset <= config.redial_min);
        assert_eq!((grown, reset), pauses());
        assert_ne!(Backoff::new(&config, 4).pause(), Backoff::new(&config, 3).pause());
    }
}
