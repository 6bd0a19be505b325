package io.openmessaging.storage.dledger.store.file;

import io.dledger.LogState;
import io.openmessaging.storage.dledger.Member;
import java.util.AbstractList;
import java.util.List;

/**
 * The data files that have records: those that the log keeps ready for what comes are not among them.
 */
public class MmapFileList {
    /** Where an entry would have its magic, at the end of a file that the next entry did not fit in. */
    public static final int BLANK_MAGIC_CODE = -1;

    private final Member member;

    MmapFileList(Member member) {
        this.member = member;
    }

    /** Numbers of the first and the last file; none if the second is below the first. */
    private long first() {
        return member.beginPosition() / member.segmentBytes();
    }

    private long last() {
        LogState state = member.state();
        if (state == null || state.endPosition() == 0) {
            return -1;
        }
        // A log that begins behind another one's files has its first file before its first record.
        long within = Math.max(state.endPosition() - 1, state.beginPosition());
        return within / member.segmentBytes();
    }

    private MmapFile file(long number) {
        return new DefaultMmapFile(member, number * member.segmentBytes());
    }

    /** In order, as they are now. */
    public List<MmapFile> getMappedFiles() {
        long first = first();
        int count = (int) Math.max(0, last() - first + 1);
        return new AbstractList<MmapFile>() {
            @Override
            public MmapFile get(int n) {
                if (n < 0 || n >= count) {
                    throw new IndexOutOfBoundsException(n + " of " + count);
                }
                return file(first + n);
            }

            @Override
            public int size() {
                return count;
            }
        };
    }

    /** Null if there is none. */
    public MmapFile getFirstMappedFile() {
        List<MmapFile> files = getMappedFiles();
        return files.isEmpty() ? null : files.get(0);
    }

    /**
     * A new log begins at this position, if there is none yet: behind the files of a commit log of before.
     *
     * @param offset a multiple of the file size
     */
    public MmapFile getLastMappedFile(long offset) {
        member.openAt(offset);
        return file(offset / member.segmentBytes());
    }

    /**
     * The file that has a position.
     *
     * @param returnFirstOnNotFound the first file instead, if none has it
     * @return null if there is none
     */
    public MmapFile findMappedFileByOffset(long offset, boolean returnFirstOnNotFound) {
        long first = first();
        long number = offset / member.segmentBytes();
        if (offset >= 0 && number >= first && number * member.segmentBytes() < member.committedPosition()) {
            return file(number);
        }
        long last = last();
        if (offset >= 0 && number >= first && number <= last) {
            return file(number);
        }
        return returnFirstOnNotFound && first <= last ? file(first) : null;
    }

    /** Where the log begins, in bytes. */
    public long getMinOffset() {
        return member.beginPosition();
    }

    /** The end of what is written, in bytes. */
    public long getMaxWrotePosition() {
        LogState state = member.state();
        return state == null ? 0 : state.endPosition();
    }

    /** The end of what is on this member's disk, in bytes. */
    public long getFlushedWhere() {
        LogState state = member.state();
        return state == null ? 0 : state.flushedPosition();
    }

    public long remainHowManyDataToCommit() {
        LogState state = member.state();
        return state == null ? 0 : state.endPosition() - state.committedPosition();
    }

    public long remainHowManyDataToFlush() {
        LogState state = member.state();
        return state == null ? 0 : state.endPosition() - state.flushedPosition();
    }

    /** True: the log checks what it reads. */
    public boolean checkSelf() {
        return true;
    }

    /** Deletes the log, all its files. After the shutdown. */
    public void destroy() {
        member.destroy();
    }
}
