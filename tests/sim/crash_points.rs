//! T2: the power goes at every single write, sync, rename and removal of a workload that touches
//! all files, then once more at every one of the recovery that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dledger::disk::memory::MemoryDisk;
use dledger::group::shared::Control;
use dledger::plant::Plants;
use dledger::types::Index;

use crate::model::Model;
use crate::world::{Open, Settings, body, hear};

fn settings() -> Settings {
    Settings {
        segment_bytes: 4_096,
        index_bytes: 4_096,
        flush: "commit",
        unsynced_max: 64 << 10,
        plants: Plants::NONE,
        node: 1,
        members: 1,
    }
}

/// Birth, appends over several segments, checkpoints, a purge, a clean stop, a second life. Stops
/// where the disk does.
fn workload(disk: &MemoryDisk, model: &mut Model) {
    let clock = Arc::new(AtomicU64::new(0));
    let mut id = 0;
    for life in 0..2 {
        let Ok(mut open) = Open::new(disk, &clock, &settings()) else { return };
        open.settle();
        for round in 0..6 {
            for _ in 0..5 {
                id += 1;
                let bytes = body(id, 150 + 137 * (id as usize % 5));
                if let Ok(entry) = open.append(&bytes, None) {
                    model.placed(entry, bytes);
                }
            }
            open.settle();
            open.delivery.run(0);
            hear(&open.told, model);
            clock.fetch_add(60_000_000, Ordering::Relaxed);
            if round == 4 {
                let index = model.fixed / 2;
                model.purged = index;
                open.shared.ask(Control::DeletePrefix(Index(index)));
            }
            open.settle();
            if open.shared.failure().is_some() {
                return;
            }
        }
        if life == 0 {
            open.stop();
            open.delivery.run(0);
            hear(&open.told, model);
        }
    }
}

fn check(disk: &MemoryDisk, model: &mut Model) {
    let clock = Arc::new(AtomicU64::new(0));
    let mut open = match Open::new(disk, &clock, &settings()) {
        Ok(open) => open,
        Err(error) => panic!("recovery refuses: {error}"),
    };
    open.settle();
    let state = open.shared.state();
    assert!(state.ready, "{state:?} {:?}", open.shared.failure());
    model.found(state.begin.index.0, &open.read_all(), true);
    let bytes = body(9_999, 100);
    let entry = open.append(&bytes, None).expect("it goes on");
    model.placed(entry, bytes);
    open.settle();
    open.delivery.run(0);
    hear(&open.told, model);
    assert_eq!(model.fixed, entry.index.0 + 1);
}

/// P1, P4, P17, case 4 and 17: for each prefix of the writes and some torn subsets of it, recovery
/// finds all that was acknowledged; interrupted at each of its own writes, it finds the same.
#[test]
fn power_cut_at_every_write() {
    let whole = MemoryDisk::new();
    workload(&whole, &mut Model::default());
    let points = whole.ops();
    assert!(points > 200, "the workload shrank to {points} writes");
    let mut rng = fastrand::Rng::with_seed(7);
    let step = crate::number("CRASH_STEP", if cfg!(debug_assertions) { 3 } else { 1 });
    let mut nested = 0;
    for point in (0..points).step_by(step as usize) {
        for torn in 0..3 {
            let disk = MemoryDisk::new();
            disk.fail_after_ops(point);
            let mut model = Model::default();
            workload(&disk, &mut model);
            if torn == 0 {
                nested += cut_recovery(&disk, &model, &mut rng);
            }
            let after = disk.crash(&mut |n| rng.u64(..n.max(1)));
            check(&after, &mut model);
        }
    }
    println!("{points} crash points, {nested} nested ones");
}

/// Recovery is itself cut at some of its writes, and then runs to its end. `disk` is dead; what
/// survives is drawn anew for each.
fn cut_recovery(disk: &MemoryDisk, model: &Model, rng: &mut fastrand::Rng) -> u64 {
    let clock = Arc::new(AtomicU64::new(0));
    let mut cuts = 0;
    for point in [1, 3, 7, 11, 16, 22, 29, 37, 46] {
        let first = disk.crash(&mut |n| rng.u64(..n.max(1)));
        first.fail_after_ops(point);
        let cut = match Open::new(&first, &clock, &settings()) {
            Ok(mut open) => {
                open.settle();
                open.shared.failure().is_some()
            }
            Err(_) => true,
        };
        if !cut {
            break;
        }
        cuts += 1;
        let mut model = Model {
            records: model.records.clone(),
            fixed: model.fixed,
            purged: model.purged,
            term: model.term,
        };
        check(&first.crash(&mut |n| rng.u64(..n.max(1))), &mut model);
    }
    cuts
}
