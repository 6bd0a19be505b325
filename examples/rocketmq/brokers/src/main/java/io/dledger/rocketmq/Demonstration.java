package io.dledger.rocketmq;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Three brokers of RocketMQ on libdledger: messages are produced and consumed, the leader is killed meanwhile
 * and comes back, and what was acknowledged is counted.
 */
public final class Demonstration {
    private Demonstration() {}

    /**
     * Runs it.
     *
     * @param args how many times; 1 without
     */
    public static void main(String[] args) throws Exception {
        int runs = args.length > 0 ? Integer.parseInt(args[0]) : 1;
        for (int run = 1; run <= runs; run++) {
            Path dir = Files.createTempDirectory("dledger-rocketmq-");
            try {
                run("run" + run, dir, 10_000);
            } finally {
                Cluster.delete(dir);
            }
        }
        System.out.println("All checks passed.");
        System.exit(0); // the client leaves threads
    }

    static void run(String name, Path dir, long loadMillis) throws Exception {
        try (Cluster cluster = new Cluster(Jar.LIBDLEDGER, 3, dir, List.of())) {
            cluster.startAll();
            say("three brokers on libdledger, broker " + cluster.leader() + " leads");
            Book book = new Book();
            try (Messages messages = new Messages(cluster, book, name)) {
                messages.start();
                cluster.await("the first acknowledgement", () -> messages.acknowledged() > 0);
                Messages.sleep(loadMillis / 3);
                int leader = cluster.leader();
                long before = messages.acknowledged();
                cluster.kill(leader);
                long killed = System.currentTimeMillis();
                long last = messages.acknowledged();
                cluster.await("a message that is acknowledged by another leader",
                        () -> messages.acknowledged() > last + 10 && messages.lastMillis() > killed);
                say(before + " messages acknowledged; broker " + leader + " killed, and "
                        + (System.currentTimeMillis() - killed) + " ms later broker " + cluster.leader() + " takes them");
                Messages.sleep(loadMillis / 3);
                cluster.start(leader);
                Messages.sleep(loadMillis / 3);
                messages.stop();
                say(messages.acknowledged() + " messages acknowledged, " + messages.notAcknowledged() + " not");
                messages.checkConsumed();
                say("every acknowledged message was consumed, and none was consumed that was not sent");
                messages.checkPlaces();
                say("each is at the queue offset that its acknowledgement told");
            }
            settle(cluster);
            cluster.stopAll();
            say("the consume queues of all brokers are equal: " + Queues.checkEqual(cluster.stores()) + " messages");
            Queues.checkPlaces(cluster, book);
            say("and on each of them what was acknowledged is where its acknowledgement told");
            cluster.checkOutput();
        }
    }

    /** Until every broker has dispatched what is committed: their queues no longer grow and are equal. */
    static void settle(Cluster cluster) {
        cluster.await("consume queues that are equal", () -> {
            try {
                Queues.checkEqual(cluster.stores());
                return true;
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    private static void say(String line) {
        System.out.println(line);
    }
}
