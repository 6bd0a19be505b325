package io.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Appends to a group of one: places, futures, batches, refusals. */
class AppendTest {
    @TempDir
    Path dir;

    @Test
    void thePlaceIsKnownAtTheReturnAndIsThatOfTheResult() {
        try (Log log = Logs.leader(dir)) {
            long next = 0;
            for (int i = 0; i < 50; i++) {
                byte[] body = Logs.body(i, 0, 200);
                AppendFuture append = log.append(body);
                assertTrue(append.isTaken());
                assertEquals(i, append.index());
                assertEquals(next, append.position());
                assertEquals(next + 48, append.bodyPosition());
                next += 48 + body.length;
                AppendResult result = Logs.done(append).orThrow();
                assertEquals(append.index(), result.index());
                assertEquals(append.position(), result.position());
                assertEquals(append.bodyPosition(), result.bodyPosition());
                assertEquals(append.term(), result.term());
                assertEquals(1, result.count());
                assertFalse(result.isMaybeCommitted());
            }
        }
    }

    @Test
    void futuresCompleteOnceInIndexOrderOnOneThread() throws Exception {
        int threads = 4;
        int each = 5000;
        List<Long> ended = Collections.synchronizedList(new ArrayList<>());
        List<Thread> on = Collections.synchronizedList(new ArrayList<>());
        AtomicInteger ends = new AtomicInteger();
        try (Log log = Logs.leader(Logs.config(dir).pendingMax(1_000_000).segmentBytes(1 << 20))) {
            List<Thread> appenders = new ArrayList<>();
            for (int t = 0; t < threads; t++) {
                Thread thread = new Thread(() -> {
                    for (int i = 0; i < each; i++) {
                        AppendFuture append = Logs.taken(log, new byte[20]);
                        append.thenAccept(result -> {
                            assertEquals(append.index(), result.index());
                            ended.add(result.orThrow().index());
                            if (on.isEmpty() || on.get(on.size() - 1) != Thread.currentThread()) {
                                on.add(Thread.currentThread());
                            }
                        }).whenComplete((nothing, thrown) -> {
                            if (thrown == null) {
                                ends.incrementAndGet();
                            }
                        });
                    }
                });
                thread.start();
                appenders.add(thread);
            }
            for (Thread thread : appenders) {
                thread.join();
            }
            Logs.until("all have ended", () -> ends.get() == threads * each);
        }
        assertEquals(threads * each, ended.size());
        assertEquals(threads * each, ended.stream().distinct().count());
        // A dependent of what is complete already runs on the appender, and there in any order.
        long callbacks = on.stream().filter(thread -> thread instanceof CallbackThread).distinct().count();
        assertEquals(1, callbacks);
    }

    @Test
    void anEndThatIsFasterThanItsAppendWaitsForThePlace() throws Exception {
        AppendFuture append = new AppendFuture(new Pending(), 2);
        List<Long> seen = new ArrayList<>();
        append.thenAccept(result -> seen.add(append.position(1)));
        Thread callbacks = new Thread(() -> append.end(new AppendResult(0, 7, 1, 100, 2)));
        callbacks.start();
        Thread.sleep(20);
        assertFalse(append.isDone());
        append.place(7, 1, 100, new long[] {100, 160});
        callbacks.join();
        assertEquals(List.of(160L), seen);
    }

    @Test
    void committedFuturesEndInTheOrderOfTheirIndexes() {
        List<Long> ended = new ArrayList<>();
        int count = 3000;
        long begin = 0;
        try (Log log = Logs.leader(dir)) {
            log.set("append.pending.max", "100000");
            // Dependents are there before the end is told: the first one holds the callback thread up.
            Object gate = new Object();
            boolean held = false;
            synchronized (gate) {
                for (int tries = 0; !held && tries < 1000; tries++) {
                    AppendFuture first = log.append(new byte[1]);
                    begin = first.index();
                    ended.clear();
                    first.thenAccept(result -> {
                        synchronized (gate) {
                            ended.add(result.index());
                        }
                    });
                    held = !first.isDone();
                }
                assertTrue(held, "each append ended before it was looked at");
                for (int i = 1; i < count; i++) {
                    Logs.taken(log, new byte[i % 50]).thenAccept(result -> ended.add(result.index()));
                }
            }
            long end = begin + count;
            Logs.until("all have ended", () -> log.state().committedIndex() == end);
        }
        assertEquals(count, ended.size());
        for (int i = 0; i < count; i++) {
            assertEquals(begin + i, ended.get(i));
        }
    }

    @Test
    void aBatchHasConsecutiveIndexesAndAPlaceForEachRecord() {
        try (Log log = Logs.leader(dir)) {
            Logs.appended(log, new byte[7]);
            for (int count : new int[] {1, 2, 64, 128, 129, 1000}) {
                List<byte[]> bodies = new ArrayList<>();
                for (int n = 0; n < count; n++) {
                    bodies.add(Logs.body(count * 1000L + n, 0, 50));
                }
                long before = log.state().endIndex();
                AppendFuture append = log.appendBatch(bodies);
                assertEquals(before, append.index());
                assertEquals(count, append.count());
                assertEquals(append.position(), append.position(0));
                assertThrows(IndexOutOfBoundsException.class, () -> append.position(count));
                AppendResult result = Logs.done(append).orThrow();
                assertEquals(count, result.count());
                assertEquals(before, result.index());
                for (int n = 0; n < count; n++) {
                    try (LogEntry entry = log.entryAt(append.position(n))) {
                        assertEquals(before + n, entry.index());
                        assertArrayEquals(bodies.get(n), entry.bodyBytes());
                    }
                }
            }
            assertThrows(IllegalArgumentException.class, () -> log.appendBatch(Collections.emptyList()));
        }
    }

    @Test
    void bodiesComeFromArraysAndBuffersOfEveryKind() {
        byte[] all = Logs.body(1, 200, 200);
        ByteBuffer direct = ByteBuffer.allocateDirect(200);
        direct.put(all).flip();
        ByteBuffer heap = ByteBuffer.wrap(all);
        try (Log log = Logs.leader(dir)) {
            for (ByteBuffer buffer : new ByteBuffer[] {heap, direct, heap.asReadOnlyBuffer(), heap.slice()}) {
                buffer.position(50).limit(150);
                AppendFuture append = log.append(buffer, 0);
                assertEquals(50, buffer.position());
                assertEquals(150, buffer.limit());
                Logs.done(append).orThrow();
                assertArrayEquals(java.util.Arrays.copyOfRange(all, 50, 150), log.readCopy(append.index()));
            }
            AppendFuture part = log.append(all, 10, 20, 0, 0);
            Logs.done(part).orThrow();
            assertArrayEquals(java.util.Arrays.copyOfRange(all, 10, 30), log.readCopy(part.index()));
            assertEquals(0, log.readCopy(Logs.appended(log, new byte[0]).index()).length);
            assertThrows(IndexOutOfBoundsException.class, () -> log.append(all, 150, 51, 0, 0));
            assertThrows(IndexOutOfBoundsException.class, () -> log.append(all, -1, 5, 0, 0));
            assertThrows(IndexOutOfBoundsException.class, () -> log.append(all, 5, -1, 0, 0));
            assertThrows(IllegalArgumentException.class, () -> log.append(all, -1));
            assertThrows(NullPointerException.class, () -> log.append((byte[]) null));
        }
    }

    @Test
    void largeBodiesAndBatchesGoThroughMemoryOfTheirOwn() {
        LogConfig config = Logs.config(dir).segmentBytes(64 << 20).appendMaxBytes(12 << 20).set("unsynced.max",
                "32MiB");
        try (Log log = Logs.leader(config)) {
            for (int size : new int[] {100_000, 4 << 20, 5 << 20, 10 << 20, 1000}) {
                byte[] body = Logs.body(size, size, size);
                AppendFuture append = Logs.appended(log, body);
                assertArrayEquals(body, log.readCopy(append.index()));
                try (LogEntry entry = log.entry(append.index())) {
                    assertArrayEquals(body, entry.bodyBytes());
                }
            }
            AppendFuture batch = log.appendBatch(List.of(Logs.body(1, 5 << 20, 5 << 20), new byte[3]));
            Logs.done(batch).orThrow();
            assertArrayEquals(Logs.body(1, 5 << 20, 5 << 20), log.readCopy(batch.index()));
            assertEquals(3, log.readCopy(batch.index() + 1).length);
        }
    }

    @Test
    void whatIsRefusedIsCompleteAtOnceAndHasNoPlace() {
        try (Log log = Logs.leader(dir)) {
            LogState before = log.state();
            AppendFuture large = log.append(new byte[Logs.SEGMENT_BYTES]);
            refused(large, Status.TOO_LARGE);
            refused(log.append(new byte[1], 0, 1, 0, before.term() + 1), Status.TERM_CHANGED);
            refused(log.append(ByteBuffer.allocate(1), 0, before.term() + 1), Status.TERM_CHANGED);
            refused(log.appendBatch(List.of(new byte[1], new byte[2]), 0, before.term() + 1),
                    Status.TERM_CHANGED);
            assertEquals(before.endIndex(), log.state().endIndex());
            assertTrue(Logs.done(log.append(new byte[1], 0, 1, 0, before.term())).isCommitted());
            assertThrows(DledgerException.class, () -> Logs.done(large).orThrow());
        }
    }

    private static void refused(AppendFuture append, Status status) {
        assertTrue(append.isDone());
        assertFalse(append.isTaken());
        assertEquals(-1, append.index());
        assertEquals(-1, append.position());
        assertEquals(-1, append.bodyPosition());
        assertEquals(-1, append.position(0));
        AppendResult result = append.join();
        assertEquals(status, result.status());
        assertFalse(result.isCommitted());
        assertFalse(result.isMaybeCommitted());
        assertEquals(-1, result.index());
    }

    @Test
    void tooManyInFlightAreRefusedAndTakenAgainLater() {
        try (Log log = Logs.leader(Logs.config(dir).pendingMax(10))) {
            int full = 0;
            List<AppendFuture> taken = new ArrayList<>();
            for (int i = 0; i < 20_000 && full < 10; i++) {
                AppendFuture append = log.append(new byte[1]);
                if (append.isTaken()) {
                    taken.add(append);
                } else {
                    assertEquals(Status.PENDING_FULL, append.join().status());
                    assertTrue(append.join().status().isRetryable());
                    full++;
                }
            }
            assertEquals(10, full);
            taken.forEach(append -> Logs.done(append).orThrow());
            Logs.until("there is room again", () -> log.append(new byte[1]).isTaken());
        }
    }
}
