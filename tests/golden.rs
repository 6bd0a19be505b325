//! Acceptance 12: directories that released versions wrote are kept in `tests/golden`, and open.
//!
//! One text file each: what to expect, then every file with its length and its bytes in hexadecimal,
//! 32 to a line, lines of zeros left out. `GOLDEN_WRITE=1 cargo test --test golden` writes the one of
//! this version anew, into `tests/golden/v1.txt`; that is right only before the format is released,
//! or beside the older ones under a new name.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may

#[allow(dead_code)]
#[path = "support/memory.rs"]
mod memory;

use std::fmt::Write;

use dledger::disk::memory::MemoryDisk;

use memory::{Image, open, same, settings};

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.txt");

/// What the directory holds, as it was made: index, term, position, and the body by its rule.
const RECORDS: [(u64, u64, u64, usize); 14] = [
    (0, 1, 0, 0),
    (1, 1, 48, 1),
    (2, 1, 97, 700),
    (3, 1, 845, 2_000),
    (4, 1, 2_893, 900),
    (5, 1, 3_841, 40),
    (6, 1, 3_929, 41),
    (7, 1, 4_096, 42),
    (8, 3, 4_186, 3_000),
    (9, 3, 7_234, 637),
    (10, 3, 7_919, 10),
    (11, 3, 7_977, 11),
    (12, 3, 8_036, 12),
    (13, 3, 8_096, 13),
];

fn body(index: u64, len: usize) -> Vec<u8> {
    (0..len).map(|n| (index as usize * 37 + n * 7 + 1) as u8).collect()
}

fn to_text(image: &Image) -> String {
    let mut text = String::new();
    for (path, len, bytes) in image.0.iter().filter(|(path, ..)| path != "LOCK") {
        writeln!(text, "file {path} {len}").unwrap();
        for (n, line) in bytes.chunks(32).enumerate().filter(|(_, l)| l.iter().any(|b| *b != 0)) {
            write!(text, "{:06x} ", n * 32).unwrap();
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    text
}

fn to_image(text: &str) -> Image {
    let mut image = Image::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let first = words.next().unwrap();
        let second = words.next().unwrap();
        if first == "file" {
            let len = words.next().unwrap().parse().unwrap();
            image.0.push((second.into(), len, Vec::new()));
            continue;
        }
        let at = usize::from_str_radix(first, 16).unwrap();
        let bytes = &mut image.0.last_mut().unwrap().2;
        bytes.resize(at, 0);
        for n in (0..second.len()).step_by(2) {
            bytes.push(u8::from_str_radix(&second[n..n + 2], 16).unwrap());
        }
    }
    image
}

/// Three lives, the second of which appends nothing; batches of several records; blanks.
fn make() -> Image {
    let mut disk = MemoryDisk::new();
    let mut records = RECORDS.iter();
    for calls in [&[1usize, 1, 1, 1, 1, 3][..], &[], &[1, 1, 4]] {
        let mut log = open(&disk, &settings(4096, 4096));
        for &count in calls {
            for (index, _, _, len) in records.by_ref().take(count) {
                log.append(&body(*index, *len), None).unwrap();
            }
            log.settle();
        }
        log.stop();
        disk = disk.restart();
    }
    Image::of(&disk)
}

/// Acceptance 12, P19: the directory that version 1 of the format wrote opens, and has its records
/// where they were; it goes on.
#[test]
fn a_directory_of_version_1_opens() {
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(KEPT).parent().unwrap()).unwrap();
        let head = "# A directory as version 1 of the format wrote it: see tests/golden.rs.\n";
        std::fs::write(KEPT, format!("{head}{}", to_text(&make()))).unwrap();
    }
    let image = to_image(&std::fs::read_to_string(KEPT).unwrap());
    let disk = image.disk();
    let mut log = open(&disk, &settings(4096, 4096));
    let found = log.read_all();
    for ((entry, bytes), (index, term, pos, len)) in found.iter().zip(RECORDS) {
        assert_eq!((entry.index.0, entry.term, entry.pos), (index, term, pos));
        assert_eq!(*bytes, body(index, len), "record {index}");
    }
    assert_eq!(found.len(), RECORDS.len());
    assert_eq!(log.shared.state().term, 4, "the fourth life");
    let next = body(14, 500);
    let entry = log.append(&next, None).unwrap();
    assert_eq!((entry.index.0, entry.pos), (14, 8_192));
    log.settle();
    log.stop();
    let log = open(&disk.restart(), &settings(4096, 4096));
    let all = [found, vec![(entry, next)]].concat();
    same(&log.read_all(), &all, "opened once more");
}

/// What this version writes for the same calls is the same, byte for byte: the format has not
/// changed by accident. A change on purpose needs a new version, and its directory beside this one.
#[test]
fn this_version_writes_the_same_bytes() {
    let kept = to_image(&std::fs::read_to_string(KEPT).unwrap());
    let dirs = ["data", "index", "batches"];
    kept.only(&dirs).assert_same(&make().only(&dirs), "the golden directory");
    let control = make().file("control").map(<[u8]>::to_vec);
    assert_eq!(kept.file("control"), control.as_deref());
}
