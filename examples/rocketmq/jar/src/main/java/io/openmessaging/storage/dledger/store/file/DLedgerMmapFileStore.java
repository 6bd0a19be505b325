package io.openmessaging.storage.dledger.store.file;

import io.dledger.LogState;
import io.openmessaging.storage.dledger.Member;
import io.openmessaging.storage.dledger.entry.DLedgerEntry;
import io.openmessaging.storage.dledger.store.DLedgerStore;
import java.nio.ByteBuffer;

/** The log's files, and how far they are written, durable and committed. */
public class DLedgerMmapFileStore extends DLedgerStore {
    private final Member member;
    private final MmapFileList dataFiles;

    /** Is shown each record before it is written, and may change its body. */
    public interface AppendHook {
        /**
         * @param entry its place
         * @param buffer header and body
         * @param bodyOffset where the body begins in it
         */
        void doHook(DLedgerEntry entry, ByteBuffer buffer, int bodyOffset);
    }

    public DLedgerMmapFileStore(Member member) {
        this.member = member;
        dataFiles = new MmapFileList(member);
    }

    /** Opens and recovers the log if it was there before. Twice is harmless. */
    public void load() {
        member.openIfThere();
    }

    /** Nothing: {@link #load} has recovered. */
    public void recover() {}

    /** Waits until all that is written is on the disk. */
    public void flush() {
        member.flush();
    }

    /** Before {@link #load}. */
    public void addAppendHook(AppendHook hook) {
        member.addHook(hook);
    }

    /** The end of the last committed record, in bytes; after an open a durable lower bound. */
    public long getCommittedPos() {
        return member.committedPosition();
    }

    public MmapFileList getDataFileList() {
        return dataFiles;
    }

    @Override
    public long getCommittedIndex() {
        LogState state = member.state();
        return state == null ? -1 : state.committedIndex() - 1;
    }

    @Override
    public long getLedgerEndIndex() {
        LogState state = member.state();
        return state == null ? -1 : state.endIndex() - 1;
    }
}
