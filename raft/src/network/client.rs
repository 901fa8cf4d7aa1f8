//! The calling side of the peers' protocol: what openraft sends, as streams and calls with deadlines.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::MESSAGE_BYTES_MAX;
use super::append::{Appending, Line, Opening};
use super::channel::{Channels, Dial, Purpose};
use super::commits::Commits;
use super::frames::Frames;
use super::greeting::{GREETING_BYTES_MAX, greet};
use super::identity::Identity;
use super::proto::peer_client::PeerClient as Rpc;
use super::proto::{Record, VoteRequest as VoteMessage};
use crate::codec;
use crate::snapshot::SnapshotData;
use crate::types::{Member, NodeId, TypeConfig, Vote};

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Makes clients for openraft; also used by the host for its own calls.
#[derive(Clone)]
pub struct Transport {
    pub(super) identity: Arc<Identity>,
    pub(super) channels: Arc<Channels>,
    /// A connection with unanswered appends and no answer for this long is cut.
    pub(super) no_progress: Duration,
    /// Deadline of a vote or transfer call.
    pub(super) call_timeout: Duration,
    commits: Arc<Commits>,
}

impl Transport {
    pub fn new(identity: Arc<Identity>, dial: Dial, no_progress: Duration, call_timeout: Duration) -> Self {
        let (channels, commits) = (Arc::new(Channels::new(dial)), Arc::default());
        Transport { identity, channels, no_progress, call_timeout, commits }
    }

    /// What this node, as a leader, has told its peers to be committed. None of them shows what lies above it.
    pub fn commits(&self) -> &Commits {
        &self.commits
    }

    /// A client of `target`. Nothing is sent yet.
    pub fn client(&self, target: NodeId, member: &Member) -> PeerClient {
        self.purposed(target, member, Purpose::Calls)
    }

    /// Drops connections to nodes that are no members any more.
    pub fn retain(&self, addresses: &[String]) {
        self.channels.retain(addresses);
    }

    fn purposed(&self, target: NodeId, member: &Member, purpose: Purpose) -> PeerClient {
        let (transport, address) = (self.clone(), member.peer.clone());
        PeerClient { transport, target, address, purpose, line: Mutex::default(), failed_openings: 0 }
    }
}

impl RaftNetworkFactory<TypeConfig> for Transport {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.client(target, member)
    }

    /// Its appends have a connection of their own, as those of every client have: large ones must not stand in front
    /// of a heartbeat.
    async fn new_heartbeat_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.client(target, member)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, member: &Member) -> PeerClient {
        self.purposed(target, member, Purpose::Snapshots)
    }
}

/// A client of one peer.
pub struct PeerClient {
    pub(super) transport: Transport,
    pub(super) target: NodeId,
    address: String,
    purpose: Purpose,
    /// Where appends go. Never locked: openraft wants its clients to be `Sync`, and a connection need not be.
    line: Mutex<Line>,
    /// Append streams in a row that could not be opened.
    failed_openings: usize,
}

/// Waits between attempts to reach a peer. Short: a healed network must carry traffic within milliseconds, and a
/// refused connection costs little.
const BACKOFF_MS: [u64; 4] = [20, 40, 80, 160];
/// Every wait after those.
const BACKOFF_MS_MAX: u64 = 200;

fn backoff_steps() -> impl Iterator<Item = Duration> {
    BACKOFF_MS.into_iter().chain(std::iter::repeat(BACKOFF_MS_MAX)).map(Duration::from_millis)
}

impl PeerClient {
    pub(crate) fn rpc(&self) -> Result<Rpc<Channel>, Status> {
        let channel = self.transport.channels.get(&self.address, self.purpose);
        let channel = channel.map_err(|error| Status::unavailable(format!("bad address {}: {error}", self.address)))?;
        Ok(Rpc::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    pub(crate) fn sign<T>(&self, message: T) -> tonic::Request<T> {
        self.transport.identity.sign(self.target, message)
    }

    /// Signs a call that must be answered within the transport's deadline.
    pub(crate) fn sign_bounded<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = self.sign(message);
        request.set_timeout(self.transport.call_timeout);
        request
    }

    async fn call_vote(
        &self,
        vote: &VoteRequest<TypeConfig>,
        pre_vote: bool,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let record = record(vote)?;
        let request = self.sign_bounded(VoteMessage { record, pre_vote });
        let mut rpc = self.rpc().map_err(rpc_error)?;
        decode(rpc.vote(request).await.map_err(rpc_error)?.into_inner())
    }
}

/// Connects to `target` at `address`, for appends.
fn opening(transport: &Transport, target: NodeId, address: &str) -> Opening {
    let (dialing, identity) = (transport.channels.dial(address.to_owned()), transport.identity.clone());
    let connected = tokio::time::timeout(transport.no_progress, async move {
        let wire = dialing.await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut frames = Frames::new(wire, BytesMut::new(), GREETING_BYTES_MAX);
        greet(&mut frames, &identity.claims(target)).await?;
        Ok(frames)
    });
    Box::pin(async move {
        let late = |_| NetworkError::from_string("the peer does not take appends in time");
        connected.await.map_err(late)?.map_err(rpc_error)
    })
}

pub(super) fn record<T: serde::Serialize>(value: &T) -> Result<Bytes, RPCError<TypeConfig>> {
    codec::encode(value).map(Bytes::from).map_err(|error| NetworkError::new(&error).into())
}

pub(super) fn decode<T: DeserializeOwned>(reply: Record) -> Result<T, RPCError<TypeConfig>> {
    codec::decode(&reply.record).map_err(|error| NetworkError::new(&error).into())
}

/// Unreachable peers are backed off from; anything else is worth an immediate retry.
pub(super) fn rpc_error(status: Status) -> RPCError<TypeConfig> {
    match status.code() {
        Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition => {
            Unreachable::new(&status).into()
        }
        _ => NetworkError::new(&status).into(),
    }
}

impl NetBackoff<TypeConfig> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(backoff_steps()))
    }
}

impl NetStreamAppend<TypeConfig> for PeerClient {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let (transport, line) = (&self.transport, self.line.get_mut());
            let (disk, no_progress) = (transport.identity.disk_of(self.target), transport.no_progress);
            match line.open(disk, no_progress, || opening(transport, self.target, &self.address)).await {
                Ok(()) => {
                    self.failed_openings = 0;
                    let requests = Box::pin(transport.commits.merge(input));
                    let answers: BoxStream<'s, _> = Box::pin(Appending::new(line, requests, no_progress));
                    Ok(answers)
                }
                Err(error) => {
                    // openraft waits where it makes requests, and a stream that does not open takes none: without this
                    // wait it would knock at a dead peer thousands of times a second.
                    if let Some(pause) = backoff_steps().nth(self.failed_openings) {
                        tokio::time::sleep(pause).await;
                    }
                    self.failed_openings = (self.failed_openings + 1).min(BACKOFF_MS.len());
                    Err(error)
                }
            }
        })
    }
}

impl NetVote<TypeConfig> for PeerClient {
    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call_vote(&request, false).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call_vote(&request, true).await
    }
}

impl NetTransferLeader<TypeConfig> for PeerClient {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = self.sign_bounded(Record { record: record(&request)? });
        let mut rpc = self.rpc().map_err(rpc_error)?;
        decode(rpc.transfer_leader(request).await.map_err(rpc_error)?.into_inner())
    }
}

impl NetSnapshot<TypeConfig> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.snapshot) => Ok(sent?),
        }
    }
}
