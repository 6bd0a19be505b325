package io.dledger;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * Memory of one thread for one native call: what goes in and what comes out. Never freed by hand, so
 * that a slice of it that a hook kept is stale and not dangling.
 */
final class Scratch {
    /** Kept for the next call of the thread; what is larger is left to the garbage collector. */
    private static final int KEPT_MAX = (4 << 20) + (64 << 10);
    /** {@code sizeof(dl_error)}: status, errno, text. */
    private static final int ERROR_BYTES = 256;

    private static final ThreadLocal<Scratch> OF_THREAD = ThreadLocal.withInitial(() -> new Scratch(8 << 10));

    private ByteBuffer memory;
    private long address;
    private boolean taken;
    /** What a hook threw in the append that uses this. */
    Throwable thrown;

    private Scratch(int bytes) {
        grow(bytes);
    }

    private void grow(int bytes) {
        memory = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        address = Native.address(memory);
    }

    /** At least so many bytes. A hook that calls back gets other memory than the append it is in. */
    static Scratch take(int bytes) {
        Scratch scratch = OF_THREAD.get();
        if (scratch.taken || bytes > KEPT_MAX) {
            scratch = new Scratch(bytes);
        } else if (scratch.memory.capacity() < bytes) {
            scratch.grow(Math.min(KEPT_MAX, Math.max(bytes, scratch.memory.capacity() * 2)));
        }
        scratch.taken = true;
        return scratch;
    }

    /** For what comes out of most calls. */
    static Scratch take() {
        return take(ERROR_BYTES);
    }

    void give() {
        thrown = null;
        taken = false;
    }

    long address() {
        return address;
    }

    /** Of the n-th byte. */
    long address(int at) {
        return address + at;
    }

    long word(int n) {
        return memory.getLong(8 * n);
    }

    void putInt(int at, int value) {
        memory.putInt(at, value);
    }

    void put(int at, byte[] bytes, int offset, int length) {
        memory.position(at);
        memory.put(bytes, offset, length);
    }

    /** What remains in {@code bytes}, whose position does not move. */
    void put(int at, ByteBuffer bytes) {
        memory.position(at);
        memory.put(bytes.duplicate());
    }

    byte[] bytes(int at, int length) {
        byte[] bytes = new byte[length];
        memory.position(at);
        memory.get(bytes);
        return bytes;
    }

    /** A big-endian buffer of the bytes from {@code at} on. */
    ByteBuffer slice(int at, int length) {
        ByteBuffer all = memory.duplicate(); // of its own: words are read up to this one's limit
        all.clear().position(at).limit(at + length);
        return all.slice();
    }

    /** Throws what a {@code dl_error} at the beginning says, unless the status is OK. */
    void check(int status) {
        if (status != 0) {
            throw error(status);
        }
    }

    DledgerException error(int status) {
        byte[] text = bytes(8, ERROR_BYTES - 8);
        int length = 0;
        while (length < text.length && text[length] != 0) {
            length++;
        }
        String message = new String(text, 0, length, StandardCharsets.UTF_8);
        return new DledgerException(status, memory.getInt(4), message, null);
    }
}
