package io.dledger;

import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.logging.Logger;

/**
 * What the native library says of itself: elections, connections, why a member is refused, what recovery
 * did. For all logs of the process, and off until it is asked for.
 */
public final class Trace {
    private static volatile Listener listener;
    private static Thread thread;

    private Trace() {}

    /** How much it matters. */
    public enum Level {
        /** Something is lost or stopped. */
        ERROR,
        /** Something is wrong, and the log goes on. */
        WARN,
        /** What happens seldom: elections, connections, rolls. */
        INFO,
        /** What happens often. */
        DEBUG,
        /** Everything. */
        TRACE
    }

    /** Whoever is told. */
    public interface Listener {
        /**
         * One line. Lines come one at a time, in order, on a thread of their own; if that is slow, lines are
         * dropped, and their number is told.
         *
         * @param level how much it matters
         * @param target the part of the library that says it
         * @param message without an end of line
         */
        void trace(Level level, String target, String message);
    }

    /**
     * From now on this listener is told, instead of the one before.
     *
     * @param level the least that matters
     * @param listener told on a daemon thread
     * @throws DledgerException {@link Status#DEADLOCK} in an append hook
     */
    public static void set(Level level, Listener listener) {
        Objects.requireNonNull(listener, "listener");
        Appends.mustNotBeInHook();
        turnOn(level, listener);
    }

    private static synchronized void turnOn(Level level, Listener listener) {
        change(level.ordinal() + 1, listener);
        if (thread == null) {
            thread = new Thread(Trace::tell, "dledger-trace");
            thread.setDaemon(true);
            thread.setContextClassLoader(null);
            thread.start();
        }
    }

    /**
     * From now on nobody is told, but perhaps of one line that is on its way.
     *
     * @throws DledgerException {@link Status#DEADLOCK} in an append hook
     */
    public static void off() {
        Appends.mustNotBeInHook();
        turnOff();
    }

    private static synchronized void turnOff() {
        change(0, null);
    }

    private static void change(int level, Listener to) {
        int status = Native.trace(level);
        if (status != 0) {
            throw DledgerException.of(status);
        }
        listener = to;
    }

    private static void tell() {
        Level[] levels = Level.values();
        while (true) {
            try {
                byte[] line = Native.traced();
                Listener to = listener;
                if (line == null || to == null) {
                    continue;
                }
                int end = 1;
                while (line[end] != 0) {
                    end++;
                }
                String target = new String(line, 1, end - 1, StandardCharsets.UTF_8);
                String message = new String(line, end + 1, line.length - end - 1, StandardCharsets.UTF_8);
                to.trace(levels[line[0] - 1], target, message);
            } catch (Throwable thrown) {
                Logger.getLogger("io.dledger").log(java.util.logging.Level.WARNING, "a trace listener threw", thrown);
            }
        }
    }
}
