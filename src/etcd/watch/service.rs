//! The Watch service on the wire. Hand-made because responses are encoded before tonic sees them.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;
use http_body::Body as HttpBody;
use tonic::body::Body;
use tonic::codec::Streaming;
use tonic::codegen::StdError;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status};
use tower::Service;

use super::deliver::Frame;
use super::hub::Hub;
use super::stream::WatchStream;
use crate::encoded::EncodedCodec;
use crate::etcd::{Headers, error};
use crate::limits;
use crate::pb::etcd::api::WatchRequest;

const METHOD: &str = "/etcdserverpb.Watch/Watch";
const BUFFER_BYTES: usize = 8 << 10;
/// Bytes of responses that go to the connection at once: several small ones, without holding much for a slow client.
const WRITE_BYTES: usize = 64 << 10;

/// Serves `etcdserverpb.Watch` from a hub.
#[derive(Clone)]
pub struct WatchService {
    hub: Arc<Hub>,
    headers: Headers,
}

impl WatchService {
    pub fn new(hub: Arc<Hub>, headers: Headers) -> Self {
        WatchService { hub, headers }
    }

    fn open(&self, inbound: Streaming<WatchRequest>) -> Result<Response<Frames>, Status> {
        let registration = self.hub.register().ok_or_else(|| error::STOPPED.status())?;
        let stream = WatchStream::new(self.headers.clone(), registration, inbound);
        let next = |mut stream: WatchStream<_>| async move { stream.next().await.map(|frame| (frame, stream)) };
        Ok(Response::new(Box::pin(futures::stream::unfold(stream, next))))
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

impl StreamingService<WatchRequest> for WatchService {
    type Response = Frame;
    type ResponseStream = Frames;
    type Future = Ready<Result<Response<Frames>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        std::future::ready(self.open(request.into_inner()))
    }
}

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

impl<B> Service<http::Request<B>> for WatchService
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
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("unknown method of etcdserverpb.Watch").into_http());
            }
            let most = Some(limits::WATCH_REQUEST_BYTES_MAX);
            let mut grpc =
                Grpc::new(EncodedCodec::new(BUFFER_BYTES, WRITE_BYTES)).apply_max_message_size_config(most, None);
            Ok(grpc.streaming(service, request).await)
        })
    }
}
