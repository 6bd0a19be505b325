package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** What tests share: small logs, bodies from a seed, waits. */
final class Logs {
    static final long WAIT_MILLIS = 30_000;
    static final int SEGMENT_BYTES = 64 << 10;

    private Logs() {}

    /** A group of one with small segments. */
    static LogConfig config(Path dir) {
        return new LogConfig().dir(dir).nodeId(1).segmentBytes(SEGMENT_BYTES).indexSegmentBytes(64 << 10)
                .appendTimeout(WAIT_MILLIS).diskFullRatio(1);
    }

    static Log leader(LogConfig config) {
        Log log = Log.open(config);
        log.start();
        log.awaitReady(WAIT_MILLIS);
        return log;
    }

    static Log leader(Path dir) {
        return leader(config(dir));
    }

    static AppendResult done(AppendFuture future) {
        try {
            return future.get(WAIT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (Exception e) {
            throw new AssertionError("the append did not end", e);
        }
    }

    /** Taken, when there is room for it. */
    static AppendFuture taken(Log log, byte[] body) {
        AppendFuture[] append = new AppendFuture[1];
        until("there is room", () -> {
            append[0] = log.append(body);
            return append[0].isTaken() || append[0].join().status() != Status.PENDING_FULL;
        });
        return append[0];
    }

    /** Committed, and then its place. */
    static AppendFuture appended(Log log, byte[] body) {
        AppendFuture future = log.append(body);
        done(future).orThrow();
        return future;
    }

    static byte[] body(long seed, int least, int most) {
        Random random = new Random(seed);
        byte[] body = new byte[least + random.nextInt(most - least + 1)];
        random.nextBytes(body);
        return body;
    }

    static void until(String what, BooleanSupplier so) {
        long begin = System.nanoTime();
        while (!so.getAsBoolean()) {
            if (System.nanoTime() - begin > TimeUnit.MILLISECONDS.toNanos(WAIT_MILLIS)) {
                fail("never: " + what);
            }
            sleep(1);
        }
    }

    static boolean await(CountDownLatch latch) {
        try {
            return latch.await(WAIT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }

    static DledgerException refuses(Status status, Runnable call) {
        DledgerException refused = assertThrows(DledgerException.class, call::run);
        assertEquals(status, refused.status(), refused.getMessage());
        return refused;
    }

    static int freePort() {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
