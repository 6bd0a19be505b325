//! The C ABI from where it is used: each program of `ffi-tests/` is compiled by the system's
//! compiler, linked to the shared library that was just built, and run in a fresh directory, which
//! is its one argument. With `DLEDGER_SANITIZE=address` under ASan, with leak detection.
//!
//! And what only the finished library shows: its symbols, its soname, its flags.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, thread};

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/compiled.rs"]
mod compiled;
#[path = "support/skipped.rs"]
mod skipped;

use certificates::Authority;
use compiled::{C, compile, library, sanitizer};
use skipped::skipped;

/// Functions, constants, sizes and offsets are those of the contract, in both C standards.
#[test]
fn contract() {
    for standard in ["-std=c99", "-std=c11"] {
        program("contract.c", &[standard, "-pedantic"]);
    }
}

/// The headers are C++11.
#[test]
fn header_cpp() {
    program("header_cpp.cpp", &["-std=c++11", "-pedantic"]);
}

/// P15: statuses, configuration, errors.
#[test]
fn status() {
    program("status.c", C);
}

/// P15, scenario 29: a trace function that was replaced runs no more.
#[test]
fn trace() {
    program("trace.c", C);
}

/// P15, P16: everything one should not do.
#[test]
fn misuse() {
    program("misuse.c", C);
}

/// P3, acceptance 2: asynchronous appends from four threads, in each way to be called back.
/// `DLEDGER_APPENDS` says how many.
#[test]
fn million() {
    let few = if cfg!(debug_assertions) { "100000" } else { "1000000" };
    program_with("million.c", C, &[or_preset("DLEDGER_APPENDS", few)]);
}

/// Acceptance 2: a hook and `append.stamp` leave the same bytes.
#[test]
fn stamp() {
    program("stamp.c", C);
}

/// P3, acceptance 2: timeouts hold while a sync hangs.
#[test]
fn timeouts() {
    program("timeouts.c", FAULTY);
}

/// P7, acceptance 7, scenario 2: a failed sync stops the log.
#[test]
fn fails() {
    program("fails.c", FAULTY);
}

/// P5: a read that meets damage ends in a status, and `dl_failure` tells where it lies.
#[test]
fn damage() {
    program("damage.c", C);
}

/// The rule about signals: a copy meets a bad medium as a status.
#[test]
fn bad_medium() {
    program("bad_medium.c", FAULTY);
}

/// A process that is out of descriptors keeps its logs.
#[test]
fn no_descriptors() {
    program("no_descriptors.c", C);
}

/// P1, acceptance 5: kill -9 at random instants. `DLEDGER_ROUNDS` says how often.
#[test]
fn kill9() {
    program_with("kill9.c", C, &[or_preset("DLEDGER_ROUNDS", "20")]);
}

/// P8, acceptance 7, scenario 1: a full file system in memory.
#[test]
fn full_disk_tmpfs() {
    on_a_small_disk("full_disk.c", &["-t", "tmpfs", "-o", "size=24m", "tmpfs"]);
}

/// P8, acceptance 7, scenario 1: a full file system on a block device.
#[test]
fn full_disk_ext4() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    match made {
        Ok(made) if made.status.success() => {
            on_a_small_disk("full_disk.c", &["-o", "loop", image.to_str().unwrap()]);
        }
        Ok(made) => skipped("mkfs.ext4", &String::from_utf8_lossy(&made.stderr)),
        Err(error) => skipped("mkfs.ext4", &error.to_string()),
    }
}

/// P8: segments on another disk than the rest, which `disk.full.ratio` then counts; `data` and `spare`
/// on two are refused.
#[test]
fn two_disks() {
    on_a_small_disk("two_disks.c", &["-t", "tmpfs", "-o", "size=24m", "tmpfs"]);
}

/// A test that cannot run here tells everybody, also without `--nocapture`.
#[test]
fn a_skipped_test_is_seen() {
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "full_disk_ext4"]).env("PATH", "");
    let seen = again.output().unwrap();
    assert!(seen.status.success());
    let stderr = String::from_utf8_lossy(&seen.stderr);
    assert!(stderr.starts_with("SKIPPED full_disk_ext4: mkfs.ext4: "), "{stderr}");
}

/// P15, P16, behaviours 13, 28 and 29, scenarios 12 and 29: from the first event to behind dl_close.
#[test]
fn life() {
    program("life.c", C);
}

/// P15, scenario 29: `dl_start` against `dl_stop`, where a thread takes its time to come.
#[test]
fn start_race() {
    program("start_race.c", FAULTY);
}

/// The rule about signals: none that is sent to the process runs on a thread of the library's.
#[test]
fn signals() {
    program("signals.c", C);
}

/// `callbacks=poll`: the descriptor, the count, and `dl_stop` behind `dl_poll`.
#[test]
fn poll_wakes() {
    program("poll_wakes.c", FAULTY);
}

/// P15: the first event has every bit, and states go forward, wherever a thread is held up.
#[test]
fn first_event() {
    program("first_event.c", FAULTY);
}

/// The rule about fork: sockets and locks of the parent are no matter of the child's.
#[test]
fn forks() {
    program("forks.c", C);
}

/// P15: `dl_start` where the system has no thread for it.
#[test]
fn start_denied() {
    program("start_denied.c", FAULTY);
}

/// P3, P15, scenario 29: appends of all kinds against `dl_stop`. `DLEDGER_ROUNDS` says how often.
#[test]
fn stop_race() {
    program_with("stop_race.c", FAULTY, &[or_preset("DLEDGER_ROUNDS", "120")]);
}

/// P2, P3, P11, scenario 6: three members over TCP.
#[test]
fn group() {
    program("group.c", C);
}

/// P10, scenario 30: three members that prove by certificates who they are.
#[test]
fn tls() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    for (name, authority) in [("one", &one), ("other", &other)] {
        fs::write(directory.path().join(format!("{name}.ca")), authority.pem()).unwrap();
    }
    for id in ["1", "2", "3"] {
        one.issue(&[&format!("dledger:a%20b/{id}")]).write(directory.path(), id);
    }
    other.issue(&["dledger:a%20b/3"]).write(directory.path(), "other");
    let (status, text) = run_in(directory.path(), &ffi_test("tls.c", C), &[]);
    println!("{text}");
    assert!(status.success(), "tls.c: {status}\n{text}");
}

/// P15, scenario 17: an exception in a callback ends the process with a message.
#[test]
fn exception() {
    program("exception.cpp", CPP);
}

/// A flood of read barriers: bounded, each ends once, and nothing else waits for them.
#[test]
fn barriers() {
    program("barriers.c", C);
}

/// The C++ convenience of `dledger.hpp`.
#[test]
fn cpp_api() {
    program("cpp_api.cpp", CPP);
}

/// The example of a group of one: every line of a file, by index and by position, also reopened.
#[test]
fn quickstart() {
    let directory = tempfile::tempdir().unwrap();
    let file = sample();
    example("quickstart.c", &[&file, &directory.path().join("log")]);
}

/// The example of a group: three processes, the leader killed between the lines, equal logs.
#[test]
fn cluster() {
    let directory = tempfile::tempdir().unwrap();
    let (file, member) = (sample(), compile("examples/c/member.c", C));
    // Twice in one directory, as who plays with it does.
    for _ in 0..2 {
        example("cluster.c", &[&file, &directory.path().join("data"), &member]);
    }
}

/// What reads cost: both ways of reading end with a figure, and nothing is left behind.
#[test]
fn reads() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile("examples/c/reads.c", &["-std=c11", "-pthread"]);
    let records = ["100", "5000"].map(Path::new);
    let others = directory.path().join("others");
    std::fs::write(&others, "theirs").unwrap();
    let (status, text) = run_with(&program, &[records[0], records[1], directory.path()], &[]);
    assert!(status.success(), "{status}\n{text}");
    let figures = text.lines().map(|line| line.rsplit(' ').nth(1).unwrap());
    let figures: Vec<f64> = figures.skip(1).map(|figure| figure.parse().unwrap()).collect();
    assert!(figures.len() == 2 && figures.iter().all(|figure| *figure > 0.0), "{text}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(others.exists() && left.len() == 1, "{left:?}");
}

/// The load generator: each way of appending ends with figures and without a failure, and leaves
/// nothing behind.
#[test]
fn load() {
    let program = compile("examples/c/bench.c", &["-std=c11", "-pthread"]);
    let ways = [
        "",
        "--members 1",
        "--batch 16 --flush 10ms",
        "--callers 4 --in-flight 100",
        "--callers 4 --blocking yes",
        "--rate 2000",
        "--groups 3 --in-flight 30",
    ];
    let place = tempfile::tempdir().unwrap();
    for way in ways {
        let settings = "--seconds 0.3 --json yes --option segment.bytes=16MiB --dir";
        let mut words: Vec<&Path> = settings.split(' ').map(Path::new).collect();
        words.push(place.path());
        words.extend(way.split_whitespace().map(Path::new));
        let (status, text) = run_with(&program, &words, &[]);
        assert!(status.success(), "{way}: {status}\n{text}");
        let value = text.split("\"entries\":").nth(1).and_then(|rest| rest.split(',').next());
        assert!(value.unwrap().parse::<u64>().unwrap() > 0, "{way}: {text}");
        assert!(text.contains("\"failures\":0,"), "{way}: {text}");
    }
    // A line for each second, and what is in them is what came.
    let words = "--seconds 2 --every 1 --rate 500 --option segment.bytes=16MiB --dir";
    let mut words: Vec<&Path> = words.split(' ').map(Path::new).collect();
    words.push(place.path());
    let (status, text) = run_with(&program, &words, &[]);
    let lines: Vec<Vec<f64>> = text
        .lines()
        .map(|line| line.split_whitespace().map_while(|word| word.parse().ok()).collect())
        .filter(|line: &Vec<f64>| line.len() == 9)
        .collect();
    assert!(status.success() && lines.len() == 2, "{status}\n{text}");
    assert!(
        lines.iter().all(|line| line[1] > 0.0 && line[2] > 0.0 && line[5] >= line[2]),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    let bad =
        [("--members 0", "from 1 to 9"), ("--seconds", "a value is missing"), ("--x 1", "no such")];
    for (words, says) in bad {
        let words: Vec<&Path> = words.split(' ').map(Path::new).collect();
        let (status, text) = run_with(&program, &words, &[]);
        assert!(!status.success() && text.contains(says), "{text}");
    }
}

/// A green run under a sanitizer means something only if the sanitizer is there.
#[test]
fn sanitizer_is_linked() {
    if sanitizer().is_some() {
        let (status, _) = run(&compile("ffi-tests/asan.c", C));
        assert!(!status.success(), "an overflow went unseen");
    }
}

/// Only the contract is exported: nothing of Rust or of a dependency may meet the host's symbols.
#[test]
fn only_the_contract_is_exported() {
    let names = output("nm", &["-D", "--defined-only"]);
    let names: Vec<&str> = names.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let others: Vec<_> = names.iter().filter(|name| !name.starts_with("dl_")).collect();
    assert!(others.is_empty(), "exported beside dl_*: {others:?}");
    assert_eq!(names.len(), 42, "{names:?}");
}

/// ABI rule: one soname, and dlclose() keeps the library, whose threads may still run.
#[test]
fn soname_and_nodelete() {
    let dynamic = output("readelf", &["-dW"]);
    assert!(dynamic.contains("[libdledger.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}

/// With a function of libc in the program's own hands.
const FAULTY: &[&str] = &["-std=gnu11", "-pthread", "-rdynamic"];
const CPP: &[&str] = &["-std=c++11", "-pthread"];

/// How long one program may take, also on a busy machine under a sanitizer.
const PATIENCE: Duration = Duration::from_secs(240);

/// Compiles and runs one program, which must answer 0.
fn program(source: &str, flags: &[&str]) {
    program_with(source, flags, &[]);
}

/// The same, with variables in its environment.
fn program_with(source: &str, flags: &[&str], environment: &[(&str, String)]) {
    let directory = tempfile::tempdir().unwrap();
    let (status, text) = run_in(directory.path(), &ffi_test(source, flags), environment);
    println!("{text}");
    assert!(status.success(), "{source} {flags:?}: {status}\n{text}");
}

/// What the environment says, or else this.
fn or_preset(variable: &'static str, preset: &str) -> (&'static str, String) {
    (variable, env::var(variable).unwrap_or_else(|_| preset.into()))
}

/// A program on a file system of its own; skipped where mounting is refused.
fn on_a_small_disk(source: &str, mount: &[&str]) {
    let program = ffi_test(source, C);
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(mount).arg(&small).output();
    match mounted {
        Ok(mounted) if mounted.status.success() => {}
        Ok(mounted) => return skipped("mount", &String::from_utf8_lossy(&mounted.stderr)),
        Err(error) => return skipped("mount", &error.to_string()),
    }
    let _mounted = Mounted(&small);
    let (status, text) = run_in(&small, &program, &[]);
    println!("{text}");
    assert!(status.success(), "{source} on {mount:?}: {status}\n{text}");
}

/// Unmounted when dropped.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// The file whose lines go through the examples.
fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/dledger.h")
}

/// Compiles an example as its makefile does and runs it, which must answer 0.
fn example(source: &str, arguments: &[&Path]) {
    let program = compile(&format!("examples/c/{source}"), &["-std=c11", "-pthread"]);
    let (status, text) = run_with(&program, arguments, &[]);
    println!("{text}");
    assert!(status.success(), "{source}: {status}\n{text}");
    assert!(text.ends_with("All checks passed.\n"), "{text}");
}

fn ffi_test(source: &str, flags: &[&str]) -> PathBuf {
    compile(&format!("ffi-tests/{source}"), flags)
}

/// Its status and all that it wrote.
fn run(program: &Path) -> (ExitStatus, String) {
    run_in(tempfile::tempdir().unwrap().path(), program, &[])
}

/// The same, in a directory that is there.
fn run_in(
    directory: &Path,
    program: &Path,
    environment: &[(&str, String)],
) -> (ExitStatus, String) {
    run_with(program, &[directory], environment)
}

fn run_with(
    program: &Path,
    arguments: &[&Path],
    environment: &[(&str, String)],
) -> (ExitStatus, String) {
    // Not in its directory, which may get full.
    let own = tempfile::tempdir().unwrap();
    let written = own.path().join("output");
    let file = File::create(&written).unwrap();
    let child = Command::new(program)
        .args(arguments)
        .env("ASAN_OPTIONS", "detect_leaks=1")
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let status = wait(child);
    (status, String::from_utf8_lossy(&fs::read(&written).unwrap()).into_owned())
}

fn wait(mut child: Child) -> ExitStatus {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            return child.wait().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn output(command: &str, flags: &[&str]) -> String {
    let answer = Command::new(command).args(flags).arg(library()).output();
    let answer = answer.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap()
}

/// P15: where callbacks run and how: one at a time, on one thread, and what is refused in each kind.
#[test]
fn callbacks() {
    program("callbacks.c", C);
}
