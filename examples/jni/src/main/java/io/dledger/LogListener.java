package io.dledger;

/** Is told what changes, in order, on the log's callback thread. What it throws is logged. */
@FunctionalInterface
public interface LogListener {
    /**
     * One event. The first of a log has every kind but failed.
     *
     * @param event what changed, and how things are
     */
    void onEvent(LogEvent event);
}
