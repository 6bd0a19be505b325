//! The tester is tested: what a power cut keeps, what a fault does.

use std::collections::BTreeMap;

use super::*;
use crate::disk::suite;

suite::for_disk!((super::MemoryDisk::new(), ()));

/// Guards P1's oracle: after a power cut every sector that was synced is there, every other is as
/// last written or as last synced, and nothing else is.
#[test]
fn crash_keeps_synced_sectors() {
    let (mut whole, mut torn, mut lost) = (0, 0, 0);
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemoryDisk::new();
        // Not a multiple of a sector, so that the last one is short.
        let file = disk.create("x", 20_100).unwrap();
        disk.sync_dir("").unwrap();
        let (mut current, mut durable) = (vec![0; 20_100], vec![0; 20_100]);
        for n in 1..rng.usize(2..12) {
            let at = rng.usize(..20_100);
            let len = rng.usize(..(20_100 - at).min(6000) + 1);
            current[at..at + len].fill(n as u8);
            file.write_at(&current[at..at + len], at as u64).unwrap();
            if rng.u8(..4) == 0 {
                file.sync().unwrap();
                durable.clone_from(&current);
            }
        }
        assert_eq!(disk.read_file("x").unwrap(), current);
        let after = disk.crash(&mut |n| rng.u64(..n)).read_file("x").unwrap();
        let sectors = after.chunks(512).zip(current.chunks(512)).zip(durable.chunks(512));
        for ((after, current), durable) in sectors {
            assert!(after == current || after == durable, "seed {seed}");
        }
        match &after {
            after if *after == current => whole += 1,
            after if *after == durable => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 50 && torn > 50 && lost > 50, "{whole} {torn} {lost}");
}

/// Guards scenario 14: names that a directory sync covered survive, of the later changes a power
/// cut keeps the oldest, whatever becomes of the bytes.
#[test]
fn crash_keeps_a_prefix_of_names() {
    let mut kept = [0; 6];
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemoryDisk::new();
        disk.create("synced", 1).unwrap();
        disk.sync_dir("").unwrap();
        let mut stages = vec![disk.paths()];
        disk.create("a", 1).unwrap();
        stages.push(disk.paths());
        disk.create("b", 1).unwrap().sync().unwrap();
        stages.push(disk.paths());
        disk.rename("a", "c").unwrap();
        stages.push(disk.paths());
        disk.remove("synced").unwrap();
        stages.push(disk.paths());
        disk.rename("b", "c").unwrap();
        stages.push(disk.paths());
        let after = disk.crash(&mut |n| rng.u64(..n)).paths();
        let stage = stages.iter().position(|stage| *stage == after);
        kept[stage.unwrap_or_else(|| panic!("seed {seed}: {after:?}"))] += 1;
    }
    assert!(kept.iter().all(|n| *n > 5), "{kept:?}");
}

/// Guards the model against a random history in three directories: whatever is cut, a synced
/// change is never undone, and no file has two names.
#[test]
fn crash_keeps_synced_names() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemoryDisk::new();
        let dirs = ["", "p/", "q/"];
        disk.create_dir("p").unwrap();
        disk.create_dir("q").unwrap();
        disk.sync_dir("").unwrap();
        // What must be there: by name, the byte in the file; of names not synced, nothing.
        let mut synced: BTreeMap<String, Option<u8>> = BTreeMap::new();
        // Renamed away, and the directory it went to is not synced: it may come back.
        let mut moved: Vec<(String, String)> = Vec::new();
        for n in 1..rng.u8(2..20) {
            let mut name = || format!("{}{}", rng.choice(dirs).unwrap(), rng.u8(..3));
            let (from, to) = (name(), name());
            let action = rng.u8(..4);
            let changed = match action {
                0 => disk.create(&to, 1).and_then(|f| f.write_at(&[n], 0).and(f.sync())),
                1 => disk.remove(&to),
                2 => disk.rename(&from, &to),
                _ => {
                    let dir = parent(&to);
                    disk.sync_dir(dir).unwrap();
                    moved.retain(|(_, to)| parent(to) != dir);
                    let prefix = &to[..to.len() - 1];
                    for name in (0..3).map(|n| format!("{prefix}{n}")) {
                        let byte = disk.read_file(&name).map(|bytes| bytes[0]);
                        if moved.iter().all(|(from, _)| *from != name) {
                            synced.insert(name, byte);
                        }
                    }
                    continue;
                }
            };
            if changed.is_ok() {
                synced.remove(&to);
                if action == 2 {
                    synced.remove(&from);
                    moved.push((from, to));
                }
            }
        }
        let after = disk.crash(&mut |n| rng.u64(..n));
        let mut seen = Vec::new();
        for path in after.paths() {
            seen.extend(after.read_file(&path).unwrap());
        }
        for (name, byte) in synced {
            let found = after.read_file(&name).map(|bytes| bytes[0]);
            assert_eq!(found, byte, "seed {seed}: {name}");
        }
        let files = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), files, "seed {seed}: a file under two names");
    }
}

/// Guards the first use of a spare segment: a rename between directories is durable by a sync of
/// the one it goes to, and then the old name is gone.
#[test]
fn rename_is_durable_by_its_destination() {
    let disk = MemoryDisk::new();
    disk.create_dir("spare").unwrap();
    disk.create_dir("data").unwrap();
    disk.sync_dir("").unwrap();
    let file = disk.create("spare/1", 512).unwrap();
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    disk.rename("spare/1", "data/0").unwrap();
    disk.sync_dir("spare").unwrap();
    assert_eq!(disk.crash(&mut lose).paths(), ["spare/1"]);

    let disk = MemoryDisk::new();
    disk.write_file("data/9", b"");
    disk.write_file("spare/9", b"");
    disk.create("spare/1", 512).unwrap();
    disk.rename("spare/1", "data/0").unwrap();
    disk.sync_dir("data").unwrap();
    assert_eq!(disk.crash(&mut lose).paths(), ["data/0", "data/9", "spare/9"]);
    assert_eq!(disk.crash(&mut keep).paths(), ["data/0", "data/9", "spare/9"]);
}

/// Guards that a directory has to be synced itself: files in one that is lost are lost.
#[test]
fn directory_is_a_name_too() {
    let disk = MemoryDisk::new();
    disk.create_dir("data").unwrap();
    disk.create("data/0", 1).unwrap().sync().unwrap();
    disk.sync_dir("data").unwrap();
    assert_eq!(disk.crash(&mut lose).paths(), [""; 0]);
    assert_eq!(disk.crash(&mut keep).paths(), ["data/0"]);
}

/// Guards crash points: the k-th operation and all after it fail, on every handle, and the write
/// that was cut may be torn.
#[test]
fn fails_after_ops() {
    let run = |disk: &MemoryDisk| -> io::Result<()> {
        let file = disk.create("x", 2048)?;
        disk.sync_dir("")?;
        file.write_at(&[1; 2048], 0)?;
        file.sync()
    };
    let disk = MemoryDisk::new();
    run(&disk).unwrap();
    let ops = disk.ops();
    assert_eq!(ops, 4);
    let mut torn = false;
    for n in 0..ops {
        let disk = MemoryDisk::new();
        disk.fail_after_ops(n);
        assert_eq!(run(&disk).unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(disk.ops(), n + 1);
        assert!(disk.open("x").is_err() && disk.list("").is_err() && disk.lock().is_err());
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let after = disk.crash(&mut |n| rng.u64(..n));
            let bytes = after.read_file("x").unwrap_or_default();
            torn |= bytes.contains(&0) && bytes.contains(&1);
            assert!(n >= 2 || !bytes.contains(&1));
        }
        assert_eq!(disk.restart().read_file("x").is_some(), n > 0);
    }
    assert!(torn);
}

/// Guards that a dead process cannot write on: after a crash or a restart its handles fail, and
/// its lock is not the next one's.
#[test]
fn old_handles_are_dead() {
    let disk = MemoryDisk::new();
    let lock = disk.lock().unwrap();
    let file = disk.create("x", 10).unwrap();
    let next = disk.restart();
    let next_lock = next.lock().unwrap();
    assert!(file.write_at(b"x", 0).is_err() && file.sync().is_err() && file.len().is_err());
    assert!(file.read_at(&mut [0], 0).is_err() && file.map().is_err());
    assert!(disk.create("y", 1).is_err() && disk.space("").is_err());
    drop(lock);
    assert!(next.lock().is_err());
    let after = next.crash(&mut keep);
    drop(next_lock);
    assert!(after.lock().is_ok());
    assert!(next.open("x").is_err());
}

/// Guards that kill -9 loses nothing and makes nothing durable.
#[test]
fn restart_keeps_what_is_not_durable() {
    let disk = MemoryDisk::new();
    disk.create("x", 10).unwrap();
    disk.sync_dir("").unwrap();
    disk.create("y", 10).unwrap();
    disk.open("x").unwrap().write_at(b"cached", 0).unwrap();
    let next = disk.restart();
    assert_eq!(next.paths(), ["x", "y"]);
    assert_eq!(next.read_file("x").unwrap(), b"cached\0\0\0\0");
    let after = next.crash(&mut lose);
    assert_eq!(after.paths(), ["x"]);
    assert_eq!(after.read_file("x").unwrap(), [0; 10]);
    next.crash(&mut keep).open("y").unwrap();
}

/// Guards P7 and scenario 2: what a failed sync covered never becomes durable, though the next
/// sync succeeds, unless it is written again.
#[test]
fn failed_sync_is_final() {
    let disk = MemoryDisk::new();
    let file = disk.create("x", 1024).unwrap();
    disk.sync_dir("").unwrap();
    file.sync().unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    disk.fail_sync(2);
    disk.create("other", 1).unwrap().sync().unwrap();
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(libc::EIO));
    file.sync().unwrap();
    assert_eq!(disk.read_file("x").unwrap(), [1; 1024], "the cache still shows it");
    assert_eq!(disk.crash(&mut keep).read_file("x").unwrap(), [0; 1024]);

    let disk = disk.crash(&mut lose);
    let file = disk.open("x").unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    disk.fail_sync(1);
    file.sync().unwrap_err();
    file.write_at(&[2; 512], 0).unwrap();
    file.sync().unwrap();
    let after = disk.crash(&mut keep).read_file("x").unwrap();
    assert_eq!((&after[..512], &after[512..]), (&[2; 512][..], &[0; 512][..]));
}

/// Guards that a directory sync that fails makes no name durable.
#[test]
fn failed_dir_sync() {
    let disk = MemoryDisk::new();
    disk.create("x", 1).unwrap();
    disk.fail_dir_sync(1);
    assert_eq!(disk.sync_dir("").unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(disk.crash(&mut lose).paths(), [""; 0]);
}

/// Guards P8: beyond its size the disk is full, what is allocated takes writes all the same, and
/// removing a file makes room.
#[test]
fn capacity() {
    let disk = MemoryDisk::new();
    disk.set_capacity(10 * 4096);
    let file = disk.create("x", 20 * 4096).unwrap();
    file.allocate(0, 8 * 4096).unwrap();
    file.allocate(100, 4096).unwrap();
    assert_eq!(disk.space("").unwrap(), Space { total: 10 * 4096, available: 2 * 4096 });
    let full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    };
    full(file.write_at(&[1; 3 * 4096], 8 * 4096));
    full(file.write_at(b"x", 19 * 4096));
    full(disk.create("y", 0).map(drop));
    file.write_at(&[2; 8 * 4096], 0).unwrap();
    let bytes = disk.read_file("x").unwrap();
    assert!(bytes[..8 * 4096].iter().all(|byte| *byte == 2));
    assert!(bytes[8 * 4096..10 * 4096].iter().all(|byte| *byte == 1), "a short write");
    assert!(bytes[10 * 4096..].iter().all(|byte| *byte == 0));
    disk.remove("x").unwrap();
    assert_eq!(disk.space("").unwrap().available, 10 * 4096);
    full(disk.create("y", 11 * 4096).unwrap().allocate(0, 11 * 4096));
    disk.set_capacity(0);
    assert_eq!(disk.space("").unwrap().available, 0);
}

/// Guards that an allocation has to be synced as well: a power cut may take it back, and the disk
/// is then full where it was not.
#[test]
fn allocation_is_durable_by_sync() {
    let disk = MemoryDisk::new();
    let file = disk.create("x", 2 * 4096).unwrap();
    disk.sync_dir("").unwrap();
    file.allocate(0, 4096).unwrap();
    file.sync().unwrap();
    file.allocate(4096, 4096).unwrap();
    let free = |disk: &MemoryDisk| disk.space("").unwrap().available;
    assert_eq!(free(&disk.crash(&mut lose)), CAPACITY_BYTES - 4096);
    assert_eq!(free(&disk.crash(&mut keep)), CAPACITY_BYTES - 2 * 4096);
}

/// Guards P5's tools: rot is in the cache, in mappings and on the disk, beside dirty bytes too.
#[test]
fn flipped_bits_are_durable() {
    let disk = MemoryDisk::new();
    disk.write_file("d/x", &[0b1111; 1000]);
    let file = disk.open("d/x").unwrap();
    file.write_at(&[0], 10).unwrap();
    assert!(disk.flip("d/x", 11, 0b0110));
    assert!(disk.flip("d/x", 999, 0b1000_0000));
    assert!(!disk.flip("d/x", 1000, 1) && !disk.flip("x", 0, 1));
    let map = file.map().unwrap();
    assert_eq!(map.bytes(9..12), Some(&[0b1111, 0, 0b1001][..]));
    let after = disk.crash(&mut lose).read_file("d/x").unwrap();
    assert_eq!((&after[9..12], after[999]), (&[0b1111, 0b1111, 0b1001][..], 0b1000_1111));
}

/// Guards latent sector errors: only reads that touch the sector fail, also after a restart and a
/// power cut, until it is written.
#[test]
fn unreadable_sector() {
    let disk = MemoryDisk::new();
    disk.write_file("x", &[1; 4096]);
    assert!(disk.fail_read("x", 1030));
    assert!(!disk.fail_read("x", 4096));
    let disk = disk.restart().crash(&mut keep);
    let file = disk.open("x").unwrap();
    let error = file.read_at(&mut [0; 2], 1023).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    file.read_at(&mut [0; 1024], 0).unwrap();
    file.read_at(&mut [0; 512], 1536).unwrap();
    file.write_at(&[2; 512], 1024).unwrap();
    file.read_at(&mut [0; 4096], 0).unwrap();
}

/// Guards what the simulator reports: bytes and syncs are counted, and time is what it was set to.
#[test]
fn counters_and_clock() {
    let disk = MemoryDisk::new();
    disk.set_now_ms(1000);
    let file = disk.create("x", 100).unwrap();
    assert_eq!(file.modified().unwrap(), 1000);
    disk.set_now_ms(2000);
    file.write_at(&[1; 30], 0).unwrap();
    file.read_at(&mut [0; 20], 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
    assert_eq!(file.modified().unwrap(), 2000);
    let stats = Stats { bytes_read: 20, bytes_written: 30, syncs: 1, dir_syncs: 1 };
    assert_eq!((disk.stats(), disk.ops()), (stats, 4));
    assert_eq!(disk.crash(&mut keep).open("x").unwrap().modified().unwrap(), 2000);
}

/// A power cut that keeps all there is to keep.
fn keep(_: u64) -> u64 {
    0
}

/// A power cut that loses all there is to lose.
fn lose(n: u64) -> u64 {
    1.min(n - 1)
}
