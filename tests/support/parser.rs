//! An independent reader of a log's files. It shares no code with the library: it is written from
//! `format.md` and the comments of the file formats alone, with its own readers of big-endian
//! numbers and its own CRC-32, bit by bit. It checks as it reads, and panics at what is wrong.

#[path = "parser/meta.rs"]
pub mod meta;

use std::collections::BTreeMap;
use std::path::Path;

use meta::Anchor;

/// The files of a directory, by their path in it.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What the directory was made with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub group: &'static str,
    pub node: u64,
    pub segment: u64,
    pub index_file: u64,
    /// `unsynced.max`.
    pub unsynced: u64,
    /// Index and position of the first record that is kept, and the Raft entry of the last batch
    /// before it.
    pub begin: (u64, u64, u64),
    /// chainCrc of the record before the first.
    pub begin_chain: u32,
    /// Records below this index are DLedger's, without checksums and batches.
    pub dledgers: u64,
    /// The log is open: `meta` may be read between the writes of its two copies.
    pub open: bool,
}

impl Shape {
    pub fn new(segment: u64, index_file: u64) -> Shape {
        Shape {
            group: "default",
            node: 1,
            segment,
            index_file,
            unsynced: 16 << 20,
            begin: (0, 0, 0),
            begin_chain: 0,
            dledgers: 0,
            open: false,
        }
    }
}

/// A record as its bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub magic: u32,
    pub size: u32,
    pub index: u64,
    pub term: u64,
    pub pos: u64,
    pub channel: u32,
    pub chain: u32,
    pub body_crc: u32,
    pub body: Vec<u8>,
}

/// What a data directory holds.
#[derive(Debug, Default)]
pub struct Data {
    pub records: Vec<Record>,
    /// Position and length of each blank.
    pub blanks: Vec<(u64, u64)>,
    /// The first byte behind the last record.
    pub end: u64,
}

/// An entry of `control`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlEntry {
    pub kind: u32,
    pub raft_index: u64,
    pub term: u64,
    pub content: Vec<u8>,
}

/// All of a log, and what was seen of each rule.
#[derive(Debug)]
pub struct Log {
    pub data: Data,
    pub controls: Vec<ControlEntry>,
    /// Records of each batch, in order.
    pub batches: Vec<usize>,
}

/// Reads every file of a directory and its subdirectories, but for what is made ahead.
pub fn load(dir: &Path) -> Files {
    let mut files = Files::new();
    let mut dirs = vec![(dir.to_path_buf(), String::new())];
    while let Some((dir, prefix)) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_str().expect("a name"));
            if name == "spare" {
                continue;
            }
            if entry.file_type().expect("a type").is_dir() {
                dirs.push((entry.path(), format!("{name}/")));
            } else {
                files.insert(name, std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    files
}

/// Reads a whole log and checks every rule.
pub fn parse(files: &Files, shape: &Shape) -> Log {
    check_names(files);
    let meta = parse_meta(&files["meta"], shape.open);
    let data = parse_data(files, shape);
    check_index(files, shape, &data);
    let (controls, control_end) = parse_control(&files["control"]);
    let Batches { counts, ends } = check_batches(files, shape, &data, &controls);
    let dledgers = data.records.iter().rfind(|r| r.index < shape.dledgers);
    let dledger_end = dledgers.map_or((0, 0), |r| (r.index + 1, r.pos + u64::from(r.size)));
    let rest = meta::Rest { controls: &controls, control_end, ends: &ends, dledger_end };
    meta::check(&meta, shape, &rest);
    Log { data, controls, batches: counts }
}

/// The files of one subdirectory, by position.
fn subdirectory(files: &Files, dir: &str, length: u64) -> BTreeMap<u64, Vec<u8>> {
    let prefix = format!("{dir}/");
    let mut found = BTreeMap::new();
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(&prefix)) {
        let name = &path[prefix.len()..];
        assert_eq!(name.len(), 20, "{path}: a name has 20 digits");
        assert!(name.bytes().all(|b| b.is_ascii_digit()), "{path}: digits only");
        let at: u64 = name.parse().expect("digits");
        assert_eq!(at % length, 0, "{path}: named by a multiple of its length");
        assert_eq!(bytes.len() as u64, length, "{path}: its length");
        found.insert(at, bytes.clone());
    }
    for (a, b) in found.keys().zip(found.keys().skip(1)) {
        assert_eq!(a + length, *b, "{dir}: files without a gap");
    }
    found
}

fn check_names(files: &Files) {
    for path in files.keys() {
        let known = ["LOCK", "meta", "control", "currterm", "currterm.bak", "checkpoint"];
        let dirs = ["data/", "index/", "batches/"];
        let fine = known.contains(&&**path) || dirs.iter().any(|d| path.starts_with(d));
        assert!(fine, "{path} is no file of a log");
    }
}

/// Two copies, each in its own block of 4 KiB, with a CRC: the same when nobody writes. Copy A is
/// written first, so while the log is open one of them is intact, and two that are differ by one
/// write at most. Answers the newest.
fn parse_meta(bytes: &[u8], open: bool) -> meta::Meta {
    assert_eq!(bytes.len(), 8192, "meta: two blocks");
    let intact = |block: &[u8]| {
        u32_at(block, 4092) == crc(&block[..4092])
            && &block[..8] == b"DLEDMETA"
            && u32_at(block, 8) == 1
    };
    let (a, b) = bytes.split_at(4096);
    if !open {
        assert!(a == b, "meta: the two copies hold the same state");
        assert!(intact(a), "meta: magic, format version, CRC of the block");
        return meta::read(a);
    }
    assert!(intact(a) || intact(b), "meta: one copy is intact at any moment");
    if intact(a) && intact(b) {
        let (a, b) = (u64_at(a, 16), u64_at(b, 16));
        assert!(a == b || a == b + 1, "meta: sequence {a} beside {b}");
    }
    meta::read(if intact(a) { a } else { b })
}

/// Walks the data segments record by record.
pub fn parse_data(files: &Files, shape: &Shape) -> Data {
    let segments = subdirectory(files, "data", shape.segment);
    let (mut index, mut pos, _) = shape.begin;
    let mut data = Data { end: pos, ..Data::default() };
    let mut chain = shape.begin_chain;
    let mut follow = 0u32;
    let mut term = 0u64;
    let last_segment = segments.keys().next_back().copied();
    'segments: for (&start, bytes) in &segments {
        let end = start + shape.segment;
        if pos >= end {
            panic!("segment {start} lies before the first record at {pos}");
        }
        assert!(pos >= start, "segment {start}: the one before must end with a blank");
        loop {
            let at = (pos - start) as usize;
            assert!(pos + 8 <= end, "at least 8 bytes remain for a blank, always");
            let magic = u32_at(bytes, at);
            if magic == 0xffff_ffff {
                let rest = u64::from(u32_at(bytes, at + 4));
                assert_eq!(rest, end - pos, "a blank has the rest of its segment");
                assert!(bytes[at + 8..].iter().all(|b| *b == 0), "zeros behind a blank");
                assert_eq!(follow, 0, "a batch never spans two segments");
                assert!(Some(start) != last_segment, "a blank comes with the record behind it");
                data.blanks.push((pos, rest));
                pos = end;
                continue 'segments;
            }
            if magic == 0 {
                assert_eq!(Some(start), last_segment, "only the last segment ends in zeros");
                assert!(data.end > start, "segment {start} has no record");
                assert!(bytes[at..].iter().all(|b| *b == 0), "zeros behind the last record");
                break 'segments;
            }
            let record = parse_record(bytes, at);
            assert!(pos + u64::from(record.size) + 8 <= end, "a record is never split");
            check_record(&record, index, pos, term, &mut follow, &mut chain, shape);
            index += 1;
            pos += u64::from(record.size);
            term = record.term;
            data.end = pos;
            data.records.push(record);
        }
    }
    assert_eq!(follow, 0, "the last batch is whole");
    data
}

fn parse_record(bytes: &[u8], at: usize) -> Record {
    let size = u32_at(bytes, at + 4);
    let body_len = u32_at(bytes, at + 44);
    assert_eq!(size, 48 + body_len, "size is 48 + body length");
    Record {
        magic: u32_at(bytes, at),
        size,
        index: u64_at(bytes, at + 8),
        term: u64_at(bytes, at + 16),
        pos: u64_at(bytes, at + 24),
        channel: u32_at(bytes, at + 32),
        chain: u32_at(bytes, at + 36),
        body_crc: u32_at(bytes, at + 40),
        body: bytes[at + 48..at + size as usize].to_vec(),
    }
}

fn check_record(
    record: &Record,
    index: u64,
    pos: u64,
    term: u64,
    follow: &mut u32,
    chain: &mut u32,
    shape: &Shape,
) {
    assert_eq!(record.index, index, "indexes are dense");
    assert_eq!(record.pos, pos, "record {index}: its position");
    assert!(record.term >= term, "record {index}: terms never fall");
    let foreign = record.chain == 0 && record.body_crc == 0 && record.channel == 0;
    if index < shape.dledgers && foreign {
        assert!(record.magic == 1 || record.magic == 2 && record.body.is_empty());
        *chain = 0;
        return;
    }
    assert_eq!(record.magic, 1, "record {index}: magic");
    assert_eq!(record.body_crc, crc(&record.body), "record {index}: bodyCrc");
    let mut covered = chain.to_be_bytes().to_vec();
    for part in [record.magic, record.size] {
        covered.extend_from_slice(&part.to_be_bytes());
    }
    for part in [record.index, record.term, record.pos] {
        covered.extend_from_slice(&part.to_be_bytes());
    }
    for part in [record.channel, record.body_crc, record.body.len() as u32] {
        covered.extend_from_slice(&part.to_be_bytes());
    }
    assert_eq!(covered.len(), 48, "4 of the one before and 44 of this header");
    *chain = crc(&covered);
    assert_eq!(record.chain, *chain, "record {index}: chainCrc");
    if index >= shape.dledgers {
        if *follow > 0 {
            assert_eq!(record.term, term, "record {index}: one term in a batch");
            assert_eq!(record.channel, *follow - 1, "record {index}: so many follow in its batch");
        }
        *follow = record.channel & 0xffff;
    }
}

/// One unit of 32 bytes per record, at `index * 32`.
fn check_index(files: &Files, shape: &Shape, data: &Data) {
    let units = subdirectory(files, "index", shape.index_file);
    let unit = |n: u64| unit_at(&units, shape.index_file, n);
    for record in &data.records {
        let bytes = unit(record.index).unwrap_or_else(|| panic!("no unit of {}", record.index));
        assert_eq!(u32_at(bytes, 0), record.magic, "unit {}: magic", record.index);
        assert_eq!(u64_at(bytes, 4), record.pos, "unit {}: pos", record.index);
        assert_eq!(u32_at(bytes, 12), record.size, "unit {}: size", record.index);
        assert_eq!(u64_at(bytes, 16), record.index, "unit {}: index", record.index);
        assert_eq!(u64_at(bytes, 24), record.term, "unit {}: term", record.index);
    }
    let next = data.records.last().map_or(shape.begin.0, |r| r.index + 1);
    zeros_behind("index", &units, next * 32);
}

/// What the batch units say.
struct Batches {
    /// Records of each.
    counts: Vec<usize>,
    /// Behind each Raft entry, DLedger's records too.
    ends: BTreeMap<u64, Anchor>,
}

/// One unit of 32 bytes per Raft entry, at `(Raft index - 1) * 32`.
fn check_batches(files: &Files, shape: &Shape, data: &Data, controls: &[ControlEntry]) -> Batches {
    let units = subdirectory(files, "batches", shape.index_file);
    let controls: BTreeMap<u64, &ControlEntry> =
        controls.iter().map(|c| (c.raft_index, c)).collect();
    let mut raft = shape.begin.2.max(shape.dledgers);
    let mut chain = shape.begin_chain;
    let (mut next_index, mut end) = (shape.begin.0, shape.begin.1);
    let (mut counts, mut ends) = (Vec::new(), BTreeMap::new());
    let mut last_batch = shape.begin.2;
    let mut n = 0;
    while n < data.records.len() {
        let first = &data.records[n];
        if first.index < shape.dledgers {
            (chain, next_index) = (first.chain, first.index + 1);
            end = first.pos + u64::from(first.size);
            // Each is a Raft entry of its own, one term later.
            let (raft_index, term) = (next_index, first.term + 1);
            last_batch = raft_index;
            let anchor =
                Anchor { index: next_index, pos: end, raft_index, term, chain, batch: last_batch };
            ends.insert(raft_index, anchor);
            n += 1;
            continue;
        }
        let count = (first.channel & 0xffff) as usize + 1;
        let mut between = u64::from(first.channel >> 16);
        if between == 0xffff {
            // The count stands in `control`.
            between = (raft + 1..).take_while(|r| controls.contains_key(r)).count() as u64;
            assert!(between >= 0xffff);
        }
        for _ in 0..between {
            raft += 1;
            let term = check_control_unit(&units, shape, &controls, raft, (chain, next_index, end));
            let (index, pos, batch) = (next_index, end, last_batch);
            ends.insert(raft, Anchor { index, pos, raft_index: raft, term, chain, batch });
        }
        raft += 1;
        assert!(!controls.contains_key(&raft), "Raft entry {raft} is a batch");
        let batch = &data.records[n..n + count];
        let bytes: u64 = batch.iter().map(|r| u64::from(r.size)).sum();
        assert!(count <= 65_536, "most records in a batch");
        assert!(bytes <= 1 << 20 || count == 1, "most bytes in a batch");
        assert_eq!(first.pos / shape.segment, batch[count - 1].pos / shape.segment);
        let unit = unit_at(&units, shape.index_file, raft - 1).expect("a unit of the batch");
        assert_eq!(u32_at(unit, 0), 1 << 24 | count as u32, "batch unit {raft}: kind and count");
        chain = batch[count - 1].chain;
        assert_eq!(u32_at(unit, 4), chain, "batch unit {raft}: chainCrc of its last record");
        assert_eq!(u64_at(unit, 8), first.term, "batch unit {raft}: term");
        assert_eq!(u64_at(unit, 16), first.index, "batch unit {raft}: first record");
        assert_eq!(u64_at(unit, 24), first.pos, "batch unit {raft}: pos");
        (next_index, end, last_batch) = (first.index + count as u64, first.pos + bytes, raft);
        let (index, pos, term) = (next_index, end, first.term);
        ends.insert(raft, Anchor { index, pos, raft_index: raft, term, chain, batch: raft });
        counts.push(count);
        n += count;
    }
    while controls.contains_key(&(raft + 1)) {
        raft += 1;
        let term = check_control_unit(&units, shape, &controls, raft, (chain, next_index, end));
        let (index, pos, batch) = (next_index, end, last_batch);
        ends.insert(raft, Anchor { index, pos, raft_index: raft, term, chain, batch });
    }
    let last = controls.keys().next_back().copied().unwrap_or(0);
    assert!(last <= raft, "control entry {last} is beyond the log's end {raft}");
    zeros_behind("batches", &units, raft * 32);
    Batches { counts, ends }
}

fn check_control_unit(
    units: &BTreeMap<u64, Vec<u8>>,
    shape: &Shape,
    controls: &BTreeMap<u64, &ControlEntry>,
    raft: u64,
    (chain, next_index, end): (u32, u64, u64),
) -> u64 {
    let unit = unit_at(units, shape.index_file, raft - 1).expect("a unit of the control entry");
    let control = controls.get(&raft).unwrap_or_else(|| panic!("no control entry {raft}"));
    assert_eq!(u32_at(unit, 0), (control.kind + 1) << 24, "control unit {raft}: kind, no records");
    assert_eq!(u32_at(unit, 4), chain, "control unit {raft}: chainCrc of the record before");
    assert_eq!(u64_at(unit, 8), control.term, "control unit {raft}: term");
    assert_eq!(u64_at(unit, 16), next_index, "control unit {raft}: the next record");
    assert_eq!(u64_at(unit, 24), end, "control unit {raft}: behind the record before");
    control.term
}

/// The entries of `control`, less those that cut marks void, and the end of the last.
fn parse_control(bytes: &[u8]) -> (Vec<ControlEntry>, u64) {
    assert_eq!(&bytes[..8], b"DLEDCTRL");
    assert_eq!(u32_at(bytes, 8), 1, "control: format version");
    assert_eq!(u32_at(bytes, 12), crc(&bytes[..12]), "control: CRC of the header");
    let mut entries: Vec<ControlEntry> = Vec::new();
    let mut at = 16;
    while u32_at(bytes, at + 4) != 0 {
        let size = u32_at(bytes, at + 4) as usize;
        let content = u32_at(bytes, at + 12) as usize;
        assert_eq!(size, (32 + content).next_multiple_of(8), "control at {at}: size");
        assert_eq!(u32_at(bytes, at), crc(&bytes[at + 4..at + size]), "control at {at}: CRC");
        let kind = u32_at(bytes, at + 8);
        let (raft_index, term) = (u64_at(bytes, at + 16), u64_at(bytes, at + 24));
        match kind {
            1 | 2 => {
                let content = bytes[at + 32..at + 32 + content].to_vec();
                entries.push(ControlEntry { kind, raft_index, term, content });
            }
            3 => entries.retain(|e| e.raft_index < raft_index),
            _ => panic!("control at {at}: kind {kind}"),
        }
        at += size;
    }
    assert!(bytes[at..].iter().all(|b| *b == 0), "control: zeros behind the last entry");
    for pair in entries.windows(2) {
        assert!(pair[0].raft_index < pair[1].raft_index && pair[0].term <= pair[1].term);
    }
    (entries, at as u64)
}

fn unit_at(units: &BTreeMap<u64, Vec<u8>>, length: u64, n: u64) -> Option<&[u8]> {
    let at = n * 32;
    let file = units.get(&(at - at % length))?;
    let at = (at % length) as usize;
    Some(&file[at..at + 32])
}

fn zeros_behind(dir: &str, units: &BTreeMap<u64, Vec<u8>>, from: u64) {
    for (start, bytes) in units {
        let at = from.saturating_sub(*start).min(bytes.len() as u64) as usize;
        let stale = bytes[at..].iter().position(|b| *b != 0);
        assert_eq!(stale, None, "{dir}/{start:020}: zeros behind the last unit at {from}");
    }
}

/// A big-endian number of 4 bytes.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    (0..4).fold(0, |n, i| n << 8 | u32::from(bytes[at + i]))
}

/// A big-endian number of 8 bytes.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    (0..8).fold(0, |n, i| n << 8 | u64::from(bytes[at + i]))
}

/// CRC-32 (IEEE 802.3), a bit at a time.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let bit = crc & 1;
            crc >>= 1;
            if bit == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}
