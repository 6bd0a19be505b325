//! TLS between members: mutual, version 1.3 only, without resumption. Both sides show a
//! certificate that comes from the authority in `tls.ca`, is valid now, and bears the name of a
//! member in its group: the URI `dledger:<group>/<id>` among its alternative names. One
//! certificate may bear the names of many members, as of one machine in many groups.
//!
//! The handshake proves the certificate, and not yet who is meant: that is asked with
//! [`Stream::proves`] when it is known, by the dialler before its hello, by the acceptor as soon
//! as it has read one.

use std::fmt::{self, Write};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct};
use rustls::{InconsistentKeys, PeerIncompatible, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::fault::Fault;
use super::stream::{Socket, Stream};
use super::{Error, Result};

/// The files of a member, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its certificate, and behind it those between it and the authority.
    pub cert: String,
    /// The certificate's private key.
    pub key: String,
    /// The authority, or several, while one replaces another.
    pub ca: String,
}

/// What a member has read from its files. It is never read again.
#[derive(Clone)]
pub struct Tls(Arc<Credentials>);

struct Credentials {
    files: TlsFiles,
    own: CertificateDer<'static>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// Why a connection in TLS is not made, or is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Plain bytes, or a broken record.
    #[error("what it sends is no TLS")]
    Noise,
    /// An older version, or no algorithm that both know.
    #[error("it does not speak TLS 1.3 with an algorithm that is known here")]
    Incompatible,
    /// It shows no certificate.
    #[error("it has no certificate")]
    NoCertificate,
    /// The certificate is of another authority.
    #[error("the certificate does not come from the authority in tls.ca")]
    Authority,
    /// Expired, or not valid yet.
    #[error("the certificate is not valid at this time")]
    Time,
    /// Who made the signature has another key than it says.
    #[error("a signature is not by the key that it should be by")]
    Signature,
    /// Anything else that is wrong with the certificate.
    #[error("the certificate cannot be a member's")]
    Certificate,
    /// The other side ended it, and says why.
    #[error("it refuses us: {0:?}")]
    Alert(AlertDescription),
    /// Anything else.
    #[error("TLS failed")]
    Failed,
}

/// The name of a member in its certificate, of which nothing may differ: letters, digits and
/// `-._~` of the group's name stand for themselves, each other byte is written as `%` and two
/// upper-case hexadecimal digits.
pub fn certificate_name(group: &str, id: u64) -> String {
    let mut name = "dledger:".to_owned();
    for byte in group.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                name.push(char::from(byte));
            }
            _ => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    let _ = write!(name, "/{id}");
    name
}

/// Whether a certificate bears this name. It is not asked where it comes from.
pub fn bears(certificate: &CertificateDer<'_>, name: &str) -> bool {
    webpki::EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.valid_uri_names().any(|uri| uri == name))
}

impl Tls {
    /// Reads the files of the member `id` of `group`, and checks that others would take what is in
    /// them. That the certificate is not valid at this time is only logged: the clock may be wrong,
    /// and the log can be read.
    pub fn read(files: TlsFiles, group: &str, id: u64) -> Result<Tls> {
        let (cert, key, ca) = (("tls.cert", &*files.cert), ("tls.key", &*files.key), &*files.ca);
        let chain = certificates(cert)?;
        let private = PrivateKeyDer::from_pem_slice(&contents(key)?).map_err(|e| match e {
            PemError::NoItemsFound => wrong(
                key,
                "there is no private key in it; allowed: PKCS #8, PKCS #1 or SEC 1, not encrypted",
            ),
            _ => wrong(key, CUT),
        })?;
        let provider = Arc::new(ring::default_provider());
        let private = provider.key_provider.load_private_key(private).map_err(|e| wrong(key, e))?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let text = format!("it is not the key of the certificate in tls.cert = {}", cert.1);
                return Err(wrong(key, text));
            }
            Err(other) => return Err(wrong(cert, unreadable(other))),
        }
        let mut roots = RootCertStore::empty();
        for root in certificates(("tls.ca", ca))? {
            roots.add(root).map_err(|e| wrong(("tls.ca", ca), unreadable(e)))?;
        }
        let own = certified.cert[0].clone();
        let tls = configured(files, certified, roots, provider)?;
        if !tls.names(group, id) {
            let text = format!(
                "the certificate does not name this member, {}",
                certificate_name(group, id)
            );
            return Err(wrong(("tls.cert", &tls.0.files.cert), names_of(&own, text)));
        }
        Ok(tls)
    }

    /// Where it was read from.
    pub fn files(&self) -> &TlsFiles {
        &self.0.files
    }

    /// Whether our own certificate names this member.
    pub fn names(&self, group: &str, id: u64) -> bool {
        bears(&self.0.own, &certificate_name(group, id))
    }

    /// The handshake with who dialled us.
    pub(super) async fn accept(&self, socket: TcpStream) -> std::result::Result<Stream, Fault> {
        let stream = self.0.acceptor.accept(Socket::new(socket)).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Server(stream))))
    }

    /// The handshake with whom we dialled.
    pub(super) async fn dial(&self, socket: TcpStream) -> std::result::Result<Stream, Fault> {
        // Neither sent nor checked: whom we mean stands in a URI, which this type has no words for.
        let nobody = ServerName::IpAddress(socket.peer_addr()?.ip().into());
        let stream = self.0.connector.connect(nobody, Socket::new(socket)).await?;
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}

impl From<&rustls::Error> for TlsError {
    fn from(error: &rustls::Error) -> TlsError {
        match error {
            rustls::Error::InvalidMessage(_) => TlsError::Noise,
            rustls::Error::PeerIncompatible(_) => TlsError::Incompatible,
            rustls::Error::NoCertificatesPresented => TlsError::NoCertificate,
            rustls::Error::AlertReceived(alert) => TlsError::Alert(*alert),
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::UnknownIssuer => TlsError::Authority,
                CertificateError::BadSignature => TlsError::Signature,
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => TlsError::Time,
                _ => TlsError::Certificate,
            },
            _ => TlsError::Failed,
        }
    }
}

/// The authority, for those whom we dial: as for those who dial us, the name is left to
/// [`Stream::proves`].
#[derive(Debug)]
struct Authority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

type Checked<T> = std::result::Result<T, rustls::Error>;

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Checked<ServerCertVerified> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            between,
            now,
            algorithms,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Checked<HandshakeSignatureValid> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Both sides of the handshake, once each of them would take our own certificate.
fn configured(
    files: TlsFiles,
    certified: CertifiedKey,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<Tls> {
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| wrong(("tls.ca", &files.ca), e))?;
    let servers = Arc::new(Authority { roots, provider: provider.clone() });
    check_own(&files, &certified.cert, &*clients, &servers)?;

    let own = certified.cert[0].clone();
    let shown = Arc::new(SingleCertAndKey::from(certified));
    let failed = |e| Error::Config(format!("tls: {e}"));
    let mut accepts = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(shown.clone());
    accepts.session_storage = Arc::new(NoServerSessionStorage {});
    accepts.send_tls13_tickets = 0;
    let mut dials = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_cert_resolver(shown);
    dials.resumption = Resumption::disabled();
    dials.enable_sni = false;
    let (acceptor, connector) = (Arc::new(accepts).into(), Arc::new(dials).into());
    Ok(Tls(Arc::new(Credentials { files, own, acceptor, connector })))
}

/// What other members would say to our own certificate, as that of a dialler and of an acceptor.
fn check_own(
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    clients: &dyn ClientCertVerifier,
    servers: &Authority,
) -> Result<()> {
    let (now, between) = (UnixTime::now(), &chain[1..]);
    let nobody = ServerName::IpAddress(std::net::IpAddr::from([0; 4]).into());
    let checked = clients
        .verify_client_cert(&chain[0], between, now)
        .and_then(|_| servers.verify_server_cert(&chain[0], between, &nobody, &[], now));
    match checked.map_err(|error| (TlsError::from(&error), error)) {
        Ok(_) => Ok(()),
        Err((fault @ TlsError::Time, error)) => {
            tracing::warn!("tls.cert = {}: {fault} ({error}): no member takes it", files.cert);
            Ok(())
        }
        Err((fault, error)) => {
            let text = format!("no other member would take it: {fault} ({error})");
            Err(wrong(("tls.cert", &files.cert), text))
        }
    }
}

/// An option and its value.
type File<'a> = (&'a str, &'a str);

fn contents(file: File<'_>) -> Result<Vec<u8>> {
    std::fs::read(file.1).map_err(|e| wrong(file, e))
}

fn certificates(file: File<'_>) -> Result<Vec<CertificateDer<'static>>> {
    let pem = contents(file)?;
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(wrong(file, "there is no certificate in it; allowed: the path of a PEM file"))
        }
        Ok(found) => Ok(found),
        Err(_) => Err(wrong(file, CUT)),
    }
}

fn unreadable(error: rustls::Error) -> String {
    format!("a certificate in it cannot be read ({error})")
}

fn wrong((option, value): File<'_>, what: impl fmt::Display) -> Error {
    Error::Config(format!("{option} = {value}: {what}"))
}

/// `text`, and behind it the names that the certificate bears.
fn names_of(certificate: &CertificateDer<'_>, text: String) -> String {
    let certificate = webpki::EndEntityCert::try_from(certificate);
    let names: Vec<_> = certificate.iter().flat_map(|c| c.valid_uri_names()).collect();
    match names.is_empty() {
        true => format!("{text}: it names no URI"),
        false => format!("{text}, but {}", names.join(", ")),
    }
}

const CUT: &str = "it is not PEM, or not all of it; allowed: the path of a PEM file";
