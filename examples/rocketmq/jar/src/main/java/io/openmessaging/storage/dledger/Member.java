package io.openmessaging.storage.dledger;

import io.dledger.DledgerException;
import io.dledger.Log;
import io.dledger.LogConfig;
import io.dledger.LogSegment;
import io.dledger.LogState;
import io.dledger.Status;
import io.openmessaging.storage.dledger.store.file.DLedgerMmapFileStore.AppendHook;
import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The log of this member. It is opened late: by recovery if there is something to recover, else when a
 * broker that migrates says where its old commit log ends, else at the start. Once stopped it stays readable.
 */
public final class Member {
    private static final Logger LOGGER = LoggerFactory.getLogger(Member.class);
    private static final long STOP_MILLIS = 5_000;

    private final DLedgerConfig config;
    private final LogConfig logConfig;
    private final Consumer<LogState> roleChanged;
    private final List<AppendHook> hooks = new ArrayList<>();
    private volatile Log log;
    private volatile long beginPosition;
    private volatile boolean started;
    private volatile boolean stopped;

    Member(DLedgerConfig config, Consumer<LogState> roleChanged) {
        this.config = config;
        this.roleChanged = roleChanged;
        logConfig = Settings.of(config);
    }

    // ---- Life -----------------------------------------------------------------------------------------

    /** Before the log is opened. */
    public synchronized void addHook(AppendHook hook) {
        if (log != null) {
            throw new IllegalStateException("an append hook is added before the log is loaded");
        }
        hooks.add(hook);
    }

    /** Opens the log if it was there before. */
    public synchronized void openIfThere() {
        String[] files = new File(config.getDataStorePath()).list((dir, name) -> name.matches("[0-9]{20}"));
        if (log == null && files != null && files.length > 0) {
            open();
        }
    }

    /** Opens a new log whose first record gets this position. */
    public synchronized void openAt(long position) {
        if (log == null) {
            logConfig.beginPosition(position);
            open();
        }
    }

    private void open() {
        Settings.prepare(config);
        for (AppendHook hook : hooks) {
            String stamp = Hooks.stamp(hook);
            if (stamp != null && logConfig.get("append.stamp") == null) {
                logConfig.appendStamp(stamp);
            }
        }
        Log opened = Log.open(logConfig);
        for (AppendHook hook : hooks) {
            if (Hooks.stamp(hook) == null) {
                opened.addHook(Hooks.of(hook));
            }
        }
        opened.addListener(event -> {
            beginPosition = event.state().beginPosition();
            if (event.isRole()) {
                roleChanged.accept(event.state());
            }
        });
        beginPosition = opened.state().beginPosition();
        log = opened;
    }

    synchronized void start() {
        if (started) {
            return;
        }
        if (log == null) {
            open();
        }
        log.start();
        started = true;
    }

    void stop() {
        stop(STOP_MILLIS);
    }

    /** A log that had failed, or could not end all in this time, is stopped as well, and says so. */
    synchronized void stop(long millis) {
        stopped = true;
        try {
            if (log != null && log.stop(millis) == Status.TIMED_OUT) {
                LOGGER.warn("the log is stopped, but after {} ms appends were still in flight, or the last sync is not"
                        + " over: those appends were answered as not acknowledged and may be committed all the same;"
                        + " until the sync is over the directory stays locked", millis);
            }
        } catch (DledgerException e) {
            LOGGER.warn("the log is stopped, but not all of it may be on the disk", e);
        }
    }

    // ---- How things are -------------------------------------------------------------------------------

    /** Throws before the log is open: nothing can be appended then. */
    Log log() {
        Log now = log;
        if (now == null) {
            throw new IllegalStateException("the log is not started");
        }
        return now;
    }

    /** Null before the log is open. */
    public LogState state() {
        Log now = log;
        return now == null ? null : now.state();
    }

    /** Where the log begins, in bytes. */
    public long beginPosition() {
        return beginPosition;
    }

    /** Bytes below are committed; 0 before the log is open. */
    public long committedPosition() {
        Log now = log;
        return now == null ? 0 : now.committedPosition();
    }

    public int segmentBytes() {
        return config.getMappedFileSizeForEntryData();
    }

    public String dataDirectory() {
        return config.getDataStorePath();
    }

    /** The segment that has a committed position, to be released; null if it is gone. */
    public LogSegment pin(long position) {
        try {
            return log().segment(position);
        } catch (DledgerException gone) {
            return null;
        }
    }

    // ---- Space and durability -------------------------------------------------------------------------

    /** Puts all on the disk. Waits. Nothing before the start, nor after the stop, which has done it. */
    public void flush() {
        Log now = log;
        if (now == null || !started || stopped) {
            return;
        }
        try {
            now.flush(STOP_MILLIS);
        } catch (DledgerException e) {
            if (!stopped) {
                throw e;
            }
        }
    }

    void keepFor(int hours) {
        log().set("retention.time", hours + "h");
    }

    /** Deletes the first data file, unless it is the last with something committed. */
    boolean deleteOldest() {
        long second = (beginPosition / segmentBytes() + 1) * segmentBytes();
        if (second >= committedPosition()) {
            return false;
        }
        log().deletePrefix(log().indexAt(second));
        return true;
    }

    /** Deletes all files of the log. After the stop. */
    public synchronized void destroy() {
        if (log != null) {
            log.close();
            log = null;
        }
        Settings.delete(config);
    }
}
