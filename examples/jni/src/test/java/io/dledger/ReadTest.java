package io.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Reads without a copy: by index, by position, one behind the other; views and what they hold. */
class ReadTest {
    private static final int COUNT = 2000;

    @TempDir
    Path dir;

    /** Records over several segments. */
    private static List<AppendFuture> fill(Log log) {
        List<AppendFuture> appends = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) {
            appends.add(Logs.taken(log, Logs.body(i, 0, 300)));
        }
        appends.forEach(append -> Logs.done(append).orThrow());
        return appends;
    }

    @Test
    void aRecordIsFoundByItsIndexAndByItsPosition() {
        try (Log log = Logs.leader(dir)) {
            List<AppendFuture> appends = fill(log);
            for (int i = COUNT - 1; i >= 0; i--) {
                byte[] body = Logs.body(i, 0, 300);
                AppendFuture append = appends.get(i);
                try (LogEntry byIndex = log.entry(i); LogEntry byPosition = log.entryAt(append.position())) {
                    for (LogEntry entry : List.of(byIndex, byPosition)) {
                        assertEquals(i, entry.index());
                        assertEquals(append.term(), entry.term());
                        assertEquals(append.position(), entry.position());
                        assertEquals(append.bodyPosition(), entry.bodyPosition());
                        assertEquals(body.length, entry.length());
                        assertArrayEquals(body, entry.bodyBytes());
                    }
                }
                if (body.length > 0) {
                    try (LogView view = log.read(append.bodyPosition(), body.length)) {
                        assertEquals(append.bodyPosition(), view.position());
                        assertEquals(ByteBuffer.wrap(body), view.buffer());
                    }
                }
            }
        }
    }

    @Test
    void aCursorWalksOverSegmentsAndWaitsAtTheEnd() {
        try (Log log = Logs.leader(dir)) {
            LogCursor cursor = log.cursor(0);
            assertNull(cursor.next());
            fill(log);
            for (int round = 0; round < 2; round++) {
                for (int i = 0; i < COUNT; i++) {
                    int index = round * COUNT + i;
                    assertEquals(index, cursor.nextIndex());
                    try (LogEntry entry = cursor.next()) {
                        assertEquals(index, entry.index());
                        assertArrayEquals(Logs.body(i, 0, 300), entry.bodyBytes());
                    }
                }
                assertNull(cursor.next());
                fill(log);
            }
            LogCursor ahead = log.cursor(3 * COUNT + 1);
            assertNull(ahead.next());
            Logs.appended(log, new byte[1]);
            assertNull(ahead.next());
            assertFalse(log.awaitCommitted(3 * COUNT + 1, 1));
            log.append(new byte[2]);
            assertTrue(log.awaitCommitted(3 * COUNT + 1, Logs.WAIT_MILLIS));
            try (LogEntry entry = ahead.next()) {
                assertEquals(2, entry.length());
            }
        }
    }

    @Test
    void aReadEndsWithItsSegmentItsLimitOrWhatIsCommitted() {
        try (Log log = Logs.leader(dir)) {
            fill(log);
            long committed = log.committedPosition();
            assertEquals(log.state().committedPosition(), committed);
            long position = 0;
            while (position < committed) {
                try (LogView view = log.read(position, Integer.MAX_VALUE)) {
                    long segmentEnd = (position / Logs.SEGMENT_BYTES + 1) * Logs.SEGMENT_BYTES;
                    assertEquals(Math.min(segmentEnd, committed) - position, view.length());
                    position += view.length();
                }
            }
            try (LogView view = log.read(10, 20)) {
                assertEquals(20, view.length());
                assertThrows(ReadOnlyBufferException.class, () -> view.buffer().put(0, (byte) 1));
            }
            assertNull(log.tryRead(committed, 1));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.read(committed, 1));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.entryAt(committed));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.entry(COUNT));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.readCopy(COUNT));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.indexAt(committed));
            Logs.refuses(Status.NOT_COMMITTED, () -> log.segment(committed));
            Logs.refuses(Status.INVALID, () -> log.entryAt(1));
            assertThrows(IllegalArgumentException.class, () -> log.read(-1, 1));
            assertThrows(IllegalArgumentException.class, () -> log.read(0, 0));
            assertThrows(IllegalArgumentException.class, () -> log.entry(-1));
        }
    }

    @Test
    void aReadOfAKnownSegmentMakesNoNativeCall() {
        try (Log log = Logs.leader(dir)) {
            List<AppendFuture> appends = fill(log);
            LogCursor cursor = log.cursor(0);
            for (int i = 0; i < COUNT; i++) {
                cursor.next().release();
            }
            assertEquals(log.committedPosition() / Logs.SEGMENT_BYTES + 1, log.state().openViews());
            LogCursor again = log.cursor(0);
            again.next().release();
            log.engine.handle.shut(); // from here on a native call would throw
            assertThrows(IllegalStateException.class, log::state);
            for (int i = 1; i < COUNT; i++) {
                log.entryAt(appends.get(i).position()).release();
                log.read(appends.get(i).position(), 48).release();
                assertEquals(i, again.nextIndex());
                again.next().release();
            }
            log.engine.handle.shut(); // the sum of two is none
            assertEquals(COUNT, log.state().committedIndex());
        }
    }

    @Test
    void whatWasReadStaysWhenTheLogIsClosed() {
        LogView view;
        LogEntry entry;
        LogSegment segment;
        try (Log log = Logs.leader(dir)) {
            fill(log);
            view = log.read(48, 200);
            entry = log.entry(COUNT - 1);
            segment = log.segment(0);
        }
        System.gc();
        assertArrayEquals(Logs.body(COUNT - 1, 0, 300), entry.bodyBytes());
        assertEquals(1, segment.buffer().getInt(0));
        assertEquals(Logs.SEGMENT_BYTES, segment.size());
        assertEquals(0, segment.position());
        assertEquals(0, segment.begin());
        byte[] bytes = new byte[Math.min(200, Logs.body(0, 0, 300).length)];
        view.buffer().get(bytes);
        assertArrayEquals(java.util.Arrays.copyOf(Logs.body(0, 0, 300), bytes.length), bytes);
        for (int twice = 0; twice < 2; twice++) {
            view.release();
            entry.release();
            segment.close();
        }
        assertThrows(IllegalStateException.class, view::buffer);
        assertThrows(IllegalStateException.class, entry::body);
        assertThrows(IllegalStateException.class, entry::bodyBytes);
        assertThrows(IllegalStateException.class, segment::buffer);
        assertEquals(COUNT - 1, entry.index());
    }

    @Test
    void aBufferAloneKeepsItsSegmentMapped() throws Exception {
        ByteBuffer body = onlyTheBuffer();
        for (int i = 0; i < 5; i++) {
            System.gc();
            Thread.sleep(20);
        }
        byte[] bytes = new byte[body.remaining()];
        body.duplicate().get(bytes);
        assertArrayEquals(Logs.body(7, 0, 300), bytes);
        assertTrue(mappings() > 0);
        body = null;
        Logs.until("what nobody can reach is unmapped", () -> {
            System.gc();
            return mappings() == 0;
        });
    }

    @Test
    void aCloseUnmapsWhatNobodyHolds() {
        LogView view;
        try (Log log = Logs.leader(dir)) {
            fill(log);
            for (int i = 0; i < COUNT; i++) {
                log.entry(i).release();
            }
            view = log.read(0, 10);
            assertTrue(mappings() > 1);
        }
        // Without the garbage collector; a thread of the library may hold the log for a moment longer.
        Logs.until("all but the view's segment is unmapped", () -> mappings() == 1);
        view.release();
        Logs.until("the view's segment is unmapped", () -> mappings() == 0);
    }

    private ByteBuffer onlyTheBuffer() {
        try (Log log = Logs.leader(dir)) {
            fill(log);
            return log.entry(7).body(); // never released
        }
    }

    /** Mappings of files of the log in this process. */
    private long mappings() {
        try {
            return Files.readAllLines(Path.of("/proc/self/maps")).stream()
                    .filter(line -> line.contains(dir.toString() + "/data/")).count();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    @Test
    void aPinnedSegmentOutlivesItsPurge() {
        try (Log log = Logs.leader(dir)) {
            List<AppendFuture> appends = fill(log);
            LogEntry held = log.entry(0);
            LogCursor behind = log.cursor(0);
            behind.next().release();
            long purgedTo = appends.stream().filter(a -> a.position() >= 3 * Logs.SEGMENT_BYTES).findFirst()
                    .get().index();
            log.deletePrefix(purgedTo);
            Logs.until("begin has moved", () -> log.state().beginIndex() == purgedTo);
            Logs.until("what nobody reads is let go of", () -> log.state().openViews() == 1);
            Logs.refuses(Status.COMPACTED, () -> log.entry(0));
            Logs.refuses(Status.COMPACTED, () -> log.entryAt(0));
            Logs.refuses(Status.COMPACTED, () -> log.read(0, 1));
            Logs.refuses(Status.COMPACTED, () -> log.segment(0));
            Logs.refuses(Status.COMPACTED, () -> log.cursor(0).next());
            Logs.refuses(Status.COMPACTED, behind::next);
            Logs.refuses(Status.COMPACTED, () -> log.awaitCommitted(0, 0));
            assertArrayEquals(Logs.body(0, 0, 300), held.bodyBytes());
            assertEquals(1, log.state().openViews());
            held.release();
            held.release();
            Logs.until("nothing is pinned", () -> log.state().openViews() == 0);
            try (LogEntry first = log.entry(purgedTo)) {
                assertArrayEquals(Logs.body(purgedTo, 0, 300), first.bodyBytes());
            }
        }
    }

    @Test
    void retentionLetsGoOfSegmentsThatWereRead() {
        try (Log log = Logs.leader(dir)) {
            fill(log);
            LogCursor cursor = log.cursor(0);
            for (int i = 0; i < COUNT; i++) {
                cursor.next().release();
            }
            int pinned = log.state().openViews();
            assertTrue(pinned > 3, pinned + " segments");
            log.set("retention.bytes", Logs.SEGMENT_BYTES + "B");
            Logs.until("the head is gone", () -> log.state().beginIndex() > COUNT / 2);
            Logs.until("and nothing holds it", () -> log.state().openViews() < pinned - 2);
        }
    }

    @Test
    void manyThreadsReadWhileSegmentsArePurged() throws Exception {
        try (Log log = Logs.leader(dir)) {
            List<AppendFuture> appends = fill(log);
            List<Throwable> wrong = new ArrayList<>();
            List<Thread> readers = new ArrayList<>();
            for (int t = 0; t < 3; t++) {
                int seed = t;
                Thread reader = new Thread(() -> {
                    java.util.Random random = new java.util.Random(seed);
                    try {
                        for (int n = 0; n < 20_000; n++) {
                            int i = random.nextInt(COUNT);
                            try (LogEntry entry = log.entryAt(appends.get(i).position())) {
                                assertArrayEquals(Logs.body(i, 0, 300), entry.bodyBytes());
                            } catch (DledgerException purged) {
                                assertEquals(Status.COMPACTED, purged.status());
                            }
                        }
                    } catch (Throwable thrown) {
                        synchronized (wrong) {
                            wrong.add(thrown);
                        }
                    }
                });
                reader.start();
                readers.add(reader);
            }
            for (int index = 200; index < COUNT; index += 200) {
                Thread.sleep(20);
                log.deletePrefix(index);
            }
            for (Thread reader : readers) {
                reader.join();
            }
            assertEquals(List.of(), wrong);
        }
    }
}
