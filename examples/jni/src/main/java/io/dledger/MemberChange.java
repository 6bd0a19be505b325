package io.dledger;

import java.util.Objects;

/** One change of a group's members, for {@link Log#changeMembers}. */
public final class MemberChange {
    final int op;
    final long nodeId;
    final String address;

    private MemberChange(int op, long nodeId, String address) {
        if (nodeId <= 0) {
            throw new IllegalArgumentException("node id " + nodeId);
        }
        this.op = op;
        this.nodeId = nodeId;
        this.address = address;
    }

    /**
     * A new member, which receives the log and has no vote.
     *
     * @param nodeId an id that no member has
     * @param address host and port where it listens
     * @return the change
     */
    public static MemberChange addLearner(long nodeId, String address) {
        return new MemberChange(1, nodeId, Objects.requireNonNull(address));
    }

    /**
     * A vote for a learner, once it has caught up.
     *
     * @param nodeId a learner
     * @return the change
     */
    public static MemberChange promote(long nodeId) {
        return new MemberChange(2, nodeId, null);
    }

    /**
     * No vote any more.
     *
     * @param nodeId a voter, not the leader
     * @return the change
     */
    public static MemberChange demote(long nodeId) {
        return new MemberChange(3, nodeId, null);
    }

    /**
     * No member any more.
     *
     * @param nodeId a member, not the leader
     * @return the change
     */
    public static MemberChange remove(long nodeId) {
        return new MemberChange(4, nodeId, null);
    }

    /**
     * Another address. Not together with other changes.
     *
     * @param nodeId a member
     * @param address host and port where it listens
     * @return the change
     */
    public static MemberChange move(long nodeId, String address) {
        return new MemberChange(5, nodeId, Objects.requireNonNull(address));
    }
}
