//! P9, P10, P18, scenarios 7 and 30: strangers at the port of a member, with TLS and without. The group
//! goes on, and their bytes cost no memory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use dledger::wire::hello::PREFIX;
use dledger::wire::{Hello, Kind};

use crate::alone;
use crate::certificates::Authority;
use crate::checker::check;
use crate::clients::Clients;
use crate::cluster::Cluster;

/// Each kind of stranger comes to each member while appends commit.
#[test]
fn strangers_cost_nothing() {
    let _alone = alone();
    let cluster = Arc::new(Cluster::new(3, &[]));
    let hello = hello_of_the_first(&cluster);
    cluster.heal();
    beside(&cluster, |what, goes_on| {
        for target in what.targets {
            random_bytes(*target, what.rng);
            large_hello(*target);
        }
        large_frames(&hello, what.targets[1]);
        goes_on("appends beside bytes");
        let slow = what.targets.iter().map(|target| slow_hello(*target, &hello)).collect();
        goes_on("appends beside slow hellos");
        slow
    });
}

/// The same at members that speak TLS: a handshake that does not end holds what its messages hold.
#[test]
fn strangers_to_tls_cost_nothing() {
    let _alone = alone();
    let office = tempfile::tempdir().unwrap();
    let authority = Authority::new("chaos");
    let names = [1, 2, 3].map(|id| format!("dledger:chaos/{id}"));
    authority.issue(&names.each_ref().map(|name| &**name)).write(office.path(), "members");
    std::fs::write(office.path().join("ca.cert"), authority.pem()).unwrap();
    let file = |key: &str, name: &str| format!("{key}={}", office.path().join(name).display());
    let files = [("tls.cert", "members.cert"), ("tls.key", "members.key"), ("tls.ca", "ca.cert")];
    let options = files.map(|(key, name)| file(key, name));
    let [cert, key, ca] = options.each_ref().map(|option| &**option);
    let cluster = Arc::new(Cluster::new(3, &["group=chaos", "insecure.listen=no", cert, key, ca]));
    cluster.heal();
    beside(&cluster, |what, goes_on| {
        for target in what.targets {
            random_bytes(*target, what.rng);
        }
        goes_on("appends beside bytes");
        let halves = [what.targets[0]; HALF_HANDSHAKES].map(half_a_handshake);
        goes_on("appends beside handshakes that do not end");
        drop(halves);
        Vec::new()
    });
}

/// Where a round of strangers goes.
struct Round<'a> {
    targets: &'a [SocketAddr],
    rng: &'a mut fastrand::Rng,
}

/// Three rounds of strangers, and idle ones beside those that `round` returns, while appends commit.
fn beside(cluster: &Arc<Cluster>, round: impl Fn(Round, &dyn Fn(&str)) -> Vec<TcpStream>) {
    cluster.wait_leader();
    let clients = Clients::start(cluster, 2, 1, 1);
    let goes_on = |what: &str| {
        let before = clients.committed();
        cluster.wait(what, || clients.committed() > before + 100);
    };
    let memory = |what| cluster.ids().map(|id| cluster.member(id).memory_kib(what)).collect();
    let targets: Vec<SocketAddr> = cluster.ids().map(|id| cluster.address(id)).collect();
    goes_on("the first appends");
    idle(&targets);
    goes_on("appends behind the first idle ones");

    // Whatever is allocated once is there now.
    let (used, claimed): (Vec<u64>, Vec<u64>) = (memory("RssAnon"), memory("VmPeak"));
    let mut rng = fastrand::Rng::with_seed(7);
    let mut most = vec![0; targets.len()];
    for number in 0..3 {
        let stay = round(Round { targets: &targets, rng: &mut rng }, &goes_on);
        let idle = idle(&targets);
        goes_on("appends beside idle connections");
        let now: Vec<u64> = memory("RssAnon");
        println!("round {number}: RssAnon {used:?} KiB, then {now:?}");
        most = most.iter().zip(now).map(|(most, now)| now.max(*most)).collect();
        drop((stay, idle));
    }
    let now = most.into_iter().zip(memory("VmPeak"));
    for (now, before) in now.zip(used.into_iter().zip(claimed)) {
        let (used, claimed) = (now.0.saturating_sub(before.0), now.1 - before.1);
        assert!(used < USED_KIB, "{used} KiB more are used");
        assert!(claimed < CLAIMED_KIB, "{claimed} KiB more were claimed at once");
    }
    let mut history = clients.stop();
    history.logs = cluster.logs();
    assert_eq!(check(&history), Ok(()));
    cluster.finish();
}

/// What member 1 says to member 3 when it dials: heard in its place.
fn hello_of_the_first(cluster: &Cluster) -> Hello {
    let listener = TcpListener::bind(cluster.address(3)).unwrap();
    cluster.start(1);
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = vec![0; PREFIX];
    stream.read_exact(&mut bytes).unwrap();
    let rest = Hello::rest(bytes[..].try_into().unwrap()).unwrap();
    bytes.resize(PREFIX + rest, 0);
    stream.read_exact(&mut bytes[PREFIX..]).unwrap();
    Hello::decode(&bytes).unwrap()
}

fn dial(target: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(target).unwrap();
    stream.set_read_timeout(Some(CLOSED_WITHIN)).unwrap();
    stream
}

/// The member closes, and says at most that it refuses.
fn is_closed(mut stream: TcpStream, what: &str) {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(1..) => {}
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not closed after {what}: {error}"),
        }
    }
}

fn random_bytes(target: SocketAddr, rng: &mut fastrand::Rng) {
    let mut stream = dial(target);
    let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(100_000).collect();
    // It may be closed before all was sent.
    let _ = stream.write_all(&bytes);
    is_closed(stream, "random bytes");
}

/// A hello that says it is as long as it can say, and as 4 GiB if a length had four bytes.
fn large_hello(target: SocketAddr) {
    let mut stream = dial(target);
    stream.write_all(b"DLGH\0\x01\xff\xff\xff\xff").unwrap();
    is_closed(stream, "a hello that is too long");
}

/// Without TLS anybody can say that he is a member. His frames announce 4 GiB.
fn large_frames(hello: &Hello, target: SocketAddr) {
    for lengths in [[u32::MAX, 0], [64, u32::MAX], [u32::MAX, u32::MAX]] {
        let mut stream = dial(target);
        let hello = Hello { to: 2, ..hello.clone() };
        stream.write_all(&hello.encode().unwrap()).unwrap();
        let mut magic = [0; 4];
        stream.read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"DLGA");
        let mut frame = lengths.map(u32::to_be_bytes).concat();
        frame.extend([Kind::Append as u8, 0, 0, 0, 0, 0, 0, 0]);
        let _ = stream.write_all(&frame);
        is_closed(stream, "a frame of 4 GiB");
    }
}

/// Half a hello, and then nothing.
fn slow_hello(target: SocketAddr, hello: &Hello) -> TcpStream {
    let mut stream = dial(target);
    let bytes = hello.encode().unwrap();
    for byte in &bytes[..bytes.len() / 2] {
        stream.write_all(&[*byte]).unwrap();
    }
    stream
}

/// The first three records of a handshake message of 64 KiB, the most that TLS lets a message be here,
/// and then nothing.
fn half_a_handshake(target: SocketAddr) -> TcpStream {
    let mut stream = dial(target);
    for n in 0..3 {
        let mut record = vec![0; 5 + (16 << 10)];
        record[..5].copy_from_slice(&[0x16, 3, 1, 0x40, 0]);
        if n == 0 {
            record[5..9].copy_from_slice(&[1, 0, 0xff, 0xff]);
        }
        let _ = stream.write_all(&record);
    }
    stream
}

/// A thousand that say nothing.
fn idle(targets: &[SocketAddr]) -> Vec<TcpStream> {
    let all = targets.iter().cycle().take(1000);
    let connections = all.map(|target| {
        sleep(Duration::from_micros(100));
        dial(*target)
    });
    connections.collect()
}

/// Far more than may wait at a member: all of them would hold more than is allowed.
const HALF_HANDSHAKES: usize = 900;
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// More is no noise of the allocator.
const USED_KIB: u64 = 32 << 10;
/// One allocation of 4 GiB would be far beyond it; files of the log that are mapped are not.
const CLAIMED_KIB: u64 = 2 << 20;
