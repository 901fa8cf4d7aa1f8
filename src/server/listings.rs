//! ShowCollections, past the generated servers: the listing of a database is encoded once for all who ask for it, so
//! what is sent is the bytes in memory. Whatever is asked in another way goes to the server as it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use prost::Message;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tower::Service;

use crate::access;
use crate::forward::grpc_reply;
use crate::gateway::Gateway;
use crate::handler::Asked;
use crate::limits;
use crate::pb::milvus::ShowCollectionsRequest;
use crate::rootcoord::{Listing, RootCoordService};

const METHOD: &str = "ShowCollections";

/// Who has listings.
#[tonic::async_trait]
pub trait Lister: Send + Sync + 'static {
    /// Behind a read barrier. `None`: the server knows more.
    async fn listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Option<Listing>;
}

#[tonic::async_trait]
impl Lister for RootCoordService {
    async fn listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Option<Listing> {
        self.catalog.encoded_listing(asked).await
    }
}

#[tonic::async_trait]
impl Lister for Gateway {
    async fn listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Option<Listing> {
        self.encoded_listing(asked).await
    }
}

/// A generated server, and what it is asked past it.
pub struct WithListings<S, L> {
    server: S,
    lister: Arc<L>,
}

impl<S, L: Lister> WithListings<S, L> {
    pub fn new(server: S, lister: L) -> Self {
        WithListings { server, lister: Arc::new(lister) }
    }
}

impl<S: Clone, L> Clone for WithListings<S, L> {
    fn clone(&self) -> Self {
        WithListings { server: self.server.clone(), lister: self.lister.clone() }
    }
}

impl<S: NamedService, L> NamedService for WithListings<S, L> {
    const NAME: &'static str = S::NAME;
}

impl<S, L> Service<Request<Body>> for WithListings<S, L>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    L: Lister,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.server.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The server that was asked whether it is ready is the one that is called.
        let clone = self.server.clone();
        let mut server = std::mem::replace(&mut self.server, clone);
        if request.uri().path().rsplit_once('/').is_none_or(|(_, method)| method != METHOD) {
            return Box::pin(server.call(request));
        }
        let lister = self.lister.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let most = limits::MESSAGE_BYTES_MAX + access::FRAME_HEADER;
            let body = match Limited::new(body, most).collect().await {
                Ok(whole) => whole.to_bytes(),
                Err(error) => return Ok(unread(&*error).into_http()),
            };
            if let Some(asked) = asked(&parts, &body)
                && let Some(listing) = lister.listing(&asked).await
            {
                return Ok(grpc_reply(listing.frame()));
            }
            server.call(Request::from_parts(parts, Body::new(Full::new(body)))).await
        })
    }
}

/// Why a request was not read to its end.
fn unread(error: &(dyn std::error::Error + 'static)) -> tonic::Status {
    match error.is::<LengthLimitError>() {
        true => tonic::Status::out_of_range("the request is too large"),
        false => tonic::Status::cancelled("the request was cut off"),
    }
}

/// The call, if it is one message that decodes; what else is wrong with it, the server says.
fn asked(parts: &http::request::Parts, body: &Bytes) -> Option<Asked<ShowCollectionsRequest>> {
    let message = ShowCollectionsRequest::decode(access::message(body)?).ok()?;
    let metadata = MetadataMap::from_headers(parts.headers.clone());
    Asked::of(tonic::Request::from_parts(metadata, parts.extensions.clone(), message)).ok()
}
