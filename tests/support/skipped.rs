//! Tests that cannot run on this machine.

use std::io::Write;
use std::thread;

/// Says on the stderr of the process itself that the test which calls this does not run: what
/// `print!` writes is kept from who looks at a test that passes.
pub fn skipped(what: &str, why: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or_default();
    let line = format!("SKIPPED {test}: {what}: {}\n", why.trim());
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
