package io.dledger.rocketmq;

import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Brokers of RocketMQ, unmodified, with their log on libdledger. */
class BrokersIT {
    private static final int BROKERS = Integer.getInteger("brokers", 1);

    @TempDir
    Path dir;

    /**
     * Produces and consumes, is killed under load and comes back, and has lost nothing. As often as {@code
     * -Dkills} says, and one of as many brokers as {@code -Dbrokers} says.
     */
    @Test
    void aBrokerIsKilledAndComesBack() throws Exception {
        Random random = new Random();
        try (Cluster cluster = new Cluster(Jar.LIBDLEDGER, BROKERS, dir, List.of("-Xcheck:jni"))) {
            cluster.startAll();
            Book book = new Book();
            try (Messages messages = new Messages(cluster, book, "killed")) {
                messages.start();
                for (int kill = 0; kill < Integer.getInteger("kills", 2); kill++) {
                    messages.awaitMore(1 + random.nextInt(400));
                    int broker = random.nextInt(BROKERS);
                    cluster.kill(broker);
                    cluster.start(broker);
                    cluster.leader();
                }
                messages.awaitMore(200);
                messages.stop();
                messages.checkConsumed();
                messages.checkPlaces();
            }
            Demonstration.settle(cluster);
            cluster.stopAll();
            Queues.checkEqual(cluster.stores());
            Queues.checkPlaces(cluster, book);
            cluster.checkOutput();
        }
    }

    /** The demonstration, short. */
    @Test
    void threeBrokersLoseTheirLeader() throws Exception {
        Demonstration.run("three", dir, 3_000);
    }

    /** On what DLedger wrote, back, and there again: all messages are there each time. */
    @Test
    void theJarIsSwappedThereAndBackAndThere() throws Exception {
        Book book = new Book();
        Jar[] jars = {Jar.DLEDGER, Jar.LIBDLEDGER, Jar.DLEDGER, Jar.LIBDLEDGER};
        try (Cluster cluster = new Cluster(jars[0], BROKERS, dir, List.of())) {
            for (int life = 0; life < jars.length; life++) {
                cluster.use(jars[life]);
                cluster.startAll();
                try (Messages messages = new Messages(cluster, book, "life" + life)) {
                    messages.checkPlaces();
                    messages.start();
                    messages.awaitMore(300);
                    messages.stop();
                    messages.checkConsumed();
                    messages.checkPlaces();
                }
                Demonstration.settle(cluster);
                cluster.stopAll();
                Queues.checkPlaces(cluster, book);
            }
            cluster.checkOutput();
        }
    }
}
