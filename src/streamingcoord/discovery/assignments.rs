//! The latest picture of the assignments on this node.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prost::Message;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;

use crate::limits;
use crate::pb::store::{self, PChannelState, WorkerRole};
use crate::pb::streaming::assignment_discover_response::Response;
use crate::pb::streaming::{
    AssignmentDiscoverResponse, CChannelAssignment, CChannelMeta, FullStreamingNodeAssignmentWithVersion, PChannelInfo,
    StreamingNodeAssignment, StreamingNodeInfo, StreamingVersion, VersionPair,
};
use crate::replica::Replica;
use crate::shutdown::Shutdown;
use crate::state::{Event, View, pchannel_name};

/// The first half of a version pair. Milvus has the coordinator's session there, because its second half begins anew
/// with each coordinator; ours is a revision of the log, which outlives every leader.
const GLOBAL_VERSION: i64 = 1;
/// Milvus' first version of streaming.
const STREAMING_VERSION: i64 = 1;

/// What was told last.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Rises with every change.
    pub version: u64,
    /// An encoded `AssignmentDiscoverResponse`.
    pub body: Bytes,
    /// What it says, but for the version.
    picture: FullStreamingNodeAssignmentWithVersion,
    /// A streaming node was given a channel once.
    pub ever_enabled: bool,
}

/// See the module.
pub struct Assignments {
    replica: Arc<dyn Replica>,
    latest: watch::Sender<Arc<Published>>,
    /// The version of the tables that was looked at last; held while a picture is made.
    seen: Mutex<u64>,
    listeners: Arc<Semaphore>,
}

impl Assignments {
    pub fn new(replica: Arc<dyn Replica>) -> Arc<Self> {
        Arc::new(Assignments {
            replica,
            latest: watch::Sender::default(),
            seen: Mutex::new(0),
            listeners: Arc::new(Semaphore::new(limits::ASSIGNMENT_LISTENERS_MAX)),
        })
    }

    /// The picture, and each one after it; whoever is slow sees the latest.
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.latest.subscribe()
    }

    /// Room for one more listener, as long as it is held.
    pub fn listen(&self) -> Result<OwnedSemaphorePermit, Status> {
        let most = limits::ASSIGNMENT_LISTENERS_MAX;
        let full = |_| Status::resource_exhausted(format!("{most} listeners on this node"));
        self.listeners.clone().try_acquire_owned().map_err(full)
    }

    pub fn listeners(&self) -> usize {
        limits::ASSIGNMENT_LISTENERS_MAX.saturating_sub(self.listeners.available_permits())
    }

    /// Follows the log until `shutdown` is asked for or the replica is gone.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let mut events = self.replica.events();
        loop {
            let this = self.clone();
            let looked = tokio::task::spawn_blocking(move || this.refresh()).await;
            if let Ok(Err(error)) = looked {
                // The host watches its storage and stops the node.
                tracing::error!(%error, "the assignments cannot be read");
            }
            loop {
                let batch = tokio::select! {
                    _ = shutdown.requested() => return,
                    batch = events.recv() => batch,
                };
                match batch {
                    Ok(batch) if !batch.events.is_empty() && !batch.events.iter().any(concerns) => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return,
                }
            }
            tokio::time::sleep(limits::ASSIGNMENT_GATHER).await;
        }
    }

    /// Takes in what the tables show now. Cheap when that is no news.
    pub fn refresh(&self) -> io::Result<()> {
        let mut seen = self.seen.lock();
        let view = self.replica.view()?;
        let view = View::new(view.as_ref());
        let version = view.assignment_version()?;
        if version == *seen && !self.latest.borrow().body.is_empty() {
            return Ok(());
        }
        let picture = picture(&view)?;
        *seen = version;
        let told = self.latest.borrow().clone();
        if picture != told.picture || told.body.is_empty() {
            self.latest.send_replace(Arc::new(Published::new(picture, version)));
        }
        Ok(())
    }
}

impl Published {
    fn new(picture: FullStreamingNodeAssignmentWithVersion, version: u64) -> Self {
        let local = i64::try_from(version).unwrap_or(i64::MAX);
        let pair = Some(VersionPair { global: GLOBAL_VERSION, local });
        // Older clients look at the first one.
        let full =
            FullStreamingNodeAssignmentWithVersion { version: pair, version_by_revision: pair, ..picture.clone() };
        let ever_enabled = picture.streaming_version.is_some();
        let response = AssignmentDiscoverResponse { response: Some(Response::FullAssignment(full)) };
        Published { version, body: response.encode_to_vec().into(), picture, ever_enabled }
    }

    /// What it says, but for the version.
    pub fn picture(&self) -> &FullStreamingNodeAssignmentWithVersion {
        &self.picture
    }
}

/// How many listen on this node.
pub struct ListenerGauges(pub Arc<Assignments>);

impl fmt::Debug for ListenerGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerGauges")
    }
}

impl Collector for ListenerGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let listeners = i64::try_from(self.0.listeners()).unwrap_or(i64::MAX);
        gauge("streaming_assignment_listeners", "Streams that are told who has which channel", listeners)?;
        let version = i64::try_from(self.0.latest.borrow().version).unwrap_or(i64::MAX);
        gauge("streaming_assignment_version", "Version of what they were told last", version)
    }
}

/// Whether an event may change the picture.
fn concerns(event: &Event) -> bool {
    matches!(event, Event::AssignmentsChanged { .. } | Event::WorkerChanged { .. })
}

/// Everything but its version. Channels of nodes that are gone are left out: they are about to be given to others.
fn picture(view: &View<'_>) -> io::Result<FullStreamingNodeAssignmentWithVersion> {
    let common = view.streaming()?;
    let mut assignments: BTreeMap<i64, StreamingNodeAssignment> = BTreeMap::new();
    for worker in view.workers()?.into_iter().filter(|worker| worker.role() == WorkerRole::StreamingNode) {
        let node = StreamingNodeInfo { server_id: worker.id, address: worker.address };
        assignments.insert(worker.id, StreamingNodeAssignment { node: Some(node), channels: Vec::new() });
    }
    for row in view.pchannels()?.into_iter().filter(|row| row.state() == PChannelState::Assigned) {
        let store::PChannel { name, term, access_mode, node, .. } = row;
        let owner = node.and_then(|node| assignments.get_mut(&node.server_id));
        if let Some(owner) = owner {
            owner.channels.push(PChannelInfo { name, term, access_mode });
        }
    }
    let pchannel = match common.control_channel.is_empty() {
        true => pchannel_name(0),
        false => common.control_channel,
    };
    Ok(FullStreamingNodeAssignmentWithVersion {
        assignments: assignments.into_values().collect(),
        cchannel: Some(CChannelAssignment { meta: Some(CChannelMeta { pchannel }) }),
        replicate_configuration: view.broadcasts().replication()?.map(|row| row.decoded()).transpose()?,
        streaming_version: common.ever_enabled.then_some(StreamingVersion { version: STREAMING_VERSION }),
        ..FullStreamingNodeAssignmentWithVersion::default()
    })
}
