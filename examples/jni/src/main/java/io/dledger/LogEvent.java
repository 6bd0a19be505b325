package io.dledger;

/** Something changed. Role changes come one by one, the others may come merged. */
public final class LogEvent {
    static final int ROLE = 1;
    static final int COMMIT = 2;
    static final int BEGIN = 4;
    static final int MEMBERS = 8;
    static final int FAILED = 16;

    private final int what;
    private final LogState state;

    LogEvent(int what, LogState state) {
        this.what = what;
        this.state = state;
    }

    /**
     * Role, term, leader or ready changed. Before an end of leadership is told, every append of that term
     * has completed.
     *
     * @return also in the first event of a log
     */
    public boolean isRole() {
        return (what & ROLE) != 0;
    }

    /**
     * Committed moved: there is something to read.
     *
     * @return also in the first event of a log
     */
    public boolean isCommit() {
        return (what & COMMIT) != 0;
    }

    /**
     * Begin moved: a purge, or this member was far behind and begins anew.
     *
     * @return also in the first event of a log
     */
    public boolean isBegin() {
        return (what & BEGIN) != 0;
    }

    /**
     * The members changed: see {@link Log#members()}.
     *
     * @return also in the first event of a log
     */
    public boolean isMembers() {
        return (what & MEMBERS) != 0;
    }

    /**
     * The log stopped for good: see {@link Log#failure()}.
     *
     * @return once in the life of a log
     */
    public boolean isFailed() {
        return (what & FAILED) != 0;
    }

    /**
     * How things were when it happened.
     *
     * @return never null
     */
    public LogState state() {
        return state;
    }

    @Override
    public String toString() {
        return (isRole() ? "role " : "") + (isCommit() ? "commit " : "") + (isBegin() ? "begin " : "")
                + (isMembers() ? "members " : "") + (isFailed() ? "failed " : "") + state;
    }
}
