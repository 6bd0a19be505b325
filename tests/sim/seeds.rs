//! T1: random lives of a group of one. A hostile phase (crashes, torn sectors, kills, failing
//! syncs, a full disk), then a liveness phase: with the faults over, appends commit.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::Token;
use dledger::group::shared::{Control, Life};
use dledger::plant::Plants;

use crate::model::Model;
use crate::number;
use crate::world::{Open, Settings, body, hear};

/// One life after another, from one seed.
pub struct Run {
    rng: fastrand::Rng,
    faults: fastrand::Rng,
    settings: Settings,
    disk: MemoryDisk,
    clock: Arc<AtomicU64>,
    model: Model,
    open: Option<Open>,
    ids: u64,
    hash: DefaultHasher,
    print: bool,
}

impl Run {
    pub fn new(seed: u64, plants: Plants) -> Run {
        let mut streams = fastrand::Rng::with_seed(seed);
        let mut rng = streams.fork();
        let faults = streams.fork();
        let segment_bytes = *rng.choice(&[4_096, 5_000, 16_384, 65_536]).unwrap();
        let settings = Settings {
            segment_bytes,
            index_bytes: *rng.choice(&[4_096u64, 8_192, 65_536]).unwrap(),
            flush: if rng.u8(..) < 160 { "commit" } else { "10ms" },
            unsynced_max: 64 << 10,
            plants,
            node: 1,
            members: 1,
        };
        Run {
            rng,
            faults,
            settings,
            disk: MemoryDisk::new(),
            clock: Arc::new(AtomicU64::new(1_000_000)),
            model: Model::default(),
            open: None,
            ids: 0,
            hash: DefaultHasher::new(),
            print: std::env::var_os("SIM_TRACE").is_some(),
        }
    }

    /// The whole run. Answers a digest of all that happened.
    pub fn run(mut self, steps: u64) -> u64 {
        self.reopen(true);
        for _ in 0..steps {
            self.step();
        }
        self.heal();
        self.hash.finish()
    }

    fn note(&mut self, what: impl std::fmt::Debug) {
        if self.print {
            eprintln!("{what:?}");
        }
        format!("{what:?}").hash(&mut self.hash);
    }

    fn step(&mut self) {
        match self.rng.u32(..1000) {
            0..350 => self.append(),
            350..400 => self.append_batch(),
            400..600 => self.turn(),
            600..720 => drop(self.log().work()),
            720..830 => self.deliver(),
            830..900 => self.tick(),
            900..930 => self.check_reads(),
            930..940 => self.purge(),
            940..950 => self.read_index(),
            950..958 => self.power_cut(),
            958..966 => self.kill(),
            966..970 => self.clean_stop(),
            970..976 => self.fail_a_sync(),
            976..984 => self.fill_the_disk(),
            984..992 => self.free_the_disk(),
            _ => self.cut_at_a_later_write(),
        }
        self.check_state();
    }

    fn log(&mut self) -> &mut Open {
        self.open.as_mut().expect("a log is open between steps")
    }

    fn append(&mut self) {
        let len = match self.rng.u32(..10) {
            0..6 => self.rng.usize(8..200),
            6..9 => self.rng.usize(200..1_000),
            _ => self.rng.usize(1_000..3_000),
        };
        let timeout = (self.rng.u32(..20) == 0).then(|| Duration::from_millis(self.rng.u64(1..50)));
        self.ids += 1;
        let bytes = body(self.ids, len);
        match self.log().append(&bytes, timeout) {
            Ok(entry) => {
                self.note(("append", entry));
                self.model.placed(entry, bytes);
            }
            Err(status) => self.note(("refused", status)),
        }
    }

    fn append_batch(&mut self) {
        let count = self.rng.usize(1..20);
        let bodies: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                self.ids += 1;
                body(self.ids, self.rng.usize(8..150))
            })
            .collect();
        let mut entries = Vec::new();
        let result = self.log().shared.append_batch(
            &mut bodies.iter().map(|b| &b[..]),
            &mut bodies.iter().map(|b| b.len()),
            &Default::default(),
            Token::default(),
            &mut |_, entry| entries.push(entry),
        );
        self.note(("batch", result, &entries));
        if result.is_ok() {
            let segment = self.settings.segment_bytes;
            let total: u64 = bodies.iter().map(|b| 48 + b.len() as u64).sum();
            if total + 8 <= segment {
                let of = |e: &dledger::group::Entry| e.pos / segment;
                assert!(entries.iter().all(|e| of(e) == of(&entries[0])), "they roll together");
            }
            for (entry, body) in entries.into_iter().zip(bodies) {
                self.model.placed(entry, body);
            }
        }
    }

    fn turn(&mut self) {
        let next = self.log().turn();
        self.note(("turn", next));
    }

    fn deliver(&mut self) {
        let max = self.rng.u32(..3) * 5;
        let open = self.open.as_mut().unwrap();
        open.delivery.run(max);
        hear(&open.told, &mut self.model);
        let fixed = self.model.fixed;
        self.note(("fixed", fixed));
    }

    fn tick(&mut self) {
        let ms = *self.rng.choice(&[1, 5, 20, 120, 3_000]).unwrap();
        let now = self.clock.fetch_add(ms * 1_000_000, Ordering::Relaxed);
        self.disk.set_now_ms(now / 1_000_000);
    }

    fn check_reads(&mut self) {
        let records = self.log().read_all();
        for (entry, body) in &records {
            let known = &self.model.records[&entry.index.0];
            assert_eq!((&known.entry, &known.body), (entry, body));
        }
        let Some((entry, body)) = self.rng.choice(&records).cloned() else { return };
        let shared = self.log().shared.clone();
        let mut buf = vec![0; body.len()];
        assert_eq!(shared.read_copy(entry.index, &mut buf), Ok(entry));
        assert_eq!(buf, body);
        let inside = entry.pos + self.rng.u64(0..48 + body.len() as u64);
        assert_eq!(shared.index_at(inside), Ok(entry.index));
    }

    fn purge(&mut self) {
        let committed = self.log().shared.committed();
        let index = self.rng.u64(0..=committed.0);
        self.model.purged = self.model.purged.max(index);
        self.log().shared.ask(Control::DeletePrefix(dledger::types::Index(index)));
    }

    fn read_index(&mut self) {
        let _ = self.log().shared.ask_read_index(Token::default(), u64::MAX);
    }

    /// Everything that was not synced may be gone, sector by sector.
    fn power_cut(&mut self) {
        let faults = &mut self.faults;
        let disk = self.disk.crash(&mut |n| faults.u64(..n.max(1)));
        self.after_death(disk, "power cut", true);
    }

    /// The process is gone, the page cache is not.
    fn kill(&mut self) {
        let disk = self.disk.restart();
        self.after_death(disk, "kill", false);
    }

    fn after_death(&mut self, disk: MemoryDisk, how: &str, power_cut: bool) {
        self.note(how);
        self.hear_the_last();
        self.open = None;
        self.disk = disk;
        self.disk.set_capacity(1 << 40);
        self.reopen(self.settings.keeps_all_through(power_cut));
    }

    /// What was delivered before the end counts; what was not is unknown.
    fn hear_the_last(&mut self) {
        if let Some(open) = &self.open {
            hear(&open.told, &mut self.model);
        }
    }

    fn clean_stop(&mut self) {
        self.note("stop");
        let open = self.open.as_mut().unwrap();
        if open.shared.failure().is_none() {
            open.stop();
        }
        open.delivery.run(0);
        hear(&open.told, &mut self.model);
        // A log that failed to sync is no log that was stopped: what was acknowledged is there.
        self.open = None;
        let disk = self.disk.restart();
        self.disk = disk;
        self.disk.set_capacity(1 << 40);
        self.reopen(true);
    }

    fn fail_a_sync(&mut self) {
        let n = self.faults.u64(1..4);
        self.disk.fail_sync(n);
    }

    fn fill_the_disk(&mut self) {
        let space = dledger::disk::Disk::space(&self.disk, "").unwrap();
        let used = space.total - space.available;
        let left = self.faults.u64(0..32 << 10);
        self.disk.set_capacity(used + left);
    }

    fn free_the_disk(&mut self) {
        self.disk.set_capacity(1 << 40);
    }

    /// The power goes at some later write.
    fn cut_at_a_later_write(&mut self) {
        self.disk.fail_after_ops(self.faults.u64(0..40));
        for _ in 0..30 {
            match self.rng.u32(..4) {
                0 => self.append(),
                1 => drop(self.log().work()),
                2 => self.deliver(),
                _ => self.turn(),
            }
        }
        self.power_cut();
    }

    /// Opens what is there, and compares it with what must be. A crash may come in between.
    fn reopen(&mut self, mut keeps: bool) {
        loop {
            let nested = self.faults.u32(..4) == 0;
            if nested {
                self.disk.fail_after_ops(self.faults.u64(0..60));
            }
            let opened = Open::new(&self.disk, &self.clock, &self.settings);
            match opened {
                Ok(mut open) => {
                    open.settle();
                    if nested && open.shared.life() == Life::Failed {
                        keeps &= self.cut_in_recovery();
                        continue;
                    }
                    let state = open.shared.state();
                    self.note(("open", state));
                    assert!(
                        state.ready,
                        "a sole voter leads: {state:?}, {:?}",
                        open.shared.failure()
                    );
                    assert_eq!(state.committed, state.end);
                    let used = self.model.term;
                    assert!(state.term > used, "term {} is used twice", state.term);
                    let records = open.read_all();
                    self.model.found(state.begin.index.0, &records, keeps);
                    self.open = Some(open);
                    if !nested {
                        return;
                    }
                    // The rest of the cut comes later, or never.
                    self.disk.fail_after_ops(u64::MAX);
                    return;
                }
                Err(error) if nested => {
                    self.note(("recovery is cut", error.status()));
                    keeps &= self.cut_in_recovery();
                }
                Err(error) => panic!("recovery refuses: {error}"),
            }
        }
    }

    fn cut_in_recovery(&mut self) -> bool {
        let faults = &mut self.faults;
        self.disk = self.disk.crash(&mut |n| faults.u64(..n.max(1)));
        self.settings.keeps_all_through(true)
    }

    fn check_state(&mut self) {
        let state = self.log().shared.state();
        assert!(state.begin <= state.committed, "{state:?}");
        assert!(state.committed <= state.end, "{state:?}");
        assert!(state.flushed <= state.end, "{state:?}");
        assert!(self.model.fixed <= state.committed.index.0, "delivered before it was committed");
        let failed = self.log().shared.failure().is_some();
        if failed {
            // Failed for good: reads go on, appends do not, until it is opened again.
            assert_eq!(self.log().append(b"never", None), Err(Status::Failed));
            if self.faults.u32(..20) == 0 {
                self.clean_stop_after_failure();
            }
        }
    }

    fn clean_stop_after_failure(&mut self) {
        self.deliver();
        if self.faults.bool() { self.kill() } else { self.power_cut() }
    }

    /// With the faults over, an append commits, and every append that was taken has ended.
    fn heal(&mut self) {
        self.disk.set_capacity(1 << 40);
        self.kill();
        for _ in 0..5 {
            self.clock.fetch_add(3_000_000_000, Ordering::Relaxed);
            self.log().settle();
        }
        self.ids += 1;
        let bytes = body(self.ids, 100);
        let entry = self.log().append(&bytes, None).expect("the faults are over");
        self.model.placed(entry, bytes);
        self.log().settle();
        let open = self.open.as_mut().unwrap();
        open.delivery.run(0);
        hear(&open.told, &mut self.model);
        let unended = self.model.records.values().find(|r| r.status.is_none());
        assert!(unended.is_none(), "an append never ended: {unended:?}");
        assert_eq!(self.model.fixed, entry.index.0 + 1);
        self.check_reads();
        self.clean_stop();
    }
}

/// P1, P2, P3, P7, P8, P17, and scenarios 2, 3, 4, 5, 10, 14, 18, 19, 20, 21, 24, 26: whatever
/// happens, nothing acknowledged is lost, nothing is invented, every append ends once.
#[test]
fn seeds() {
    let first = number("SIM_FIRST", 0);
    let seeds = number("SIM_SEEDS", 150);
    let steps = number("SIM_STEPS", 600);
    let times = number("SIM_TIMES", 2).max(1);
    for seed in first..first + seeds {
        let run = || Run::new(seed, Plants::NONE).run(steps);
        let digests: Vec<_> = (0..times).map(|_| std::panic::catch_unwind(run)).collect();
        let Some(Ok(first)) = digests.first() else {
            panic!("seed {seed}: run it again with SIM_FIRST={seed} SIM_SEEDS=1");
        };
        for again in &digests {
            let same = again.as_ref().is_ok_and(|again| again == first);
            assert!(same, "seed {seed} ran differently the second time");
        }
    }
    println!("{seeds} seeds, {steps} steps each, every one {times} times");
}
