package io.dledger;

/** One figure of a log. */
public final class Metric {
    private final String name;
    private final String help;
    private final String label;
    private final boolean counter;
    private final double value;

    Metric(String name, String help, String label, boolean counter, double value) {
        this.name = name;
        this.help = help;
        this.label = label;
        this.counter = counter;
        this.value = value;
    }

    /**
     * Its name, which ends in its unit.
     *
     * @return as in {@code append_commit_seconds}
     */
    public String name() {
        return name;
    }

    /**
     * What it says.
     *
     * @return one sentence
     */
    public String help() {
        return help;
    }

    /**
     * Which of several figures of this name it is.
     *
     * @return as in {@code quantile="0.99"}, or empty
     */
    public String label() {
        return label;
    }

    /**
     * Whether it only grows.
     *
     * @return false: a gauge
     */
    public boolean isCounter() {
        return counter;
    }

    /**
     * The figure.
     *
     * @return in the unit that its name ends in
     */
    public double value() {
        return value;
    }

    @Override
    public String toString() {
        return name + (label.isEmpty() ? "" : "{" + label + "}") + " " + value;
    }
}
