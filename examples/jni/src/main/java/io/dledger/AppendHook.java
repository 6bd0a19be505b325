package io.dledger;

import java.nio.ByteBuffer;

/**
 * Called for each record that is appended here, as the leader, inside the append and on its thread, when
 * the place is final. It may change the body, not its length; what it leaves is what all members get. On
 * followers it is not called.
 *
 * <p>All appends of the log wait for it: keep it short, and take no lock that an appender may hold. What a
 * hook calls of any log, its own or another, is refused at once with {@link Status#DEADLOCK} and changes nothing;
 * only what is mapped already can be read. That is so whatever other threads are doing. To wait there for an {@link
 * AppendFuture} or a read barrier, of whichever log, that is not complete is refused as well. What {@code
 * append.stamp} can do costs no call.
 */
@FunctionalInterface
public interface AppendHook {
    /**
     * Sees one record, and may change its body.
     *
     * @param index of the record
     * @param term of this leadership
     * @param position of its header, in bytes; the body is at 48 bytes more
     * @param body big-endian, from 0 to its limit, writable; it must not be used after the return
     * @throws Exception to refuse the whole append, which then ends in {@link Status#REJECTED} with this
     *     as its {@link AppendResult#cause()}; no index is used up
     */
    void onAppend(long index, long term, long position, ByteBuffer body) throws Exception;
}
