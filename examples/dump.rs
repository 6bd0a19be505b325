//! Prints a log directory, also a damaged one, record by record, and what recovery would do with
//! it. It writes nothing and takes no lock; while a process has the log open, the end of what it
//! shows is a guess.
//!
//! ```text
//! cargo run --release --example dump -- DIRECTORY [--bodies] [--from POS] [--summary]
//! ```
//!
//! Ends with 0 if the directory would open, 1 if there is damage or it would be refused, 2 if it
//! cannot be read at all.

#[path = "dump/disk.rs"]
mod disk;
#[path = "dump/records.rs"]
mod records;
#[path = "dump/verdict.rs"]
mod verdict;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use dledger::commitlog::control::{Control, ControlKind, START};
use dledger::commitlog::meta::{Meta, MetaStore};
use dledger::commitlog::record;
use dledger::disk::Disk;
use dledger::error::Result;
use dledger::types::Anchor;

use disk::ReadOnly;
use records::{Data, print_data};
use verdict::Verdict;

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let answer = run(std::env::args().skip(1), &mut out).and_then(|opens| {
        out.flush()?;
        Ok(opens)
    });
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("dump: {e}");
            ExitCode::from(2)
        }
    }
}

/// Prints everything. True if the directory would open.
pub fn run(arguments: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<bool> {
    let wrong = |text| io::Error::new(ErrorKind::InvalidInput, format!("{text}\n{USAGE}"));
    let options = Options::of(arguments).map_err(wrong)?;
    if !options.dir.is_dir() {
        let what = format!("{} is not a directory", options.dir.display());
        return Err(io::Error::new(ErrorKind::NotADirectory, what));
    }
    let disk = ReadOnly(options.dir.clone());
    writeln!(out, "directory  {}", options.dir.display())?;
    let meta = MetaStore::read(&disk);
    print_meta(&disk, &meta, out)?;
    let meta = meta.unwrap_or_default();
    print_control(&disk, meta.as_ref(), &options, out)?;
    let data = Data::of(&disk, meta.as_ref())?;
    print_data(&disk, &data, meta.as_ref(), &options, out)?;
    let verdict = Verdict::of(&disk, &data);
    writeln!(out, "verdict    {}", verdict.text())?;
    Ok(verdict.opens())
}

struct Options {
    dir: PathBuf,
    bodies: bool,
    from: u64,
    summary: bool,
}

impl Options {
    fn of(mut arguments: impl Iterator<Item = String>) -> std::result::Result<Options, String> {
        let mut dir = None;
        let (mut bodies, mut from, mut summary) = (false, 0, false);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bodies" => bodies = true,
                "--summary" => summary = true,
                "--from" => {
                    let pos = arguments.next().and_then(|text| text.parse().ok());
                    from = pos.ok_or("--from takes a position")?;
                }
                option if option.starts_with("--") => {
                    return Err(format!("{option}: no such option"));
                }
                path if dir.is_none() => dir = Some(PathBuf::from(path)),
                more => return Err(format!("{more}: one directory at a time")),
            }
        }
        let dir = dir.ok_or("which directory?")?;
        Ok(Options { dir, bodies, from, summary })
    }
}

fn print_meta(disk: &ReadOnly, meta: &Result<Option<Meta>>, out: &mut dyn Write) -> io::Result<()> {
    match meta {
        Ok(None) => return writeln!(out, "meta       there is none"),
        Err(error) => writeln!(out, "meta       {error}")?,
        Ok(Some(meta)) => print_state(meta, out)?,
    }
    let file = disk.open("meta")?;
    for (name, at) in [("A", 0), ("B", META_BLOCK as u64)] {
        let mut block = vec![0; META_BLOCK];
        let state = match file.read_at(&mut block, at) {
            Err(e) => format!("cannot be read: {e}"),
            Ok(()) => {
                let (covered, crc) = block.split_at(META_BLOCK - 4);
                let intact = record::body_crc(covered).to_be_bytes() == crc;
                let number = u64_at(&block, 16);
                match (&block[..8] == b"DLEDMETA", intact) {
                    (true, true) => format!("intact, number {number}"),
                    (true, false) => format!("DAMAGED: wrong checksum (number {number})"),
                    (false, _) => "DAMAGED: not a block of meta".to_owned(),
                }
            }
        };
        writeln!(out, "           copy {name}     {state}")?;
    }
    Ok(())
}

fn print_state(meta: &Meta, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "meta       group {:?}, node {}, incarnation {:016x}, term {}, vote {}",
        meta.group, meta.node, meta.incarnation, meta.term, meta.vote
    )?;
    writeln!(
        out,
        "           segment.bytes {}, index.segment.bytes {}, unsynced.max {}",
        meta.segment_bytes, meta.index_bytes, meta.unsynced_max
    )?;
    let bounds =
        [("begin", &meta.begin), ("durable", &meta.durable), ("committed", &meta.committed)];
    for (name, anchor) in bounds {
        writeln!(out, "           {name:10} {}", place(anchor))?;
    }
    if meta.dledger_end.index.0 > 0 {
        let end = &meta.dledger_end;
        writeln!(out, "           DLedger's  up to record {}, position {}", end.index, end.pos)?;
    }
    if let Some(cut) = &meta.cut {
        writeln!(out, "           CUT        begun and not finished: {}", place(cut))?;
    }
    for member in &meta.members.members {
        let voter = meta.members.voters.contains(&member.id);
        let role = if voter { "voter" } else { "learner" };
        let address = if member.address.is_empty() { "no address" } else { &member.address };
        writeln!(out, "           member {} {role}, {address}", member.id)?;
    }
    Ok(())
}

fn place(anchor: &Anchor) -> String {
    let Anchor { index, pos, raft_index, term, .. } = anchor;
    format!("record {index}, position {pos}, behind Raft entry {raft_index} of term {term}")
}

fn print_control(
    disk: &ReadOnly,
    meta: Option<&Meta>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    let bound = meta.map_or(0, |meta| meta.control_end);
    if meta.is_none() && disk.open("control").is_err() {
        return Ok(());
    }
    match Control::read(disk, bound) {
        Err(error) => writeln!(out, "control    {error}"),
        Ok((entries, end)) => {
            let used = end - START;
            writeln!(out, "control    {} entries in {used} bytes, {bound} durable", entries.len())?;
            for entry in entries.iter().filter(|_| !options.summary) {
                let kind = match entry.kind {
                    ControlKind::NoOp => "no-op",
                    ControlKind::Membership => "membership",
                };
                let (at, term) = (entry.raft_index, entry.term);
                writeln!(out, "           Raft entry {at} of term {term}: {kind}")?;
            }
            Ok(())
        }
    }
}
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

const USAGE: &str = "usage: dump DIRECTORY [--bodies] [--from POS] [--summary]
  --bodies    show the beginning of each body
  --from POS  begin with the record that has this position, or the next one
  --summary   leave out what is in order";
const META_BLOCK: usize = 4096;
