//! Members that speak TLS, those who may not speak with them, and files that are refused (P10; 30).

mod files;
mod listeners;
mod strangers;

use std::path::PathBuf;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tempfile::TempDir;

use super::certificates::{Authority, Certified};
use super::*;

/// An authority, and a directory for what it has issued.
struct Office {
    authority: Authority,
    directory: TempDir,
}

impl Office {
    fn new() -> Office {
        let office =
            Office { authority: Authority::new("one"), directory: tempfile::tempdir().unwrap() };
        std::fs::write(office.path("ca"), office.authority.pem()).unwrap();
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a certificate and its key into files.
    fn files(&self, name: &str, certified: &Certified) -> TlsFiles {
        certified.write(self.directory.path(), name);
        let path = |file: String| self.path(&file).to_str().unwrap().to_owned();
        TlsFiles {
            cert: path(format!("{name}.cert")),
            key: path(format!("{name}.key")),
            ca: path("ca".into()),
        }
    }

    /// The settings of a member of group "g" whose certificate bears these names.
    fn config(&self, id: u64, names: &[&str]) -> Config {
        let files = self.files(&format!("member-{id}"), &self.authority.issue(names));
        Config { tls: Some(Tls::read(files, "g", id).unwrap()), ..config() }
    }
}

/// Two members of group "g".
fn group(office: &Office) -> bad_peers::Group {
    bad_peers::Group::of(office.config(1, &["dledger:g/1"]), office.config(2, &["dledger:g/2"]))
}

/// What a group's name looks like in a certificate: it has one form, and no two share it.
#[test]
fn a_name_has_one_form() {
    for (group, id, name) in [
        ("g", 1, "dledger:g/1"),
        ("Orders-2.a_b~c", 77, "dledger:Orders-2.a_b~c/77"),
        ("a b", 1, "dledger:a%20b/1"),
        ("a/1", 2, "dledger:a%2F1/2"),
        ("a%2F1", 2, "dledger:a%252F1/2"),
        ("a:b@c?d#e,f", 3, "dledger:a%3Ab%40c%3Fd%23e%2Cf/3"),
        ("größe", u64::MAX, "dledger:gr%C3%B6%C3%9Fe/18446744073709551615"),
    ] {
        assert_eq!(certificate_name(group, id), name);
    }
}

/// P10: in a group of two, one of which has names in other groups too, all goes as without TLS: bytes
/// come as they were sent, also when the socket takes only a part of them at a time.
#[test]
fn members_speak_tls() {
    let office = Office::new();
    let names = ["dledger:h/9", "dledger:a%20b/1", "dledger:g/1"];
    let (one, two) = (office.config(1, &names), office.config(2, &["dledger:g/2"]));
    let mut group = bad_peers::Group::of(one, two);
    group.goes_on();
    let sent: Vec<_> = (0..64).map(|n| (n, [raw(n, 5 * n as usize), raw(n + 1, 99_999)])).collect();
    for (n, slices) in &sent {
        let len = slices.iter().map(Bytes::len).sum();
        let mut send = || group.one.net().send(2, &append(*n, len), slices.to_vec());
        until("room", || match send() {
            Ok(()) => true,
            Err(why) => {
                assert_eq!(why, Unsent::Full);
                false
            }
        });
    }
    for (n, slices) in sent {
        let all = Bytes::from(slices.concat());
        group.two.handler.next(&came(1, append(n, all.len()), all));
    }
    group.was_undisturbed();
}

/// A group whose name is not one for a URI.
#[test]
fn a_name_is_escaped() {
    let office = Office::new();
    let member = |id: u64| {
        let name = format!("dledger:a%20%2F%C3%BC/{id}");
        let files = office.files(&format!("{id}"), &office.authority.issue(&[&name]));
        let tls = Some(Tls::read(files, "a /ü", id).unwrap());
        Node::start(Recorder::new("a /ü", id, &members()), Config { tls, ..config() })
    };
    let (mut one, mut two) = (member(1), member(2));
    meet(&mut one, &mut two);
    one.says(&two, 1);
}

/// A connection in TLS of somebody who looks at nothing.
type Client = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

impl Stranger<Client> {
    fn in_tls(node: &Node, config: Arc<ClientConfig>) -> Stranger<Client> {
        let nobody = ServerName::IpAddress(node.address().ip().into());
        let tls = rustls::ClientConnection::new(config, nobody).unwrap();
        Stranger(Client::new(tls, Stranger::dials(node).0))
    }

    /// Fails if the connection is not closed, or if anything comes before that.
    fn sees_its_end(mut self) {
        match self.0.read(&mut [0; 64]) {
            Ok(n) => assert_eq!(n, 0, "bytes from the acceptor"),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no end"),
        }
    }
}

/// The settings of such a client, with a certificate or without one.
fn client(certified: Option<&Certified>) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    Arc::new(match certified {
        None => config.with_no_client_auth(),
        Some(certified) => {
            let (chain, key) = parsed(certified);
            // Those who have another key than the certificate says are let in by nobody here.
            let key = ring::default_provider().key_provider.load_private_key(key).unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain, key);
            let shown = rustls::sign::SingleCertAndKey::from(certified);
            config.with_client_cert_resolver(Arc::new(shown))
        }
    })
}

fn parsed(certified: &Certified) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(certified.cert.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
    (chain.map(|one| one.unwrap()).collect(), key)
}

/// Believes whoever is there.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("only 1.3 is spoken")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
