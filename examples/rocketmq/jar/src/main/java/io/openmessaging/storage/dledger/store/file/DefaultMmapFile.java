package io.openmessaging.storage.dledger.store.file;

import io.dledger.LogSegment;
import io.openmessaging.storage.dledger.Member;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.Locale;

/** A data file of the log: its bytes are read where the log has them mapped. */
public class DefaultMmapFile implements MmapFile {
    /** A header, and as much of a body as a broker looks at before it believes it. */
    private static final int ERASED_BYTES = 64;
    private static final int BYTES_OF_NONE = 4096;

    private final Member member;
    private final long offset;
    private final int size;

    DefaultMmapFile(Member member, long offset) {
        this.member = member;
        this.offset = offset;
        size = member.segmentBytes();
    }

    /** Nothing: a mapping goes when nobody has it any more. */
    public static void clean(ByteBuffer buffer) {}

    private Path path() {
        return Paths.get(member.dataDirectory(), String.format(Locale.ROOT, "%020d", offset));
    }

    @Override
    public String getFileName() {
        return path().toString();
    }

    @Override
    public int getFileSize() {
        return size;
    }

    @Override
    public long getFileFromOffset() {
        return offset;
    }

    @Override
    public int getStartPosition() {
        return (int) Math.min(size, Math.max(0, member.beginPosition() - offset));
    }

    @Override
    public boolean isAvailable() {
        return offset + size > member.beginPosition();
    }

    @Override
    public SelectMmapBufferResult selectMappedBuffer(int pos) {
        long left = Math.min(offset + size, member.committedPosition()) - offset - pos;
        return left > 0 ? select(pos, (int) left) : null;
    }

    @Override
    public SelectMmapBufferResult selectMappedBuffer(int pos, int length) {
        boolean there = length > 0 && pos + (long) length <= size
                && offset + pos + length <= member.committedPosition();
        return there ? select(pos, length) : null;
    }

    private SelectMmapBufferResult select(int pos, int length) {
        if (pos < 0 || offset + pos < member.beginPosition()) {
            return null;
        }
        LogSegment segment = member.pin(offset + pos);
        if (segment == null) {
            return null;
        }
        ByteBuffer bytes = segment.buffer();
        bytes.limit(pos + length).position(pos);
        return new SelectMmapBufferResult(offset + pos, bytes.slice(), length, segment);
    }

    @Override
    public boolean getData(int pos, int length, ByteBuffer to) {
        if (to.remaining() < length) {
            return false;
        }
        SelectMmapBufferResult selected = selectMappedBuffer(pos, length);
        if (selected == null) {
            return false;
        }
        try {
            to.put(selected.getByteBuffer());
            return true;
        } finally {
            selected.release();
        }
    }

    /**
     * The broker's recovery dispatches all that looks like a message, agreed or not. So it gets a mapping of its
     * own, in which the record behind the last committed one is erased.
     */
    @Override
    public ByteBuffer sliceByteBuffer() {
        // The first file of a log that begins behind another one is made with its first record.
        return Files.exists(path()) ? getMappedByteBuffer() : ByteBuffer.allocate(BYTES_OF_NONE);
    }

    @Override
    public MappedByteBuffer getMappedByteBuffer() {
        try (FileChannel file = getFileChannel()) {
            MappedByteBuffer bytes = file.map(FileChannel.MapMode.PRIVATE, 0, size);
            long committed = Math.max(member.committedPosition() - offset, 0);
            for (long at = committed; at < Math.min(committed + ERASED_BYTES, size); at++) {
                bytes.put((int) at, (byte) 0);
            }
            return bytes;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public FileChannel getFileChannel() {
        try {
            return FileChannel.open(path(), StandardOpenOption.READ, StandardOpenOption.WRITE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public String toString() {
        return getFileName();
    }
}
