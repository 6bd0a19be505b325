package io.dledger.rocketmq;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The jar that a broker has its log from. All others are the same. */
enum Jar {
    /** The one of this project. */
    LIBDLEDGER,
    /** The one that RocketMQ brings. */
    DLEDGER;

    /** Where the build put the jars. */
    static Path home() {
        return Path.of(System.getProperty("io.dledger.rocketmq.home", "target")).toAbsolutePath();
    }

    /** The class path of a broker. */
    String classPath() {
        List<Path> jars = jars(home().resolve("lib"));
        if (this == DLEDGER) {
            jars.removeIf(jar -> jar.getFileName().toString().startsWith("dledger-rocketmq"));
            jars.addAll(jars(home().resolve("original")));
        }
        return jars.stream().map(Path::toString).collect(Collectors.joining(java.io.File.pathSeparator));
    }

    private static List<Path> jars(Path dir) {
        try (Stream<Path> files = Files.list(dir)) {
            return files.filter(file -> file.toString().endsWith(".jar")).sorted().collect(Collectors.toList());
        } catch (IOException e) {
            throw new UncheckedIOException("the jars are put there by mvn package", e);
        }
    }
}
