package io.dledger;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/** Appends of one log, and their hooks. */
final class Appends {
    /** Words of an append's place: index, term, position. */
    private static final int PLACE_BYTES = 3 * 8;
    /**
     * Whether a thread runs a hook, of whichever log: who holds up one log must not wait for another either,
     * where somebody may wait for the first.
     */
    private static final ThreadLocal<boolean[]> IN_HOOK = ThreadLocal.withInitial(() -> new boolean[1]);

    private final Handle handle;
    private final Pending pending;
    /** By number; copied on change. A place is null when its hook was removed. */
    private volatile AppendHook[] hooks = new AppendHook[0];
    private volatile long[] hookIds = new long[0];

    Appends(Handle handle, Pending pending) {
        this.handle = handle;
        this.pending = pending;
    }

    // ---- Hooks ----------------------------------------------------------------------------------------

    /** Not in a hook. */
    synchronized void addHook(AppendHook hook) {
        long log = handle.enter();
        Scratch out = Scratch.take();
        try {
            int number = hooks.length;
            AppendHook[] more = Arrays.copyOf(hooks, number + 1);
            long[] ids = Arrays.copyOf(hookIds, number + 1);
            more[number] = hook;
            int status = Native.addHook(log, number, out.address());
            if (status != 0) {
                throw DledgerException.of(status);
            }
            ids[number] = out.word(0);
            hooks = more;
            hookIds = ids;
        } finally {
            out.give();
            handle.exit();
        }
    }

    boolean removeHook(AppendHook hook) {
        mustNotBeInHook();
        return remove(hook);
    }

    private synchronized boolean remove(AppendHook hook) {
        AppendHook[] now = hooks;
        for (int number = 0; number < now.length; number++) {
            if (now[number] != hook) {
                continue;
            }
            long log = handle.enter();
            try {
                int status = Native.removeHook(log, hookIds[number]);
                if (status != 0) {
                    throw DledgerException.of(status);
                }
            } finally {
                handle.exit();
            }
            AppendHook[] less = now.clone();
            less[number] = null;
            hooks = less;
            return true;
        }
        return false;
    }

    /** Called by native code inside an append. Not 0: it is refused. */
    @SuppressWarnings("unused")
    private static int runHook(Appends appends, Scratch scratch, int number, long index, long term,
            long position, int at, int length) {
        boolean[] inHook = null;
        try {
            inHook = IN_HOOK.get();
            inHook[0] = true;
            AppendHook hook = appends.hooks[number];
            if (hook != null) {
                hook.onAppend(index, term, position, scratch.slice(at, length));
            }
            return 0;
        } catch (Throwable thrown) {
            scratch.thrown = thrown;
            return 1;
        } finally {
            if (inHook != null) {
                inHook[0] = false; // no call: the stack may be full
            }
        }
    }

    static boolean inHook() {
        return IN_HOOK.get()[0];
    }

    /** Throws in a hook of any log. To be asked before a lock is taken: who has that may wait for this hook. */
    static void mustNotBeInHook() {
        if (inHook()) {
            throw DledgerException.of(Status.DEADLOCK.code());
        }
    }

    private Appends ifHooked() {
        return hooks.length == 0 ? null : this;
    }

    // ---- One ------------------------------------------------------------------------------------------

    AppendFuture append(byte[] body, int offset, int length, long timeout, long term) {
        if ((offset | length | (body.length - offset - length)) < 0) {
            throw new IndexOutOfBoundsException(offset + " + " + length + " of " + body.length);
        }
        Scratch scratch = Scratch.take(scratchBytes(length));
        try {
            scratch.put(PLACE_BYTES, body, offset, length);
            return append(scratch, length, timeout, term);
        } finally {
            scratch.give();
        }
    }

    AppendFuture append(ByteBuffer body, long timeout, long term) {
        int length = body.remaining();
        Scratch scratch = Scratch.take(scratchBytes(length));
        try {
            scratch.put(PLACE_BYTES, body);
            return append(scratch, length, timeout, term);
        } finally {
            scratch.give();
        }
    }

    private AppendFuture append(Scratch scratch, int length, long timeout, long term) {
        int millis = Native.timeout(timeout);
        long log = handle.enter();
        try {
            AppendFuture future = new AppendFuture(pending, 1);
            int number = pending.add(future);
            int status = Status.PANIC.code(); // if it throws
            try {
                status = Native.append(log, ifHooked(), scratch, scratch.address(),
                        scratch.address(PLACE_BYTES), length, millis, term, number, scratch.address());
            } finally {
                if (status != 0) {
                    pending.cancel(number, future);
                }
            }
            if (status == 0) {
                future.place(scratch.word(0), scratch.word(1), scratch.word(2), null);
            } else {
                future.refuse(status, scratch.thrown);
            }
            return future;
        } finally {
            handle.exit();
        }
    }

    private static int scratchBytes(long length) {
        if (length > Integer.MAX_VALUE - PLACE_BYTES - 8) {
            throw new IllegalArgumentException(length + " bytes in one append");
        }
        return (int) length + PLACE_BYTES;
    }

    // ---- Many -----------------------------------------------------------------------------------------

    AppendFuture appendBatch(List<byte[]> bodies, long timeout, long term) {
        byte[][] all = bodies.toArray(new byte[0][]);
        if (all.length == 0) {
            throw new IllegalArgumentException("a batch of no records");
        }
        long bytes = 0;
        for (byte[] body : all) {
            bytes += body.length;
        }
        // First what comes out (index, term, positions), then lengths, then bodies.
        int lengthsAt = 8 * (2 + all.length);
        int bodiesAt = lengthsAt + 4 * all.length;
        if (bodiesAt < 0 || bytes > Integer.MAX_VALUE - bodiesAt - 8) {
            throw new IllegalArgumentException(bytes + " bytes in one append");
        }
        Scratch scratch = Scratch.take((int) bytes + bodiesAt);
        try {
            int at = bodiesAt;
            for (int n = 0; n < all.length; n++) {
                scratch.putInt(lengthsAt + 4 * n, all[n].length);
                scratch.put(at, all[n], 0, all[n].length);
                at += all[n].length;
            }
            return appendBatch(scratch, all.length, lengthsAt, bodiesAt, timeout, term);
        } finally {
            scratch.give();
        }
    }

    private AppendFuture appendBatch(Scratch scratch, int count, int lengthsAt, int bodiesAt, long timeout,
            long term) {
        int millis = Native.timeout(timeout);
        long log = handle.enter();
        try {
            AppendFuture future = new AppendFuture(pending, count);
            int number = pending.add(future);
            int status = Status.PANIC.code();
            try {
                status = Native.appendBatch(log, ifHooked(), scratch, scratch.address(),
                        scratch.address(bodiesAt), scratch.address(lengthsAt), count, millis, term, number,
                        scratch.address());
            } finally {
                if (status != 0) {
                    pending.cancel(number, future);
                }
            }
            if (status == 0) {
                long[] positions = new long[count];
                for (int n = 0; n < count; n++) {
                    positions[n] = scratch.word(2 + n);
                }
                future.place(scratch.word(0), scratch.word(1), positions[0], positions);
            } else {
                future.refuse(status, scratch.thrown);
            }
            return future;
        } finally {
            handle.exit();
        }
    }
}
