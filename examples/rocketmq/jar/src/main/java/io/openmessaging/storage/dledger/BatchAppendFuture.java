package io.openmessaging.storage.dledger;

/**
 * An append of several records under way.
 *
 * @param <T> the response, of the last record
 */
public class BatchAppendFuture<T> extends AppendFuture<T> {
    private volatile long[] positions = new long[0];

    public BatchAppendFuture() {}

    /** Positions of the records' headers, in order. */
    public long[] getPositions() {
        return positions;
    }

    public void setPositions(long[] positions) {
        this.positions = positions;
    }
}
