use proptest::prelude::*;

use super::*;
use crate::disk::memory::MemoryDisk;

fn entry(raft_index: u64, content: usize) -> ControlEntry {
    let kind = if content == 0 { ControlKind::NoOp } else { ControlKind::Membership };
    let content = vec![raft_index as u8; content];
    ControlEntry { raft_index: RaftIndex(raft_index), term: raft_index << 8, kind, content }
}

fn create(disk: &MemoryDisk) -> Control {
    Control::create(Arc::new(disk.clone())).unwrap()
}

fn open(disk: &MemoryDisk, durable_end: u64) -> Result<(Control, Vec<ControlEntry>)> {
    Control::open(Arc::new(disk.clone()), durable_end)
}

fn found(disk: &MemoryDisk) -> Vec<u64> {
    let entries = open(disk, 0).unwrap().1;
    entries.iter().map(|entry| entry.raft_index.0).collect()
}

fn cut_power(disk: &MemoryDisk, random: &mut fastrand::Rng) -> MemoryDisk {
    disk.crash(&mut |n| random.u64(..n))
}

/// The first bytes of the file.
fn head(disk: &MemoryDisk, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    disk.open(NAME).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A durable file of these bytes and zeros up to `len`.
fn put(disk: &MemoryDisk, bytes: &[u8], len: u64) {
    let mut file = bytes.to_vec();
    file.resize(len as usize, 0);
    disk.write_file(NAME, &file);
}

/// Leaves so many bytes of room.
fn room(disk: &MemoryDisk, bytes: u64) {
    let space = disk.space("").unwrap();
    disk.set_capacity(space.total - space.available + bytes);
}

fn corrupt_at(disk: &MemoryDisk, durable_end: u64) -> u64 {
    match open(disk, durable_end).map(|(_, entries)| entries) {
        Err(Error::Corrupt { pos, .. }) => pos,
        other => panic!("{other:?}"),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<(u64, usize)>),
    Cut(u64),
    Rewrite,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let appended = prop::collection::vec((1..4u64, prop_oneof![0..200usize, Just(0)]), 1..5);
    let step = prop_oneof![
        4 => appended.prop_map(Step::Append),
        2 => (0..12u64).prop_map(Step::Cut),
        1 => Just(Step::Rewrite),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..20)
}

/// Does one step to the file and to the model; whether the file took it.
fn step(
    disk: &MemoryDisk,
    control: &mut Control,
    model: &mut Vec<ControlEntry>,
    step: &Step,
) -> Result<()> {
    match step {
        Step::Append(gaps) => {
            let mut at = control.last.0;
            let mut entries = Vec::new();
            for (gap, content) in gaps {
                at += gap;
                entries.push(entry(at, *content));
            }
            model.extend_from_slice(&entries);
            control.append(&entries)
        }
        Step::Cut(back) => {
            let from = RaftIndex(control.last.0.saturating_sub(*back));
            model.retain(|entry| entry.raft_index < from);
            control.cut(from)
        }
        Step::Rewrite => control.rewrite(model),
        Step::Reopen => open(disk, control.end()).map(|(opened, _)| *control = opened),
    }
}

proptest! {
    /// What was appended and not cut comes back, in order, through any sequence of calls.
    #[test]
    fn keeps_what_it_took(steps in steps()) {
        let disk = MemoryDisk::new();
        let (mut control, mut model) = (create(&disk), Vec::new());
        for one in &steps {
            step(&disk, &mut control, &mut model, one).unwrap();
            let (opened, entries) = open(&disk, control.end()).unwrap();
            prop_assert_eq!(&entries, &model);
            prop_assert_eq!((opened.end, opened.last), (control.end, control.last));
        }
    }

    /// A power cut at any step of any call leaves the entries before the call, or some of what
    /// it appends, or all it does; the file then goes on, and a cut within the open or the next
    /// append takes nothing back (P1, P17; scenarios 10 and 18).
    #[test]
    fn power_cut(steps in steps(), stop in 0..60u64, again in 0..12u64, seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = MemoryDisk::new();
        let (mut control, mut model) = (create(&disk), Vec::new());
        let mut before = model.clone();
        disk.fail_after_ops(stop);
        for one in &steps {
            before = model.clone();
            if step(&disk, &mut control, &mut model, one).is_err() {
                break;
            }
            before = model.clone();
        }
        let disk = cut_power(&disk, &mut random);
        let (mut control, entries) = open(&disk, 0).unwrap();
        let part_of_append = model.starts_with(&entries) && entries.starts_with(&before);
        prop_assert!(part_of_append || entries == before || entries == model);
        disk.fail_after_ops(again);
        let mut model = entries.clone();
        let added = Step::Append(vec![(1, 0), (1, 100)]);
        let done = step(&disk, &mut control, &mut model, &added).is_ok();
        let disk = cut_power(&disk, &mut random);
        let (_, then) = open(&disk, 0).unwrap();
        prop_assert!(model.starts_with(&then) && then.starts_with(&entries));
        prop_assert!(!done || then == model);
    }

    /// Arbitrary bytes behind a header are an answer or an error, never a panic (P19).
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), bound in 0..500u64) {
        let _ = scan(&bytes, bound);
        let disk = MemoryDisk::new();
        create(&disk);
        let mut file = head(&disk, START);
        file.extend_from_slice(&bytes);
        put(&disk, &file, STEP);
        let _ = open(&disk, bound);
        put(&disk, &bytes, bytes.len() as u64);
        let _ = open(&disk, bound);
    }

    /// Entries with right checksums and any other fields are an answer or an error.
    #[test]
    fn arbitrary_entries(
        entries in prop::collection::vec((0..5u32, 0..9u64, any::<u64>(), 0..40usize), 0..9),
    ) {
        let mut bytes = vec![0; START as usize];
        for (kind, raft_index, term, content) in entries {
            encode(&mut bytes, kind, RaftIndex(raft_index), term, &vec![7; content]);
        }
        if let Ok(Scan { entries, .. }) = scan(&bytes, 0) {
            prop_assert!(entries.is_sorted_by(|a, b| a.raft_index < b.raft_index));
        }
    }
}

/// Any changed byte below the durable bound is named as damage where it is, never cut (P5).
#[test]
fn damage_below_the_bound() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&[entry(1, 0), entry(2, 13), entry(5, 0)]).unwrap();
    let end = control.end();
    let intact = head(&disk, end);
    let damaged = MemoryDisk::new();
    for at in 0..end {
        put(&damaged, &intact, STEP);
        damaged.flip(NAME, at, 1 << (at % 8));
        let pos = corrupt_at(&damaged, end);
        assert!(pos <= at && at - pos < 48, "byte {at} at {pos}");
        if at >= end - 32 {
            assert_eq!(open(&damaged, 0).unwrap().1.len(), 2, "a torn tail");
        }
    }
    assert_eq!(corrupt_at(&disk, end + 1), end, "the bound is above the file's end");
    assert_eq!(corrupt_at(&disk, end - 1), end - 32, "the bound is within an entry");
}

/// A hole that one torn write can have made ends the file; one with valid entries farther
/// behind is damage (P5).
#[test]
fn hole_above_the_bound() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&[entry(1, 0)]).unwrap();
    let hole = control.end();
    let content = 1000 - ENTRY_HEADER;
    let within: Vec<_> = (2..64).map(|at| entry(at, content)).collect();
    control.append(&within).unwrap();
    let torn = MemoryDisk::new();
    put(&torn, &head(&disk, control.end()), STEP);
    torn.flip(NAME, hole, 1);
    assert_eq!(found(&torn), [1]);
    let beyond: Vec<_> = (64..90).map(|at| entry(at, content)).collect();
    control.append(&beyond).unwrap();
    disk.flip(NAME, hole, 1);
    assert_eq!(corrupt_at(&disk, 0), hole);
}

/// What a crash tore never comes back, however long what is written over it (scenario 10).
#[test]
fn stale_bytes_are_zeroed() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&(1..40).map(|at| entry(at, 100)).collect::<Vec<_>>()).unwrap();
    disk.flip(NAME, START + 3, 1);
    let (mut control, entries) = open(&disk, 0).unwrap();
    assert_eq!(entries, []);
    control.append(&[entry(1, 100)]).unwrap();
    assert_eq!(found(&disk), [1]);
    let behind = head(&disk, 8192).split_off(control.end() as usize);
    assert!(behind.iter().all(|byte| *byte == 0));
}

/// The same if they were zeroed in the page cache only, because the sync of the zeros failed.
#[test]
fn stale_bytes_behind_the_cache() {
    // The first ends with its sector: what is behind it on disk could follow it.
    let first = entry(1, 512 - START as usize - ENTRY_HEADER);
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&[first.clone(), entry(2, 0), entry(3, 0)]).unwrap();
    disk.flip(NAME, START + 3, 1);
    let (mut control, _) = open(&disk, 0).unwrap();
    disk.fail_sync(2);
    assert_eq!(control.append(std::slice::from_ref(&first)).unwrap_err().status(), Status::Io);
    let disk = disk.restart();
    let (mut control, entries) = open(&disk, 0).unwrap();
    assert_eq!(entries, []);
    control.append(std::slice::from_ref(&first)).unwrap();
    assert_eq!(found(&disk.crash(&mut |_| 1)), [1]);
}

/// Entries that were read after a kill or a failed sync are durable, and so is their end: no
/// power cut takes one back, or brings back what was torn behind it (P1, P7, scenario 10).
#[test]
fn what_was_opened_stays() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..400 {
        let disk = MemoryDisk::new();
        let mut control = create(&disk);
        control.append(&[entry(1, 100), entry(2, 700)]).unwrap();
        let durable_end = if random.bool() { control.end() } else { 0 };
        if round % 2 == 0 {
            disk.fail_after_ops(random.u64(..4));
        } else {
            disk.fail_sync(1 + random.u64(..3));
        }
        let failed = control.append(&[entry(3, 2000), entry(4, 0)]).is_err();
        let again = control.append(&[entry(5, 0)]).map_err(|e| e.status());
        assert!(!failed || again == Err(Status::Failed));
        let mut disk = disk.restart();
        for raft_index in 10..13 {
            let (mut control, mut believed) = open(&disk, durable_end).unwrap();
            let cut = random.bool();
            if random.bool() {
                disk.fail_after_ops(random.u64(..8));
            } else {
                disk.fail_sync(1 + random.u64(..4));
            }
            let added = entry(raft_index, 300);
            let done = if cut {
                control.cut(RaftIndex(4)).is_ok()
            } else {
                control.append(std::slice::from_ref(&added)).is_ok()
            };
            disk = if random.bool() { disk.restart() } else { cut_power(&disk, &mut random) };
            let (_, found) = open(&disk, durable_end).unwrap();
            let before = believed.clone();
            believed.retain(|entry| !cut || entry.raft_index < RaftIndex(4));
            believed.extend((!cut).then_some(added));
            assert!(found == believed || (found == before && !done), "{found:?}");
            disk = cut_power(&disk, &mut random);
            assert_eq!(open(&disk, durable_end).unwrap().1, found);
        }
    }
}

/// A rewrite whose name was not durable when its maker was killed is there for good once
/// opened: nothing is appended to a file that a power cut can replace.
#[test]
fn name_stays() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&[entry(1, 0), entry(2, 0)]).unwrap();
    disk.fail_after_ops(6);
    assert!(control.rewrite(&[entry(2, 0)]).is_err());
    let disk = disk.restart();
    let (mut control, entries) = open(&disk, 0).unwrap();
    assert_eq!(entries, [entry(2, 0)]);
    control.append(&[entry(3, 0)]).unwrap();
    assert_eq!(found(&disk.crash(&mut |_| 1)), [2, 3]);
}

/// Power cut while the first file is made leaves none, or a whole one (scenario 19).
#[test]
fn power_cut_in_create() {
    let mut random = fastrand::Rng::with_seed(2);
    for round in 0..100 {
        let disk = MemoryDisk::new();
        disk.fail_after_ops(round % 8);
        let _ = Control::create(Arc::new(disk.clone()));
        let disk = cut_power(&disk, &mut random);
        if disk.open(NAME).is_ok() {
            assert!(found(&disk).is_empty());
        } else {
            assert_eq!(corrupt_at(&disk, 0), 0);
        }
        create(&disk).append(&[entry(1, 1)]).unwrap();
        assert_eq!(found(&disk), [1]);
    }
}

/// A full disk stops nothing while there are blocks, refuses without harm when there are none,
/// and freed space is enough to go on (P8); also for a process that starts on a full disk.
#[test]
fn disk_full() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    room(&disk, 0);
    let mut at = 0;
    let mut fill = |control: &mut Control| loop {
        at += 1;
        match control.append(&[entry(at, 1000)]) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error.status(), Status::DiskFull);
                at -= 1;
                return at;
            }
        }
    };
    let taken = fill(&mut control);
    assert_eq!(taken, (STEP - START) / 1032);
    assert_eq!(control.cut(RaftIndex(1)).unwrap_err().status(), Status::DiskFull);
    room(&disk, STEP);
    let more = fill(&mut control);
    assert_eq!(more, (2 * STEP - START) / 1032);
    room(&disk, 3 * STEP);
    control.append(&[entry(more + 1, 1000)]).unwrap();
    room(&disk, 0);
    let (mut control, entries) = open(&disk, control.end()).unwrap();
    assert_eq!(entries.len() as u64, more + 1);
    control.append(&[entry(more + 2, 1000)]).unwrap();
    assert_eq!(control.rewrite(&entries[..1]).unwrap_err().status(), Status::DiskFull);
    control.append(&[entry(more + 3, 1000)]).unwrap();
    assert_eq!(found(&disk).len() as u64, more + 3);
}

/// A file that is used up says so and asks for a rewrite in time; that makes room.
#[test]
fn used_up() {
    let disk = MemoryDisk::new();
    create(&disk);
    let header = head(&disk, START);
    put(&disk, &header, 8192);
    let (mut control, _) = open(&disk, 0).unwrap();
    assert!(!control.worth_rewriting(0));
    let mut at = 1;
    while control.append(&[entry(at, 900)]).is_ok() {
        at += 1;
    }
    assert!(control.worth_rewriting(control.end() - START));
    assert_eq!(control.append(&[entry(at, 900)]).unwrap_err().status(), Status::DiskFull);
    control.rewrite(&[entry(at - 1, 900)]).unwrap();
    assert!(!control.worth_rewriting(entry(at - 1, 900).bytes()));
    control.append(&[entry(at, 900)]).unwrap();
    assert_eq!(found(&disk), [at - 1, at]);
}

/// Most of a file cut away makes a rewrite worth it.
#[test]
fn worth_rewriting() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    let entries: Vec<_> = (1..300).map(|at| entry(at, 1000)).collect();
    control.append(&entries).unwrap();
    let all = entries.iter().map(ControlEntry::bytes).sum();
    assert!(!control.worth_rewriting(all));
    control.cut(RaftIndex(3)).unwrap();
    assert!(control.worth_rewriting(2 * entries[0].bytes()));
}

/// Calls that make no sense are refused and change nothing.
#[test]
fn refused() {
    let disk = MemoryDisk::new();
    let mut control = create(&disk);
    control.append(&[entry(4, 0)]).unwrap();
    for wrong in [vec![entry(4, 0)], vec![entry(6, 0), entry(5, 0)], vec![entry(9, 65_505)]] {
        assert_eq!(control.append(&wrong).unwrap_err().status(), Status::Invalid);
        assert_eq!(
            control
                .rewrite(&[&[entry(9, 0)], &wrong[..], &[entry(9, 0)]].concat())
                .unwrap_err()
                .status(),
            Status::Invalid
        );
    }
    control.append(&[entry(5, CONTENT_MAX), entry(6, CONTENT_MAX), entry(7, 0)]).unwrap();
    assert_eq!(found(&disk), [4, 5, 6, 7]);
    let last = control.end() - 32;
    let mut bytes = head(&disk, control.end());
    bytes.extend_from_within(START as usize..START as usize + 32);
    put(&disk, &bytes, STEP);
    assert_eq!(corrupt_at(&disk, 0), last + 32, "an index that goes back");
}

/// A file of a newer format is refused, untouched (P19); one too short is damage.
#[test]
fn header() {
    let disk = MemoryDisk::new();
    create(&disk);
    let mut header = head(&disk, START);
    header[11] = 2;
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_be_bytes());
    put(&disk, &header, STEP);
    let steps = disk.ops();
    let error = open(&disk, 0).map(|_| ()).unwrap_err();
    assert_eq!((error.status(), disk.ops()), (Status::Version, steps));
    assert!(error.to_string().contains("version 2"), "{error}");
    for len in [0, 15, 16, STEP] {
        put(&disk, &[], len);
        corrupt_at(&disk, 0);
    }
}
