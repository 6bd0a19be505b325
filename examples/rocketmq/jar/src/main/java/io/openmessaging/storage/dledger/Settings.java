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
     * spare} too: segments are made there and renamed. What is refused is refused before anything is linked.
     */
    static void prepare(DLedgerConfig config) {
        Path data = Paths.get(config.getDataStorePath()).toAbsolutePath();
        Path home = directory(config);
        Path link = home.resolve("data");
        Path spare = home.resolve("spare");
        boolean usual = link.equals(data);
        try {
            make(home);
            if (!usual) {
                make(data);
            }
            boolean linked = isThere(link);
            if (!usual && linked && !same(link, data)) {
                throw new IllegalStateException(link + " leads to other data files than those of " + data
                        + ", which is configured: configure the directory that has the files of this member, and"
                        + " remove the link if it leads elsewhere");
            }
            Path files = real(data);
            long disk = disk(Files.exists(files) ? files : home);
            boolean elsewhere = disk != disk(home);
            if (!usual && elsewhere && (files.getParent() == null || disk(files.getParent()) != disk)) {
                throw new IllegalStateException(data + " is a mount point, and segments are made beside the data"
                        + " files on the same disk: move all files to a directory below it, and configure that");
            }
            boolean spareIsToLink = !usual && elsewhere && isToLink(spare, disk);
            if (spareIsToLink) {
                mayBecomeSpare(spareOf(files), disk);
            } else {
                makeTarget(spare);
                if (Files.exists(spare) ? disk(spare) != disk : elsewhere) {
                    throw new IllegalStateException(spare + " is not on the disk of the data files in " + data
                            + ": make it a link to an empty directory there, while the broker is stopped");
                }
            }
            if (!usual && !linked) {
                Files.createSymbolicLink(link, data);
            }
            if (spareIsToLink) {
                make(spareOf(files));
                deleteAll(spare);
                Files.createSymbolicLink(spare, spareOf(files));
            }
        } catch (IOException e) {
            throw new IllegalStateException("cannot make " + home + " or " + data, e);
        }
    }

    /** Asks first: for a link to a directory some versions of Java throw. */
    private static void make(Path dir) throws IOException {
        if (!Files.isDirectory(dir)) {
            Files.createDirectories(dir);
        }
    }

    /** Also a link that leads nowhere. */
    private static boolean isThere(Path path) {
        return Files.exists(path, LinkOption.NOFOLLOW_LINKS);
    }

    /** Where a path leads; itself, if nothing is there. */
    private static Path real(Path path) throws IOException {
        return Files.exists(path) ? path.toRealPath() : path;
    }

    /** The number of the file system, of what a link leads to. */
    private static long disk(Path path) throws IOException {
        return (Long) Files.getAttribute(path, "unix:dev");
    }

    private static boolean same(Path link, Path path) throws IOException {
        return Files.exists(link) && Files.exists(path) && Files.isSameFile(link, path);
    }

    /** Beside the data files themselves, not beside a link to them. */
    private static Path spareOf(Path files) {
        return files.resolveSibling(files.getFileName() + ".spare");
    }

    /** Whether nothing is lost by it: where nothing is, or a link to nothing, or what the log itself removes. */
    private static boolean isToLink(Path spare, long disk) throws IOException {
        if (!Files.exists(spare)) {
            return true;
        }
        if (!Files.isDirectory(spare, LinkOption.NOFOLLOW_LINKS) || disk(spare) == disk) {
            return false;
        }
        boolean ofALog = Files.isRegularFile(spare.resolveSibling("meta"));
        try (Stream<Path> files = Files.list(spare)) {
            return files.allMatch(file -> ofALog && file.getFileName().toString().matches("[0-9]{20}")
                    && Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS));
        }
    }

    /** The log removes files with names of segments from there, and a copy of data files has just such names. */
    private static void mayBecomeSpare(Path dir, long disk) throws IOException {
        if (!isThere(dir)) {
            return;
        }
        boolean empty = false;
        if (Files.isDirectory(dir) && disk(dir) == disk) {
            try (Stream<Path> files = Files.list(dir)) {
                empty = !files.findAny().isPresent();
            }
        }
        if (!empty) {
            throw new IllegalStateException(dir + " is not an empty directory on the disk of the data files: segments"
                    + " are to be made there, and what has their names is removed; move it away");
        }
    }

    /** Of a link that leads nowhere, as when an empty directory was cleared away. */
    private static void makeTarget(Path spare) {
        if (!isThere(spare) || Files.exists(spare)) {
            return;
        }
        Path target = spare;
        try {
            target = spare.resolveSibling(Files.readSymbolicLink(spare));
            Files.createDirectories(target);
        } catch (IOException e) {
            throw new IllegalStateException(spare + " leads to " + target + ", which is not there and cannot be made:"
                    + " make that directory, on the disk of the data files, or remove the link if they are on the disk"
                    + " of " + spare.getParent(), e);
        }
    }

    /** Deletes all that {@link #prepare} and the log made. */
    static void delete(DLedgerConfig config) {
        Path data = Paths.get(config.getDataStorePath()).toAbsolutePath();
        Path home = directory(config);
        try {
            Path files = real(data);
            // A directory of that name which this member does not use is somebody else's.
            if (same(home.resolve("spare"), spareOf(files))) {
                deleteAll(spareOf(files));
            }
            deleteAll(files);
            deleteAll(home);
        } catch (IOException e) {
            throw new IllegalStateException("cannot delete " + home + " or " + data, e);
        }
    }

    private static void deleteAll(Path path) throws IOException {
        try (Stream<Path> all = isThere(path) ? Files.walk(path) : Stream.empty()) {
            all.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        }
    }
}
