package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A million appends of random sizes, single and in batches: each is counted, and read back. */
class MillionTest {
    private static final int COUNT = 1_000_000;
    private static final int LEAST = 8;
    private static final int MOST = 300;

    @TempDir
    Path dir;

    /** A body that tells which it is: its number, and then bytes that follow from it. */
    private static byte[] body(int number) {
        int length = LEAST + (number * 0x9E37_79B1 >>> 8) % (MOST - LEAST + 1);
        byte[] body = new byte[length];
        ByteBuffer.wrap(body).putLong(0, number);
        for (int at = 8; at < length; at++) {
            body[at] = (byte) (number + at * 31);
        }
        return body;
    }

    @Test
    void eachOfAMillionAppendsEndsOnceAndIsReadBack() throws Exception {
        LogConfig config = Logs.config(dir).segmentBytes(16 << 20).indexSegmentBytes(16 << 20);
        AtomicLong committed = new AtomicLong();
        AtomicLong failed = new AtomicLong();
        long[] positions = new long[COUNT];
        try (Log log = Logs.leader(config)) {
            for (int next = 0; next < COUNT;) {
                int count = Math.min(COUNT - next, next % 7 == 0 ? 64 : 1);
                AppendFuture append = append(log, next, count);
                if (!append.isTaken()) {
                    assertEquals(Status.PENDING_FULL, append.join().status());
                    Thread.sleep(1);
                    continue;
                }
                assertEquals(next, append.index());
                for (int n = 0; n < count; n++) {
                    positions[next + n] = append.position(n);
                }
                append.thenAccept(result -> (result.isCommitted() ? committed : failed).addAndGet(result.count()));
                next += count;
            }
            Logs.until("all have ended", () -> committed.get() + failed.get() >= COUNT);
            assertEquals(0, failed.get());
            assertEquals(COUNT, committed.get());
            readBack(log, positions);
        }
        try (Log log = Logs.leader(config)) {
            assertEquals(COUNT, log.state().committedIndex());
            readBack(log, positions);
        }
    }

    private static AppendFuture append(Log log, int next, int count) {
        if (count == 1) {
            return log.append(body(next));
        }
        List<byte[]> bodies = new ArrayList<>(count);
        for (int n = 0; n < count; n++) {
            bodies.add(body(next + n));
        }
        return log.appendBatch(bodies);
    }

    private static void readBack(Log log, long[] positions) {
        LogCursor cursor = log.cursor(0);
        for (int number = 0; number < COUNT; number++) {
            try (LogEntry entry = cursor.next()) {
                if (entry.index() != number || entry.position() != positions[number]
                        || !entry.body().equals(ByteBuffer.wrap(body(number)))) {
                    throw new AssertionError(number + " is " + entry);
                }
            }
        }
    }
}
