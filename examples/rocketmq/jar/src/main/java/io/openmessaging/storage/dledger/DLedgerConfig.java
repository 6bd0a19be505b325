package io.openmessaging.storage.dledger;

import java.io.File;

/**
 * What a broker says of its log. Read when the log is opened, but for {@link #getFileReservedHours} and
 * {@link #isEnableDiskForceClean}, which count at any time. Options of libdledger that have no word here are
 * system properties: see the README.
 */
public class DLedgerConfig {
    public static final String FILE = "FILE";

    private String group = "default";
    private String selfId = "n0";
    private String peers = "n0-localhost:20911";
    private String storeBaseDir = File.separator + "tmp" + File.separator + "dledgerstore";
    private String dataStorePath;
    private String readOnlyDataStoreDirs;
    private String storeType = FILE;
    private int mappedFileSizeForEntryData = 1024 * 1024 * 1024;
    private String deleteWhen = "04";
    private volatile int fileReservedHours = 72;
    private String preferredLeaderId;
    private volatile boolean enableDiskForceClean = true;
    private float diskSpaceRatioToCheckExpired = 0.7f;
    private boolean enableLeaderElector = true;

    public String getGroup() {
        return group;
    }

    public void setGroup(String group) {
        this.group = group;
    }

    /** A letter and a number, as in {@code n0}: the log's member number is one higher. */
    public String getSelfId() {
        return selfId;
    }

    public void setSelfId(String selfId) {
        this.selfId = selfId;
    }

    public String getPeers() {
        return peers;
    }

    /** All members, this one too: {@code n0-host:port;n1-host:port;n2-host:port}. */
    public void setPeers(String peers) {
        this.peers = peers;
    }

    public String getStoreBaseDir() {
        return storeBaseDir;
    }

    public void setStoreBaseDir(String storeBaseDir) {
        this.storeBaseDir = storeBaseDir;
    }

    /** The directory of all that belongs to this member. */
    public String getDefaultPath() {
        return storeBaseDir + File.separator + "dledger-" + selfId;
    }

    /** The directory of the data files. */
    public String getDataStorePath() {
        return dataStorePath != null ? dataStorePath : getDefaultPath() + File.separator + "data";
    }

    /** {@code null}: beside the other files. */
    public void setDataStorePath(String dataStorePath) {
        this.dataStorePath = dataStorePath;
    }

    public String getReadOnlyDataStoreDirs() {
        return readOnlyDataStoreDirs;
    }

    public void setReadOnlyDataStoreDirs(String readOnlyDataStoreDirs) {
        this.readOnlyDataStoreDirs = readOnlyDataStoreDirs;
    }

    public String getStoreType() {
        return storeType;
    }

    public void setStoreType(String storeType) {
        this.storeType = storeType;
    }

    /** Bytes of a data file; the same on all members, for ever. */
    public int getMappedFileSizeForEntryData() {
        return mappedFileSizeForEntryData;
    }

    public void setMappedFileSizeForEntryData(int bytes) {
        mappedFileSizeForEntryData = bytes;
    }

    public String getDeleteWhen() {
        return deleteWhen;
    }

    /** Kept and not used: what is old enough is deleted at any hour. */
    public void setDeleteWhen(String deleteWhen) {
        this.deleteWhen = deleteWhen;
    }

    public int getFileReservedHours() {
        return fileReservedHours;
    }

    public void setFileReservedHours(int hours) {
        fileReservedHours = hours;
    }

    public String getPreferredLeaderId() {
        return preferredLeaderId;
    }

    /** One or several, separated by {@code ;}, or {@code null}. */
    public void setPreferredLeaderId(String preferredLeaderId) {
        this.preferredLeaderId = preferredLeaderId;
    }

    public boolean isEnableDiskForceClean() {
        return enableDiskForceClean;
    }

    /** Whether the oldest data file goes, however young, while the disk is nearly full. */
    public void setEnableDiskForceClean(boolean enableDiskForceClean) {
        this.enableDiskForceClean = enableDiskForceClean;
    }

    public float getDiskSpaceRatioToCheckExpired() {
        return diskSpaceRatioToCheckExpired;
    }

    /** Kept and not used: what is old enough is deleted however empty the disk is. */
    public void setDiskSpaceRatioToCheckExpired(float ratio) {
        diskSpaceRatioToCheckExpired = ratio;
    }

    /** Nothing: what is sent is always a batch. */
    public void setEnableBatchPush(boolean enableBatchPush) {}

    public boolean isEnableLeaderElector() {
        return enableLeaderElector;
    }

    /** {@code false} is refused when the log is opened: a role is never forced. */
    public void setEnableLeaderElector(boolean enableLeaderElector) {
        this.enableLeaderElector = enableLeaderElector;
    }
}
