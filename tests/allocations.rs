//! No allocation per record on the append path after warm-up, and none that a peer could make
//! large, counted by an allocator of the test's own.
#![allow(unsafe_code, clippy::unwrap_used)] // an allocator is unsafe; a test may unwrap

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dledger::commitlog::meta::{Member, MemberSet};
use dledger::commitlog::work::Work;
use dledger::disk::memory::MemoryDisk;
use dledger::error::Status;
use dledger::group::clock::Clock;
use dledger::group::delivery::Delivery;
use dledger::group::driver::Helper;
use dledger::group::peers::Nobody;
use dledger::group::shared::{Life, Returns};
use dledger::group::{AppendOptions, Completion, Observer, Parts, State, Token, open_parts};
use dledger::net::{Config, Fault, Handler, Identity, Incoming, Net};
use dledger::options::Options;
use dledger::plant::Plants;
use dledger::types::{Anchor, Index};
use dledger::wire::frame::{FrameHeader, HEADER, Limits};
use dledger::wire::hello::{Hello, PREFIX, VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    BYTES.set(BYTES.get() + bytes);
}

// SAFETY: everything is the system's allocator; only numbers are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as promised to us.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as promised to us.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    f();
    ALLOCATIONS.get() - before
}

struct AtOnce(MemoryDisk, Returns);
impl Helper for AtOnce {
    fn submit(&mut self, work: Work) {
        self.1.post(work.run(&self.0));
    }
}

struct Silent;
impl Observer for Silent {
    fn completed(&self, items: &[Completion]) {
        assert!(items.iter().all(|item| item.status == Status::Ok));
    }
    fn event(&self, _: u32, _: &State) {}
    fn index_read(&self, _: Token, _: Status, _: Index) {}
    fn thread(&self, _: bool, _: bool) {}
}

/// Appending allocates nothing per record; a turn and a delivery allocate the same for 1,000
/// records as for 10.
#[test]
fn nothing_is_allocated_per_record() {
    let disk = MemoryDisk::new();
    let mut options = Options::default();
    for (key, value) in [("dir", "/"), ("node.id", "1"), ("segment.bytes", "64MiB")] {
        options.set(key, value).unwrap();
    }
    let on = disk.clone();
    let clock = Clock::Manual(Arc::new(AtomicU64::new(0)));
    let parts = open_parts(Arc::new(disk), clock, &options, Plants::NONE, 1, |shared| {
        Ok(Box::new(AtOnce(on, shared.done.clone())))
    });
    let Parts { shared, mut driver } = parts.unwrap();
    assert!(shared.moves(Life::Open, Life::Running));
    let mut delivery = Delivery::new(shared.clone(), Arc::new(Silent));
    driver.start(Box::new(Nobody));
    while !shared.state().ready {
        driver.turn();
    }
    let body = [7u8; 200];
    let mut round = |records: u64| {
        let append = allocations(|| {
            for _ in 0..records {
                shared.append(&body, &AppendOptions::default(), Token::default()).unwrap();
            }
        });
        let turn = allocations(|| {
            while shared.state().committed < shared.state().end {
                driver.turn();
            }
        });
        let deliver = allocations(|| assert!(delivery.run(0) > 0));
        (append, turn, deliver)
    };
    for _ in 0..20 {
        round(1_000);
    }
    let rounds: Vec<_> = (0..10).map(|_| (round(1_000), round(10))).collect();
    for (many, few) in &rounds {
        assert_eq!(many.0, 0, "appends allocate: {rounds:?}");
        assert_eq!(few.0, 0, "appends allocate: {rounds:?}");
        assert!(many.2 <= few.2, "a delivery allocates per record: {rounds:?}");
    }
    let (most, least) = rounds.iter().fold((0, 0), |(m, l), (a, b)| (m + a.1, l + b.1));
    // The memory disk keeps a node for each sector that is not synced; the rest is per turn.
    assert!(most < 10 * 1_000, "a turn allocates per record: {rounds:?}");
    println!("allocations of ten turns of 1,000 records: {most}, of 10 records: {least}");
}

/// A header, its message and a right checksum.
fn frame(kind: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
    let crc = crc32fast::hash(&[&bytes[..], message].concat());
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// P9: what a message or a hello makes us allocate is bounded by the bytes that came, whatever
/// counts and lengths it claims.
#[test]
fn a_peer_that_claims_much_makes_us_allocate_little() {
    let bounded = |what: &str, message: Vec<u8>| {
        let bytes = frame(if what.starts_with("reset") { 7 } else { 3 }, &message);
        let (header, message) = bytes.split_first_chunk::<HEADER>().unwrap();
        let before = BYTES.get();
        let header = FrameHeader::decode(header, &Limits::new(0)).expect(what);
        let read = header.message(message).is_ok();
        let allocated = BYTES.get() - before;
        assert!(allocated <= 8 * bytes.len(), "{what}: {allocated} for {}", bytes.len());
        read
    };
    let append = |behind: &[u8]| [&[1; 36][..], behind].concat();
    let no_op = [0, 0, 0, 0, 0, 0, 0, 6, 2];
    let change = |len: u32| [&[0, 1, 0, 0, 0, 0, 0, 0, 0, 6, 3][..], &len.to_be_bytes()].concat();
    assert!(bounded("append of 4096", append(&[&[0x10, 0][..], &no_op.repeat(4096)].concat())));
    assert!(!bounded("append, 4096 claimed", append(&[0x10, 0])));
    assert!(!bounded("append, 65535 claimed", append(&[&[0xff; 2][..], &no_op].concat())));
    assert!(!bounded("append, a change of 65 KB claimed", append(&change(65_000))));
    assert!(!bounded("append, a change of 4 GB claimed", append(&change(u32::MAX))));

    let reset = |behind: &[u8]| {
        let mut message = [0; 8 + 44 + 8];
        message[7] = 1;
        [&message[..], behind].concat()
    };
    let member = |len: [u8; 2]| [&[0; 16][..], &len].concat();
    let no_ids = [0; 4 * 2 + 1];
    let many = [&[0, 200][..], &member([0, 0]).repeat(200), &no_ids].concat();
    assert!(bounded("reset with 200 members", reset(&many)));
    assert!(!bounded("reset, 65535 claimed", reset(&[0xff; 11])));
    let long = [&[0, 1][..], &member([0xff, 0xff])].concat();
    assert!(!bounded("reset, a long address claimed", reset(&long)));
    let ids = [&[0, 0, 0xff, 0xff][..], &[0; 16]].concat();
    assert!(!bounded("reset, 65535 voters claimed", reset(&ids)));

    let mut hello = b"DLGH\0\x01\0\0".to_vec();
    hello.resize(PREFIX + 5 * 8 + 2 * 44, 0);
    hello[PREFIX + 23] = 1;
    hello.extend_from_slice(&[0xff, 0xff]);
    hello[7] = (hello.len() + 4 - PREFIX) as u8;
    hello.extend_from_slice(&crc32fast::hash(&hello).to_be_bytes());
    let before = BYTES.get();
    assert!(Hello::decode(&hello).is_err());
    assert!(BYTES.get() - before <= hello.len());
}

/// P9, P18, scenario 7: a frame that is announced costs what has come of it, not what was
/// announced: neither 4 GiB, which is refused, nor what a frame may have, which is waited for.
#[test]
fn a_frame_that_does_not_come_costs_little() {
    const RAW: u32 = 1 << 30;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config::new("127.0.0.1:0", Limits::new(RAW), 1);
    let net = Net::start(runtime.handle(), Arc::new(Deaf), config).unwrap();
    let sent = |bytes: Vec<u8>| {
        runtime.block_on(async {
            let mut stream = tokio::net::TcpStream::connect(net.local_address()).await.unwrap();
            stream.write_all(&hello().encode().unwrap()).await.unwrap();
            let mut answer = [0; 1024];
            assert!(stream.read(&mut answer).await.unwrap() > PREFIX);
            let before = BYTES.get();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            while stream.read(&mut answer).await.is_ok_and(|n| n > 0) {}
            BYTES.get() - before
        })
    };
    let mut header = [0; HEADER];
    header[..8].fill(0xff);
    header[8] = 3;
    let allocated = sent(header.to_vec());
    assert!(allocated < 64 << 10, "{allocated} bytes for 4 GiB that were announced");

    let claimed = [&[1; 36][..], &[0, 1], &[1; 8], &[1], &[0, 0, 0, 1], &RAW.to_be_bytes()];
    let came = vec![7; 1 << 20];
    let mut bytes = frame(3, &claimed.concat());
    bytes[4..8].copy_from_slice(&RAW.to_be_bytes());
    bytes[12..16].fill(0);
    let crc = crc32fast::hash(&[&bytes[..12], &bytes[HEADER..]].concat());
    bytes[12..16].copy_from_slice(&crc.to_be_bytes());
    let allocated = sent([bytes, came].concat());
    assert!(allocated > 1 << 20, "{allocated} bytes: the frame was not read at all");
    assert!(allocated < 8 << 20, "{allocated} bytes for 1 MiB of 1 GiB that were announced");
    let cut = Fault::Lost(std::io::ErrorKind::UnexpectedEof);
    assert_eq!(net.counters().count(cut), 1);
    assert_eq!(net.counters().bytes_in.get(), 0);
}

fn hello() -> Hello {
    Hello {
        version: VERSION,
        group: "g".into(),
        from: 2,
        to: 1,
        incarnation: 2,
        to_incarnation: 0,
        segment_bytes: 1 << 30,
        priority: 0,
        begin: Anchor::default(),
        end: Anchor::default(),
        members: MemberSet::default(),
    }
}

/// A member 1 that does not listen to its peer 2.
struct Deaf;

impl Handler for Deaf {
    fn identity(&self) -> Identity {
        let Hello { group, segment_bytes, begin, end, .. } = hello();
        Identity { group, node: 1, incarnation: 1, segment_bytes, priority: 0, begin, end }
    }
    fn members(&self) -> Arc<MemberSet> {
        let member = |id| Member { id, incarnation: id, address: String::new() };
        Arc::new(MemberSet { members: (1..=2).map(member).collect(), ..MemberSet::default() })
    }
    fn book(&self) -> Option<Arc<MemberSet>> {
        None
    }
    fn bind(&self, _: &Hello) -> oneshot::Receiver<bool> {
        oneshot::channel().1
    }
    fn connected(&self, _: u64, _: &Hello) {}
    fn received(&self, _: u64, _: Incoming) {}
    fn reached(&self, _: u64, _: &Hello) {}
    fn unknown(&self, _: u64) {}
    fn lost(&self, _: u64) {}
}
