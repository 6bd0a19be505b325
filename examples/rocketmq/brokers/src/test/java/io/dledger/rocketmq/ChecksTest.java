package io.dledger.rocketmq;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is checked of brokers finds what is wrong. */
class ChecksTest {
    @TempDir
    Path dir;

    @Test
    void queuesWithoutAMessageAreNotEqual() throws Exception {
        List<Path> stores = List.of(dir.resolve("one"), dir.resolve("two"));
        assertThrows(IllegalStateException.class, () -> Queues.checkEqual(stores));
        for (Path store : stores) {
            queue(store, new byte[200]);
        }
        assertThrows(IllegalStateException.class, () -> Queues.checkEqual(stores), "what is not written is none");
        byte[] one = ByteBuffer.allocate(200).putInt(8, 1000).array();
        queue(stores.get(0), one);
        assertThrows(IllegalStateException.class, () -> Queues.checkEqual(stores));
        queue(stores.get(1), one);
        assertEquals(1, Queues.checkEqual(stores));
    }

    private static void queue(Path store, byte[] units) throws IOException {
        Path queue = Files.createDirectories(store.resolve("consumequeue").resolve(Cluster.TOPIC).resolve("0"));
        Files.write(queue.resolve("00000000000000000000"), units);
    }

    @Test
    void aMessageThatIsElsewhereOrNowhereIsFound() {
        Book book = new Book();
        Book.Place place = new Book.Place(1, 7);
        book.acknowledged.put("a", place);
        book.check("broker 0", Map.of(place, "a"));
        assertThrows(IllegalStateException.class, () -> book.check("broker 0", Map.of(place, "b")));
        assertThrows(IllegalStateException.class, () -> book.check("broker 0", Map.of(new Book.Place(1, 8), "a")));
        assertThrows(IllegalStateException.class, () -> book.check("broker 0", Map.of()));
    }

    @Test
    void whatAVirtualMachineSaysOfItsEndIsFound() {
        for (String line : new String[] {"WARNING in native method: JNI call made without checking exceptions",
            "WARNING: JNI local refs: 34, exceeds capacity: 32",
            "FATAL ERROR in native method: Non-array passed to JNI array operations",
            "Exception in thread \"dledger-cleaner\" java.lang.NullPointerException",
            "# A fatal error has been detected by the Java Runtime Environment:", "# /tmp/hs_err_pid12.log",
            "Terminating due to java.lang.OutOfMemoryError: Java heap space"}) {
            assertTrue(Cluster.isWrong(line), line);
        }
        assertFalse(Cluster.isWrong("The broker[RaftNode00, 127.0.0.1:30911] boot success. serializeType=JSON"));
    }
}
