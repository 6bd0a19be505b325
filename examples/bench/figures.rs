//! What was measured, and how it is told.

use std::fmt::Write;

use crate::wanted::Wanted;

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    entries: f64,
    elapsed_ns: f64,
    cpu_ns: f64,
    anonymous_kib: f64,
    resident_kib: f64,
    latencies_ns: [f64; 4],
    failures: f64,
    failure: String,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub entries_per_second: f64,
    /// p50, p99, p99.9 and the highest, in µs.
    pub latencies_us: [f64; 4],
    /// CPU of each process for each entry, in ns, the leader's first.
    pub cpu_ns_per_entry: Vec<f64>,
    failures: f64,
    processes: Vec<Process>,
}

const NAMES: [(&str, &str); 4] =
    [("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max")];

impl Process {
    /// Of a member's last line.
    pub fn parse(line: &str) -> Process {
        let number = |key: &str| number(line, key);
        Process {
            entries: number("entries"),
            elapsed_ns: number("elapsed_ns"),
            cpu_ns: number("cpu_ns"),
            anonymous_kib: number("anonymous_kib"),
            resident_kib: number("resident_kib"),
            latencies_ns: NAMES.map(|(_, key)| number(key)),
            failures: number("failures"),
            failure: text(line, "failure").to_owned(),
        }
    }
}

/// A line of `--every`: what a member said of the time since the line before.
pub fn interval(second: u64, line: &str) -> String {
    let rate = number(line, "entries") / number(line, "elapsed_ns") * 1e9;
    let mut text = format!("{second:8} {rate:12.0}");
    for (_, key) in NAMES {
        let _ = write!(text, " {:10.1}", number(line, key) / 1e3);
    }
    let mib = |key, unit: f64| number(line, key) / unit;
    let _ = write!(
        text,
        " {:14.1} {:12.1} {:12.1}",
        mib("anonymous_kib", 1024.0),
        mib("begin", 1048576.0),
        mib("end", 1048576.0)
    );
    text
}

/// The head over such lines.
pub fn interval_head() -> String {
    format!(
        "{:>8} {:>12} {:>10} {:>10} {:>10} {:>10} {:>14} {:>12} {:>12}",
        "second",
        "entries/s",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "max us",
        "anonymous MiB",
        "begin MiB",
        "end MiB"
    )
}

/// What a line says under `key`.
fn text<'a>(line: &'a str, key: &str) -> &'a str {
    let pair = line.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    pair.unwrap_or_default()
}

fn number(line: &str, key: &str) -> f64 {
    text(line, key).parse().unwrap_or(0.0)
}

impl Figures {
    pub fn of(processes: Vec<Process>) -> Figures {
        let leader = &processes[0];
        Figures {
            entries_per_second: leader.entries / leader.elapsed_ns * 1e9,
            latencies_us: leader.latencies_ns.map(|ns| ns / 1e3),
            cpu_ns_per_entry: processes
                .iter()
                .map(|p| p.cpu_ns / leader.entries.max(1.0))
                .collect(),
            failures: leader.failures,
            processes,
        }
    }

    /// From what `--json` prints.
    pub fn parse(json: &str) -> Option<Figures> {
        let all = |key: &'static str| {
            let name = format!("\"{key}\":");
            let rests: Vec<&str> = json.split(&name).skip(1).collect();
            rests.into_iter().filter_map(|rest| rest.split([',', '}']).next()?.parse().ok())
        };
        let one = |key| all(key).next();
        Some(Figures {
            entries_per_second: one("entries_per_second")?,
            latencies_us: [one("p50_us")?, one("p99_us")?, one("p999_us")?, one("max_us")?],
            cpu_ns_per_entry: all("cpu_ns_per_entry").collect(),
            failures: one("failures")?,
            processes: Vec::new(),
        })
    }

    /// Whether all went well.
    pub fn verdict(&self) -> Result<(), String> {
        let last = self.processes.first().map_or("", |p| &p.failure);
        match self.failures {
            0.0 => Ok(()),
            failures => Err(format!("{failures} appends failed, the last: {last}")),
        }
    }

    pub fn text(&self, wanted: &Wanted) -> String {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let load = match (wanted.rate, wanted.blocking) {
            (0.0, true) => format!("{} in flight", wanted.callers),
            (0.0, false) => format!("{} in flight", wanted.in_flight),
            (rate, _) => format!("{rate} entries a second are due"),
        };
        let mut text = format!(
            "{} member{}, {} group{}, bodies of {:.0} bytes, flush={}, {load}, {:.1} s\n{:.0} entries/s, {:.1} MB/s\n",
            wanted.members,
            plural(wanted.members),
            wanted.groups,
            plural(wanted.groups),
            mean_body(wanted),
            wanted.flush,
            wanted.seconds,
            self.entries_per_second,
            self.entries_per_second * mean_body(wanted) / 1e6,
        );
        let latencies: Vec<String> = NAMES
            .iter()
            .zip(self.latencies_us)
            .map(|((name, _), us)| format!("{name} {us:.1} µs"))
            .collect();
        text += &latencies.join(", ");
        for (n, process) in self.processes.iter().enumerate() {
            write!(
                text,
                "\nmember {}{}: {:.0} ns of CPU per entry, {:.1} % of a core; {:.1} MiB anonymous, {:.1} MiB resident at its peak",
                n + 1,
                if n == 0 { " (leader)" } else { "" },
                self.cpu_ns_per_entry[n],
                100.0 * process.cpu_ns / process.elapsed_ns,
                process.anonymous_kib / 1024.0,
                process.resident_kib / 1024.0
            )
            .unwrap();
        }
        text
    }

    pub fn json(&self, wanted: &Wanted) -> String {
        let mut text = format!(
            "{{\"members\":{},\"groups\":{},\"in_flight\":{},\"callers\":{},\"batch\":{},\"rate\":{:.1},\"body\":{:.1},\"flush\":\"{}\",\"seconds\":{:.3},\"entries\":{},\"entries_per_second\":{:.1},\"bytes_per_second\":{:.1}",
            wanted.members,
            wanted.groups,
            wanted.in_flight,
            wanted.callers,
            wanted.batch,
            wanted.rate,
            mean_body(wanted),
            wanted.flush,
            wanted.seconds,
            self.processes.first().map_or(0.0, |p| p.entries),
            self.entries_per_second,
            self.entries_per_second * mean_body(wanted),
        );
        for ((_, key), us) in NAMES.iter().zip(self.latencies_us) {
            write!(text, ",\"{key}_us\":{us:.1}").unwrap();
        }
        write!(text, ",\"failures\":{},\"processes\":[", self.failures).unwrap();
        for (n, process) in self.processes.iter().enumerate() {
            write!(
                text,
                "{}{{\"member\":{},\"cpu_ns_per_entry\":{:.1},\"cpu\":{:.4},\"anonymous_kib\":{},\"peak_resident_kib\":{}}}",
                if n == 0 { "" } else { "," },
                n + 1,
                self.cpu_ns_per_entry[n],
                process.cpu_ns / process.elapsed_ns,
                process.anonymous_kib,
                process.resident_kib
            )
            .unwrap();
        }
        text + "]}"
    }
}

fn mean_body(wanted: &Wanted) -> f64 {
    let bodies = wanted.bodies().unwrap_or_default();
    let sum: usize = bodies.iter().map(Vec::len).sum();
    sum as f64 / bodies.len().max(1) as f64
}
