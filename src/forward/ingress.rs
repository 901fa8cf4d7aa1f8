//! Where calls enter: strips what only peers may say, stamps the call, bounds what is in progress, and sends it to the
//! node that must execute it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Limited;
use parking_lot::RwLock;
use roost_raft::types::Leadership;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service, ServiceExt};

use super::checked::{self, Checks, Toll};
use super::lasting::Lasting;
use super::methods::{Method, Methods, Route};
use super::peers::Peers;
use super::{body, door, etcd, retry, unary};
use crate::access::{Guard, Rules};
use crate::call::{self, Call, OpenRequest, RequestId, Requests};
use crate::error::Rejection;
use crate::limits;
use crate::metrics::Metrics;
use crate::quota::Gate;
use crate::replica::Replica;
use crate::shutdown::Shutdown;

/// Reply metadata: the `host:port` of the leader's listener of the kind that was asked.
pub const LEADER_KEY: &str = "roost-leader";
/// Metadata between nodes: the cluster that the call belongs to.
pub const CLUSTER: &str = "roost-cluster";
/// Given back to the caller's own deadline, so that our answer arrives before the caller stops waiting.
const ANSWER_MARGIN_MAX: Duration = Duration::from_millis(100);

/// What all listeners of a node share.
pub struct Ingress {
    pub(super) replica: Arc<dyn Replica>,
    pub(super) peers: Arc<Peers>,
    methods: Methods,
    requests: Arc<Requests>,
    calls: Semaphore,
    /// Calls of services that the descriptors do not name: health and reflection.
    others: Semaphore,
    pub(super) listings: Semaphore,
    pub(super) bytes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    pub(super) etcd_calls: Semaphore,
    pub(super) etcd_streams: Arc<Semaphore>,
    pub(super) etcd_bytes: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    /// Asked for when calls are to end.
    pub(super) stop: Shutdown,
    /// Checks clients' calls; `None`: everybody may do everything.
    guard: Option<Arc<Guard>>,
    /// Counts clients' calls; `None`: as many as come.
    gate: Option<Arc<Gate>>,
    rules: Rules,
    /// The leader's address as replies name it, by listener, for as long as that leader leads.
    named: RwLock<HashMap<Side, (Leadership, HeaderValue)>>,
}

/// One call on its way: its stamp, and the claim on its request id, which must outlive every attempt.
pub(super) struct Stamped {
    pub(super) call: Call,
    _open: Option<OpenRequest>,
}

impl Ingress {
    pub fn new(
        replica: Arc<dyn Replica>,
        peers: Arc<Peers>,
        requests: Arc<Requests>,
        metrics: Arc<Metrics>,
        stop: Shutdown,
        guard: Option<Arc<Guard>>,
        gate: Option<Arc<Gate>>,
    ) -> Result<Arc<Self>, prost::DecodeError> {
        Ok(Arc::new(Ingress {
            replica,
            peers,
            methods: Methods::known()?,
            requests,
            calls: Semaphore::new(limits::CALLS_IN_FLIGHT_MAX),
            others: Semaphore::new(limits::OTHER_CALLS_IN_FLIGHT_MAX),
            listings: Semaphore::new(limits::LISTINGS_IN_PROGRESS_MAX),
            bytes: Arc::new(Semaphore::new(limits::CALL_BYTES_IN_FLIGHT_MAX)),
            streams: Arc::new(Semaphore::new(limits::FORWARDED_STREAMS_MAX)),
            etcd_calls: Semaphore::new(limits::ETCD_CALLS_MAX),
            etcd_streams: Arc::new(Semaphore::new(limits::ETCD_STREAMS_MAX)),
            etcd_bytes: Arc::new(Semaphore::new(limits::ETCD_CALL_BYTES_IN_FLIGHT_MAX)),
            metrics,
            stop,
            guard,
            gate,
            rules: Rules::known()?,
            named: RwLock::default(),
        }))
    }

    async fn serve<S>(self: Arc<Self>, side: Side, inner: S, mut request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        call::strip(request.headers_mut());
        let started = Instant::now();
        let known = self.methods.get(request.uri().path());
        let Some(method) = known.filter(|method| method.for_clients || side == Side::Internal) else {
            return self.other(inner, request).await;
        };
        if request.version() < Version::HTTP_2 {
            let mut refusal = Response::new(Body::empty());
            *refusal.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return refusal;
        }
        let uri = request.uri().clone();
        if let Some(kind) = method.etcd {
            let response = etcd::serve(&self, inner, request, method, kind).await;
            self.metrics.called(uri.path(), grpc_code(response.headers()), started.elapsed());
            return response;
        }
        let mut stamped = self.stamp(&request, method);
        let (checks, toll) = (self.checks(side, uri.path()), self.toll(side, uri.path()));
        let mut response = match (method.client_streaming, self.calls.try_acquire()) {
            (false, Err(_)) => method.refuse(&Rejection::RateLimited {
                detail: format!("{} calls are in progress on this node", limits::CALLS_IN_FLIGHT_MAX),
            }),
            (_, _permit) => self.checked(inner, request, method, &mut stamped, checks, toll).await,
        };
        if method.route != Route::Here {
            self.name_leader(side, response.headers_mut());
        }
        fit_for_clients(response.headers_mut());
        self.metrics.called(uri.path(), grpc_code(response.headers()), started.elapsed());
        response
    }

    /// Lets the call in, under its caller's verified name, or refuses it.
    async fn checked<S>(
        &self,
        inner: S,
        request: Request<Body>,
        method: Method,
        stamped: &mut Stamped,
        checks: Option<Checks<'_>>,
        toll: Option<Toll<'_>>,
    ) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let caller = match checked::caller(checks, request.uri().path(), request.headers(), &stamped.call).await {
            Ok(caller) => caller,
            Err(refusal) => return refusal,
        };
        if let Some(caller) = &caller {
            stamped.call.principal = caller.name.to_string();
        }
        match method.client_streaming {
            true => self.stream(inner, request, method, stamped).await,
            false => {
                let checks = checks.map(|checks| (checks, caller));
                unary::serve(self, inner, request, method, stamped, checks, toll).await
            }
        }
    }

    /// How this call is checked and written down, if it is one of Milvus'.
    fn checks(&self, side: Side, path: &str) -> Option<Checks<'_>> {
        let guard = self.guard.as_deref().filter(|_| side == Side::Client);
        Some(Checks { guard, rule: self.rules.get(path)? })
    }

    /// How this call is counted, if it is. Milvus' own processes and operators are not.
    fn toll(&self, side: Side, path: &str) -> Option<Toll<'_>> {
        let gate = self.gate.as_deref().filter(|_| side == Side::Client)?;
        Some(Toll { gate, counted: gate.counted(path)? })
    }

    /// Health, reflection, and UNIMPLEMENTED for what nobody serves: small requests, which are read at once.
    async fn other<S>(&self, inner: S, request: Request<Body>) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let Ok(_permit) = self.others.try_acquire() else {
            return tonic::Status::resource_exhausted("too many calls are in progress on this node").into_http();
        };
        let small = request.map(|body| Body::new(Limited::new(body, limits::OTHER_CALL_BYTES_MAX)));
        let answer = tokio::time::timeout(limits::CALL_TIME_DEFAULT, local(inner, small)).await;
        let late = |_| tonic::Status::deadline_exceeded("the request did not come in time").into_http();
        answer.unwrap_or_else(late).map(|body| self.lasting(body))
    }

    /// A reply that may have no end of its own.
    fn lasting(&self, body: Body) -> Body {
        Lasting::reply(&self.stop, body, || refuse_stream("this node stops"))
    }

    pub(super) fn stamp(&self, request: &Request<Body>, method: Method) -> Stamped {
        let open = (method.route == Route::Log).then(|| self.requests.begin());
        let source = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let allowed = call::time_allowed(request.headers());
        let call = Call {
            request: open.as_ref().map_or_else(RequestId::default, |open| open.id),
            principal: call::principal(request.headers()),
            source: source.map(|address| address.to_string()).unwrap_or_default(),
            deadline: Instant::now() + allowed.saturating_sub((allowed / 10).min(ANSWER_MARGIN_MAX)),
        };
        Stamped { call, _open: open }
    }

    /// Passes a streaming call on as it is. Once its body may have been read it is never sent again.
    async fn stream<S>(&self, inner: S, mut request: Request<Body>, method: Method, stamped: &Stamped) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send,
    {
        request.extensions_mut().insert(stamped.call.clone());
        if method.route == Route::Here {
            return local(inner, request).await.map(|body| self.lasting(body));
        }
        let Ok(permit) = self.streams.clone().try_acquire_owned() else {
            return refuse_stream("too many forwarded streams on this node").into_http();
        };
        let response = match self.leader_within(stamped.call.deadline).await {
            Some(Leader::Here) => local(inner, request).await,
            Some(Leader::At(address)) => {
                let stamp = stamped.call.clone();
                let request = request.map(|body| Lasting::request(&self.stop, body));
                match self.pass_on(&address, &stamp, request, true).await {
                    Ok(response) => response,
                    Err(error) => refuse_stream(&error.to_string()).into_http(),
                }
            }
            None => refuse_stream("no leader is known").into_http(),
        };
        // The stream counts until its last reply was read, not until its first.
        response.map(|body| body::held(self.lasting(body), permit))
    }

    /// Sends one request to the peer listener at `address`.
    pub(super) async fn pass_on(
        &self,
        address: &str,
        stamp: &Call,
        mut request: Request<Body>,
        lasting: bool,
    ) -> Result<Response<Body>, tonic::transport::Error> {
        stamp.write(request.headers_mut());
        if lasting {
            // A stream lives as long as its two ends want.
            request.headers_mut().remove("grpc-timeout");
        }
        if let Some(proof) = self.peers.proof() {
            request.headers_mut().insert(door::SECRET, proof);
        }
        if let Ok(cluster) = HeaderValue::try_from(self.replica.cluster_id()) {
            request.headers_mut().insert(CLUSTER, cluster);
        }
        // What this connection's caller used as the target name means nothing on the next one.
        request.headers_mut().remove(http::header::HOST);
        self.metrics.forwarded();
        self.peers.channel(address)?.oneshot(request).await
    }

    /// The leader as this node knows it now.
    pub(super) fn leader(&self) -> Option<Leader> {
        let seen = *self.replica.leadership().borrow();
        if seen.is_self {
            return Some(Leader::Here);
        }
        let id = seen.leader.filter(|id| *id != self.replica.node_id())?;
        self.replica.members().into_iter().find(|member| member.id == id).map(|member| Leader::At(member.peer))
    }

    async fn leader_within(&self, deadline: Instant) -> Option<Leader> {
        let mut leadership = self.replica.leadership();
        loop {
            leadership.mark_unchanged();
            if let Some(leader) = self.leader() {
                return Some(leader);
            }
            tokio::time::timeout_at(deadline.into(), leadership.changed()).await.ok()?.ok()?;
        }
    }

    fn name_leader(&self, side: Side, headers: &mut HeaderMap) {
        headers.remove(LEADER_KEY);
        let seen = *self.replica.leadership().borrow();
        let Some(id) = seen.leader else { return };
        if let Some((_, value)) = self.named.read().get(&side).filter(|(of, _)| *of == seen) {
            headers.insert(LEADER_KEY, value.clone());
            return;
        }
        let member = self.replica.members().into_iter().find(|member| member.id == id);
        let address = member.map(|member| match side {
            Side::Client => member.client,
            Side::Internal => member.internal,
        });
        if let Some(value) = address.and_then(|address| HeaderValue::try_from(address).ok()) {
            self.named.write().insert(side, (seen, value.clone()));
            headers.insert(LEADER_KEY, value);
        }
    }
}

/// Where the leader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leader {
    Here,
    At(String),
}

/// Runs the call on this node.
pub(super) async fn local<S>(inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match inner.oneshot(request).await {
        Ok(response) => response,
        Err(impossible) => match impossible {},
    }
}

/// A stream's caller reopens it; pymilvus opens none.
fn refuse_stream(reason: &str) -> tonic::Status {
    tonic::Status::unavailable(reason.to_owned())
}

/// Removes what is meant for the ingress, and replaces gRPC codes on which clients hang: they repeat OUT_OF_RANGE
/// (tonic's code for a message that is too large) for minutes, and take RESOURCE_EXHAUSTED (gRPC's own) as final.
fn fit_for_clients(headers: &mut HeaderMap) {
    headers.remove(retry::MARK);
    if grpc_code(headers) == tonic::Code::OutOfRange as i32 {
        headers.insert("grpc-status", HeaderValue::from(tonic::Code::ResourceExhausted as i32));
    }
}

/// The gRPC code of a reply that failed before its first message, else 0.
pub(super) fn grpc_code(headers: &HeaderMap) -> i32 {
    headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

/// Which listener a call came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Internal,
}

/// The layer of the client and internal listeners.
#[derive(Clone)]
pub struct IngressLayer {
    pub ingress: Arc<Ingress>,
    pub side: Side,
}

impl<S> Layer<S> for IngressLayer {
    type Service = IngressService<S>;

    fn layer(&self, inner: S) -> IngressService<S> {
        IngressService { layer: self.clone(), inner }
    }
}

#[derive(Clone)]
pub struct IngressService<S> {
    layer: IngressLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for IngressService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each attempt waits for its own clone to be ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (IngressLayer { ingress, side }, inner) = (self.layer.clone(), self.inner.clone());
        Box::pin(async move { Ok(ingress.serve(side, inner, request).await) })
    }
}
