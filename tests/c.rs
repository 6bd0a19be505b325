//! The C ABI from where it is used: each program of `ffi-tests/` is compiled by the system's
//! compiler, linked to the shared library that was just built, and run in a fresh directory, which
//! is its one argument. With `DLEDGER_SANITIZE=address` under ASan, with leak detection.
//!
//! And what only the finished library shows: its symbols, its soname, its flags.

#![allow(clippy::unwrap_used)] // a test

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, os, thread};

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

/// P15, scenario 17: an exception in a callback ends the process with a message.
#[test]
fn exception() {
    program("exception.cpp", CPP);
}

/// The C++ convenience of `dledger.hpp`.
#[test]
fn cpp_api() {
    program("cpp_api.cpp", CPP);
}

/// Acceptance 2, P3: appends from four threads end once, in order, and read back equal.
/// `DLEDGER_APPENDS=1000000` is the whole of it.
#[test]
fn million() {
    program("million.c", C);
}

/// Behaviour 8: a hook and a stamp give the same bytes; a body too short is refused.
#[test]
fn stamp() {
    program("stamp.c", C);
}

/// P3, behaviour 15: an append ends by its own time, also while a sync hangs; so does a stop.
#[test]
fn timeouts() {
    program("timeouts.c", INTERPOSES);
}

/// P7, scenario 2: one failed sync stops the log, and says so.
#[test]
fn fails() {
    program("fails.c", INTERPOSES);
}

/// P1, acceptance 5: kill -9 at random instants. `DLEDGER_ROUNDS=200` is the whole of it.
#[test]
fn kill9() {
    program("kill9.c", C);
}

/// A green run under a sanitizer means something only if the sanitizer is there.
#[test]
fn sanitizer_is_linked() {
    if sanitizer().is_some() {
        let (status, _) = run(&compile("asan.c", C));
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

const C: &[&str] = &["-std=gnu11", "-pthread"];
/// The program's own fdatasync is called by the library.
const INTERPOSES: &[&str] = &["-std=gnu11", "-pthread", "-rdynamic"];
const CPP: &[&str] = &["-std=c++11", "-pthread"];

/// How long one program may take, also on a busy machine under a sanitizer.
const PATIENCE: Duration = Duration::from_secs(240);

/// Compiles and runs one program, which must answer 0.
fn program(source: &str, flags: &[&str]) {
    let (status, text) = run(&compile(source, flags));
    assert!(status.success(), "{source} {flags:?}: {status}\n{text}");
}

fn compile(source: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = libraries();
    let program = libraries.join(format!("{source}{}", flags.concat()));
    let variable = if source.ends_with(".cpp") { ("CXX", "c++") } else { ("CC", "cc") };
    let compiler = env::var(variable.0).unwrap_or_else(|_| variable.1.into());
    let mut command = Command::new(&compiler);
    command.args(["-Wall", "-Wextra", "-Werror", "-g", "-O1"]).args(flags);
    if let Some(kind) = sanitizer() {
        command.args([&format!("-fsanitize={kind}"), "-fno-omit-frame-pointer"]);
    }
    command.arg("-I").arg(root.join("include")).arg(root.join("ffi-tests").join(source));
    command.arg("-L").arg(&libraries).arg("-ldledger");
    command.arg(format!("-Wl,-rpath,{}", libraries.display())).arg("-o").arg(&program);
    let answer = command.output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let text = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{command:?}:\n{text}");
    program
}

/// Its status and all that it wrote.
fn run(program: &Path) -> (ExitStatus, String) {
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("output");
    let file = File::create(&written).unwrap();
    let child = Command::new(program)
        .arg(directory.path())
        .env("ASAN_OPTIONS", "detect_leaks=1")
        .envs(preset("DLEDGER_APPENDS", "50000"))
        .envs(preset("DLEDGER_ROUNDS", "20"))
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let status = wait(child);
    (status, String::from_utf8_lossy(&fs::read(&written).unwrap()).into_owned())
}

/// A variable for the program, unless it is set.
fn preset(name: &'static str, value: &'static str) -> Option<(&'static str, &'static str)> {
    env::var_os(name).is_none().then_some((name, value))
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

/// A directory with the library under the names that the linker and the loader look for.
fn libraries() -> PathBuf {
    let own = thread::current().name().unwrap_or("test").replace(':', "-");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c-{own}"));
    fs::create_dir_all(&directory).unwrap();
    for name in ["libdledger.so", "libdledger.so.0"] {
        let link = directory.join(name);
        let _ = fs::remove_file(&link);
        os::unix::fs::symlink(library(), link).unwrap();
    }
    directory
}

/// What cargo built for this test: beside its executable.
fn library() -> PathBuf {
    let executable = env::current_exe().unwrap();
    let beside = executable.parent().unwrap();
    let found = [beside, beside.parent().unwrap()].map(|dir| dir.join("libdledger.so"));
    found.into_iter().find(|path| path.exists()).expect("cargo builds the shared library")
}

fn output(command: &str, flags: &[&str]) -> String {
    let answer = Command::new(command).args(flags).arg(library()).output();
    let answer = answer.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).unwrap()
}

fn sanitizer() -> Option<String> {
    env::var("DLEDGER_SANITIZE").ok().filter(|kind| !kind.is_empty())
}
