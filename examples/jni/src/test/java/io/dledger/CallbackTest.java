package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What runs on the callback thread: listeners and dependents. */
class CallbackTest {
    @TempDir
    Path dir;

    @Test
    void eventsComeInOrderOnOneThreadAndNoneAfterTheStop() {
        List<LogEvent> events = Collections.synchronizedList(new ArrayList<>());
        AtomicReference<Thread> on = new AtomicReference<>();
        AtomicInteger otherThreads = new AtomicInteger();
        Log log = Log.open(Logs.config(dir));
        log.addListener(event -> {
            if (!on.compareAndSet(null, Thread.currentThread()) && on.get() != Thread.currentThread()) {
                otherThreads.incrementAndGet();
            }
            events.add(event);
        });
        assertTrue(events.isEmpty());
        log.start();
        log.awaitReady(Logs.WAIT_MILLIS);
        for (int i = 0; i < 100; i++) {
            Logs.appended(log, new byte[10]);
        }
        Logs.until("the last commit is told",
                () -> events.get(events.size() - 1).state().committedIndex() == 100);
        log.stop(Logs.WAIT_MILLIS);
        int count = events.size();
        log.close();
        assertEquals(count, events.size());
        assertEquals(0, otherThreads.get());
        assertTrue(on.get().getName().startsWith("dledger-"), on.get().getName());

        LogEvent first = events.get(0);
        assertTrue(first.isRole() && first.isCommit() && first.isBegin() && first.isMembers());
        assertTrue(!first.isFailed());
        assertEquals(LogState.Role.FOLLOWER, first.state().role());
        int leader = -1;
        for (int i = 1; i < count; i++) {
            LogState before = events.get(i - 1).state();
            LogState now = events.get(i).state();
            assertTrue(now.term() >= before.term());
            assertTrue(now.committedIndex() >= before.committedIndex());
            assertTrue(now.committedIndex() <= now.endIndex() && now.flushedIndex() <= now.endIndex());
            if (leader < 0 && now.isReady()) {
                leader = i;
                assertTrue(events.get(i).isRole());
                assertEquals(1, now.leaderId());
                assertEquals(1, now.nodeId());
            }
        }
        assertTrue(leader > 0);
    }

    @Test
    void whatWaitsIsRefusedOnTheCallbackThread() {
        List<Object> answers = Collections.synchronizedList(new ArrayList<>());
        AtomicReference<AppendFuture> other = new AtomicReference<>();
        AtomicReference<AppendFuture> complete = new AtomicReference<>();
        CountDownLatch refused = new CountDownLatch(1);
        try (Log log = Log.open(Logs.config(dir))) {
            Runnable[] calls = {() -> log.stop(0), log::close, () -> log.readIndex(1000),
                () -> log.flush(1000), () -> log.readCopy(0), () -> log.awaitCommitted(0, 1000),
                () -> log.await(state -> false, 1000), () -> log.transferLeader(0, 1000),
                () -> log.changeMembers(List.of(MemberChange.remove(2)), 1000),
                () -> other.get().join(), () -> Logs.done(other.get()),
                () -> waitFor(log.readIndexAsync(1000)), () -> waitFor(other.get().thenApply(result -> result)),
                () -> waitFor(log.readIndexAsync(1000).handle((index, thrown) -> 0).thenApply(zero -> zero)),
                () -> waitFor(other.get().thenCombine(other.get(), (one, two) -> one)),
                // It would end, which its log cannot know.
                () -> waitFor(complete.get().thenApplyAsync(result -> Logs.await(refused)))};
            log.addListener(event -> {
                if (event.state().committedIndex() != 1 || !answers.isEmpty()) {
                    return;
                }
                answers.add(Thread.currentThread());
                // What does not wait may be called, appends too.
                other.set(log.append(new byte[2]));
                complete.set(new AppendFuture(log.engine.pending, 1));
                complete.get().refuse(Status.IO.code(), null);
                for (Runnable call : calls) {
                    try {
                        call.run();
                        answers.add("waited");
                    } catch (DledgerException e) {
                        answers.add(e.status());
                    } catch (AssertionError e) {
                        answers.add(((DledgerException) e.getCause()).status());
                    } catch (IllegalStateException e) {
                        answers.add(e);
                    }
                }
            });
            log.start();
            log.awaitReady(Logs.WAIT_MILLIS);
            Logs.appended(log, new byte[1]);
            Logs.until("all were called", () -> answers.size() == 1 + calls.length);
            refused.countDown();
            Logs.done(other.get()).orThrow();
            assertTrue(answers.remove(0) instanceof CallbackThread);
            assertEquals(Collections.nCopies(calls.length, Status.DEADLOCK), answers);
            // It is the log as before.
            assertEquals(2, Logs.appended(log, new byte[3]).index());
        }
    }

    private static void waitFor(CompletableFuture<?> future) {
        try {
            future.get(5, TimeUnit.SECONDS);
        } catch (InterruptedException | ExecutionException | TimeoutException e) {
            throw new IllegalStateException("it was waited for", e);
        }
    }

    @Test
    void anAppendOfAnotherLogMayBeWaitedForThere() throws Exception {
        try (Log one = Logs.leader(dir.resolve("one")); Log two = Logs.leader(dir.resolve("two"))) {
            AppendResult result = one.readIndexAsync(Logs.WAIT_MILLIS)
                    .thenApply(index -> Logs.done(two.append(new byte[1])))
                    .get(Logs.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            assertTrue(result.isCommitted());
        }
    }

    @Test
    void whoEndsAFutureHimselfEndsNoAppend() throws Exception {
        List<Consumer<AppendFuture>> ends = List.of(future -> future.cancel(true),
                future -> future.complete(AppendResult.refused(Status.IO.code(), 1, null)),
                future -> future.completeExceptionally(new Exception("mine")),
                future -> future.obtrudeValue(null), future -> future.obtrudeException(new Exception("mine")));
        try (Log log = Logs.leader(dir)) {
            List<AppendFuture> ended = new ArrayList<>();
            for (int n = 0; n < 1000; n++) {
                AppendFuture append = log.append(new byte[] {(byte) n});
                ends.get(n % ends.size()).accept(append);
                ended.add(append);
            }
            assertEquals(1000, Logs.appended(log, new byte[1]).index());
            for (int n = 0; n < 1000; n++) {
                assertEquals(n, ended.get(n).index());
                assertEquals((byte) n, log.readCopy(n)[0]);
            }
            assertTrue(ended.get(0).isCancelled() || ended.get(0).join().isCommitted());
        }
    }

    @Test
    void whatListenersAndDependentsThrowStopsNothing() {
        Logger.getLogger("io.dledger").setUseParentHandlers(false);
        AtomicInteger told = new AtomicInteger();
        try (Log log = Log.open(Logs.config(dir))) {
            log.addListener(event -> {
                throw new AssertionError("a listener that throws");
            });
            log.addListener(event -> told.incrementAndGet());
            log.start();
            log.awaitReady(Logs.WAIT_MILLIS);
            log.append(new byte[1]).thenRun(() -> {
                throw new IllegalStateException("a dependent that throws");
            });
            AppendFuture cancelled = log.append(new byte[1]);
            cancelled.cancel(true);
            assertEquals(2, Logs.appended(log, new byte[1]).index());
            assertTrue(told.get() > 0);
        } finally {
            Logger.getLogger("io.dledger").setUseParentHandlers(true);
        }
    }

    @Test
    void readBarriersEndWithTheLog() throws Exception {
        Log log = Logs.leader(dir);
        Logs.appended(log, new byte[1]);
        assertEquals(1, log.readIndex(Logs.WAIT_MILLIS));
        assertEquals(1, log.readIndexAsync(Logs.WAIT_MILLIS).get(Logs.WAIT_MILLIS, TimeUnit.MILLISECONDS));
        log.stop(Logs.WAIT_MILLIS);
        Logs.refuses(Status.STOPPED, () -> log.readIndex(1));
        Throwable stopped = log.readIndexAsync(1).handle((index, thrown) -> thrown).get();
        assertEquals(Status.STOPPED, ((DledgerException) stopped).status());
        assertNull(log.failure());
        log.close();
    }
}
