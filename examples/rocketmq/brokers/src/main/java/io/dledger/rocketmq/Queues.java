package io.dledger.rocketmq;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;

/** The consume queues of a broker that is stopped, as they lie on its disk. */
final class Queues {
    /** Position in the log, size, hash of the tag. */
    private static final int UNIT_BYTES = 20;

    private Queues() {}

    /** All units of all queues of the topic, in order. */
    static TreeMap<String, List<ByteBuffer>> of(Path store) throws IOException {
        TreeMap<String, List<ByteBuffer>> queues = new TreeMap<>();
        Path topic = store.resolve("consumequeue").resolve(Cluster.TOPIC);
        for (Path queue : sorted(topic)) {
            List<ByteBuffer> units = new ArrayList<>();
            for (Path file : sorted(queue)) {
                ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file));
                while (bytes.remaining() >= UNIT_BYTES) {
                    byte[] unit = new byte[UNIT_BYTES];
                    bytes.get(unit);
                    // What has no size is not written yet.
                    if (ByteBuffer.wrap(unit).getInt(8) > 0) {
                        units.add(ByteBuffer.wrap(unit));
                    }
                }
            }
            queues.put(queue.getFileName().toString(), units);
        }
        return queues;
    }

    /** Compares those of all brokers; answers how many messages they have. */
    static long checkEqual(Cluster cluster) throws IOException {
        TreeMap<String, List<ByteBuffer>> first = of(cluster.store(0));
        for (int n = 1; n < cluster.count(); n++) {
            TreeMap<String, List<ByteBuffer>> other = of(cluster.store(n));
            if (!first.keySet().equals(other.keySet())) {
                throw new IllegalStateException("queues " + first.keySet() + ", and on broker " + n + " " + other.keySet());
            }
            for (String queue : first.keySet()) {
                List<ByteBuffer> one = first.get(queue);
                List<ByteBuffer> another = other.get(queue);
                if (!one.equals(another)) {
                    int at = 0;
                    while (at < Math.min(one.size(), another.size()) && one.get(at).equals(another.get(at))) {
                        at++;
                    }
                    throw new IllegalStateException("queue " + queue + " differs on brokers 0 and " + n + " at " + at
                            + " of " + one.size() + " and " + another.size());
                }
            }
        }
        return first.values().stream().mapToLong(List::size).sum();
    }

    private static List<Path> sorted(Path dir) throws IOException {
        if (!Files.exists(dir)) {
            return Collections.emptyList();
        }
        try (Stream<Path> files = Files.list(dir)) {
            List<Path> sorted = new ArrayList<>();
            files.sorted().forEach(sorted::add);
            return sorted;
        }
    }
}
