//! Connections of the load: open before it begins, spread over all nodes.

use std::time::Duration;

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

const CONNECT_IN: Duration = Duration::from_secs(5);

/// One open connection to `host:port`.
pub async fn connect(endpoint: &str) -> Result<Channel> {
    Endpoint::from_shared(format!("http://{endpoint}"))?
        .connect_timeout(CONNECT_IN)
        .tcp_nodelay(true)
        .connect()
        .await
        .with_context(|| format!("connecting to {endpoint}"))
}

/// A caller's share of the connections, each used in its turn: with fewer callers than connections every one of these
/// has calls, so that it does not matter to which node the first of them goes.
pub struct Share<T> {
    clients: Vec<T>,
    next: usize,
}

impl<T> Share<T> {
    /// The share of the caller `index` of `callers`.
    pub fn of(channels: &[Channel], index: usize, callers: usize, client: impl Fn(Channel) -> T) -> Self {
        let first = index % channels.len();
        let clients = channels.iter().skip(first).step_by(callers).cloned().map(client).collect();
        Share { clients, next: 0 }
    }

    pub fn next(&mut self) -> &mut T {
        let at = self.next % self.clients.len();
        self.next = at + 1;
        &mut self.clients[at]
    }
}

/// `count` open connections, to each endpoint in turn.
pub async fn connect_all(endpoints: &[String], count: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        channels.push(connect(endpoint).await?);
    }
    Ok(channels)
}
