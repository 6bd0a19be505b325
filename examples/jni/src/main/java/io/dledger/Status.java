package io.dledger;

import java.util.HashMap;
import java.util.Map;

/** How a call or an append ended: the statuses of the C ABI, without {@code DL_E_}. */
public enum Status {
    /** It worked; of an append: committed. */
    OK(0),
    /** The call was wrong: bad argument. */
    INVALID(-1),
    /** Unknown option, or a value it does not take. */
    CONFIG(-2),
    /** Library and files on disk do not fit each other. */
    VERSION(-3),
    /** Not started, or stopped. */
    STOPPED(-4),
    /**
     * Something that waits on the log's callback thread; and what a hook calls of any log, its own or another, is
     * refused at once with this and changes nothing; only what is mapped already can be read.
     */
    DEADLOCK(-5),
    /** Opened by the parent process. */
    FORKED(-6),
    /** Another process, or another log of this one, has the directory. */
    LOCKED(-7),
    /** Body over {@code append.max.bytes} or {@code append.pending.bytes}. */
    TOO_LARGE(-8),
    /** Not in this version. */
    UNSUPPORTED(-9),
    /** Memory, threads, descriptors. */
    RESOURCE(-10),
    /** The cluster cannot now: see {@link LogState#leaderId()}. */
    NOT_LEADER(-100),
    /** Leader without a committed entry of its term: for read barriers and membership changes. */
    NOT_READY(-101),
    /** Leadership is on its way to another member. */
    TRANSFERRING(-102),
    /** {@code append.pending.max} or {@code append.pending.bytes} reached; nothing was appended. */
    PENDING_FULL(-103),
    /** For an append: it may still commit. */
    TIMED_OUT(-104),
    /** Deposed before the commit was known: it may still commit. */
    LEADER_LOST(-105),
    /** The expected term does not hold; nothing was appended. */
    TERM_CHANGED(-106),
    /** A membership change, or a transfer, is under way. */
    CHANGE_PENDING(-107),
    /** No member has this id. */
    NO_MEMBER(-108),
    /** A hook or the stamp refused; nothing was appended. */
    REJECTED(-109),
    /** This member fell behind what the others still keep. */
    BEHIND(-110),
    /** The place is before {@link LogState#beginIndex()}: purged. */
    COMPACTED(-200),
    /** The place is at or after {@link LogState#committedIndex()}. */
    NOT_COMMITTED(-201),
    /** The storage failed. */
    IO(-300),
    /** The disk is full, or above {@code disk.full.ratio}. */
    DISK_FULL(-301),
    /** Checksum or structure. */
    CORRUPT(-302),
    /** The log stopped for good: see {@link Log#failure()}. */
    FAILED(-400),
    /** A bug in the native library, caught. */
    PANIC(-401),
    /** A status of a newer native library; its number is in {@link DledgerException#code()}. */
    UNKNOWN(Integer.MIN_VALUE);

    private static final Map<Integer, Status> BY_CODE = new HashMap<>();

    static {
        for (Status status : values()) {
            BY_CODE.put(status.code, status);
        }
    }

    private final int code;

    Status(int code) {
        this.code = code;
    }

    static Status of(int code) {
        return code == 0 ? OK : BY_CODE.getOrDefault(code, UNKNOWN);
    }

    /**
     * The number in the C ABI.
     *
     * @return 0 or below
     */
    public int code() {
        return code;
    }

    /**
     * Whether the same call may succeed here a little later.
     *
     * @return not for {@link #OK}
     */
    public boolean isRetryable() {
        return Native.statusIs(code, 1);
    }

    /**
     * Whether another member can serve it now.
     *
     * @return not for {@link #OK}
     */
    public boolean isRedirect() {
        return Native.statusIs(code, 2);
    }

    /**
     * Whether the log will never work again: reopen it.
     *
     * @return not for {@link #OK}
     */
    public boolean isFatal() {
        return Native.statusIs(code, 4);
    }

    /** Whether an append that was taken and ended so may be in the log, now or later. */
    static boolean isMaybeCommitted(int code) {
        return Native.statusIs(code, 3);
    }
}
