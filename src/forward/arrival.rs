//! The peer listener's side of forwarding: reads the stamp of a call that another node passed on.
//! Nothing here passes a call on, so a call takes one hop at most.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::runtime::Handle;
use tonic::body::Body;
use tower::{Layer, Service};

use super::ingress::{CLUSTER, local};
use super::retry;
use crate::call::Call;
use crate::replica::{self, Replica};

/// Must stand behind a [`super::DoorLayer`]: stamps are believed.
#[derive(Clone)]
pub struct ArrivalLayer {
    replica: Arc<dyn Replica>,
    runtime: Handle,
}

impl ArrivalLayer {
    /// Calls of clients run on `runtime`: the peer listener's own threads are for Raft, and no load may delay those.
    pub fn new(replica: Arc<dyn Replica>, runtime: Handle) -> Self {
        ArrivalLayer { replica, runtime }
    }
}

impl<S> Layer<S> for ArrivalLayer {
    type Service = Arrival<S>;

    fn layer(&self, inner: S) -> Arrival<S> {
        Arrival { layer: self.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Arrival<S> {
    layer: ArrivalLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Arrival<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        // Raft's own calls carry no stamp and need none.
        let Some(stamp) = Call::read(request.headers()) else {
            return Box::pin(async move { Ok(local(inner, request).await) });
        };
        let cluster = request.headers().get(CLUSTER).map_or(&[][..], http::HeaderValue::as_bytes);
        if cluster != self.layer.replica.cluster_id().as_bytes() {
            let elsewhere = retry::status(&replica::Error::NotLeader).into_http();
            return Box::pin(std::future::ready(Ok(elsewhere)));
        }
        request.extensions_mut().insert(stamp);
        let running = CutOff(self.layer.runtime.spawn(local(inner, request)));
        Box::pin(async move {
            let mut running = running;
            let broken = |_| tonic::Status::internal("the call was cut off").into_http();
            Ok((&mut running.0).await.unwrap_or_else(broken))
        })
    }
}

/// Ends the call on its runtime when the caller goes away.
struct CutOff(tokio::task::JoinHandle<Response<Body>>);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.abort();
    }
}
