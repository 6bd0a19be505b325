package io.openmessaging.storage.dledger.store.file;

import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;

/** A data file. */
public interface MmapFile {
    String getFileName();

    int getFileSize();

    /** The position of its first byte. */
    long getFileFromOffset();

    /** The first byte in it that is valid: not 0 in the log's first file only. */
    int getStartPosition();

    /** False once it is deleted. */
    boolean isAvailable();

    /**
     * What is committed from {@code pos} in the file on, without a copy.
     *
     * @return to be released; null if nothing is
     */
    SelectMmapBufferResult selectMappedBuffer(int pos);

    /**
     * {@code size} bytes from {@code pos} in the file on, without a copy.
     *
     * @return to be released; null if they are not all committed
     */
    SelectMmapBufferResult selectMappedBuffer(int pos, int size);

    /**
     * Copies {@code size} bytes from {@code pos} in the file on.
     *
     * @return false if they are not all committed, or there is no room for them
     */
    boolean getData(int pos, int size, ByteBuffer to);

    /** The whole file for recovery, in which what is not known to be committed is no message. */
    ByteBuffer sliceByteBuffer();

    /** As {@link #sliceByteBuffer}. */
    MappedByteBuffer getMappedByteBuffer();

    FileChannel getFileChannel();
}
