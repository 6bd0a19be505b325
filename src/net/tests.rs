//! Members on loopback. Each runs on a thread of its own, as a group does; the tests stand beside
//! them and wait with a deadline that no working machine needs.

mod bad_peers;
#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod exchange;
mod hellos;
mod outbox;
mod tls;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use super::*;
use crate::commitlog::meta::Member;
use crate::types::RaftIndex;
use crate::wire::hello::PREFIX;
use crate::wire::{AppendEntry, Content, HelloAnswer, Limits};

/// What a handler heard.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Connected(u64),
    Received(u64, Box<Message>, Bytes),
    Reached(u64),
    Unknown(u64),
    Lost(u64),
}

/// A group that only listens.
struct Recorder {
    identity: Identity,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    members: Arc<MemberSet>,
    book: Option<Arc<MemberSet>>,
    heard: Vec<Heard>,
    /// Messages are kept with their room, as by a group that is too slow.
    holds: bool,
    held: Vec<Incoming>,
    /// Bindings asked for, and not answered.
    bindings: Vec<(u64, u64, oneshot::Sender<bool>)>,
    threads: HashSet<String>,
}

impl Recorder {
    fn new(group: &str, node: u64, members: &[Member]) -> Arc<Recorder> {
        let mark = |at: u64| Anchor { raft_index: RaftIndex(at), ..Anchor::default() };
        Arc::new(Recorder {
            identity: Identity {
                group: group.into(),
                node,
                incarnation: incarnation(node),
                segment_bytes: 1 << 30,
                priority: 0,
                begin: mark(0),
                end: mark(node),
            },
            state: Mutex::new(State {
                members: Arc::new(set(members)),
                book: None,
                heard: Vec::new(),
                holds: false,
                held: Vec::new(),
                bindings: Vec::new(),
                threads: HashSet::new(),
            }),
            changed: Condvar::new(),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.state));
        self.changed.notify_all();
        changed
    }

    fn hear(&self, heard: Heard) {
        self.change(|state| {
            let name = std::thread::current().name().unwrap_or("").to_owned();
            state.threads.insert(name);
            state.heard.push(heard);
        });
    }

    /// Waits until `look` finds what it looks for.
    fn wait<T>(&self, what: &str, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            assert!(Instant::now() < end, "no {what}; heard {:?}", brief(&state.heard));
            state = self.changed.wait_timeout(state, TICK).unwrap().0;
        }
    }

    fn wait_for(&self, heard: &Heard) {
        self.wait(&format!("{heard:?}"), |state| state.heard.contains(heard).then_some(()));
    }

    /// Waits for it and forgets all up to it.
    fn next(&self, heard: &Heard) {
        self.wait(&format!("{heard:?}"), |state| {
            let at = state.heard.iter().position(|other| other == heard)?;
            Some(state.heard.drain(..=at).count())
        });
    }
}

impl Handler for Recorder {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn members(&self) -> Arc<MemberSet> {
        lock(&self.state).members.clone()
    }

    fn book(&self) -> Option<Arc<MemberSet>> {
        lock(&self.state).book.clone()
    }

    fn bind(&self, hello: &Hello) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        self.change(|state| state.bindings.push((hello.from, hello.incarnation, answer)));
        answered
    }

    fn connected(&self, from: u64, hello: &Hello) {
        assert_eq!((hello.from, hello.to), (from, self.identity.node));
        self.hear(Heard::Connected(from));
    }

    fn received(&self, from: u64, incoming: Incoming) {
        let raw = Bytes::copy_from_slice(&incoming.raw);
        self.hear(came(from, incoming.message.clone(), raw));
        self.change(|state| {
            if state.holds {
                state.held.push(incoming);
            }
        });
    }

    fn reached(&self, to: u64, hello: &Hello) {
        assert_eq!((hello.from, hello.to), (to, self.identity.node));
        assert_eq!(hello.end.raft_index, RaftIndex(to));
        self.hear(Heard::Reached(to));
    }

    fn unknown(&self, to: u64) {
        self.hear(Heard::Unknown(to));
    }

    fn lost(&self, to: u64) {
        self.hear(Heard::Lost(to));
    }
}

/// A member with its thread.
struct Node {
    net: Option<Net>,
    handler: Arc<Recorder>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    fn start(handler: Arc<Recorder>, config: Config) -> Node {
        let (tell, told): (Sender<Handle>, Receiver<Handle>) = channel();
        let (stop, stopped) = oneshot::channel();
        let name = format!("group {}", handler.identity.node);
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            tell.send(runtime.handle().clone()).unwrap();
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name).spawn(run).unwrap();
        let net = Net::start(&told.recv().unwrap(), handler.clone(), config).unwrap();
        Node { net: Some(net), handler, stop: Some(stop), thread: Some(thread) }
    }

    /// The member `id` of group "g", of which 1, 2 and 3 are members, at any port.
    fn member(id: u64) -> Node {
        Node::start(Recorder::new("g", id, &members()), config())
    }

    fn net(&mut self) -> &mut Net {
        self.net.as_mut().unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.net.as_ref().unwrap().local_address()
    }

    fn peer(&self) -> (u64, String) {
        (self.handler.identity.node, self.address().to_string())
    }

    /// Sends a message that is told from others by `n`, and waits until `to` has it.
    fn says(&mut self, to: &Node, n: u64) {
        let (me, id) = (self.handler.identity.node, to.handler.identity.node);
        self.net().send(id, &heartbeat(n), Vec::new()).unwrap();
        to.handler.wait_for(&came(me, heartbeat(n), Bytes::new()));
    }

    /// The same, once there is a connection.
    fn says_soon(&mut self, to: &Node, n: u64) {
        self.handler.next(&Heard::Reached(to.handler.identity.node));
        self.says(to, n);
    }

    fn count(&self, fault: Fault) -> u64 {
        self.net.as_ref().unwrap().counters().count(fault)
    }

    fn listener_count(&self, fault: Fault) -> u64 {
        self.net.as_ref().unwrap().listener_counters().count(fault)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.net.take());
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Two members that are connected both ways, and no third.
fn pair() -> (Node, Node) {
    let (mut one, mut two) = (Node::member(1), Node::member(2));
    meet(&mut one, &mut two);
    (one, two)
}

fn meet(one: &mut Node, two: &mut Node) {
    let peers = [one.peer(), two.peer()];
    for node in [&mut *one, &mut *two] {
        node.net().set_peers(&peers);
    }
    one.handler.wait_for(&Heard::Reached(2));
    two.handler.wait_for(&Heard::Reached(1));
    one.handler.wait_for(&Heard::Connected(2));
    two.handler.wait_for(&Heard::Connected(1));
}

/// Somebody with a socket and no scruples.
struct Stranger<S = TcpStream>(S);

impl Stranger {
    fn dials(node: &Node) -> Stranger {
        let stream = TcpStream::connect(node.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Stranger(stream)
    }

    /// Says a hello, and is accepted.
    fn enters(node: &Node, hello: &Hello) -> Stranger {
        let mut stranger = Stranger::dials(node);
        stranger.sends(&hello.encode().unwrap());
        match stranger.answer() {
            HelloAnswer::Hello(_) => stranger,
            HelloAnswer::Refusal(refusal) => panic!("refused: {refusal}"),
        }
    }

    /// Fails if the connection is not closed, or if anything comes before that.
    fn sees_the_end(mut self) {
        match self.0.read(&mut [0; 64]) {
            Ok(n) => assert_eq!(n, 0, "bytes from the acceptor"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
}

impl<S: Read + Write> Stranger<S> {
    fn sends(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    fn answer(&mut self) -> HelloAnswer {
        let mut prefix = [0; PREFIX];
        self.0.read_exact(&mut prefix).unwrap();
        let mut bytes = prefix.to_vec();
        bytes.resize(PREFIX + HelloAnswer::rest(&prefix).unwrap(), 0);
        self.0.read_exact(&mut bytes[PREFIX..]).unwrap();
        HelloAnswer::decode(&bytes).unwrap()
    }
}

/// The hello of member `from` to member `to`, as it should be.
fn hello(from: u64, to: u64) -> Hello {
    Hello {
        version: VERSION,
        group: "g".into(),
        from,
        to,
        incarnation: incarnation(from),
        to_incarnation: 0,
        segment_bytes: 1 << 30,
        priority: 0,
        begin: Anchor::default(),
        end: Anchor::default(),
        members: MemberSet::default(),
    }
}

fn set(members: &[Member]) -> MemberSet {
    let voters = members.iter().map(|m| m.id).collect();
    MemberSet { members: members.to_vec(), voters, ..MemberSet::default() }
}

/// Three, whose incarnations are bound.
fn members() -> Vec<Member> {
    let member = |id| Member { id, incarnation: incarnation(id), address: String::new() };
    (1..=3).map(member).collect()
}

fn incarnation(node: u64) -> u64 {
    1000 + node
}

fn config() -> Config {
    let mut config = Config::new("127.0.0.1:0", Limits::new(1 << 20), 1);
    // Who waits for a member to come back shall not wait long.
    config.redial_max = Duration::from_millis(100);
    config
}

fn came(from: u64, message: Message, raw: Bytes) -> Heard {
    Heard::Received(from, Box::new(message), raw)
}

fn heartbeat(n: u64) -> Message {
    Message::Heartbeat { term: 1, commit: RaftIndex(n), context: 0 }
}

/// An append of one batch of `len` bytes; `n` tells it from others.
fn append(n: u64, len: usize) -> Message {
    let content = Content::Batch { count: 1, len: len as u32 };
    Message::Append {
        term: 1,
        prev: RaftIndex(n),
        prev_term: 1,
        prev_chain: 0,
        commit: RaftIndex(0),
        entries: vec![AppendEntry { term: 1, content }],
    }
}

/// Bytes that differ from one another and from those of another `n`.
fn raw(n: u64, len: usize) -> Bytes {
    (0..len as u64).map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ n) as u8).collect::<Vec<_>>().into()
}

fn brief(heard: &[Heard]) -> Vec<String> {
    let last = heard.iter().rev().take(20);
    last.map(|heard| format!("{heard:?}").chars().take(120).collect()).collect()
}

/// Waits until `look` is true.
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !look() {
        assert!(Instant::now() < end, "{what} does not come to pass");
        std::thread::sleep(TICK);
    }
}

const DEADLINE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(5);
