package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Threads use a log in every way while it is stopped and closed under them. */
class CloseRaceTest {
    @TempDir
    Path dir;

    private static List<Thread> run(Log log, List<Throwable> wrong, List<Consumer<Log>> uses) {
        List<Thread> threads = new ArrayList<>();
        for (Consumer<Log> use : uses) {
            Thread thread = new Thread(() -> {
                try {
                    while (true) {
                        try {
                            use.accept(log);
                        } catch (DledgerException allowed) {
                            Thread.onSpinWait();
                        }
                    }
                } catch (IllegalStateException closed) {
                    if (!"the log is closed".equals(closed.getMessage())) {
                        wrong.add(closed);
                    }
                } catch (Throwable thrown) {
                    wrong.add(thrown);
                }
            });
            thread.start();
            threads.add(thread);
        }
        return threads;
    }

    @Test
    void everyAppendEndsOnceAndEveryThreadLearnsThatTheLogIsClosed() throws Exception {
        for (int round = 0; round < 8; round++) {
            List<Throwable> wrong = Collections.synchronizedList(new ArrayList<>());
            List<AppendFuture> appends = Collections.synchronizedList(new ArrayList<>());
            AtomicInteger ends = new AtomicInteger();
            LogConfig config = Logs.config(dir.resolve("round" + round));
            Log log = Logs.leader(config);
            Logs.appended(log, new byte[100]);
            Consumer<Log> append = it -> {
                AppendFuture future = ThreadLocalRandom.current().nextBoolean() ? it.append(new byte[50])
                        : it.appendBatch(List.of(new byte[10], new byte[20]));
                if (future.isTaken()) {
                    appends.add(future);
                    future.whenComplete((result, thrown) -> ends.incrementAndGet());
                }
            };
            List<Thread> threads = run(log, wrong, List.of(append, append, it -> it.entry(0).release(),
                    it -> it.read(0, 100).release(), it -> it.readIndex(100), Log::state,
                    it -> it.readIndexAsync(100).handle((index, thrown) -> 0).join(), it -> it.awaitCommitted(1_000_000_000L, 1000),
                    it -> it.await(state -> false, 1000), Log::metrics));
            Thread.sleep(10 + round * 5);
            Thread second = new Thread(log::close);
            if (round % 3 == 0) {
                second.start();
            }
            if (round % 2 == 0) {
                log.stop(round % 4 == 0 ? 0 : Logs.WAIT_MILLIS);
            }
            log.close();
            for (Thread thread : threads) {
                thread.join(Logs.WAIT_MILLIS);
                assertTrue(!thread.isAlive(), "a thread is still in the log");
            }
            second.join();
            assertEquals(List.of(), wrong);
            long committed = 0;
            long unknown = 0;
            for (AppendFuture future : appends) {
                assertTrue(future.isDone());
                AppendResult result = future.join();
                committed += result.isCommitted() ? result.count() : 0;
                unknown += result.isMaybeCommitted() ? result.count() : 0;
                assertTrue(result.isCommitted() || result.isMaybeCommitted(), result.toString());
            }
            assertEquals(appends.size(), ends.get());
            // A stop whose time was over keeps the lock until its last sync ends.
            try (Log again = openWhenFree(config)) {
                again.start();
                again.awaitReady(Logs.WAIT_MILLIS);
                long there = again.state().committedIndex() - 1;
                assertTrue(committed <= there && there <= committed + unknown,
                        committed + " committed, " + unknown + " unknown, " + there + " there");
            }
        }
    }

    private static Log openWhenFree(LogConfig config) {
        Log[] log = new Log[1];
        Logs.until("the directory is free", () -> {
            try {
                log[0] = Log.open(config);
                return true;
            } catch (DledgerException locked) {
                assertEquals(Status.LOCKED, locked.status());
                return false;
            }
        });
        return log[0];
    }

    @Test
    void aLogThatIsClosedRightAfterItsStartIsClosed() {
        for (int i = 0; i < 30; i++) {
            Log log = Log.open(Logs.config(dir));
            if (i % 3 != 0) {
                log.start();
            }
            if (i % 3 == 2) {
                log.append(new byte[1]);
            }
            log.close();
        }
        try (Log log = Logs.leader(dir)) {
            assertTrue(log.state().committedIndex() <= 10);
        }
    }
}
