//! The committed header is what the source says, and what it says in text is true: the version,
//! the keys of options. The compiler compares the rest, see `ffi-tests/contract.c`.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test

use std::path::Path;
use std::{env, fs};

use dledger::options::OPTIONS;

/// `include/dledger.h` is generated from `src/ffi` and `cbindgen.toml`, and never edited.
#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = generated();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/dledger.h");
    if env::var_os("DLEDGER_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = generated.lines().zip(committed.lines()).enumerate();
    let first = lines.find(|(_, (new, old))| new != old);
    assert!(
        generated == committed,
        "include/dledger.h is not what the source generates; first difference: {first:#?}\n\
         To update it: DLEDGER_BLESS=1 cargo test --test header"
    );
}

/// The numbers in `cbindgen.toml` follow the crate's.
#[test]
fn the_headers_version_is_the_crates() {
    let header = generated();
    for part in ["MAJOR", "MINOR", "PATCH"] {
        let line = format!("#define DL_VERSION_{part} ");
        let number = header.lines().find_map(|l| l.strip_prefix(&line)).unwrap();
        let ours = match part {
            "MAJOR" => env!("CARGO_PKG_VERSION_MAJOR"),
            "MINOR" => env!("CARGO_PKG_VERSION_MINOR"),
            _ => env!("CARGO_PKG_VERSION_PATCH"),
        };
        assert_eq!(number, ours, "DL_VERSION_{part} in cbindgen.toml");
    }
}

/// Each key of the header is an option, under one name only. (`dl_options()` has more.)
#[test]
fn the_headers_keys_are_options() {
    let header = generated();
    let lines = header.lines().filter(|line| line.starts_with("#define DL_OPT_"));
    let mut keys: Vec<&str> = lines.map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(keys.len(), 24);
    for key in &keys {
        assert!(OPTIONS.iter().any(|option| option.key == *key), "{key:?} is no option");
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 24);
}

/// What the build made of the source. (The committed one may just be being written.)
fn generated() -> String {
    fs::read_to_string(Path::new(env!("OUT_DIR")).join("dledger.h"))
        .expect("the build generates a header; see its warnings")
}
