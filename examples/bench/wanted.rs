//! What is asked for.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

pub const USAGE: &str = "usage: bench [option value]...
  --members N       processes, each a member of every group (3)
  --groups N        groups, each led by member 1 (1)
  --in-flight N     entries under way, over all groups and callers (1024)
  --callers N       threads that append; 0: whoever completes an append makes the next (0)
  --blocking yes    the callers wait for each append, each with one entry under way (no)
  --batch N         entries of one call (1)
  --rate N          entries a second, at fixed times, instead of --in-flight
  --body BYTES      of each entry (200)
  --file FILE       its lines are the bodies, one after the other
  --flush HOW       commit, or an interval such as 10ms (commit)
  --seconds N       of measuring, after a tenth of it to warm up (5)
  --dir DIR         where the logs go, in a directory that is removed (TMPDIR or /tmp)
  --option K=V      any option of the log, as often as needed
  --every N         seconds: a line on stderr for each of them (none)
  --json yes        prints one JSON object (no)
and, over several runs:
  --program PATH    measures with this program instead, which has the options above
  --plot FILE.svg   draws latency over throughput, a run for each value of --over
  --over KEY=A,B,.. the option that varies (in-flight=1,4,16,64,256,1024,4096,16384)
  --reference CMD   runs CMD and this in turn, and prints the ratios; CMD prints lines that begin
                    with a name that ends in /entries, /p50 or /p99 and a value (entries/s, us)
  --rounds N        of these (5)
";

/// The options.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub members: usize,
    pub groups: usize,
    pub in_flight: usize,
    pub callers: usize,
    pub blocking: bool,
    pub batch: usize,
    pub rate: f64,
    pub body: usize,
    pub file: Option<PathBuf>,
    pub flush: String,
    pub seconds: f64,
    pub every: u64,
    pub dir: PathBuf,
    pub more: Vec<(String, String)>,
    pub json: bool,
    pub program: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub over: (String, Vec<String>),
    pub reference: Option<String>,
    pub rounds: usize,
    /// As they were given, without those over several runs: for another process.
    pub args: Vec<String>,
}

impl Wanted {
    pub fn parse(args: &[String]) -> Result<Wanted, String> {
        let mut wanted = Wanted {
            members: 3,
            groups: 1,
            in_flight: 1_024,
            callers: 0,
            blocking: false,
            batch: 1,
            rate: 0.0,
            body: 200,
            file: None,
            flush: "commit".into(),
            seconds: 5.0,
            every: 0,
            dir: std::env::temp_dir(),
            more: Vec::new(),
            json: false,
            program: None,
            plot: None,
            over: values("in-flight=1,4,16,64,256,1024,4096,16384").unwrap(),
            reference: None,
            rounds: 5,
            args: Vec::new(),
        };
        for pair in args.chunks(2) {
            let [key, value] = pair else {
                return Err(format!("{}: a value is missing; --help lists the options", pair[0]));
            };
            wanted.set(key, value)?;
        }
        if wanted.blocking && (wanted.callers == 0 || wanted.batch > 1 || wanted.rate > 0.0) {
            return Err("--blocking needs --callers, and takes neither --batch nor --rate".into());
        }
        if wanted.batch > wanted.in_flight {
            return Err("--batch is more than --in-flight".into());
        }
        Ok(wanted)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let mut passes_on = true;
        match key {
            "--members" => self.members = number(key, value, 1, 9)?,
            "--groups" => self.groups = number(key, value, 1, 256)?,
            "--in-flight" => self.in_flight = number(key, value, 1, 1_000_000)?,
            "--callers" => self.callers = number(key, value, 0, 1_024)?,
            "--blocking" => self.blocking = yes(key, value)?,
            "--batch" => self.batch = number(key, value, 1, 1_024)?,
            "--rate" => self.rate = number(key, value, 0.1, 1e9)?,
            "--body" => self.body = number(key, value, 1, 4 << 20)?,
            "--file" => self.file = Some(value.into()),
            "--flush" => self.flush = value.into(),
            "--seconds" => self.seconds = number(key, value, 0.1, 1e6)?,
            "--every" => self.every = number(key, value, 1, 1_000_000)?,
            "--dir" => self.dir = value.into(),
            "--option" => self.more.push(split(key, value)?),
            _ => {
                passes_on = false;
                match key {
                    "--json" => self.json = yes(key, value)?,
                    "--program" => self.program = Some(value.into()),
                    "--plot" => self.plot = Some(value.into()),
                    "--over" => self.over = values(value)?,
                    "--reference" => self.reference = Some(value.into()),
                    "--rounds" => self.rounds = number(key, value, 1, 1_000)?,
                    _ => return Err(format!("{key}: no such option; --help lists them")),
                }
            }
        }
        if passes_on {
            self.args.extend([key.to_owned(), value.to_owned()]);
        }
        Ok(())
    }

    /// The same, but for one option.
    pub fn with(&self, key: &str, value: &str) -> Result<Wanted, String> {
        let mut wanted = self.clone();
        wanted.set(&format!("--{key}"), value)?;
        Ok(wanted)
    }

    /// The bodies that are appended in turn.
    pub fn bodies(&self) -> Result<Vec<Vec<u8>>, String> {
        let Some(file) = &self.file else {
            // Some that differ, so that nothing is made of their being the same.
            let mut rng = fastrand::Rng::with_seed(1);
            let body = |rng: &mut fastrand::Rng| (0..self.body).map(|_| rng.u8(..)).collect();
            return Ok((0..16).map(|_| body(&mut rng)).collect());
        };
        let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let bodies: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(Vec::from).collect();
        let last = bodies.len() - usize::from(bodies.last().is_some_and(Vec::is_empty));
        if last == 0 {
            return Err(format!("{}: it has no line", file.display()));
        }
        Ok(bodies[..last].to_vec())
    }
}

fn number<T>(key: &str, value: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let number = value.parse().ok().filter(|number| *number >= least && *number <= most);
    number.ok_or_else(|| format!("{key} {value}: a number from {least} to {most} is meant"))
}

fn yes(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("{key} {value}: yes or no is meant")),
    }
}

fn split(key: &str, value: &str) -> Result<(String, String), String> {
    let pair = value.split_once('=').ok_or_else(|| format!("{key} {value}: key=value is meant"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

fn values(text: &str) -> Result<(String, Vec<String>), String> {
    let (key, values) = split("--over", text)?;
    Ok((key, values.split(',').map(str::to_owned).collect()))
}
