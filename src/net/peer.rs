//! One peer that we send to: it is dialled again and again, and while a connection stands, what is
//! queued goes out on it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::fault::{Fault, Who};
use super::limits::Backoff;
use super::outbox::{self, Frame, Outbox, Unsent};
use super::stream::Stream;
use super::{Inner, greeting, lock, socket};
use crate::wire::{Hello, Limits, Message, Refusal};

/// A peer that is dialled until this is dropped.
pub struct Peer {
    address: String,
    queued_max: usize,
    link: Arc<Link>,
    task: AbortHandle,
}

/// What the task shares with who sends.
#[derive(Default)]
struct Link {
    outbox: Outbox,
    /// What the peer answered on the connection that stands.
    hello: Mutex<Option<Hello>>,
}

/// The task.
struct Dialler {
    inner: Arc<Inner>,
    id: u64,
    address: String,
    link: Arc<Link>,
}

impl Peer {
    /// Begins to dial. `lost`: a connection stood before this one, and the handler hears of its
    /// end.
    pub fn start(runtime: &Handle, inner: Arc<Inner>, id: u64, address: &str, lost: bool) -> Peer {
        let (address, link) = (address.to_owned(), Arc::new(Link::default()));
        let queued_max = inner.config.queued_max;
        let dialler = Dialler { inner, id, address: address.clone(), link: link.clone() };
        let task = runtime.spawn(async move {
            if lost {
                dialler.lost();
            }
            dialler.run().await;
        });
        Peer { address, queued_max, link, task: task.abort_handle() }
    }

    /// Where it is dialled.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its answer, while a connection stands.
    pub fn hello(&self) -> Option<Hello> {
        lock(&self.link.hello).clone()
    }

    /// Whether a connection stands.
    pub fn is_connected(&self) -> bool {
        self.link.outbox.is_open()
    }

    /// As [`Net::send`](super::Net::send).
    pub fn send(&self, message: &Message, raw: Vec<Bytes>, limits: &Limits) -> Result<(), Unsent> {
        if !self.is_connected() {
            return Err(Unsent::NotConnected);
        }
        self.link.outbox.put(Frame::new(message, raw, limits)?, self.queued_max)
    }

    /// As [`Net::queued_bytes`](super::Net::queued_bytes).
    pub fn queued_bytes(&self) -> usize {
        self.link.outbox.bytes()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dialler {
    async fn run(self) {
        let mut backoff = Backoff::new(&self.inner.config, self.id);
        loop {
            let fault = match self.dial().await {
                Ok((stream, hello)) => {
                    let since = Instant::now();
                    let fault = self.connected(stream, hello).await;
                    // Who accepts and hangs up is not dialled in a hurry.
                    if since.elapsed() >= self.inner.config.redial_max {
                        backoff.reset();
                    }
                    fault
                }
                Err(fault) => fault,
            };
            if fault == Fault::RefusedBy(Refusal::UnknownMember) {
                self.inner.handler.unknown(self.id);
            }
            self.inner.counters.blame(Who::Member(self.id), fault);
            sleep(backoff.pause()).await;
        }
    }

    /// A connection on which both said hello.
    async fn dial(&self) -> Result<(Stream, Hello), Fault> {
        let config = &self.inner.config;
        let socket = timeout(config.connect_limit, connect(&self.address))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|error| Fault::Dial(error.kind()))?;
        socket::tune(&socket);
        timeout(config.hello_limit, self.greet(socket)).await.unwrap_or(Err(Fault::Slow))
    }

    /// Makes TLS, if the group has it, and says hello to whom we meant, and to nobody else.
    async fn greet(&self, socket: TcpStream) -> Result<(Stream, Hello), Fault> {
        let mut stream = match &self.inner.config.tls {
            None => Stream::Plain(socket),
            Some(tls) => tls.dial(socket).await?,
        };
        let ours = self.inner.hello(self.id);
        if !stream.proves(&ours.group, self.id) {
            return Err(Fault::Refused(Refusal::Certificate));
        }
        let hello = greeting::ask(&mut stream, &ours).await?;
        self.inner.accept(&hello, Some(self.id)).await.map_err(Fault::Refused)?;
        Ok((stream, hello))
    }

    /// Sends until the connection dies.
    async fn connected<S: AsyncRead + AsyncWrite>(&self, stream: S, hello: Hello) -> Fault {
        let (mut from, mut to) = tokio::io::split(stream);
        *lock(&self.link.hello) = Some(hello.clone());
        self.link.outbox.open();
        self.inner.counters.dialled.add(1);
        self.inner.handler.reached(self.id, &hello);
        let fault = first(watch(&mut from), self.pump(&mut to)).await;
        self.link.outbox.close();
        *lock(&self.link.hello) = None;
        self.lost();
        fault
    }

    fn lost(&self) {
        self.inner.counters.lost.add(1);
        self.inner.handler.lost(self.id);
    }

    async fn pump<S: AsyncWrite + Unpin>(&self, out: &mut S) -> Fault {
        loop {
            let frames = self.link.outbox.take().await;
            match outbox::write(out, &frames).await {
                Ok(bytes) => self.inner.counters.bytes_out.add(bytes),
                Err(error) => return error.into(),
            }
            self.link.outbox.written(&frames);
        }
    }
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Nobody listens, and the system gave us for our own port the one that we dialled.
    let ends: (SocketAddr, SocketAddr) = (stream.local_addr()?, stream.peer_addr()?);
    match ends.0 == ends.1 {
        true => Err(std::io::ErrorKind::ConnectionRefused.into()),
        false => Ok(stream),
    }
}

/// Waits for the end of a connection on which nothing may come in.
async fn watch<S: AsyncRead + Unpin>(from: &mut S) -> Fault {
    match from.read(&mut [0; 1]).await {
        Ok(0) => Fault::Lost(std::io::ErrorKind::UnexpectedEof),
        Ok(_) => Fault::Talks,
        Err(error) => error.into(),
    }
}

/// What the first one to end gives; the other one is dropped.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
}
