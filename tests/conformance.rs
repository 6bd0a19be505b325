//! Acceptance 13: `CONFORMANCE.md` names a test, or a reason, for each behaviour, scenario and case.
#![allow(clippy::unwrap_used)] // a test may

use std::path::Path;

/// The table names only tests that exist, and each number once.
#[test]
fn every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("tests/CONFORMANCE.md")).unwrap();
    let mut tests = 0;
    let names = text.split('`').skip(1).step_by(2);
    for (file, name) in names.filter_map(|name| name.split_once("::")) {
        let source = std::fs::read_to_string(root.join(file));
        let source = source.unwrap_or_else(|e| panic!("{file}: {e}"));
        let at = source.find(&format!("fn {name}()"));
        let at = at.unwrap_or_else(|| panic!("{file} has no function {name}"));
        // Its attributes stand in the few lines before it.
        let before = source[..at].trim_end().rsplit('\n').take(4).collect::<Vec<_>>();
        let is_test = before.iter().any(|line| line.trim() == "#[test]");
        assert!(is_test, "{file}: {name} is no test");
        let ignored = before.iter().any(|line| line.trim().starts_with("#[ignore"));
        assert!(!ignored, "{file}: {name} is set aside");
        tests += 1;
    }
    for (heading, count) in [("## Behaviours", 40), ("## Scenarios", 30), ("## Cases", 17)] {
        let section = text.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).collect();
        let numbers: Vec<u32> =
            rows.iter().filter_map(|row| row.split('|').nth(1)?.trim().parse().ok()).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{heading}");
        for row in rows.iter().skip(1) {
            let says = row.contains("::") || row.contains("replication");
            assert!(says, "neither a test nor a reason: {row}");
        }
    }
    println!("{tests} references");
}
