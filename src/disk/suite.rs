//! What every disk does alike: the same tests for the real one and for the one in memory.

use std::io::ErrorKind;

use super::Disk;

/// Makes a test of every function below, for the disk that an expression makes (beside something
/// that is kept until the test ends).
macro_rules! for_disk {
    ($make:expr) => {
        crate::disk::suite::for_disk!($make,
            lock_excludes, names, missing, create_reads_zeros, bounds, mapping_sees_writes,
            removed_file_stays, rename_replaces, allocated_reads_zeros, finds_data, modified,
            lists_by_name
        );
    };
    ($make:expr, $($test:ident),+) => {
        mod alike {
            $(#[test]
            fn $test() {
                let (disk, _kept) = $make;
                crate::disk::suite::$test(&disk);
            })+
        }
    };
}
pub(super) use for_disk;

/// Guards that one directory has one owner, also within a process, until it lets go.
pub fn lock_excludes(disk: &dyn Disk) {
    let lock = disk.lock().unwrap();
    assert_eq!(disk.lock().err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(lock);
    let lock = disk.lock().unwrap();
    assert_eq!(disk.lock().err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(lock);
    assert_eq!(disk.list("").unwrap(), [("LOCK".to_string(), 0)]);
}

/// Guards the life of a name: made once, found, listed, renamed, removed.
pub fn names(disk: &dyn Disk) {
    assert_eq!(disk.list("data").unwrap(), []);
    disk.create_dir("data").unwrap();
    disk.create_dir("data").unwrap();
    disk.create_dir("data/deep").unwrap();
    disk.sync_dir("").unwrap();
    assert_eq!(disk.list("data").unwrap(), []);
    let file = disk.create("data/one", 10).unwrap();
    assert_eq!(file.len().unwrap(), 10);
    assert_eq!(disk.create("data/one", 20).err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.create("data/deep", 20).err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.list("data").unwrap(), [("one".to_string(), 10)]);
    assert_eq!(disk.list("").unwrap(), []);
    disk.create("top", 0).unwrap();
    assert_eq!(disk.list("").unwrap(), [("top".to_string(), 0)]);
    disk.rename("data/one", "two").unwrap();
    disk.sync_dir("data").unwrap();
    assert_eq!(disk.open("data/one").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.open("two").unwrap().len().unwrap(), 10);
    disk.remove("two").unwrap();
    assert_eq!(disk.open("two").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(disk.list("data").unwrap(), []);
}

/// Guards that what is not there is `NotFound`, by every way to ask for it.
pub fn missing(disk: &dyn Disk) {
    let not_found = |e: std::io::Error| assert_eq!(e.kind(), ErrorKind::NotFound);
    not_found(disk.open("x").err().unwrap());
    not_found(disk.remove("x").unwrap_err());
    not_found(disk.rename("x", "y").unwrap_err());
    not_found(disk.sync_dir("dir").unwrap_err());
    not_found(disk.create("dir/x", 1).err().unwrap());
    not_found(disk.create_dir("dir/sub").unwrap_err());
    disk.create("x", 1).unwrap();
    not_found(disk.rename("x", "dir/x").unwrap_err());
}

/// Guards that a new file has its length and reads as zeros, and that what is written is read.
pub fn create_reads_zeros(disk: &dyn Disk) {
    let file = disk.create("x", 10_000).unwrap();
    let mut bytes = vec![1; 10_000];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, vec![0; 10_000]);
    file.write_at(b"across sectors", 505).unwrap();
    file.sync().unwrap();
    let mut found = [0; 16];
    disk.open("x").unwrap().read_at(&mut found, 504).unwrap();
    assert_eq!(&found, b"\0across sectors\0");
}

/// Guards that a file keeps its length: nothing is read or written beyond its end.
pub fn bounds(disk: &dyn Disk) {
    let file = disk.create("x", 1000).unwrap();
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(file.read_at(&mut [0; 2], 999)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.read_at(&mut [0; 1], 1 << 40)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.write_at(b"ab", 999)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.write_at(b"ab", u64::MAX)), ErrorKind::InvalidInput);
    assert_eq!(kind(file.allocate(0, 1001)), ErrorKind::InvalidInput);
    file.allocate(1000, 0).unwrap();
    file.write_at(b"", 1000).unwrap();
    file.read_at(&mut [], 1000).unwrap();
    file.write_at(b"b", 999).unwrap();
    assert_eq!(file.len().unwrap(), 1000);
    assert_eq!(disk.list("").unwrap(), [("x".to_string(), 1000)]);
}

/// Guards that readers see through a mapping what is written later.
pub fn mapping_sees_writes(disk: &dyn Disk) {
    let file = disk.create("x", 10_000).unwrap();
    let map = file.map().unwrap();
    assert_eq!(map.len(), 10_000);
    map.advise_sequential();
    file.write_at(b"later", 5000).unwrap();
    assert_eq!(map.bytes(5000..5005), Some(&b"later"[..]));
    let mut copy = [0; 5];
    assert!(map.copy(5000, &mut copy));
    assert_eq!(&copy, b"later");
    assert_eq!(map.bytes(9_999..10_001), None);
    disk.open("x").unwrap().write_at(b"other handle", 100).unwrap();
    assert_eq!(map.bytes(100..112), Some(&b"other handle"[..]));
    assert_eq!(disk.create("empty", 0).unwrap().map().unwrap().len(), 0);
}

/// Guards P16 at its root: a file that is open or mapped outlives its name.
pub fn removed_file_stays(disk: &dyn Disk) {
    let file = disk.create("x", 5000).unwrap();
    file.write_at(b"kept", 4000).unwrap();
    let map = file.map().unwrap();
    disk.remove("x").unwrap();
    disk.create("x", 10).unwrap();
    let mut bytes = [0; 4];
    file.read_at(&mut bytes, 4000).unwrap();
    assert_eq!(&bytes, b"kept");
    drop(file);
    assert_eq!(map.bytes(4000..4004), Some(&b"kept"[..]));
}

/// Guards the step that replaces `meta` and `control`: after a rename the new file has the name.
pub fn rename_replaces(disk: &dyn Disk) {
    disk.create("old", 5).unwrap().write_at(b"older", 0).unwrap();
    disk.create("new", 5).unwrap().write_at(b"newer", 0).unwrap();
    disk.rename("new", "old").unwrap();
    assert_eq!(disk.list("").unwrap(), [("old".to_string(), 5)]);
    let mut bytes = [0; 5];
    disk.open("old").unwrap().read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"newer");
}

/// Guards that allocating changes no byte, and takes from the room there is.
pub fn allocated_reads_zeros(disk: &dyn Disk) {
    let file = disk.create("x", 100_000).unwrap();
    file.write_at(b"before", 50_000).unwrap();
    file.allocate(0, 100_000).unwrap();
    file.allocate(10, 100).unwrap();
    let mut bytes = vec![1; 100_000];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[50_000..50_006], b"before");
    bytes[50_000..50_006].fill(0);
    assert_eq!(bytes, vec![0; 100_000]);
    let space = disk.space("").unwrap();
    assert!(space.available <= space.total && space.total > 0);
}

/// Guards that recovery may skip what was never written, and skips nothing that was.
pub fn finds_data(disk: &dyn Disk) {
    const LEN: u64 = 1 << 20;
    let file = disk.create("x", LEN).unwrap();
    assert_eq!(file.next_data(LEN).unwrap(), None);
    assert_eq!(file.next_data(u64::MAX / 4).unwrap(), None);
    file.write_at(b"data", 500_000).unwrap();
    // A file system without SEEK_DATA may answer any earlier place, none may answer a later one.
    let at = file.next_data(0).unwrap().unwrap();
    assert!(at <= 500_000);
    assert!(file.next_data(at).unwrap() == Some(at));
    assert_eq!(file.next_data(500_002).unwrap(), Some(500_002));
    file.write_at(b"e", LEN - 1).unwrap();
    assert!(file.next_data(900_000).unwrap().unwrap() < LEN);
    assert_eq!(file.next_data(LEN - 1).unwrap(), Some(LEN - 1));
}

/// Guards retention by age: a file knows when it was last written.
pub fn modified(disk: &dyn Disk) {
    let file = disk.create("x", 10).unwrap();
    let before = file.modified().unwrap();
    file.write_at(b"x", 0).unwrap();
    assert!(file.modified().unwrap() >= before);
}

/// Guards that segments are found in the order of their positions.
pub fn lists_by_name(disk: &dyn Disk) {
    for (name, len) in [("2", 1), ("10", 2), ("1", 3), ("a", 0)] {
        disk.create(name, len).unwrap();
    }
    let names: Vec<(String, u64)> = disk.list("").unwrap();
    let expected = [("1", 3), ("10", 2), ("2", 1), ("a", 0)];
    assert_eq!(names, expected.map(|(name, len)| (name.to_string(), len)));
}
