//! Counters of one log, and what they are called outside.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::group::shared::Shared;
use crate::group::waiters::lock;

/// One figure, for a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// `append_commit_seconds`
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// `quantile="0.99"`, or nothing.
    pub label: &'static str,
    /// Only grows; else a gauge.
    pub counter: bool,
    /// Now.
    pub value: f64,
}

/// Counters, each written by one side with relaxed order.
#[derive(Default)]
pub struct Metrics {
    /// Appends that were refused at once.
    pub refused: AtomicU64,
    /// Messages of peers that came too late, too early or to the wrong member.
    pub dropped: AtomicU64,
    /// Messages of peers that no honest peer sends.
    pub closed: AtomicU64,
    /// Damaged batches whose bytes came from a peer.
    pub repaired: AtomicU64,
    /// Records written.
    pub records: AtomicU64,
    /// Bytes of records written.
    pub bytes: AtomicU64,
    /// Batches written.
    pub batches: AtomicU64,
    /// Syncs of data.
    pub syncs: AtomicU64,
    /// Appends that timed out.
    pub timeouts: AtomicU64,
    /// Checkpoints.
    pub checkpoints: AtomicU64,
    /// Bytes that recovery read from data segments.
    pub recovery_read: AtomicU64,
    /// Elections won here.
    pub leaderships: AtomicU64,
    latency: Mutex<Latencies>,
}

#[derive(Default)]
struct Latencies {
    commit: Option<Histogram<u64>>,
    sync: Option<Histogram<u64>>,
}

impl Metrics {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// From append to commit, for some appends at once, in nanoseconds.
    pub fn committed(&self, after: impl Iterator<Item = u64>) {
        let mut latency = lock(&self.latency);
        let histogram = latency.commit.get_or_insert_with(histogram);
        after.for_each(|ns| histogram.saturating_record(ns));
    }

    /// How long a sync took, in nanoseconds.
    pub fn synced(&self, took: u64) {
        Metrics::add(&self.syncs, 1);
        lock(&self.latency).sync.get_or_insert_with(histogram).saturating_record(took);
    }
}

impl Shared {
    /// Calls `each` for every figure there is.
    pub fn scrape(&self, each: &mut dyn FnMut(&Metric)) {
        let m = &self.metrics;
        let counters: [(&AtomicU64, &'static str, &'static str); 12] = [
            (&m.records, "records_written_total", "Records written to data segments."),
            (&m.bytes, "bytes_written_total", "Bytes of records written, headers included."),
            (&m.batches, "batches_written_total", "Batches written: Raft entries with records."),
            (&m.syncs, "syncs_total", "Syncs of data segments."),
            (&m.refused, "appends_refused_total", "Appends that were refused at once."),
            (&m.dropped, "peer_messages_dropped_total", "Messages of peers without use here."),
            (&m.closed, "peer_messages_refused_total", "Messages that no honest peer sends."),
            (
                &m.repaired,
                "batches_repaired_total",
                "Damaged batches that a peer's bytes replaced.",
            ),
            (&m.timeouts, "appends_timed_out_total", "Appends whose outcome came too late."),
            (&m.checkpoints, "checkpoints_total", "Checkpoints: the durable bound was raised."),
            (&m.leaderships, "leaderships_total", "Elections that this member won."),
            (
                &m.recovery_read,
                "recovery_read_bytes",
                "Bytes that the last recovery read from data segments.",
            ),
        ];
        for (value, name, help) in counters {
            let value = value.load(Ordering::Relaxed) as f64;
            each(&Metric { name, help, label: "", counter: true, value });
        }
        let state = self.state();
        let gauge = |name, help, value| Metric { name, help, label: "", counter: false, value };
        for metric in [
            gauge("term", "Raft term.", state.term as f64),
            gauge("leader", "1 if this member leads.", f64::from(u8::from(state.role as u32 == 3))),
            gauge("begin_index", "The first record that is kept.", state.begin.index.0 as f64),
            gauge(
                "committed_index",
                "Behind the last record that is agreed.",
                state.committed.index.0 as f64,
            ),
            gauge(
                "flushed_index",
                "Behind the last record on this disk.",
                state.flushed.index.0 as f64,
            ),
            gauge(
                "end_index",
                "Behind the last record that was given a place.",
                state.end.index.0 as f64,
            ),
            gauge(
                "open_views",
                "Views and segments that are not released.",
                f64::from(state.open_views),
            ),
            gauge(
                "appends_pending",
                "Records whose appender has not heard of their end.",
                self.pending.now() as f64,
            ),
            gauge(
                "appends_pending_bytes",
                "Their bytes, headers included.",
                self.pending_bytes.now() as f64,
            ),
        ] {
            each(&metric);
        }
        let latency = lock(&m.latency);
        quantiles(
            &latency.commit,
            "append_commit_seconds",
            "From an append with a callback until that is due with DL_OK; dl_append is not counted.",
            each,
        );
        quantiles(
            &latency.sync,
            "sync_seconds",
            "How long a sync of data took; one by interval from when it was asked for.",
            each,
        );
    }
}

fn quantiles(
    histogram: &Option<Histogram<u64>>,
    name: &'static str,
    help: &'static str,
    each: &mut dyn FnMut(&Metric),
) {
    for (quantile, label) in QUANTILES {
        let ns = histogram.as_ref().map_or(0, |h| h.value_at_quantile(quantile));
        each(&Metric { name, help, label, counter: false, value: ns as f64 / 1e9 });
    }
}

fn histogram() -> Histogram<u64> {
    // Two digits up to an hour; the bounds are valid, and without bounds it would still record.
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 2)
        .unwrap_or_else(|_| Histogram::new(2).unwrap_or_else(|_| unreachable!("two digits")))
}

const QUANTILES: [(f64, &str); 4] = [
    (0.5, "quantile=\"0.5\""),
    (0.99, "quantile=\"0.99\""),
    (0.999, "quantile=\"0.999\""),
    (1.0, "quantile=\"1\""),
];
