package io.dledger.rocketmq;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Brokers of RocketMQ, unmodified, with their log on libdledger. */
class BrokersIT {
    @TempDir
    Path dir;

    /** Produces and consumes, is killed under load and comes back, and has lost nothing. */
    @Test
    void oneBrokerIsKilledAndComesBack() throws Exception {
        try (Cluster cluster = new Cluster(Jar.LIBDLEDGER, 1, dir, List.of())) {
            cluster.startAll();
            try (Messages messages = new Messages(cluster, "one")) {
                messages.start();
                for (int round = 0; round < 2; round++) {
                    long before = messages.acknowledged();
                    cluster.await("more acknowledgements", () -> messages.acknowledged() > before + 200);
                    cluster.kill(0);
                    cluster.start(0);
                    assertEquals(0, cluster.leader());
                }
                long before = messages.acknowledged();
                cluster.await("more acknowledgements", () -> messages.acknowledged() > before + 200);
                messages.stop();
                assertTrue(messages.acknowledged() > 600);
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
}
