package io.dledger.rocketmq;

import org.HdrHistogram.Histogram;

/** How the sends of one phase ended, and when. */
final class Tally {
    /** What a send that failed counts as among the latencies: slower than all others. */
    static final long FAILED_NANOS = 60_000_000_000L;

    private final Histogram latencies = new Histogram(FAILED_NANOS, 3);
    private final long begin = System.nanoTime();
    private long acknowledged;
    private long failed;
    private double seconds;

    synchronized void acknowledged(long nanos) {
        if (seconds == 0) {
            latencies.recordValue(Math.min(nanos, FAILED_NANOS));
            acknowledged++;
        }
    }

    /** There were so many sends; those that are not acknowledged by now have failed. */
    synchronized void end(long sends) {
        seconds = (System.nanoTime() - begin) / 1e9;
        failed = sends - acknowledged;
        for (long n = 0; n < failed; n++) {
            latencies.recordValue(FAILED_NANOS);
        }
    }

    /** Of all sends, in ms. */
    double latency(double percentile) {
        return Math.min(latencies.getValueAtPercentile(percentile), FAILED_NANOS) / 1e6;
    }

    double acknowledgedPerSecond() {
        return acknowledged / seconds;
    }

    long acknowledged() {
        return acknowledged;
    }

    double failedPercent() {
        return 100.0 * failed / Math.max(1, failed + acknowledged);
    }
}
