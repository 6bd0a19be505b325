package io.dledger.rocketmq;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** CPU time of processes, user and system, as Linux counts it. */
final class Cpu {
    /** A tick of /proc. */
    private static final long TICK_NANOS = 10_000_000;
    private static final int USER_AT = 11;

    private Cpu() {}

    static long ofThisProcess() {
        return of(ProcessHandle.current().pid());
    }

    /** In nanoseconds; 0 if it is gone. */
    static long of(long pid) {
        Path stat = Path.of("/proc", Long.toString(pid), "stat");
        try {
            String text = Files.readString(stat);
            String[] fields = text.substring(text.lastIndexOf(')') + 2).split(" ");
            return (Long.parseLong(fields[USER_AT]) + Long.parseLong(fields[USER_AT + 1])) * TICK_NANOS;
        } catch (java.nio.file.NoSuchFileException gone) {
            return 0;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
