package io.dledger;

/**
 * The segments that reads are served from, pinned when they are first read, and how far they may be read.
 * A read of what was read before makes no native call and takes no lock.
 */
final class Segments {
    /** A segment longer than a buffer has several windows, each beginning a gigabyte after the one before. */
    private static final int WINDOW_SHIFT = 30;
    private static final Table EMPTY = new Table(0, 1, 0, new Segment[0]);

    private final Handle handle;
    private volatile Table table = EMPTY;
    /** A lower bound of the committed position. */
    private volatile long committed;
    /** Nothing that lies wholly below is kept. */
    private volatile long begin;
    private boolean closed;

    Segments(Handle handle) {
        this.handle = handle;
    }

    /** Immutable but for its entries' users; entries are null where nothing was read. */
    private static final class Table {
        final long segmentBytes;
        final int windows;
        final long first;
        final Segment[] segments;

        Table(long segmentBytes, int windows, long first, Segment[] segments) {
            this.segmentBytes = segmentBytes;
            this.windows = windows;
            this.first = first;
            this.segments = segments;
        }

        Segment at(long position) {
            if (segmentBytes == 0) {
                return null;
            }
            long at = number(position) - first;
            return at >= 0 && at < segments.length ? segments[(int) at] : null;
        }

        long number(long position) {
            long segment = position / segmentBytes;
            return windows == 1 ? segment
                    : segment * windows + ((position - segment * segmentBytes) >> WINDOW_SHIFT);
        }
    }

    /** Bytes below are known to be committed. */
    void committedAtLeast(long position) {
        if (position > committed) {
            committed = position;
        }
    }

    /** The committed position now: one native call. */
    long askCommitted() {
        long log = handle.enter();
        try {
            long position = Native.committed(log);
            if (position < 0) {
                throw DledgerException.of((int) position);
            }
            committedAtLeast(position);
            return position;
        } finally {
            handle.exit();
        }
    }

    /** The committed position now; {@code known} if it cannot be asked, because the log was closed, say. */
    long askCommittedOr(long known) {
        try {
            return askCommitted();
        } catch (RuntimeException refused) {
            return known;
        }
    }

    /** A committed position beyond {@code position}; 0 if there is none. */
    long committedBeyond(long position) {
        long now = committed;
        if (position < now) {
            return now;
        }
        now = askCommitted();
        return position < now ? now : 0;
    }

    /**
     * The segment that has a committed position, with one more user. Throws {@link Status#COMPACTED}, and
     * {@link IllegalStateException} if the log is closed.
     */
    Segment retain(long position) {
        Segment segment = table.at(position);
        if (segment == null || !segment.retain()) {
            Appends.mustNotBeInHook();
            segment = pin(position);
        }
        if (position < segment.begin) {
            segment.release();
            throw DledgerException.of(Status.COMPACTED.code());
        }
        return segment;
    }

    /** The log begins there, or behind. */
    void beginAtLeast(long position) {
        if (position > begin) {
            dropBelow(position);
        }
    }

    /** Purged: what lies wholly below is let go of. */
    private synchronized void dropBelow(long position) {
        Table now = table;
        int count = 0;
        begin = Math.max(begin, position);
        for (Segment segment : now.segments) {
            if (segment != null && segment.end > position) {
                break;
            }
            count++;
        }
        if (count == 0) {
            return;
        }
        int left = now.segments.length - count;
        Segment[] kept = new Segment[left];
        System.arraycopy(now.segments, count, kept, 0, left);
        table = left == 0 ? EMPTY : new Table(now.segmentBytes, now.windows, now.first + count, kept);
        for (int n = 0; n < count; n++) {
            if (now.segments[n] != null) {
                now.segments[n].release();
            }
        }
    }

    /** Lets go of all; nothing is pinned any more. Views stay. */
    synchronized void close() {
        closed = true;
        dropBelow(Long.MAX_VALUE);
    }

    private synchronized Segment pin(long position) {
        Segment there = table.at(position);
        if (there != null && there.retain()) {
            return there; // another thread was faster
        }
        if (closed) {
            throw Handle.closed();
        }
        long log = handle.enter();
        Scratch out = Scratch.take();
        try {
            int status = Native.pin(log, position, out.address());
            if (status != 0) {
                throw DledgerException.of(status);
            }
            Segment segment = window(out.word(0), position, out.word(1), out.word(2), out.word(3));
            segment.retain();
            add(segment, position, out.word(2));
            return segment;
        } finally {
            out.give();
            handle.exit();
        }
    }

    private static Segment window(long pin, long position, long segmentPosition, long size, long begin) {
        long offset = windows(size) == 1 ? 0 : (position - segmentPosition) >> WINDOW_SHIFT << WINDOW_SHIFT;
        int length = (int) Math.min(size - offset, Integer.MAX_VALUE);
        return new Segment(pin, offset, length, segmentPosition, segmentPosition + size, begin);
    }

    private static int windows(long size) {
        return size <= Integer.MAX_VALUE ? 1 : (int) ((size - 1) >> WINDOW_SHIFT) + 1;
    }

    private void add(Segment segment, long position, long size) {
        Table now = table;
        Table sized = now.segmentBytes != 0 ? now : new Table(size, windows(size), 0, now.segments);
        long number = sized.number(position);
        long first = now.segments.length == 0 ? number : Math.min(number, now.first);
        long last = now.segments.length == 0 ? number
                : Math.max(number, now.first + now.segments.length - 1);
        Segment[] more = new Segment[(int) (last - first + 1)];
        if (now.segments.length > 0) {
            System.arraycopy(now.segments, 0, more, (int) (now.first - first), now.segments.length);
        }
        more[(int) (number - first)] = segment;
        table = new Table(sized.segmentBytes, sized.windows, first, more);
    }
}
