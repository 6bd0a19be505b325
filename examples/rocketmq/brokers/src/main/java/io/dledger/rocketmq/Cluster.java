package io.dledger.rocketmq;

import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** A name server and brokers of RocketMQ, each a process of its own, all on loopback. */
final class Cluster implements AutoCloseable {
    static final String TOPIC = "messages";
    static final int QUEUES = 4;
    static final int DATA_FILE_BYTES = 64 << 20;

    private static final String NAME = "RaftNode00";
    /** A broker takes its port, the two below and the one above. */
    private static final int PORTS_EACH = 10;
    private static final long PATIENCE_MILLIS = 60_000;
    /** Of {@code -Xcheck:jni}, and of any virtual machine. */
    private static final Pattern WRONG = Pattern.compile("in native method|WARNING: JNI|Exception in thread"
            + "|A fatal error has been detected|hs_err_pid|OutOfMemoryError|There is insufficient memory");

    private final Path dir;
    private String classPath;
    private final List<String> options;
    private final int nameServerPort;
    private final int[] brokerPorts;
    private final int[] groupPorts;
    private final Process nameServer;
    private final Map<Integer, Process> brokers = new TreeMap<>();
    private final DefaultMQAdminExt admin = new DefaultMQAdminExt(3_000);

    /**
     * Starts the name server, and no broker yet.
     *
     * @param jar which implementation of the log
     * @param count brokers
     * @param dir for all files
     * @param options of the brokers' virtual machines
     */
    Cluster(Jar jar, int count, Path dir, List<String> options) throws Exception {
        this.dir = dir;
        this.options = options;
        classPath = jar.classPath();
        Set<Integer> taken = new HashSet<>();
        nameServerPort = freePort(taken);
        brokerPorts = new int[count];
        groupPorts = new int[count];
        for (int n = 0; n < count; n++) {
            brokerPorts[n] = freePort(taken);
            groupPorts[n] = freePort(taken);
        }
        Path config = dir.resolve("namesrv.conf");
        Files.createDirectories(dir);
        Files.write(config, Collections.singleton("listenPort=" + nameServerPort));
        nameServer = start("namesrv", List.of("-Xms64m", "-Xmx128m"),
                "org.apache.rocketmq.namesrv.NamesrvStartup", config);
        admin.setNamesrvAddr(nameServerAddress());
        admin.setAdminExtGroup("admin-" + nameServerPort);
        admin.start();
    }

    String nameServerAddress() {
        return "127.0.0.1:" + nameServerPort;
    }

    int count() {
        return brokerPorts.length;
    }

    Path store(int broker) {
        return dir.resolve("store-" + broker);
    }

    /** Of all brokers, in order. */
    List<Path> stores() {
        List<Path> stores = new ArrayList<>();
        for (int n = 0; n < count(); n++) {
            stores.add(store(n));
        }
        return stores;
    }

    /** The directory of a broker's data files. */
    Path data(int broker) {
        return store(broker).resolve("dledger-n" + broker).resolve("data");
    }

    /** The process of a broker that runs. */
    Process broker(int broker) {
        return brokers.get(broker);
    }

    /** Brokers that start from now on have their log from this one. */
    void use(Jar jar) {
        classPath = jar.classPath();
    }

    void startAll() throws Exception {
        for (int n = 0; n < count(); n++) {
            start(n);
        }
        leader();
        for (int n = 0; n < count(); n++) {
            createTopic(n);
        }
    }

    void start(int broker) throws IOException {
        List<String> lines = new ArrayList<>(List.of(
                "brokerClusterName=RaftCluster",
                "brokerName=" + NAME,
                "brokerIP1=127.0.0.1",
                "listenPort=" + brokerPorts[broker],
                "namesrvAddr=" + nameServerAddress(),
                "storePathRootDir=" + store(broker),
                "storePathCommitLog=" + store(broker).resolve("commitlog"),
                "enableDLegerCommitLog=true",
                "dLegerGroup=" + NAME,
                "dLegerPeers=" + peers(),
                "dLegerSelfId=n" + broker,
                "mappedFileSizeCommitLog=" + DATA_FILE_BYTES,
                "mappedFileSizeConsumeQueue=600000",
                "maxIndexNum=200000",
                "maxHashSlotNum=50000",
                "timerWheelEnable=false",
                "sendMessageThreadPoolNums=4",
                "autoCreateTopicEnable=false",
                "registerBrokerTimeoutMills=3000",
                "recheckReputOffsetFromCq=true"));
        Path config = dir.resolve("broker-" + broker + ".conf");
        Files.createDirectories(store(broker).resolve("commitlog"));
        Files.write(config, lines);
        List<String> all = new ArrayList<>(List.of("-Xms256m", "-Xmx256m", "-XX:MaxDirectMemorySize=128m"));
        all.addAll(options);
        brokers.put(broker, start("broker-" + broker, all, "org.apache.rocketmq.broker.BrokerStartup", config));
    }

    /** A signal that nothing can be done about. */
    void kill(int broker) throws InterruptedException {
        Process process = brokers.remove(broker);
        process.destroyForcibly().waitFor();
    }

    /** Asks a broker to end, and waits for it. */
    void stop(int broker) throws InterruptedException {
        Process process = brokers.remove(broker);
        process.destroy();
        if (!process.waitFor(PATIENCE_MILLIS, TimeUnit.MILLISECONDS)) {
            process.destroyForcibly().waitFor();
            throw new IllegalStateException("broker " + broker + " does not end");
        }
    }

    /** The leader last: its log is the longest. */
    void stopAll() throws InterruptedException {
        int leader = leader();
        for (int n = 0; n < count(); n++) {
            if (n != leader) {
                stop(n);
            }
        }
        stop(leader);
    }

    /** Waits until one takes messages, and says which. */
    int leader() {
        int[] leader = {-1};
        await("a leader", () -> {
            leader[0] = leaderNow();
            return leader[0] >= 0;
        });
        return leader[0];
    }

    /** As the name server has it; -1 if it has none. */
    int leaderNow() {
        try {
            ClusterInfo info = admin.examineBrokerClusterInfo();
            BrokerData data = info.getBrokerAddrTable() == null ? null : info.getBrokerAddrTable().get(NAME);
            String master = data == null ? null : data.getBrokerAddrs().get(0L);
            for (int n = 0; n < count(); n++) {
                if (brokers.containsKey(n) && ("127.0.0.1:" + brokerPorts[n]).equals(master)) {
                    return n;
                }
            }
        } catch (Exception notYet) {
            // The name server may not be there yet.
        }
        return -1;
    }

    private void createTopic(int broker) {
        TopicConfig topic = new TopicConfig(TOPIC, QUEUES, QUEUES);
        await("the topic on broker " + broker, () -> {
            try {
                admin.createAndUpdateTopicConfig("127.0.0.1:" + brokerPorts[broker], topic);
                return true;
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    void await(String what, BooleanSupplier is) {
        long until = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (!is.getAsBoolean()) {
            brokers.forEach((n, process) -> {
                if (!process.isAlive()) {
                    throw new IllegalStateException("broker " + n + " is gone:\n" + tail("broker-" + n));
                }
            });
            if (System.currentTimeMillis() > until) {
                throw new IllegalStateException("waited for " + what);
            }
            try {
                Thread.sleep(50);
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        }
    }

    /** No virtual machine had anything against how native code used it, none died, and no thread of one did. */
    void checkOutput() throws IOException {
        for (int n = 0; n < count(); n++) {
            Path output = dir.resolve("broker-" + n + ".out");
            for (String line : Files.readAllLines(output)) {
                if (isWrong(line)) {
                    throw new IllegalStateException("broker " + n + ": " + line);
                }
            }
        }
    }

    /** What a broker prints that is well is not among it; what its log says goes to files. */
    static boolean isWrong(String line) {
        return WRONG.matcher(line).find();
    }

    /** The end of what a process printed. */
    String tail(String name) {
        try {
            List<String> lines = Files.readAllLines(dir.resolve(name + ".out"));
            return String.join("\n", lines.subList(Math.max(0, lines.size() - 30), lines.size()));
        } catch (IOException e) {
            return e.toString();
        }
    }

    private String peers() {
        List<String> peers = new ArrayList<>();
        for (int n = 0; n < count(); n++) {
            peers.add("n" + n + "-127.0.0.1:" + groupPorts[n]);
        }
        return String.join(";", peers);
    }

    private Process start(String name, List<String> memory, String main, Path config) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(memory);
        command.addAll(List.of("-XX:+UseG1GC", "-XX:MaxMetaspaceSize=160m",
                "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
                "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "-Duser.home=" + dir.resolve(name),
                "-cp", classPath, main, "-c", config.toString()));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().put("ROCKETMQ_HOME", dir.toString());
        builder.environment().put("NAMESRV_ADDR", nameServerAddress());
        builder.redirectErrorStream(true);
        builder.redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve(name + ".out").toFile()));
        return builder.start();
    }

    static int freePort(Set<Integer> taken) throws IOException {
        while (true) {
            try (ServerSocket socket = new ServerSocket(0)) {
                int port = socket.getLocalPort();
                boolean far = taken.stream().allMatch(other -> Math.abs(other - port) >= PORTS_EACH);
                if (far && taken.add(port)) {
                    return port;
                }
            }
        }
    }

    /** Deletes a directory and all in it. */
    static void delete(Path dir) throws IOException {
        try (Stream<Path> all = Files.exists(dir) ? Files.walk(dir) : Stream.empty()) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(java.io.File::delete);
        }
    }

    @Override
    public void close() {
        admin.shutdown();
        brokers.values().forEach(Process::destroyForcibly);
        nameServer.destroyForcibly();
        brokers.values().forEach(process -> process.onExit().join());
        nameServer.onExit().join();
    }
}
