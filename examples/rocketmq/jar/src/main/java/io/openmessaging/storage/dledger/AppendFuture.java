package io.openmessaging.storage.dledger;

import java.util.concurrent.CompletableFuture;

/**
 * An append under way. It always completes normally: how it ended is in the response's code.
 *
 * @param <T> the response
 */
public class AppendFuture<T> extends CompletableFuture<T> {
    private volatile long pos = -1;

    public AppendFuture() {}

    /**
     * A future that is complete.
     *
     * @param pos of the record's header; -1 if it was refused
     * @param value the response
     */
    public static <T> AppendFuture<T> newCompletedFuture(long pos, T value) {
        AppendFuture<T> future = new AppendFuture<>();
        future.setPos(pos);
        future.complete(value);
        return future;
    }

    /** Position of the record's header, known before the call returns; -1: refused. */
    public long getPos() {
        return pos;
    }

    public void setPos(long pos) {
        this.pos = pos;
    }
}
