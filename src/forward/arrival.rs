//! The peer listener's side of forwarding: reads the stamp of a call that another node passed on.
//! Nothing here passes a call on, so a call takes one hop at most.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use roost_raft::network::proto::peer_server::SERVICE_NAME as RAFT;
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

impl ArrivalLayer {
    /// Attaches the stamp that the call carries. What peers ask for themselves carries none, and needs none.
    fn believe(&self, request: &mut Request<Body>) -> Result<(), replica::Error> {
        let Some(stamp) = Call::read(request.headers()) else { return Ok(()) };
        let cluster = request.headers().get(CLUSTER).map_or(&[][..], http::HeaderValue::as_bytes);
        if cluster != self.replica.cluster_id().as_bytes() {
            return Err(replica::Error::NotLeader);
        }
        request.extensions_mut().insert(stamp);
        Ok(())
    }
}

/// Raft's own calls, the only ones that its threads execute.
fn is_raft(path: &str) -> bool {
    let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(RAFT));
    method.is_some_and(|rest| rest.starts_with('/'))
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
        if is_raft(request.uri().path()) {
            return Box::pin(async move { Ok(local(inner, request).await) });
        }
        if let Err(elsewhere) = self.layer.believe(&mut request) {
            return Box::pin(std::future::ready(Ok(retry::status(&elsewhere).into_http())));
        }
        let running = CutOff(self.layer.runtime.spawn(local(inner, request)));
        Box::pin(async move {
            let mut running = running;
            // It panicked, or the node is stopping; the log may have its entry.
            let broken = |_| retry::status(&replica::Error::Unknown("the call was cut off".into())).into_http();
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tower::ServiceExt;

    use super::*;
    use crate::testing::SoloReplica;

    /// Answers with the name of the thread that runs it.
    async fn thread(_: Request<Body>) -> Result<Response<Body>, Infallible> {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("thread", HeaderValue::try_from(name).unwrap());
        Ok(response)
    }

    #[test]
    fn only_raft_itself_runs_on_its_threads() {
        let clients =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("clients").build().unwrap();
        let raft = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let layer = ArrivalLayer::new(SoloReplica::new(), clients.handle().clone());
        let service = layer.layer(tower::service_fn(thread));
        let ran_on_clients = |path: &str| {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = raft.block_on(service.clone().oneshot(request)).unwrap();
            response.headers()["thread"] == "clients"
        };
        assert!(!ran_on_clients("/roost.peer.v1.Peer/Vote"));
        for path in
            ["/milvus.proto.milvus.MilvusService/Insert", "/roost.tso.v1.Timestamp/Clock", "/roost.peer.v1.Peers/Vote"]
        {
            assert!(ran_on_clients(path), "{path}");
        }
    }
}
