//! How Roost calls Milvus' own processes: each call names the cluster and the server id that is meant, as Milvus'
//! processes do among themselves. A process that is another one refuses it.

use std::time::Duration;

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Error};
use tonic::{Request, Status};

use crate::limits;

/// A connection to one process of Milvus.
pub type Introduced = InterceptedService<Channel, Introduce>;

/// Adds who is meant to each call.
#[derive(Clone)]
pub struct Introduce {
    cluster: Option<AsciiMetadataValue>,
    server_id: AsciiMetadataValue,
}

/// A connection to the process `server_id` at `address` (`host:port`), which connects when it is used, within `wait`,
/// and again after every break. `cluster` is Milvus' name of the cluster.
pub fn dial(cluster: &str, server_id: i64, address: &str, wait: Duration) -> Result<Introduced, Error> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(wait)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits::KEEPALIVE_INTERVAL)
        .keep_alive_timeout(limits::KEEPALIVE_TIMEOUT)
        .connect_lazy();
    let introduce = Introduce { cluster: cluster.parse().ok(), server_id: server_id.into() };
    Ok(InterceptedService::new(channel, introduce))
}

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(cluster) = &self.cluster {
            request.metadata_mut().insert("cluster", cluster.clone());
        }
        request.metadata_mut().insert("serverid", self.server_id.clone());
        Ok(request)
    }
}
