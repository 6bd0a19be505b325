package io.dledger;

/**
 * How an append ended: committed, not in the log and never will be, or unknown ({@link
 * #isMaybeCommitted()}). Who retries after unknown may have the record twice.
 */
public final class AppendResult {
    private final int code;
    private final boolean taken;
    private final long index;
    private final long term;
    private final long position;
    private final int count;
    private final Throwable cause;

    AppendResult(int code, long index, long term, long position, int count) {
        this(code, true, index, term, position, count, null);
    }

    private AppendResult(int code, boolean taken, long index, long term, long position, int count,
            Throwable cause) {
        this.code = code;
        this.taken = taken;
        this.index = index;
        this.term = term;
        this.position = position;
        this.count = count;
        this.cause = cause;
    }

    /** Nothing was appended. */
    static AppendResult refused(int code, int count, Throwable cause) {
        return new AppendResult(code, false, -1, -1, -1, count, cause);
    }

    /**
     * How it ended.
     *
     * @return {@link Status#OK}: committed
     */
    public Status status() {
        return Status.of(code);
    }

    /**
     * Whether it is in the log for ever.
     *
     * @return whether the status is {@link Status#OK}
     */
    public boolean isCommitted() {
        return code == 0;
    }

    /**
     * Whether it may be in the log, now or later, though that is not known.
     *
     * @return false if it is committed, and if it is not in the log and never will be
     */
    public boolean isMaybeCommitted() {
        return taken && Status.isMaybeCommitted(code);
    }

    /**
     * Index of the first record of the append.
     *
     * @return -1 if nothing was appended
     */
    public long index() {
        return index;
    }

    /**
     * Term of the leader that took it.
     *
     * @return -1 if nothing was appended
     */
    public long term() {
        return term;
    }

    /**
     * Position of the first record's header, in bytes.
     *
     * @return -1 if nothing was appended
     */
    public long position() {
        return position;
    }

    /**
     * Position of the first record's body, in bytes.
     *
     * @return -1 if nothing was appended
     */
    public long bodyPosition() {
        return position < 0 ? -1 : position + LogEntry.HEADER_BYTES;
    }

    /**
     * How many records the append was of.
     *
     * @return 1, or the length of the batch
     */
    public int count() {
        return count;
    }

    /**
     * What a hook threw, if the status is {@link Status#REJECTED} because of that.
     *
     * @return or null
     */
    public Throwable cause() {
        return cause;
    }

    /**
     * This result, if it is committed.
     *
     * @return this
     * @throws DledgerException with the status, if it is not
     */
    public AppendResult orThrow() {
        if (code == 0) {
            return this;
        }
        String message = Native.text(Native.statusText(code));
        throw new DledgerException(code, 0, cause != null ? message + " " + cause : message, cause);
    }

    @Override
    public String toString() {
        return status() + " index=" + index + " term=" + term + " position=" + position + " count=" + count;
    }
}
