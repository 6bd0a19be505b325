package io.dledger;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Three logs of this process as a group of three on loopback. */
class GroupTest {
    @TempDir
    Path dir;

    private final int[] ports = {0, Logs.freePort(), Logs.freePort(), Logs.freePort(), Logs.freePort()};
    private final Log[] logs = new Log[5];
    private final Map<Integer, List<LogEvent>> events = new ConcurrentHashMap<>();

    private LogConfig config(int id) {
        return Logs.config(dir.resolve("n" + id)).nodeId(id).group("three")
                .members("1@127.0.0.1:" + ports[1] + ",2@127.0.0.1:" + ports[2] + ",3@127.0.0.1:" + ports[3])
                .listen("127.0.0.1:" + ports[id]).electionTimeout(1500).heartbeatInterval(100);
    }

    private void start(int id) {
        Log log = Log.open(config(id));
        List<LogEvent> told = Collections.synchronizedList(new ArrayList<>());
        events.put(id, told);
        log.addListener(told::add);
        log.addHook((index, term, position, body) -> {
            if (body.capacity() >= 8) {
                body.putLong(0, index);
            }
        });
        log.start();
        logs[id] = log;
    }

    private void startAll() {
        for (int id = 1; id <= 3; id++) {
            start(id);
        }
    }

    private int leader() {
        int[] leader = new int[1];
        Logs.until("there is a leader", () -> {
            for (int id = 1; id < logs.length; id++) {
                if (logs[id] != null && logs[id].state().isReady()) {
                    leader[0] = id;
                    return true;
                }
            }
            return false;
        });
        return leader[0];
    }

    private void stop(int id) {
        logs[id].close();
        logs[id] = null;
    }

    @AfterEach
    void closeAll() {
        for (Log log : logs) {
            if (log != null) {
                log.close();
            }
        }
    }

    private void append(int leader, int from, int count) {
        List<AppendFuture> appends = new ArrayList<>();
        for (int i = from; i < from + count; i++) {
            appends.add(logs[leader].append(Logs.body(i, 8, 400)));
        }
        appends.forEach(append -> Logs.done(append).orThrow());
    }

    private void check(int id, int count) {
        assertTrue(logs[id].awaitCommitted(count - 1, Logs.WAIT_MILLIS));
        LogCursor cursor = logs[id].cursor(0);
        for (int i = 0; i < count; i++) {
            byte[] expected = Logs.body(i, 8, 400);
            java.nio.ByteBuffer.wrap(expected).putLong(0, i);
            try (LogEntry entry = cursor.next()) {
                assertEquals(i, entry.index());
                assertArrayEquals(expected, entry.bodyBytes());
            }
        }
    }

    @Test
    void aGroupReplicatesAndGoesOnWhenItsLeaderStops() {
        startAll();
        int first = leader();
        append(first, 0, 500);
        for (int id = 1; id <= 3; id++) {
            check(id, 500);
            assertEquals(500, logs[id].readIndex(Logs.WAIT_MILLIS));
        }
        int follower = first % 3 + 1;
        AppendResult elsewhere = Logs.done(logs[follower].append(new byte[8]));
        assertEquals(Status.NOT_LEADER, elsewhere.status());
        assertTrue(elsewhere.status().isRedirect());
        assertFalse(elsewhere.isMaybeCommitted());
        assertEquals(first, logs[follower].state().leaderId());

        stop(first);
        int second = leader();
        append(second, 500, 500);
        start(first);
        for (int id = 1; id <= 3; id++) {
            check(id, 1000);
            roles(id);
        }
    }

    /** Role changes come one by one: never two in one event, and a leader knows itself. */
    private void roles(int id) {
        List<LogEvent> told = new ArrayList<>(events.get(id));
        assertTrue(told.get(0).isRole() && told.get(0).isMembers());
        long term = 0;
        for (LogEvent event : told) {
            assertTrue(event.state().term() >= term);
            term = event.state().term();
            if (event.state().isLeader()) {
                assertEquals(id, event.state().leaderId());
            }
        }
    }

    @Test
    void appendsWithoutAMajorityEndByTheirTimeAndMayCommit() {
        startAll();
        int leader = leader();
        append(leader, 0, 10);
        for (int id = 1; id <= 3; id++) {
            if (id != leader) {
                stop(id);
            }
        }
        AppendFuture byTime = logs[leader].append(new byte[10], 50);
        AppendFuture byStop = logs[leader].append(new byte[10], Long.MAX_VALUE);
        AppendResult result = Logs.done(byTime);
        assertTrue(result.status() == Status.TIMED_OUT || result.status() == Status.LEADER_LOST,
                result.toString());
        assertTrue(result.isMaybeCommitted());
        assertEquals(byTime.index(), result.index());
        assertEquals(byTime.position(), result.position());
        logs[leader].stop(0);
        assertTrue(byStop.isDone());
        assertTrue(byStop.join().isMaybeCommitted());
        DledgerException thrown = Logs.refuses(byStop.join().status(), () -> byStop.join().orThrow());
        assertFalse(thrown.getMessage().isEmpty());
    }

    @Test
    void leadershipIsHandedOverAndMembersChange() {
        startAll();
        int first = leader();
        append(first, 0, 100);
        int second = first % 3 + 1;
        Logs.refuses(Status.NOT_LEADER, () -> logs[second].transferLeader(0, Logs.WAIT_MILLIS));
        Logs.refuses(Status.NO_MEMBER, () -> logs[first].transferLeader(99, Logs.WAIT_MILLIS));
        Logs.until("it is handed over", () -> handsOver(second));
        append(second, 100, 100);

        start(4);
        logs[second].changeMembers(List.of(MemberChange.addLearner(4, "127.0.0.1:" + ports[4])),
                Logs.WAIT_MILLIS);
        check(4, 200);
        Logs.until("the learner is known here", () -> logs[4].members().size() == 4);
        assertFalse(member(4, 4).isVoter());
        logs[second].changeMembers(List.of(MemberChange.promote(4), MemberChange.remove(first)),
                Logs.WAIT_MILLIS);
        assertEquals(3, logs[second].members().size());
        assertTrue(member(second, 4).isVoter());
        assertEquals("127.0.0.1:" + ports[4], member(second, 4).address());
        Logs.until("the leader knows how far it is", () -> member(second, 4).matchIndex() == 200);
        stop(first);
        append(second, 200, 100);
        check(4, 300);
    }

    /** On a slow machine it may take longer than the election timeout that it has. */
    private boolean handsOver(int to) {
        int from = leader();
        try {
            if (from != to) {
                logs[from].transferLeader(to, Logs.WAIT_MILLIS);
            }
            return logs[to].awaitReady(Logs.WAIT_MILLIS).isReady();
        } catch (DledgerException slow) {
            assertTrue(slow.status() == Status.TIMED_OUT || slow.status() == Status.NOT_LEADER, slow.toString());
            return false;
        }
    }

    private Member member(int at, int id) {
        return logs[at].members().stream().filter(member -> member.nodeId() == id).findFirst().get();
    }

    @Test
    void aReadBarrierOnAFollowerSeesWhatWasCompletedBefore() throws Exception {
        startAll();
        int leader = leader();
        int follower = leader % 3 + 1;
        for (int i = 0; i < 50; i++) {
            AppendFuture append = Logs.appended(logs[leader], new byte[20]);
            long index = i % 2 == 0 ? logs[follower].readIndex(Logs.WAIT_MILLIS)
                    : logs[follower].readIndexAsync(Logs.WAIT_MILLIS).get(Logs.WAIT_MILLIS, TimeUnit.MILLISECONDS);
            assertTrue(index > append.index());
            try (LogEntry entry = logs[follower].entryAt(append.position())) {
                assertEquals(append.index(), entry.index());
            }
        }
    }
}
