package io.dledger;

/**
 * A call that the log could not do. {@link #status()} says what the caller can do about it. An argument
 * that is wrong whatever the log is doing is an {@link IllegalArgumentException}, and a log that was closed
 * an {@link IllegalStateException}.
 */
public class DledgerException extends RuntimeException {
    private static final long serialVersionUID = 1;

    /** Of the C ABI. */
    private final int code;
    /** Of the operating system. */
    private final int errno;

    DledgerException(int code, int errno, String message, Throwable cause) {
        super(Status.of(code) + ": " + message, cause);
        this.code = code;
        this.errno = errno;
    }

    /** The status with its own sentence. */
    static DledgerException of(int code) {
        return new DledgerException(code, 0, Native.text(Native.statusText(code)), null);
    }

    static DledgerException of(Status status, String message) {
        return new DledgerException(status.code(), 0, message, null);
    }

    /**
     * How it ended.
     *
     * @return never {@link Status#OK}
     */
    public Status status() {
        return Status.of(code);
    }

    /**
     * The number of the status in the C ABI, which tells those apart that are {@link Status#UNKNOWN}.
     *
     * @return below 0
     */
    public int code() {
        return code;
    }

    /**
     * The error number of the operating system.
     *
     * @return 0 if the system had no part in it
     */
    public int errno() {
        return errno;
    }
}
