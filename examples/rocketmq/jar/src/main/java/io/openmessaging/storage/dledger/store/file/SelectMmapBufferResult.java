package io.openmessaging.storage.dledger.store.file;

import io.dledger.LogSegment;
import java.nio.ByteBuffer;

/** Committed bytes where the log has them mapped. They stay until they are released. */
public class SelectMmapBufferResult {
    private final long startOffset;
    private final ByteBuffer bytes;
    private final LogSegment segment;
    private int size;

    SelectMmapBufferResult(long startOffset, ByteBuffer bytes, int size, LogSegment segment) {
        this.startOffset = startOffset;
        this.bytes = bytes;
        this.size = size;
        this.segment = segment;
    }

    /** Read-only, from its index 0 on. */
    public ByteBuffer getByteBuffer() {
        return bytes;
    }

    public int getSize() {
        return size;
    }

    /** Only the first {@code size} of them. */
    public void setSize(int size) {
        this.size = size;
        bytes.limit(size);
    }

    /** The position of the first byte. */
    public long getStartOffset() {
        return startOffset;
    }

    /** On any thread; twice is harmless. */
    public void release() {
        segment.release();
    }
}
