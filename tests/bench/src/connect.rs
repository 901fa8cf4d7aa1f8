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

/// `count` open connections, to each endpoint in turn.
pub async fn connect_all(endpoints: &[String], count: usize) -> Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(count);
    for endpoint in endpoints.iter().cycle().take(count) {
        channels.push(connect(endpoint).await?);
    }
    Ok(channels)
}
