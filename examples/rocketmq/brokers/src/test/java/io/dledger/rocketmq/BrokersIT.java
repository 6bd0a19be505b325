package io.dledger.rocketmq;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Brokers of RocketMQ, unmodified, with their log on libdledger. */
class BrokersIT {
    @TempDir
    Path dir;

    /**
     * Produces and consumes, is killed under load and comes back, and has lost nothing. As often as {@code
     * -Dkills} says.
     */
    @Test
    void oneBrokerIsKilledAndComesBack() throws Exception {
        Random random = new Random();
        try (Cluster cluster = new Cluster(Jar.LIBDLEDGER, 1, dir, List.of("-Xcheck:jni"))) {
            cluster.startAll();
            try (Messages messages = new Messages(cluster, new Book(), "one")) {
                messages.start();
                for (int kill = 0; kill < Integer.getInteger("kills", 2); kill++) {
                    long before = messages.acknowledged();
                    int more = random.nextInt(400);
                    cluster.await("more acknowledgements", () -> messages.acknowledged() > before + more);
                    cluster.kill(0);
                    cluster.start(0);
                    assertEquals(0, cluster.leader());
                }
                long before = messages.acknowledged();
                cluster.await("more acknowledgements", () -> messages.acknowledged() > before + 200);
                messages.stop();
                messages.checkConsumed();
                messages.checkPlaces();
            }
            cluster.stop(0);
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
        try (Cluster cluster = new Cluster(jars[0], 1, dir, List.of())) {
            for (int life = 0; life < jars.length; life++) {
                cluster.use(jars[life]);
                cluster.startAll();
                try (Messages messages = new Messages(cluster, book, "life" + life)) {
                    messages.checkPlaces();
                    long before = messages.acknowledged();
                    messages.start();
                    cluster.await("acknowledgements", () -> messages.acknowledged() > before + 300);
                    messages.stop();
                    messages.checkConsumed();
                    messages.checkPlaces();
                }
                cluster.stopAll();
            }
        }
    }
}
