package io.dledger.rocketmq;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** {@code examples/c/bench.c}: three processes on libdledger through the C ABI, without Java. */
final class CBench {
    private CBench() {}

    /** Figures in the order of {@link LogNode}'s. */
    static double[] run(String flush, String bytes, String window, String seconds) throws Exception {
        Path program = Jar.home().resolve("../../../c/build/bench").normalize();
        if (!Files.exists(program)) {
            throw new IllegalStateException(program + " is missing: make -C examples/c builds it");
        }
        Path dir = Files.createTempDirectory("dledger-comparison-");
        try {
            Process bench = new ProcessBuilder(program.toString(), "--members", "3", "--flush", flush, "--body", bytes,
                    "--in-flight", window, "--seconds", seconds, "--option", "segment.bytes=256MiB", "--dir",
                    dir.toString(), "--json", "yes").redirectError(ProcessBuilder.Redirect.INHERIT).start();
            String json = new String(bench.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            if (bench.waitFor() != 0) {
                throw new IOException(program + " ended with " + bench.exitValue());
            }
            return figures(json);
        } finally {
            Cluster.delete(dir);
        }
    }

    /** The first process in it is the leader. */
    static double[] figures(String json) {
        return new double[] {number(json, "entries_per_second"), number(json, "p50_us"), number(json, "p99_us"),
            number(json, "p999_us"), number(json, "cpu_ns_per_entry")};
    }

    private static double number(String json, String key) {
        Matcher matcher = Pattern.compile("\"" + key + "\":([0-9.]+)").matcher(json);
        if (!matcher.find()) {
            throw new IllegalStateException("no " + key + " in " + json);
        }
        return Double.parseDouble(matcher.group(1));
    }
}
