package io.openmessaging.storage.dledger.protocol;

/** Appends one record. */
public class AppendEntryRequest extends RequestOrResponse {
    private byte[] body;

    public byte[] getBody() {
        return body;
    }

    /** The array is copied at the append. */
    public void setBody(byte[] body) {
        this.body = body;
    }
}
