//! A connection between two members, plain or in TLS, and its way from the runtime of the listener
//! to that of the group. What is above it does not know which of both it is.

use std::io;
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::tls;

/// A connection.
pub enum Stream {
    /// Nobody vouches for who is there.
    Plain(TcpStream),
    /// Who is there has proved its certificate.
    Tls(Box<TlsStream<Socket>>),
}

/// The socket under TLS. It is away only while its connection is [`Parked`].
pub struct Socket(Option<TcpStream>);

/// A connection that belongs to no runtime.
pub struct Parked {
    /// Not blocking.
    socket: StdStream,
    tls: Option<Box<TlsStream<Socket>>>,
}

impl Stream {
    /// Whether who is there may be this member: in TLS its certificate must name it; plain, it may
    /// be anybody.
    pub fn proves(&self, group: &str, id: u64) -> bool {
        let Stream::Tls(stream) = self else { return true };
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(|chain| chain.first());
        certificate.is_some_and(|own| tls::bears(own, &tls::certificate_name(group, id)))
    }

    /// Takes it out of its runtime. What was read ahead under TLS comes with it.
    pub fn park(self) -> io::Result<Parked> {
        match self {
            Stream::Plain(socket) => Ok(Parked { socket: socket.into_std()?, tls: None }),
            Stream::Tls(mut tls) => {
                let socket = tls.get_mut().0.0.take().ok_or_else(away)?;
                Ok(Parked { socket: socket.into_std()?, tls: Some(tls) })
            }
        }
    }
}

impl Parked {
    /// Gives it to the runtime that this is called on.
    pub fn enter(self) -> io::Result<Stream> {
        let socket = TcpStream::from_std(self.socket)?;
        Ok(match self.tls {
            None => Stream::Plain(socket),
            Some(mut tls) => {
                tls.get_mut().0.0 = Some(socket);
                Stream::Tls(tls)
            }
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buf),
            Stream::Tls(stream) => match Pin::new(&mut **stream).poll_read(context, buf) {
                // The end without TLS's own word for it: as members end, that crash or go. Frames
                // say themselves where they end.
                Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, buf),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(context, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bufs),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

impl Socket {
    /// A socket that is there.
    pub fn new(socket: TcpStream) -> Socket {
        Socket(Some(socket))
    }

    fn there(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        self.get_mut().0.as_mut().map(Pin::new).ok_or_else(away)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.there()?.poll_read(context, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.there()?.poll_write(context, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.there()?.poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.there()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.there()?.poll_shutdown(context)
    }
}

fn away() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
