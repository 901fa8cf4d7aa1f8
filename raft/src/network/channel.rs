//! Connections to peers: few, long-lived, quick to notice that they are dead and quick to come back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tonic::transport::{Channel, Endpoint, Uri};

/// What a connection is for. Large appends and snapshots must not stand in front of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    Replicate,
    Heartbeat,
    Snapshot,
}

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const KEEP_ALIVE: Duration = Duration::from_millis(1000);
/// Unacknowledged bytes older than this break the connection.
const USER_TIMEOUT_MS: u32 = 2000;

/// Makes the channel to an endpoint; it connects when it is first used.
pub type Dial = Arc<dyn Fn(Endpoint) -> Channel + Send + Sync>;

/// Over TCP, by [`connect`].
pub fn dial_tcp() -> Dial {
    Arc::new(|endpoint| endpoint.connect_with_connector_lazy(tower::service_fn(connect)))
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
            // Larger windows than the default 64 KiB, or a 2 MiB append takes 32 round trips.
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let channel = (self.dial)(endpoint);
        channels.insert((address.to_string(), purpose), channel.clone());
        Ok(channel)
    }

    /// Forgets connections to addresses that are no member's any more.
    pub fn retain(&self, addresses: &[String]) {
        self.open.lock().retain(|(address, _), _| addresses.contains(address));
    }
}

/// Connects to the authority of `uri`, with the timeouts that a dead peer calls for.
pub async fn connect(uri: Uri) -> io::Result<TokioIo<tokio::net::TcpStream>> {
    let address = uri.authority().map(|authority| authority.as_str().to_string()).unwrap_or_default();
    let connecting = tokio::net::TcpStream::connect(address);
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS)?;
    Ok(TokioIo::new(stream))
}
