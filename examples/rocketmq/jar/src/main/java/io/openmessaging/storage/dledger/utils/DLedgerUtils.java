package io.openmessaging.storage.dledger.utils;

/** Time. */
public final class DLedgerUtils {
    private DLedgerUtils() {}

    /** Milliseconds since {@code start}, as {@link System#currentTimeMillis} counts them. */
    public static long elapsed(long start) {
        return System.currentTimeMillis() - start;
    }

    /** Sleeps; an interrupt ends it, and stays. */
    public static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
