package io.openmessaging.storage.dledger.protocol;

import java.util.List;

/** Appends several records with consecutive indexes. */
public class BatchAppendEntryRequest extends AppendEntryRequest {
    private List<byte[]> batchMsgs;

    public List<byte[]> getBatchMsgs() {
        return batchMsgs;
    }

    public void setBatchMsgs(List<byte[]> batchMsgs) {
        this.batchMsgs = batchMsgs;
    }
}
