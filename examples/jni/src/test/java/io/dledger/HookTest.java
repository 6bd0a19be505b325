package io.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Hooks in Java, and the stamp that does without. */
class HookTest {
    private static final AppendHook STAMP = (index, term, position, body) -> body.putLong(28, position + 48);

    @TempDir
    Path dir;

    private Log leader(String name, AppendHook... hooks) {
        Log log = Log.open(Logs.config(dir.resolve(name)));
        for (AppendHook hook : hooks) {
            log.addHook(hook);
        }
        log.start();
        log.awaitReady(Logs.WAIT_MILLIS);
        return log;
    }

    @Test
    void aHookAndTheStampLeaveEqualBytes() {
        LogConfig stamped = Logs.config(dir.resolve("stamped")).appendStamp("28:body_pos:be64");
        try (Log byHook = leader("hooked", STAMP); Log byStamp = Logs.leader(stamped)) {
            for (int i = 0; i < 500; i++) {
                byte[] body = Logs.body(i, 36, 2000);
                List<byte[]> batch = List.of(body, Logs.body(i + 1, 36, 100), Logs.body(i + 2, 36, 100));
                for (Log log : new Log[] {byHook, byStamp}) {
                    Logs.done(log.append(body)).orThrow();
                    Logs.done(log.append(ByteBuffer.wrap(body), 0)).orThrow();
                    Logs.done(log.appendBatch(batch)).orThrow();
                }
            }
            assertEquals(2500, byHook.state().committedIndex());
            LogCursor one = byHook.cursor(0);
            LogCursor two = byStamp.cursor(0);
            for (int i = 0; i < 2500; i++) {
                try (LogEntry a = one.next(); LogEntry b = two.next()) {
                    assertEquals(a.position(), b.position());
                    assertEquals(a.bodyPosition(), a.body().getLong(28));
                    assertArrayEquals(a.bodyBytes(), b.bodyBytes());
                    assertArrayEquals(a.bodyBytes(), byHook.readCopy(i));
                }
            }
        }
    }

    @Test
    void aBodyTooShortForTheStampIsRejected() {
        try (Log log = Logs.leader(Logs.config(dir).appendStamp("28:body_pos:be64"))) {
            AppendResult result = Logs.done(log.append(new byte[35]));
            assertEquals(Status.REJECTED, result.status());
            assertEquals(0, Logs.appended(log, new byte[36]).index());
        }
    }

    @Test
    void whatAHookThrowsIsTheCauseAndNothingIsAppended() {
        AtomicReference<Throwable> next = new AtomicReference<>();
        AppendHook throwing = (index, term, position, body) -> {
            Throwable thrown = next.get();
            if (thrown instanceof Error) {
                throw (Error) thrown;
            }
            if (thrown != null && body.get(0) == 1) {
                throw (Exception) thrown;
            }
        };
        try (Log log = leader("log", STAMP, throwing)) {
            byte[] bad = new byte[40];
            bad[0] = 1;
            for (Throwable thrown : new Throwable[] {new IllegalStateException("no"), new Exception("checked"),
                    new StackOverflowError(), new OutOfMemoryError("as if")}) {
                next.set(thrown);
                LogState before = log.state();
                for (AppendFuture append : List.of(log.append(bad), log.appendBatch(List.of(new byte[40], bad)))) {
                    AppendResult result = Logs.done(append);
                    assertEquals(Status.REJECTED, result.status());
                    assertSame(thrown, result.cause());
                    assertSame(thrown, Logs.refuses(Status.REJECTED, result::orThrow).getCause());
                }
                assertEquals(before.endIndex(), log.state().endIndex());
                assertEquals(before.endPosition(), log.state().endPosition());
            }
            next.set(null);
            assertEquals(0, Logs.appended(log, bad).index());
        }
    }

    @Test
    void aHookThatReallyOverflowsTheStackRefusesAndTheLogGoesOn() {
        AppendHook deep = new AppendHook() {
            @Override
            public void onAppend(long index, long term, long position, ByteBuffer body) throws Exception {
                if (body.get(0) == 1) {
                    onAppend(index, term, position, body);
                }
            }
        };
        try (Log log = leader("log", deep)) {
            AppendResult result = Logs.done(log.append(new byte[] {1}));
            assertEquals(Status.REJECTED, result.status());
            assertEquals(StackOverflowError.class, result.cause().getClass());
            assertEquals(0, Logs.appended(log, new byte[] {0}).index());
        }
    }

    @Test
    void hooksRunInOrderAndOneThatIsRemovedRunsNoMore() {
        List<String> calls = new ArrayList<>();
        AppendHook one = (index, term, position, body) -> {
            calls.add("one" + index);
            body.put(0, (byte) (body.get(0) * 2));
        };
        AppendHook two = (index, term, position, body) -> {
            calls.add("two" + index);
            body.put(0, (byte) (body.get(0) + 1));
        };
        try (Log log = leader("log", one, two)) {
            assertEquals(11, log.readCopy(Logs.appended(log, new byte[] {5}).index())[0]);
            assertTrue(log.removeHook(one));
            assertFalse(log.removeHook(one));
            assertEquals(6, log.readCopy(Logs.appended(log, new byte[] {5}).index())[0]);
            assertTrue(log.removeHook(two));
            assertEquals(5, log.readCopy(Logs.appended(log, new byte[] {5}).index())[0]);
        }
        assertEquals(List.of("one0", "two0", "two1"), calls);
    }

    @Test
    void aHookThatCallsTheLogIsAnsweredAndDoesNoHarm() {
        AtomicReference<Log> itself = new AtomicReference<>();
        List<Status> answers = new ArrayList<>();
        AppendHook calls = (index, term, position, body) -> {
            byte[] other = new byte[100];
            java.util.Arrays.fill(other, (byte) 9);
            answers.add(itself.get().append(other).join().status());
            answers.add(itself.get().appendBatch(List.of(other, other)).join().status());
            answers.add(refusal(() -> itself.get().state()));
        };
        try (Log log = leader("log", calls)) {
            itself.set(log);
            List<byte[]> batch = List.of(Logs.body(1, 80, 80), Logs.body(2, 80, 80), Logs.body(3, 80, 80));
            AppendFuture append = log.appendBatch(batch);
            Logs.done(append).orThrow();
            for (int n = 0; n < 3; n++) {
                assertArrayEquals(batch.get(n), log.readCopy(append.index() + n));
            }
            assertEquals(3, log.state().committedIndex());
        }
        assertEquals(9, answers.size());
        answers.forEach(answer -> assertEquals(Status.DEADLOCK, answer));
    }

    private static Status refusal(Runnable call) {
        try {
            call.run();
            return null;
        } catch (DledgerException e) {
            return e.status();
        }
    }

    @Test
    void aHookThatClosesTheLogIsRefusedAndTheLogGoesOn() {
        AtomicReference<Log> itself = new AtomicReference<>();
        List<Status> answers = new ArrayList<>();
        AppendHook closes = (index, term, position, body) -> {
            answers.add(refusal(itself.get()::close));
            answers.add(refusal(() -> itself.get().stop(0)));
            answers.add(refusal(itself.get()::start));
        };
        Log log = leader("log", closes);
        Log other = leader("other", closes);
        itself.set(log);
        assertTrue(Logs.appended(log, new byte[1]).isTaken());
        assertTrue(Logs.appended(other, new byte[1]).isTaken(), "in the hook of another log");
        assertEquals(Collections.nCopies(6, Status.DEADLOCK), answers);
        assertEquals(1, log.readCopy(Logs.appended(log, new byte[1]).index()).length);
        log.close();
        other.close();
        assertThrows(IllegalStateException.class, log::state);
        try (Log again = Log.open(Logs.config(dir.resolve("log")))) {
            assertEquals(2, again.state().endIndex());
        }
    }

    @Test
    void whatAHookAsksOfALogOrAddsToItIsRefused() {
        AtomicReference<Log> itself = new AtomicReference<>();
        AtomicReference<Log> notStarted = new AtomicReference<>();
        List<Status> answers = new ArrayList<>();
        AppendHook calls = (index, term, position, body) -> {
            for (Log log : List.of(itself.get(), notStarted.get())) {
                Runnable[] all = {log::failure, () -> log.addListener(event -> {}),
                    () -> log.addHook((i, t, p, b) -> {}), log::state, log::members, log::metrics,
                    log::committedPosition, () -> log.set("append.timeout", "3s"), () -> log.entry(0),
                    () -> log.deletePrefix(0), () -> log.await(state -> true, 0)};
                for (Runnable call : all) {
                    answers.add(refusal(call));
                }
            }
        };
        try (Log log = leader("log", calls); Log other = Log.open(Logs.config(dir.resolve("other")))) {
            itself.set(log);
            notStarted.set(other);
            assertTrue(Logs.appended(log, new byte[1]).isTaken());
            assertEquals(Collections.nCopies(22, Status.DEADLOCK), answers);
            assertNull(log.failure());
            assertTrue(other.engine.listeners.isEmpty(), "a listener was added");
        }
    }

    /** The others wait for the hook, and the hook for nobody. */
    @Test
    void whatAHookCallsWhileOthersDoTheSameIsRefused() throws Exception {
        AtomicReference<Log> itself = new AtomicReference<>();
        List<Status> answers = new ArrayList<>();
        CountDownLatch inHook = new CountDownLatch(1);
        AppendHook another = (index, term, position, body) -> {};
        AppendHook calls = (index, term, position, body) -> {
            inHook.countDown();
            Thread.sleep(300); // until the other threads are in their calls
            answers.add(refusal(itself.get()::close));
            answers.add(refusal(() -> itself.get().removeHook(another)));
        };
        Log log = leader("log", calls, another);
        itself.set(log);
        List<Thread> threads = List.of(new Thread(() -> log.append(new byte[1])),
                new Thread(() -> log.removeHook(another)), new Thread(log::close));
        for (Thread thread : threads) {
            thread.setDaemon(true);
            thread.start();
            inHook.await();
            Thread.sleep(50);
        }
        for (Thread thread : threads) {
            thread.join(Logs.WAIT_MILLIS);
            assertFalse(thread.isAlive());
        }
        assertEquals(List.of(Status.DEADLOCK, Status.DEADLOCK), answers);
    }

    /** Who closes the other log waits for its callback thread, that for the hook, and the hook for nobody. */
    @Test
    void whatAHookCallsOfAnotherLogWhileItIsClosedIsRefused() throws Exception {
        AtomicReference<Log> other = new AtomicReference<>();
        List<Status> answers = new ArrayList<>();
        CountDownLatch inHook = new CountDownLatch(1);
        CountDownLatch appending = new CountDownLatch(1);
        AppendHook another = (index, term, position, body) -> {};
        AppendFuture never = new AppendFuture(new Pending(), 1);
        AppendHook calls = (index, term, position, body) -> {
            if (inHook.getCount() == 0) {
                return;
            }
            inHook.countDown();
            Thread.sleep(400); // until the other threads are in their calls
            Log two = other.get();
            Runnable[] all = {two::close, () -> two.stop(0), two::start, () -> two.removeHook(another),
                () -> two.awaitCommitted(0, 1000), () -> two.await(state -> false, 1000), () -> two.flush(1000),
                () -> two.append(new byte[1]).join().orThrow(), never::join, () -> never.thenApply(end -> end).join(),
                () -> Log.open(Logs.config(dir.resolve("three"))), Trace::off};
            for (Runnable call : all) {
                answers.add(refusal(call));
            }
        };
        Log one = leader("one", calls);
        Log two = Log.open(Logs.config(dir.resolve("two")));
        two.addHook(another);
        two.addListener(event -> {
            if (inHook.getCount() == 0 && appending.getCount() > 0) {
                appending.countDown();
                one.append(new byte[1]);
            }
        });
        two.start();
        two.awaitReady(Logs.WAIT_MILLIS);
        other.set(two);
        Thread hooked = new Thread(() -> one.append(new byte[1]));
        Thread closing = new Thread(two::close);
        hooked.setDaemon(true);
        closing.setDaemon(true);
        hooked.start();
        inHook.await();
        two.append(new byte[1]);
        appending.await();
        closing.start();
        for (Thread thread : List.of(hooked, closing)) {
            thread.join(Logs.WAIT_MILLIS);
            assertFalse(thread.isAlive(), "one waits for the other for ever");
        }
        assertEquals(Collections.nCopies(12, Status.DEADLOCK), answers);
        assertThrows(IllegalStateException.class, two::state);
        one.close();
    }

    @Test
    void aBufferThatAHookKeptIsNotTheLogsMemory() {
        List<ByteBuffer> kept = new ArrayList<>();
        try (Log log = leader("log", (index, term, position, body) -> kept.add(body))) {
            AppendFuture append = Logs.appended(log, Logs.body(1, 500, 500));
            for (ByteBuffer buffer : kept) {
                buffer.clear();
                buffer.put(new byte[buffer.capacity()]);
            }
            assertArrayEquals(Logs.body(1, 500, 500), log.readCopy(append.index()));
            kept.forEach(buffer -> assertEquals(500, buffer.capacity()));
        }
        kept.get(0).putLong(0, 1); // nor anybody's who could fault
    }
}
