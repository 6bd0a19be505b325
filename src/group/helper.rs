//! One thread per process does what may take long, for all logs: allocation, checkpoints, removal,
//! syncs by interval.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use crate::commitlog::work::Work;
use crate::disk::Disk;
use crate::error::Result;
use crate::group::driver::Helper;
use crate::group::shared::Returns;
use crate::group::waiters::lock;
use crate::spawn::spawn;

/// The process's helper, for one log.
pub struct ProcessHelper {
    disk: Arc<dyn Disk>,
    returns: Returns,
    jobs: Sender<Job>,
}

struct Job {
    disk: Arc<dyn Disk>,
    work: Work,
    returns: Returns,
}

/// The way to the thread of a process.
struct Running {
    process: u32,
    jobs: Sender<Job>,
}

impl ProcessHelper {
    /// Serves one log; starts the thread if there is none yet.
    pub fn new(disk: Arc<dyn Disk>, returns: Returns) -> Result<ProcessHelper> {
        Ok(ProcessHelper { disk, returns, jobs: jobs()? })
    }
}

impl Helper for ProcessHelper {
    fn submit(&mut self, work: Work) {
        let job = Job { disk: self.disk.clone(), work, returns: self.returns.clone() };
        // The thread only ends with the process.
        let _ = self.jobs.send(job);
    }
}

fn jobs() -> Result<Sender<Job>> {
    static JOBS: OnceLock<Mutex<Option<Running>>> = OnceLock::new();
    let mut jobs = lock(JOBS.get_or_init(Mutex::default));
    // A forked child has the sender, and no thread behind it.
    let process = std::process::id();
    if let Some(running) = &*jobs
        && running.process == process
    {
        return Ok(running.jobs.clone());
    }
    let (sender, receiver) = channel::<Job>();
    let run = move || {
        for job in receiver {
            let done = job.work.run(&*job.disk);
            job.returns.post(done);
        }
    };
    spawn("dledger-helper", run)?;
    *jobs = Some(Running { process, jobs: sender.clone() });
    Ok(sender)
}
