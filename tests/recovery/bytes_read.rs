//! What an open reads of the data segments, and that `recovery_read_bytes` tells all of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dledger::commitlog::CommitLog;
use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::disk::real::RealDisk;

use crate::counted::Counted;
use crate::memory::Image;
use crate::memory::world::Settings;
use crate::{
    Records, append, birth, flip, killed, large, meta, open, segment, small, stopped, with_meta,
    write,
};

/// Bytes that a scan reads at a time.
const WINDOW: u64 = 128 << 10;

/// Opens, and answers what was read; `recovery_read_bytes` says the same.
fn opened(disk: Arc<dyn Disk>, settings: &Settings, holes: bool, what: &str) -> u64 {
    let counted = Counted::new(disk, holes);
    let read = counted.read.clone();
    let log = CommitLog::open(Arc::new(counted), &birth(settings));
    let log = log.unwrap_or_else(|e| panic!("{what}: {e}"));
    let read = read.load(Ordering::Relaxed);
    assert_eq!(log.recovery_read(), read, "{what}: told and read");
    read
}

fn in_memory(disk: &MemoryDisk, settings: &Settings, what: &str) -> u64 {
    opened(Arc::new(disk.clone()), settings, true, what)
}

/// Each byte that is read of a data segment is counted, whatever recovery has to do.
#[test]
fn every_byte_is_counted() {
    let (image, _, _) = killed(&large(), 20, 300);
    let behind = in_memory(&image.disk(), &large(), "records above the durable bound");
    // Read to be checked, and read to be written once more.
    let disk = image.disk();
    let durable = meta(&disk).durable.pos;
    let end = CommitLog::open(Arc::new(disk), &birth(&large())).unwrap().end().pos;
    assert!(behind >= 2 * (end - durable), "{behind} bytes for {durable} to {end}");

    let torn = image.disk();
    write(&torn, &segment(&large(), 0), end - 100, &[0; 100]);
    assert!(in_memory(&torn, &large(), "a torn tail") > 0);

    let (disk, _) = stopped(&large(), 20, 300);
    disk.remove("index/00000000000000000000").unwrap();
    assert!(in_memory(&disk, &large(), "units that are gone") > 18_000);

    // A cut that was begun: what its first part read counts too.
    let (disk, _) = stopped(&small(), 12, 300);
    let cut = meta(&disk).durable;
    with_meta(&disk, |meta| meta.cut = Some(cut));
    in_memory(&disk, &small(), "a cut");

    let old = MemoryDisk::new();
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 51]);
    bytes[47..51].copy_from_slice(b"\x03abc");
    old.write_file("data/00000000000000000000", &bytes);
    old.write_file("currterm", b"voteLeader=n0\ncurrTerm=0\n");
    assert!(in_memory(&old, &small(), "DLedger's") > 4096);
}

/// Where the zeros behind the end count as data, they are passed over once: for a record that a hole
/// hides, and for bytes that have to go.
#[test]
fn zeros_that_count_as_data_are_read_once() {
    for torn in [false, true] {
        let (image, _, _) = killed(&large(), 20, 300);
        let disk = image.disk();
        let durable = meta(&disk).durable.pos;
        if torn {
            flip(&disk, &large(), durable + 4000, 1);
        }
        let what = if torn { "torn" } else { "whole" };
        let read = opened(Arc::new(disk), &large(), false, what);
        let most = large().segment_bytes - durable + 3 * WINDOW;
        assert!(read <= most, "{what}: {read} bytes of a segment, {most} allowed");
    }
}

/// The same on this machine's disk, with the zeros of the segment read into the page cache.
#[test]
fn zeros_in_the_page_cache_are_read_once() {
    let settings = crate::memory::settings(64 << 20, 1 << 20);
    let dir = tempfile::tempdir().unwrap();
    let (memory, mut records) = (MemoryDisk::new(), Records::new());
    let mut log = open(&memory, &settings);
    for _ in 0..50 {
        append(&mut log, 20, 2000, 1, &mut records);
        log.delivery.run(0);
    }
    log.stop();
    let memory = memory.restart();
    let end = meta(&memory).durable.pos;
    let disk = RealDisk::new(dir.path()).unwrap();
    Image::of(&memory).put(&disk);
    disk.open(&segment(&settings, 0)).unwrap().allocate(0, settings.segment_bytes).unwrap();
    let zeros = std::fs::read(dir.path().join(segment(&settings, 0))).unwrap();
    assert_eq!(zeros.len() as u64, settings.segment_bytes);
    let read = opened(Arc::new(disk), &settings, true, "cached");
    println!("{end} bytes in a segment of {}: {read} read", settings.segment_bytes);
    assert!(end > 6_000_000, "{end}");
    let most = settings.segment_bytes - end + 3 * WINDOW;
    assert!(read <= most, "{read} bytes read, {most} allowed");
}
