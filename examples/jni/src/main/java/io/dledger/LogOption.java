package io.dledger;

/** An option that a log takes: see {@link LogConfig#set(String, String)}. */
public final class LogOption {
    private final String key;
    private final String type;
    private final String preset;
    private final String doc;
    private final boolean live;

    LogOption(String key, String type, String preset, String doc, boolean live) {
        this.key = key;
        this.type = type;
        this.preset = preset;
        this.doc = doc;
        this.live = live;
    }

    /**
     * Its name.
     *
     * @return as in {@code segment.bytes}
     */
    public String key() {
        return key;
    }

    /**
     * What text it takes.
     *
     * @return text, integer, bytes, duration, ratio or choice
     */
    public String type() {
        return type;
    }

    /**
     * Its value if it is not set.
     *
     * @return empty if there is none
     */
    public String preset() {
        return preset;
    }

    /**
     * What it is for, and its values.
     *
     * @return one or two sentences
     */
    public String doc() {
        return doc;
    }

    /**
     * Whether {@link Log#set} changes it on an open log.
     *
     * @return false if it is fixed at open
     */
    public boolean isLive() {
        return live;
    }

    @Override
    public String toString() {
        return key;
    }
}
