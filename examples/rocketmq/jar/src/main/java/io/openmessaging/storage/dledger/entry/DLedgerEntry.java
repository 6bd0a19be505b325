package io.openmessaging.storage.dledger.entry;

/** A record as an append hook sees it. */
public class DLedgerEntry {
    /** Bytes of a record before its body. */
    public static final int BODY_OFFSET = 48;

    private long index;
    private long term;
    private long pos;

    public long getIndex() {
        return index;
    }

    public void setIndex(long index) {
        this.index = index;
    }

    public long getTerm() {
        return term;
    }

    public void setTerm(long term) {
        this.term = term;
    }

    /** Position of the header. */
    public long getPos() {
        return pos;
    }

    public void setPos(long pos) {
        this.pos = pos;
    }
}
