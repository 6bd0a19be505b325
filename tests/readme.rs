//! What the README says in a form that can be checked is true: its C compiles, its table of options
//! is the library's, its links lead somewhere.

#![allow(clippy::unwrap_used)] // a test

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[path = "support/skipped.rs"]
mod skipped;

use dledger::net::{Tls, TlsFiles};
use dledger::options::{OPTIONS, Options};
use skipped::skipped;

/// Each C program compiles without a warning against the committed header.
#[test]
fn the_c_examples_compile() {
    let examples = blocks(&readme(), "c");
    assert!(!examples.is_empty());
    for (n, example) in examples.iter().enumerate() {
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readme-{n}.c"));
        fs::write(&source, example).unwrap();
        let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut command = Command::new(&compiler);
        command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"]);
        command.arg(root().join("include")).arg(&source);
        let answer = command.output().unwrap_or_else(|error| panic!("{compiler}: {error}"));
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    }
}

/// The lines that make certificates make such as members take.
#[test]
fn the_certificates_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("openssl", "there is none");
    }
    let lines = blocks(&readme(), "sh");
    let lines = lines.iter().find(|block| block.contains("openssl")).unwrap();
    let mut shell = Command::new("sh");
    let answer = shell.args(["-e", "-c", lines]).current_dir(directory.path()).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    for id in 1..=3 {
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (cert, key) = (path(&format!("{id}.pem")), path(&format!("{id}.key")));
        let files = TlsFiles { cert, key, ca: path("ca.pem") };
        let tls = Tls::read(files, "orders", id).unwrap();
        assert!(!tls.names("orders", id + 1));
    }
}

/// The table of options is the one in `src/options.rs`.
#[test]
fn the_options_are_the_librarys() {
    let (readme, table) = (readme(), table());
    let from = readme.find(BEGIN).expect("the table's begin") + BEGIN.len();
    let to = from + readme[from..].find(END).expect("the table's end");
    if env::var_os("DLEDGER_BLESS").is_some() {
        let blessed = format!("{}{table}{}", &readme[..from], &readme[to..]);
        fs::write(root().join("README.md"), blessed).unwrap();
        return;
    }
    let mut lines = table.lines().zip(readme[from..to].lines());
    let first = lines.find(|(library, readme)| library != readme);
    assert!(
        readme[from..to] == table,
        "the README's options are not the library's; first difference: {first:#?}\n\
         To update it: DLEDGER_BLESS=1 cargo test --test readme"
    );
}

/// The keys and defaults that the text names beside the table are options and what they take.
#[test]
fn options_in_the_text_exist() {
    let readme = readme();
    let spans = readme.split('`').skip(1).step_by(2);
    let mut seen = 0;
    for (key, value) in spans.filter_map(|span| span.split_once('=')) {
        if let Some(option) = OPTIONS.iter().find(|option| option.key == key) {
            Options::default().set(option.key, value).unwrap();
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} options with a value");
}

/// Files that it links to are there.
#[test]
fn links_lead_somewhere() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.starts_with("http")) {
        match target.strip_prefix('#') {
            Some(anchor) => {
                assert!(headings(&readme).any(|heading| heading == anchor), "#{anchor}")
            }
            None => assert!(root().join(target).exists(), "{target}"),
        }
    }
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The fenced blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Headings, as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let titles = text.lines().filter_map(|line| line.strip_prefix("## "));
    titles.map(|title| title.to_lowercase().replace(' ', "-"))
}

fn table() -> String {
    let mut table =
        "\n\n| key | type | default | live | meaning |\n|---|---|---|---|---|\n".to_owned();
    for option in OPTIONS {
        let preset = if option.preset.is_empty() { "" } else { &format!("`{}`", option.preset) };
        let live = if option.live { "yes" } else { "" };
        table += &format!(
            "| `{}` | {} | {preset} | {live} | {} Takes {}. |\n",
            option.key, option.kind, option.doc, option.allowed
        );
    }
    table + "\n"
}

const BEGIN: &str = "<!-- options: written by DLEDGER_BLESS=1 cargo test --test readme -->";
const END: &str = "<!-- end of options -->";
