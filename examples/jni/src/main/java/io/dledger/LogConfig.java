package io.dledger;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Options to open a log with. Each is checked when it is set: {@link DledgerException} with {@link
 * Status#CONFIG} says what is allowed. What is not set has its preset ({@link #options()}). {@link #dir} and
 * {@link #nodeId} must be set. One thread at a time; it may be used for several logs, and changed between.
 */
public final class LogConfig {
    private final Map<String, String> values = new LinkedHashMap<>();

    /** No option is set. */
    public LogConfig() {}

    /**
     * All options there are, with what they take and their presets.
     *
     * @return a new list
     */
    public static List<LogOption> options() {
        List<LogOption> options = new ArrayList<>();
        Native.options(options);
        return options;
    }

    /**
     * Any option by its text.
     *
     * @param key as in {@code segment.bytes}; not {@code callbacks}, which is this library's own
     * @param value as in {@code 1GiB}
     * @return this
     * @throws DledgerException {@link Status#CONFIG}: there is no such option, or it does not take this
     */
    public LogConfig set(String key, String value) {
        if (key.equals("callbacks")) {
            throw DledgerException.of(Status.CONFIG, "callbacks is chosen by the Java library");
        }
        byte[][] pair = {Native.bytes(key), Native.bytes(value)};
        Scratch err = Scratch.take();
        try {
            err.check(Native.check(pair, err.address()));
        } finally {
            err.give();
        }
        values.put(key, value);
        return this;
    }

    /**
     * What was set for a key.
     *
     * @param key of an option
     * @return its text, or null if it was not set
     */
    public String get(String key) {
        return values.get(key);
    }

    /**
     * Directory of the log; it is made if it is not there. Must be set.
     *
     * @param dir one for each log
     * @return this
     */
    public LogConfig dir(Path dir) {
        return set("dir", dir.toString());
    }

    /**
     * The cluster's name, checked in each handshake.
     *
     * @param name 1 to 255 bytes
     * @return this
     */
    public LogConfig group(String name) {
        return set("group", name);
    }

    /**
     * Number of this member in its group. Must be set.
     *
     * @param id from 1 on
     * @return this
     */
    public LogConfig nodeId(long id) {
        return set("node.id", Long.toString(id));
    }

    /**
     * Where to listen for other members; not needed if {@link #members} says it.
     *
     * @param address host and port
     * @return this
     */
    public LogConfig listen(String address) {
        return set("node.listen", address);
    }

    /**
     * The member with the highest priority is the preferred leader.
     *
     * @param priority 0 (the preset) to 4294967295
     * @return this
     */
    public LogConfig priority(long priority) {
        return set("node.priority", Long.toString(priority));
    }

    /**
     * The group's members when it is born. Not set: a group of one.
     *
     * @param members as in {@code 1@a:20911,2@b:20911,3@c:20911}
     * @return this
     */
    public LogConfig members(String members) {
        return set("members", members);
    }

    /**
     * Addresses to use here instead of those that the group has agreed on.
     *
     * @param addresses as in {@code 2@b:20911}
     * @return this
     */
    public LogConfig memberAddresses(String addresses) {
        return set("member.addresses", addresses);
    }

    /**
     * Position of the first record when the group is born; equal on all members.
     *
     * @param position bytes, a multiple of {@link #segmentBytes}
     * @return this
     */
    public LogConfig beginPosition(long position) {
        return set("begin.pos", Long.toString(position));
    }

    /**
     * Length of a data file; equal on all members, for ever.
     *
     * @param bytes 4 KiB to 4 GiB - 1
     * @return this
     */
    public LogConfig segmentBytes(long bytes) {
        return setBytes("segment.bytes", bytes);
    }

    /**
     * Length of an index file; fixed when the directory is made.
     *
     * @param bytes a multiple of 32
     * @return this
     */
    public LogConfig indexSegmentBytes(long bytes) {
        return setBytes("index.segment.bytes", bytes);
    }

    /**
     * An append counts here when it is on the disk (the preset): nothing acknowledged is lost.
     *
     * @return this
     */
    public LogConfig flushOnCommit() {
        return set("flush", "commit");
    }

    /**
     * An append counts here when it is in the page cache. A loss of power may then lose what was
     * acknowledged.
     *
     * @param millis between syncs
     * @return this
     */
    public LogConfig flushEvery(long millis) {
        return setMillis("flush", millis);
    }

    /**
     * Largest body.
     *
     * @param bytes at most {@link #segmentBytes} - 56
     * @return this
     */
    public LogConfig appendMaxBytes(long bytes) {
        return setBytes("append.max.bytes", bytes);
    }

    /**
     * Records that may be in flight at once; more are refused with {@link Status#PENDING_FULL}.
     *
     * @param records from 1 on
     * @return this
     */
    public LogConfig pendingMax(long records) {
        return set("append.pending.max", Long.toString(records));
    }

    /**
     * Bytes that may be in flight at once; more are refused with {@link Status#PENDING_FULL}.
     *
     * @param bytes from 64 KiB on
     * @return this
     */
    public LogConfig pendingBytes(long bytes) {
        return setBytes("append.pending.bytes", bytes);
    }

    /**
     * How long an append waits for its commit, unless it says otherwise itself.
     *
     * @param millis from 1 on
     * @return this
     */
    public LogConfig appendTimeout(long millis) {
        return setMillis("append.timeout", millis);
    }

    /**
     * A number that is written into each body as it is appended: a hook without a call. A body too short
     * for it is refused with {@link Status#REJECTED}.
     *
     * @param stamp as in {@code 28:body_pos:be64}: at which byte of the body; body_pos, pos or index; be64
     *     or le64
     * @return this
     */
    public LogConfig appendStamp(String stamp) {
        return set("append.stamp", stamp);
    }

    /**
     * The longest that a member waits for a leader before it campaigns.
     *
     * @param millis from 50 on
     * @return this
     */
    public LogConfig electionTimeout(long millis) {
        return setMillis("election.timeout", millis);
    }

    /**
     * How often a leader shows that it is there.
     *
     * @param millis at most half of {@link #electionTimeout}
     * @return this
     */
    public LogConfig heartbeatInterval(long millis) {
        return setMillis("heartbeat.interval", millis);
    }

    /**
     * Whole segments are dropped at the head while the log is longer.
     *
     * @param bytes from 4 KiB on
     * @return this
     */
    public LogConfig retentionBytes(long bytes) {
        return setBytes("retention.bytes", bytes);
    }

    /**
     * Whole segments are dropped at the head when they were last written longer ago.
     *
     * @param millis from 1 on
     * @return this
     */
    public LogConfig retentionTime(long millis) {
        return setMillis("retention.time", millis);
    }

    /**
     * Appends end in {@link Status#DISK_FULL} while more than this part of the file system is used.
     *
     * @param ratio 0.5 to 1; 1 is never
     * @return this
     */
    public LogConfig diskFullRatio(double ratio) {
        return set("disk.full.ratio", String.format(java.util.Locale.ROOT, "%.2f", ratio));
    }

    /**
     * Open a log also when durable records are missing at its end. <b>Unsafe</b>: it loses what was
     * acknowledged.
     *
     * @param clamp the preset is false: refuse
     * @return this
     */
    public LogConfig clampMissingTail(boolean clamp) {
        return set("recovery.missing.tail", clamp ? "clamp" : "refuse");
    }

    /**
     * Mutual TLS 1.3 between members, by PEM files that are read at the start.
     *
     * @param certificate of this member, which bears the URI {@code dledger:<group>/<node id>}
     * @param key of the certificate
     * @param authority that all members' certificates come from
     * @return this
     */
    public LogConfig tls(Path certificate, Path key, Path authority) {
        return set("tls.cert", certificate.toString()).set("tls.key", key.toString())
                .set("tls.ca", authority.toString());
    }

    /**
     * Listen without TLS at other addresses than loopback.
     *
     * @param allowed the preset is false
     * @return this
     */
    public LogConfig insecureListen(boolean allowed) {
        return set("insecure.listen", allowed ? "yes" : "no");
    }

    private LogConfig setBytes(String key, long bytes) {
        return set(key, bytes + "B");
    }

    private LogConfig setMillis(String key, long millis) {
        return set(key, millis + "ms");
    }

    /** Keys and values in turn, for native code. */
    byte[][] pairs() {
        List<byte[]> pairs = new ArrayList<>();
        values.forEach((key, value) -> {
            pairs.add(Native.bytes(key));
            pairs.add(Native.bytes(value));
        });
        pairs.add(Native.bytes("callbacks"));
        pairs.add(Native.bytes("poll"));
        return pairs.toArray(new byte[0][]);
    }

    @Override
    public String toString() {
        return values.toString();
    }
}
