//! Programs in C and C++, compiled by the system's compiler and linked to the shared library that was
//! built for this test. With `DLEDGER_SANITIZE=address` under ASan.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, os, thread};

/// Flags for a program in C.
pub const C: &[&str] = &["-std=gnu11", "-pthread"];

/// Compiles a source of the repository. Where the program is.
pub fn compile(source: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = libraries();
    let name = source.rsplit('/').next().unwrap_or(source);
    let program = libraries.join(format!("{name}{}", flags.concat()));
    let variable = if source.ends_with(".cpp") { ("CXX", "c++") } else { ("CC", "cc") };
    let compiler = env::var(variable.0).unwrap_or_else(|_| variable.1.into());
    let mut command = Command::new(&compiler);
    command.args(["-Wall", "-Wextra", "-Werror", "-g", "-O1"]).args(flags);
    if let Some(kind) = sanitizer() {
        command.args([&format!("-fsanitize={kind}"), "-fno-omit-frame-pointer"]);
    }
    command.arg("-I").arg(root.join("include")).arg(root.join(source));
    command.arg("-L").arg(&libraries).arg("-ldledger");
    command.arg(format!("-Wl,-rpath,{}", libraries.display())).arg("-o").arg(&program);
    let answer = command.output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let text = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{command:?}:\n{text}");
    program
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
pub fn library() -> PathBuf {
    let executable = env::current_exe().unwrap();
    let beside = executable.parent().unwrap();
    let found = [beside, beside.parent().unwrap()].map(|dir| dir.join("libdledger.so"));
    found.into_iter().find(|path| path.exists()).expect("cargo builds the shared library")
}

/// The sanitizer that was asked for.
pub fn sanitizer() -> Option<String> {
    env::var("DLEDGER_SANITIZE").ok().filter(|kind| !kind.is_empty())
}
