package io.dledger;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Predicate;

/**
 * One member of one replicated log. Life: {@link #open} recovers the directory, without a socket or an
 * election; then hooks and listeners are added; {@link #start} joins the cluster; {@link #stop} leaves it, and
 * what was committed can still be read; {@link #close} frees everything. A log that is forgotten is closed
 * when the garbage collector finds it, with a warning in {@code java.util.logging} unless it was stopped.
 *
 * <p>Any method, any thread, any time. After {@code close} they throw {@link IllegalStateException}; what was
 * read stays readable until it is released. Methods that wait say so, and must not be called on the callback
 * thread. What an {@link AppendHook} calls of any log, its own or another, is refused at once with {@link
 * Status#DEADLOCK} and changes nothing; only what is mapped already can be read.
 */
public final class Log implements AutoCloseable {
    final Engine engine;
    private final Reaper reaper;
    /** Written after a wait, so that a log is not found forgotten while a thread waits in it. */
    private volatile boolean used;

    private Log(Engine engine) {
        this.engine = engine;
        this.reaper = Reaper.of(this, engine::close);
    }

    /**
     * The native library's version.
     *
     * @return as in {@code 0.1.0 (git 1a2b3c4)}
     */
    public static String version() {
        return Native.text(Native.versionText());
    }

    // ---- Life -----------------------------------------------------------------------------------------

    /**
     * Locks and recovers the directory, or makes it. Begin is final then, committed is a lower bound that
     * was durable. Waits for the disk.
     *
     * @param config copied
     * @return a log that is not started; close it
     * @throws DledgerException {@link Status#CONFIG}, {@link Status#LOCKED}, {@link Status#CORRUPT}, ...
     */
    public static Log open(LogConfig config) {
        byte[][] pairs = config.pairs();
        Scratch memory = Scratch.take(512);
        try {
            int outAt = 256;
            memory.check(Native.open(pairs, memory.address(outAt), memory.address()));
            return new Log(new Engine(memory.word(outAt / 8), config.get("dir")));
        } finally {
            memory.give();
        }
    }

    /**
     * Listens and joins the cluster. Does not wait for a leader: see {@link #awaitReady}. Once.
     *
     * @throws DledgerException if it cannot; the log is then to be closed
     */
    public void start() {
        engine.start();
    }

    /**
     * Leaves the cluster: refuses new appends, waits for those in flight, ends the rest with {@link
     * Status#STOPPED}, flushes. When it returns every future is complete, no listener runs any more, and the
     * directory may be opened again; what was committed can still be read. Hold no lock that a listener or
     * a dependent of a future takes. Waits. Twice is harmless.
     *
     * @param timeoutMillis how long to wait for appends in flight
     * @return {@link Status#OK}; or {@link Status#TIMED_OUT}: stopped as well, but the end of some appends is
     *     not known, or the last sync is not over
     * @throws DledgerException {@link Status#FAILED}: stopped as well, but the log had failed, see {@link
     *     #failure}; {@link Status#DEADLOCK} in a hook of any log and on the callback thread: the log is as before
     */
    public Status stop(long timeoutMillis) {
        try {
            return engine.stop(timeoutMillis);
        } finally {
            used = true;
        }
    }

    /**
     * Stops, waiting up to 5 seconds for appends in flight, and frees everything. Twice is harmless. Waits.
     *
     * @throws DledgerException {@link Status#FAILED}: closed as well, but the log had failed before it was
     *     stopped; {@link Status#DEADLOCK} in a hook of any log and on the callback thread: the log is as before
     */
    @Override
    public void close() {
        engine.close(false);
        reaper.run();
    }

    /**
     * Changes an option of an open log.
     *
     * @param key one that is {@linkplain LogOption#isLive() live}
     * @param value its text
     * @throws DledgerException {@link Status#CONFIG}: there is no such option, or it does not take this
     */
    public void set(String key, String value) {
        byte[] keyBytes = Native.bytes(key);
        byte[] valueBytes = Native.bytes(value);
        long log = engine.handle.enter();
        Scratch err = Scratch.take();
        try {
            err.check(Native.set(log, keyBytes, valueBytes, err.address()));
        } finally {
            err.give();
            engine.handle.exit();
        }
    }

    /**
     * Someone to be told of events. Before the start.
     *
     * @param listener called on the callback thread; if it holds this log, that is never found forgotten
     * @throws IllegalStateException after the start
     * @throws DledgerException {@link Status#DEADLOCK} in a hook of any log
     */
    public void addListener(LogListener listener) {
        Objects.requireNonNull(listener);
        engine.mustNotBeStarted();
        engine.listeners.add(listener);
    }

    /**
     * A hook for appends. Hooks run in the order they were added, behind {@code append.stamp}. Before the
     * start.
     *
     * @param hook called on appending threads
     * @throws IllegalStateException after the start
     * @throws DledgerException {@link Status#DEADLOCK} in a hook of any log
     */
    public void addHook(AppendHook hook) {
        Objects.requireNonNull(hook);
        engine.mustNotBeStarted();
        engine.appends.addHook(hook);
    }

    /**
     * When it returns the hook neither runs nor will run.
     *
     * @param hook one that was added
     * @return false if it was not
     * @throws DledgerException {@link Status#DEADLOCK} in a hook of any log: it is as before
     */
    public boolean removeHook(AppendHook hook) {
        return engine.appends.removeHook(hook);
    }

    // ---- Append ---------------------------------------------------------------------------------------

    /**
     * Appends one record. Does not wait. Its place is known at the return, the future ends with the commit.
     * It never throws for what the log answers: see {@link AppendFuture}.
     *
     * @param body copied
     * @return the append under way
     */
    public AppendFuture append(byte[] body) {
        return engine.appends.append(body, 0, body.length, 0, 0);
    }

    /**
     * As {@link #append(byte[])}.
     *
     * @param body copied
     * @param timeoutMillis after which it ends with {@link Status#TIMED_OUT}; 0: {@code append.timeout}
     * @return the append under way
     */
    public AppendFuture append(byte[] body, long timeoutMillis) {
        return engine.appends.append(body, 0, body.length, timeoutMillis, 0);
    }

    /**
     * As {@link #append(byte[])}, of a part of an array, and only in one leadership.
     *
     * @param body copied
     * @param offset where the body begins in it
     * @param length of the body in bytes
     * @param timeoutMillis after which it ends with {@link Status#TIMED_OUT}; 0: {@code append.timeout}
     * @param expectedTerm refused with {@link Status#TERM_CHANGED} unless the leader's term is this; 0: any
     * @return the append under way
     */
    public AppendFuture append(byte[] body, int offset, int length, long timeoutMillis, long expectedTerm) {
        return engine.appends.append(body, offset, length, timeoutMillis, expectedTerm);
    }

    /**
     * As {@link #append(byte[])}, of the remaining bytes of a buffer.
     *
     * @param body copied; its position does not move
     * @param timeoutMillis after which it ends with {@link Status#TIMED_OUT}; 0: {@code append.timeout}
     * @return the append under way
     */
    public AppendFuture append(ByteBuffer body, long timeoutMillis) {
        return engine.appends.append(body, timeoutMillis, 0);
    }

    /**
     * As {@link #append(ByteBuffer, long)}, and only in one leadership.
     *
     * @param body copied; its position does not move
     * @param timeoutMillis after which it ends with {@link Status#TIMED_OUT}; 0: {@code append.timeout}
     * @param expectedTerm refused with {@link Status#TERM_CHANGED} unless the leader's term is this; 0: any
     * @return the append under way
     */
    public AppendFuture append(ByteBuffer body, long timeoutMillis, long expectedTerm) {
        return engine.appends.append(body, timeoutMillis, expectedTerm);
    }

    /**
     * Appends records with consecutive indexes, all or none, in one native call and with one future. Through
     * a crash they are all or none while they are at most 1 MiB together, with 48 bytes for each.
     *
     * @param bodies copied; at least one
     * @return the append under way; {@link AppendFuture#position(int)} has the place of each
     */
    public AppendFuture appendBatch(List<byte[]> bodies) {
        return engine.appends.appendBatch(bodies, 0, 0);
    }

    /**
     * As {@link #appendBatch(List)}, and only in one leadership.
     *
     * @param bodies copied; at least one
     * @param timeoutMillis after which it ends with {@link Status#TIMED_OUT}; 0: {@code append.timeout}
     * @param expectedTerm refused with {@link Status#TERM_CHANGED} unless the leader's term is this; 0: any
     * @return the append under way
     */
    public AppendFuture appendBatch(List<byte[]> bodies, long timeoutMillis, long expectedTerm) {
        return engine.appends.appendBatch(bodies, timeoutMillis, expectedTerm);
    }

    // ---- Read -----------------------------------------------------------------------------------------

    /**
     * The record of an index, without a copy. One native call, to find it.
     *
     * @param index of a committed record
     * @return to be released
     * @throws DledgerException {@link Status#NOT_COMMITTED}; {@link Status#COMPACTED}
     */
    public LogEntry entry(long index) {
        checkIndex(index);
        long position = engine.locate(index, 0);
        return present(position < 0 ? null : engine.entryAt(position));
    }

    /**
     * The record whose header is at a position, without a copy and without a native call.
     *
     * @param position of a header
     * @return to be released
     * @throws DledgerException {@link Status#INVALID} if no record begins there; {@link
     *     Status#NOT_COMMITTED}; {@link Status#COMPACTED}
     */
    public LogEntry entryAt(long position) {
        return present(engine.entryAt(position));
    }

    /**
     * Committed bytes from any position on, without a copy and without a native call: as many as are there
     * in this segment, up to a limit.
     *
     * @param position of the first byte
     * @param lengthMax at most so many bytes
     * @return to be released
     * @throws DledgerException {@link Status#NOT_COMMITTED}; {@link Status#COMPACTED}
     */
    public LogView read(long position, int lengthMax) {
        return present(engine.read(position, lengthMax));
    }

    /**
     * As {@link #read}, for who asks often.
     *
     * @param position of the first byte
     * @param lengthMax at most so many bytes
     * @return to be released; null if the position is not committed
     * @throws DledgerException {@link Status#COMPACTED}
     */
    public LogView tryRead(long position, int lengthMax) {
        return engine.read(position, lengthMax);
    }

    /**
     * The data file that has a committed position, mapped whole. Of files up to 2 GiB - 1.
     *
     * @param position in it
     * @return to be released
     * @throws DledgerException {@link Status#NOT_COMMITTED}; {@link Status#COMPACTED}; {@link
     *     Status#UNSUPPORTED} if it is larger than a buffer can be
     */
    public LogSegment segment(long position) {
        Engine.checkPosition(position);
        if (engine.segments.committedBeyond(position) == 0) {
            throw DledgerException.of(Status.NOT_COMMITTED.code());
        }
        Segment segment = engine.segments.retain(position);
        if (segment.memory.capacity() != segment.end - segment.position) {
            segment.release();
            throw DledgerException.of(Status.UNSUPPORTED, "a segment larger than a buffer can be");
        }
        return new LogSegment(segment);
    }

    /**
     * Reads record after record, without a native call for each.
     *
     * @param index of the first; it need not be committed yet
     * @return a cursor, which holds this log but nothing that is to be released
     */
    public LogCursor cursor(long index) {
        return new LogCursor(this, index);
    }

    /**
     * A copy of one body, read from the file and compared with its checksum. A medium error is an exception
     * here, where a mapping answers with {@code InternalError}. Waits for the disk.
     *
     * @param index of a committed record
     * @return a new array
     * @throws DledgerException {@link Status#CORRUPT}; {@link Status#IO}; {@link Status#NOT_COMMITTED};
     *     {@link Status#COMPACTED}
     */
    public byte[] readCopy(long index) {
        checkIndex(index);
        engine.mayWait();
        long log = engine.handle.enter();
        int room = 4096;
        try {
            while (true) {
                Scratch scratch = Scratch.take(8 + room);
                try {
                    int status = Native.readCopy(log, index, scratch.address(8), room, scratch.address());
                    int length = (int) scratch.word(0);
                    if (status == 0) {
                        return scratch.bytes(8, length);
                    }
                    if (status != Status.TOO_LARGE.code() || length <= room) {
                        throw DledgerException.of(status);
                    }
                    room = length;
                } finally {
                    scratch.give();
                }
            }
        } finally {
            engine.handle.exit();
            used = true;
        }
    }

    /**
     * Which committed record has a byte.
     *
     * @param position of the byte
     * @return its index; in a blank at the end of a segment that of the next record
     * @throws DledgerException {@link Status#NOT_COMMITTED}; {@link Status#COMPACTED}
     */
    public long indexAt(long position) {
        Engine.checkPosition(position);
        long log = engine.handle.enter();
        try {
            long index = Native.indexAt(log, position);
            if (index < 0) {
                throw DledgerException.of((int) index);
            }
            return index;
        } finally {
            engine.handle.exit();
        }
    }

    /**
     * Waits until a record is committed here.
     *
     * @param index of the record
     * @param timeoutMillis how long
     * @return false when the time is over, or the log was stopped
     * @throws DledgerException {@link Status#COMPACTED}
     */
    public boolean awaitCommitted(long index, long timeoutMillis) {
        checkIndex(index);
        try {
            return engine.locate(index, Native.timeout(timeoutMillis)) >= 0;
        } finally {
            used = true;
        }
    }

    private static <T> T present(T read) {
        if (read == null) {
            throw DledgerException.of(Status.NOT_COMMITTED.code());
        }
        return read;
    }

    private static void checkIndex(long index) {
        if (index < 0) {
            throw new IllegalArgumentException("index " + index);
        }
    }

    // ---- State and durability -------------------------------------------------------------------------

    /**
     * How things are now.
     *
     * @return consistent in itself
     */
    public LogState state() {
        return engine.state();
    }

    /**
     * {@link LogState#committedPosition()} now, at less cost.
     *
     * @return bytes from the beginning of time
     */
    public long committedPosition() {
        return engine.segments.askCommitted();
    }

    /**
     * Waits until the log is so, looking at each change of role, members, begin and committed.
     *
     * @param condition called on this thread
     * @param timeoutMillis how long
     * @return the state that is so
     * @throws DledgerException {@link Status#TIMED_OUT}, also when interrupted; {@link Status#STOPPED}
     */
    public LogState await(Predicate<LogState> condition, long timeoutMillis) {
        try {
            return engine.await(condition, timeoutMillis);
        } finally {
            used = true;
        }
    }

    /**
     * Waits until this member leads and its term has a committed entry: a group of one does so within
     * milliseconds of its start.
     *
     * @param timeoutMillis how long
     * @return the state that is so
     * @throws DledgerException {@link Status#TIMED_OUT}, also when interrupted; {@link Status#STOPPED}
     */
    public LogState awaitReady(long timeoutMillis) {
        return await(LogState::isReady, timeoutMillis);
    }

    /**
     * Why the log stopped for good.
     *
     * @return the first cause, or null if it has not
     * @throws DledgerException {@link Status#DEADLOCK} in a hook of any log, where the cause is not known
     */
    public DledgerException failure() {
        Appends.mustNotBeInHook(); // the status of a refusal would look like a cause
        long log = engine.handle.enter();
        Scratch err = Scratch.take();
        try {
            int status = Native.failure(log, err.address());
            return status == 0 ? null : err.error(status);
        } finally {
            err.give();
            engine.handle.exit();
        }
    }

    /**
     * The linearizable read barrier: asks a majority, on any member, and ends when the log here is committed
     * up to the index it returns. What is read below that includes every append that was completed before
     * the call. Waits.
     *
     * @param timeoutMillis how long
     * @return an index
     * @throws DledgerException {@link Status#TIMED_OUT}, {@link Status#NOT_LEADER}, ...
     */
    public long readIndex(long timeoutMillis) {
        int timeout = Native.timeout(timeoutMillis);
        engine.mayWait();
        long log = engine.handle.enter();
        Scratch out = Scratch.take();
        try {
            int status = Native.readIndexNow(log, timeout, out.address());
            if (status != 0) {
                throw DledgerException.of(status);
            }
            return out.word(0);
        } finally {
            out.give();
            engine.handle.exit();
            used = true;
        }
    }

    /**
     * {@link #readIndex} that does not wait. To wait for its future on the callback thread throws {@link
     * DledgerException} with {@link Status#DEADLOCK}.
     *
     * @param timeoutMillis how long it may take
     * @return the index; or it ends exceptionally with {@link DledgerException}
     */
    public CompletableFuture<Long> readIndexAsync(long timeoutMillis) {
        int timeout = Native.timeout(timeoutMillis);
        CompletableFuture<Long> future = new LogFuture<>(engine.pending);
        long log = engine.handle.enter();
        try {
            int number = engine.pending.add(future);
            int status = Native.readIndex(log, timeout, number);
            if (status != 0) {
                engine.pending.cancel(number, future);
                future.completeExceptionally(DledgerException.of(status));
            }
            return future;
        } finally {
            engine.handle.exit();
        }
    }

    /**
     * Puts all that is appended here now on this member's disk. Waits.
     *
     * @param timeoutMillis how long
     * @throws DledgerException {@link Status#TIMED_OUT}, {@link Status#DISK_FULL}, {@link Status#FAILED}, ...
     */
    public void flush(long timeoutMillis) {
        int timeout = Native.timeout(timeoutMillis);
        engine.mayWait();
        long log = engine.handle.enter();
        try {
            int status = Native.flush(log, timeout);
            if (status != 0) {
                throw DledgerException.of(status);
            }
        } finally {
            engine.handle.exit();
            used = true;
        }
    }

    /**
     * Forgets, on this member, whole segments that lie before an index. Begin moves a little later, with an
     * event.
     *
     * @param index not above committed
     * @throws DledgerException if it cannot
     */
    public void deletePrefix(long index) {
        checkIndex(index);
        long log = engine.handle.enter();
        Scratch err = Scratch.take();
        try {
            err.check(Native.deletePrefix(log, index, err.address()));
        } finally {
            err.give();
            engine.handle.exit();
        }
    }

    // ---- Cluster --------------------------------------------------------------------------------------

    /**
     * Hands leadership over. Appends are refused with {@link Status#TRANSFERRING} meanwhile, for an election
     * timeout at most. Leader only. Waits.
     *
     * @param nodeId of a voter; 0: the best
     * @param timeoutMillis how long; with 0 it begins and returns: watch the events
     * @throws DledgerException {@link Status#TIMED_OUT}: it did not take it, or not yet; {@link
     *     Status#NO_MEMBER}, {@link Status#CHANGE_PENDING}, {@link Status#NOT_LEADER}, ...
     */
    public void transferLeader(long nodeId, long timeoutMillis) {
        int timeout = mayWait(timeoutMillis);
        long log = engine.handle.enter();
        Scratch err = Scratch.take();
        try {
            err.check(Native.transfer(log, nodeId, timeout, err.address()));
        } finally {
            err.give();
            engine.handle.exit();
            used = true;
        }
    }

    /**
     * Makes all changes in one step. Leader only, and it does not remove or demote itself. Waits until they
     * are in force here.
     *
     * @param changes at least one
     * @param timeoutMillis how long; with 0 it checks, begins and returns: watch the events
     * @throws DledgerException {@link Status#LEADER_LOST}, {@link Status#TIMED_OUT}: they may be made all the
     *     same; {@link Status#CHANGE_PENDING}, {@link Status#NOT_LEADER}, ...
     */
    public void changeMembers(List<MemberChange> changes, long timeoutMillis) {
        int timeout = mayWait(timeoutMillis);
        MemberChange[] all = changes.toArray(new MemberChange[0]);
        long[] numbers = new long[2 * all.length];
        byte[][] addresses = new byte[all.length][];
        for (int i = 0; i < all.length; i++) {
            numbers[2 * i] = all[i].op;
            numbers[2 * i + 1] = all[i].nodeId;
            addresses[i] = all[i].address == null ? null : Native.bytes(all[i].address);
        }
        long log = engine.handle.enter();
        Scratch err = Scratch.take();
        try {
            err.check(Native.change(log, numbers, addresses, timeout, err.address()));
        } finally {
            err.give();
            engine.handle.exit();
            used = true;
        }
    }

    /**
     * The members, as they are known here.
     *
     * @return a new list
     */
    public List<Member> members() {
        List<Member> members = new ArrayList<>();
        long log = engine.handle.enter();
        try {
            int status = Native.members(log, members);
            if (status != 0) {
                throw DledgerException.of(status);
            }
            return members;
        } finally {
            engine.handle.exit();
        }
    }

    /**
     * Figures: counters, gauges and quantiles. Cheap enough for every scrape.
     *
     * @return a new list
     */
    public List<Metric> metrics() {
        List<Metric> metrics = new ArrayList<>();
        long log = engine.handle.enter();
        try {
            int status = Native.metrics(log, metrics);
            if (status != 0) {
                throw DledgerException.of(status);
            }
            return metrics;
        } finally {
            engine.handle.exit();
        }
    }

    private int mayWait(long timeoutMillis) {
        int timeout = Native.timeout(timeoutMillis);
        if (timeout != 0) {
            engine.mayWait();
        }
        return timeout;
    }
}
