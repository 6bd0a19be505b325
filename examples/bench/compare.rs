//! A reference and this, in turn: machines are noisy, ratios of neighbours are less so.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::processes;
use crate::wanted::Wanted;

/// What a reference says of itself.
#[derive(Clone, Copy, Default)]
struct Reference {
    entries: f64,
    p50: f64,
    p99: f64,
}

/// Runs both, `--rounds` times, and prints each round and the medians.
pub fn run(wanted: &Wanted, command: &str) -> Result<(), String> {
    println!("{:>5}  {:>34}  {:>34}  {:>20}", "round", "reference", "this", "ratios");
    println!(
        "{:>5}  {:>12} {:>10} {:>10}  {:>12} {:>10} {:>10}  {:>6} {:>6} {:>6}",
        "", "entries/s", "p50 µs", "p99 µs", "entries/s", "p50 µs", "p99 µs", "rate", "p50", "p99"
    );
    let mut rows = Vec::new();
    for round in 1..=wanted.rounds {
        rest();
        let other = reference(command)?;
        rest();
        let figures = processes::run(wanted)?;
        figures.verdict()?;
        let [p50, p99, ..] = figures.latencies_us;
        let row = [
            other.entries,
            other.p50,
            other.p99,
            figures.entries_per_second,
            p50,
            p99,
            figures.entries_per_second / other.entries,
            p50 / other.p50,
            p99 / other.p99,
        ];
        print(&round.to_string(), &row);
        rows.push(row);
    }
    let median = |column: usize| {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    print("mid", &std::array::from_fn(median));
    Ok(())
}

/// What the run before left to be written, and blocks that it gave back, are not the next one's.
fn rest() {
    rustix::fs::sync();
    sleep(REST);
}

fn print(round: &str, row: &[f64; 9]) {
    let [a, b, c, d, e, f, x, y, z] = row;
    println!(
        "{round:>5}  {a:>12.0} {b:>10.1} {c:>10.1}  {d:>12.0} {e:>10.1} {f:>10.1}  {x:>6.2} {y:>6.2} {z:>6.2}"
    );
}

fn reference(command: &str) -> Result<Reference, String> {
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("--reference: a command is meant")?;
    let out = Command::new(program).args(words).output().map_err(|e| format!("{program}: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| {
            let (case, rest) = line.trim_start().split_once(char::is_whitespace)?;
            case.ends_with(name).then_some(rest)
        });
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("{command}: no line for {name}:\n{text}"))
    };
    Ok(Reference { entries: value("/entries")?, p50: value("/p50")?, p99: value("/p99")? })
}

const REST: Duration = Duration::from_secs(2);
