//! The listeners of the process: one for each address, shared by the groups that listen there. All
//! run on one thread, which makes TLS if the groups have it, reads each hello, finds the group that
//! it names, refuses who has no business there, and hands the others over to the group.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::net::ToSocketAddrs;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, mpsc as std_mpsc};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::fault::{Counters, Fault, Who};
use super::limits::{Config, HELLOS_MAX};
use super::stream::{Parked, Stream};
use super::tls::{self, Tls};
use super::{Error, Handler, Result, greeting, judge, lock, socket};
use crate::spawn::spawn;
use crate::wire::hello::VERSION;
use crate::wire::{Hello, Refusal};

/// How the listener gets at a group.
#[derive(Clone)]
pub struct Door {
    /// The group's member here.
    pub node: u64,
    /// Says whom to let in. Called on the listener's thread.
    pub handler: Arc<dyn Handler>,
    /// Where it counts what happened before the group's door.
    pub counters: Arc<Counters>,
    /// Where those who may come in go.
    pub hand: mpsc::Sender<Arrival>,
}

/// A connection whose hello is good, and not answered yet.
pub struct Arrival {
    /// To be taken into the group's runtime.
    pub stream: Parked,
    /// What was said on it.
    pub hello: Hello,
}

/// The place of a group at a listener, until it is dropped.
pub struct Registration {
    group: String,
    listener: Arc<Listener>,
}

struct Listener {
    address: SocketAddr,
    hall: Arc<Hall>,
    task: AbortHandle,
    /// Ends when the socket is closed.
    closed: Mutex<std_mpsc::Receiver<()>>,
}

/// Where those are who have not said hello.
struct Hall {
    doors: Mutex<HashMap<String, Door>>,
    counters: Arc<Counters>,
    hello_limit: Duration,
    /// What the last group that came has read. Never changes between some and none.
    tls: Mutex<Option<Tls>>,
}

/// Registers a group with the listener at [`Config::listen`], which is opened if there is none.
pub fn register(config: &Config, group: &str, door: Door) -> Result<Registration> {
    let addresses = resolve(&config.listen, config.tls.is_some() || config.insecure_listen)?;
    let mut process = process();
    let there = addresses.iter().find_map(|address| process.listeners.get(address));
    let listener = match there {
        Some(listener) => listener.clone(),
        None => {
            let listener = Listener::open(process.runtime()?, config, &addresses)?;
            process.listeners.insert(listener.address, listener.clone());
            listener
        }
    };
    let mut doors = lock(&listener.hall.doors);
    if doors.contains_key(group) {
        let text = format!("the group {group} listens at {} already", listener.address);
        return Err(Error::Invalid(text.into()));
    }
    listener.hall.agree(&doors, group, config.tls.as_ref())?;
    doors.insert(group.to_owned(), door);
    drop(doors);
    Ok(Registration { group: group.to_owned(), listener })
}

impl Registration {
    /// Where the listener is.
    pub fn address(&self) -> SocketAddr {
        self.listener.address
    }

    /// What was counted before it was known which group was meant.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.listener.hall.counters
    }
}

impl Drop for Registration {
    /// The last one closes the listener: when this returns the address is free.
    fn drop(&mut self) {
        let mut process = process();
        let mut doors = lock(&self.listener.hall.doors);
        let door = doors.remove(&self.group);
        let last = doors.is_empty();
        drop(doors);
        if last {
            process.listeners.remove(&self.listener.address);
            self.listener.close();
        }
        drop(process);
        drop(door);
    }
}

/// The listeners, and the runtime of their thread once there was one.
struct Process {
    id: u32,
    runtime: Option<Handle>,
    listeners: HashMap<SocketAddr, Arc<Listener>>,
}

impl Process {
    fn new() -> Process {
        Process { id: std::process::id(), runtime: None, listeners: HashMap::new() }
    }

    fn runtime(&mut self) -> Result<Handle> {
        if let Some(runtime) = &self.runtime {
            return Ok(runtime.clone());
        }
        let failed = |source| Error::Resource { what: "the listener's runtime", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let run = move || runtime.block_on(pending::<()>());
        spawn("dledger-listen", run)?;
        Ok(self.runtime.insert(handle).clone())
    }
}

impl Listener {
    fn open(runtime: Handle, config: &Config, addresses: &[SocketAddr]) -> Result<Arc<Listener>> {
        let failed = |e| Error::io(format!("listen at {}", config.listen), e);
        let socket = StdListener::bind(addresses).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let inside = runtime.enter();
        let socket = TcpListener::from_std(socket).map_err(failed)?;
        drop(inside);
        let hall = Arc::new(Hall {
            doors: Mutex::default(),
            counters: Arc::new(Counters::new(format!("listener at {address}"))),
            hello_limit: config.hello_limit,
            // Before the first connection: a plain one would prove nothing.
            tls: Mutex::new(config.tls.clone()),
        });
        let (open, closed) = std_mpsc::channel();
        let here = hall.clone();
        let task = runtime.spawn(async move {
            let _open: std_mpsc::Sender<()> = open;
            accept(socket, address.ip(), here).await;
        });
        let (task, closed) = (task.abort_handle(), Mutex::new(closed));
        Ok(Arc::new(Listener { address, hall, task, closed }))
    }

    fn close(&self) {
        self.task.abort();
        let _ = lock(&self.closed).recv_timeout(CLOSES);
    }
}

/// Accepts for ever. Who is idle must not keep others out: the oldest one makes room.
async fn accept(socket: TcpListener, here: IpAddr, hall: Arc<Hall>) {
    let mut hellos = JoinSet::new();
    let mut waiting: VecDeque<(IpAddr, AbortHandle)> = VecDeque::new();
    loop {
        let (stream, from) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors ran out, or the like.
                hall.counters.blame(Who::Address(here), error.into());
                sleep(SCARCE).await;
                continue;
            }
        };
        while hellos.try_join_next().is_some() {}
        if waiting.len() >= HELLOS_MAX {
            waiting.retain(|(_, task)| !task.is_finished());
        }
        if waiting.len() >= HELLOS_MAX
            && let Some((who, oldest)) = waiting.pop_front()
        {
            oldest.abort();
            hall.counters.blame(Who::Address(who), Fault::Crowded);
        }
        let task = hellos.spawn(hall.clone().receive(stream, from.ip()));
        waiting.push_back((from.ip(), task));
    }
}

impl Hall {
    /// Takes what `group` has read for TLS. The groups that are there already get the same: nobody
    /// says whom he dials before TLS is made. So all must have the same files, and what is in them
    /// now must name each member here.
    fn agree(&self, doors: &HashMap<String, Door>, group: &str, tls: Option<&Tls>) -> Result<()> {
        let mut ours = lock(&self.tls);
        if let Some(other) = doors.keys().next()
            && ours.as_ref().map(Tls::files) != tls.map(Tls::files)
        {
            return Err(Error::Config(format!(
                "the groups {other} and {group} listen at one address: they must have the same \
                 tls.cert, tls.key and tls.ca, or none of them"
            )));
        }
        for (other, door) in doors {
            if let Some(tls) = tls.filter(|tls| !tls.names(other, door.node)) {
                return Err(Error::Config(format!(
                    "tls.cert = {}: the certificate does not name {}, which listens at the same \
                     address",
                    tls.files().cert,
                    tls::certificate_name(other, door.node)
                )));
            }
        }
        *ours = tls.cloned();
        Ok(())
    }

    /// Hears who is there, and hands the connection over or refuses it.
    async fn receive(self: Arc<Hall>, socket: TcpStream, from: IpAddr) {
        socket::tune(&socket);
        let limit = Instant::now() + self.hello_limit;
        let made = timeout_at(limit, self.secure(socket)).await;
        let mut stream = match made.unwrap_or(Err(Fault::Slow)) {
            Ok(stream) => stream,
            Err(fault) => return self.counters.blame(Who::Address(from), fault),
        };
        let heard = timeout_at(limit, greeting::hear(&mut stream)).await;
        let hello = match heard.unwrap_or(Err(Fault::Slow)) {
            Ok(hello) => hello,
            Err(fault) => return self.counters.blame(Who::Address(from), fault),
        };
        let door = lock(&self.doors).get(&hello.group).cloned();
        let counters = door.as_ref().map_or(&self.counters, |door| &door.counters);
        if let Err((mut stream, refusal)) = hand_over(stream, hello, door.as_ref()) {
            counters.blame(Who::Address(from), Fault::Refused(refusal));
            let _ = timeout(self.hello_limit, greeting::refuse(&mut stream, refusal)).await;
        }
    }

    /// Makes TLS, if the groups have it.
    async fn secure(&self, socket: TcpStream) -> std::result::Result<Stream, Fault> {
        let tls = lock(&self.tls).clone();
        match tls {
            None => Ok(Stream::Plain(socket)),
            Some(tls) => tls.accept(socket).await,
        }
    }
}

fn hand_over(
    stream: Stream,
    hello: Hello,
    door: Option<&Door>,
) -> std::result::Result<(), (Stream, Refusal)> {
    let verdict = match door {
        // Before anything that it says is believed.
        _ if !stream.proves(&hello.group, hello.from) => Err(Refusal::Certificate),
        _ if hello.version != VERSION => Err(Refusal::Version),
        None => Err(Refusal::UnknownGroup),
        Some(door) => judge(&*door.handler, &hello, None).map(|_| door),
    };
    let door = match verdict {
        Ok(door) => door,
        Err(refusal) => return Err((stream, refusal)),
    };
    let Ok(place) = door.hand.try_reserve() else { return Err((stream, Refusal::Busy)) };
    if let Ok(stream) = stream.park() {
        place.send(Arrival { stream, hello });
    }
    Ok(())
}

/// The addresses of `listen`. They must be loopback, unless it may be `open`.
fn resolve(listen: &str, open: bool) -> Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = listen
        .to_socket_addrs()
        .map_err(|e| Error::Config(format!("listen = {listen}: {e}")))?
        .collect();
    match addresses.iter().find(|address| !address.ip().is_loopback()) {
        Some(address) if !open => Err(Error::Config(format!(
            "listen = {listen}: {address} is open to the network, and without TLS anybody there \
             could speak for a member; set tls.*, or insecure.listen = yes"
        ))),
        _ => Ok(addresses),
    }
}

/// What this process has. A forked child has none of its parent's: the thread is not there, and to
/// touch the sockets would be to touch the parent's, through the epoll set that both have.
fn process() -> MutexGuard<'static, Process> {
    static PROCESS: LazyLock<Mutex<Process>> = LazyLock::new(|| Mutex::new(Process::new()));
    let mut process = lock(&PROCESS);
    if process.id != std::process::id() {
        std::mem::forget(std::mem::replace(&mut *process, Process::new()));
    }
    process
}

/// A listener closes within a turn of its thread; who waits longer waits for a bug.
const CLOSES: Duration = Duration::from_secs(1);
/// The pause after an accept that failed.
const SCARCE: Duration = Duration::from_millis(100);
