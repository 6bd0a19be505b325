package io.dledger;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Predicate;
import java.util.logging.Level;
import java.util.logging.Logger;

/** What is behind a {@link Log}, and does not hold it: so a log that was forgotten can be closed. */
final class Engine {
    /** How long a close waits for appends in flight. */
    private static final long CLOSE_MILLIS = 5000;

    final Handle handle;
    final Pending pending = new Pending();
    final Appends appends;
    final Segments segments;
    final List<LogListener> listeners = new CopyOnWriteArrayList<>();
    private final String name;
    private final Object life = new Object();
    private volatile CallbackThread callbacks;
    private volatile boolean started;
    private boolean closed;

    private final Object changed = new Object();
    private long changes;
    private boolean stopped;

    Engine(long log, String name) {
        this.name = name;
        handle = new Handle(log);
        appends = new Appends(handle, pending);
        segments = new Segments(handle);
    }

    // ---- Life -----------------------------------------------------------------------------------------

    void start() {
        mayWait();
        synchronized (life) {
            long log = handle.enter();
            Scratch err = Scratch.take();
            try {
                CallbackThread thread = new CallbackThread(this, log, "dledger-" + name);
                err.check(Native.start(log, err.address()));
                started = true;
                callbacks = thread;
                thread.start();
            } finally {
                err.give();
                handle.exit();
            }
        }
    }

    void mustNotBeStarted() {
        Appends.mustNotBeInHook();
        handle.enter();
        handle.exit();
        if (started) {
            throw new IllegalStateException("the log was started");
        }
    }

    /** Throws where a wait would hold up what it waits for. Before any lock is taken. */
    void mayWait() {
        Appends.mustNotBeInHook();
        if (Thread.currentThread() == callbacks) {
            throw DledgerException.of(Status.DEADLOCK.code());
        }
    }

    Status stop(long millis) {
        int timeout = Native.timeout(millis);
        mayWait();
        synchronized (life) {
            long log = handle.enter();
            Status status;
            try {
                status = stop(log, timeout);
            } finally {
                handle.exit();
            }
            if (status == Status.FAILED) {
                throw DledgerException.of(status.code());
            }
            return status;
        }
    }

    /** If it throws, the log is as before; else it is stopped, also when it had failed. */
    private Status stop(long log, int timeout) {
        int status = Native.stop(log, timeout);
        if (status != 0 && status != Status.TIMED_OUT.code() && status != Status.FAILED.code()) {
            throw DledgerException.of(status);
        }
        CallbackThread thread = callbacks;
        if (thread != null) {
            thread.finish();
        }
        synchronized (changed) {
            stopped = true;
            changed.notifyAll();
        }
        return Status.of(status);
    }

    void close(boolean forgotten) {
        mayWait();
        synchronized (life) {
            if (closed) {
                return;
            }
            if (forgotten && !isStopped()) {
                warn("the log in {0} was not closed; it is being closed now");
            }
            Status status = stop(handle.log(), (int) CLOSE_MILLIS);
            closed = true;
            handle.shut();
            segments.close();
            handle.free();
            if (status == Status.FAILED && forgotten) {
                warn("the log in {0} had failed before it was closed:"
                        + " not all that was acknowledged need be on the disk");
            } else if (status == Status.FAILED) {
                throw DledgerException.of(status.code());
            }
        }
    }

    private void warn(String message) {
        Logger.getLogger("io.dledger").log(Level.WARNING, message, name);
    }

    private boolean isStopped() {
        synchronized (changed) {
            return stopped;
        }
    }

    // ---- State ----------------------------------------------------------------------------------------

    LogState state() {
        LogState state = askState();
        segments.committedAtLeast(state.committedPosition());
        // Who sees that begin moved reads nothing below it, whenever the event comes.
        segments.beginAtLeast(state.beginPosition());
        return state;
    }

    private LogState askState() {
        long log = handle.enter();
        Scratch out = Scratch.take();
        try {
            int status = Native.state(log, out.address());
            if (status != 0) {
                throw DledgerException.of(status);
            }
            return new LogState(out::word, 0);
        } finally {
            out.give();
            handle.exit();
        }
    }

    /** On the callback thread: an event, before the listeners. */
    void noticed(int what, LogState state) {
        segments.committedAtLeast(state.committedPosition());
        if ((what & LogEvent.BEGIN) != 0) {
            segments.beginAtLeast(state.beginPosition());
        }
        synchronized (changed) {
            changes++;
            changed.notifyAll();
        }
    }

    LogState await(Predicate<LogState> condition, long millis) {
        Native.timeout(millis); // checks it
        long begin = System.nanoTime();
        while (true) {
            long seen;
            boolean over;
            synchronized (changed) {
                seen = changes;
                over = stopped;
            }
            LogState state = state();
            if (condition.test(state)) {
                return state;
            }
            if (over) {
                throw DledgerException.of(Status.STOPPED.code());
            }
            mayWait();
            if (!awaitChange(seen, begin, millis)) {
                throw DledgerException.of(Status.TIMED_OUT, "the log is not so yet: " + state);
            }
        }
    }

    /** False when the time is over. */
    private boolean awaitChange(long seen, long begin, long millis) {
        synchronized (changed) {
            while (changes == seen && !stopped) {
                long waited = (System.nanoTime() - begin) / 1_000_000;
                if (waited >= millis) {
                    return false;
                }
                try {
                    changed.wait(Math.min(millis - waited, 60_000));
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                    throw new DledgerException(Status.TIMED_OUT.code(), 0, "interrupted", e);
                }
            }
            return true;
        }
    }

    // ---- Reads ----------------------------------------------------------------------------------------

    /** Position of the record of an index; -1 if it is not committed within the time. */
    long locate(long index, int timeout) {
        if (timeout != 0) {
            mayWait();
        }
        long log = handle.enter();
        Scratch out = Scratch.take();
        try {
            int status = Native.locate(log, index, timeout, out.address());
            if (status == Status.NOT_COMMITTED.code()) {
                return -1;
            }
            if (status != 0) {
                throw DledgerException.of(status);
            }
            segments.committedAtLeast(out.word(0) + out.word(1));
            return out.word(0);
        } finally {
            out.give();
            handle.exit();
        }
    }

    /** The record whose header is at a position; null if that is not committed. */
    LogEntry entryAt(long position) {
        checkPosition(position);
        long committed = segments.committedBeyond(position);
        if (committed == 0) {
            return null;
        }
        Segment segment = segments.retain(position);
        LogEntry entry = LogEntry.at(segment, position, committed);
        if (entry == null) {
            segment.release();
            throw DledgerException.of(Status.INVALID, "no record begins at position " + position);
        }
        return entry;
    }

    /** What is committed from a position on, to the end of its segment at most; null if nothing is. */
    LogView read(long position, int lengthMax) {
        checkPosition(position);
        if (lengthMax <= 0) {
            throw new IllegalArgumentException("at most " + lengthMax + " bytes");
        }
        long committed = segments.committedBeyond(position);
        if (committed == 0) {
            return null;
        }
        Segment segment = segments.retain(position);
        long length = Math.min(lengthMax, Math.min(committed - position, segment.bytesFrom(position)));
        if (length < lengthMax && length < segment.bytesFrom(position)) {
            // Cut short by what was known to be committed: there may be more by now.
            committed = segments.askCommittedOr(committed);
            length = Math.min(lengthMax, Math.min(committed - position, segment.bytesFrom(position)));
        }
        return new LogView(segment, position, (int) length);
    }

    static void checkPosition(long position) {
        if (position < 0) {
            throw new IllegalArgumentException("position " + position);
        }
    }
}
