package io.dledger.rocketmq;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;

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

    /** Compares those of all brokers; answers how many messages they have. None at all is not equal but wrong. */
    static long checkEqual(List<Path> stores) throws IOException {
        TreeMap<String, List<ByteBuffer>> first = of(stores.get(0));
        for (int n = 1; n < stores.size(); n++) {
            TreeMap<String, List<ByteBuffer>> other = of(stores.get(n));
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
        long count = first.values().stream().mapToLong(List::size).sum();
        if (count == 0) {
            throw new IllegalStateException("no message is in any consume queue");
        }
        return count;
    }

    /**
     * Follows the queues into the log, on every broker: each message says the queue and the offset that it is at, and
     * each that was acknowledged is where its acknowledgement said.
     */
    static void checkPlaces(Cluster cluster, Book book) throws IOException {
        for (int n = 0; n < cluster.count(); n++) {
            Map<Book.Place, String> places = new HashMap<>();
            Map<Path, ByteBuffer> files = new HashMap<>();
            for (Map.Entry<String, List<ByteBuffer>> queue : of(cluster.store(n)).entrySet()) {
                int id = Integer.parseInt(queue.getKey());
                List<ByteBuffer> units = queue.getValue();
                for (int offset = 0; offset < units.size(); offset++) {
                    Book.Place place = new Book.Place(id, offset);
                    MessageExt message = message(cluster.data(n), units.get(offset), files);
                    if (message == null || message.getQueueId() != id || message.getQueueOffset() != offset) {
                        throw new IllegalStateException("broker " + n + " has at " + place + " " + message);
                    }
                    places.put(place, Messages.id(message));
                }
            }
            book.check("broker " + n, places);
        }
    }

    private static MessageExt message(Path data, ByteBuffer unit, Map<Path, ByteBuffer> files) throws IOException {
        long position = unit.getLong(0);
        long first = position / Cluster.DATA_FILE_BYTES * Cluster.DATA_FILE_BYTES;
        Path path = data.resolve(String.format(Locale.ROOT, "%020d", first));
        ByteBuffer file = files.get(path);
        if (file == null) {
            try (FileChannel channel = FileChannel.open(path)) {
                file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
            }
            files.put(path, file);
        }
        return MessageDecoder.decode(file.slice((int) (position - first), unit.getInt(8)));
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
