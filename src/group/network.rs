//! The sockets of a group: what comes from peers goes to the group thread, what it sends goes to
//! them. All of it runs on the group thread's own runtime; the process's listener only asks who we
//! are.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::commitlog::meta::MemberSet;
use crate::commitlog::read::Slice;
use crate::error::{Error, Result};
use crate::group::metrics::Metric;
use crate::group::peers::{Answer, FromPeer, Network};
use crate::group::shared::Shared;
use crate::net::{Config, Counters, Handler, Identity, Incoming, Net, Tls, TlsFiles, Unsent};
use crate::options::Options;
use crate::types::Anchor;
use crate::wire::{Hello, Limits, Message};

/// The sockets, and the runtime that the group thread turns for them.
pub struct Connected {
    /// To be turned.
    pub runtime: Runtime,
    /// To be sent through.
    pub sockets: Sockets,
}

/// What is counted of the sockets of a group, and at the listener that it may share.
pub struct Figures {
    group: Arc<Counters>,
    listener: Arc<Counters>,
}

/// The way to the peers over TCP.
pub struct Sockets {
    net: Net,
    /// Addresses to use instead of those that the group has agreed on.
    addresses: Vec<(u64, String)>,
}

/// What the sockets ask of the group.
struct Reception {
    shared: Arc<Shared>,
    /// But for the ends of the log, which are asked of `shared`.
    identity: Identity,
}

/// Listens, if this member has an address to listen at: `node.listen`, or its own among the
/// members'. `incarnation` is that of its directory.
pub fn connect(
    shared: &Arc<Shared>,
    options: &Options,
    incarnation: u64,
) -> Result<Option<(Connected, Figures)>> {
    let Some(listen) = listens_at(shared, options) else { return Ok(None) };
    // Checked to be set together, or not at all.
    let tls = match (&options.tls_cert, &options.tls_key, &options.tls_ca) {
        (Some(cert), Some(key), Some(ca)) => {
            let files = TlsFiles { cert: cert.clone(), key: key.clone(), ca: ca.clone() };
            Some(Tls::read(files, &options.group, shared.node)?)
        }
        _ => None,
    };
    let failed = |source| Error::Resource { what: "the group's runtime", source };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let identity = Identity {
        group: options.group.clone(),
        node: shared.node,
        incarnation,
        segment_bytes: options.segment_bytes,
        begin: Anchor::default(),
        end: Anchor::default(),
        priority: options.priority,
    };
    let record_max = u32::try_from(options.segment_bytes).unwrap_or(u32::MAX);
    let mut config = Config::new(listen, Limits::new(record_max), incarnation);
    config.tls = tls;
    config.insecure_listen = options.insecure_listen;
    let reception = Arc::new(Reception { shared: shared.clone(), identity });
    let net = Net::start(runtime.handle(), reception, config)?;
    let (group, listener) = (net.counters().clone(), net.listener_counters().clone());
    let sockets = Sockets { net, addresses: options.addresses.clone() };
    Ok(Some((Connected { runtime, sockets }, Figures { group, listener })))
}

fn listens_at(shared: &Shared, options: &Options) -> Option<String> {
    let members = shared.members();
    let moved = options.addresses.iter().find(|(id, _)| *id == shared.node);
    let moved = moved.map(|(_, address)| address.clone());
    let agreed = members.members.iter().find(|member| member.id == shared.node);
    let agreed = agreed.map(|member| member.address.clone());
    options.listen.clone().or(moved).or(agreed).filter(|address| !address.is_empty())
}

impl Figures {
    /// Calls `each` for every figure there is.
    pub fn scrape(&self, each: &mut dyn FnMut(&Metric)) {
        let c = &self.group;
        for (count, name, help) in [
            (&c.accepted, "connections_accepted_total", "Connections that members made with us."),
            (&c.dialled, "connections_dialled_total", "Connections that we made with members."),
            (&c.lost, "connections_lost_total", "Connections that we had made and lost."),
            (&c.unsent, "peer_messages_unsent_total", "Messages that could not be queued."),
            (&c.bytes_in, "peer_bytes_received_total", "Bytes of frames that came from members."),
            (&c.bytes_out, "peer_bytes_sent_total", "Bytes of frames that went to members."),
        ] {
            each(&Metric { name, help, label: "", counter: true, value: count.get() as f64 });
        }
        for (counters, name, help) in [
            (c, "connection_faults_total", "Why connections of this group were not made or ended."),
            (&self.listener, "listener_faults_total", "The same, before a group was named."),
        ] {
            for (label, count) in counters.faults() {
                each(&Metric { name, help, label, counter: true, value: count as f64 });
            }
        }
    }
}

impl Network for Sockets {
    fn send(&mut self, to: u64, message: Message, raw: Vec<Slice>) -> bool {
        let raw = raw.into_iter().map(Bytes::from_owner).collect();
        match self.net.send(to, &message, raw) {
            Ok(()) => true,
            Err(Unsent::NotConnected | Unsent::Full) => false,
            Err(why @ Unsent::Unfit(_)) => {
                tracing::error!("{:?} for member {to} is not sent: {why}", message.kind());
                false
            }
        }
    }

    fn members(&mut self, members: &MemberSet) {
        let moved = |id| self.addresses.iter().find(|(other, _)| *other == id);
        let peers: Vec<(u64, String)> = members
            .members
            .iter()
            .map(|m| (m.id, moved(m.id).map_or(&m.address, |(_, address)| address).clone()))
            .collect();
        self.net.set_peers(&peers);
    }

    fn close(&mut self, from: u64, why: &'static str) {
        self.net.close(from, why);
    }
}

impl Handler for Reception {
    fn identity(&self) -> Identity {
        let (begin, end) = (self.shared.begin(), self.shared.log_end());
        Identity { begin, end, ..self.identity.clone() }
    }

    fn members(&self) -> Arc<MemberSet> {
        self.shared.members()
    }

    fn book(&self) -> Option<Arc<MemberSet>> {
        self.shared.book()
    }

    fn bind(&self, hello: &Hello) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let answer = Answer(Box::new(move |bound| {
            // Who asked may be gone.
            let _ = answer.send(bound);
        }));
        self.shared.post_peer(FromPeer::Bind { hello: Box::new(hello.clone()), answer });
        answered
    }

    fn connected(&self, from: u64, _hello: &Hello) {
        tracing::info!("member {from} made a connection with us");
    }

    fn received(&self, from: u64, incoming: Incoming) {
        let Incoming { message, raw } = incoming;
        self.shared.post_peer(FromPeer::Message { from, message: Box::new(message), raw });
    }

    fn reached(&self, to: u64, hello: &Hello) {
        tracing::info!("connected with member {to}");
        let (end, priority) = (hello.end.raft_index, hello.priority);
        self.shared.post_peer(FromPeer::Met { id: to, end, priority });
    }

    fn unknown(&self, to: u64) {
        self.shared.post_peer(FromPeer::Unknown { id: to });
    }

    fn lost(&self, to: u64) {
        tracing::info!("the connection with member {to} is lost");
        self.shared.post_peer(FromPeer::Lost { id: to });
    }
}
