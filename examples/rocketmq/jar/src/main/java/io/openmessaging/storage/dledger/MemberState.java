package io.openmessaging.storage.dledger;

import io.dledger.LogState;

/** What this member is. */
public class MemberState {
    private final DLedgerConfig config;
    private volatile Role role = Role.FOLLOWER;
    private volatile long term = -1;

    /** Roles, as DLedger numbers them. */
    public enum Role {
        UNKNOWN,
        CANDIDATE,
        LEADER,
        FOLLOWER
    }

    MemberState(DLedgerConfig config) {
        this.config = config;
    }

    void become(LogState state) {
        term = state.term();
        switch (state.role()) {
            case LEADER:
                role = Role.LEADER;
                break;
            case CANDIDATE:
                role = Role.CANDIDATE;
                break;
            default:
                role = Role.FOLLOWER;
        }
    }

    /** The log has stopped. */
    void follow() {
        role = Role.FOLLOWER;
    }

    public String getSelfId() {
        return config.getSelfId();
    }

    public String getGroup() {
        return config.getGroup();
    }

    public Role getRole() {
        return role;
    }

    public long currTerm() {
        return term;
    }

    public boolean isLeader() {
        return role == Role.LEADER;
    }

    public boolean isFollower() {
        return role == Role.FOLLOWER;
    }

    public boolean isCandidate() {
        return role == Role.CANDIDATE;
    }

    /**
     * A role is never forced: a leader without a majority would acknowledge what is then lost.
     *
     * @throws UnsupportedOperationException always
     */
    public void changeToLeader(long term) {
        throw new UnsupportedOperationException("libdledger does not force a role");
    }

    /**
     * As {@link #changeToLeader}.
     *
     * @throws UnsupportedOperationException always
     */
    public void changeToFollower(long term, String leaderId) {
        throw new UnsupportedOperationException("libdledger does not force a role");
    }
}
