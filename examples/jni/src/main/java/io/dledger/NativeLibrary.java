package io.dledger;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.util.Locale;

/** Loads the native library: from the jar, or from where the property {@code io.dledger.library} says. */
final class NativeLibrary {
    static final String PROPERTY = "io.dledger.library";

    private NativeLibrary() {}

    /** Throws {@link UnsatisfiedLinkError}, with what to do about it. */
    static void load() {
        String path = System.getProperty(PROPERTY);
        if (path != null) {
            System.load(Paths.get(path).toAbsolutePath().toString());
            return;
        }
        String resource = resource(System.getProperty("os.name", ""), System.getProperty("os.arch", ""));
        try (InputStream in = NativeLibrary.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new UnsatisfiedLinkError("this jar has no libdledger for "
                        + System.getProperty("os.name") + " on " + System.getProperty("os.arch")
                        + " (" + resource + "): build it there with mvn package, or set -D" + PROPERTY
                        + "=PATH");
            }
            Path file = Files.createTempFile("libdledgerjni", ".so");
            try {
                Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
                System.load(file.toString());
            } finally {
                Files.deleteIfExists(file); // it stays mapped
            }
        } catch (IOException e) {
            UnsatisfiedLinkError error = new UnsatisfiedLinkError("libdledger cannot be written into "
                    + System.getProperty("java.io.tmpdir") + " to be loaded from there: " + e
                    + "; set -Djava.io.tmpdir=DIRECTORY or -D" + PROPERTY + "=PATH");
            error.initCause(e);
            throw error;
        }
    }

    /** Where a jar has the library for a platform; names as in {@code uname}. */
    static String resource(String os, String arch) {
        String machine = arch.equals("amd64") ? "x86_64" : arch;
        return "native/" + os.toLowerCase(Locale.ROOT) + "-" + machine + "/libdledgerjni.so";
    }
}
