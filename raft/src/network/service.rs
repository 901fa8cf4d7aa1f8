//! The called side of the peers' protocol.

use std::sync::Arc;
use std::time::SystemTime;

use openraft::raft::{TransferLeaderRequest, VoteRequest};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::MESSAGE_BYTES_MAX;
use super::identity::{Caller, Claims, Denied};
use super::proto::peer_server::{Peer, PeerServer};
use super::proto::{
    HelloReply, HelloRequest, ReadIndexReply, ReadIndexRequest, Record, SnapshotChunk, VoteRequest as VoteMessage,
};
use super::snapshot::receive_snapshot;
use crate::codec;
use crate::host::HostCore;
use crate::machine::Machine;
use crate::snapshot::SnapshotData;
use crate::system::{self, SystemCommand};
use crate::types::TypeConfig;

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Serves the peers of one host.
pub struct PeerService<M: Machine> {
    host: Arc<HostCore<M>>,
    /// One snapshot at a time: each is a file as large as the state.
    receiving: Arc<Semaphore>,
}

impl<M: Machine> PeerService<M> {
    pub(crate) fn server(host: Arc<HostCore<M>>) -> PeerServer<Self> {
        let service = PeerService { host, receiving: Arc::new(Semaphore::new(1)) };
        PeerServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn check(&self, metadata: &MetadataMap, joins: bool) -> Result<Caller, Status> {
        admit(&self.host, &Claims::of(metadata), joins)
    }

    /// A restarted voter has forgotten the lease it granted before; it does not help to elect anybody until that is
    /// over.
    fn check_may_vote(&self) -> Result<(), Status> {
        if self.host.may_vote() {
            Ok(())
        } else {
            Err(Status::unavailable("this node was just restarted and does not vote before its old lease has run out"))
        }
    }
}

/// Checks a caller. A node on a disk that the cluster knows by another name stops.
pub(super) fn admit<M: Machine>(host: &HostCore<M>, claims: &Claims, joins: bool) -> Result<Caller, Status> {
    host.identity.check(claims, joins).map_err(|denied| match denied {
        Denied::Call(status) => status,
        Denied::Replaced(why) => {
            host.fail(&why);
            Status::failed_precondition(why)
        }
    })
}

fn bad(error: std::io::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

fn fatal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn reply<T: serde::Serialize>(value: &T) -> Result<Response<Record>, Status> {
    let record = codec::encode(value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(Record { record: record.into() }))
}

#[tonic::async_trait]
impl<M: Machine> Peer for PeerService<M> {
    async fn vote(&self, request: Request<VoteMessage>) -> Result<Response<Record>, Status> {
        self.check(request.metadata(), true)?;
        self.check_may_vote()?;
        let message = request.into_inner();
        let vote: VoteRequest<TypeConfig> = codec::decode(&message.record).map_err(bad)?;
        let raft = &self.host.raft;
        let answer = if message.pre_vote { raft.pre_vote(vote).await } else { raft.vote(vote).await };
        reply(&answer.map_err(fatal)?)
    }

    async fn transfer_leader(&self, request: Request<Record>) -> Result<Response<Record>, Status> {
        self.check(request.metadata(), false)?;
        self.check_may_vote()?;
        let transfer: TransferLeaderRequest<TypeConfig> = codec::decode(&request.into_inner().record).map_err(bad)?;
        reply(&self.host.raft.handle_transfer_leader(transfer).await.map_err(fatal)?)
    }

    async fn install_snapshot(&self, request: Request<Streaming<SnapshotChunk>>) -> Result<Response<Record>, Status> {
        self.check(request.metadata(), true)?;
        let busy = |_| Status::unavailable("this node is receiving another snapshot");
        let _one = self.receiving.clone().try_acquire_owned().map_err(busy)?;
        if self.host.disk.state().is_ok_and(|state| state.short) {
            return Err(Status::resource_exhausted("this node's disk is nearly full; it takes no snapshot"));
        }
        let (vote, file) = receive_snapshot(request.into_inner(), &self.host.snapshot_dir).await?;
        if file.header.cluster_id.is_some() && file.header.cluster_id != self.host.identity.cluster_id() {
            return Err(Status::failed_precondition("the snapshot is another cluster's"));
        }
        let snapshot = Snapshot { meta: file.header.meta(), snapshot: SnapshotData::File(file) };
        reply(&self.host.raft.install_full_snapshot(vote, snapshot).await.map_err(fatal)?)
    }

    async fn read_index(&self, request: Request<ReadIndexRequest>) -> Result<Response<ReadIndexReply>, Status> {
        self.check(request.metadata(), false)?;
        let confirmed = self.host.confirm_peer_read().await;
        let confirmed = confirmed.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(ReadIndexReply { index: confirmed.index, term: confirmed.term }))
    }

    async fn propose_system(&self, request: Request<Record>) -> Result<Response<Record>, Status> {
        self.check(request.metadata(), false)?;
        let command: SystemCommand = codec::decode(&request.into_inner().record).map_err(bad)?;
        let outcome = self.host.propose_system(&command).await;
        reply(&outcome.map_err(|error| Status::unavailable(error.to_string()))?)
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        // Answers a caller on a wiped disk, too: that is how it learns that it is one.
        if !self.host.identity.secret().is_in(request.metadata()) {
            return Err(Status::unauthenticated("the cluster's shared secret is missing or wrong"));
        }
        let caller = request.metadata().get("roost-from").and_then(|id| id.to_str().ok()?.parse().ok());
        let engine = self.host.shared.engine.as_ref();
        let known = caller.and_then(|id| system::node_facts(engine, id).ok().flatten());
        let initialized = self.host.raft.is_initialized().await.map_err(fatal)?;
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Response::new(HelloReply {
            node_id: self.host.identity.node_id,
            cluster_id: self.host.identity.cluster_id().map(|id| id.to_string()).unwrap_or_default(),
            initialized,
            your_incarnation: known.map(|facts| format!("{:016x}", facts.incarnation)).unwrap_or_default(),
            clock_ms: u64::try_from(clock.as_millis()).unwrap_or(u64::MAX),
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_of_anything_is_refused_and_nothing_else_happens(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            let _ = codec::decode::<VoteRequest<TypeConfig>>(&bytes);
            let _ = codec::decode::<TransferLeaderRequest<TypeConfig>>(&bytes);
            let _ = codec::decode::<SystemCommand>(&bytes);
        }
    }
}
