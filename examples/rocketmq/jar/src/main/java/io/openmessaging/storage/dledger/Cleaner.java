package io.openmessaging.storage.dledger;

import java.io.File;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Every ten seconds: takes over what was changed in the configuration, and lets the oldest data file go while
 * the disk is nearly full and that is allowed. What is merely old the log deletes by itself.
 */
final class Cleaner {
    private static final Logger LOGGER = LoggerFactory.getLogger(Cleaner.class);
    private static final long INTERVAL_MILLIS = 10_000;
    /** Of the disk: above it the oldest file goes; the log refuses appends at 0.90. */
    private static final double NEARLY_FULL = 0.85;

    private final DLedgerConfig config;
    private final Member member;
    private Thread thread;
    private int hours;

    Cleaner(DLedgerConfig config, Member member) {
        this.config = config;
        this.member = member;
        hours = config.getFileReservedHours();
    }

    synchronized void start() {
        if (thread == null) {
            thread = new Thread(this::run, "dledger-cleaner");
            thread.setDaemon(true);
            thread.start();
        }
    }

    synchronized void stop() {
        if (thread != null) {
            thread.interrupt();
            thread = null;
        }
    }

    private void run() {
        try {
            while (true) {
                cleanOrWarn();
                Thread.sleep(INTERVAL_MILLIS);
            }
        } catch (InterruptedException over) {
            // It was stopped.
        }
    }

    private void cleanOrWarn() {
        try {
            clean();
        } catch (RuntimeException e) {
            LOGGER.warn("the log could not be cleaned", e);
        }
    }

    /** As df tells it: blocks that only root may use are not there. */
    static double used(long total, long free, long usable) {
        long used = total - free;
        return used + usable == 0 ? 0 : (double) used / (used + usable);
    }

    private void clean() {
        int now = config.getFileReservedHours();
        if (now != hours) {
            member.keepFor(now);
            hours = now;
        }
        File disk = new File(config.getDataStorePath());
        double used = used(disk.getTotalSpace(), disk.getFreeSpace(), disk.getUsableSpace());
        if (used > NEARLY_FULL && config.isEnableDiskForceClean() && member.deleteOldest()) {
            LOGGER.warn("{} % of the disk are used: the oldest data file goes", Math.round(100 * used));
        }
    }
}
