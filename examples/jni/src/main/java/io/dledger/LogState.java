package io.dledger;

/**
 * How a log is at one moment, consistent in itself. Always begin &lt;= committed &lt;= end and flushed
 * &lt;= end, in indexes as in positions. Each is the first index, and the first byte, behind it.
 */
public final class LogState {
    /** Words that native code writes for one. */
    static final int WORDS = 14;

    private final Role role;
    private final boolean ready;
    private final int openViews;
    private final long nodeId;
    private final long leaderId;
    private final long term;
    private final long beginIndex;
    private final long beginPosition;
    private final long committedIndex;
    private final long committedPosition;
    private final long flushedIndex;
    private final long flushedPosition;
    private final long endIndex;
    private final long endPosition;

    /** From the words at {@code from}. */
    LogState(Words words, int from) {
        role = Role.of(words.word(from));
        ready = words.word(from + 1) != 0;
        nodeId = words.word(from + 2);
        leaderId = words.word(from + 3);
        term = words.word(from + 4);
        beginIndex = words.word(from + 5);
        beginPosition = words.word(from + 6);
        committedIndex = words.word(from + 7);
        committedPosition = words.word(from + 8);
        flushedIndex = words.word(from + 9);
        flushedPosition = words.word(from + 10);
        endIndex = words.word(from + 11);
        endPosition = words.word(from + 12);
        openViews = (int) words.word(from + 13);
    }

    /** Memory that native code wrote to. */
    interface Words {
        long word(int n);
    }

    /** What a member is. */
    public enum Role {
        /** Not started, or stopped. */
        STOPPED,
        /** Receives the log of a leader. */
        FOLLOWER,
        /** Asks for votes. */
        CANDIDATE,
        /** Takes appends. */
        LEADER,
        /** Receives the log and has no vote. */
        LEARNER;

        private static final Role[] ALL = values();

        static Role of(long number) {
            return ALL[(int) number];
        }
    }

    /**
     * What this member is.
     *
     * @return never null
     */
    public Role role() {
        return role;
    }

    /**
     * Whether this member is leader.
     *
     * @return whether {@link #role()} is {@link Role#LEADER}
     */
    public boolean isLeader() {
        return role == Role.LEADER;
    }

    /**
     * Whether this member is leader and its term has a committed entry.
     *
     * @return false on all others
     */
    public boolean isReady() {
        return ready;
    }

    /**
     * How many views and pinned segments are open, in native code.
     *
     * @return a count; one for each segment that was read from, however many reads
     */
    public int openViews() {
        return openViews;
    }

    /**
     * This member's id.
     *
     * @return from 1 on
     */
    public long nodeId() {
        return nodeId;
    }

    /**
     * The leader that this member knows of.
     *
     * @return 0 if none
     */
    public long leaderId() {
        return leaderId;
    }

    /**
     * Raft's term.
     *
     * @return only grows
     */
    public long term() {
        return term;
    }

    /**
     * Index of the first record that is kept.
     *
     * @return only grows while the log is open
     */
    public long beginIndex() {
        return beginIndex;
    }

    /**
     * Position of the first record that is kept, in bytes.
     *
     * @return only grows while the log is open
     */
    public long beginPosition() {
        return beginPosition;
    }

    /**
     * Records below are committed and readable.
     *
     * @return only grows while the log is open
     */
    public long committedIndex() {
        return committedIndex;
    }

    /**
     * Bytes below are committed and readable.
     *
     * @return only grows while the log is open
     */
    public long committedPosition() {
        return committedPosition;
    }

    /**
     * Records below are on this member's disk.
     *
     * @return may fall on a follower, with the end
     */
    public long flushedIndex() {
        return flushedIndex;
    }

    /**
     * Bytes below are on this member's disk.
     *
     * @return may fall on a follower, with the end
     */
    public long flushedPosition() {
        return flushedPosition;
    }

    /**
     * Records below are appended here.
     *
     * @return may fall on a follower, never below committed
     */
    public long endIndex() {
        return endIndex;
    }

    /**
     * Bytes below are appended here.
     *
     * @return may fall on a follower, never below committed
     */
    public long endPosition() {
        return endPosition;
    }

    @Override
    public String toString() {
        return role + (ready ? " (ready)" : "") + " node=" + nodeId + " leader=" + leaderId + " term=" + term
                + " begin=" + beginIndex + "@" + beginPosition + " committed=" + committedIndex + "@"
                + committedPosition + " flushed=" + flushedIndex + "@" + flushedPosition + " end=" + endIndex
                + "@" + endPosition;
    }
}
