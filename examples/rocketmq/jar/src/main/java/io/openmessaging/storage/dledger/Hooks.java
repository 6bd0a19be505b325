package io.openmessaging.storage.dledger;

import io.openmessaging.storage.dledger.entry.DLedgerEntry;
import io.openmessaging.storage.dledger.store.file.DLedgerMmapFileStore.AppendHook;
import java.nio.ByteBuffer;
import java.util.Arrays;

/** Append hooks: what a broker's writes is known, and then no call per append is needed. */
final class Hooks {
    private static final int PROBE_BYTES = 256;

    private Hooks() {}

    /**
     * The stamp that does what a hook does: it is tried on two records, and is a stamp if all it writes is, in
     * both, the position of the body as eight bytes at one place.
     *
     * @return as {@code append.stamp} has it; null if it is another rule
     */
    static String stamp(AppendHook hook) {
        int at = stampAt(hook, 0x0102030405060708L);
        return at >= 0 && at == stampAt(hook, 0x1112131415161718L) ? at + ":body_pos:be64" : null;
    }

    private static int stampAt(AppendHook hook, long position) {
        byte[] before = new byte[DLedgerEntry.BODY_OFFSET + PROBE_BYTES];
        Arrays.fill(before, (byte) 0xa5);
        byte[] after = before.clone();
        try {
            hook.doHook(entry(1, 1, position), ByteBuffer.wrap(after), DLedgerEntry.BODY_OFFSET);
        } catch (RuntimeException another) {
            return -1;
        }
        for (int at = 0; at + Long.BYTES <= PROBE_BYTES; at++) {
            byte[] stamped = before.clone();
            ByteBuffer.wrap(stamped)
                    .putLong(DLedgerEntry.BODY_OFFSET + at, position + DLedgerEntry.BODY_OFFSET);
            if (Arrays.equals(stamped, after)) {
                return at;
            }
        }
        return -1;
    }

    /** A hook that is called: it sees header and body, and what it does to the body counts. */
    static io.dledger.AppendHook of(AppendHook hook) {
        return (index, term, position, body) -> {
            ByteBuffer record = ByteBuffer.allocate(DLedgerEntry.BODY_OFFSET + body.remaining());
            record.position(DLedgerEntry.BODY_OFFSET);
            record.put(body.duplicate()).clear();
            hook.doHook(entry(index, term, position), record, DLedgerEntry.BODY_OFFSET);
            record.clear().position(DLedgerEntry.BODY_OFFSET);
            body.duplicate().put(record);
        };
    }

    private static DLedgerEntry entry(long index, long term, long position) {
        DLedgerEntry entry = new DLedgerEntry();
        entry.setIndex(index);
        entry.setTerm(term);
        entry.setPos(position);
        return entry;
    }
}
