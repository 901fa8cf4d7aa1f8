//! Connections to peers: few, long-lived, quick to notice that they are dead and quick to come back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// What a channel is for. A snapshot must not stand in front of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Calls,
    Snapshots,
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_millis(1000);
/// Unacknowledged bytes older than this break the connection.
const USER_TIMEOUT_MS: u32 = 2000;

/// An idle connection is probed by the kernel after so long, and again so often. Whole seconds.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// A connection: bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Duplex for C {}

pub type Wire = Box<dyn Duplex>;

/// Connects to an address (`host:port`).
pub type Dial = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Wire>> + Send + Sync>;

/// Over TCP.
pub fn dial_tcp() -> Dial {
    Arc::new(|address| Box::pin(async move { Ok(Box::new(connect_tcp(address).await?) as Wire) }))
}

/// One channel per peer address and purpose, made on first use and kept.
pub struct Channels {
    dial: Dial,
    open: Mutex<BTreeMap<(String, Purpose), Channel>>,
}

impl Channels {
    pub fn new(dial: Dial) -> Self {
        Channels { dial, open: Mutex::default() }
    }

    /// A connection of its own to `address` (`host:port`).
    pub fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Wire>> {
        (self.dial)(address)
    }

    /// The channel to `address` (`host:port`). It connects when first used, and again after a failure.
    pub fn get(&self, address: &str, purpose: Purpose) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.open.lock();
        if let Some(channel) = channels.get(&(address.to_string(), purpose)) {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            // Larger windows than the default 64 KiB, or a chunk of a snapshot takes 8 round trips.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let dial = self.dial.clone();
        let connect = move |uri| {
            let dialing = dial(authority(&uri));
            async move { dialing.await.map(TokioIo::new) }
        };
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(connect));
        channels.insert((address.to_string(), purpose), channel.clone());
        Ok(channel)
    }

    /// Forgets connections to addresses that are no member's any more.
    pub fn retain(&self, addresses: &[String]) {
        self.open.lock().retain(|(address, _), _| addresses.contains(address));
    }
}

fn authority(uri: &Uri) -> String {
    uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default()
}

/// Connects to the authority of `uri`, with the timeouts that a dead peer calls for.
pub async fn connect(uri: Uri) -> io::Result<TokioIo<TcpStream>> {
    connect_tcp(authority(&uri)).await.map(TokioIo::new)
}

async fn connect_tcp(address: String) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    break_when_dead(&stream)?;
    Ok(stream)
}

/// Has the kernel break a connection whose other end does not acknowledge what was sent, nor probes while all is
/// silent.
pub fn break_when_dead(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT_MS)?;
    sockopt::set_tcp_keepidle(stream, PROBE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_watches_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect_tcp(listener.local_addr().unwrap().to_string()).await.unwrap();
        assert!(stream.nodelay().unwrap() && sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_INTERVAL);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), USER_TIMEOUT_MS);
    }
}
