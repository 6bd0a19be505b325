//! One directed link between two members: what the one dials, the other answers. As each ordered
//! pair of members has a connection of its own, a link that is cut is a one-way cut.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What a link does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Takes nothing more, and lets the connections stand: they look alive.
    Stall,
    /// Ends the connections, and each new one.
    Cut,
    /// Each byte comes so much later.
    Delay(Duration),
}

/// A link that runs until it is dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mode: Mode,
    over: bool,
    next: u64,
    streams: HashMap<u64, [TcpStream; 2]>,
}

impl Link {
    /// Passes on to `to` what comes to its own address.
    pub fn new(to: SocketAddr) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { mode: Mode::Pass, over: false, next: 0, streams: HashMap::new() };
        let shared = Arc::new(Shared { to, state: Mutex::new(state), changed: Condvar::new() });
        let run = shared.clone();
        thread::spawn(move || run.accept(&listener));
        Link { address, shared }
    }

    /// Where to dial instead of the other end.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.state.lock().unwrap();
        state.mode = mode;
        if mode == Mode::Cut {
            state.cut();
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.over = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for stream in self.streams.values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: Arc<Shared>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.state.lock().unwrap().over {
                break;
            }
            // Whoever hears nothing behind it is gone: so is who dialled.
            let Ok(near) = stream else { continue };
            let Ok(far) = TcpStream::connect(self.to) else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            self.clone().join(near, far);
        }
    }

    fn join(self: Arc<Shared>, near: TcpStream, far: TcpStream) {
        let mut state = self.state.lock().unwrap();
        if state.mode == Mode::Cut || state.over {
            return;
        }
        let id = state.next;
        state.next += 1;
        state.streams.insert(id, [near.try_clone().unwrap(), far.try_clone().unwrap()]);
        drop(state);
        let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
        for (from, to) in [(near, far), back] {
            let shared = self.clone();
            thread::spawn(move || {
                shared.pump(&from, to);
                shared.state.lock().unwrap().streams.remove(&id);
            });
        }
    }

    /// Until one end is closed, or the link cut. Closes both.
    fn pump(self: &Arc<Shared>, mut from: &TcpStream, to: TcpStream) {
        let other = to.try_clone().unwrap();
        let (queue, queued) = mpsc::sync_channel(QUEUED_MAX);
        let shared = self.clone();
        let writer = thread::spawn(move || shared.write(to, &queued));
        let mut bytes = vec![0; CHUNK];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if !self.pass_on(&queue, &bytes[..n]) {
                break;
            }
        }
        drop(queue);
        let _ = writer.join();
        let _ = (from.shutdown(Shutdown::Both), other.shutdown(Shutdown::Both));
    }

    fn pass_on(&self, queue: &SyncSender<(Instant, Vec<u8>)>, bytes: &[u8]) -> bool {
        let delay = match self.state.lock().unwrap().mode {
            Mode::Delay(time) => time,
            _ => Duration::ZERO,
        };
        queue.send((Instant::now() + delay, bytes.to_vec())).is_ok()
    }

    fn write(&self, mut to: TcpStream, queued: &Receiver<(Instant, Vec<u8>)>) {
        let mut next = queued.recv().ok();
        while let Some((due, mut bytes)) = next {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let stalls = |state: &mut State| state.mode == Mode::Stall && !state.over;
            let state = self.state.lock().unwrap();
            let state = self.changed.wait_while(state, stalls).unwrap();
            let closed = state.mode == Mode::Cut || state.over;
            drop(state);
            // A sleep takes longer than it was asked to: what is due by now goes with it.
            next = queued.try_recv().ok();
            while let Some((_, more)) = next.take_if(|(due, _)| *due <= Instant::now()) {
                bytes.extend_from_slice(&more);
                next = queued.try_recv().ok();
            }
            if closed || to.write_all(&bytes).is_err() {
                return;
            }
            next = next.or_else(|| queued.recv().ok());
        }
    }
}

const CHUNK: usize = 64 << 10;
/// Chunks on their way: beyond that the sender feels it. Many are small.
const QUEUED_MAX: usize = 1024;

/// What comes out of a link, and when it does not.
#[test]
fn a_link_does_what_it_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = Link::new(listener.local_addr().unwrap());
    let mut near = TcpStream::connect(link.address()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut one = [0];
    near.write_all(b"a").unwrap();
    far.read_exact(&mut one).unwrap();
    assert_eq!(&one, b"a");

    link.set(Mode::Stall);
    near.write_all(b"b").unwrap();
    far.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    far.read_exact(&mut one).unwrap_err();
    far.set_read_timeout(None).unwrap();
    link.set(Mode::Pass);
    far.read_exact(&mut one).unwrap();
    assert_eq!(&one, b"b");

    let begin = Instant::now();
    link.set(Mode::Delay(Duration::from_millis(50)));
    near.write_all(b"c").unwrap();
    far.read_exact(&mut one).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(50));

    link.set(Mode::Cut);
    assert_eq!(far.read(&mut one).unwrap(), 0);
    assert!(!matches!(near.read(&mut one), Ok(1)));
    let mut again = TcpStream::connect(link.address()).unwrap();
    assert!(!matches!(again.read(&mut one), Ok(1)));
}
