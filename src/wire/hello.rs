//! The hello: what two members tell each other before anything else. Who dials sends a hello; who
//! accepts answers with its own, or with a refusal, and then closes.
//!
//! ```text
//! prefix   0 magic 4 | 4 version 2 | 6 length 2 of what follows, CRC included
//! hello    prefix "DLGH" | member | CRC-32 4
//! answer   prefix "DLGA" | refusal 2 | member, if the refusal is 0 | CRC-32 4
//! member   from 8 | to 8 | incarnation 8 | to_incarnation 8 | segment_bytes 8 | priority 4
//!          | begin: anchor 44 | end: anchor 44 | group: length 2, UTF-8 | member set, as in `meta`
//! ```
//!
//! The CRC covers all before it. Every later version begins with these fields, may have more
//! behind them, and stays below [`HELLO_MAX`]: so each version can read who is there, and refuse.

#[cfg(test)]
mod tests;

use super::anchor;
use crate::commitlog::meta::{In, Member, MemberSet, Out, SET_MAX};
use crate::types::Anchor;

/// Who a member is, what it wants, and how far its log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub version: u16,
    /// Its group; 1 to [`GROUP_MAX`] bytes without control characters.
    pub group: String,
    /// The sender.
    pub from: u64,
    /// Whom it takes the receiver for.
    pub to: u64,
    /// The sender's incarnation, never 0.
    pub incarnation: u64,
    /// The incarnation of `to` that the sender has bound; 0: none.
    pub to_incarnation: u64,
    /// Length of a segment.
    pub segment_bytes: u64,
    /// A leader hands over to a member that has a higher one.
    pub priority: u32,
    /// Where its log begins.
    pub begin: Anchor,
    /// Where its log ends: a leader that knew a higher match probes again.
    pub end: Anchor,
    /// The members that the sender knows: a set that is in force.
    pub members: MemberSet,
}

/// What the acceptor of a connection says to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloAnswer {
    /// Its own hello: frames may follow.
    Hello(Box<Hello>),
    /// No; it closes the connection.
    Refusal(Refusal),
}

/// Why a member does not speak with another. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u16)]
#[non_exhaustive]
pub enum Refusal {
    /// The versions differ.
    #[error("it speaks another version of the protocol")]
    Version = 1,
    /// There is no such group here.
    #[error("the group is unknown there")]
    UnknownGroup = 2,
    /// Another member than the one that was meant is here.
    #[error("another member is at that address")]
    NotMe = 3,
    /// The sender is no member.
    #[error("the sender is no member of the group")]
    UnknownMember = 4,
    /// The segment sizes differ.
    #[error("the segment sizes differ")]
    SegmentSize = 5,
    /// Another incarnation of the sender is bound: it lost its disk, or was replaced.
    #[error("the group has bound another incarnation of the sender")]
    OldIncarnation = 6,
    /// The sender has bound another incarnation of the receiver.
    #[error("the sender has bound another incarnation of the receiver")]
    NotThisIncarnation = 7,
    /// Not now: the member stops, or has no room for a connection.
    #[error("it takes no connection now")]
    Busy = 8,
    /// The certificate does not name the sender in this group.
    #[error("the certificate is not the sender's")]
    Certificate = 9,
    /// Both logs begin with the first record, and it has not the same position (`begin.pos`).
    #[error("the logs begin at different positions")]
    Begin = 10,
}

/// Why bytes are no hello and no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// Who is there is no member of any group.
    #[error("no member of a group speaks there")]
    Magic,
    /// The length cannot be one.
    #[error("a hello of {0} bytes")]
    Length(usize),
    /// It is not what was sent.
    #[error("a hello with a wrong checksum")]
    Checksum,
    /// The checksum holds, and yet it is no hello.
    #[error("a hello whose fields mean nothing")]
    Malformed,
    /// A refusal whose reason is not known here.
    #[error("refused for reason {0}, which is not known here")]
    UnknownRefusal(u16),
}

/// What a member expects of a hello.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Our group.
    pub group: &'a str,
    /// This member.
    pub me: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Whom we dialled; `None`: we were dialled.
    pub dialled: Option<u64>,
    /// The members that we know.
    pub members: &'a MemberSet,
    /// A newer set that another member showed: the address book.
    pub book: Option<&'a MemberSet>,
    /// Length of our segments.
    pub segment_bytes: u64,
    /// Where our log begins.
    pub begin: Anchor,
}

/// How the sender's incarnation stands to the members that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It is the one that is bound.
    Bound,
    /// None is bound yet. A voter writes this one to `meta`, durably, before it answers.
    ToBind,
    /// It is in no set that we know, but in the one that it shows, which is newer. The group thread
    /// makes that set its address book before it answers.
    Newer,
}

impl Hello {
    /// The bytes of it. An error if no member would take them: a group's name that cannot be one,
    /// an incarnation of 0, an end before the begin.
    pub fn encode(&self) -> Result<Vec<u8>, HelloError> {
        let mut out = begun(MAGIC_HELLO, self.version);
        self.put(&mut out);
        let bytes = sealed(out)?;
        Hello::decode(&bytes).map(|_| bytes)
    }

    /// How many bytes follow the prefix of a hello, CRC included. To be asked before anything is
    /// allocated.
    pub fn rest(prefix: &[u8; PREFIX]) -> Result<usize, HelloError> {
        Ok(open_prefix(MAGIC_HELLO, prefix)?.1)
    }

    /// Reads a hello: the prefix and all that follows it. One of another version gives what this
    /// one knows of it.
    pub fn decode(bytes: &[u8]) -> Result<Hello, HelloError> {
        let (version, bytes) = opened(MAGIC_HELLO, bytes)?;
        let mut bytes = In(bytes);
        let hello = Hello::take(version, &mut bytes).ok_or(HelloError::Malformed)?;
        all_read(version, &bytes).map(|()| hello)
    }

    fn put(&self, out: &mut Out) {
        out.numbers(&[
            self.from,
            self.to,
            self.incarnation,
            self.to_incarnation,
            self.segment_bytes,
        ]);
        out.u32(self.priority);
        out.anchor(&self.begin);
        out.anchor(&self.end);
        out.text(&self.group);
        out.members(&self.members);
    }

    fn take(version: u16, bytes: &mut In<'_>) -> Option<Hello> {
        let hello = Hello {
            version,
            from: bytes.u64()?,
            to: bytes.u64()?,
            incarnation: bytes.u64()?,
            to_incarnation: bytes.u64()?,
            segment_bytes: bytes.u64()?,
            priority: bytes.u32()?,
            begin: anchor(bytes)?,
            end: anchor(bytes)?,
            group: bytes.text()?,
            members: {
                let before = bytes.0.len();
                let members = bytes.members()?;
                (before - bytes.0.len() <= SET_MAX).then_some(members)?
            },
        };
        let (begin, end) = (&hello.begin, &hello.end);
        let ordered = begin.mark() <= end.mark()
            && begin.pos <= end.pos
            && begin.raft_index <= end.raft_index;
        (hello.incarnation != 0 && ordered && is_name(&hello.group)).then_some(hello)
    }
}

impl HelloAnswer {
    /// The bytes of it. Errors as of [`Hello::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, HelloError> {
        let mut out;
        match self {
            HelloAnswer::Hello(hello) => {
                out = begun(MAGIC_ANSWER, hello.version);
                out.u16(0);
                hello.put(&mut out);
            }
            HelloAnswer::Refusal(refusal) => {
                out = begun(MAGIC_ANSWER, VERSION);
                out.u16(*refusal as u16);
            }
        }
        let bytes = sealed(out)?;
        HelloAnswer::decode(&bytes).map(|_| bytes)
    }

    /// As [`Hello::rest`].
    pub fn rest(prefix: &[u8; PREFIX]) -> Result<usize, HelloError> {
        Ok(open_prefix(MAGIC_ANSWER, prefix)?.1)
    }

    /// As [`Hello::decode`].
    pub fn decode(bytes: &[u8]) -> Result<HelloAnswer, HelloError> {
        let (version, bytes) = opened(MAGIC_ANSWER, bytes)?;
        let mut bytes = In(bytes);
        let answer = match bytes.u16().ok_or(HelloError::Malformed)? {
            0 => Hello::take(version, &mut bytes).map(|hello| HelloAnswer::Hello(Box::new(hello))),
            number => {
                let known = Refusal::from_number(number);
                Some(HelloAnswer::Refusal(known.ok_or(HelloError::UnknownRefusal(number))?))
            }
        };
        let answer = answer.ok_or(HelloError::Malformed)?;
        all_read(version, &bytes).map(|()| answer)
    }
}

impl Refusal {
    /// The refusal that a number stands for.
    pub fn from_number(number: u16) -> Option<Refusal> {
        REFUSALS.into_iter().find(|refusal| *refusal as u16 == number)
    }
}

/// Whether to speak with who sent `hello`: the first reason against it, in the order below.
/// `expected` is what the group that it names expects here; `None`: there is no such group.
///
/// Nobody vouches for what a hello says unless the connection does. The set that it shows is
/// believed as far as that goes: an honest member's set is in force, so that a newer one tells who
/// came meanwhile. A member that lost its disk has none, until somebody lets it in.
pub fn check(hello: &Hello, expected: Option<&Expected<'_>>) -> Result<Binding, Refusal> {
    if hello.version != VERSION {
        return Err(Refusal::Version);
    }
    let expected = expected.filter(|e| e.group == hello.group).ok_or(Refusal::UnknownGroup)?;
    let other = expected.dialled.is_some_and(|dialled| dialled != hello.from);
    // Who bears our own id is a copy of us, or a mirror.
    if hello.to != expected.me || other || hello.from == expected.me {
        return Err(Refusal::NotMe);
    }
    let shown = &hello.members;
    let (sender, us) = match find(expected.members, hello.from) {
        None if expected.is_newer(shown) => (find(shown, hello.from), find(shown, expected.me)),
        None => (expected.known(hello.from), None),
        known => (known, None),
    };
    let sender = sender.ok_or(Refusal::UnknownMember)?;
    if hello.segment_bytes != expected.segment_bytes {
        return Err(Refusal::SegmentSize);
    }
    // A log whose head was purged begins elsewhere, and rightly.
    let whole = |begin: &Anchor| (begin.index, begin.raft_index) == Default::default();
    if whole(&hello.begin) && whole(&expected.begin) && hello.begin.pos != expected.begin.pos {
        return Err(Refusal::Begin);
    }
    if sender.incarnation != 0 && sender.incarnation != hello.incarnation {
        return Err(Refusal::OldIncarnation);
    }
    let takes_us_for = [hello.to_incarnation, us.map_or(0, |us| us.incarnation)];
    if takes_us_for.iter().any(|taken| ![0, expected.incarnation].contains(taken)) {
        return Err(Refusal::NotThisIncarnation);
    }
    Ok(match sender.incarnation {
        _ if us.is_some() => Binding::Newer,
        0 => Binding::ToBind,
        _ => Binding::Bound,
    })
}

impl<'a> Expected<'a> {
    /// Who is let in under an id: as our own set says, or else the book.
    pub fn known(&self, id: u64) -> Option<&'a Member> {
        known(self.members, self.book, id)
    }

    /// Whether a set that somebody shows is of our group, and newer than all that we know. There is
    /// none that is newer than that of a sole voter, which every change needs.
    fn is_newer(&self, shown: &MemberSet) -> bool {
        let own = self.members;
        let newest = self.book.map_or(own.raft_index, |book| book.raft_index.max(own.raft_index));
        let alone = own.voters == [self.me] && own.voters_outgoing.is_empty();
        shown.raft_index > newest && !alone && find(shown, self.me).is_some()
    }
}

/// Who is let in under an id: as the members that we know say, or else the book.
pub fn known<'a>(
    members: &'a MemberSet,
    book: Option<&'a MemberSet>,
    id: u64,
) -> Option<&'a Member> {
    find(members, id).or_else(|| find(book?, id))
}

fn find(set: &MemberSet, id: u64) -> Option<&Member> {
    set.members.iter().find(|member| member.id == id)
}

/// A prefix whose length is not known yet.
fn begun(magic: [u8; 4], version: u16) -> Out {
    let mut out = Out(magic.to_vec());
    out.u16(version);
    out.u16(0);
    out
}

/// The length put into the prefix, and the CRC behind all.
fn sealed(mut out: Out) -> Result<Vec<u8>, HelloError> {
    let len = out.0.len() + CRC;
    if len > HELLO_MAX {
        return Err(HelloError::Length(len));
    }
    out.0[6..PREFIX].copy_from_slice(&((len - PREFIX) as u16).to_be_bytes());
    let crc = crc32fast::hash(&out.0);
    out.u32(crc);
    Ok(out.0)
}

/// The version, and how many bytes follow the prefix.
fn open_prefix(magic: [u8; 4], prefix: &[u8; PREFIX]) -> Result<(u16, usize), HelloError> {
    if prefix[..4] != magic {
        return Err(HelloError::Magic);
    }
    let version = u16::from_be_bytes([prefix[4], prefix[5]]);
    let rest = usize::from(u16::from_be_bytes([prefix[6], prefix[7]]));
    match PREFIX + rest {
        len if rest < CRC || len > HELLO_MAX => Err(HelloError::Length(len)),
        _ => Ok((version, rest)),
    }
}

/// The version, and the bytes between prefix and CRC.
fn opened(magic: [u8; 4], bytes: &[u8]) -> Result<(u16, &[u8]), HelloError> {
    let wrong = HelloError::Length(bytes.len());
    let (prefix, rest) = bytes.split_first_chunk().ok_or(wrong)?;
    let (version, len) = open_prefix(magic, prefix)?;
    if rest.len() != len {
        return Err(wrong);
    }
    let (covered, crc) = bytes.split_last_chunk().ok_or(wrong)?;
    if crc32fast::hash(covered) != u32::from_be_bytes(*crc) {
        return Err(HelloError::Checksum);
    }
    Ok((version, &covered[PREFIX..]))
}

/// A later version may have more to say than this one understands.
fn all_read(version: u16, bytes: &In<'_>) -> Result<(), HelloError> {
    if bytes.0.is_empty() || version > VERSION { Ok(()) } else { Err(HelloError::Malformed) }
}

fn is_name(group: &str) -> bool {
    (1..=GROUP_MAX).contains(&group.len()) && !group.chars().any(char::is_control)
}

/// The version of the protocol that is spoken here.
pub const VERSION: u16 = 1;
/// Length of the prefix, which says how many bytes follow.
pub const PREFIX: usize = 8;
/// Most bytes of a hello or an answer, of any version.
pub const HELLO_MAX: usize = 8 << 10;
/// Most bytes of a group's name: what the option `group` takes.
pub const GROUP_MAX: usize = 255;

const MAGIC_HELLO: [u8; 4] = *b"DLGH";
const MAGIC_ANSWER: [u8; 4] = *b"DLGA";
const CRC: usize = 4;
const REFUSALS: [Refusal; 10] = [
    Refusal::Version,
    Refusal::UnknownGroup,
    Refusal::NotMe,
    Refusal::UnknownMember,
    Refusal::SegmentSize,
    Refusal::OldIncarnation,
    Refusal::NotThisIncarnation,
    Refusal::Busy,
    Refusal::Certificate,
    Refusal::Begin,
];
