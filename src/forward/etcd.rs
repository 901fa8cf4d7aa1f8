//! Calls of etcd clients. Their services run on the node that was asked and reach the leader by the relay, which
//! repeats and names requests by itself: so no body is kept and nothing is sent again here. A call is stamped, counted
//! and bounded in number, bytes and time, and that is all.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use super::body::{HeldRoom, held};
use super::ingress::{Ingress, grpc_code, local};
use super::lasting::Lasting;
use super::metered::{Metered, Share};
use super::methods::{EtcdCall, Method};
use crate::call;
use crate::etcd::error::{STOPPED, TIMEOUT, TOO_MANY_REQUESTS};
use crate::limits;

/// What a service has beyond its deadline to say that it is over.
const ANSWER_GRACE: Duration = Duration::from_millis(20);

pub(super) async fn serve<S>(
    ingress: &Ingress,
    inner: S,
    mut request: Request<Body>,
    method: Method,
    kind: EtcdCall,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut stamp = ingress.stamp(&request, method).call;
    if kind == EtcdCall::Waits {
        let asked = call::time_asked(request.headers()).unwrap_or(limits::ETCD_WAIT_MAX);
        stamp.deadline = Instant::now() + asked.min(limits::ETCD_WAIT_MAX);
    }
    let deadline = stamp.deadline;
    request.extensions_mut().insert(stamp);
    let (share, crowded) = (Share::of(&ingress.etcd_bytes), || TOO_MANY_REQUESTS.status());
    if matches!(kind, EtcdCall::Stream | EtcdCall::Transfer) {
        let Ok(permit) = ingress.etcd_streams.clone().try_acquire_owned() else {
            return crowded().into_http();
        };
        let request = request.map(|body| Metered::stream(body, &share, crowded));
        let response = local(inner, request).await.map(|body| held(body, permit));
        return match kind {
            EtcdCall::Stream => response.map(|body| Lasting::reply(&ingress.stop, body, || STOPPED.status())),
            _ => response,
        };
    }
    let request = request.map(|body| Metered::call(body, &share, crowded));
    let Ok(_permit) = ingress.etcd_calls.try_acquire() else {
        return crowded().into_http();
    };
    // Services keep the deadline by themselves, and know why there is no answer; a body that does not come is not
    // theirs to wait for.
    let cut = tokio::time::Instant::from_std(deadline) + ANSWER_GRACE;
    let Ok(mut response) = tokio::time::timeout_at(cut, local(inner, request)).await else {
        return TIMEOUT.status().into_http();
    };
    say_as_grpc_go(response.headers_mut());
    match response.extensions_mut().remove::<HeldRoom>() {
        Some(room) => response.map(|body| held(body, room)),
        None => response,
    }
}

/// A message above the limit: OUT_OF_RANGE in tonic, which in etcd's API speaks of revisions.
fn say_as_grpc_go(headers: &mut HeaderMap) {
    let by_etcd = |text: &HeaderValue| text.as_bytes().starts_with(b"etcdserver:");
    if grpc_code(headers) == Code::OutOfRange as i32 && !headers.get("grpc-message").is_some_and(by_etcd) {
        headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
    }
}
