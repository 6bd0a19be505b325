package io.dledger.rocketmq;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Three brokers of RocketMQ with either jar, in turn, under the same load of RocketMQ's client: latencies at a
 * fixed rate (an open loop: each counts from when the message was due), the rate with so many messages in
 * flight, and how long nobody acknowledges after the leader was killed. A send that failed counts among the
 * latencies as the slowest there is, 60 s, and not as a message of the rate; how many did is shown for both.
 */
public final class BrokerComparison {
    private static final int BODY_BYTES = 1024;
    private static final int IN_FLIGHT = 256;

    private BrokerComparison() {}

    /**
     * Prints a table of medians.
     *
     * @param args rounds (3), seconds of each phase (5), messages a second of the open loop (500)
     */
    public static void main(String[] args) throws Exception {
        int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 3;
        int seconds = args.length > 1 ? Integer.parseInt(args[1]) : 5;
        int rate = args.length > 2 ? Integer.parseInt(args[2]) : 500;
        Map<Variant, List<double[]>> rows = new EnumMap<>(Variant.class);
        for (int round = 0; round < rounds; round++) {
            for (Variant variant : Variant.values()) {
                Path dir = Files.createTempDirectory("dledger-brokers-");
                try {
                    rows.computeIfAbsent(variant, v -> new ArrayList<>()).add(run(variant, dir, seconds, rate));
                } finally {
                    Cluster.delete(dir);
                }
            }
        }
        System.out.printf(Locale.ROOT, "three brokers, bodies of %d bytes, medians of %d rounds%n", BODY_BYTES, rounds);
        System.out.printf(Locale.ROOT, "%-28s %10s %10s %10s %10s %12s %10s %14s %12s%n", "", "p50 ms", "p99 ms",
                "p99.9 ms", "failed %", "messages/s", "failed %", "CPU µs/message", "failover ms");
        rows.forEach((variant, all) -> System.out.printf(Locale.ROOT,
                "%-28s %10.1f %10.1f %10.1f %10.2f %12.0f %10.2f %14.0f %12.0f%n", variant.title,
                LogComparison.median(all, 0), LogComparison.median(all, 1), LogComparison.median(all, 2),
                LogComparison.median(all, 3), LogComparison.median(all, 4), LogComparison.median(all, 5),
                LogComparison.median(all, 6), LogComparison.median(all, 7)));
        System.out.printf(Locale.ROOT, "latencies at %d messages a second, where one that failed is 60,000 ms; messages/s"
                + " with %d in flight; behind each what failed of it%n", rate, IN_FLIGHT);
        System.exit(0); // the client leaves threads
    }

    private static double[] run(Variant variant, Path dir, int seconds, int rate) throws Exception {
        try (Cluster cluster = new Cluster(variant.jar, 3, dir, variant.options)) {
            cluster.startAll();
            DefaultMQProducer producer = new DefaultMQProducer("load");
            producer.setNamesrvAddr(cluster.nameServerAddress());
            producer.setInstanceName("load-" + dir.getFileName());
            producer.setPollNameServerInterval(200);
            producer.setRetryTimesWhenSendAsyncFailed(0);
            producer.setBackPressureForAsyncSendNum(IN_FLIGHT * 4);
            producer.start();
            try {
                // Once to warm up.
                closedLoop(producer, seconds / 2 + 1);
                Tally open = openLoop(producer, seconds, rate);
                long cpu = cpu(cluster);
                Tally closed = closedLoop(producer, seconds);
                double spent = (cpu(cluster) - cpu) / 1e3 / Math.max(1, closed.acknowledged());
                return new double[] {open.latency(50), open.latency(99), open.latency(99.9), open.failedPercent(),
                    closed.acknowledgedPerSecond(), closed.failedPercent(), spent, failover(cluster, producer)};
            } finally {
                producer.shutdown();
            }
        }
    }

    private static long cpu(Cluster cluster) {
        long sum = 0;
        for (int n = 0; n < cluster.count(); n++) {
            sum += Cpu.of(cluster.broker(n).pid());
        }
        return sum;
    }

    private static Message message() {
        return new Message(Cluster.TOPIC, new byte[BODY_BYTES]);
    }

    private static Tally openLoop(DefaultMQProducer producer, int seconds, int rate) throws Exception {
        Tally tally = new Tally();
        int count = seconds * rate;
        CountDownLatch running = new CountDownLatch(count);
        long begin = System.nanoTime();
        for (long n = 0; n < count; n++) {
            long due = begin + n * 1_000_000_000L / rate;
            while (System.nanoTime() < due) {
                java.util.concurrent.locks.LockSupport.parkNanos(due - System.nanoTime());
            }
            producer.send(message(), new Ended(tally, due, running::countDown));
        }
        running.await(Tally.FAILED_NANOS, TimeUnit.NANOSECONDS);
        tally.end(count);
        return tally;
    }

    private static Tally closedLoop(DefaultMQProducer producer, int seconds) throws Exception {
        Tally tally = new Tally();
        Semaphore room = new Semaphore(IN_FLIGHT);
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        long count = 0;
        while (System.nanoTime() < end) {
            room.acquire();
            producer.send(message(), new Ended(tally, System.nanoTime(), room::release));
            count++;
        }
        room.acquire(IN_FLIGHT);
        tally.end(count);
        return tally;
    }

    /** From the kill to the first acknowledgement of another leader, in ms. */
    private static double failover(Cluster cluster, DefaultMQProducer producer) throws Exception {
        cluster.kill(cluster.leader());
        long killed = System.nanoTime();
        while (System.nanoTime() - killed < 120_000_000_000L) {
            try {
                if (producer.send(message(), 300).getSendStatus() == SendStatus.SEND_OK) {
                    return (System.nanoTime() - killed) / 1e6;
                }
            } catch (Exception notYet) {
                Messages.sleep(5);
            }
        }
        throw new IllegalStateException("nobody took over within two minutes");
    }

    /** Tells when a send has ended, and the tally if it was acknowledged. */
    private static final class Ended implements SendCallback {
        private final Tally tally;
        private final long since;
        private final Runnable ended;

        Ended(Tally tally, long since, Runnable ended) {
            this.tally = tally;
            this.since = since;
            this.ended = ended;
        }

        @Override
        public void onSuccess(SendResult result) {
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                tally.acknowledged(System.nanoTime() - since);
            }
            ended.run();
        }

        @Override
        public void onException(Throwable thrown) {
            ended.run();
        }
    }
}
