package io.openmessaging.storage.dledger.store;

/** The indexes of a log. */
public abstract class DLedgerStore {
    /** Of the last committed record; -1 if there is none. */
    public abstract long getCommittedIndex();

    /** Of the last record; -1 if there is none. */
    public abstract long getLedgerEndIndex();
}
