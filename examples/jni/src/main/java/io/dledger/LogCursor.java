package io.dledger;

/**
 * Reads the records of a log one behind the other. It walks the mapped files by itself: there is no native
 * call but for the first record and where it meets the end of what is known to be committed. One thread at
 * a time. While there is a cursor its log is not taken for forgotten.
 */
public final class LogCursor {
    private static final int MAGIC_NO_OP = 2;
    private static final int MAGIC_BLANK = -1;
    private static final int BLANK_BYTES_MIN = 8;

    /** Not its engine alone: a log that nobody holds is closed. */
    private final Log log;
    private long nextIndex;
    /** Where it goes on; -1: where {@link #nextIndex} is. */
    private long position = -1;

    LogCursor(Log log, long index) {
        if (index < 0) {
            throw new IllegalArgumentException("index " + index);
        }
        this.log = log;
        nextIndex = index;
    }

    /**
     * Index of the record that comes next.
     *
     * @return an index, which may not be committed yet
     */
    public long nextIndex() {
        return nextIndex;
    }

    /**
     * The next record, if it is committed. Release it.
     *
     * @return or null: ask again later, see {@link Log#awaitCommitted}
     * @throws DledgerException {@link Status#COMPACTED} if it was purged; {@link Status#CORRUPT} if the
     *     file is damaged there
     * @throws IllegalStateException if the log is closed
     */
    public LogEntry next() {
        Engine engine = log.engine;
        if (position < 0) {
            position = engine.locate(nextIndex, 0);
            if (position < 0) {
                return null;
            }
        }
        while (true) {
            long committed = engine.segments.committedBeyond(position);
            if (committed == 0) {
                return null;
            }
            Segment segment = engine.segments.retain(position);
            LogEntry entry = LogEntry.at(segment, position, committed);
            if (entry != null) {
                position = entry.endPosition();
                nextIndex = entry.index() + 1;
                return entry;
            }
            try {
                position += step(segment);
            } finally {
                segment.release();
            }
        }
    }

    /** Bytes of what is no record of ours. */
    private long step(Segment segment) {
        long left = segment.end - position;
        if (segment.bytesFrom(position) >= BLANK_BYTES_MIN) {
            int magic = segment.getInt(position);
            int size = segment.getInt(position + 4);
            boolean known = magic == MAGIC_NO_OP || magic == MAGIC_BLANK;
            if (known && size >= BLANK_BYTES_MIN && size <= left) {
                return size;
            }
            if (magic == LogEntry.MAGIC_RECORD) {
                throw DledgerException.of(Status.CORRUPT, "a damaged header at position " + position);
            }
        }
        throw DledgerException.of(Status.CORRUPT, "no record at position " + position);
    }
}
