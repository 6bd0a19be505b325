//! The processes of one run, and the clock.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::figures::{Figures, Process, interval, interval_head};
use crate::wanted::Wanted;

struct Member {
    child: Child,
    out: BufReader<ChildStdout>,
}

/// One run, by this program or by the one that was named.
pub fn run(wanted: &Wanted) -> Result<Figures, String> {
    match &wanted.program {
        Some(program) => by_program(wanted, program),
        None => by_members(wanted),
    }
}

fn by_program(wanted: &Wanted, program: &Path) -> Result<Figures, String> {
    let shown = program.display();
    let out = Command::new(program)
        .args(&wanted.args)
        .args(["--json", "yes"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("{shown}: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    Figures::parse(&text).ok_or_else(|| format!("{shown}: no figures, {}: {text}", out.status))
}

fn by_members(wanted: &Wanted) -> Result<Figures, String> {
    let root = tempfile::Builder::new()
        .prefix("dledger-bench-")
        .tempdir_in(&wanted.dir)
        .map_err(|e| format!("{}: {e}", wanted.dir.display()))?;
    let ports: Vec<String> = free_ports(wanted.members)?;
    let start = |id| Member::start(id, root.path(), &ports.join(","), wanted);
    let mut members: Vec<Member> = (1..=wanted.members).map(start).collect::<Result<_, _>>()?;
    for member in &mut members {
        let said = member.hear()?;
        if said != "ready" {
            return Err(format!("a member says {said}"));
        }
    }
    members[0].tell("load")?;
    sleep(Duration::from_secs_f64(wanted.seconds / 10.0));
    members.iter_mut().try_for_each(|member| member.tell("begin"))?;
    let until = Instant::now() + Duration::from_secs_f64(wanted.seconds);
    watch(&mut members[0], until, wanted)?;
    members.iter_mut().try_for_each(|member| member.tell("stop"))?;
    // The leader first: what it waits for needs the others.
    let mut processes = Vec::new();
    for member in &mut members {
        member.tell("end")?;
        processes.push(Process::parse(&member.hear()?));
    }
    for mut member in members {
        drop(member.child.stdin.take());
        member.child.wait().map_err(|e| e.to_string())?;
    }
    Ok(Figures::of(processes))
}

/// A line a second on a terminal, and one for each of `--every`.
fn watch(leader: &mut Member, until: Instant, wanted: &Wanted) -> Result<(), String> {
    let shows = std::io::stderr().is_terminal();
    let mut last = leader.count()?;
    let (every, begin, mut looks) = (wanted.every, Instant::now(), 1);
    if every > 0 {
        leader.look()?;
        eprintln!("{}", interval_head());
    }
    while until.saturating_duration_since(Instant::now()) > Duration::from_secs(1) {
        sleep(Duration::from_secs(1));
        let done = leader.count()?;
        let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
        if shows {
            eprint!("\r{:>10} entries/s, {left:5.0} s to go ", done - last);
        }
        last = done;
        if every > 0 && begin.elapsed().as_secs() >= every * looks {
            eprintln!("{}", interval(every * looks, &leader.look()?));
            looks += 1;
        }
    }
    sleep(until.saturating_duration_since(Instant::now()));
    if every > 0 && (every * looks) as f64 <= wanted.seconds {
        eprintln!("{}", interval(every * looks, &leader.look()?));
    }
    if shows {
        eprint!("\r{:40}\r", "");
    }
    Ok(())
}

impl Member {
    fn start(id: usize, root: &Path, ports: &str, wanted: &Wanted) -> Result<Member, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut child = Command::new(program)
            .args(["--member", &id.to_string()])
            .arg(root)
            .arg(ports)
            .args(&wanted.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let out = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Member { child, out })
    }

    fn tell(&mut self, word: &str) -> Result<(), String> {
        let pipe = self.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(pipe, "{word}").map_err(|e| format!("a member is gone: {e}"))
    }

    fn hear(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.out.read_line(&mut line) {
            Ok(n) if n > 0 => Ok(line.trim_end().to_owned()),
            _ => Err("a member is gone".into()),
        }
    }

    fn look(&mut self) -> Result<String, String> {
        self.tell("look")?;
        self.hear()
    }

    fn count(&mut self) -> Result<u64, String> {
        self.tell("count")?;
        self.hear()?.parse().map_err(|_| "a member does not count".into())
    }
}

/// All at once, so that no two are the same.
fn free_ports(count: usize) -> Result<Vec<String>, String> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    held.iter()
        .map(|l| l.local_addr().map(|a| a.port().to_string()).map_err(|e| e.to_string()))
        .collect()
}
