//! The options of a socket between members.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::limits::FRAME_BYTES;

/// Small frames leave at once, a peer that vanished is noticed, and the kernel takes no more
/// unsent bytes than a heartbeat may wait for. What the system refuses is not worth a connection.
pub fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(VANISHED / 2).with_interval(PROBES).with_retries(5);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(VANISHED));
    let _ = socket.set_tcp_notsent_lowat(FRAME_BYTES as u32);
}

/// A peer whose kernel takes nothing for so long is gone.
const VANISHED: Duration = Duration::from_secs(10);
/// Between two looks at a silent peer.
const PROBES: Duration = Duration::from_secs(1);
