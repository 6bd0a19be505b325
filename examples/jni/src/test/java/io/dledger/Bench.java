package io.dledger;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * What one append of 1 KiB costs its caller, and one read. {@code java io.dledger.Bench [DIRECTORY]}. Each
 * round appends a burst that fits what may be in flight, timed as a whole, and then waits for its commits,
 * untimed; printed are the median and the best round, per record.
 */
public final class Bench {
    private static final int BODY_BYTES = 1024;
    private static final int BURST = 2048;
    private static final int ROUNDS = 200;
    /** Reads are short: a round is so many times over all records. */
    private static final int PASSES = 8;

    private Bench() {}

    public static void main(String[] arguments) throws IOException {
        Path dir = arguments.length > 0 ? Path.of(arguments[0]) : Files.createTempDirectory("dledger-bench");
        System.out.printf(Locale.ROOT, "%s, Java %s, %d processors%n", Log.version(),
                System.getProperty("java.version"), Runtime.getRuntime().availableProcessors());
        System.out.printf(Locale.ROOT, "%-44s %10s %10s%n", "ns per record of 1 KiB, in the call", "median", "best");
        try {
            appends(dir, "append", 1, "off", null);
            appends(dir, "append, stamp", 1, "28:body_pos:be64", null);
            AppendHook hook = (index, term, position, body) -> body.putLong(28, position + 48);
            appends(dir, "append, Java hook", 1, "off", hook);
            appends(dir, "batch of 64", 64, "off", null);
            appends(dir, "batch of 64, stamp", 64, "28:body_pos:be64", null);
            appends(dir, "batch of 64, Java hook", 64, "off", hook);
            reads(dir);
        } finally {
            if (arguments.length == 0) {
                delete(dir);
            }
        }
    }

    private static Log open(Path dir, String stamp, AppendHook hook) {
        Log log = Log.open(new LogConfig().dir(dir).nodeId(1).segmentBytes(256 << 20).flushEvery(1000)
                .pendingMax(2 * BURST).appendStamp(stamp).retentionBytes(256 << 20).diskFullRatio(1));
        if (hook != null) {
            log.addHook(hook);
        }
        log.start();
        log.awaitReady(30_000);
        return log;
    }

    private static void appends(Path dir, String name, int batch, String stamp, AppendHook hook)
            throws IOException {
        Path here = dir.resolve("log");
        double[] nanos = new double[ROUNDS];
        byte[] body = new byte[BODY_BYTES];
        List<byte[]> bodies = new ArrayList<>(java.util.Collections.nCopies(batch, body));
        try (Log log = open(here, stamp, hook)) {
            for (int round = 0; round < ROUNDS; round++) {
                AppendFuture last = null;
                long begin = System.nanoTime();
                for (int n = 0; n < BURST; n += batch) {
                    last = batch == 1 ? log.append(body) : log.appendBatch(bodies);
                }
                nanos[round] = (System.nanoTime() - begin) / (double) BURST;
                last.join().orThrow();
            }
        }
        print(name, nanos);
        delete(here);
    }

    private static void reads(Path dir) throws IOException {
        Path here = dir.resolve("log");
        try (Log log = open(here, "off", null)) {
            long[] positions = new long[BURST];
            AppendFuture last = null;
            for (int n = 0; n < BURST; n++) {
                last = log.append(new byte[BODY_BYTES]);
                positions[n] = last.position();
            }
            last.join().orThrow();
            int[] sink = new int[1];
            time("read by position, release", n -> {
                try (LogView view = log.read(positions[n] + 48, BODY_BYTES)) {
                    sink[0] += view.buffer().get(0);
                }
            });
            time("entry by position, release", n -> {
                try (LogEntry entry = log.entryAt(positions[n])) {
                    sink[0] += entry.body().get(0);
                }
            });
            time("entry by index, release", n -> {
                try (LogEntry entry = log.entry(n)) {
                    sink[0] += entry.body().get(0);
                }
            });
            LogCursor[] cursor = new LogCursor[1];
            time("cursor, release", n -> {
                if (n == 0) {
                    cursor[0] = log.cursor(0);
                }
                try (LogEntry entry = cursor[0].next()) {
                    sink[0] += entry.body().get(0);
                }
            });
            time("committed position", n -> sink[0] += (int) log.committedPosition());
            time("state", n -> sink[0] += (int) log.state().term());
        }
        delete(here);
    }

    private interface Read {
        void run(int n);
    }

    private static void time(String name, Read read) {
        double[] nanos = new double[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            long begin = System.nanoTime();
            for (int pass = 0; pass < PASSES; pass++) {
                for (int n = 0; n < BURST; n++) {
                    read.run(n);
                }
            }
            nanos[round] = (System.nanoTime() - begin) / (double) (PASSES * BURST);
        }
        print(name, nanos);
    }

    private static void print(String name, double[] nanos) {
        double[] sorted = Arrays.copyOfRange(nanos, nanos.length / 3, nanos.length); // warm by then
        Arrays.sort(sorted);
        System.out.printf(Locale.ROOT, "%-44s %10.0f %10.0f%n", name, sorted[sorted.length / 2], sorted[0]);
    }

    private static void delete(Path dir) throws IOException {
        try (Stream<Path> paths = Files.walk(dir)) {
            for (Path path : paths.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }
}
