package io.dledger.rocketmq;

import io.openmessaging.storage.dledger.AppendFuture;
import io.openmessaging.storage.dledger.DLedgerConfig;
import io.openmessaging.storage.dledger.DLedgerServer;
import io.openmessaging.storage.dledger.protocol.AppendEntryRequest;
import io.openmessaging.storage.dledger.protocol.AppendEntryResponse;
import io.openmessaging.storage.dledger.protocol.DLedgerResponseCode;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.SynchronizedHistogram;

/**
 * One member of a group without a broker around it: a process of its own, the same for both jars. When it
 * leads it appends, so many at a time, and prints what that came to.
 */
public final class LogNode {
    private LogNode() {}

    /**
     * Runs until its input ends.
     *
     * @param args self id, peers, directory, bytes of a body, appends in flight, seconds
     */
    public static void main(String[] args) throws Exception {
        DLedgerConfig config = new DLedgerConfig();
        config.setGroup("comparison");
        config.setSelfId(args[0]);
        config.setPeers(args[1]);
        config.setStoreBaseDir(args[2]);
        config.setMappedFileSizeForEntryData(256 << 20);
        config.setPreferredLeaderId("n0");
        config.setEnableBatchPush(true);
        DLedgerServer server = new DLedgerServer(config);
        server.startup();
        if (args[0].equals("n0")) {
            awaitLeadership(server);
            // Once to warm up, then what counts.
            load(server, Integer.parseInt(args[3]), Integer.parseInt(args[4]), Double.parseDouble(args[5]) / 2);
            System.out.println(load(server, Integer.parseInt(args[3]), Integer.parseInt(args[4]),
                    Double.parseDouble(args[5])));
        }
        while (System.in.read() >= 0) {
            // Until who started it has heard enough.
        }
        Runtime.getRuntime().halt(0);
    }

    private static void awaitLeadership(DLedgerServer server) throws Exception {
        byte[] body = new byte[100];
        for (int tries = 0; ; tries++) {
            AppendEntryRequest request = request(body);
            if (server.getMemberState().isLeader()
                    && server.handleAppend(request).get().getCode() == DLedgerResponseCode.SUCCESS.getCode()) {
                return;
            }
            if (tries > 600) {
                throw new IllegalStateException("n0 does not lead");
            }
            Thread.sleep(100);
        }
    }

    private static AppendEntryRequest request(byte[] body) {
        AppendEntryRequest request = new AppendEntryRequest();
        request.setGroup("comparison");
        request.setRemoteId("n0");
        request.setBody(body);
        return request;
    }

    private static String load(DLedgerServer server, int bytes, int inFlight, double seconds) throws Exception {
        Histogram latencies = new SynchronizedHistogram(60_000_000_000L, 3);
        // A broker appends while it holds its lock for new messages: nobody else does meanwhile.
        Histogram calls = new Histogram(60_000_000_000L, 3);
        Semaphore room = new Semaphore(inFlight);
        AtomicLong failures = new AtomicLong();
        long cpu = Cpu.ofThisProcess();
        long begin = System.nanoTime();
        long end = begin + (long) (seconds * 1e9);
        byte[] body = new byte[bytes];
        for (long now = begin; now < end; now = System.nanoTime()) {
            room.acquire();
            AppendEntryRequest request = request(body);
            long since = System.nanoTime();
            AppendFuture<AppendEntryResponse> future =
                    (AppendFuture<AppendEntryResponse>) server.handleAppend(request);
            calls.recordValue(System.nanoTime() - since);
            future.whenComplete((response, thrown) -> {
                if (response != null && response.getCode() == DLedgerResponseCode.SUCCESS.getCode()) {
                    latencies.recordValue(System.nanoTime() - since);
                } else {
                    failures.incrementAndGet();
                }
                room.release();
            });
        }
        room.acquire(inFlight);
        double took = (System.nanoTime() - begin) / 1e9;
        long count = latencies.getTotalCount();
        // Its words are read as numbers of Java.
        return String.format(Locale.ROOT, "%.0f %.1f %.1f %.1f %.0f %d %d", count / took,
                latencies.getValueAtPercentile(50) / 1e3, latencies.getValueAtPercentile(99) / 1e3,
                latencies.getValueAtPercentile(99.9) / 1e3,
                (double) (Cpu.ofThisProcess() - cpu) / Math.max(1, count), calls.getValueAtPercentile(50),
                failures.get());
    }
}
