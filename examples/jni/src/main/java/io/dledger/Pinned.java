package io.dledger;

import java.util.concurrent.atomic.AtomicReferenceFieldUpdater;

/** What holds a segment until it is released. */
abstract class Pinned implements AutoCloseable {
    private static final AtomicReferenceFieldUpdater<Pinned, Segment> SEGMENT =
            AtomicReferenceFieldUpdater.newUpdater(Pinned.class, Segment.class, "segment");

    private volatile Segment segment;

    Pinned(Segment segment) {
        this.segment = segment;
    }

    /** Throws {@link IllegalStateException} after the release. */
    final void mustHold() {
        if (segment == null) {
            throw new IllegalStateException("released");
        }
    }

    /**
     * Lets go of the bytes: no buffer of this may be touched any more, on any thread. Twice is harmless.
     * Also after the log was closed.
     */
    public final void release() {
        Segment held = SEGMENT.getAndSet(this, null);
        if (held != null) {
            held.release();
        }
    }

    /** As {@link #release}. */
    @Override
    public final void close() {
        release();
    }
}
