//! A process of `examples/c/member.c`, whose disk can hang: asked by lines, killed, stopped and let
//! go on.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::compiled::{C, compile};

/// What it answered to a command, and when the answer was there.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `ok`, or the name of a status.
    pub status: String,
    /// All behind it.
    pub text: String,
    pub at: Instant,
}

/// A line of the sort `event ...`, without that word.
pub type Events = Arc<Mutex<Vec<String>>>;

/// A process that runs.
pub struct Process {
    pid: Pid,
    child: Mutex<Child>,
    stdin: Mutex<Option<ChildStdin>>,
    pending: Arc<Mutex<Pending>>,
    reader: Mutex<Option<JoinHandle<()>>>,
    stderr: PathBuf,
}

/// Who waits for an answer, by tag. None when there are no more answers.
struct Pending {
    next: u64,
    waiting: Option<HashMap<u64, Sender<Answer>>>,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == "ok"
    }

    /// The number behind `name=`.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The word behind `name=`.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.text.split(' ').map_while(|field| field.split_once('='));
        fields.take_while(|(key, _)| *key != "body").find(|(key, _)| *key == name).map(|f| f.1)
    }

    /// What stands behind `body=`, to the end.
    pub fn body(&self) -> &str {
        self.text.split_once("body=").map_or("", |(_, body)| body)
    }
}

impl Process {
    /// Starts a member with these options, and waits until it is ready. What it writes to stderr
    /// is added to the file `stderr`. While the file `hangs` exists, its disk hangs.
    pub fn start(options: &[String], stderr: &Path, hangs: &Path, events: &Events) -> Process {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| {
            // The program's own fdatasync is what the library calls.
            compile("ffi-tests/hanging_member.c", &[C, &["-rdynamic"]].concat())
        });
        let errors = OpenOptions::new().create(true).append(true).open(stderr).unwrap();
        let mut child = Command::new(program)
            .args(options)
            .env("ASAN_OPTIONS", "detect_leaks=1")
            .env("MEMBER_HANGS", hangs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let stdin = Mutex::new(child.stdin.take());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let pending = Pending { next: 0, waiting: Some(HashMap::new()) };
        let pending = Arc::new(Mutex::new(pending));
        let (answers, seen) = (pending.clone(), events.clone());
        let (ready, is_ready) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut line = Vec::new();
            // A last line without its end is of one that was killed in it.
            while stdout.read_until(b'\n', &mut line).is_ok() && line.pop() == Some(b'\n') {
                read_line(std::str::from_utf8(&line).unwrap(), &answers, &seen, &ready);
                line.clear();
            }
            answers.lock().unwrap().waiting = None;
        });
        let stderr = stderr.to_owned();
        let (pid, child) = (Pid::from_child(&child), Mutex::new(child));
        let reader = Mutex::new(Some(reader));
        let process = Process { pid, child, stdin, pending, reader, stderr };
        if is_ready.recv_timeout(PATIENCE).is_err() {
            panic!("{options:?} does not get ready:\n{}", process.errors());
        }
        process
    }

    /// Sends a command. Nothing comes if the process dies before it answers.
    pub fn ask(&self, command: &str) -> Receiver<Answer> {
        let (sender, receiver) = mpsc::channel();
        let mut pending = self.pending.lock().unwrap();
        let tag = pending.next;
        pending.next += 1;
        if let Some(waiting) = &mut pending.waiting {
            waiting.insert(tag, sender);
        }
        drop(pending);
        if let Some(stdin) = &mut *self.stdin.lock().unwrap() {
            // Who is dead does not answer either.
            let _ = stdin.write_all(format!("{tag} {command}\n").as_bytes());
        }
        receiver
    }

    /// The answer, or none if the process died, or is too slow for any machine.
    pub fn try_call(&self, command: &str) -> Option<Answer> {
        self.ask(command).recv_timeout(PATIENCE).ok()
    }

    /// The answer of a process that must be alive.
    pub fn call(&self, command: &str) -> Answer {
        let answer = self.try_call(command);
        answer.unwrap_or_else(|| panic!("no answer to {command}:\n{}", self.errors()))
    }

    /// What it said on stderr, in all its lives.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, pause: bool) {
        let signal = if pause { Signal::STOP } else { Signal::CONT };
        kill_process(self.pid, signal).unwrap();
    }

    /// As `kill -9` does. Who waits for an answer gets none.
    pub fn kill(&self) {
        let _ = self.child.lock().unwrap().kill();
        self.end();
    }

    /// Asks it to leave, which it must do with 0.
    pub fn quit(&self) {
        let answer = self.call("quit");
        let status = self.end();
        assert!(answer.ok(), "{answer:?}");
        assert!(status.success(), "{status}\n{}", self.errors());
    }

    /// Memory in KiB, as /proc names it: `RssAnon` is its own that is used, `VmPeak` the most that
    /// it ever had a claim to.
    pub fn memory_kib(&self, what: &str) -> u64 {
        let pid = self.pid.as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        let line = line.unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn end(&self) -> ExitStatus {
        drop(self.stdin.lock().unwrap().take());
        let status = self.child.lock().unwrap().wait().unwrap();
        if let Some(reader) = self.reader.lock().unwrap().take() {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_line(line: &str, pending: &Mutex<Pending>, events: &Events, ready: &Sender<()>) {
    let at = Instant::now();
    let (tag, text) = line.split_once(' ').unwrap_or((line, ""));
    match tag {
        "event" => events.lock().unwrap().push(text.to_owned()),
        "ready" => {
            let _ = ready.send(());
        }
        _ => {
            let (status, text) = text.split_once(' ').unwrap_or((text, ""));
            let answer = Answer { status: status.to_owned(), text: text.to_owned(), at };
            let mut pending = pending.lock().unwrap();
            let waiting = pending.waiting.as_mut().unwrap();
            if let Some(asked) = waiting.remove(&tag.parse().unwrap()) {
                let _ = asked.send(answer);
            }
        }
    }
}

/// A process that is ready, or an answer, takes so long on no machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
