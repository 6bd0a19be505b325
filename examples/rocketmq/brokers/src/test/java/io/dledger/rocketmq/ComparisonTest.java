package io.dledger.rocketmq;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** What the comparisons make of what they measure. */
class ComparisonTest {
    @Test
    void aSendThatFailedIsTheSlowestAndNotInTheRate() throws Exception {
        Tally tally = new Tally();
        for (int n = 0; n < 97; n++) {
            tally.acknowledged(2_000_000);
        }
        Thread.sleep(100);
        tally.end(100);
        tally.acknowledged(1); // too late: it has failed
        assertEquals(97, tally.acknowledged());
        assertEquals(3, tally.failedPercent(), 0.001);
        assertEquals(2, tally.latency(50), 0.01);
        assertEquals(2, tally.latency(97), 0.01);
        assertEquals(60_000, tally.latency(99));
        assertTrue(tally.acknowledgedPerSecond() <= 970);
        assertEquals(0, new Tally().failedPercent());
    }

    @Test
    void theFiguresOfTheCBenchAreThoseOfItsLeader() {
        String json = "{\"members\":3,\"entries\":5,\"entries_per_second\":84030.5,\"bytes_per_second\":1.0,"
                + "\"p50_us\":470.1,\"p99_us\":2800.0,\"p999_us\":18000.0,\"max_us\":19000.0,\"failures\":0,"
                + "\"processes\":[{\"member\":1,\"cpu_ns_per_entry\":7600.0,\"cpu\":0.5},"
                + "{\"member\":2,\"cpu_ns_per_entry\":1.0,\"cpu\":0.1}]}";
        assertArrayEquals(new double[] {84030.5, 470.1, 2800, 18000, 7600}, CBench.figures(json));
        assertThrows(IllegalStateException.class, () -> CBench.figures("{}"));
    }
}
