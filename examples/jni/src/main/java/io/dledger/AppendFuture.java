package io.dledger;

/**
 * An append under way. Its place is known at once, and is the place it has for ever if it commits; the
 * log ends the future when that is decided, always normally: ask {@link AppendResult#status()}, or call {@link
 * AppendResult#orThrow()}.
 *
 * <p>What was refused at once is complete when the append returns, has no place (-1), and is not in the
 * log. Committed appends complete in the order of their indexes, on the log's callback thread, where
 * dependents run that are not {@code Async}.
 *
 * <p>There, and in a hook of any log, to wait throws {@link DledgerException} with {@link Status#DEADLOCK} while the
 * future is not complete. So it does, on Java 9 and later, for what the methods of this future make, and those of
 * that: also where another thread would complete it, as in {@code append.thenApplyAsync(..).get()}, though {@code
 * append} itself is complete. What {@link java.util.concurrent.CompletableFuture#allOf} makes is not seen, nor what
 * another log's future makes of this one, as in {@code other.thenCombine(append, ..)}, which belongs to that log:
 * to wait for those on this log's callback thread never ends while this future is not complete.
 *
 * <p>Who cancels or completes the future says so to those that look at it, and to nobody else: the append goes
 * on, and its end is not told.
 */
public final class AppendFuture extends LogFuture<AppendResult> {
    private final int count;
    private long index = -1;
    private long term = -1;
    private long position = -1;
    private long[] positions;
    /** The place is written: a completion may be faster than the call that it is the end of. */
    private volatile boolean placed;

    AppendFuture(Pending pending, int count) {
        super(pending);
        this.count = count;
    }

    void place(long index, long term, long position, long[] positions) {
        this.index = index;
        this.term = term;
        this.position = position;
        this.positions = positions;
        placed = true;
    }

    void refuse(int code, Throwable cause) {
        complete(AppendResult.refused(code, count, cause));
        placed = true; // last: this is how it ended, though the log's end may have found it waiting
    }

    /** On the callback thread, once. */
    void end(AppendResult result) {
        while (!placed) {
            Thread.yield(); // the appender has returned from native code and is about to write it
        }
        complete(result);
    }

    /**
     * Whether the log took it: then it has a place, and it may be committed.
     *
     * @return false if it was refused at once
     */
    public boolean isTaken() {
        return index >= 0;
    }

    /**
     * Index of the (first) record.
     *
     * @return -1 if it was refused at once
     */
    public long index() {
        return index;
    }

    /**
     * Term of this leadership.
     *
     * @return -1 if it was refused at once
     */
    public long term() {
        return term;
    }

    /**
     * Position of the (first) record's header, in bytes.
     *
     * @return -1 if it was refused at once
     */
    public long position() {
        return position;
    }

    /**
     * Position of the (first) record's body, in bytes.
     *
     * @return -1 if it was refused at once
     */
    public long bodyPosition() {
        return position < 0 ? -1 : position + LogEntry.HEADER_BYTES;
    }

    /**
     * How many records the append is of; their indexes are consecutive.
     *
     * @return 1, or the length of the batch
     */
    public int count() {
        return count;
    }

    /**
     * Position of the header of one record of a batch, in bytes.
     *
     * @param n from 0 to below {@link #count()}
     * @return -1 if it was refused at once
     */
    public long position(int n) {
        if (n < 0 || n >= count) {
            throw new IndexOutOfBoundsException(n + " of " + count);
        }
        return positions == null ? position : positions[n];
    }
}
