/**
 * A replicated (Raft), memory-mapped commit log in this process: libdledger for Java.
 *
 * <p>{@link io.dledger.Log} is the log, {@link io.dledger.LogConfig} says which one. An append is given
 * its index and position before {@code append} returns, and its future ends when it is committed. Reads
 * are buffers over the mapped files, without a copy and without a call into native code.
 *
 * <p><b>Positions</b> are bytes from the beginning of time: a record is a header of 48 bytes at its
 * position and its body behind that. <b>Indexes</b> count records from 0, without gaps. Both are the same
 * on all members of a group.
 *
 * <p><b>Threads.</b> Everything may be called from every thread, unless it says otherwise. Futures are
 * completed and listeners called one at a time, in order, on one thread for each log, the
 * <em>callback thread</em>. It must not be held up for long: use the {@code Async} methods of a future for
 * what takes time. What waits for the disk or the cluster throws {@link io.dledger.DledgerException} with
 * {@link io.dledger.Status#DEADLOCK} there, and in an {@link io.dledger.AppendHook} what calls any log does.
 *
 * <p><b>Times</b> are milliseconds: 0 is not to wait, {@link java.lang.Long#MAX_VALUE} is no limit.
 */
package io.dledger;
