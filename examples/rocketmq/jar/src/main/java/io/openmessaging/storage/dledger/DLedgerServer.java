package io.openmessaging.storage.dledger;

import io.dledger.AppendResult;
import io.dledger.Trace;
import io.openmessaging.storage.dledger.protocol.AppendEntryRequest;
import io.openmessaging.storage.dledger.protocol.AppendEntryResponse;
import io.openmessaging.storage.dledger.protocol.BatchAppendEntryRequest;
import io.openmessaging.storage.dledger.protocol.DLedgerResponseCode;
import io.openmessaging.storage.dledger.store.DLedgerStore;
import io.openmessaging.storage.dledger.store.file.DLedgerMmapFileStore;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.rocketmq.remoting.ChannelEventListener;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One member of one group, as a RocketMQ broker knows it: the classes of openmessaging's DLedger that a
 * broker touches, over {@link io.dledger.Log}.
 */
public class DLedgerServer {
    private static final Logger LOGGER = LoggerFactory.getLogger(DLedgerServer.class);

    static {
        Trace.set(Trace.Level.INFO, DLedgerServer::say);
    }

    private final DLedgerConfig config;
    private final MemberState memberState;
    private final Member member;
    private final DLedgerMmapFileStore store;
    private final DLedgerLeaderElector elector = new DLedgerLeaderElector();
    private final Cleaner cleaner;
    private boolean started;

    /**
     * Checks what is asked for. No file and no socket is touched.
     *
     * @param config kept
     * @throws IllegalArgumentException if the log could not be opened with it
     */
    public DLedgerServer(DLedgerConfig config) {
        this.config = config;
        memberState = new MemberState(config);
        member = new Member(config, state -> {
            memberState.become(state);
            elector.changed(state.term(), memberState.getRole());
        });
        store = new DLedgerMmapFileStore(member);
        cleaner = new Cleaner(config, member);
    }

    /**
     * The one that RocketMQ's controller calls, which is not supported.
     *
     * @throws UnsupportedOperationException always
     */
    public DLedgerServer(DLedgerConfig config, NettyServerConfig server, NettyClientConfig client,
            ChannelEventListener listener) {
        throw new UnsupportedOperationException("libdledger does not run RocketMQ's controller: run it with the"
                + " original jar of DLedger, or with controllerType=jRaft");
    }

    /** What the log says of itself: elections, whom it refuses and why. */
    private static void say(Trace.Level level, String target, String message) {
        switch (level) {
            case ERROR:
                LOGGER.error("{}: {}", target, message);
                break;
            case WARN:
                LOGGER.warn("{}: {}", target, message);
                break;
            default:
                LOGGER.info("{}: {}", target, message);
        }
    }

    /** Opens the log, if recovery has not, and joins the group. Twice is harmless; after the end it does nothing. */
    public synchronized void startup() {
        if (started) {
            return;
        }
        elector.startup();
        member.start();
        cleaner.start();
        started = true;
        LOGGER.info("{} of group {} started: {}", config.getSelfId(), config.getGroup(), member.state());
    }

    /**
     * Leaves the group. Every append has ended when it returns. What was committed can still be read. Twice is
     * harmless.
     */
    public synchronized void shutdown() {
        cleaner.stop();
        member.stop();
        memberState.follow();
        elector.shutdown();
    }

    /**
     * Appends one record, or several. Never throws, never waits; what is refused is complete at the return,
     * with position -1 and a code.
     *
     * @param request a {@link BatchAppendEntryRequest} is answered with a {@link BatchAppendFuture}
     */
    public CompletableFuture<AppendEntryResponse> handleAppend(AppendEntryRequest request) {
        try {
            if (request instanceof BatchAppendEntryRequest) {
                List<byte[]> bodies = ((BatchAppendEntryRequest) request).getBatchMsgs();
                return bodies == null || bodies.isEmpty()
                        ? refused(DLedgerResponseCode.UNEXPECTED_ARGUMENT) : batch(bodies);
            }
            return one(request.getBody());
        } catch (RuntimeException e) {
            LOGGER.warn("an append is refused", e);
            return refused(DLedgerResponseCode.INTERNAL_ERROR);
        }
    }

    private CompletableFuture<AppendEntryResponse> one(byte[] body) {
        io.dledger.AppendFuture append = member.log().append(body);
        AppendFuture<AppendEntryResponse> future = new AppendFuture<>();
        future.setPos(append.position());
        append.whenComplete((result, thrown) -> future.complete(response(result, thrown)));
        return future;
    }

    private CompletableFuture<AppendEntryResponse> batch(List<byte[]> bodies) {
        io.dledger.AppendFuture append = member.log().appendBatch(bodies);
        BatchAppendFuture<AppendEntryResponse> future = new BatchAppendFuture<>();
        future.setPos(append.position());
        if (append.isTaken()) {
            long[] positions = new long[append.count()];
            for (int n = 0; n < positions.length; n++) {
                positions[n] = append.position(n);
            }
            future.setPositions(positions);
        }
        append.whenComplete((result, thrown) -> future.complete(response(result, thrown)));
        return future;
    }

    private AppendEntryResponse response(AppendResult result, Throwable thrown) {
        if (result == null) {
            LOGGER.error("an append failed", thrown);
            return response(DLedgerResponseCode.INTERNAL_ERROR);
        }
        AppendEntryResponse response = response(DLedgerResponseCode.of(result));
        response.setIndex(result.index() < 0 ? -1 : result.index() + result.count() - 1);
        response.setPos(result.position());
        response.setTerm(result.term());
        return response;
    }

    private AppendEntryResponse response(DLedgerResponseCode code) {
        AppendEntryResponse response = new AppendEntryResponse();
        response.setGroup(config.getGroup());
        response.setLocalId(config.getSelfId());
        response.setCode(code.getCode());
        return response;
    }

    private CompletableFuture<AppendEntryResponse> refused(DLedgerResponseCode code) {
        return AppendFuture.newCompletedFuture(-1, response(code));
    }

    public MemberState getMemberState() {
        return memberState;
    }

    public DLedgerStore getdLedgerStore() {
        return store;
    }

    public DLedgerStore getDLedgerStore() {
        return store;
    }

    public DLedgerLeaderElector getDLedgerLeaderElector() {
        return elector;
    }

    public DLedgerConfig getdLedgerConfig() {
        return config;
    }
}
