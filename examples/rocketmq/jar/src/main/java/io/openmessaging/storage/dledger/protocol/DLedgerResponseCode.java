package io.openmessaging.storage.dledger.protocol;

import io.dledger.AppendResult;

/** The codes of DLedger that a broker meets. */
public enum DLedgerResponseCode {
    UNKNOWN(-1),
    SUCCESS(200),
    NOT_LEADER(404),
    INCONSISTENT_LEADER(409),
    UNEXPECTED_ARGUMENT(411),
    DISK_ERROR(414),
    DISK_FULL(415),
    INTERNAL_ERROR(500),
    WAIT_QUORUM_ACK_TIMEOUT(502),
    LEADER_PENDING_FULL(503),
    LEADER_NOT_READY(505);

    private static final DLedgerResponseCode[] ALL = values();

    private final int code;

    DLedgerResponseCode(int code) {
        this.code = code;
    }

    /** The code of a number; {@link #UNKNOWN} for all that are not here. */
    public static DLedgerResponseCode valueOf(int code) {
        for (DLedgerResponseCode one : ALL) {
            if (one.code == code) {
                return one;
            }
        }
        return UNKNOWN;
    }

    public int getCode() {
        return code;
    }

    /**
     * What a broker makes the right answer of. Whatever may still be committed is the quorum that did not
     * answer in time: its client sends again, and the message may be there twice.
     *
     * @param result of the log
     */
    public static DLedgerResponseCode of(AppendResult result) {
        if (result.isCommitted()) {
            return SUCCESS;
        }
        if (result.isMaybeCommitted()) {
            return WAIT_QUORUM_ACK_TIMEOUT;
        }
        switch (result.status()) {
            case NOT_LEADER:
            case STOPPED:
                return NOT_LEADER;
            case TRANSFERRING:
            case TERM_CHANGED:
            case LEADER_LOST:
                return LEADER_NOT_READY;
            case PENDING_FULL:
                return LEADER_PENDING_FULL;
            case DISK_FULL:
                return DISK_FULL;
            case IO:
            case FAILED:
            case CORRUPT:
                return DISK_ERROR;
            case TOO_LARGE:
            case REJECTED:
                return UNEXPECTED_ARGUMENT;
            default:
                return INTERNAL_ERROR;
        }
    }
}
