package io.dledger;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * The functions of the native library. A {@code log} is what {@code open} wrote; addresses are of direct
 * buffers that the caller keeps reachable. An answer below 0 is a status, unless it says otherwise.
 */
final class Native {
    /** {@code timeout_ms} without a limit. */
    static final int FOREVER = -1;

    static {
        NativeLibrary.load();
    }

    private Native() {}

    static native int version();

    static native byte[] versionText();

    static native byte[] statusText(int status);

    static native boolean statusIs(int status, int question);

    /** Of a direct buffer's first byte. */
    static native long address(ByteBuffer buffer);

    static native int check(byte[][] pairs, long err);

    static native void options(List<LogOption> to);

    static native int open(byte[][] pairs, long out, long err);

    static native int start(long log, long err);

    static native int stop(long log, int timeout);

    static native void close(long log);

    static native int set(long log, byte[] key, byte[] value, long err);

    static native int poll(long log, int timeout);

    static native ByteBuffer polled(long log);

    static native ByteBuffer last(long log);

    static native int addHook(long log, int number, long out);

    static native int removeHook(long log, long id);

    static native int append(long log, Appends appends, Scratch scratch, long memory, long body,
            int len, int timeout, long term, long token, long out);

    static native int appendBatch(long log, Appends appends, Scratch scratch, long memory, long body,
            long lens, int n, int timeout, long term, long token, long out);

    static native int state(long log, long out);

    static native long committed(long log);

    static native int failure(long log, long err);

    static native int locate(long log, long index, int timeout, long out);

    static native long indexAt(long log, long position);

    static native int readCopy(long log, long index, long to, int cap, long out);

    static native int pin(long log, long position, long out);

    static native ByteBuffer window(long pin, long offset, int len);

    static native void unpin(long pin);

    static native int readIndex(long log, int timeout, long token);

    static native int readIndexNow(long log, int timeout, long out);

    static native int flush(long log, int timeout);

    static native int deletePrefix(long log, long index, long err);

    static native int transfer(long log, long node, int timeout, long err);

    static native int change(long log, long[] numbers, byte[][] addresses, int timeout, long err);

    static native int members(long log, List<Member> to);

    static native int metrics(long log, List<Metric> to);

    /** Diagnostics up to a level from now on; 0: none. */
    static native int trace(int level);

    /** Waits for the next line. */
    static native byte[] traced();

    // Called by native code, on the thread that asked for the list.

    @SuppressWarnings("unused")
    private static void addOption(List<LogOption> to, byte[] key, byte[] type, byte[] preset, byte[] doc,
            boolean live) {
        to.add(new LogOption(text(key), text(type), text(preset), text(doc), live));
    }

    @SuppressWarnings("unused")
    private static void addMember(List<Member> to, long id, byte[] address, boolean voter, long match,
            long contact) {
        to.add(new Member(id, text(address), voter, match, contact));
    }

    @SuppressWarnings("unused")
    private static void addMetric(List<Metric> to, byte[] name, byte[] help, byte[] label,
            boolean counter, double value) {
        to.add(new Metric(text(name), text(help), text(label), counter, value));
    }

    static String text(byte[] utf8) {
        return new String(utf8, StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        if (text.indexOf('\0') >= 0) {
            throw new IllegalArgumentException("a zero character in " + text.replace('\0', '?'));
        }
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** {@code timeout_ms} of a time in milliseconds. */
    static int timeout(long millis) {
        if (millis < 0) {
            throw new IllegalArgumentException("a time below 0: " + millis);
        }
        if (millis == Long.MAX_VALUE) {
            return FOREVER;
        }
        return (int) Math.min(millis, 0xFFFF_FFFEL);
    }
}
