//! Who may not speak: at our port, and where we dial.

use std::net::TcpListener as StdListener;

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::wire::frame;

/// Scenario 30: a certificate that does not prove a member is closed before a hello, counted, and
/// the group goes on.
#[test]
fn a_bad_certificate_is_refused() {
    let office = Office::new();
    let mut group = group(&office);
    let (issue, three) = (|names| office.authority.issue(names), ["dledger:g/3"]);
    let with = |change: fn(&mut rcgen::CertificateParams)| {
        Some(office.authority.issue_with(&three, change))
    };
    let other_key = Certified { key: issue(&three).key, ..issue(&three) };
    let (twin, other) = (Authority::new("one"), Authority::new("another"));
    let cases = [
        (TlsError::NoCertificate, None),
        (TlsError::Authority, Some(other.issue(&three))),
        (TlsError::Signature, Some(twin.issue(&three))),
        (TlsError::Signature, Some(other_key)),
        (TlsError::Time, with(|params| params.not_after = date_time_ymd(2020, 1, 1))),
        (TlsError::Time, with(|params| params.not_before = date_time_ymd(4000, 1, 1))),
        (
            TlsError::Certificate,
            with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        (
            TlsError::Certificate,
            with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
    ];
    for (error, certified) in cases {
        let fault = Fault::Tls(error);
        let before = group.one.listener_count(fault);
        let mut stranger = Stranger::in_tls(&group.one, client(certified.as_ref()));
        // In TLS 1.3 who dials may send before it is known whether he is let in.
        let _ = stranger.0.write_all(&hello(3, 1).encode().unwrap());
        stranger.sees_its_end();
        until("the count", || group.one.listener_count(fault) == before + 1);
        group.goes_on();
    }
    assert!(!lock(&group.one.handler.state).heard.contains(&Heard::Connected(3)));
    group.was_undisturbed();
}

/// Scenario 30, P10: a certificate of the right authority is good for the member that it names, and
/// for nobody else.
#[test]
fn another_members_certificate_is_refused() {
    let office = Office::new();
    let mut group = group(&office);
    let good = || hello(3, 1);
    let cases = [
        (&["dledger:g/2"][..], good()),
        (&["dledger:h/3"], good()),
        (
            &["dledger:G/3", "dledger:g/03", "dledger:g/3/", "dledger:%67/3", "dledger://g/3"],
            good(),
        ),
        (&["dledger:g/33", "dledger:g/", "spiffe:g/3", "dledger:g/3 ", "Dledger:g/3"], good()),
        (&[], good()),
        (&["dledger:g/3"], Hello { group: "h".into(), ..good() }),
        (&["dledger:g/3"], hello(2, 1)),
        // It proves nothing of what it says: no other reason is given.
        (&["dledger:g/3"], Hello { version: 2, group: "h".into(), to: 7, ..good() }),
    ];
    let fault = Fault::Refused(Refusal::Certificate);
    let refused =
        |group: &bad_peers::Group| group.one.count(fault) + group.one.listener_count(fault);
    for (names, hello) in cases {
        let before = refused(&group);
        let config = client(Some(&office.authority.issue(names)));
        let mut stranger = Stranger::in_tls(&group.one, config);
        stranger.sends(&hello.encode().unwrap());
        let answer = stranger.answer();
        assert_eq!(answer, HelloAnswer::Refusal(Refusal::Certificate), "{names:?} {hello:?}");
        stranger.sees_its_end();
        assert_eq!(refused(&group), before + 1);
        group.goes_on();
    }
    assert!(!lock(&group.one.handler.state).heard.contains(&Heard::Connected(3)));
    // With its own it is let in, in each handshake anew.
    let config = client(Some(&office.authority.issue(&["dledger:g/1", "dledger:g/3"])));
    for _ in 0..2 {
        let mut stranger = Stranger::in_tls(&group.one, config.clone());
        stranger.sends(&good().encode().unwrap());
        assert!(matches!(stranger.answer(), HelloAnswer::Hello(hello) if hello.from == 1));
        group.one.handler.next(&Heard::Connected(3));
        assert_eq!(stranger.0.conn.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    // It is good for what it names, and is not above other reasons.
    let mut stranger = Stranger::in_tls(&group.one, config);
    stranger.sends(&Hello { to: 2, ..good() }.encode().unwrap());
    assert_eq!(stranger.answer(), HelloAnswer::Refusal(Refusal::NotMe));
    group.goes_on();
}

/// Who speaks no TLS, or an older one, is closed; so is who is slow, in each part of the way: one
/// limit covers all of it.
#[test]
fn noise_and_delay_see_the_end() {
    let office = Office::new();
    let limit = 40 * TICK;
    let one = Config { hello_limit: limit, ..office.config(1, &["dledger:g/1"]) };
    let mut group = bad_peers::Group::of(one, office.config(2, &["dledger:g/2"]));
    // A hello of version 1.2 without extensions.
    let mut old = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    old.extend([7; 32]);
    old.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let cases = [
        (TlsError::Noise, hello(3, 1).encode().unwrap()),
        (TlsError::Noise, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (TlsError::Noise, raw(1, 100_000).to_vec()),
        (TlsError::Incompatible, old),
    ];
    for (error, bytes) in cases {
        let fault = Fault::Tls(error);
        let before = group.one.listener_count(fault);
        let mut stranger = Stranger::dials(&group.one);
        let _ = stranger.0.write_all(&bytes);
        while matches!(stranger.0.read(&mut [0; 64]), Ok(1..)) {}
        until("the count", || group.one.listener_count(fault) == before + 1);
        group.goes_on();
    }

    let config = client(Some(&office.authority.issue(&["dledger:g/3"])));
    let begun = || {
        let mut stranger = Stranger::in_tls(&group.one, config.clone());
        stranger.0.conn.write_tls(&mut stranger.0.sock).unwrap();
        stranger
    };
    let silent = Stranger::dials(&group.one);
    let half = begun();
    let mut whole = begun();
    while whole.0.conn.is_handshaking() || whole.0.conn.wants_write() {
        whole.0.conn.complete_io(&mut whole.0.sock).unwrap();
    }
    silent.sees_the_end();
    for mut slow in [half.0.sock, whole.0.sock] {
        // All that comes is of the handshake.
        while slow.read(&mut [0; 4096]).unwrap() > 0 {}
    }
    until("the count", || group.one.listener_count(Fault::Slow) == 3);
    group.goes_on();
    group.was_undisturbed();
}

/// What came with the hello in one record was read ahead by the listener, and goes to the group with
/// the connection. A connection that ends between two frames, without TLS's own word for it, is no
/// fault; within a frame it is one, and the frame is not told.
#[test]
fn what_was_read_ahead_is_not_lost() {
    let office = Office::new();
    let node = Node::start(Recorder::new("g", 1, &members()), office.config(1, &["dledger:g/1"]));
    let config = client(Some(&office.authority.issue(&["dledger:g/3"])));
    let cut = Fault::Lost(std::io::ErrorKind::UnexpectedEof);
    let mut bytes = hello(3, 1).encode().unwrap();
    for n in [5, 6] {
        frame::encode(&append(n, 100), &config_frames(), &mut bytes).unwrap();
        bytes.extend(raw(n, 100));
    }
    let mut stranger = Stranger::in_tls(&node, config.clone());
    stranger.sends(&bytes);
    for n in [5, 6] {
        node.handler.next(&came(3, append(n, 100), raw(n, 100)));
    }
    assert!(matches!(stranger.answer(), HelloAnswer::Hello(_)));
    drop(stranger);
    let mut stranger = Stranger::in_tls(&node, config);
    stranger.sends(&bytes[..bytes.len() - 1]);
    node.handler.next(&came(3, append(5, 100), raw(5, 100)));
    assert_eq!(node.count(cut), 0, "an end between two frames is a fault");
    drop(stranger);
    until("the count of a frame that is cut", || node.count(cut) == 1);
    let told = |state: &State| state.heard.contains(&came(3, append(6, 100), raw(6, 100)));
    assert!(!told(&lock(&node.handler.state)));
}

fn config_frames() -> Limits {
    config().frames
}

/// Who accepts proves itself too: a member says nothing to another than the one that it means.
#[test]
fn a_dialler_looks_whom_it_reached() {
    let office = Office::new();
    let mut one =
        Node::start(Recorder::new("g", 1, &members()), office.config(1, &["dledger:g/1"]));
    let bad = StdListener::bind("127.0.0.1:0").unwrap();
    one.net().set_peers(&[(2, bad.local_addr().unwrap().to_string())]);
    let authority = |names: &[&str]| office.authority.issue(names);
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_after = date_time_ymd(2020, 1, 1);
    };
    let clients_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let certificate = Fault::Refused(Refusal::Certificate);
    let two = ["dledger:g/2"];
    let cases = [
        (certificate, authority(&["dledger:g/3"])),
        (certificate, authority(&["dledger:h/2"])),
        (certificate, authority(&[])),
        (Fault::Tls(TlsError::Authority), Authority::new("another").issue(&two)),
        (Fault::Tls(TlsError::Time), office.authority.issue_with(&two, expired)),
        (Fault::Tls(TlsError::Certificate), office.authority.issue_with(&two, clients_only)),
        (
            Fault::Tls(TlsError::Signature),
            Certified { key: authority(&two).key, ..authority(&two) },
        ),
    ];
    for (fault, certified) in cases {
        let before = one.count(fault);
        let mut tls = accepts(&office, &certified, &bad);
        let mut said = Vec::new();
        let _ = tls.read_to_end(&mut said);
        assert!(said.is_empty(), "{} bytes to the wrong one: {fault}", said.len());
        until("the count", || one.count(fault) > before);
    }
    // It goes on to dial, and finds the right one.
    let mut tls = Stranger(accepts(&office, &authority(&["dledger:x/7", "dledger:g/2"]), &bad));
    let mut prefix = [0; PREFIX];
    tls.0.read_exact(&mut prefix).unwrap();
    let end = Anchor { raft_index: RaftIndex(2), ..Anchor::default() };
    tls.sends(&HelloAnswer::Hello(Box::new(Hello { end, ..hello(2, 1) })).encode().unwrap());
    one.handler.next(&Heard::Reached(2));
    assert_eq!(lock(&one.handler.state).heard, []);
    drop(tls);
    one.handler.next(&Heard::Lost(2));

    // Somebody who speaks no TLS gets no word of it either.
    let before = one.count(Fault::Tls(TlsError::Noise));
    let mut plain = bad.accept().unwrap().0;
    plain.write_all(&HelloAnswer::Refusal(Refusal::Busy).encode().unwrap()).unwrap();
    until("the count", || one.count(Fault::Tls(TlsError::Noise)) == before + 1);
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert_eq!(said[0], 0x16, "no handshake");
    let group = hello(1, 2).encode().unwrap();
    assert!(!said.windows(4).any(|bytes| bytes == &group[..4]));
}

type Server = rustls::StreamOwned<rustls::ServerConnection, TcpStream>;

/// Accepts with this certificate.
fn accepts(office: &Office, certified: &Certified, listener: &StdListener) -> Server {
    let (provider, (chain, key)) = (Arc::new(ring::default_provider()), parsed(certified));
    let mut roots = RootCertStore::empty();
    let authority = Certified { cert: office.authority.pem(), key: certified.key.clone() };
    roots.add(parsed(&authority).0.remove(0)).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shown = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_cert_resolver(Arc::new(shown));
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    Server::new(rustls::ServerConnection::new(Arc::new(config)).unwrap(), stream)
}
