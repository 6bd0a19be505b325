//! The options: one table with each one's key, type, preset, bounds and what it means. A value is
//! text, is checked when it is set, and bears a unit where it has one. What options ask of each
//! other is checked by [`Options::validate`].

#[cfg(test)]
mod tests;
mod value;

use std::time::Duration;

use crate::error::{Error, Result};
use value::{
    GIB, H, KIB, MIB, MS, Parsed, S, SHOWN, address, between, choice, duration, integer, members,
    name, node_id, ratio, shown, size, stamp, text, unless_off, within,
};

/// What a log is opened with. The fields are what the keys of [`OPTIONS`] set.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // documented in the table
pub struct Options {
    pub dir: Option<String>,
    pub group: String,
    pub node_id: Option<u64>,
    pub listen: Option<String>,
    pub priority: u32,
    pub members: Vec<(u64, String)>,
    pub addresses: Vec<(u64, String)>,
    pub begin_pos: u64,
    pub segment_bytes: u64,
    pub index_bytes: u64,
    pub flush: Flush,
    pub append_max: u32,
    pub pending_max: u64,
    pub pending_bytes: u64,
    pub append_timeout: Duration,
    pub append_stamp: Option<Stamp>,
    pub election_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub retention_bytes: Option<u64>,
    pub retention_time: Option<Duration>,
    pub disk_full_ratio: f64,
    pub missing_tail: MissingTail,
    pub tls_cert: Option<String>,
    pub tls_key: Option<String>,
    pub tls_ca: Option<String>,
    pub insecure_listen: bool,
    pub callbacks: Callbacks,
    pub unsynced_max: u64,
    pub checkpoint_interval: Duration,
    /// Set by hand; else it follows `segment_bytes`.
    append_max_set: bool,
    /// Set by hand; else it follows `append_max`.
    unsynced_max_set: bool,
}

/// When an append counts as done on this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// When it is synced.
    Commit,
    /// When it is written; a sync comes every so often.
    Every(Duration),
}

/// A number that the log writes into each body as it is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Where in the body.
    pub offset: u32,
    /// Which number.
    pub value: StampValue,
    /// Its eight bytes.
    pub encoding: StampEncoding,
}

/// What a [`Stamp`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampValue {
    /// Position of the body.
    BodyPos,
    /// Position of the header.
    Pos,
    /// The record's index.
    Index,
}

/// How a [`Stamp`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampEncoding {
    /// Big-endian.
    Be64,
    /// Little-endian.
    Le64,
}

/// What to do if records that were durable are missing at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingTail {
    /// Do not open.
    Refuse,
    /// Go on without them.
    Clamp,
}

/// Where callbacks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callbacks {
    /// On a thread of the library.
    Thread,
    /// Inside the caller's poll.
    Poll,
}

/// One option.
pub struct OptionInfo {
    /// Its name.
    pub key: &'static str,
    /// `bytes`, `duration`, `integer`, `ratio`, `text` or `choice`.
    pub kind: &'static str,
    /// The value it has if it is not set; empty: none.
    pub preset: &'static str,
    /// The values it takes.
    pub allowed: &'static str,
    /// What it is, in one sentence.
    pub doc: &'static str,
    /// May change while the log is open.
    pub live: bool,
    set: fn(&mut Options, &str) -> Parsed<()>,
}

impl Default for Options {
    /// The presets of the table.
    fn default() -> Options {
        let mut options = UNSET;
        for info in OPTIONS.iter().filter(|info| !info.preset.is_empty()) {
            let parsed = (info.set)(&mut options, info.preset);
            debug_assert_eq!(parsed, Ok(()), "{}", info.key);
        }
        Options { append_max_set: false, unsynced_max_set: false, ..options }
    }
}

impl Options {
    /// Sets one option by text. On an error nothing changes, and the error says what is allowed.
    ///
    /// `append.max.bytes` is lowered to what a segment takes, and `unsynced.max` is raised to one
    /// record of that size, as long as they were not set themselves.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        info(key)?.apply(self, value)?;
        self.derive();
        Ok(())
    }

    /// Sets one option of an open log: only a live one, only to what fits the others, and without
    /// an effect on any other. On an error nothing changes.
    pub fn set_live(&mut self, key: &str, value: &str) -> Result<()> {
        let info = info(key)?;
        if !info.live {
            return Err(Error::Config(format!("{key} does not change while the log is open")));
        }
        let mut next = self.clone();
        info.apply(&mut next, value)?;
        next.validate()?;
        *self = next;
        Ok(())
    }

    /// Checks what options ask of each other.
    pub fn validate(&self) -> Result<()> {
        let wrong = |text: String| Err(Error::Config(text));
        if self.dir.is_none() {
            return wrong("dir must be set".into());
        }
        let Some(node) = self.node_id else {
            return wrong("node.id must be set".into());
        };
        let has = |list: &[(u64, String)]| list.iter().any(|(id, _)| *id == node);
        let waits = !self.members.is_empty() && !has(&self.members);
        if waits && self.listen.is_none() && !has(&self.addresses) {
            return wrong(format!(
                "members does not have node.id = {node}, so this member waits to be added: \
                 node.listen must be set"
            ));
        }
        if self.begin_pos.checked_rem(self.segment_bytes) != Some(0) {
            return wrong(format!(
                "begin.pos = {} is not a multiple of segment.bytes = {}",
                self.begin_pos, self.segment_bytes
            ));
        }
        let body_max = self.segment_bytes.saturating_sub(SEGMENT_OVERHEAD);
        if u64::from(self.append_max) > body_max {
            return wrong(format!(
                "append.max.bytes = {} is above {body_max}, which is segment.bytes - 56",
                self.append_max
            ));
        }
        let record_max = u64::from(self.append_max) + RECORD_HEADER;
        if self.unsynced_max < record_max {
            return wrong(format!(
                "unsynced.max = {} is below {record_max}, which is append.max.bytes + 48",
                self.unsynced_max
            ));
        }
        if let Some(stamp) = self.append_stamp
            && u64::from(stamp.offset) + 8 > u64::from(self.append_max)
        {
            return wrong(format!(
                "append.stamp at {} is beyond append.max.bytes = {}",
                stamp.offset, self.append_max
            ));
        }
        if self.heartbeat_interval * 2 > self.election_timeout {
            return wrong(format!(
                "heartbeat.interval = {:?} is above half of election.timeout = {:?}",
                self.heartbeat_interval, self.election_timeout
            ));
        }
        let tls = [&self.tls_cert, &self.tls_key, &self.tls_ca];
        if tls.iter().any(|path| path.is_some()) && tls.iter().any(|path| path.is_none()) {
            return wrong("tls.cert, tls.key and tls.ca must be set together".into());
        }
        Ok(())
    }

    /// `disk.full.ratio` in millionths.
    pub fn disk_full_ppm(&self) -> u64 {
        (self.disk_full_ratio * 1e6) as u64
    }

    fn derive(&mut self) {
        if !self.append_max_set {
            let body_max = self.segment_bytes.saturating_sub(SEGMENT_OVERHEAD);
            self.append_max = u32::try_from(body_max).unwrap_or(u32::MAX).min(APPEND_MAX);
        }
        if !self.unsynced_max_set {
            self.unsynced_max = UNSYNCED_MAX.max(u64::from(self.append_max) + RECORD_HEADER);
        }
    }
}

impl OptionInfo {
    fn apply(&self, options: &mut Options, value: &str) -> Result<()> {
        (self.set)(options, value).map_err(|complaint| {
            let (key, allowed) = (self.key, self.allowed);
            Error::Config(format!("{key} = {}: {complaint}; allowed: {allowed}", shown(value)))
        })
    }
}

/// All options.
pub static OPTIONS: &[OptionInfo] = &[
    OptionInfo {
        key: "dir",
        kind: "text",
        preset: "",
        allowed: "a path",
        doc: "Directory of the log; must be set.",
        live: false,
        set: |o, v| text(v).map(|v| o.dir = Some(v)),
    },
    OptionInfo {
        key: "group",
        kind: "text",
        preset: "default",
        allowed: "1 to 255 bytes without control characters",
        doc: "The cluster's name, checked in each handshake.",
        live: false,
        set: |o, v| name(v).map(|v| o.group = v),
    },
    OptionInfo {
        key: "node.id",
        kind: "integer",
        preset: "",
        allowed: "1 to 2^63-1",
        doc: "Number of this member in its group; must be set.",
        live: false,
        set: |o, v| node_id(v).map(|v| o.node_id = Some(v)),
    },
    OptionInfo {
        key: "node.listen",
        kind: "text",
        preset: "",
        allowed: "host:port, as in 0.0.0.0:20911",
        doc: "Address to listen at for other members; a group of one needs none.",
        live: false,
        set: |o, v| address(v).map(|v| o.listen = Some(v)),
    },
    OptionInfo {
        key: "node.priority",
        kind: "integer",
        preset: "0",
        allowed: "0 to 4294967295",
        doc: "The member with the highest one is the preferred leader.",
        live: false,
        set: |o, v| within(integer(v)?, 0, u64::from(u32::MAX)).map(|v| o.priority = v as u32),
    },
    OptionInfo {
        key: "members",
        kind: "text",
        preset: "",
        allowed: "id@host:port, separated by commas",
        doc: "The group's members when it is born; without it a group of one, without this one it \
              waits to be added.",
        live: false,
        set: |o, v| members(v).map(|v| o.members = v),
    },
    OptionInfo {
        key: "member.addresses",
        kind: "text",
        preset: "",
        allowed: "id@host:port, separated by commas",
        doc: "Addresses to use here instead of those that the group has agreed on.",
        live: false,
        set: |o, v| members(v).map(|v| o.addresses = v),
    },
    OptionInfo {
        key: "begin.pos",
        kind: "bytes",
        preset: "0",
        allowed: "0 to 2^62, a multiple of segment.bytes",
        doc: "Position of the first record when the group is born; equal on all members.",
        live: false,
        set: |o, v| within(size(v)?, 0, 1 << 62).map(|v| o.begin_pos = v),
    },
    OptionInfo {
        key: "segment.bytes",
        kind: "bytes",
        preset: "1GiB",
        allowed: "4KiB to 4GiB-1, written as a number with B, KiB, MiB or GiB",
        doc: "Length of a data file; equal on all members, for ever.",
        live: false,
        set: |o, v| within(size(v)?, 4 * KIB, 4 * GIB - 1).map(|v| o.segment_bytes = v),
    },
    OptionInfo {
        key: "index.segment.bytes",
        kind: "bytes",
        preset: "160MiB",
        allowed: "4KiB to 1GiB, a multiple of 32, written as a number with B, KiB, MiB or GiB",
        doc: "Length of an index file and of a batch file; fixed when the directory is made.",
        live: false,
        set: |o, v| match within(size(v)?, 4 * KIB, GIB)? {
            v if v % 32 != 0 => Err("not a multiple of 32".into()),
            v => {
                o.index_bytes = v;
                Ok(())
            }
        },
    },
    OptionInfo {
        key: "flush",
        kind: "duration",
        preset: "commit",
        allowed: "commit, or 1ms to 60s, a number with ms or s",
        doc: "Sync before an append counts here, or by interval: then a power cut may lose what \
              was acknowledged.",
        live: true,
        set: |o, v| {
            o.flush = match v {
                "commit" => Flush::Commit,
                _ => Flush::Every(between(duration(v)?, MS, 60 * S)?),
            };
            Ok(())
        },
    },
    OptionInfo {
        key: "append.max.bytes",
        kind: "bytes",
        preset: "4MiB",
        allowed: "1B to segment.bytes - 56, written as a number with B, KiB, MiB or GiB",
        doc: "Largest body; if not set, no more than a segment takes.",
        live: true,
        set: |o, v| {
            o.append_max = within(size(v)?, 1, 4 * GIB - 1 - SEGMENT_OVERHEAD)? as u32;
            o.append_max_set = true;
            Ok(())
        },
    },
    OptionInfo {
        key: "append.pending.max",
        kind: "integer",
        preset: "10000",
        allowed: "1 to 10000000",
        doc: "Records that may be in flight at once.",
        live: true,
        set: |o, v| within(integer(v)?, 1, 10_000_000).map(|v| o.pending_max = v),
    },
    OptionInfo {
        key: "append.pending.bytes",
        kind: "bytes",
        preset: "256MiB",
        allowed: "64KiB to 64GiB, written as a number with B, KiB, MiB or GiB",
        doc: "Bytes that may be in flight at once.",
        live: true,
        set: |o, v| within(size(v)?, 64 * KIB, 64 * GIB).map(|v| o.pending_bytes = v),
    },
    OptionInfo {
        key: "append.timeout",
        kind: "duration",
        preset: "2500ms",
        allowed: "1ms to 1h, a number with ms, s, m or h",
        doc: "How long an append may wait for its commit.",
        live: true,
        set: |o, v| between(duration(v)?, MS, H).map(|v| o.append_timeout = v),
    },
    OptionInfo {
        key: "append.stamp",
        kind: "text",
        preset: "off",
        allowed: "off, or offset:value:encoding with body_pos, pos or index, and be64 or le64, \
                  as in 28:body_pos:be64",
        doc: "A number that is written into each body as it is appended.",
        live: true,
        set: |o, v| unless_off(v, stamp).map(|v| o.append_stamp = v),
    },
    OptionInfo {
        key: "election.timeout",
        kind: "duration",
        preset: "1s",
        allowed: "50ms to 60s, a number with ms or s",
        doc: "The longest that a member waits for a leader before it campaigns; at least half of it, drawn anew each time.",
        live: false,
        set: |o, v| between(duration(v)?, 50 * MS, 60 * S).map(|v| o.election_timeout = v),
    },
    OptionInfo {
        key: "heartbeat.interval",
        kind: "duration",
        preset: "100ms",
        allowed: "5ms to 30s, at most half of election.timeout, a number with ms or s",
        doc: "How often a leader shows that it is there.",
        live: false,
        set: |o, v| between(duration(v)?, 5 * MS, 30 * S).map(|v| o.heartbeat_interval = v),
    },
    OptionInfo {
        key: "retention.bytes",
        kind: "bytes",
        preset: "off",
        allowed: "off, or 4KiB to 2^62, written as a number with B, KiB, MiB or GiB",
        doc: "Whole segments are dropped at the head while the log is longer.",
        live: true,
        set: |o, v| {
            let parse = |v: &str| within(size(v)?, 4 * KIB, 1 << 62);
            unless_off(v, parse).map(|v| o.retention_bytes = v)
        },
    },
    OptionInfo {
        key: "retention.time",
        kind: "duration",
        preset: "off",
        allowed: "off, or 1ms to 876000h, a number with ms, s, m or h",
        doc: "Whole segments are dropped at the head when they were last written longer ago.",
        live: true,
        set: |o, v| {
            let parse = |v: &str| between(duration(v)?, MS, 876_000 * H);
            unless_off(v, parse).map(|v| o.retention_time = v)
        },
    },
    OptionInfo {
        key: "disk.full.ratio",
        kind: "ratio",
        preset: "0.90",
        allowed: "0.50 to 1.00; 1.00 is never",
        doc: "Appends are refused while more than this part of the file system of the segments \
              (`data` in `dir`, which may be a link) is used, as df tells it.",
        live: true,
        set: |o, v| ratio(v).map(|v| o.disk_full_ratio = v),
    },
    OptionInfo {
        key: "recovery.missing.tail",
        kind: "choice",
        preset: "refuse",
        allowed: "refuse or clamp",
        doc: "What to do if durable records are missing at the end; clamp is unsafe: it loses \
              what was acknowledged.",
        live: false,
        set: |o, v| {
            choice(v, &[("refuse", MissingTail::Refuse), ("clamp", MissingTail::Clamp)])
                .map(|v| o.missing_tail = v)
        },
    },
    OptionInfo {
        key: "tls.cert",
        kind: "text",
        preset: "",
        allowed: "the path of a PEM file",
        doc: "Certificate of this member, named dledger:<group>/<node.id>; with tls.key and tls.ca, all \
              read by dl_start, members speak mutual TLS 1.3 and nothing else.",
        live: false,
        set: |o, v| text(v).map(|v| o.tls_cert = Some(v)),
    },
    OptionInfo {
        key: "tls.key",
        kind: "text",
        preset: "",
        allowed: "the path of a PEM file",
        doc: "Private key of this member's certificate.",
        live: false,
        set: |o, v| text(v).map(|v| o.tls_key = Some(v)),
    },
    OptionInfo {
        key: "tls.ca",
        kind: "text",
        preset: "",
        allowed: "the path of a PEM file",
        doc: "Authority that all members' certificates must come from; several, while one \
              replaces another.",
        live: false,
        set: |o, v| text(v).map(|v| o.tls_ca = Some(v)),
    },
    OptionInfo {
        key: "insecure.listen",
        kind: "choice",
        preset: "no",
        allowed: "yes or no",
        doc: "Listen without TLS at other addresses than loopback.",
        live: false,
        set: |o, v| choice(v, &[("yes", true), ("no", false)]).map(|v| o.insecure_listen = v),
    },
    OptionInfo {
        key: "callbacks",
        kind: "choice",
        preset: "thread",
        allowed: "thread or poll",
        doc: "Callbacks run on a thread of the library, or inside the caller's poll.",
        live: false,
        set: |o, v| {
            choice(v, &[("thread", Callbacks::Thread), ("poll", Callbacks::Poll)])
                .map(|v| o.callbacks = v)
        },
    },
    OptionInfo {
        key: "unsynced.max",
        kind: "bytes",
        preset: "16MiB",
        allowed: "64KiB to 1GiB, at least append.max.bytes + 48, written as a number with B, KiB, \
                  MiB or GiB",
        doc: "What may be written between two syncs: recovery takes no hole farther from the end \
              for a torn write.",
        live: false,
        set: |o, v| {
            o.unsynced_max = within(size(v)?, 64 * KIB, GIB)?;
            o.unsynced_max_set = true;
            Ok(())
        },
    },
    OptionInfo {
        key: "checkpoint.interval",
        kind: "duration",
        preset: "3s",
        allowed: "10ms to 1h, a number with ms, s, m or h",
        doc: "How often what recovery need not scan again is noted.",
        live: true,
        set: |o, v| between(duration(v)?, 10 * MS, H).map(|v| o.checkpoint_interval = v),
    },
];

/// What is wrong with the address of a member, if anything: it is host:port.
pub fn check_address(text: &str) -> Result<()> {
    match address(text) {
        Ok(_) => Ok(()),
        Err(why) => Err(Error::Invalid(format!("{why}; allowed: host:port").into())),
    }
}

fn info(key: &str) -> Result<&'static OptionInfo> {
    OPTIONS.iter().find(|info| info.key == key).ok_or_else(|| {
        let closest = OPTIONS.iter().min_by_key(|info| distance(key, info.key));
        let closest = closest.map_or("", |info| info.key);
        Error::Config(format!("unknown option {}; the closest one is {closest}", shown(key)))
    })
}

/// How many characters to add, drop or change; of a long key the beginning counts.
fn distance(key: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in key.chars().take(SHOWN).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// Before the presets.
const UNSET: Options = Options {
    dir: None,
    group: String::new(),
    node_id: None,
    listen: None,
    priority: 0,
    members: Vec::new(),
    addresses: Vec::new(),
    begin_pos: 0,
    segment_bytes: 0,
    index_bytes: 0,
    flush: Flush::Commit,
    append_max: 0,
    pending_max: 0,
    pending_bytes: 0,
    append_timeout: Duration::ZERO,
    append_stamp: None,
    election_timeout: Duration::ZERO,
    heartbeat_interval: Duration::ZERO,
    retention_bytes: None,
    retention_time: None,
    disk_full_ratio: 0.0,
    missing_tail: MissingTail::Refuse,
    tls_cert: None,
    tls_key: None,
    tls_ca: None,
    insecure_listen: false,
    callbacks: Callbacks::Thread,
    unsynced_max: 0,
    checkpoint_interval: Duration::ZERO,
    append_max_set: false,
    unsynced_max_set: false,
};
/// A record's header, and the least that a blank takes behind it.
const SEGMENT_OVERHEAD: u64 = RECORD_HEADER + 8;
const RECORD_HEADER: u64 = 48;
/// The presets of `append.max.bytes` and `unsynced.max`.
const APPEND_MAX: u32 = 4 * MIB as u32;
const UNSYNCED_MAX: u64 = 16 * MIB;
