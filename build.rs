//! Generates the C header from the source of `src/ffi`, one section for each file, in the order
//! of a manual; gives the shared library its soname and keeps it from being unloaded; tells the
//! library from which commit it was built.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The files that make the header, and what their sections are called in it.
const SECTIONS: &[(&str, &str)] = &[
    ("status", "Status"),
    ("types", "Types"),
    ("options", "Configuration"),
    ("log", "Life"),
    ("events", "What the library calls by itself"),
    ("trace", "Diagnostics"),
    ("append", "Append"),
    ("read", "Read"),
    ("state", "State and durability"),
    ("cluster", "Cluster"),
    ("poll", "Callbacks by polling, metrics"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src/ffi");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libdledger.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rustc-env=DLEDGER_GIT={}", commit().unwrap_or_else(|| "unknown".into()));
    // The compiler says better than we can what is wrong with a file that does not parse.
    match header() {
        Ok(text) => fs::write(Path::new(&env::var("OUT_DIR")?).join("dledger.h"), text)?,
        Err(error) => println!("cargo:warning=no header was generated: {error}"),
    }
    Ok(())
}

/// The whole header: the frame of `cbindgen.toml`, and in it the sections.
fn header() -> Result<String, Box<dyn Error>> {
    let frame = cbindgen::Config::from_file("cbindgen.toml")?;
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let guard = text(&frame.include_guard);
    let mut out = format!("{}\n#ifndef {guard}\n#define {guard}\n\n", text(&frame.header).trim());
    for include in &frame.sys_includes {
        out += &format!("#include <{include}>\n");
    }
    out += &format!("\n{}\n", text(&frame.after_includes).trim());
    for (file, title) in SECTIONS {
        let rule = "-".repeat(84_usize.saturating_sub(title.len()));
        out += &format!("\n/* ---- {title} {rule} */\n\n{}\n", section(&frame, file)?.trim());
    }
    out += &format!("\n{}\n\n#endif /* {guard} */\n", text(&frame.trailer).trim());
    Ok(out)
}

/// What one file declares, without a frame of its own.
fn section(frame: &cbindgen::Config, file: &str) -> Result<String, Box<dyn Error>> {
    let mut config = frame.clone();
    config.header = None;
    config.include_guard = None;
    config.no_includes = true;
    config.sys_includes.clear();
    config.after_includes = None;
    config.trailer = None;
    config.cpp_compat = false; // the frame does it once for all
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(Path::new("src/ffi").join(file).with_extension("rs"))
        .generate()?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(tight(&String::from_utf8(text)?))
}

/// Comments of one line on one line, no blank lines within a group of constants, negative
/// numbers in parentheses, types by their one name: a header is read on a screen.
fn tight(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plain).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let indent = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
        match lines[at..] {
            [open, one, close, ..] if open.trim() == "/**" && close.trim() == "*/" => {
                let one = one.trim().trim_start_matches('*').trim();
                out.push(format!("{indent}/** {one} */"));
                at += 3;
            }
            [define, "", next, ..] if define.starts_with("#define") && !next.is_empty() => {
                out.push(define.into());
                at += 1;
                let ends = lines[at + 1..].iter().take_while(|line| !line.is_empty()).last();
                if !ends.is_some_and(|line| line.starts_with("#define")) {
                    out.push(String::new());
                }
                at += 1;
            }
            _ => {
                out.push(lines[at].trim_end().into());
                at += 1;
            }
        }
    }
    out.join("\n")
}

fn plain(line: &str) -> String {
    match line.strip_prefix("#define ").and_then(|define| define.split_once(" -")) {
        Some((name, number)) => format!("#define {name} (-{number})"),
        None if line.starts_with("typedef struct") => line.to_owned(),
        None => line.replace("struct dl_", "dl_"),
    }
}

/// The commit this directory is checked out at, if it is a repository of its own.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let answer = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
        (answer.status.success() && !text.is_empty()).then_some(text)
    };
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(env::var("CARGO_MANIFEST_DIR").ok()?).ok()? {
        return None;
    }
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=7", "HEAD"])
}
