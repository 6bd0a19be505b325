package io.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A log from open to close, and behind its end. */
class LifeTest {
    @TempDir
    Path dir;

    @Test
    void whatWasAppendedIsReadBackAlsoAfterReopening() {
        List<Long> positions = new ArrayList<>();
        try (Log log = Logs.leader(dir)) {
            for (int i = 0; i < 1000; i++) {
                AppendFuture append = log.append(Logs.body(i, 0, 300));
                assertEquals(i, append.index());
                positions.add(append.position());
            }
            Logs.until("all are committed", () -> log.state().committedIndex() == 1000);
            readAll(log, positions);
        }
        try (Log log = Logs.leader(dir)) {
            assertEquals(1000, log.state().committedIndex());
            readAll(log, positions);
            assertEquals(1000, Logs.appended(log, new byte[1]).index());
        }
    }

    private static void readAll(Log log, List<Long> positions) {
        for (int i = 0; i < positions.size(); i++) {
            byte[] body = Logs.body(i, 0, 300);
            try (LogEntry entry = log.entry(i)) {
                assertEquals(i, entry.index());
                assertEquals(positions.get(i), entry.position());
                assertArrayEquals(body, entry.bodyBytes());
            }
            assertArrayEquals(body, log.readCopy(i));
            assertEquals(i, log.indexAt(positions.get(i) + LogEntry.HEADER_BYTES - 1));
        }
    }

    @Test
    void optionsThatAreWrongAreRefusedWithWhatIsAllowed() {
        DledgerException size = Logs.refuses(Status.CONFIG, () -> new LogConfig().segmentBytes(17));
        assertTrue(size.getMessage().contains("segment.bytes"), size.getMessage());
        assertTrue(size.getMessage().contains("4KiB"), size.getMessage());
        DledgerException key = Logs.refuses(Status.CONFIG, () -> new LogConfig().set("segment.bites", "1"));
        assertTrue(key.getMessage().contains("segment.bites"), key.getMessage());
        Logs.refuses(Status.CONFIG, () -> new LogConfig().set("callbacks", "thread"));
        assertThrows(IllegalArgumentException.class, () -> new LogConfig().set("dir", "a\0b"));
        DledgerException none = Logs.refuses(Status.CONFIG, () -> Log.open(new LogConfig().nodeId(1)));
        assertTrue(none.getMessage().contains("dir"), none.getMessage());
    }

    @Test
    void everyOptionOfTheLibraryIsListedAndTakenByItsKey() {
        List<LogOption> options = LogConfig.options();
        LogOption segment = options.stream().filter(o -> o.key().equals("segment.bytes")).findFirst().get();
        assertEquals("1GiB", segment.preset());
        assertFalse(segment.isLive());
        assertEquals("bytes", segment.type());
        assertTrue(options.size() > 25, options.toString());
        for (LogOption option : options) {
            assertFalse(option.doc().isEmpty(), option.key());
            if (!option.preset().isEmpty() && !option.key().equals("callbacks")) {
                assertEquals(option.preset(),
                        new LogConfig().set(option.key(), option.preset()).get(option.key()));
            }
        }
    }

    @Test
    void typedSettersSayWhatTheLibraryTakes() {
        assertDoesNotThrow(() -> new LogConfig().dir(dir).group("g").nodeId(7).listen("127.0.0.1:1")
                .priority(3).members("7@127.0.0.1:1").memberAddresses("7@127.0.0.1:2").beginPosition(0)
                .segmentBytes(1 << 20).indexSegmentBytes(1 << 16).flushOnCommit().flushEvery(10)
                .appendMaxBytes(1000).pendingMax(10).pendingBytes(1 << 20).appendTimeout(5)
                .appendStamp("28:body_pos:be64").electionTimeout(500).heartbeatInterval(50)
                .retentionBytes(1 << 20).retentionTime(1000).diskFullRatio(0.75).clampMissingTail(true)
                .tls(dir, dir, dir).insecureListen(true));
    }

    @Test
    void aDirectoryIsOpenOnceAndFreeAgainAfterTheStop() {
        try (Log first = Logs.leader(dir)) {
            AppendFuture append = Logs.appended(first, new byte[] {42});
            Logs.refuses(Status.LOCKED, () -> Log.open(Logs.config(dir)));
            assertEquals(Status.OK, first.stop(Logs.WAIT_MILLIS));
            assertEquals(Status.OK, first.stop(0));
            try (Log second = Logs.leader(dir)) {
                assertEquals(1, Logs.appended(second, new byte[] {43}).index());
                // The first goes on reading what it had.
                try (LogEntry entry = first.entryAt(append.position())) {
                    assertEquals(42, entry.body().get(0));
                }
                assertEquals(LogState.Role.STOPPED, first.state().role());
            }
        }
    }

    @Test
    void whatComesTooEarlyOrTooLateIsAnIllegalState() {
        try (Log log = Log.open(Logs.config(dir))) {
            assertEquals(LogState.Role.STOPPED, log.state().role());
            assertEquals(Status.STOPPED, Logs.done(log.append(new byte[1])).status());
            log.start();
            assertThrows(IllegalStateException.class, () -> log.addListener(event -> {}));
            assertThrows(IllegalStateException.class, () -> log.addHook((i, t, p, b) -> {}));
            Logs.refuses(Status.INVALID, log::start);
            log.awaitReady(Logs.WAIT_MILLIS);
            log.stop(Logs.WAIT_MILLIS);
            AppendResult late = Logs.done(log.append(new byte[1]));
            assertEquals(Status.STOPPED, late.status());
            assertFalse(late.isMaybeCommitted());
            Logs.refuses(Status.STOPPED, () -> log.awaitReady(Logs.WAIT_MILLIS));
        }
    }

    @Test
    void aStartThatCannotListenSaysWhereAndTheLogCanBeClosed() throws Exception {
        LogConfig config = Logs.config(dir);
        try (ServerSocket other = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String address = "127.0.0.1:" + other.getLocalPort();
            config.members("1@" + address);
            try (Log log = Log.open(config)) {
                DledgerException refused = assertThrows(DledgerException.class, log::start);
                assertTrue(refused.getMessage().contains(address), refused.getMessage());
                assertTrue(refused.errno() > 0, refused.getMessage());
            }
        }
        try (Log log = Logs.leader(config)) {
            assertEquals(0, Logs.appended(log, new byte[1]).index());
        }
    }

    /** Its files are gone: it fails where it makes the next segment. */
    @Test
    void aLogThatFailedSaysSoAtItsEndAndIsFreed() throws Exception {
        Log stopped = failed(dir.resolve("stopped"));
        Logs.refuses(Status.FAILED, () -> stopped.stop(Logs.WAIT_MILLIS));
        assertEquals(Status.OK, stopped.stop(0));
        stopped.close();
        Log closed = failed(dir.resolve("closed"));
        Logs.refuses(Status.FAILED, closed::close);
        closed.close();
        assertNoCallbackThread(dir.resolve("stopped"));
        assertNoCallbackThread(dir.resolve("closed"));
        assertThrows(IllegalStateException.class, closed::state);
    }

    private static Log failed(Path dir) throws IOException {
        Log log = Logs.leader(dir);
        try (Stream<Path> all = Files.walk(dir)) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
        Logs.until("it fails", () -> {
            AppendResult result = Logs.done(log.append(new byte[Logs.SEGMENT_BYTES / 2]));
            return result.status() == Status.FAILED;
        });
        assertTrue(log.failure() != null);
        return log;
    }

    @Test
    void everyMethodOfAClosedLogIsAnIllegalState() throws Exception {
        Log log = Logs.leader(dir);
        Logs.appended(log, new byte[100]);
        log.entryAt(0).release(); // so that the segment was known
        LogCursor cursor = log.cursor(0);
        LogCursor begun = log.cursor(0);
        begun.next().release();
        log.close();
        log.close();
        int methods = 0;
        for (Method method : Log.class.getMethods()) {
            if (method.getDeclaringClass() != Log.class || Modifier.isStatic(method.getModifiers())
                    || method.getName().equals("close") || method.getName().equals("cursor")
                    || method.getName().equals("removeHook")) {
                continue;
            }
            methods++;
            Exception thrown = assertThrows(Exception.class,
                    () -> method.invoke(log, arguments(method.getParameterTypes())), method::toString);
            assertEquals(IllegalStateException.class, thrown.getCause().getClass(),
                    method + ": " + thrown.getCause());
        }
        assertTrue(methods > 30, methods + " methods");
        assertFalse(log.removeHook((i, t, p, b) -> {}));
        assertThrows(IllegalStateException.class, cursor::next);
        assertThrows(IllegalStateException.class, begun::next);
    }

    private static Object[] arguments(Class<?>[] types) {
        Object[] arguments = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            Class<?> type = types[i];
            arguments[i] = type == long.class ? (Object) 0L
                    : type == int.class ? (Object) 1
                    : type == byte[].class ? new byte[4]
                    : type == ByteBuffer.class ? ByteBuffer.allocate(4)
                    : type == String.class ? "flush"
                    : type == List.class ? new ArrayList<>(List.of(new byte[1]))
                    : type == LogListener.class ? (LogListener) event -> {}
                    : type == AppendHook.class ? (AppendHook) (n, t, p, b) -> {}
                    : (java.util.function.Predicate<LogState>) state -> true;
        }
        // Bodies are a list of arrays, changes a list of changes: both are looked at before the log.
        if (types.length == 2 && types[0] == List.class) {
            arguments[0] = List.of(MemberChange.remove(9));
        }
        return arguments;
    }

    @Test
    void aForgottenLogIsClosedAndItsAppendsEnd() {
        withWarnings(warnings -> {
            AppendFuture append = forget();
            Logs.until("the log is closed", () -> {
                System.gc();
                return !warnings.isEmpty();
            });
            assertTrue(warnings.get(0).contains("not closed") && warnings.get(0).contains(dir.toString()));
            assertTrue(Logs.done(append).isCommitted());
            untilFree(1);
        });
    }

    /** It is freed, and that it failed is what is said. */
    @Test
    void aForgottenLogThatHadFailedIsClosedAndSaysSo() {
        withWarnings(warnings -> {
            failAndForget();
            Logs.until("the log is closed", () -> {
                System.gc();
                return warnings.size() == 2;
            });
            assertTrue(warnings.get(0).contains("not closed"), warnings.toString());
            assertTrue(warnings.get(1).contains("had failed"), warnings.toString());
            warnings.forEach(warning -> assertTrue(warning.contains(dir.toString()), warning));
            assertNoCallbackThread(dir);
            try (Log again = Logs.leader(dir)) {
                assertEquals(0, Logs.appended(again, new byte[1]).index());
            }
            assertEquals(2, warnings.size(), warnings.toString());
        });
    }

    private void failAndForget() {
        try {
            failed(dir);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void assertNoCallbackThread(Path dir) {
        String thread = "dledger-" + dir;
        assertFalse(Thread.getAllStackTraces().keySet().stream().anyMatch(t -> t.getName().equals(thread)),
                thread + " is still there");
    }

    @Test
    void aLogWithACursorIsNotForgotten() {
        withWarnings(warnings -> {
            readAndForget(warnings);
            Logs.until("the log is closed", () -> {
                System.gc();
                return !warnings.isEmpty();
            });
            untilFree(2);
        });
    }

    private void readAndForget(List<String> warnings) {
        LogCursor[] cursor = {cursorOfTwo()};
        for (int n = 0; n < 2; n++) {
            for (int gc = 0; gc < 10; gc++) {
                System.gc();
                Logs.sleep(20);
            }
            assertTrue(warnings.isEmpty(), warnings.toString());
            cursor[0].next().release();
        }
    }

    private LogCursor cursorOfTwo() {
        Log log = Logs.leader(dir);
        Logs.appended(log, new byte[10]);
        Logs.appended(log, new byte[10]);
        return log.cursor(0);
    }

    /** With what the library has logged. */
    private static void withWarnings(Consumer<List<String>> test) {
        List<String> warnings = new CopyOnWriteArrayList<>();
        Handler handler = new Handler() {
            @Override
            public void publish(LogRecord record) {
                warnings.add(new SimpleFormatter().format(record));
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
        Logger logger = Logger.getLogger("io.dledger");
        logger.addHandler(handler);
        logger.setUseParentHandlers(false);
        try {
            test.accept(warnings);
        } finally {
            logger.removeHandler(handler);
            logger.setUseParentHandlers(true);
        }
    }

    private void untilFree(long committed) {
        Logs.until("the directory is free", () -> {
            try (Log log = Log.open(Logs.config(dir))) {
                return log.state().committedIndex() == committed;
            } catch (DledgerException locked) {
                assertEquals(Status.LOCKED, locked.status());
                return false;
            }
        });
    }

    private AppendFuture forget() {
        return Logs.leader(dir).append(new byte[10]);
    }

    @Test
    void manyLogsLiveInOneProcess() {
        List<Log> logs = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            logs.add(Logs.leader(dir.resolve("log" + i)));
        }
        List<AppendFuture> appends = new ArrayList<>();
        for (int n = 0; n < 50; n++) {
            for (Log log : logs) {
                appends.add(log.append(Logs.body(n, 1, 100)));
            }
        }
        appends.forEach(append -> Logs.done(append).orThrow());
        for (Log log : logs) {
            assertEquals(50, log.state().committedIndex());
            log.close();
        }
    }

    @Test
    void liveOptionsChangeAndFiguresTell() {
        try (Log log = Logs.leader(dir)) {
            assertEquals(Status.OK, Logs.done(log.append(new byte[1000])).status());
            log.set("append.max.bytes", "999B");
            assertEquals(Status.TOO_LARGE, Logs.done(log.append(new byte[1000])).status());
            DledgerException fixed = Logs.refuses(Status.CONFIG, () -> log.set("segment.bytes", "1MiB"));
            assertTrue(fixed.getMessage().contains("segment.bytes"), fixed.getMessage());
            log.flush(Logs.WAIT_MILLIS);
            assertEquals(1, log.state().flushedIndex());
            assertNull(log.failure());
            assertTrue(log.metrics().stream().anyMatch(m -> m.isCounter() && m.value() > 0));
            assertEquals(1, log.members().size());
            assertEquals(1, log.members().get(0).nodeId());
        }
    }
}
