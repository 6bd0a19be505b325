package io.dledger;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/**
 * A pinned data segment, or a window of one that is larger than a buffer can be: read-only memory, and how
 * many use it. The table of segments is one user, each view another; the last one unpins. Views that were
 * forgotten hold the root buffer by their own, so that one is unpinned when none of them is reachable.
 */
final class Segment {
    private static final AtomicIntegerFieldUpdater<Segment> USERS =
            AtomicIntegerFieldUpdater.newUpdater(Segment.class, "users");

    /** Position of the first byte of {@link #memory}. */
    final long position;
    /** Position behind the segment, which may be behind the memory. */
    final long end;
    /** First valid position in the segment. */
    final long begin;
    /** Read-only and big-endian. */
    final ByteBuffer memory;
    private final Reaper pin;
    private volatile int users = 1;

    Segment(long pin, long offset, int length, long segmentPosition, long segmentEnd, long begin) {
        position = segmentPosition + offset;
        end = segmentEnd;
        this.begin = begin;
        ByteBuffer root = Native.window(pin, offset, length);
        memory = root.asReadOnlyBuffer().order(ByteOrder.BIG_ENDIAN);
        this.pin = Reaper.of(root, forgotten -> Native.unpin(pin));
    }

    /** One more user; false if there is none left to join. */
    boolean retain() {
        int now;
        do {
            now = users;
            if (now == 0) {
                return false;
            }
        } while (!USERS.compareAndSet(this, now, now + 1));
        return true;
    }

    void release() {
        if (USERS.decrementAndGet(this) == 0) {
            pin.run();
        }
    }

    /** Buffer index 0 is {@code from}. */
    ByteBuffer slice(long from, int length) {
        ByteBuffer all = memory.duplicate();
        int at = (int) (from - position);
        all.limit(at + length).position(at);
        return all.slice();
    }

    int getInt(long from) {
        return memory.getInt((int) (from - position));
    }

    long getLong(long from) {
        return memory.getLong((int) (from - position));
    }

    /** How many bytes of memory there are from a position on. */
    long bytesFrom(long from) {
        return memory.capacity() - (from - position);
    }
}
