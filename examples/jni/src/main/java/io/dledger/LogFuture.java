package io.dledger;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * What a log's callback thread completes, and what is made of it. While it is not complete, to wait for it on that
 * thread throws, and in a hook of any log. Nobody knows here what else it may hang on: what another thread would
 * complete is refused too, and what is made of another log's future and of one of ours is not.
 */
class LogFuture<T> extends CompletableFuture<T> {
    /** The log's: which one it is. */
    final Pending pending;

    LogFuture(Pending pending) {
        this.pending = pending;
    }

    /**
     * For a dependent: not to be waited for on the callback thread either. Java 8 knows no such method, and
     * makes dependents that do not look.
     *
     * @param <U> what it will have
     * @return a new future
     */
    public <U> CompletableFuture<U> newIncompleteFuture() {
        return new LogFuture<>(pending);
    }

    @Override
    public T get() throws InterruptedException, ExecutionException {
        CallbackThread.mayWaitFor(this);
        return super.get();
    }

    @Override
    public T get(long timeout, TimeUnit unit) throws InterruptedException, ExecutionException, TimeoutException {
        CallbackThread.mayWaitFor(this);
        return super.get(timeout, unit);
    }

    @Override
    public T join() {
        CallbackThread.mayWaitFor(this);
        return super.join();
    }
}
