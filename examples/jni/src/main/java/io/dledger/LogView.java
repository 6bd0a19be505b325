package io.dledger;

import java.nio.ByteBuffer;

/**
 * Committed bytes of the log as they lie in the mapped file, headers and all. They stay until {@link
 * #release}: through purges, and when the log is closed. Until then the file keeps its blocks on disk.
 * What is forgotten is released when neither this nor a buffer of it is reachable.
 */
public final class LogView extends Pinned {
    private final long position;
    private final ByteBuffer bytes;

    LogView(Segment segment, long position, int length) {
        super(segment);
        this.position = position;
        this.bytes = segment.slice(position, length);
    }

    /**
     * Position of the first byte.
     *
     * @return bytes from the beginning of time
     */
    public long position() {
        return position;
    }

    /**
     * How many bytes there are.
     *
     * @return at least 1
     */
    public int length() {
        return bytes.capacity();
    }

    /**
     * The bytes: the same buffer at each call, with its own position and limit.
     *
     * @return read-only and big-endian, index 0 is {@link #position()}
     * @throws IllegalStateException after the release
     */
    public ByteBuffer buffer() {
        mustHold();
        return bytes;
    }
}
