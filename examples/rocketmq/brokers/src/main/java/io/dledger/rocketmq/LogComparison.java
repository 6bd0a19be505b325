package io.dledger.rocketmq;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * The two jars without a broker: three processes, the same program, the same bodies and windows, in turn. And
 * what libdledger does at the same load without Java.
 */
public final class LogComparison {
    private static final int[] WINDOWS = {1, 64, 1024};
    /** Of the C bench; {@link Variant} has the same. */
    private static final List<String> FLUSHES = List.of("10ms", "commit");

    private LogComparison() {}

    /**
     * Prints a table of medians.
     *
     * @param args rounds (3), seconds of each (5), bytes of a body (1024)
     */
    public static void main(String[] args) throws Exception {
        int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 3;
        String seconds = args.length > 1 ? args[1] : "5";
        String bytes = args.length > 2 ? args[2] : "1024";
        System.out.printf(Locale.ROOT, "bodies of %s bytes, three members, medians of %d rounds%n", bytes, rounds);
        System.out.printf(Locale.ROOT, "%-28s %9s %12s %10s %10s %10s %14s %14s%n", "", "in flight", "entries/s",
                "p50 µs", "p99 µs", "p99.9 µs", "CPU ns/entry", "in the call ns");
        for (int window : WINDOWS) {
            String inFlight = Integer.toString(window);
            Map<String, List<double[]>> rows = new LinkedHashMap<>();
            for (int round = 0; round < rounds; round++) {
                for (Variant variant : Variant.values()) {
                    double[] row = run(variant, bytes, inFlight, seconds);
                    rows.computeIfAbsent(variant.title, title -> new ArrayList<>()).add(row);
                }
                for (String flush : FLUSHES) {
                    double[] row = CBench.run(flush, bytes, inFlight, seconds);
                    rows.computeIfAbsent("C bench, flush=" + flush, title -> new ArrayList<>()).add(row);
                }
            }
            rows.forEach((title, all) -> System.out.printf(Locale.ROOT,
                    "%-28s %9d %12.0f %10.1f %10.1f %10.1f %14.0f %14s%n", title, window, median(all, 0),
                    median(all, 1), median(all, 2), median(all, 3), median(all, 4),
                    all.get(0).length > 5 ? String.format(Locale.ROOT, "%.0f", median(all, 5)) : ""));
        }
    }

    static double median(List<double[]> rows, int column) {
        return rows.stream().mapToDouble(row -> row[column]).sorted().toArray()[rows.size() / 2];
    }

    private static double[] run(Variant variant, String bytes, String window, String seconds) throws Exception {
        Path dir = Files.createTempDirectory("dledger-comparison-");
        List<Process> nodes = new ArrayList<>();
        try {
            String peers = peers();
            for (int n = 2; n >= 0; n--) {
                nodes.add(start(variant, dir, "n" + n, peers, bytes, window, seconds));
            }
            BufferedReader out = new BufferedReader(new InputStreamReader(nodes.get(2).getInputStream()));
            for (String line = out.readLine(); line != null; line = out.readLine()) {
                String[] words = line.split(" ");
                if (words.length == 7 && words[0].matches("[0-9]+")) {
                    double[] row = new double[words.length];
                    for (int i = 0; i < row.length; i++) {
                        row[i] = Double.parseDouble(words[i]);
                    }
                    if (row[6] > 0) {
                        throw new IllegalStateException(row[6] + " appends failed");
                    }
                    return row;
                }
            }
            throw new IllegalStateException(variant.title + ": no figures: " + Files.readString(dir.resolve("n0.err")));
        } finally {
            for (Process node : nodes) {
                node.destroyForcibly().waitFor();
            }
            Cluster.delete(dir);
        }
    }

    private static Process start(Variant variant, Path dir, String self, String peers, String bytes, String window,
            String seconds) throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xms256m", "-Xmx256m",
                "-XX:+UseG1GC", "--add-opens=java.base/java.nio=ALL-UNNAMED",
                "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"));
        command.addAll(variant.options);
        String own = Jar.home().resolve("classes").toString();
        command.addAll(List.of("-cp", own + java.io.File.pathSeparator + variant.jar.classPath(),
                LogNode.class.getName(), self, peers, dir.resolve(self).toString(), bytes, window, seconds));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.redirectError(dir.resolve(self + ".err").toFile());
        if (!self.equals("n0")) {
            builder.redirectOutput(ProcessBuilder.Redirect.DISCARD);
        }
        return builder.start();
    }

    private static String peers() throws IOException {
        Set<Integer> taken = new HashSet<>();
        List<String> peers = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            peers.add("n" + n + "-127.0.0.1:" + Cluster.freePort(taken));
        }
        return String.join(";", peers);
    }
}
