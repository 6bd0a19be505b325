//! Damage at rest, below the durable bound: found, told, never cut.

use std::time::Duration;

use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::ReadOptions;

use crate::memory::world::Open;
use crate::memory::{Image, open};
use crate::{Records, flip, goes_on, recover, segment, small, stopped, write};

const INDEX: &str = "index/00000000000000000000";
const BATCHES: &str = "batches/00000000000000000000";

/// Which records a log refuses to read, each for itself, by copy and in place.
fn unreadable(log: &Open, records: &Records) -> Vec<usize> {
    let options = ReadOptions { verify: true, wait: Some(Duration::ZERO), ..Default::default() };
    let mut bad = Vec::new();
    for (n, (entry, body)) in records.iter().enumerate() {
        let mut buf = vec![0; body.len()];
        let copied = log.shared.read_copy(entry.index, &mut buf);
        let viewed = log.shared.read(entry.index, &options);
        match (copied, viewed) {
            (Ok(found), Ok(view)) => {
                assert_eq!((found, &buf), (*entry, body));
                assert_eq!(view.entries(), [*entry]);
                assert_eq!(&view.bytes()[48..], body);
            }
            (Err((copied, _)), Err(viewed)) => {
                assert_eq!((copied, viewed), (Status::Corrupt, Status::Corrupt), "record {n}");
                bad.push(n);
            }
            (copied, viewed) => {
                panic!("record {n}: copied {copied:?}, viewed {:?}", viewed.map(|_| ()))
            }
        }
    }
    bad
}

/// P5, behaviour 37, scenario 9: a flipped byte at any position below the durable bound. The log
/// opens whole; that record is refused as damaged, every other reads; nothing is ever cut.
#[test]
fn scenario_09_behaviour_37_a_flipped_byte_anywhere_costs_one_record() {
    let settings = small();
    let (disk, records) = stopped(&settings, 8, 150);
    let whole = Image::of(&disk);
    let log = open(&disk, &settings);
    let mut flips = 0;
    for (n, (entry, body)) in records.iter().enumerate() {
        for at in 0..48 + body.len() as u64 {
            let mask = 1 << ((entry.pos + at) % 8);
            flip(&disk, &settings, entry.pos + at, mask);
            assert_eq!(unreadable(&log, &records), [n], "byte {at} of record {n}");
            flip(&disk, &settings, entry.pos + at, mask);
            flips += 1;
        }
    }
    assert_eq!(unreadable(&log, &records), []);
    drop(log);
    // The same through an open, at fewer places.
    let mut opens = 0;
    for (n, (entry, body)) in records.iter().enumerate() {
        for at in [0, 3, 7, 11, 20, 31, 33, 37, 41, 46, 48, 47 + body.len() as u64] {
            let disk = whole.disk();
            flip(&disk, &settings, entry.pos + at, 0x80);
            let log = open(&disk, &settings);
            assert_eq!(log.shared.committed().0, records.len() as u64);
            assert_eq!(unreadable(&log, &records), [n], "byte {at} of record {n}");
            opens += 1;
        }
    }
    println!("{flips} flips, {opens} opens");
}

/// A blank that rotted, or zeros behind it, are no record's: every record still reads for itself.
#[test]
fn a_flipped_byte_between_records_costs_none() {
    let settings = small();
    let (disk, records) = stopped(&settings, 8, 300);
    let whole = Image::of(&disk);
    let before = records.windows(2).find(|w| w[1].0.pos % 4096 == 0).unwrap()[0].0;
    let blank = before.pos + 48 + u64::from(before.body_len);
    assert!(4096 - blank % 4096 >= 20);
    for at in 0..20 {
        let disk = whole.disk();
        flip(&disk, &settings, blank + at, 0x40);
        let log = open(&disk, &settings);
        assert_eq!(unreadable(&log, &records), [], "byte {at} of the blank");
    }
}

/// Scenario 26: a unit that rotted, below the durable bound where no open looks, costs nothing: the
/// record reads all the same, positions lead to it, and the unit is made again when it is met.
#[test]
fn scenario_26_a_flipped_byte_in_an_index_unit_is_made_again() {
    let settings = small();
    let (disk, records) = stopped(&settings, 4, 60);
    let whole = Image::of(&disk);
    for at in 0..records.len() as u64 * 32 {
        let disk = whole.disk();
        disk.flip(INDEX, at, 0x08);
        let log = open(&disk, &settings);
        for (entry, _) in &records {
            assert_eq!(log.shared.index_at(entry.pos + 47), Ok(entry.index), "byte {at}");
        }
        assert_eq!(unreadable(&log, &records), [], "byte {at}");
        // Only the first has no record before it that proves it.
        if at >= 32 {
            assert_eq!(Image::of(&disk).file(INDEX), whole.file(INDEX), "byte {at}");
        }
    }
}

/// Scenario 26: a stretch of units that is lost as a whole, as a page is, from any unit on: records
/// in any order read all the same, and it is made again.
#[test]
fn scenario_26_a_lost_stretch_of_index_units_is_made_again() {
    let settings = small();
    let (disk, records) = stopped(&settings, 8, 150);
    let whole = Image::of(&disk);
    let last = records.len() as u64 - 1;
    for from in 0..last {
        let disk = whole.disk();
        let log = open(&disk, &settings);
        write(&disk, INDEX, from * 32, &vec![0; (last - from) as usize * 32]);
        let (wanted, _) = &records[(from + (last - from) / 2) as usize];
        assert_eq!(log.shared.index_at(wanted.pos + 20), Ok(wanted.index), "from {from}");
        assert_eq!(unreadable(&log, &records), [], "from {from}");
        let (is, was) = (Image::of(&disk), whole.file(INDEX).unwrap());
        let first = if from == 0 { 32 } else { 0 };
        assert!(is.file(INDEX).unwrap()[first..] == was[first..], "from {from}");
    }
}

/// Scenario 26: the last batch unit below the durable bound, where Raft takes up the log and no read
/// looks, is put right by the open: of a batch, and of a no-op.
#[test]
fn scenario_26_the_last_batch_unit_is_put_right() {
    let settings = small();
    let (of_a_batch, records) = stopped(&settings, 4, 60);
    let elected = Image::of(&of_a_batch).disk();
    open(&elected, &settings).stop();
    for whole in [Image::of(&of_a_batch), Image::of(&elected)] {
        let units = whole.file(BATCHES).unwrap();
        let last = (units.len() as u64 - 1) / 32 * 32;
        for at in last..last + 32 {
            let disk = whole.disk();
            disk.flip(BATCHES, at, 0x10);
            let log = recover(&disk, &settings).unwrap();
            assert_eq!(Image::of(&disk).file(BATCHES), Some(units), "byte {at}");
            drop(log);
            goes_on(&disk, &settings, &records, "put right");
        }
    }
}

/// P5: where the headers that would prove the last batch unit are damaged themselves, it stays: it
/// tells which bytes to ask other members for.
#[test]
fn the_last_batch_unit_stays_beside_damaged_records() {
    let settings = small();
    let disk = MemoryDisk::new();
    let mut log = open(&disk, &settings);
    let mut records = Vec::new();
    for batch in [&[50usize][..], &[60, 70], &[80, 90, 100]] {
        let placed: Vec<_> = batch.iter().map(|len| log.append(&vec![7; *len], None)).collect();
        records.extend(placed.into_iter().map(Result::unwrap));
        log.settle();
    }
    log.stop();
    let whole = Image::of(&disk.restart());
    for (entry, at) in records.iter().flat_map(|entry| (0..48).map(move |at| (entry, at))) {
        let disk = whole.disk();
        flip(&disk, &settings, entry.pos + at, 0x01);
        drop(recover(&disk, &settings).unwrap());
        let units = Image::of(&disk);
        assert_eq!(units.file(BATCHES), whole.file(BATCHES), "byte {at} of {entry:?}");
    }
}

/// P5: where a record and the units around it are damaged, no unit is made from what is damaged.
#[test]
fn no_index_unit_is_made_from_a_damaged_record() {
    let settings = small();
    let (disk, records) = stopped(&settings, 4, 60);
    let whole = Image::of(&disk);
    let hit = records[5].0.pos;
    for at in 0..48 {
        let disk = whole.disk();
        let log = open(&disk, &settings);
        flip(&disk, &settings, hit + at, 0x04);
        write(&disk, INDEX, 5 * 32, &[0; 64]);
        let bad = unreadable(&log, &records);
        assert!(bad.contains(&5) && bad.iter().all(|n| (5..8).contains(n)), "byte {at}: {bad:?}");
        let now = Image::of(&disk);
        let unit = |n: usize| &now.file(INDEX).unwrap()[n * 32..][..32];
        let was = |n: usize| &whole.file(INDEX).unwrap()[n * 32..][..32];
        assert!([&[0; 32], was(5)].contains(&unit(5)), "byte {at}");
        assert!([&[0; 32], was(6)].contains(&unit(6)), "byte {at}");
    }
}

/// A latent sector error: a read by copy answers an error of the disk, and the rest reads. A record
/// is not to be verified without the header before it.
#[test]
fn a_sector_that_cannot_be_read_costs_its_records() {
    let settings = small();
    let (disk, records) = stopped(&settings, 8, 150);
    let log = open(&disk, &settings);
    disk.fail_read(&segment(&settings, 0), 1024);
    let mut failed = 0;
    let lost = |from: u64, to: u64| from < 1536 && to > 1024;
    let mut before = 0;
    for (entry, body) in &records {
        let mut buf = vec![0; body.len()];
        let end = entry.pos + 48 + body.len() as u64;
        let hit = lost(entry.pos, end) || lost(before, before + 48);
        before = entry.pos;
        match log.shared.read_copy(entry.index, &mut buf) {
            Ok(_) => assert!(!hit && buf == *body),
            Err((status, _)) => {
                assert!(hit, "record {}", entry.index);
                assert_eq!(status, Status::Io);
                failed += 1;
            }
        }
    }
    assert!(failed > 1);
}

/// A latent sector error in the index costs no record: the way to each is found by the records.
#[test]
fn a_sector_of_the_index_that_cannot_be_read_costs_none() {
    let settings = small();
    let (disk, records) = stopped(&settings, 40, 50);
    let mut log = open(&disk, &settings);
    for sector in [0, 512] {
        disk.fail_read(INDEX, sector);
        for (entry, body) in records.iter().rev() {
            let mut buf = vec![0; body.len()];
            assert_eq!(log.shared.read_copy(entry.index, &mut buf), Ok(*entry));
            assert_eq!(buf, *body);
        }
    }
    log.settle();
    assert!(log.shared.failure().is_none());
}

/// P5 above all: with damage below the bound and a torn tail above it, the tail is cut and the
/// damage is not.
#[test]
fn damage_below_and_a_torn_tail_above() {
    let settings = crate::large();
    let (image, records, durable) = crate::killed(&settings, 3, 40);
    let disk = image.disk();
    flip(&disk, &settings, records[4].0.pos + 50, 1);
    let last = records[records.len() - 1].0;
    flip(&disk, &settings, last.pos + 60, 1);
    let kept = records[..records.len() - 3].to_vec();
    assert!(kept.len() > durable);
    let log = open(&disk, &settings);
    assert_eq!(log.shared.committed().0 as usize, kept.len());
    assert_eq!(unreadable(&log, &kept), [4]);
}

/// Without its index a log has to be scanned from begin. A damaged record then stops the open: it is
/// told with its position, and what is behind it is not cut.
#[test]
fn damage_below_and_no_index() {
    let settings = small();
    let (disk, records) = stopped(&settings, 8, 150);
    flip(&disk, &settings, records[7].0.pos + 50, 1);
    write(&disk, "index/00000000000000000000", (records.len() as u64 - 1) * 32, &[0; 32]);
    let data = Image::of(&disk).only(&["data"]);
    match recover(&disk, &settings).err() {
        Some(dledger::error::Error::Corrupt { pos, what }) => {
            assert_eq!(pos, records[6].0.pos, "the batch of the damaged record: {what}");
        }
        other => panic!("{other:?}"),
    }
    data.assert_same(&Image::of(&disk).only(&["data"]), "never a cut");
    flip(&disk, &settings, records[7].0.pos + 50, 1);
    goes_on(&disk, &settings, &records, "healed");
}

/// P5: a purge that meets a damaged first record does not stop the log for good: the units say what
/// it was, and the head goes or stays.
#[test]
fn a_purge_past_damage_does_not_stop_the_log() {
    let settings = small();
    let (disk, records) = stopped(&settings, 12, 300);
    let whole = Image::of(&disk);
    for at in [0, 8, 24, 36, 44] {
        for segment in [4096, 8192] {
            let disk = whole.disk();
            flip(&disk, &settings, segment + at, 2);
            let mut log = open(&disk, &settings);
            let index = records[records.len() - 4].0.index;
            log.shared.ask(dledger::group::shared::Control::DeletePrefix(index));
            log.settle();
            assert!(log.shared.failure().is_none(), "{segment} {at}: {:?}", log.shared.failure());
            log.append(b"goes on", None).unwrap();
            log.settle();
        }
    }
    let disk = whole.disk();
    // And where the damage is exactly where the log is to begin.
    let last = records.iter().rev().find(|(e, _)| e.pos % 4096 == 0).unwrap().0;
    flip(&disk, &settings, last.pos + 8, 2);
    let mut log = open(&disk, &settings);
    log.shared.ask(dledger::group::shared::Control::DeletePrefix(last.index));
    log.settle();
    assert!(log.shared.failure().is_none(), "{:?}", log.shared.failure());
}
