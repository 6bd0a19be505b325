package io.dledger;

import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Runs an action once: when asked to, or when an object is not reachable any more. Java 8 has no Cleaner. */
final class Reaper extends PhantomReference<Object> {
    private static final ReferenceQueue<Object> QUEUE = new ReferenceQueue<>();
    private static final Set<Reaper> ALL = ConcurrentHashMap.newKeySet();

    static {
        Thread thread = new Thread(Reaper::reap, "dledger-reaper");
        thread.setDaemon(true);
        thread.setContextClassLoader(null);
        thread.start();
    }

    private final AtomicReference<Action> action;

    /** What is done; it must not hold the object. */
    interface Action {
        /** {@code forgotten}: nobody asked, the object was unreachable. */
        void run(boolean forgotten);
    }

    private Reaper(Object of, Action action) {
        super(of, QUEUE);
        this.action = new AtomicReference<>(action);
    }

    static Reaper of(Object object, Action action) {
        Reaper reaper = new Reaper(object, action);
        ALL.add(reaper);
        return reaper;
    }

    /** Runs the action here, if it has not been run. */
    void run() {
        run(false);
    }

    private void run(boolean forgotten) {
        ALL.remove(this);
        Action once = action.getAndSet(null);
        if (once != null) {
            once.run(forgotten);
        }
    }

    private static void reap() {
        while (true) {
            try {
                ((Reaper) QUEUE.remove()).run(true);
            } catch (InterruptedException ignored) {
                // Nobody has a reason to; this thread ends with the process.
            } catch (Throwable thrown) {
                Logger.getLogger("io.dledger").log(Level.WARNING, "cannot free what was forgotten", thrown);
            }
        }
    }
}
