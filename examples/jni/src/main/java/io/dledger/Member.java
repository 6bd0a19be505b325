package io.dledger;

/** One member of a group, as another one knows it. */
public final class Member {
    private final long nodeId;
    private final String address;
    private final boolean voter;
    private final long matchIndex;
    private final long contactMillis;

    Member(long nodeId, String address, boolean voter, long matchIndex, long contactMillis) {
        this.nodeId = nodeId;
        this.address = address;
        this.voter = voter;
        this.matchIndex = matchIndex;
        this.contactMillis = contactMillis;
    }

    /**
     * Its id.
     *
     * @return from 1 on
     */
    public long nodeId() {
        return nodeId;
    }

    /**
     * Where it listens.
     *
     * @return host and port, or empty
     */
    public String address() {
        return address;
    }

    /**
     * Whether it has a vote.
     *
     * @return false: a learner
     */
    public boolean isVoter() {
        return voter;
    }

    /**
     * How far it has the log, for all that is known here.
     *
     * @return an index; 0 unless this member leads
     */
    public long matchIndex() {
        return matchIndex;
    }

    /**
     * How long ago it was heard.
     *
     * @return milliseconds; -1 if never
     */
    public long contactMillis() {
        return contactMillis;
    }

    @Override
    public String toString() {
        return nodeId + "@" + address + (voter ? "" : " (learner)");
    }
}
