package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the library says of itself. */
class TraceTest {
    @TempDir
    Path dir;

    private final List<String> lines = new CopyOnWriteArrayList<>();

    @AfterEach
    void nobodyIsTold() {
        Trace.off();
    }

    private void keep(Trace.Level level, String target, String message) {
        lines.add(level + " " + target + " " + message);
    }

    private boolean said(String start, String part) {
        return lines.stream().anyMatch(line -> line.startsWith(start) && line.contains(part));
    }

    private void elect(String name) {
        Logs.leader(dir.resolve(name)).close();
    }

    @Test
    void anElectionIsToldUntilItIsTurnedOff() {
        Trace.set(Trace.Level.INFO, this::keep);
        elect("told");
        Logs.until("the election is told", () -> said("INFO dledger::", "Leader in term 1"));
        Trace.off();
        int before = lines.size();
        elect("untold");
        assertTrue(lines.size() <= before + 1, () -> lines.toString());
    }

    @Test
    void lessIsToldAtALowerLevel() {
        Trace.set(Trace.Level.WARN, this::keep);
        elect("quiet");
        Trace.set(Trace.Level.INFO, this::keep);
        elect("told");
        Logs.until("the second election is told", () -> said("INFO", "Leader in term 1"));
        assertEquals(1, lines.stream().filter(line -> line.contains("Leader in term 1")).count());
    }

    @Test
    void whoThrowsIsToldTheNextLine() {
        Trace.set(Trace.Level.INFO, (level, target, message) -> {
            keep(level, target, message);
            throw new IllegalStateException("on purpose: " + message);
        });
        elect("one");
        elect("two");
        Logs.until("more is told", () -> lines.size() > 1);
    }

    /** A listener that does not come back holds up nobody. */
    @Test
    void howMuchWasDroppedIsTold() {
        CountDownLatch goOn = new CountDownLatch(1);
        Trace.set(Trace.Level.TRACE, (level, target, message) -> {
            try {
                goOn.await();
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
            keep(level, target, message);
        });
        for (int n = 0; n < 100; n++) {
            elect("log" + n);
        }
        goOn.countDown();
        Logs.until("what was dropped is told", () -> said("WARN io.dledger", " lines were dropped"));
    }

    @Test
    void aHookMayNotChangeIt() {
        AtomicReference<DledgerException> refused = new AtomicReference<>();
        try (Log log = Log.open(Logs.config(dir))) {
            log.addHook((index, term, position, body) -> {
                try {
                    Trace.off();
                } catch (DledgerException e) {
                    refused.set(e);
                }
            });
            log.start();
            log.awaitReady(Logs.WAIT_MILLIS);
            Logs.appended(log, new byte[10]);
        }
        assertEquals(Status.DEADLOCK, refused.get().status());
    }
}
