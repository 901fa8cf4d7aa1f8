//! Milvus' StreamingCoordAssignmentService on the wire. Hand-made because pictures are encoded before tonic sees them.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::StdError;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::assignments::Assignments;
use super::reports::Reports;
use super::stream::Listener;
use crate::call::Call;
use crate::encoded::EncodedCodec;
use crate::forward::retry;
use crate::limits;
use crate::pb::streaming::{
    AssignmentDiscoverRequest, UpdateReplicateConfigurationRequest, UpdateReplicateConfigurationResponse,
};
use crate::replica::Replica;
use crate::streamingcoord::balancer::Balancer;
use crate::streamingcoord::broadcast::{self, Replication};
use crate::streamingcoord::service::{PolicyApi, refused};

const DISCOVER: &str = "/milvus.proto.streaming.StreamingCoordAssignmentService/AssignmentDiscover";
const UPDATE_POLICY: &str = "/milvus.proto.streaming.StreamingCoordAssignmentService/UpdateWALBalancePolicy";
const UPDATE_REPLICATION: &str = "/milvus.proto.streaming.StreamingCoordAssignmentService/UpdateReplicateConfiguration";
const BUFFER_BYTES: usize = 1 << 10;
/// Bytes that go to the connection at once: a picture of some hundred channels.
const WRITE_BYTES: usize = 32 << 10;

/// Cheap to clone.
#[derive(Clone)]
pub struct DiscoveryService {
    pub replica: Arc<dyn Replica>,
    pub assignments: Arc<Assignments>,
    pub balancer: Arc<Balancer>,
    pub reports: Arc<Reports>,
    pub policy: PolicyApi,
    pub replication: Replication,
}

type Told = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl DiscoveryService {
    /// Opens a listener with what was acknowledged before it came.
    async fn open(&self, request: Request<Streaming<AssignmentDiscoverRequest>>) -> Result<Response<Told>, Status> {
        let call = Call::of(&request)?;
        let room = self.assignments.listen()?;
        self.replica.read_barrier(call.deadline).await.map_err(|error| retry::status(&error))?;
        self.assignments.refresh().map_err(|error| refused(error.into()))?;
        let listener = Listener {
            inbound: request.into_inner(),
            pictures: self.balancer.watch_channel_assignments(),
            reports: self.reports.clone(),
            source: call.source,
            _room: room,
        };
        Ok(Response::new(Box::pin(listener.told())))
    }
}

impl StreamingService<AssignmentDiscoverRequest> for DiscoveryService {
    type Response = Bytes;
    type ResponseStream = Told;
    type Future = BoxFuture<'static, Result<Response<Told>, Status>>;

    fn call(&mut self, request: Request<Streaming<AssignmentDiscoverRequest>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { service.open(request).await })
    }
}

impl NamedService for DiscoveryService {
    const NAME: &'static str = "milvus.proto.streaming.StreamingCoordAssignmentService";
}

impl<B> Service<http::Request<B>> for DiscoveryService
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        let most = Some(limits::ASSIGNMENT_REQUEST_BYTES_MAX);
        Box::pin(async move {
            Ok(match request.uri().path() {
                DISCOVER => {
                    let mut grpc = Grpc::new(EncodedCodec::new(BUFFER_BYTES, WRITE_BYTES))
                        .apply_max_message_size_config(most, None);
                    grpc.streaming(service, request).await
                }
                UPDATE_POLICY => {
                    let mut grpc = Grpc::new(ProstCodec::default()).apply_max_message_size_config(most, None);
                    let policy = service.policy;
                    let update = tower::service_fn(move |request| {
                        let policy = policy.clone();
                        async move {
                            let call = Call::of(&request)?;
                            policy.update(&call, request.into_inner()).await.map(Response::new).map_err(refused)
                        }
                    });
                    grpc.unary(update, request).await
                }
                UPDATE_REPLICATION => {
                    let most = Some(limits::MESSAGE_BYTES_MAX);
                    let mut grpc = Grpc::new(ProstCodec::default()).apply_max_message_size_config(most, None);
                    let replication = service.replication;
                    let update = tower::service_fn(move |request: Request<UpdateReplicateConfigurationRequest>| {
                        let replication = replication.clone();
                        async move {
                            let call = Call::of(&request)?;
                            let asked = request.into_inner();
                            let done = replication.update(&call, asked.configuration.as_ref(), asked.force_promote);
                            done.await.map_err(broadcast::refused)?;
                            Ok::<_, Status>(Response::new(UpdateReplicateConfigurationResponse {}))
                        }
                    });
                    grpc.unary(update, request).await
                }
                _ => Status::unimplemented("unknown method of StreamingCoordAssignmentService").into_http(),
            })
        })
    }
}
