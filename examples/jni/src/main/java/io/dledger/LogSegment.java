package io.dledger;

import java.nio.ByteBuffer;

/**
 * One data file, mapped whole. Only bytes from {@link #begin()} to below {@link
 * LogState#committedPosition()} may be read: what is behind may change. It stays as a {@link LogView} does.
 */
public final class LogSegment extends Pinned {
    private final Segment segment;

    LogSegment(Segment segment) {
        super(segment);
        this.segment = segment;
    }

    /**
     * Position of the file's first byte.
     *
     * @return a multiple of {@code segment.bytes}
     */
    public long position() {
        return segment.position;
    }

    /**
     * Length of the file.
     *
     * @return {@code segment.bytes}
     */
    public int size() {
        return segment.memory.capacity();
    }

    /**
     * First valid position in it.
     *
     * @return more than {@link #position()} in a log that begins inside this file
     */
    public long begin() {
        return segment.begin;
    }

    /**
     * The whole file.
     *
     * @return a new buffer at each call, read-only and big-endian, index 0 is {@link #position()}
     * @throws IllegalStateException after the release
     */
    public ByteBuffer buffer() {
        mustHold();
        return segment.memory.duplicate();
    }
}
