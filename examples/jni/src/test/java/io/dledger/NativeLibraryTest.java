package io.dledger;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the native library comes from, and what is said where there is none. */
class NativeLibraryTest {
    @TempDir
    Path dir;

    /** What a Java process of its own prints. */
    private static String run(String... options) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(options));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), ShowVersion.class.getName()));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        process.waitFor();
        return output;
    }

    /** The process. */
    static final class ShowVersion {
        public static void main(String[] arguments) {
            System.out.println("version " + Log.version());
        }
    }

    @Test
    void theLibraryIsInTheJarAndLeavesNoFileBehind() throws Exception {
        String output = run("-Djava.io.tmpdir=" + dir);
        assertTrue(output.startsWith("version 0.1.0"), output);
        try (var files = Files.list(dir)) {
            assertEquals(0, files.filter(file -> file.toString().endsWith(".so")).count());
        }
    }

    @Test
    void thePropertyNamesAnotherLibrary() throws Exception {
        String resource = NativeLibrary.resource(System.getProperty("os.name"), System.getProperty("os.arch"));
        Path copy = dir.resolve("another.so");
        try (InputStream in = Log.class.getResourceAsStream(resource)) {
            assertNotNull(in, resource);
            Files.copy(in, copy, StandardCopyOption.REPLACE_EXISTING);
        }
        String here = run("-D" + NativeLibrary.PROPERTY + "=" + copy);
        assertTrue(here.startsWith("version 0.1.0"), here);
        String nowhere = run("-D" + NativeLibrary.PROPERTY + "=" + dir.resolve("none.so"));
        assertTrue(nowhere.contains("UnsatisfiedLinkError") && nowhere.contains("none.so"), nowhere);
    }

    @Test
    void anotherPlatformIsToldWhatToDo() throws Exception {
        String output = run("-Dos.arch=sparc");
        assertTrue(output.contains("UnsatisfiedLinkError") && output.contains("sparc"), output);
        assertTrue(output.contains("-Dio.dledger.library=PATH"), output);
        String unwritable = run("-Djava.io.tmpdir=" + dir.resolve("none"));
        assertTrue(unwritable.contains("-Dio.dledger.library=PATH"), unwritable);
        assertEquals("native/linux-x86_64/libdledgerjni.so", NativeLibrary.resource("Linux", "amd64"));
        assertEquals("native/linux-aarch64/libdledgerjni.so", NativeLibrary.resource("Linux", "aarch64"));
    }
}
