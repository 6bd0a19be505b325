package io.openmessaging.storage.dledger.protocol;

/** What all requests and responses have. */
public class RequestOrResponse {
    private String group;
    private String remoteId;
    private String localId;
    private String leaderId;
    private long term = -1;
    private int code = DLedgerResponseCode.SUCCESS.getCode();

    public String getGroup() {
        return group;
    }

    public void setGroup(String group) {
        this.group = group;
    }

    public String getRemoteId() {
        return remoteId;
    }

    public void setRemoteId(String remoteId) {
        this.remoteId = remoteId;
    }

    public String getLocalId() {
        return localId;
    }

    public void setLocalId(String localId) {
        this.localId = localId;
    }

    public String getLeaderId() {
        return leaderId;
    }

    public void setLeaderId(String leaderId) {
        this.leaderId = leaderId;
    }

    public long getTerm() {
        return term;
    }

    public void setTerm(long term) {
        this.term = term;
    }

    /** One of {@link DLedgerResponseCode}. */
    public int getCode() {
        return code;
    }

    public void setCode(int code) {
        this.code = code;
    }
}
