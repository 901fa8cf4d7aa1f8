//! Calls to streaming nodes: take a channel, let go of one, say how you are. Every call has a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::status::streaming_error;
use crate::introduce::{Introduced, dial};
use crate::limits;
use crate::pb::store;
use crate::pb::streaming::streaming_node_manager_service_client::StreamingNodeManagerServiceClient;
use crate::pb::streaming::{
    PChannelInfo, StreamingCode, StreamingNodeManagerAssignRequest, StreamingNodeManagerCollectStatusRequest,
    StreamingNodeManagerRemoveRequest, StreamingNodeMetrics,
};

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Perhaps it did it: no answer came.
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {}: {cause}", code.as_str_name())]
    Refused { code: StreamingCode, cause: String },
}

/// Connections to streaming nodes, one for each, opened when first used.
pub struct Nodes {
    /// Milvus' name of the cluster.
    cluster: String,
    links: Mutex<BTreeMap<i64, Link>>,
}

/// The connection to one node.
#[derive(Clone)]
struct Link {
    address: String,
    channel: Introduced,
    /// Calls that it may have at once. Of its own, so that a node that hangs holds up nobody else.
    calls: Arc<Semaphore>,
}

type Client = StreamingNodeManagerServiceClient<Introduced>;

impl Nodes {
    pub fn new(cluster: String) -> Self {
        Nodes { cluster, links: Mutex::default() }
    }

    /// The connection to a node, for any of its services.
    pub fn channel(&self, node: &store::StreamingNode) -> Result<Introduced, NodeError> {
        Ok(self.link(node)?.channel)
    }

    fn link(&self, node: &store::StreamingNode) -> Result<Link, NodeError> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&node.server_id).filter(|link| link.address == node.address) {
            return Ok(link.clone());
        }
        let channel = dial(&self.cluster, node.server_id, &node.address, limits::NODE_STATUS_WAIT)
            .map_err(|error| NodeError::Unreachable(format!("{}: {error}", node.address)))?;
        let calls = Arc::new(Semaphore::new(limits::NODE_CALLS_AT_ONCE));
        let link = Link { address: node.address.clone(), channel, calls };
        links.insert(node.server_id, link.clone());
        Ok(link)
    }

    /// Forgets the connections to all other nodes.
    pub fn keep_only(&self, live: &BTreeSet<i64>) {
        self.links.lock().retain(|id, _| live.contains(id));
    }

    /// Has `node` take a channel under a term. That it has it already is a success.
    pub async fn assign(
        &self,
        node: &store::StreamingNode,
        channel: PChannelInfo,
        wait: Duration,
    ) -> Result<(), NodeError> {
        let link = self.link(node)?;
        let mut client = link.client();
        let request = timed(StreamingNodeManagerAssignRequest { pchannel: Some(channel) }, wait);
        match link.answered(wait, client.assign(request)).await {
            Err(NodeError::Refused { code: StreamingCode::IgnoredOperation, .. }) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Has `node` let go of a channel under a term. That it does not hold it is a success.
    pub async fn remove(
        &self,
        node: &store::StreamingNode,
        channel: PChannelInfo,
        wait: Duration,
    ) -> Result<(), NodeError> {
        use StreamingCode::{ChannelNotExist, IgnoredOperation, UnmatchedChannelTerm};
        let link = self.link(node)?;
        let mut client = link.client();
        let request = timed(StreamingNodeManagerRemoveRequest { pchannel: Some(channel) }, wait);
        match link.answered(wait, client.remove(request)).await {
            Err(NodeError::Refused { code: ChannelNotExist | IgnoredOperation | UnmatchedChannelTerm, .. }) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// What a node says of the channels that it has.
    pub async fn status(&self, node: &store::StreamingNode) -> Result<StreamingNodeMetrics, NodeError> {
        let link = self.link(node)?;
        let mut client = link.client();
        let wait = limits::NODE_STATUS_WAIT;
        let request = timed(StreamingNodeManagerCollectStatusRequest {}, wait);
        Ok(link.answered(wait, client.collect_status(request)).await?.metrics.unwrap_or_default())
    }
}

impl Link {
    fn client(&self) -> Client {
        Client::new(self.channel.clone()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    async fn answered<T>(
        &self,
        wait: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, NodeError> {
        let call = async {
            // The semaphore is never closed.
            let _turn = self.calls.acquire().await;
            call.await
        };
        match tokio::time::timeout(wait, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(match streaming_error(&status) {
                Some(error) => NodeError::Refused { code: error.code(), cause: error.cause },
                None => NodeError::Unreachable(format!("{:?}: {}", status.code(), status.message())),
            }),
            Err(_) => Err(NodeError::Unreachable(format!("no answer within {wait:?}"))),
        }
    }
}

fn timed<T>(message: T, wait: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(wait);
    request
}
