//! The connections that members made with us: each is answered, and its frames are read, on the
//! runtime of the group. A member has one; a new one that is accepted replaces it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::fault::{Fault, Who};
use super::limits::{ACCEPTED_MAX, FRAME_BYTES};
use super::listen::Arrival;
use super::{Incoming, Inner, greeting, lock};
use crate::wire::frame::HEADER;
use crate::wire::{Binding, FrameHeader, Hello, Refusal};

/// All of a group.
pub struct Accepted {
    inner: Arc<Inner>,
    members: Mutex<Members>,
}

/// `None`: closed.
type Members = Option<HashMap<u64, Member>>;

struct Member {
    /// What this member may still send before the group is done with what it has sent.
    room: Arc<Semaphore>,
    /// The oldest first.
    connections: Vec<Connection>,
}

struct Connection {
    serial: u64,
    hello: Hello,
    task: AbortHandle,
}

impl Accepted {
    /// Takes what the listener hands over, until [`close`](Accepted::close).
    pub fn start(
        runtime: &Handle,
        inner: Arc<Inner>,
        mut arrivals: mpsc::Receiver<Arrival>,
    ) -> Arc<Accepted> {
        let members = Mutex::new(Some(HashMap::new()));
        let accepted = Arc::new(Accepted { inner, members });
        let all = accepted.clone();
        let runs = runtime.clone();
        runtime.spawn(async move {
            for serial in 0.. {
                let Some(arrival) = arrivals.recv().await else { break };
                all.add(&runs, serial, arrival);
            }
        });
        accepted
    }

    /// Ends all connections, and takes no more.
    pub fn close(&self) {
        let members = lock(&self.members).take();
        let connections = members.into_iter().flatten().flat_map(|(_, m)| m.connections);
        connections.for_each(|connection| connection.task.abort());
    }

    /// Ends the connections of those whom the group would refuse, or would have to bind now.
    pub fn review(&self) {
        let mut members = lock(&self.members);
        for (id, member) in members.iter_mut().flatten() {
            member.connections.retain(|connection| {
                let judged = self.inner.judge(&connection.hello, None);
                if let Err(refusal) = judged {
                    self.inner.counters.blame(Who::Member(*id), Fault::Refused(refusal));
                }
                let stays = judged == Ok(Binding::Bound);
                if !stays {
                    connection.task.abort();
                }
                stays
            });
        }
        if let Some(members) = members.as_mut() {
            members.retain(|_, member| !member.connections.is_empty());
        }
    }

    fn add(self: &Arc<Accepted>, runtime: &Handle, serial: u64, arrival: Arrival) {
        let mut members = lock(&self.members);
        let Some(members) = members.as_mut() else { return };
        let hello = arrival.hello.clone();
        let member = members.entry(hello.from).or_insert_with(|| Member {
            room: Arc::new(Semaphore::new(self.inner.room())),
            connections: Vec::new(),
        });
        if member.connections.len() == ACCEPTED_MAX {
            member.connections.remove(0).task.abort();
            self.inner.counters.blame(Who::Member(hello.from), Fault::Crowded);
        }
        let task = runtime.spawn(self.clone().run(serial, arrival, member.room.clone()));
        member.connections.push(Connection { serial, hello, task: task.abort_handle() });
    }

    async fn run(self: Arc<Accepted>, serial: u64, arrival: Arrival, room: Arc<Semaphore>) {
        let from = arrival.hello.from;
        if let Err(fault) = self.serve(serial, arrival, room).await {
            self.inner.counters.blame(Who::Member(from), fault);
        }
        self.end(from, |other| other == serial);
    }

    async fn serve(
        &self,
        serial: u64,
        arrival: Arrival,
        room: Arc<Semaphore>,
    ) -> Result<(), Fault> {
        let Arrival { stream, hello } = arrival;
        let mut stream = stream.enter()?;
        let limit = self.inner.config.hello_limit;
        // The binding of an incarnation may take as long as a slow disk does.
        let accepted = timeout(limit, self.inner.accept(&hello, None)).await;
        if let Err(refusal) = accepted.unwrap_or(Err(Refusal::Busy)) {
            let _ = timeout(limit, greeting::refuse(&mut stream, refusal)).await;
            return Err(Fault::Refused(refusal));
        }
        let answer = greeting::welcome(&mut stream, self.inner.hello(hello.from));
        timeout(limit, answer).await.map_err(|_| Fault::Slow)??;
        self.end(hello.from, |other| other < serial);
        self.inner.counters.accepted.add(1);
        self.inner.handler.connected(hello.from, &hello);
        self.inner.read(hello.from, BufReader::with_capacity(READ, stream), room).await
    }

    /// Ends the connections of a member that `ends` says by their serial.
    pub fn end(&self, member: u64, ends: impl Fn(u64) -> bool) {
        let mut members = lock(&self.members);
        let member = members.as_mut().and_then(|members| members.get_mut(&member));
        for connection in
            member.into_iter().flat_map(|m| m.connections.extract_if(.., |c| ends(c.serial)))
        {
            connection.task.abort();
        }
    }
}

impl Inner {
    /// Reads frames until the connection ends between two of them.
    async fn read<S: AsyncRead + Unpin>(
        &self,
        from: u64,
        mut stream: S,
        room: Arc<Semaphore>,
    ) -> Result<(), Fault> {
        let mut message = Vec::new();
        while let Some(header) = header(&mut stream).await? {
            let header = FrameHeader::decode(&header, &self.config.frames)?;
            message.resize(header.message_len as usize, 0);
            stream.read_exact(&mut message).await?;
            let decoded = header.message(&message)?;
            let room = self.enter(&room, header.raw_len).await;
            let raw = raw(&mut stream, header.raw_len as usize).await?;
            let raw = if raw.is_empty() { Bytes::new() } else { Held::bytes(raw, room) };
            self.counters.bytes_in.add((HEADER + message.len() + raw.len()) as u64);
            self.handler.received(from, Incoming { message: decoded, raw });
        }
        Ok(())
    }

    /// Waits until the group has room for so many raw bytes, or for as many as it ever has.
    async fn enter(&self, room: &Arc<Semaphore>, bytes: u32) -> Option<OwnedSemaphorePermit> {
        let bytes = bytes.min(u32::try_from(self.room()).unwrap_or(u32::MAX));
        if bytes == 0 {
            return None;
        }
        room.clone().acquire_many_owned(bytes).await.ok()
    }

    fn room(&self) -> usize {
        self.config.incoming_max.clamp(1, Semaphore::MAX_PERMITS)
    }
}

/// Bytes that give back their room when they are dropped.
struct Held {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn bytes(bytes: Vec<u8>, room: Option<OwnedSemaphorePermit>) -> Bytes {
        Bytes::from_owner(Held { bytes, _room: room })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The next header; `None` if the connection ended before it.
async fn header<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<[u8; HEADER]>> {
    let mut header = [0; HEADER];
    match stream.read(&mut header).await? {
        0 => Ok(None),
        n => stream.read_exact(&mut header[n..]).await.map(|_| Some(header)),
    }
}

/// Reads so many bytes. Allocates no more than twice what has come, however many shall come.
async fn raw<S: AsyncRead + Unpin>(stream: &mut S, len: usize) -> io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(len.min(FRAME_BYTES));
    while raw.len() < len {
        if raw.len() == raw.capacity() {
            raw.reserve_exact(raw.len().min(len - raw.len()));
        }
        let missing = raw.capacity().min(len) - raw.len();
        if stream.read_buf(&mut (&mut raw).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(raw)
}

/// Many small frames are read at once; raw bytes go past this buffer.
const READ: usize = 16 << 10;
