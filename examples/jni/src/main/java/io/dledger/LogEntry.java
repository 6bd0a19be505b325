package io.dledger;

import java.nio.ByteBuffer;

/** A committed record as it lies in the mapped file. It stays as a {@link LogView} does. */
public final class LogEntry extends Pinned {
    /** Bytes of a record before its body. */
    public static final int HEADER_BYTES = 48;

    static final int MAGIC_RECORD = 1;
    private static final int INDEX_AT = 8;
    private static final int TERM_AT = 16;
    private static final int POSITION_AT = 24;

    private final long index;
    private final long term;
    private final long position;
    private final ByteBuffer body;

    private LogEntry(Segment segment, long position, int size) {
        super(segment);
        this.position = position;
        index = segment.getLong(position + INDEX_AT);
        term = segment.getLong(position + TERM_AT);
        body = segment.slice(position + HEADER_BYTES, size - HEADER_BYTES);
    }

    /** The record whose header is at a position; null if none begins there. On success it is a user. */
    static LogEntry at(Segment segment, long position, long committed) {
        long most = Math.min(committed - position, segment.bytesFrom(position));
        if (most < HEADER_BYTES || segment.getInt(position) != MAGIC_RECORD
                || segment.getLong(position + POSITION_AT) != position) {
            return null;
        }
        int size = segment.getInt(position + 4);
        return size < HEADER_BYTES || size > most ? null : new LogEntry(segment, position, size);
    }

    /**
     * Its place among the records.
     *
     * @return from 0
     */
    public long index() {
        return index;
    }

    /**
     * Term of the leader that took it.
     *
     * @return Raft's term
     */
    public long term() {
        return term;
    }

    /**
     * Position of the header.
     *
     * @return bytes from the beginning of time
     */
    public long position() {
        return position;
    }

    /**
     * Position of the body: what RocketMQ calls the physical offset.
     *
     * @return {@link #position()} + 48
     */
    public long bodyPosition() {
        return position + HEADER_BYTES;
    }

    /**
     * Position behind the record, where the next one or a blank begins.
     *
     * @return bytes from the beginning of time
     */
    public long endPosition() {
        return position + HEADER_BYTES + body.capacity();
    }

    /**
     * Length of the body.
     *
     * @return bytes
     */
    public int length() {
        return body.capacity();
    }

    /**
     * The body: the same buffer at each call, with its own position and limit. Its checksum is not looked
     * at: see {@link Log#readCopy}.
     *
     * @return read-only and big-endian
     * @throws IllegalStateException after the release
     */
    public ByteBuffer body() {
        mustHold();
        return body;
    }

    /**
     * A copy of the body.
     *
     * @return a new array
     * @throws IllegalStateException after the release
     */
    public byte[] bodyBytes() {
        mustHold();
        byte[] bytes = new byte[body.capacity()];
        ByteBuffer all = body.duplicate();
        all.clear();
        all.get(bytes);
        return bytes;
    }

    @Override
    public String toString() {
        return "index=" + index + " term=" + term + " position=" + position + " length=" + length();
    }
}
