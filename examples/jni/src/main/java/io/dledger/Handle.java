package io.dledger;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * The native log, and how many calls are inside it: {@code dl_close} must be the last. A call is between
 * {@link #enter} and {@link #exit}, and after {@link #shut} none enters.
 */
final class Handle {
    private static final int SHUT = Integer.MIN_VALUE;

    private final long log;
    private final AtomicInteger calls = new AtomicInteger();
    private volatile Thread closing;

    Handle(long log) {
        this.log = log;
    }

    /** For a native call. Throws {@link IllegalStateException} if the log is closed. */
    long enter() {
        if (calls.getAndIncrement() < 0) {
            exit();
            throw closed();
        }
        return log;
    }

    void exit() {
        if (calls.decrementAndGet() == SHUT) {
            LockSupport.unpark(closing);
        }
    }

    static IllegalStateException closed() {
        return new IllegalStateException("the log is closed");
    }

    boolean isShut() {
        return calls.get() < 0;
    }

    /** No call enters any more. Once. */
    void shut() {
        closing = Thread.currentThread();
        calls.addAndGet(SHUT);
    }

    /** For a close itself, which nothing frees the log under. */
    long log() {
        return log;
    }

    /** Waits for the calls that are inside, and frees the log. After shut and a stop, which ends their waits. */
    void free() {
        boolean interrupted = false;
        while (calls.get() != SHUT) {
            LockSupport.park(this);
            interrupted |= Thread.interrupted();
        }
        Native.close(log);
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
