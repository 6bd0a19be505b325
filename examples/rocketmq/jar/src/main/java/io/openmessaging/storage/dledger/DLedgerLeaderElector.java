package io.openmessaging.storage.dledger;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Tells who asked of each change of role, in order, on one thread. */
public class DLedgerLeaderElector {
    private static final Logger LOGGER = LoggerFactory.getLogger(DLedgerLeaderElector.class);

    private final List<RoleChangeHandler> handlers = new CopyOnWriteArrayList<>();
    private ExecutorService thread;

    /** Who is told. */
    public interface RoleChangeHandler {
        /** This member is {@code role} from {@code term} on, and {@link MemberState} says so already. */
        void handle(long term, MemberState.Role role);

        void startup();

        void shutdown();
    }

    DLedgerLeaderElector() {}

    /** Before the start. */
    public void addRoleChangeHandler(RoleChangeHandler handler) {
        if (!handlers.contains(handler)) {
            handlers.add(handler);
        }
    }

    synchronized void startup() {
        if (thread != null) {
            return;
        }
        thread = Executors.newSingleThreadExecutor(run -> new Thread(run, "dledger-role-changes"));
        handlers.forEach(RoleChangeHandler::startup);
    }

    synchronized void shutdown() {
        if (thread == null) {
            return;
        }
        thread.shutdown();
        try {
            thread.awaitTermination(5, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        thread = null;
        handlers.forEach(RoleChangeHandler::shutdown);
    }

    synchronized void changed(long term, MemberState.Role role) {
        if (thread == null) {
            return;
        }
        LOGGER.info("{} from term {} on", role, term);
        thread.execute(() -> {
            for (RoleChangeHandler handler : handlers) {
                try {
                    handler.handle(term, role);
                } catch (RuntimeException e) {
                    LOGGER.error("a role change handler failed", e);
                }
            }
        });
    }
}
