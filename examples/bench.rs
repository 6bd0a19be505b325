//! Load on a group of one or more members, each a process of its own, and what it costs: entries a
//! second, latencies (HDR histograms), CPU per entry and memory of each process. examples/c/bench.c
//! measures the same through the C ABI; `--program` names it, or another with its options.
//!
//! ```text
//! cargo run --release --example bench -- [--members 3] [--in-flight 1024] [--body 200] ...
//! cargo run --release --example bench -- --plot FILE.svg [--over in-flight=1,16,256,4096] ...
//! cargo run --release --example bench -- --reference 'COMMAND' [--rounds 5] ...
//! ```
//!
//! Without `--rate` as many entries as `--in-flight` says are always under way (a closed loop). With
//! it appends come at fixed times, and a latency counts from the time at which its append was due,
//! also when the log was late for it (an open loop). `--help` lists the options.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "bench/compare.rs"]
mod compare;
#[path = "bench/figures.rs"]
mod figures;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/member.rs"]
mod member;
#[path = "bench/plot.rs"]
mod plot;
#[path = "bench/processes.rs"]
mod processes;
#[path = "bench/wanted.rs"]
mod wanted;

use std::process::ExitCode;

use wanted::{USAGE, Wanted};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    // A member, started by `processes::run`.
    let member = (args.first().map(String::as_str) == Some("--member"))
        .then(|| args.drain(..4).skip(1).collect::<Vec<_>>());
    let answer = Wanted::parse(&args).and_then(|wanted| match member {
        Some(place) => member::run(&wanted, &place),
        None => run(&wanted),
    });
    match answer {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &Wanted) -> Result<(), String> {
    if let Some(command) = &wanted.reference {
        return compare::run(wanted, command);
    }
    if let Some(file) = &wanted.plot {
        return plot::run(wanted, file);
    }
    let figures = processes::run(wanted)?;
    let text = if wanted.json { figures.json(wanted) } else { figures.text(wanted) };
    println!("{text}");
    figures.verdict()
}
