//! What lies in the data files, byte by byte. It decides nothing.

use std::io::{self, Write};
use std::sync::Arc;

use dledger::commitlog::meta::Meta;
use dledger::commitlog::record::{
    self, CONTROLS_MANY, HEADER, Header, MAGIC, MAGIC_BLANK, MAGIC_NOOP, MIN_BLANK,
};
use dledger::commitlog::segment;
use dledger::disk::{Disk, File};

use super::Options;
use super::disk::ReadOnly;

/// The data files there are.
pub struct Data {
    pub segment_bytes: u64,
    /// Below it DLedger's records are taken as they are.
    dledger_end: u64,
    /// Position and length, in order.
    pub files: Vec<(u64, u64)>,
    /// Names that are none of a segment.
    pub others: Vec<String>,
}

impl Data {
    pub fn of(disk: &ReadOnly, meta: Option<&Meta>) -> io::Result<Data> {
        let listed = disk.list("data")?;
        let longest = listed.iter().map(|(_, len)| *len).max().unwrap_or(0);
        let segment_bytes = meta.map_or(longest, |meta| meta.segment_bytes).max(1);
        let dledger_end = meta.map_or(u64::MAX, |meta| meta.dledger_end.pos);
        let (mut files, mut others) = (Vec::new(), Vec::new());
        for (name, len) in listed {
            match name.parse::<u64>() {
                Ok(pos) if name.len() == 20 && pos % segment_bytes == 0 => files.push((pos, len)),
                _ => others.push(name),
            }
        }
        Ok(Data { segment_bytes, dledger_end, files, others })
    }
}

impl Data {
    /// Whether `meta` notes that DLedger wrote up to here, or behind it.
    fn is_taken_over(&self, pos: u64) -> bool {
        self.dledger_end != u64::MAX && pos < self.dledger_end
    }
}

pub fn print_data(
    disk: &ReadOnly,
    data: &Data,
    meta: Option<&Meta>,
    options: &Options,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "data       {} files, segments of {} bytes",
        data.files.len(),
        data.segment_bytes
    )?;
    for name in &data.others {
        writeln!(out, "           data/{name} is not the name of a segment")?;
    }
    let mut walk = Walk::new(data, meta, options);
    for &(pos, len) in data.files.iter().filter(|(pos, _)| pos + data.segment_bytes > options.from)
    {
        walk.file(disk, pos, len, out)?;
    }
    let Tally { records, bodies, batches, bad, holes, .. } = walk.tally;
    writeln!(out, "counted    {records} records in {batches} batches, {bodies} bytes in bodies")?;
    writeln!(out, "           {bad} records with a wrong checksum or framing, {holes} holes")
}

/// Goes through files byte by byte and says what each is. It decides nothing.
struct Walk<'a> {
    data: &'a Data,
    options: &'a Options,
    /// Where the next record should be, if that is known.
    next: Option<Next>,
    /// The same, if of the header before only the chainCrc is damaged.
    or: Option<Next>,
    /// A file whose first bytes may be a blank: a log of DLedger's that was reset.
    first: bool,
    tally: Tally,
}

/// What the record before says of the next one.
#[derive(Clone, Copy)]
struct Next {
    index: u64,
    chain: u32,
    /// The last batch's Raft index, if it is known.
    batch: Option<u64>,
    /// In the middle of a batch: its first record's `follow`, and how many records came.
    within: Option<(u16, u32)>,
}

impl Next {
    /// What is known behind a record whose header is damaged in some field, while its chainCrc is
    /// what it was: nothing but what the record before it said.
    fn behind_damage(self, chain: u32) -> Next {
        let within = self.within.map(|(first, came)| (first, came + 1));
        Next {
            index: self.index + 1,
            chain,
            batch: within.and(self.batch),
            within: within.filter(|(first, came)| *came <= u32::from(*first)),
        }
    }
}

#[derive(Default)]
struct Tally {
    records: u64,
    bodies: u64,
    batches: u64,
    bad: u64,
    holes: u64,
}

impl<'a> Walk<'a> {
    fn new(data: &'a Data, meta: Option<&Meta>, options: &'a Options) -> Walk<'a> {
        let begin = meta.map(|meta| meta.begin).filter(|begin| begin.pos >= options.from);
        let next = begin.map(|begin| Next {
            index: begin.index.0,
            chain: begin.chain,
            batch: Some(begin.batch.0),
            within: None,
        });
        Walk { data, options, next, or: None, first: true, tally: Tally::default() }
    }

    fn file(&mut self, disk: &ReadOnly, pos: u64, len: u64, out: &mut dyn Write) -> io::Result<()> {
        let path = segment::path(pos);
        if !self.options.summary {
            let odd = if len == self.data.segment_bytes { "" } else { ": WRONG LENGTH" };
            writeln!(out, "{path}, {len} bytes{odd}")?;
        }
        let mut window = Window::new(disk.open(&path)?, pos, len.min(self.data.segment_bytes));
        match self.records(&mut window, out) {
            Err(Trouble::Output(e)) => Err(e),
            Err(Trouble::Disk(e)) => {
                self.tally.holes += 1;
                self.next = None;
                writeln!(out, "  CANNOT BE READ: {path}: {e}")
            }
            Ok(()) => Ok(()),
        }
    }

    fn records(&mut self, window: &mut Window, out: &mut dyn Write) -> Walked<()> {
        let mut pos = window.pos;
        while pos < window.end() {
            if let Some(size) = self.blank(window, pos)? {
                self.note(out, pos, size, "blank")?;
                pos += size;
            } else if let Some(header) = whole(window, pos)? {
                let body = window.bytes(pos + HEADER as u64, header.body_len.into())?;
                self.record(&header, body.unwrap_or_default(), out)?;
                pos = header.end();
            } else {
                pos = self.hole(window, pos, out)?;
            }
            self.first = false;
        }
        Ok(())
    }

    /// The length of the blank at `pos`, if one is there.
    fn blank(&self, window: &mut Window, pos: u64) -> Walked<Option<u64>> {
        let Some(bytes) = window.bytes(pos, MIN_BLANK)? else { return Ok(None) };
        let (magic, size) = (u32_at(bytes, 0), u64::from(u32_at(bytes, 4)));
        let rest = window.pos + self.data.segment_bytes - pos;
        let fills = size == rest || self.first && size >= MIN_BLANK && size < rest;
        Ok((magic == MAGIC_BLANK && fills).then_some(size.min(window.end() - pos)))
    }

    fn record(&mut self, header: &Header, body: &[u8], out: &mut dyn Write) -> Walked<()> {
        let dledgers = header.is_dledgers() && header.pos < self.data.dledger_end;
        // Of two ways to take a damaged header, the one that leads here.
        if let Some(or) = self.or.take()
            && record::chain_crc(or.chain, &header.encode()) == header.chain_crc
        {
            self.next = Some(or);
        }
        let mut damaged = None;
        let mut wrong = Vec::new();
        if !dledgers {
            if record::body_crc(body) != header.body_crc {
                wrong.push("body");
            }
            let chain = self.next.map(|next| record::chain_crc(next.chain, &header.encode()));
            damaged = chain.filter(|chain| *chain != header.chain_crc);
            if damaged.is_some() {
                wrong.push("header or chain");
            }
            if header.magic == MAGIC_NOOP {
                wrong.push("magic");
            }
        }
        if self.next.is_some_and(|next| next.index != header.index.0) {
            wrong.push("index");
        }
        let (within, framed) = self.frame(header);
        if !framed {
            wrong.push("framing");
        }
        let (first, at) = within;
        let batch = self.next.and_then(|next| next.batch);
        let batch = match batch {
            // What DLedger wrote or went on behind counts as a batch for each record.
            _ if dledgers || self.data.is_taken_over(header.pos) => Some(header.index.0 + 1),
            Some(batch) if at == 1 && header.controls != CONTROLS_MANY => {
                Some(batch + u64::from(header.controls) + 1)
            }
            Some(batch) if at > 1 => Some(batch),
            _ => None,
        };
        let next = Next {
            index: header.index.0.saturating_add(1),
            chain: header.chain_crc,
            batch,
            within: (header.follow > 0).then_some(within),
        };
        self.next = match (self.next, damaged) {
            (Some(before), Some(chain)) => {
                self.or = Some(Next { chain, ..next });
                Some(before.behind_damage(header.chain_crc))
            }
            _ => Some(next),
        };
        self.tally.records += 1;
        self.tally.bodies += body.len() as u64;
        self.tally.batches += u64::from(at == 1);
        self.tally.bad += u64::from(!wrong.is_empty());
        if header.end() <= self.options.from || self.options.summary && wrong.is_empty() {
            return Ok(());
        }
        let checksums = match wrong[..] {
            [] if dledgers && header.magic == MAGIC_NOOP => "no-op of DLedger's".to_owned(),
            [] if dledgers => "DLedger's, no checksums".to_owned(),
            [] => "ok".to_owned(),
            _ => format!("BAD: {}", wrong.join(", ")),
        };
        let raft = batch.map_or("?".to_owned(), |batch| batch.to_string());
        let framing = format!("{at}/{}", u32::from(first) + 1);
        let controls = match header.controls {
            0 => String::new(),
            CONTROLS_MANY => ", behind very many control entries".to_owned(),
            1 => ", behind a control entry".to_owned(),
            n => format!(", behind {n} control entries"),
        };
        let Header { index, term, pos, size, .. } = header;
        writeln!(
            out,
            "  record {index:<10} term {term:<4} pos {pos:<12} size {size:<8} \
             Raft entry {raft:<8} {framing:<9} {checksums}{controls}"
        )?;
        if self.options.bodies {
            let shown = &body[..body.len().min(BODY_SHOWN)];
            let more = if shown.len() < body.len() { "..." } else { "" };
            writeln!(out, "    {}{more}", shown.escape_ascii())?;
        }
        Ok(())
    }

    /// The batch this record says it is in (its first record's `follow`, and the record's place in
    /// it from 1), and whether that fits the record before.
    fn frame(&self, header: &Header) -> ((u16, u32), bool) {
        match self.next.and_then(|next| next.within) {
            Some((first, came)) => {
                let fits =
                    header.controls == 0 && u32::from(header.follow) + came == u32::from(first);
                if fits { ((first, came + 1), true) } else { ((header.follow, 1), false) }
            }
            None => ((header.follow, 1), true),
        }
    }

    /// What is neither a record nor a blank: up to the next one that is. Answers where that is.
    fn hole(&mut self, window: &mut Window, pos: u64, out: &mut dyn Write) -> Walked<u64> {
        let next = self.find(window, pos + 1)?;
        let to = next.unwrap_or(window.end());
        let zeros = window.only_zeros(pos, to)?;
        match (zeros, next) {
            (true, None) => self.note(out, pos, to - pos, "zeros to the end of the file")?,
            (true, Some(_)) => self.note(out, pos, to - pos, "HOLE: zeros")?,
            (false, _) => self.note(out, pos, to - pos, "HOLE: bytes that are no record")?,
        }
        if !zeros || next.is_some() {
            self.tally.holes += 1;
        }
        self.next = None;
        Ok(to)
    }

    /// The first record or blank at or behind `from` in the file.
    fn find(&self, window: &mut Window, from: u64) -> Walked<Option<u64>> {
        let mut pos = from;
        while pos < window.end() {
            let Some(data) = window.next_data(pos)? else { return Ok(None) };
            // A magic may begin with zeros that lie before the first byte of data.
            pos = pos.max(data.saturating_sub(3));
            let n = SEARCH.min(window.end() - pos);
            let bytes = window.bytes(pos, n)?.unwrap_or_default();
            let magics: Vec<u64> = (0..bytes.len().saturating_sub(7))
                .filter(|&at| matches!(u32_at(bytes, at), MAGIC | MAGIC_NOOP | MAGIC_BLANK))
                .map(|at| pos + at as u64)
                .collect();
            for at in magics {
                let rest = window.pos + self.data.segment_bytes - at;
                let blank = window.bytes(at, MIN_BLANK)?.is_some_and(|bytes| {
                    u32_at(bytes, 0) == MAGIC_BLANK && u64::from(u32_at(bytes, 4)) == rest
                });
                if blank || whole(window, at)?.is_some() {
                    return Ok(Some(at));
                }
            }
            pos += if pos + n == window.end() { n } else { n - 7 };
        }
        Ok(None)
    }

    fn note(&self, out: &mut dyn Write, pos: u64, len: u64, what: &str) -> io::Result<()> {
        let loud = what.starts_with("HOLE");
        if self.options.summary && !loud || pos + len <= self.options.from {
            return Ok(());
        }
        writeln!(out, "  {what}: {len} bytes, position {pos} to {}", pos + len)
    }
}

/// The header at `pos` if a whole record of the right shape is there, which knows its place.
fn whole(window: &mut Window, pos: u64) -> Walked<Option<Header>> {
    let Some(bytes) = window.bytes(pos, HEADER as u64)? else { return Ok(None) };
    let Ok(bytes) = bytes.try_into() else { return Ok(None) };
    let header = Header::decode(bytes);
    let fits = header.is_whole() && header.pos == pos && header.end() <= window.end();
    Ok(fits.then_some(header))
}

/// What ends a walk.
pub enum Trouble {
    Disk(io::Error),
    Output(io::Error),
}

type Walked<T> = std::result::Result<T, Trouble>;

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Output(error)
    }
}

/// A file, read a large piece at a time. Positions are those of the log.
pub struct Window {
    file: Arc<dyn File>,
    pos: u64,
    len: u64,
    buf: Vec<u8>,
    buf_pos: u64,
}

impl Window {
    pub fn new(file: Arc<dyn File>, pos: u64, len: u64) -> Window {
        Window { file, pos, len, buf: Vec::new(), buf_pos: pos }
    }

    fn end(&self) -> u64 {
        self.pos + self.len
    }

    /// `len` bytes at `pos`; `None` if the file does not have them all.
    fn bytes(&mut self, pos: u64, len: u64) -> Walked<Option<&[u8]>> {
        if pos < self.pos || pos.saturating_add(len) > self.end() {
            return Ok(None);
        }
        if pos < self.buf_pos || pos + len > self.buf_pos + self.buf.len() as u64 {
            self.buf.resize(len.max(WINDOW).min(self.end() - pos) as usize, 0);
            self.buf_pos = pos;
            if let Err(error) = self.file.read_at(&mut self.buf, pos - self.pos) {
                self.buf.clear();
                return Err(Trouble::Disk(error));
            }
        }
        let at = (pos - self.buf_pos) as usize;
        Ok(self.buf.get(at..at + len as usize))
    }

    fn next_data(&self, pos: u64) -> Walked<Option<u64>> {
        let data = self.file.next_data(pos - self.pos).map_err(Trouble::Disk)?;
        Ok(data.map(|at| self.pos + at).filter(|&at| at < self.end()))
    }

    pub fn only_zeros(&mut self, from: u64, to: u64) -> Walked<bool> {
        let mut pos = from;
        while let Some(data) = self.next_data(pos)?.filter(|&data| data < to) {
            let n = SEARCH.min(to - data);
            if self.bytes(data, n)?.unwrap_or_default().iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            pos = data + n;
            if pos >= to {
                break;
            }
        }
        Ok(true)
    }
}
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

/// Bytes to read at a time.
const WINDOW: u64 = 1 << 20;
/// Bytes to search at a time.
const SEARCH: u64 = 64 << 10;
/// Bytes of a body to show.
const BODY_SHOWN: usize = 200;
