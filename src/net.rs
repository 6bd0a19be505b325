//! The sockets between members. Each ordered pair of members has one connection: who has something
//! to say dials, both say hello, and from then on frames go from the dialler to the acceptor only.
//!
//! Everything here may lose messages and never blocks: what cannot be queued is refused, what was
//! queued on a connection that dies is gone, and the engine sends again. Nothing is delivered
//! twice, nor cut, nor from one whose hello was not accepted.
//!
//! One thread of the process accepts, makes TLS and reads the hellos of all its groups; all else
//! runs on the runtime of the group. What a message means is not decided here.

mod accepted;
mod fault;
mod greeting;
mod limits;
mod listen;
mod outbox;
mod peer;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

pub use fault::{Count, Counters, Fault};
pub use limits::Config;
pub use outbox::Unsent;
pub use tls::{Tls, TlsError, TlsFiles, certificate_name};

use crate::commitlog::meta::MemberSet;
use crate::error::{Error, Result};
use crate::types::Anchor;
use crate::wire::hello::{self, VERSION};
use crate::wire::{Binding, Expected, Hello, Message, Refusal};
use accepted::Accepted;
use fault::Who;
use listen::{Door, Registration};
use peer::Peer;

/// Who we are. Asked for afresh for each hello.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The group's name.
    pub group: String,
    /// This member.
    pub node: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// Length of a segment.
    pub segment_bytes: u64,
    /// A leader hands over to a member that has a higher one.
    pub priority: u32,
    /// Where the log begins.
    pub begin: Anchor,
    /// Where the log ends.
    pub end: Anchor,
}

/// A message that came in.
#[derive(Debug)]
pub struct Incoming {
    /// The message.
    pub message: Message,
    /// The raw bytes of its batches, one behind the other; nothing has looked at them yet. They
    /// take room in [`Config::incoming_max`] until they are dropped.
    pub raw: Bytes,
}

/// What the sockets ask of a group, and tell it.
///
/// `identity`, `members` and `book` are called on any thread, at any time, and must not wait for the
/// group's own; all others are called on the runtime that [`Net::start`] was given, and must not
/// block it.
pub trait Handler: Send + Sync + 'static {
    /// Who we are, now.
    fn identity(&self) -> Identity;

    /// The members, now, each with the incarnation that is bound here, be it by the group or by
    /// [`bind`](Handler::bind) alone.
    fn members(&self) -> Arc<MemberSet>;

    /// A newer member set, if another member showed one: the address book.
    fn book(&self) -> Option<Arc<MemberSet>>;

    /// Shall let in who sent this hello: bind its incarnation, for none was bound, durably if it is
    /// a member that our own set knows; or make the set that it shows the book. The answer is
    /// whether it is now the one that is bound. Until then that hello is not answered. A sender that
    /// is dropped means that the group stops.
    fn bind(&self, hello: &Hello) -> oneshot::Receiver<bool>;

    /// The member `from` dialled us and was accepted: its messages may come now.
    fn connected(&self, from: u64, hello: &Hello);

    /// A message came in from the member `from`.
    fn received(&self, from: u64, incoming: Incoming);

    /// The member `to` accepted our connection: messages may go there now. `hello` is its answer.
    fn reached(&self, to: u64, hello: &Hello);

    /// The member `to` says that this one is no member of the group.
    fn unknown(&self, to: u64);

    /// A connection to the member `to`, told of by [`reached`](Handler::reached), died: messages
    /// to it may be lost.
    fn lost(&self, to: u64);
}

/// The connections of one group with its peers. Dropping it ends them all; after that the handler
/// hears nothing more if it is dropped on the thread of its runtime.
pub struct Net {
    inner: Arc<Inner>,
    runtime: Handle,
    peers: HashMap<u64, Peer>,
    accepted: Arc<Accepted>,
    registration: Registration,
}

/// What all tasks of a group share.
struct Inner {
    handler: Arc<dyn Handler>,
    config: Config,
    counters: Arc<Counters>,
}

impl Net {
    /// Listens at [`Config::listen`], for the group that the handler names, and speaks with nobody
    /// until [`set_peers`](Net::set_peers). Its tasks run on `runtime`, which must have its IO and
    /// time drivers, and of which the caller ends the blocking threads with
    /// `shutdown_background`: a name that is being resolved may hang for long.
    ///
    /// An address that is not loopback is refused unless there is [`Config::tls`] or
    /// [`Config::insecure_listen`] is set; so is a second group of the same name at one address,
    /// and one that has other files for TLS than those that are there.
    pub fn start(runtime: &Handle, handler: Arc<dyn Handler>, config: Config) -> Result<Net> {
        let Identity { group, node, .. } = handler.identity();
        let counters = Arc::new(Counters::new(format!("group {group}")));
        let (hand, arrivals) = mpsc::channel(ARRIVALS);
        let door = Door { node, handler: handler.clone(), counters: counters.clone(), hand };
        let registration = listen::register(&config, &group, door)?;
        let inner = Arc::new(Inner { handler, config, counters });
        let accepted = Accepted::start(runtime, inner.clone(), arrivals);
        Ok(Net { inner, runtime: runtime.clone(), peers: HashMap::new(), accepted, registration })
    }

    /// The other members and their addresses, `host:port`; our own is skipped. Dials those that
    /// are new, redials those whose address changed, ends all with those that are gone, and with
    /// those whom the handler's members would refuse now. To those that are gone goes for a moment
    /// what was queued for them. Call it after each change of the members.
    pub fn set_peers(&mut self, peers: &[(u64, String)]) {
        let me = self.inner.handler.identity().node;
        let wanted = |id: u64| peers.iter().find(|peer| peer.0 == id && id != me);
        for (_, gone) in self.peers.extract_if(|id, _| wanted(*id).is_none()) {
            // What was sent to it last tells it that it is gone.
            self.runtime.spawn(async move {
                sleep(LINGER).await;
                drop(gone);
            });
        }
        for (id, address) in peers.iter().filter(|peer| peer.0 != me) {
            let old = self.peers.get(id);
            let stays = old.is_some_and(|peer| {
                peer.address() == address
                    && peer.hello().is_none_or(|hello| self.inner.is_bound(&hello, Some(*id)))
            });
            if !stays {
                let lost = old.is_some_and(Peer::is_connected);
                let peer = Peer::start(&self.runtime, self.inner.clone(), *id, address, lost);
                self.peers.insert(*id, peer);
            }
        }
        self.accepted.review();
    }

    /// Queues a message, with the raw bytes of its batches if it is an append. Never waits. Says
    /// why when it is not queued; it may be lost later all the same.
    ///
    /// Appends and resets stay in order among themselves, and so does all else, which goes first.
    /// A frame is not cut: the appends that are made of several batches should have no more than
    /// 256 KiB of them, for a heartbeat waits for one frame.
    pub fn send(
        &self,
        to: u64,
        message: &Message,
        raw: Vec<Bytes>,
    ) -> std::result::Result<(), Unsent> {
        let sent = match self.peers.get(&to) {
            Some(peer) => peer.send(message, raw, &self.inner.config.frames),
            None => Err(Unsent::NotConnected),
        };
        if sent.is_err() {
            self.inner.counters.unsent.add(1);
        }
        sent
    }

    /// Closes the connections that the member `from` made with us: it sent what no honest member
    /// sends. It may dial again.
    pub fn close(&self, from: u64, why: &'static str) {
        self.accepted.end(from, |_| true);
        self.inner.counters.blame(Who::Member(from), Fault::Message(why));
    }

    /// Bytes that are queued for `to` and not yet taken by its socket.
    pub fn queued_bytes(&self, to: u64) -> usize {
        self.peers.get(&to).map_or(0, Peer::queued_bytes)
    }

    /// Whether what is sent to `to` may arrive.
    pub fn is_connected(&self, to: u64) -> bool {
        self.peers.get(&to).is_some_and(Peer::is_connected)
    }

    /// What was counted of this group.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.inner.counters
    }

    /// What was counted at the listener before it was known which group was meant; shared by all
    /// groups at that address.
    pub fn listener_counters(&self) -> &Arc<Counters> {
        self.registration.counters()
    }

    /// Where it listens: with the port that the system gave if 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.registration.address()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.accepted.close();
    }
}

impl Inner {
    /// Our hello to `to`, as things are now.
    fn hello(&self, to: u64) -> Hello {
        let me = self.handler.identity();
        let (members, book) = (self.handler.members(), self.handler.book());
        let bound = hello::known(&members, book.as_deref(), to);
        Hello {
            version: VERSION,
            group: me.group,
            from: me.node,
            to,
            incarnation: me.incarnation,
            to_incarnation: bound.map_or(0, |member| member.incarnation),
            segment_bytes: me.segment_bytes,
            priority: me.priority,
            begin: me.begin,
            end: me.end,
            members: (*members).clone(),
        }
    }

    /// Whether who sent `hello` is still the one that is bound.
    fn is_bound(&self, hello: &Hello, dialled: Option<u64>) -> bool {
        self.judge(hello, dialled) == Ok(Binding::Bound)
    }

    fn judge(&self, hello: &Hello, dialled: Option<u64>) -> std::result::Result<Binding, Refusal> {
        judge(&*self.handler, hello, dialled)
    }

    /// As [`judge`](Inner::judge), and has the group bind whom it does not know yet.
    async fn accept(
        &self,
        hello: &Hello,
        dialled: Option<u64>,
    ) -> std::result::Result<(), Refusal> {
        match self.judge(hello, dialled)? {
            Binding::Bound => Ok(()),
            Binding::ToBind | Binding::Newer => match self.handler.bind(hello).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Refusal::OldIncarnation),
                Err(_) => Err(Refusal::Busy),
            },
        }
    }
}

/// Whether the handler's group speaks with who sent `hello`. `dialled`: whom we dialled for it.
fn judge(
    handler: &dyn Handler,
    hello: &Hello,
    dialled: Option<u64>,
) -> std::result::Result<Binding, Refusal> {
    let (me, members, book) = (handler.identity(), handler.members(), handler.book());
    let expected = Expected {
        group: &me.group,
        me: me.node,
        incarnation: me.incarnation,
        dialled,
        members: &members,
        book: book.as_deref(),
        segment_bytes: me.segment_bytes,
        begin: me.begin,
    };
    hello::check(hello, Some(&expected))
}

/// What a panic elsewhere left behind is whole: nothing here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepted connections that wait for the group's thread.
const ARRIVALS: usize = 64;
/// So long what is queued for a member that is gone may still go out.
const LINGER: Duration = Duration::from_millis(500);
