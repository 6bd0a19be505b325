package io.dledger;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * The one thread of a log that completes futures and calls listeners. It polls native code for a batch
 * of records (see {@code poll.c}), from the start until the stop, and then takes those of the stop.
 */
final class CallbackThread extends Thread {
    private static final int COMPLETION = 1;
    private static final int EVENT = 2;

    private final Engine engine;
    private final long log;
    private final CountDownLatch stopped = new CountDownLatch(1);

    CallbackThread(Engine engine, long log, String name) {
        super(name);
        this.engine = engine;
        this.log = log;
        setDaemon(true);
    }

    @Override
    public void run() {
        ByteBuffer polled = Native.polled(log).order(ByteOrder.nativeOrder());
        int words;
        while ((words = Native.poll(log, Native.FOREVER)) != Status.STOPPED.code()) {
            if (words >= 0) {
                dispatch(polled, words);
            } else if (!pause(words)) {
                break;
            }
        }
        awaitStopped();
        ByteBuffer last = Native.last(log);
        if (last != null) {
            dispatch(last.order(ByteOrder.nativeOrder()), last.capacity() / 8);
        }
        for (Object left : engine.pending.removeAll()) {
            end(left, Status.STOPPED.code(), 1, -1, -1, -1);
        }
    }

    /** The native stop is over: no callback comes any more but those it wrote. Waits until they are done. */
    void finish() {
        stopped.countDown();
        boolean interrupted = false;
        while (true) {
            try {
                join();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Throws, unless it is complete, on the callback thread of its log and in any hook. */
    static void mayWaitFor(LogFuture<?> future) {
        if (future.isDone()) {
            return;
        }
        Appends.mustNotBeInHook();
        Thread thread = Thread.currentThread();
        if (thread instanceof CallbackThread && ((CallbackThread) thread).engine.pending == future.pending) {
            throw DledgerException.of(Status.DEADLOCK.code());
        }
    }

    private void dispatch(ByteBuffer words, int count) {
        for (int at = 0; at < count;) {
            int record = at;
            at += length(words, record);
            try {
                dispatchOne(words, record);
            } catch (Throwable thrown) {
                warn("what was told", thrown);
            }
        }
    }

    private static int length(ByteBuffer words, int at) {
        switch ((int) words.getLong(8 * at)) {
            case COMPLETION:
                return 7;
            case EVENT:
                return 2 + LogState.WORDS;
            default:
                return 4;
        }
    }

    private void dispatchOne(ByteBuffer words, int at) {
        int kind = (int) words.getLong(8 * at);
        if (kind == EVENT) {
            event((int) words.getLong(8 * at + 8), new LogState(n -> words.getLong(8 * n), at + 2));
            return;
        }
        Object ended = engine.pending.remove((int) words.getLong(8 * at + 8));
        int status = (int) words.getLong(8 * at + 16);
        if (kind == COMPLETION) {
            end(ended, status, (int) words.getLong(8 * at + 24), words.getLong(8 * at + 32),
                    words.getLong(8 * at + 40), words.getLong(8 * at + 48));
        } else {
            end(ended, status, 0, words.getLong(8 * at + 24), -1, -1);
        }
    }

    private void end(Object pending, int status, int count, long index, long term, long position) {
        try {
            if (pending instanceof AppendFuture) {
                ((AppendFuture) pending).end(new AppendResult(status, index, term, position, count));
            } else {
                endBarrier((CompletableFuture<?>) pending, status, index);
            }
        } catch (Throwable thrown) {
            warn("a dependent of a future", thrown);
        }
    }

    /** Only read barriers have futures of another class: of a Long. */
    @SuppressWarnings("unchecked")
    private static void endBarrier(CompletableFuture<?> barrier, int status, long index) {
        if (status == 0) {
            ((CompletableFuture<Long>) barrier).complete(index);
        } else {
            barrier.completeExceptionally(DledgerException.of(status));
        }
    }

    private void event(int what, LogState state) {
        engine.noticed(what, state);
        if (engine.listeners.isEmpty()) {
            return;
        }
        LogEvent event = new LogEvent(what, state);
        for (LogListener listener : engine.listeners) {
            try {
                listener.onEvent(event);
            } catch (Throwable thrown) {
                warn("a listener", thrown);
            }
        }
    }

    private static void warn(String who, Throwable thrown) {
        Logger.getLogger("io.dledger").log(Level.WARNING, who + " threw on the callback thread", thrown);
    }

    /** After a poll that could not: false if the log is being stopped. */
    private boolean pause(int status) {
        Logger.getLogger("io.dledger").log(Level.WARNING, "dl_poll: " + Status.of(status));
        try {
            return !stopped.await(10, java.util.concurrent.TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            return true;
        }
    }

    private void awaitStopped() {
        while (true) {
            try {
                stopped.await();
                return;
            } catch (InterruptedException ignored) {
                // This thread ends with its log and not before.
            }
        }
    }
}
