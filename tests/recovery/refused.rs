//! Rows of the table that refuse: the directory stays as it is, byte for byte.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dledger::disk::Disk;
use dledger::disk::memory::MemoryDisk;
use dledger::disk::real::RealDisk;
use dledger::error::{Error, Status};
use dledger::group::Group;
use dledger::options::Options;
use dledger::plant::Plants;

use crate::memory::world::Settings;
use crate::memory::{Image, try_open};
use crate::{goes_on, meta, parser, recover, segment, small, stopped, with_meta, write};

/// Opens, expects the status, and compares every file with what it was.
fn refused(disk: &MemoryDisk, settings: &Settings, status: Status, what: &str) -> String {
    let before = Image::of(disk);
    let error = try_open(disk, settings).err().unwrap_or_else(|| panic!("{what}: it opened"));
    assert_eq!(error.status(), status, "{what}: {error}");
    before.assert_same(&Image::of(disk), what);
    error.to_string()
}

/// Another format version, in a block that is intact otherwise.
fn newer(block: &[u8]) -> Vec<u8> {
    let mut block = block.to_vec();
    block.resize(4096, 0);
    block[8..12].copy_from_slice(&2u32.to_be_bytes());
    let crc = parser::crc(&block[..4092]);
    block[4092..].copy_from_slice(&crc.to_be_bytes());
    block
}

/// P19, acceptance 12: files of a newer version are refused with a status of their own, untouched,
/// if one copy of `meta`, both of them or `control` is newer.
#[test]
fn a_newer_format_is_refused_untouched() {
    let (disk, records) = stopped(&small(), 6, 100);
    let whole = Image::of(&disk);
    let block = whole.file("meta").unwrap()[..4096].to_vec();
    for copies in [&[0u64][..], &[4096], &[0, 4096]] {
        let disk = whole.disk();
        copies.iter().for_each(|at| write(&disk, "meta", *at, &newer(&block)));
        let text = refused(&disk, &small(), Status::Version, "a newer meta");
        assert!(text.contains("version 2"), "{text}");
    }
    let disk = whole.disk();
    let mut header = whole.file("control").unwrap()[..12].to_vec();
    header[8..12].copy_from_slice(&2u32.to_be_bytes());
    let crc = parser::crc(&header);
    header.extend(crc.to_be_bytes());
    write(&disk, "control", 0, &header);
    refused(&disk, &small(), Status::Version, "a newer control");
    goes_on(&whole.disk(), &small(), &records, "as it was");
}

/// What is in a directory of this machine's: names, directories among them, bytes, and when each
/// file was last written.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Option<(Vec<u8>, SystemTime)>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let file = path.is_file().then(|| {
            let modified = path.metadata().unwrap().modified().unwrap();
            // `control` has 64 MiB, nearly all of it a hole.
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&path).unwrap();
            file.take(1 << 20).read_to_end(&mut bytes).unwrap();
            (bytes, modified)
        });
        if file.is_none() {
            all.extend(everything(&path));
        }
        all.insert(path, file);
    }
    all
}

/// The same on this machine's disk, with what an open puts right before it writes anything else: one
/// copy of `meta` is older or spoiled, and `spare` is not there. Neither is changed, and no file is
/// written, not even with the bytes that it has.
#[test]
fn a_newer_format_is_refused_and_nothing_is_put_right() {
    let (disk, _) = stopped(&small(), 6, 100);
    let whole = Image::of(&disk);
    let copy = |disk: &MemoryDisk| disk.read_file("meta").unwrap()[..4096].to_vec();
    let older = copy(&disk);
    with_meta(&disk, |meta| meta.term += 1);
    let block = copy(&disk);
    let spoiled: Vec<u8> = block.iter().map(|byte| byte ^ 0x11).collect();
    let mut control = whole.file("control").unwrap()[..12].to_vec();
    control[8..12].copy_from_slice(&2u32.to_be_bytes());
    control.extend(parser::crc(&control).to_be_bytes());
    let refused = |what: &str, metas: Option<[&[u8]; 2]>, newer_control: bool| {
        let dir = tempfile::tempdir().unwrap();
        let real = RealDisk::new(dir.path()).unwrap();
        whole.put(&real);
        match metas {
            Some(metas) => real.open("meta").unwrap().write_at(&metas.concat(), 0).unwrap(),
            None => real.remove("meta").unwrap(),
        }
        if newer_control {
            real.open("control").unwrap().write_at(&control, 0).unwrap();
        }
        assert!(!dir.path().join("spare").exists());
        let before = everything(dir.path());
        let mut options = small().options();
        options.set("dir", dir.path().to_str().unwrap()).unwrap();
        let error = Group::open(&options).err().expect("it opened");
        assert_eq!(error.status(), Status::Version, "{what}: {error}");
        let after = everything(dir.path());
        let differs = before.iter().zip(&after).find(|(a, b)| a != b);
        let differs = differs.map(|((there, _), (now, _))| (there, now));
        assert_eq!((differs, before.len()), (None, after.len()), "{what}: {error}");
    };
    for (what, other) in [("the other copy is older", &older), ("it is spoiled", &spoiled)] {
        for newer_meta in [true, false] {
            let newest = if newer_meta { newer(&block) } else { block.clone() };
            refused(what, Some([&newest, other]), !newer_meta);
            refused(what, Some([other, &newest]), !newer_meta);
        }
    }
    refused("no meta", None, true);
}

/// Behaviour 12, recovery rule 1: another group, member, segment or index size is refused, untouched, and the
/// message says which option does not fit and what the directory has.
#[test]
fn behaviour_12_another_group_member_or_size_is_refused_untouched() {
    let (disk, records) = stopped(&small(), 6, 100);
    for (key, value, has) in [
        ("group", "another", "default"),
        ("node.id", "2", "1"),
        ("segment.bytes", "8192", "4096"),
        ("index.segment.bytes", "8192", "4096"),
    ] {
        let mut options: Options = small().options();
        options.set(key, value).unwrap();
        let before = Image::of(&disk);
        let opened = dledger::group::open_parts(
            std::sync::Arc::new(disk.clone()),
            dledger::group::clock::Clock::real(),
            &options,
            Plants::NONE,
            1,
            |_| Err(Error::Bug("it must not come so far".into())),
        );
        let error = opened.err().unwrap();
        assert_eq!(error.status(), Status::Config, "{key}: {error}");
        let text = error.to_string();
        assert!(text.contains(key) && text.contains(has) && text.contains(value), "{text}");
        before.assert_same(&Image::of(&disk), key);
    }
    goes_on(&disk, &small(), &records, "with its own options");
}

/// Without an intact copy of `meta` nobody knows term and vote: damage, untouched. With one of them
/// spoiled, any byte of it, nothing is lost.
#[test]
fn both_copies_of_meta_damaged() {
    let (disk, records) = stopped(&small(), 6, 100);
    let whole = Image::of(&disk);
    let used = whole.file("meta").unwrap()[..4092].iter().rposition(|b| *b != 0).unwrap() as u64;
    for at in (0..=used).step_by(13).chain([4092, 4095]) {
        let disk = whole.disk();
        disk.flip("meta", at, 0x20);
        recover(&disk, &small()).unwrap_or_else(|e| panic!("one copy, byte {at}: {e}"));
        let image = Image::of(&disk);
        assert_eq!(image.file("meta"), whole.file("meta"), "it is written anew");
        let disk = whole.disk();
        disk.flip("meta", at, 0x20);
        disk.flip("meta", 4096 + (at + 7) % 4096, 0x04);
        let before = Image::of(&disk);
        let error = recover(&disk, &small()).err().unwrap_or_else(|| panic!("both at {at}"));
        let expected = if (8..12).contains(&at) { Status::Version } else { Status::Corrupt };
        assert!([expected, Status::Corrupt].contains(&error.status()), "{at}: {error}");
        before.assert_same(&Image::of(&disk), "both copies damaged");
    }
    let disk = whole.disk();
    disk.flip("meta", 20, 1);
    goes_on(&disk, &small(), &records, "one copy");
}

/// Records of ours and no `meta`: damage, and nothing is made in its place.
#[test]
fn meta_is_missing_with_records_of_ours() {
    let (disk, _) = stopped(&small(), 6, 100);
    disk.remove("meta").unwrap();
    refused(&disk, &small(), Status::Corrupt, "no meta");
    // Neither without control.
    disk.remove("control").unwrap();
    let before = Image::of(&disk).only(&["data", "index", "batches"]);
    assert_eq!(recover(&disk, &small()).err().unwrap().status(), Status::Corrupt);
    before.assert_same(&Image::of(&disk).only(&["data", "index", "batches"]), "no control");
}

/// P4: Raft entries of ours and no `meta`, without a record: term and vote were there and are lost.
#[test]
fn meta_is_missing_with_raft_entries_of_ours() {
    let (disk, _) = stopped(&small(), 0, 0);
    disk.remove("meta").unwrap();
    refused(&disk, &small(), Status::Corrupt, "no meta");
}

/// Records of ours behind records of DLedger's and no `meta`: no import may cut them.
#[test]
fn meta_is_missing_with_records_of_ours_behind_dledgers() {
    let settings = small();
    let disk = MemoryDisk::new();
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 51]);
    bytes[47..51].copy_from_slice(b"\x03abc");
    disk.write_file("data/00000000000000000000", &bytes);
    disk.write_file("currterm", b"voteLeader=n0\ncurrTerm=0\n");
    let mut log = crate::open(&disk, &settings);
    let mut records = log.read_all();
    assert_eq!(records.len(), 1);
    crate::append(&mut log, 3, 100, 1, &mut records);
    log.stop();
    let disk = disk.restart();
    for with_control in [true, false] {
        let disk = Image::of(&disk).disk();
        disk.remove("meta").unwrap();
        if !with_control {
            disk.remove("control").unwrap();
        }
        let before = Image::of(&disk).only(&["data"]);
        let error = recover(&disk, &settings).err().expect("refused");
        assert_eq!(error.status(), Status::Corrupt, "{error}");
        before.assert_same(&Image::of(&disk).only(&["data"]), "the data is untouched");
    }
}

/// A data file of another length or with another name is damage.
#[test]
fn a_data_file_of_another_length_or_name() {
    let settings = small();
    let (disk, records) = stopped(&settings, 10, 300);
    let whole = Image::of(&disk);
    let last = segment(&settings, records.last().unwrap().0.pos);
    for path in [segment(&settings, 0), segment(&settings, 4096), last] {
        for len in [0, 4095, 4097, 8192] {
            let disk = whole.disk();
            let mut bytes = whole.file(&path).unwrap().to_vec();
            bytes.resize(len, 0);
            disk.write_file(&path, &bytes);
            let text = refused(&disk, &settings, Status::Corrupt, "another length");
            assert!(text.contains(&path), "{text}");
        }
    }
    for name in
        ["data/0", "data/00000000000000000001", "data/stray", "data/00000000000000004096.bak"]
    {
        let disk = whole.disk();
        disk.write_file(name, &[0; 4096]);
        let text = refused(&disk, &settings, Status::Corrupt, name);
        assert!(text.contains(name), "{text}");
    }
}

/// Behaviour 36: the last data files are gone. That is damage, told with the file's name and with
/// the option that opens without it; with `recovery.missing.tail=clamp` the prefix opens.
#[test]
fn behaviour_36_missing_tail_files_are_refused_or_clamped() {
    let settings = small();
    let (disk, records) = stopped(&settings, 12, 300);
    let whole = Image::of(&disk);
    let files = whole.only(&["data"]).0.len();
    assert!(files >= 4);
    for gone in 1..=files {
        let disk = whole.disk();
        let first = (files - gone) as u64 * 4096;
        for n in 0..gone as u64 {
            disk.remove(&segment(&settings, first + n * 4096)).unwrap();
        }
        let text = refused(&disk, &settings, Status::Corrupt, "a missing tail");
        assert!(text.contains(&segment(&settings, first)), "{text}");
        assert!(text.contains("recovery.missing.tail=clamp"), "{text}");
        let mut birth = crate::birth(&settings);
        birth.clamp_missing_tail = true;
        let before = meta(&disk);
        let log = dledger::commitlog::CommitLog::open(std::sync::Arc::new(disk.clone()), &birth);
        let log = log.unwrap_or_else(|e| panic!("{gone} gone, clamped: {e}"));
        assert_eq!(log.meta().term, before.term, "term and vote stay");
        drop(log);
        // The batch that spans nothing: what is whole before the first missing file.
        let kept: Vec<_> = records.iter().filter(|(e, _)| e.pos < first).cloned().collect();
        goes_on(&disk, &settings, &kept, "clamped");
    }
}

/// A head or a middle that is gone is damage, also when clamping is asked for.
#[test]
fn a_missing_head_or_middle_is_damage() {
    let mut birth = crate::birth(&small());
    birth.clamp_missing_tail = true;
    let (disk, _) = stopped(&small(), 12, 300);
    let whole = Image::of(&disk);
    for pos in [0, 4096] {
        let disk = whole.disk();
        disk.remove(&segment(&small(), pos)).unwrap();
        let text = refused(&disk, &small(), Status::Corrupt, "a missing head");
        assert!(text.contains(&segment(&small(), pos)), "{text}");
        let before = Image::of(&disk);
        let open = dledger::commitlog::CommitLog::open(std::sync::Arc::new(disk.clone()), &birth);
        assert_eq!(open.err().unwrap().status(), Status::Corrupt);
        before.assert_same(&Image::of(&disk), "clamp");
    }
}

/// A committed bound above the recovered end is damage.
#[test]
fn scenario_21_committed_above_the_end() {
    let (disk, _) = stopped(&small(), 4, 100);
    with_meta(&disk, |meta| {
        meta.committed.raft_index = meta.committed.raft_index + 5;
        meta.committed.index = meta.committed.index + 5;
    });
    let before = Image::of(&disk);
    let error = recover(&disk, &small()).err().unwrap();
    assert_eq!(error.status(), Status::Corrupt);
    assert!(error.to_string().contains("committed"), "{error}");
    before.assert_same(&Image::of(&disk), "committed above the end");
}

/// A durable bound that the data does not reach is damage: what was durable is not there.
#[test]
fn a_durable_bound_above_the_end() {
    let settings = small();
    let (disk, records) = stopped(&settings, 4, 100);
    // The last record is zeroed, and the units with it, so that recovery has to look.
    let last = records.last().unwrap().0;
    write(&disk, &segment(&settings, last.pos), last.pos % 4096, &[0; 150]);
    write(&disk, "index/00000000000000000000", last.index.0 * 32, &[0; 32]);
    let data = Image::of(&disk).only(&["data"]);
    let error = recover(&disk, &settings).err().unwrap();
    assert_eq!(error.status(), Status::Corrupt, "{error}");
    data.assert_same(&Image::of(&disk).only(&["data"]), "never a cut");
}
