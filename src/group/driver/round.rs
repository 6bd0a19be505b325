//! What is written and will share the next sync. Appenders that were just told of one round are
//! about to fill the next: it stays open until as many records have come as were in flight when
//! the last one ended, so that they do not queue behind a sync for the first of them. What comes
//! first is written while the rest comes.

/// One round of writes.
#[derive(Default)]
pub(super) struct Round {
    /// Since when, in nanoseconds; `None`: nothing waits for a sync.
    since: Option<u64>,
    /// Written in it.
    records: u64,
    /// In flight when the one before ended.
    expected: u64,
}

impl Round {
    /// Counts records that were written; opens it.
    pub(super) fn add(&mut self, records: u64, now: u64) {
        self.since.get_or_insert(now);
        self.records += records;
    }

    /// Whether something waits for a sync.
    pub(super) fn is_open(&self) -> bool {
        self.since.is_some()
    }

    /// Whether to sync, when `came` says if anything came since the last look.
    pub(super) fn is_due(&self, came: bool, now: u64) -> bool {
        self.since.is_some_and(|since| {
            !came || self.records >= self.expected || now.saturating_sub(since) >= ROUND_NS
        })
    }

    /// Records that are expected in it and have not come.
    pub(super) fn missing(&self) -> u64 {
        self.expected.saturating_sub(self.records)
    }

    /// All of it is synced, when so many records are in flight.
    pub(super) fn close(&mut self, in_flight: u64) {
        self.since = None;
        self.records = 0;
        self.expected = in_flight;
    }
}

/// The longest that a round stays open: a fraction of what a sync takes.
const ROUND_NS: u64 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing written is nothing to sync, however long nothing comes.
    #[test]
    fn an_empty_round_is_never_due() {
        let mut round = Round::default();
        assert!(!round.is_open() && !round.is_due(false, u64::MAX));
        round.close(100);
        assert!(!round.is_open() && !round.is_due(false, u64::MAX));
    }

    /// It is due as soon as nothing more comes, whoever is missing.
    #[test]
    fn quiet_ends_it() {
        let mut round = Round::default();
        round.close(10);
        round.add(3, 50);
        assert!(round.is_open() && round.is_due(false, 50));
        assert!(!round.is_due(true, 50));
        assert_eq!(round.missing(), 7);
    }

    /// It is due when all have come that were in flight, and the next expects anew.
    #[test]
    fn it_is_full_when_all_came() {
        let mut round = Round::default();
        round.close(10);
        round.add(4, 50);
        round.add(5, 51);
        assert!(!round.is_due(true, 51));
        round.add(6, 52);
        assert!(round.is_due(true, 52));
        assert_eq!(round.missing(), 0);
        round.close(2);
        assert!(!round.is_open());
        round.add(1, 60);
        assert!(!round.is_due(true, 60));
        assert_eq!(round.missing(), 1);
    }

    /// However much keeps coming, it ends at its time, counted from its first record.
    #[test]
    fn its_time_is_limited() {
        let mut round = Round::default();
        round.close(u64::MAX);
        round.add(1, 1_000);
        round.add(1, 1_000 + ROUND_NS / 2);
        assert!(!round.is_due(true, 1_000 + ROUND_NS - 1));
        assert!(round.is_due(true, 1_000 + ROUND_NS));
        round.close(u64::MAX);
        round.add(1, 500_000);
        assert!(!round.is_due(true, 500_000 + ROUND_NS - 1));
    }
}
