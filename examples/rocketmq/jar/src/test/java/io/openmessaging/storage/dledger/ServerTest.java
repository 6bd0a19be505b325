package io.openmessaging.storage.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.dledger.DledgerException;
import io.dledger.Trace;
import io.openmessaging.storage.dledger.entry.DLedgerEntry;
import io.openmessaging.storage.dledger.protocol.AppendEntryRequest;
import io.openmessaging.storage.dledger.protocol.AppendEntryResponse;
import io.openmessaging.storage.dledger.protocol.BatchAppendEntryRequest;
import io.openmessaging.storage.dledger.protocol.DLedgerResponseCode;
import io.openmessaging.storage.dledger.store.file.DLedgerMmapFileStore;
import io.openmessaging.storage.dledger.store.file.MmapFile;
import io.openmessaging.storage.dledger.store.file.MmapFileList;
import io.openmessaging.storage.dledger.store.file.SelectMmapBufferResult;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The classes as a broker uses them, in the order in which it does. */
@SuppressWarnings("unchecked")
class ServerTest {
    private static final int FILE_BYTES = 100 * 1024;
    private static final int PHYSICAL_OFFSET_AT = 28;

    @TempDir
    Path dir;

    private final int[] ports = {freePort(), freePort()};
    private Path madeElsewhere;

    private final List<DLedgerServer> servers = new ArrayList<>();

    @AfterEach
    void shutDown() throws IOException {
        servers.forEach(DLedgerServer::shutdown);
        if (madeElsewhere != null && Files.exists(madeElsewhere)) {
            deleteAll(madeElsewhere);
        }
    }

    private DLedgerConfig config() {
        DLedgerConfig config = new DLedgerConfig();
        config.setStoreBaseDir(dir.toString());
        config.setGroup("test");
        config.setSelfId("n0");
        config.setPeers("n0-127.0.0.1:" + ports[0]);
        config.setMappedFileSizeForEntryData(FILE_BYTES);
        return config;
    }

    private DLedgerConfig ofTwo(DLedgerConfig config, int n) {
        config.setSelfId("n" + n);
        config.setPeers("n0-127.0.0.1:" + ports[0] + ";n1-127.0.0.1:" + ports[1]);
        config.setStoreBaseDir(dir.resolve("n" + n).toString());
        return config;
    }

    /** One in memory; without it the test is not run. */
    private Path otherDisk() throws IOException {
        Path memory = Path.of("/dev/shm");
        assumeTrue(Files.isWritable(memory) && !Files.getFileStore(memory).equals(Files.getFileStore(dir)));
        return memory;
    }

    /** A new directory there, which goes with the test. */
    private Path onAnotherDisk() throws IOException {
        madeElsewhere = Files.createTempDirectory(otherDisk(), "dledger-");
        return madeElsewhere;
    }

    private static void deleteAll(Path path) throws IOException {
        try (Stream<Path> all = Files.walk(path)) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }

    private static int freePort() {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A broker's own name may be loopback in its hosts file: the others come from elsewhere. */
    @Test
    void listensOnLoopbackOnlyWhereThePeersSaySo() {
        String[][] cases = {
            {"127.0.0.1", "127.0.0.1"}, {"127.0.1.1", "127.0.1.1"}, {"localhost", "localhost"}, {"[::1]", "[::1]"},
            {"broker-a", "0.0.0.0"}, {"broker-b", "0.0.0.0"}, {"nobody", "0.0.0.0"}, {"10.0.0.1", "0.0.0.0"},
        };
        for (String[] names : cases) {
            DLedgerConfig config = config();
            config.setPeers("n0-" + names[0] + ":20911;n1-10.0.0.2:20911;n2-10.0.0.3:20911");
            assertEquals(names[1] + ":20911", Settings.of(config).get("node.listen"), names[0]);
        }
    }

    private DLedgerServer server(DLedgerConfig config) {
        DLedgerServer server = new DLedgerServer(config);
        store(server).addAppendHook((entry, buffer, bodyOffset) -> {
            buffer.position(buffer.position() + bodyOffset + PHYSICAL_OFFSET_AT);
            buffer.putLong(entry.getPos() + bodyOffset);
        });
        servers.add(server);
        return server;
    }

    private static DLedgerMmapFileStore store(DLedgerServer server) {
        return (DLedgerMmapFileStore) server.getdLedgerStore();
    }

    private DLedgerServer leader(DLedgerConfig config) throws InterruptedException {
        DLedgerServer server = server(config);
        store(server).load();
        server.startup();
        for (int n = 0; n < 4_000 && !server.getMemberState().isLeader(); n++) {
            Thread.sleep(1);
        }
        assertTrue(server.getMemberState().isLeader(), "no leader within 4 s");
        return server;
    }

    private static CompletableFuture<AppendEntryResponse> append(DLedgerServer server, byte[] body) {
        AppendEntryRequest request = new AppendEntryRequest();
        request.setGroup("test");
        request.setRemoteId("n0");
        request.setBody(body);
        return server.handleAppend(request);
    }

    private static CompletableFuture<AppendEntryResponse> appendBatch(DLedgerServer server, byte[]... bodies) {
        BatchAppendEntryRequest request = new BatchAppendEntryRequest();
        request.setBatchMsgs(Arrays.asList(bodies));
        return server.handleAppend(request);
    }

    private static byte[] body(int n, int length) {
        byte[] body = new byte[length];
        Arrays.fill(body, (byte) n);
        return body;
    }

    private static byte[] stamped(byte[] body, long pos) {
        byte[] stamped = body.clone();
        ByteBuffer.wrap(stamped).putLong(PHYSICAL_OFFSET_AT, pos + DLedgerEntry.BODY_OFFSET);
        return stamped;
    }

    private static int code(CompletableFuture<AppendEntryResponse> future) throws Exception {
        return future.get(5, TimeUnit.SECONDS).getCode();
    }

    private static byte[] read(DLedgerServer server, long pos, int length) {
        MmapFile file = store(server).getDataFileList().findMappedFileByOffset(pos, false);
        SelectMmapBufferResult result =
                file.selectMappedBuffer((int) ((pos + DLedgerEntry.BODY_OFFSET) % FILE_BYTES), length);
        assertNotNull(result, "at " + pos);
        try {
            assertEquals(pos + DLedgerEntry.BODY_OFFSET, result.getStartOffset());
            assertEquals(length, result.getSize());
            byte[] bytes = new byte[length];
            result.getByteBuffer().duplicate().get(bytes);
            return bytes;
        } finally {
            result.release();
            result.release();
        }
    }

    @Test
    void nothingIsThereBeforeTheFirstAppend() throws Exception {
        DLedgerServer server = server(config());
        MmapFileList files = store(server).getDataFileList();
        store(server).load();
        assertTrue(files.getMappedFiles().isEmpty());
        assertTrue(store(server).getCommittedPos() <= 0);
        assertEquals(-1, server.getdLedgerStore().getLedgerEndIndex());
        assertEquals(500, code(append(server, body(1, 100))));
        server.startup();
        while (!server.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        assertTrue(files.getMappedFiles().isEmpty(), "an election writes no record");
        assertEquals(-1, server.getdLedgerStore().getCommittedIndex());
        assertNull(files.getFirstMappedFile());
        assertNull(files.findMappedFileByOffset(0, true));
    }

    @Test
    void whatIsAppendedIsStampedAndReadWithoutACopy() throws Exception {
        DLedgerServer server = leader(config());
        List<Long> places = new ArrayList<>();
        for (int n = 0; n < 500; n++) {
            AppendFuture<AppendEntryResponse> future = (AppendFuture<AppendEntryResponse>) append(server, body(n, 1_000));
            assertTrue(future.getPos() >= 0, "the position is known at the return");
            places.add(future.getPos());
            assertEquals(200, code(future));
            assertEquals(future.getPos(), future.get().getPos());
            assertEquals(n, future.get().getIndex());
        }
        for (int n = 0; n < 500; n++) {
            long pos = places.get(n);
            assertArrayEquals(stamped(body(n, 1_000), pos), read(server, pos, 1_000));
        }
        MmapFileList files = store(server).getDataFileList();
        assertEquals(6, files.getMappedFiles().size(), "97 records of 1,048 bytes in each file");
        assertEquals(FILE_BYTES, files.getMappedFiles().get(1).getFileFromOffset());
        assertEquals(499, server.getdLedgerStore().getCommittedIndex());
        assertEquals(files.getMaxWrotePosition(), store(server).getCommittedPos());
        // The rest of a file that is full: the blank at its end is seen too.
        SelectMmapBufferResult rest = files.getFirstMappedFile().selectMappedBuffer(97 * 1_048);
        assertEquals(FILE_BYTES - 97 * 1_048, rest.getSize());
        assertEquals(MmapFileList.BLANK_MAGIC_CODE, rest.getByteBuffer().getInt(0));
        rest.setSize(4);
        assertEquals(4, rest.getByteBuffer().remaining());
        rest.release();
        assertNull(files.findMappedFileByOffset(store(server).getCommittedPos(), false)
                .selectMappedBuffer((int) (store(server).getCommittedPos() % FILE_BYTES)));
        ByteBuffer copy = ByteBuffer.allocate(1_000);
        assertTrue(files.getFirstMappedFile().getData(DLedgerEntry.BODY_OFFSET, 1_000, copy));
        assertEquals(1_000, copy.position());
        assertFalse(files.getFirstMappedFile().getData(0, 10, ByteBuffer.allocate(9)));
        assertFalse(files.getFirstMappedFile().getData(FILE_BYTES - 4, 8, ByteBuffer.allocate(9)));
    }

    @Test
    void aBatchHasAPositionForEachRecord() throws Exception {
        DLedgerServer server = leader(config());
        for (int count : new int[] {1, 2, 64}) {
            byte[][] bodies = new byte[count][];
            Arrays.setAll(bodies, n -> body(n, 200 + n));
            CompletableFuture<AppendEntryResponse> answer = appendBatch(server, bodies);
            BatchAppendFuture<AppendEntryResponse> future =
                    (BatchAppendFuture<AppendEntryResponse>) assertInstanceOf(BatchAppendFuture.class, answer);
            assertEquals(200, code(future));
            assertEquals(count, future.getPositions().length);
            for (int n = 0; n < count; n++) {
                long pos = future.getPositions()[n];
                assertEquals(ByteBuffer.wrap(stamped(bodies[n], pos)),
                        ByteBuffer.wrap(read(server, pos, bodies[n].length)));
            }
            assertEquals(server.getdLedgerStore().getCommittedIndex(), future.get().getIndex());
        }
        assertEquals(411, code(appendBatch(server)));
    }

    @Test
    void aRefusalIsCompleteAndHasNoPosition() throws Exception {
        DLedgerServer server = leader(config());
        AppendFuture<AppendEntryResponse> small = (AppendFuture<AppendEntryResponse>) append(server, body(1, 10));
        assertTrue(small.isDone(), "too short for the stamp");
        assertEquals(-1, small.getPos());
        assertEquals(411, code(small));
        assertEquals(411, code(append(server, body(1, FILE_BYTES))));
        server.shutdown();
        CompletableFuture<AppendEntryResponse> late = append(server, body(1, 100));
        assertTrue(late.isDone());
        assertEquals(DLedgerResponseCode.NOT_LEADER.getCode(), code(late));
        assertEquals(500, code(server.handleAppend(new AppendEntryRequest())), "no body");
        server.shutdown();
    }

    @Test
    void aStoppedLogIsReadAndOpenedAgain() throws Exception {
        DLedgerServer server = leader(config());
        for (int n = 0; n < 300; n++) {
            append(server, body(n, 1_000)).get(5, TimeUnit.SECONDS);
        }
        long committed = store(server).getCommittedPos();
        server.shutdown();
        assertEquals(committed, store(server).getCommittedPos());
        assertEquals(ByteBuffer.wrap(stamped(body(0, 1_000), 0)), ByteBuffer.wrap(read(server, 0, 1_000)));

        DLedgerServer again = server(config());
        store(again).load();
        store(again).recover();
        MmapFileList files = store(again).getDataFileList();
        assertEquals(4, files.getMappedFiles().size());
        assertEquals(committed, files.getMaxWrotePosition());
        assertEquals(0, files.getMinOffset());
        again.startup();
        while (!again.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        assertEquals(200, code(append(again, body(7, 100))));
        assertEquals(300, again.getdLedgerStore().getCommittedIndex());
        store(again).flush();
        assertEquals(files.getMaxWrotePosition(), files.getFlushedWhere());
        assertEquals(0, files.remainHowManyDataToCommit());
        assertEquals(0, files.remainHowManyDataToFlush());
        assertTrue(files.checkSelf());
    }

    /** As a broker does on its way down. */
    @Test
    void aFlushBeforeTheStartAndAfterTheShutdownDoesNothing() throws Exception {
        DLedgerServer server = server(config());
        store(server).flush();
        store(server).load();
        store(server).flush();
        server.startup();
        while (!server.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        append(server, body(5, 500)).get(5, TimeUnit.SECONDS);
        server.shutdown();
        store(server).flush();
        MmapFileList files = store(server).getDataFileList();
        assertEquals(files.getMaxWrotePosition(), files.getFlushedWhere());
        files.destroy();
        store(server).flush();
    }

    /** Its files are gone: it fails where it makes the next one. A broker goes on shutting down. */
    @Test
    void aLogThatFailedIsShutDown() throws Exception {
        DLedgerServer server = leader(config());
        deleteAll(dir);
        while (code(append(server, body(1, FILE_BYTES / 2))) == 200) {
            Thread.sleep(1);
        }
        assertThrows(DledgerException.class, () -> store(server).flush());
        server.shutdown();
        store(server).flush();
        assertFalse(server.getMemberState().isLeader());
        server.shutdown();
    }

    /** The other member is gone, and with it the majority: nobody knows how what is in flight ends. */
    @Test
    void aStopThatCannotEndAllSaysSo() throws Exception {
        Member[] members = {new Member(ofTwo(config(), 0), state -> {}), new Member(ofTwo(config(), 1), state -> {})};
        try {
            for (Member member : members) {
                member.start();
            }
            for (int n = 0; n < 10_000 && !members[0].state().isReady() && !members[1].state().isReady(); n++) {
                Thread.sleep(1);
            }
            int leader = members[0].state().isReady() ? 0 : 1;
            members[1 - leader].stop(5_000);
            io.dledger.AppendFuture append = members[leader].log().append(body(1, 100));
            assertTrue(append.isTaken());
            assertTrue(said(() -> members[leader].stop(10)).contains("after 10 ms appends were still in flight"));
            assertTrue(append.get(5, TimeUnit.SECONDS).isMaybeCommitted());
            assertEquals("", said(() -> members[leader].stop(10)), "it is stopped, and that was said");
        } finally {
            for (Member member : members) {
                member.destroy();
            }
        }
    }

    /** What is logged meanwhile, but for what the logs say of themselves. */
    private static String said(Runnable call) {
        PrintStream before = System.err;
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        System.setErr(new PrintStream(bytes, true));
        try {
            call.run();
        } finally {
            System.setErr(before);
        }
        return bytes.toString().lines().filter(line -> line.contains(Member.class.getName()))
                .collect(Collectors.joining("\n"));
    }

    @Test
    void aCleanerThatCannotSleepsAllTheSame() throws Exception {
        AtomicInteger tries = new AtomicInteger();
        DLedgerConfig config = new DLedgerConfig() {
            @Override
            public int getFileReservedHours() {
                return 72 + tries.getAndIncrement();
            }
        };
        // It cannot: the log of the member is not open.
        Cleaner cleaner = new Cleaner(config, new Member(config(), state -> {}));
        cleaner.start();
        try {
            while (tries.get() < 2) {
                Thread.sleep(1); // once was when it was made
            }
            Thread.sleep(300);
            assertEquals(2, tries.get());
        } finally {
            cleaner.stop();
        }
    }

    @Test
    void recoverySeesNoMessageBehindTheLastCommittedOne() throws Exception {
        DLedgerServer server = leader(config());
        append(server, body(5, 500)).get(5, TimeUnit.SECONDS);
        MmapFile file = store(server).getDataFileList().getFirstMappedFile();
        ByteBuffer all = file.sliceByteBuffer();
        assertEquals(FILE_BYTES, all.capacity());
        assertEquals(1, all.getInt(0), "the record's magic");
        int end = (int) store(server).getCommittedPos();
        for (int at = end; at < end + 64; at++) {
            assertEquals(0, all.get(at));
        }
        all.put(0, (byte) 9);
        assertEquals(1, file.sliceByteBuffer().getInt(0), "what recovery writes stays its own");
    }

    @Test
    void aNewLogBeginsBehindTheOldCommitLog() throws Exception {
        DLedgerServer server = server(config());
        store(server).load();
        MmapFileList files = store(server).getDataFileList();
        assertTrue(files.getMappedFiles().isEmpty());
        MmapFile first = files.getLastMappedFile(5L * FILE_BYTES);
        assertEquals(5L * FILE_BYTES, first.getFileFromOffset());
        assertEquals(0, first.sliceByteBuffer().getInt(52));
        assertEquals(5L * FILE_BYTES, files.getMinOffset());
        server.startup();
        while (!server.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        AppendFuture<AppendEntryResponse> future = (AppendFuture<AppendEntryResponse>) append(server, body(1, 100));
        assertEquals(5L * FILE_BYTES, future.getPos());
        assertEquals(200, code(future));
        assertEquals(FILE_BYTES, first.sliceByteBuffer().capacity());
        server.shutdown();

        DLedgerServer again = server(config());
        store(again).load();
        assertEquals(5L * FILE_BYTES, store(again).getDataFileList().getFirstMappedFile().getFileFromOffset());
    }

    /** What their logs say to each other would not fit: positions differ from the first record on. */
    @Test
    void membersWhoseOldCommitLogsEndInDifferentSegmentsRefuseEachOther() throws Exception {
        List<String> said = new CopyOnWriteArrayList<>();
        DLedgerServer[] members = new DLedgerServer[2];
        for (int n = 0; n < 2; n++) {
            DLedgerConfig config = config();
            members[n] = server(ofTwo(config, n));
            store(members[n]).load();
            store(members[n]).getDataFileList().getLastMappedFile((5L + n) * FILE_BYTES);
        }
        Trace.set(Trace.Level.WARN, (level, target, message) -> said.add(message));
        try {
            for (DLedgerServer member : members) {
                member.startup();
            }
            for (int n = 0; n < 10_000 && said.stream().noneMatch(line -> line.contains("begin at different")); n++) {
                Thread.sleep(1);
            }
            assertTrue(said.stream().anyMatch(line -> line.contains("the logs begin at different positions")),
                    said.toString());
            Thread.sleep(2_000);
            for (DLedgerServer member : members) {
                assertFalse(member.getMemberState().isLeader(), "two that refuse each other have a leader");
            }
        } finally {
            Trace.off();
        }
    }

    @Test
    void anotherHookIsCalled() throws Exception {
        DLedgerServer server = new DLedgerServer(config());
        servers.add(server);
        store(server).addAppendHook((entry, buffer, bodyOffset) -> buffer.put(bodyOffset + 3, (byte) entry.getIndex()));
        store(server).load();
        server.startup();
        while (!server.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        for (int n = 0; n < 5; n++) {
            AppendFuture<AppendEntryResponse> future = (AppendFuture<AppendEntryResponse>) append(server, body(9, 50));
            assertEquals(200, code(future));
            byte[] expected = body(9, 50);
            expected[3] = (byte) n;
            assertEquals(ByteBuffer.wrap(expected), ByteBuffer.wrap(read(server, future.getPos(), 50)));
        }
    }

    @Test
    void rolesAreToldInOrderAndTrueWhenTheyAreTold() throws Exception {
        DLedgerServer server = server(config());
        List<String> told = new CopyOnWriteArrayList<>();
        server.getDLedgerLeaderElector().addRoleChangeHandler(new DLedgerLeaderElector.RoleChangeHandler() {
            @Override
            public void handle(long term, MemberState.Role role) {
                told.add(role + " " + server.getMemberState().isLeader());
            }

            @Override
            public void startup() {
                told.add("startup");
            }

            @Override
            public void shutdown() {
                told.add("shutdown");
            }
        });
        server.startup();
        while (!told.contains("LEADER true")) {
            Thread.sleep(1);
        }
        server.shutdown();
        assertEquals("startup", told.get(0));
        assertEquals("shutdown", told.get(told.size() - 1));
        assertFalse(server.getMemberState().isLeader());
        assertFalse(told.contains("LEADER false"));
    }

    @Test
    void toStartTwiceIsHarmless() throws Exception {
        DLedgerServer server = server(config());
        AtomicInteger started = new AtomicInteger();
        AtomicInteger ended = new AtomicInteger();
        server.getDLedgerLeaderElector().addRoleChangeHandler(new DLedgerLeaderElector.RoleChangeHandler() {
            @Override
            public void handle(long term, MemberState.Role role) {}

            @Override
            public void startup() {
                started.incrementAndGet();
            }

            @Override
            public void shutdown() {
                ended.incrementAndGet();
            }
        });
        server.startup();
        while (!server.getMemberState().isLeader()) {
            Thread.sleep(1);
        }
        server.startup();
        assertEquals(200, code(append(server, body(1, 100))));
        server.shutdown();
        server.shutdown();
        assertEquals(1, started.get());
        assertEquals(1, ended.get());
        server.startup(); // nor is it after the end
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().equals("dledger-role-changes")) {
                thread.join(5_000); // it may be about to end
                assertFalse(thread.isAlive(), "a thread is left");
            }
        }
    }

    @Test
    void aWrongConfigurationSaysWhatIsWrong() {
        DLedgerConfig config = config();
        config.setSelfId("n7");
        assertMessage(config, "n7 is not among the peers");
        config = config();
        config.setPeers("n0:127.0.0.1:1");
        assertMessage(config, "n0-host:port is meant");
        config = config();
        config.setDataStorePath("/a,/b");
        assertMessage(config, "data directories /a,/b: libdledger keeps the data files of a member in one directory");
        config = config();
        config.setReadOnlyDataStoreDirs("/old");
        assertMessage(config, "read only /old");
        config = config();
        config.setEnableLeaderElector(false);
        assertMessage(config, "without elections");
        DLedgerServer server = new DLedgerServer(config());
        assertThrows(UnsupportedOperationException.class, () -> server.getMemberState().changeToLeader(1));
        UnsupportedOperationException refused = assertThrows(UnsupportedOperationException.class,
                () -> new DLedgerServer(config(), null, null, null));
        assertTrue(refused.getMessage().contains("controller"), refused.getMessage());
    }

    private static void assertMessage(DLedgerConfig config, String part) {
        String message = assertThrows(IllegalArgumentException.class, () -> new DLedgerServer(config)).getMessage();
        assertTrue(message.contains(part), message);
    }

    /** A disk of its own for the messages: here it is one in memory. */
    @Test
    void aDataDirectoryOnAnotherFileSystemIsUsed() throws Exception {
        Path elsewhere = onAnotherDisk().resolve("messages");
        DLedgerConfig config = config();
        config.setDataStorePath(elsewhere.toString());
        DLedgerServer server = leader(config);
        for (int n = 0; n < 300; n++) {
            assertEquals(200, code(append(server, body(n, 1_000))));
        }
        server.shutdown();
        store(server).getDataFileList().destroy();
        Files.delete(elsewhere.getParent()); // nothing is left there
        assertEquals(Collections.emptyList(), Arrays.asList(dir.toFile().list()));
    }

    @Test
    void aDataDirectoryThatIsADiskIsRefused() throws Exception {
        Path memory = otherDisk();
        DLedgerConfig config = config();
        config.setDataStorePath(memory.toString());
        DLedgerServer server = server(config);
        String message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains("is a mount point"), message);
        assertEquals(Collections.emptyList(), Arrays.asList(dir.resolve("dledger-n0").toFile().list()));
    }

    /** There is no link to be made then: who linked the data files links where segments are made, too. */
    @Test
    void theUsualDataDirectoryThatLeadsToAnotherDiskNeedsSparesThere() throws Exception {
        Path elsewhere = onAnotherDisk();
        Path home = Files.createDirectory(dir.resolve("dledger-n0"));
        Files.createSymbolicLink(home.resolve("data"), Files.createDirectory(elsewhere.resolve("messages")));
        DLedgerServer server = server(config());
        String message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains(home.resolve("spare") + " is not on the disk of the data files"), message);
        assertEquals(Collections.singletonList("data"), Arrays.asList(home.toFile().list()));
        // A directory on the wrong disk is as none.
        Files.createDirectory(home.resolve("spare"));
        assertThrows(IllegalStateException.class, server::startup);
        Files.delete(home.resolve("spare"));
        // Linked as it says, it starts.
        Files.createSymbolicLink(home.resolve("spare"), Files.createDirectory(elsewhere.resolve("made")));
        DLedgerServer linked = leader(config());
        for (int n = 0; n < 300; n++) {
            assertEquals(200, code(append(linked, body(n, 1_000))));
        }
        assertTrue(Files.exists(elsewhere.resolve("messages/00000000000000000000")));
        linked.shutdown();
    }

    /** The log removes segments from where it makes them, and a copy of data files has such names. */
    @Test
    void filesOfOthersAreNotRemovedFromBesideTheData() throws Exception {
        Path elsewhere = onAnotherDisk();
        Path theirs = Files.createDirectory(elsewhere.resolve("messages.spare")).resolve("00000000000000000000");
        Files.createFile(theirs);
        DLedgerConfig config = config();
        config.setDataStorePath(elsewhere.resolve("messages").toString());
        DLedgerServer server = server(config);
        String message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains(theirs.getParent() + " is not an empty directory"), message);
        assertEquals(Collections.emptyList(), Arrays.asList(dir.resolve("dledger-n0").toFile().list()));
        store(server).getDataFileList().destroy();
        assertTrue(Files.exists(theirs));
        Files.delete(theirs);
        DLedgerServer started = leader(config);
        assertEquals(200, code(append(started, body(1, 100))));
        started.shutdown();
        store(started).getDataFileList().destroy();
        Files.delete(elsewhere); // nothing is left there
    }

    /** An empty directory is soon cleared away, and data files are moved from disk to disk. */
    @Test
    void aSpareLinkThatLeadsNowhereIsMadeGood() throws Exception {
        Path elsewhere = onAnotherDisk();
        Path spare = dir.resolve("dledger-n0/spare");
        DLedgerConfig config = config();
        config.setDataStorePath(elsewhere.resolve("messages").toString());
        startAndAppend(config);
        deleteAll(elsewhere.resolve("messages.spare"));
        startAndAppend(config);
        assertEquals(elsewhere.resolve("messages.spare"), Files.readSymbolicLink(spare));
        // Moved, with what the README says to do.
        Path moved = Files.createDirectory(elsewhere.resolve("moved")).resolve("messages");
        Files.move(elsewhere.resolve("messages"), moved);
        deleteAll(elsewhere.resolve("messages.spare"));
        Files.delete(dir.resolve("dledger-n0/data"));
        config.setDataStorePath(moved.toString());
        startAndAppend(config);
        assertEquals(moved.resolveSibling("messages.spare"), Files.readSymbolicLink(spare));
        // Back on one disk nothing needs it, but the log makes segments there.
        Files.delete(dir.resolve("dledger-n0/data"));
        Files.createDirectory(dir.resolve("dledger-n0/data"));
        try (Stream<Path> files = Files.list(moved)) {
            for (Path file : files.collect(Collectors.toList())) {
                Files.copy(file, dir.resolve("dledger-n0/data").resolve(file.getFileName().toString()));
            }
        }
        DLedgerServer server = server(config());
        String message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains(spare + " is not on the disk of the data files"), message);
        Files.delete(spare);
        Files.createSymbolicLink(spare, Path.of("/proc/nowhere"));
        message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains("leads to /proc/nowhere, which is not there and cannot be made"), message);
        assertTrue(message.contains("remove the link"), message);
        Files.delete(spare);
        startAndAppend(config());
    }

    private void startAndAppend(DLedgerConfig config) throws Exception {
        DLedgerServer server = leader(config);
        for (int n = 0; n < 150; n++) {
            assertEquals(200, code(append(server, body(n, 1_000))));
        }
        server.shutdown();
    }

    @Test
    void aLinkToADirectoryOnAnotherDiskIsUsed() throws Exception {
        Path messages = Files.createDirectory(onAnotherDisk().resolve("messages"));
        Path link = Files.createSymbolicLink(dir.resolve("commitlog"), messages);
        DLedgerConfig config = config();
        config.setDataStorePath(link.toString());
        startAndAppend(config);
        assertTrue(Files.exists(messages.resolve("00000000000000000000")));
        assertEquals(messages.resolveSibling("messages.spare"),
                Files.readSymbolicLink(dir.resolve("dledger-n0/spare")));
    }

    /** A member that comes from the usual directory has a spare of its own there. */
    @Test
    void dataFilesThatWereMovedToAnotherDiskAreFound() throws Exception {
        Path messages = Files.createDirectory(onAnotherDisk().resolve("messages"));
        Path home = dir.resolve("dledger-n0");
        startAndAppend(config());
        try (Stream<Path> files = Files.list(home.resolve("data"))) {
            for (Path file : files.collect(Collectors.toList())) {
                Files.copy(file, messages.resolve(file.getFileName().toString()));
            }
        }
        deleteAll(home.resolve("data"));
        DLedgerConfig config = config();
        config.setDataStorePath(messages.toString());
        Path theirs = Files.createFile(home.resolve("spare/theirs"));
        DLedgerServer refused = server(config);
        assertThrows(IllegalStateException.class, refused::startup);
        assertFalse(Files.exists(home.resolve("data"), LinkOption.NOFOLLOW_LINKS), "linked, though refused");
        Files.delete(theirs);
        Files.createFile(home.resolve("spare/00000000000009999999"));
        startAndAppend(config);
        assertTrue(Files.isSymbolicLink(home.resolve("spare")));
    }

    /** On one disk there is no need of it. */
    @Test
    void aDirectoryWithTheNameOfTheSparesIsLeftToItsOwner() throws Exception {
        Path theirs = Files.createDirectory(dir.resolve("messages.spare")).resolve("theirs");
        Files.createFile(theirs);
        DLedgerConfig config = config();
        config.setDataStorePath(dir.resolve("messages").toString());
        DLedgerServer server = leader(config);
        assertEquals(200, code(append(server, body(1, 100))));
        server.shutdown();
        store(server).getDataFileList().destroy();
        assertTrue(Files.exists(theirs));
        assertEquals(Collections.singletonList("messages.spare"), Arrays.asList(dir.toFile().list()));
    }

    /** Files are where the configuration says, or the broker does not start: never an empty log beside them. */
    @Test
    void anotherDataDirectoryThanBeforeIsRefused() throws Exception {
        DLedgerConfig config = config();
        config.setDataStorePath(dir.resolve("one").toString());
        DLedgerServer before = leader(config);
        assertEquals(200, code(append(before, body(1, 100))));
        before.shutdown();
        DLedgerConfig other = config();
        other.setDataStorePath(Files.createDirectory(dir.resolve("two")).toString());
        DLedgerServer server = server(other);
        String message = assertThrows(IllegalStateException.class, server::startup).getMessage();
        assertTrue(message.contains("leads to other data files"), message);
        // Moved with its files, and the link removed, it goes on.
        Files.delete(dir.resolve("two"));
        Files.move(dir.resolve("one"), dir.resolve("two"));
        Files.delete(dir.resolve("dledger-n0/data"));
        DLedgerServer moved = server(other);
        store(moved).load();
        assertEquals(0, store(moved).getDataFileList().getMinOffset());
        assertEquals(1, store(moved).getDataFileList().getMappedFiles().size());
        moved.shutdown();
    }

    @Test
    void aFileHasItsNameInEveryLanguage() {
        Locale before = Locale.getDefault();
        DLedgerServer server = server(config());
        store(server).load();
        MmapFile file = store(server).getDataFileList().getLastMappedFile(5L * FILE_BYTES);
        Locale.setDefault(Locale.forLanguageTag("ar-EG-u-nu-arab"));
        try {
            assertNotEquals("512000", String.format("%d", 5 * FILE_BYTES), "the test shows nothing here");
            assertEquals(dir.resolve("dledger-n0/data/00000000000000512000").toString(), file.getFileName());
        } finally {
            Locale.setDefault(before);
        }
    }

    /** A tenth used, half kept for root: a fifth of what df counts. */
    @Test
    void blocksThatOnlyRootMayUseAreNotUsed() {
        assertEquals(0.2, Cleaner.used(100, 90, 40), 1e-9);
        assertEquals(1.0, Cleaner.used(100, 50, 0), 1e-9);
        assertEquals(0.0, Cleaner.used(0, 0, 0), 1e-9);
    }

    @Test
    void aDataDirectoryElsewhereIsUsed() throws Exception {
        DLedgerConfig config = config();
        Path elsewhere = dir.resolve("messages");
        config.setDataStorePath(elsewhere.toString());
        DLedgerServer server = leader(config);
        assertEquals(200, code(append(server, body(1, 100))));
        assertTrue(Files.exists(elsewhere.resolve("00000000000000000000")));
        server.shutdown();
        store(server).getDataFileList().destroy();
        assertFalse(Files.exists(elsewhere));
        assertEquals(Collections.emptyList(), Arrays.asList(dir.toFile().list()));
    }
}
