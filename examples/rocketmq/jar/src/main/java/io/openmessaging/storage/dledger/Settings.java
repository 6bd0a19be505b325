package io.openmessaging.storage.dledger;

import io.dledger.LogConfig;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** From a broker's configuration to the options of the log. */
final class Settings {
    /** Before an option's key: {@code -Dio.dledger.option.flush=10ms}. */
    static final String PROPERTY = "io.dledger.option.";

    private static final Pattern ID = Pattern.compile("[A-Za-z]([0-9]+)");
    private static final Pattern PEER = Pattern.compile("([A-Za-z][0-9]+)-(.+):([0-9]+)");
    private static final Pattern LOOPBACK = Pattern.compile("127(\\.[0-9]+){3}|\\[::1\\]|localhost");

    private Settings() {}

    /**
     * All options, checked one by one.
     *
     * @throws IllegalArgumentException that says what is wrong
     */
    static LogConfig of(DLedgerConfig config) {
        if (!config.isEnableLeaderElector()) {
            throw new IllegalArgumentException("a group without elections is not supported");
        }
        String self = config.getSelfId();
        List<String> members = new ArrayList<>();
        String listen = null;
        for (String peer : config.getPeers().split(";")) {
            Matcher parts = PEER.matcher(peer.trim());
            if (!parts.matches()) {
                throw new IllegalArgumentException("peer " + peer + ": n0-host:port is meant");
            }
            members.add(number(parts.group(1)) + "@" + parts.group(2) + ":" + parts.group(3));
            if (parts.group(1).equals(self)) {
                listen = listen(parts.group(2), parts.group(3));
            }
        }
        if (listen == null) {
            throw new IllegalArgumentException(self + " is not among the peers " + config.getPeers());
        }
        LogConfig options = new LogConfig()
                .dir(directory(config))
                .group(config.getGroup())
                .nodeId(number(self))
                .segmentBytes(config.getMappedFileSizeForEntryData())
                .set("retention.time", config.getFileReservedHours() + "h");
        if (members.size() > 1) {
            options.members(String.join(",", members)).listen(listen);
            // As with the jar that this one replaces, and as the broker's own port: see the README.
            options.insecureListen(true);
        }
        if (config.getPreferredLeaderId() != null) {
            boolean preferred = Arrays.asList(config.getPreferredLeaderId().split(";")).contains(self);
            options.priority(preferred ? 1 : 0);
        }
        for (String name : System.getProperties().stringPropertyNames()) {
            if (name.startsWith(PROPERTY)) {
                options.set(name.substring(PROPERTY.length()), System.getProperty(name));
            }
        }
        return options;
    }

    private static long number(String id) {
        Matcher matcher = ID.matcher(id);
        if (!matcher.matches()) {
            throw new IllegalArgumentException("id " + id + ": a letter and a number are meant, as in n0");
        }
        return Long.parseLong(matcher.group(1)) + 1;
    }

    /**
     * On loopback where the peers say so; else on every interface, as DLedger does. What a name resolves to
     * here does not count: a machine's own name is often loopback in its {@code /etc/hosts}.
     */
    private static String listen(String host, String port) {
        boolean loopback = LOOPBACK.matcher(host).matches();
        return (loopback ? host : "0.0.0.0") + ":" + port;
    }

    private static Path directory(DLedgerConfig config) {
        String data = config.getDataStorePath();
        String splitter = System.getProperty("dLedger.multiPath.Splitter", ",");
        String readOnly = config.getReadOnlyDataStoreDirs();
        if (data.contains(splitter) || readOnly != null && !readOnly.trim().isEmpty()) {
            throw new IllegalArgumentException("data directories " + data
                    + (readOnly == null ? "" : ", read only " + readOnly)
                    + ": libdledger keeps the data files of a member in one directory; put one file system over the"
                    + " disks, or run a group of brokers for each");
        }
        Path path = Paths.get(data).toAbsolutePath();
        boolean usual = path.getFileName() != null && path.getFileName().toString().equals("data");
        return usual ? path.getParent() : Paths.get(config.getDefaultPath()).toAbsolutePath();
    }

    /**
     * Makes the directory, and its {@code data} where it is to be elsewhere; if that is another disk, {@code
     * spare} too: segments are made there and renamed. What is refused is not linked.
     */
    static void prepare(DLedgerConfig config) {
        Path data = Paths.get(config.getDataStorePath()).toAbsolutePath();
        Path home = directory(config);
        Path link = home.resolve("data");
        Path spare = home.resolve("spare");
        try {
            Files.createDirectories(home);
            Files.createDirectories(link.equals(data) ? home : data);
            boolean linked = Files.exists(link, LinkOption.NOFOLLOW_LINKS);
            if (linked && !link.equals(data) && !same(link, data)) {
                throw new IllegalStateException(link + " leads to other data files than those of " + data
                        + ", which is configured: configure the directory that has the files of this member, and"
                        + " remove the link if it leads elsewhere");
            }
            boolean elsewhere = Files.exists(data) && disk(data) != disk(home);
            if (elsewhere && !link.equals(data) && disk(data.getParent()) != disk(data)) {
                throw new IllegalStateException(data + " is a mount point, and segments are made beside the data"
                        + " files on the same disk: move all files to a directory below it, and configure that");
            }
            boolean spareIsToMake = elsewhere && !link.equals(data) && !Files.exists(spare);
            if (spareIsToMake && !hasSparesOnly(spareOf(data))) {
                throw new IllegalStateException(spareOf(data) + " has other files than segments, which are made there"
                        + " and removed: move it away");
            }
            if (!linked && !link.equals(data)) {
                Files.createSymbolicLink(link, data);
            }
            if (spareIsToMake) {
                Files.createDirectories(spareOf(data));
                Files.createSymbolicLink(spare, spareOf(data));
            }
            if (elsewhere && (!Files.exists(spare) || disk(spare) != disk(data))) {
                throw new IllegalStateException(spare + " is not on the disk of the data files in " + data
                        + ": make it a link to an empty directory there, while the broker is stopped");
            }
        } catch (IOException e) {
            throw new IllegalStateException("cannot make " + home + " or " + data, e);
        }
    }

    /** The number of the file system, of what a link leads to. */
    private static long disk(Path path) throws IOException {
        return (Long) Files.getAttribute(path, "unix:dev");
    }

    private static boolean same(Path link, Path path) throws IOException {
        return Files.exists(link) && Files.exists(path) && Files.isSameFile(link, path);
    }

    private static Path spareOf(Path data) {
        return data.resolveSibling(data.getFileName() + ".spare");
    }

    /** The log removes all that it finds there. */
    private static boolean hasSparesOnly(Path dir) throws IOException {
        if (!Files.exists(dir, LinkOption.NOFOLLOW_LINKS)) {
            return true;
        }
        try (Stream<Path> files = Files.list(dir)) {
            return files.allMatch(file -> file.getFileName().toString().matches("[0-9]{20}"));
        }
    }

    /** Deletes all that {@link #prepare} and the log made. */
    static void delete(DLedgerConfig config) {
        Path data = Paths.get(config.getDataStorePath()).toAbsolutePath();
        Path home = directory(config);
        try {
            // A directory of that name which this member does not use is somebody else's.
            if (same(home.resolve("spare"), spareOf(data))) {
                deleteAll(spareOf(data));
            }
            deleteAll(data);
            deleteAll(home);
        } catch (IOException e) {
            throw new IllegalStateException("cannot delete " + home + " or " + data, e);
        }
    }

    private static void deleteAll(Path path) throws IOException {
        try (Stream<Path> all = Files.exists(path) ? Files.walk(path) : Stream.empty()) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }
}
