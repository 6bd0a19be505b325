//! A member: a process that opens its logs, says so, and then does what its input tells it.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use dledger::group::Group;
use dledger::options::Options;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::load::{Load, Loaded, histogram};
use crate::wanted::Wanted;

/// `place`: this member's number, the directory of all, and their ports.
pub fn run(wanted: &Wanted, place: &[String]) -> Result<(), String> {
    let id: usize = place[0].parse().map_err(|_| "which member".to_owned())?;
    let ports: Vec<&str> = place[2].split(',').collect();
    let load = Load::new(wanted)?;
    let (mut groups, mut loaded) = (Vec::new(), Vec::new());
    for which in 0..wanted.groups {
        let options = options(wanted, id, which, Path::new(&place[1]), &ports)?;
        let group = Arc::new(Group::open(&options).map_err(|e| e.to_string())?);
        let observer = Loaded::new(&load);
        observer.of(&group);
        group.start(observer.clone(), false).map_err(|e| e.to_string())?;
        groups.push(group);
        loaded.push(observer);
    }
    if id == 1 {
        wait_until_all_lead(&groups)?;
    }
    say("ready");
    let (mut threads, mut began, mut before, mut cpu) = (Vec::new(), Instant::now(), 0, 0);
    let mut figures = String::new();
    let mut look = Look { at: Instant::now(), entries: 0, latencies: histogram() };
    let done = || loaded.iter().map(|l| l.done.load(Ordering::Relaxed)).sum::<u64>();
    for word in std::io::stdin().lock().lines() {
        match word.map_err(|e| e.to_string())?.as_str() {
            "load" => threads = load.start(&loaded),
            "begin" => {
                (before, cpu, began) = (done(), cpu_ns(), Instant::now());
                load.measure();
            }
            "count" => say(&done().to_string()),
            "look" => say(&look.again(done(), &loaded, &groups[0])),
            "stop" => {
                figures = format!(
                    "entries={} cpu_ns={} elapsed_ns={} anonymous_kib={} resident_kib={}",
                    done() - before,
                    cpu_ns() - cpu,
                    began.elapsed().as_nanos(),
                    status_kib("RssAnon:"),
                    status_kib("VmHWM:")
                );
            }
            "end" => {
                load.stop(std::mem::take(&mut threads));
                for group in &groups {
                    group.stop(None);
                }
                say(&format!("{figures} {}", latencies(&loaded)));
            }
            word => return Err(format!("a member was told to {word}")),
        }
    }
    Ok(())
}

fn options(
    wanted: &Wanted,
    id: usize,
    which: usize,
    root: &Path,
    ports: &[&str],
) -> Result<Options, String> {
    let address = |id: usize| format!("127.0.0.1:{}", ports[id - 1]);
    let dir: PathBuf = root.join(format!("member-{id}")).join(format!("group-{which}"));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut pairs = vec![
        ("dir".to_owned(), dir.to_str().ok_or("a directory that is not UTF-8")?.to_owned()),
        ("group".to_owned(), format!("bench-{which}")),
        ("node.id".to_owned(), id.to_string()),
        ("flush".to_owned(), wanted.flush.clone()),
        ("retention.bytes".to_owned(), "2GiB".to_owned()),
        ("append.pending.max".to_owned(), "1000000".to_owned()),
    ];
    if wanted.groups > 1 {
        pairs.push(("segment.bytes".to_owned(), "64MiB".to_owned()));
    }
    if wanted.members > 1 {
        let members = (1..=wanted.members).map(|id| format!("{id}@{}", address(id)));
        pairs.push(("members".to_owned(), members.collect::<Vec<_>>().join(",")));
        pairs.push(("node.listen".to_owned(), address(id)));
        pairs.push(("node.priority".to_owned(), u8::from(id == 1).to_string()));
    }
    let mut options = Options::default();
    for (key, value) in pairs.iter().chain(&wanted.more) {
        options.set(key, value).map_err(|e| e.to_string())?;
    }
    Ok(options)
}

fn wait_until_all_lead(groups: &[Arc<Group>]) -> Result<(), String> {
    let begin = Instant::now();
    while !groups.iter().all(|group| group.state().ready) {
        if begin.elapsed() > Duration::from_secs(60) {
            return Err("member 1 does not lead after 60 s".into());
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn merged(loaded: &[Arc<Loaded>]) -> Histogram<u64> {
    let mut all = histogram();
    loaded.iter().for_each(|l| all.add(l.latencies()).unwrap());
    all
}

fn quantiles(of: &Histogram<u64>) -> String {
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| of.value_at_quantile(q));
    format!("p50={p50} p99={p99} p999={p999} max={}", of.max())
}

/// What has come since the last look, while the load goes on; positions are those of the first group.
struct Look {
    at: Instant,
    entries: u64,
    latencies: Histogram<u64>,
}

impl Look {
    fn again(&mut self, done: u64, loaded: &[Arc<Loaded>], first: &Group) -> String {
        let all = merged(loaded);
        let mut came = all.clone();
        came.subtract(&self.latencies).unwrap();
        let entries = done - std::mem::replace(&mut self.entries, done);
        let elapsed = std::mem::replace(&mut self.at, Instant::now()).elapsed();
        self.latencies = all;
        let state = first.state();
        format!(
            "entries={entries} elapsed_ns={} {} anonymous_kib={} begin={} end={}",
            elapsed.as_nanos(),
            quantiles(&came),
            status_kib("RssAnon:"),
            state.begin.pos,
            state.committed.pos
        )
    }
}

fn latencies(loaded: &[Arc<Loaded>]) -> String {
    let failures: u64 = loaded.iter().map(|l| l.failures.load(Ordering::Relaxed)).sum();
    let failure = loaded.iter().find_map(|l| l.failure());
    format!("{} failures={failures} failure={failure:?}", quantiles(&merged(loaded)))
}

/// CPU of this process, user and system, in ns.
fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn status_kib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}
