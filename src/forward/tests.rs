//! The ingress over a service that does as the test says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use prost::Message;
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};

use super::body::{Unread, counted, keep};
use super::*;
use crate::call::Requests;
use crate::error::Rejection;
use crate::failure::{Failure, answer};
use crate::limits;
use crate::metrics::Metrics;
use crate::pb::common;
use crate::pb::milvus::ShowCollectionsResponse;
use crate::replica;
use crate::testing::SoloReplica;

const CREATE: &str = "/milvus.proto.milvus.MilvusService/CreateCollection";
const LIST: &str = "/milvus.proto.milvus.MilvusService/ShowCollections";
const CHECK: &str = "/grpc.health.v1.Health/Check";

fn ingress() -> Arc<Ingress> {
    let replica = SoloReplica::new();
    replica.lead(1);
    let peers = Arc::new(Peers::new(None));
    let (trigger, stop) = crate::shutdown::channel();
    // Nobody asks for the stop, as long as there are tests.
    std::mem::forget(trigger);
    Ingress::new(replica, peers, Requests::new(1, 1), Arc::new(Metrics::new()), stop, None, None).unwrap()
}

async fn call<S>(ingress: &Arc<Ingress>, inner: S, path: &str, body: Body) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let layer = IngressLayer { ingress: ingress.clone(), side: Side::Client };
    let request = Request::builder().version(http::Version::HTTP_2).uri(path).header("grpc-timeout", "400m");
    let request = request.body(body).unwrap();
    layer.layer(inner).oneshot(request).await.unwrap()
}

/// A gRPC reply that carries `message`.
fn reply<T: Message + Default + 'static>(response: tonic::Response<T>) -> Response<Body> {
    let message = response.get_ref().encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let (metadata, _, _) = response.into_parts();
    let mut response = Response::new(Body::new(http_body_util::Full::new(Bytes::from(frame))));
    *response.headers_mut() = metadata.into_headers();
    response
}

async fn status(response: Response<Body>) -> common::Status {
    assert!(response.headers().get(retry::MARK).is_none(), "the mark leaves the cluster");
    let frame = response.into_body().collect().await.unwrap().to_bytes();
    common::Status::decode(frame.slice(5..)).unwrap()
}

/// What [`answer`] makes of a reply that is a bare status.
fn answered(result: Result<(), Failure>) -> Response<Body> {
    match answer(result.map(|()| common::Status::default()), |status| status) {
        Ok(response) => reply(response),
        Err(error) => error.into_http(),
    }
}

/// One CreateCollection, whose attempts end as the script says; the last entry repeats. Returns the attempts as well.
async fn create(script: Vec<Result<(), Failure>>) -> (common::Status, usize) {
    let script = Arc::new(Mutex::new((VecDeque::from(script), 0)));
    let attempts = script.clone();
    let inner = tower::service_fn(move |_: Request<Body>| {
        let mut script = script.lock();
        script.1 += 1;
        let next = if script.0.len() > 1 { script.0.pop_front() } else { script.0.front().cloned() };
        std::future::ready(Ok(answered(next.unwrap())))
    });
    let status = status(call(&ingress(), inner, CREATE, Body::empty()).await).await;
    let attempts = attempts.lock().1;
    (status, attempts)
}

#[tokio::test]
async fn a_refusal_does_not_hide_that_an_earlier_attempt_may_take_effect() {
    let full = || Err(Failure::from(replica::Error::DiskFull("disks are full".into())));
    let lost = || Err(Failure::from(replica::Error::Unknown("lost".into())));
    let not_done = || Err(Failure::from(replica::Error::NotLeader));
    let decided = || Err(Failure::Decided(Rejection::DatabaseLimit { limit: 3 }));
    let code = |rejection: Rejection| rejection.code();
    let unknown = code(Rejection::OutcomeUnknown { detail: String::new() });
    let disk_full = code(Rejection::DiskFull { detail: String::new() });

    let (status, attempts) = create(vec![full()]).await;
    assert_eq!((status.code, attempts), (disk_full, 1), "nothing came before it");
    let (status, _) = create(vec![not_done(), full()]).await;
    assert_eq!(status.code, disk_full, "nothing that came before it was done");
    for refusal in [full(), Err(Failure::from(replica::Error::Busy)), Err(crate::leader::tso::Error::Stalled.into())] {
        let (status, attempts) = create(vec![lost(), refusal.clone()]).await;
        assert_eq!(status.code, unknown, "{refusal:?}");
        assert!(attempts > 2, "it is asked again");
    }
    let (status, attempts) = create(vec![lost(), full(), Ok(())]).await;
    assert_eq!((status.code, attempts), (0, 3), "the log's answer is known in the end");
    let (status, attempts) = create(vec![lost(), full(), decided()]).await;
    assert_eq!((status.code, attempts), (code(Rejection::DatabaseLimit { limit: 3 }), 3), "so is its refusal");
}

#[tokio::test]
async fn a_grpc_error_is_not_the_logs_answer_either() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let inner = tower::service_fn(move |_: Request<Body>| {
        let error = match attempts.fetch_add(1, Ordering::Relaxed) {
            0 => retry::status(&replica::Error::Unknown("lost".into())),
            _ => tonic::Status::unauthenticated("another secret"),
        };
        std::future::ready(Ok(error.into_http()))
    });
    let status = status(call(&ingress(), inner, CREATE, Body::empty()).await).await;
    assert_eq!(status.code, Rejection::OutcomeUnknown { detail: String::new() }.code());
}

/// A body of one piece, of which the rest never comes.
fn endless(piece: usize) -> Body {
    let first = stream::once(async move { Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; piece]))) });
    Body::new(StreamBody::new(first.chain(stream::pending())))
}

#[tokio::test]
async fn what_has_come_of_a_request_counts_before_the_rest_has() {
    let ingress = ingress();
    let never = tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let slow = tokio::spawn({
        let ingress = ingress.clone();
        async move { call(&ingress, never, CREATE, endless(1000)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(ingress.bytes.available_permits(), limits::CALL_BYTES_IN_FLIGHT_MAX - 1000);
    let _rest = ingress.bytes.try_acquire_many(u32::try_from(ingress.bytes.available_permits() - 10).unwrap()).unwrap();
    let started = Instant::now();
    let refused = status(call(&ingress, never, CREATE, endless(11)).await).await;
    assert!(refused.code == 8 && started.elapsed() < Duration::from_millis(200), "{refused:?}");
    assert!(status(slow.await.unwrap()).await.retriable, "its body did not come in time");
    assert_eq!(ingress.bytes.available_permits(), 1010, "everything is given back");
}

#[tokio::test]
async fn a_request_is_kept_whole_up_to_its_limit() {
    let budget = tokio::sync::Semaphore::new(64 << 20);
    let pieces = |count: usize| {
        let piece = Bytes::from(vec![7; 1 << 20]);
        let pieces = std::iter::repeat_n(piece, count).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        Body::new(StreamBody::new(stream::iter(pieces)))
    };
    let kept = keep(pieces(16), &budget).await.ok().unwrap();
    assert_eq!((kept.bytes.len(), budget.available_permits()), (16 << 20, 48 << 20));
    drop(kept);
    assert!(matches!(keep(pieces(17), &budget).await, Err(Unread::Refused(_))));
    assert_eq!(budget.available_permits(), 64 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_listings_run_at_once_and_each_counts_until_it_is_sent() {
    let ingress = ingress();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let inner = tower::service_fn(move |_: Request<Body>| {
        let (running, most) = (running.clone(), most.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            let names = vec!["x".repeat(100); 10];
            Ok(reply(tonic::Response::new(ShowCollectionsResponse { collection_names: names, ..Default::default() })))
        }
    });
    let calls = (0..5 * limits::LISTINGS_IN_PROGRESS_MAX).map(|_| call(&ingress, inner.clone(), LIST, Body::empty()));
    let replies = futures::future::join_all(calls).await;
    assert_eq!(seen.load(Ordering::SeqCst), limits::LISTINGS_IN_PROGRESS_MAX);
    let held = limits::CALL_BYTES_IN_FLIGHT_MAX - ingress.bytes.available_permits();
    assert!(held > replies.len() * 1000, "{held}");
    for reply in replies {
        let frame = reply.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(ShowCollectionsResponse::decode(frame.slice(5..)).unwrap().collection_names.len(), 10);
    }
    assert_eq!(ingress.bytes.available_permits(), limits::CALL_BYTES_IN_FLIGHT_MAX);
}

#[tokio::test]
async fn a_reply_that_does_not_fit_is_not_sent() {
    let budget = Arc::new(tokio::sync::Semaphore::new(10));
    let reply = reply(tonic::Response::new(common::Status { reason: "x".repeat(20), ..Default::default() }));
    assert!(matches!(counted(reply, &budget).await, Err(Unread::NoRoom)));
}

#[tokio::test]
async fn health_takes_only_small_requests() {
    let reads = tower::service_fn(|request: Request<Body>| async move {
        let read = request.into_body().collect().await;
        Ok(if read.is_ok() { Response::new(Body::empty()) } else { tonic::Status::internal("cut").into_http() })
    });
    let body = |bytes| Body::new(http_body_util::Full::new(Bytes::from(vec![0; bytes])));
    let ingress = ingress();
    let small = call(&ingress, reads, CHECK, body(100)).await;
    assert!(small.headers().get("grpc-status").is_none());
    let large = call(&ingress, reads, CHECK, body(limits::OTHER_CALL_BYTES_MAX + 1)).await;
    assert!(large.headers().get("grpc-status").is_some());
}

/// How long the service under a path is given, when the caller names no deadline or this one.
async fn time_given(path: &str, timeout: Option<&str>) -> Duration {
    let given = Arc::new(Mutex::new(None));
    let seen = given.clone();
    let inner = tower::service_fn(move |request: Request<Body>| {
        *seen.lock() = request.extensions().get::<crate::call::Call>().map(|call| call.deadline - Instant::now());
        std::future::ready(Ok(Response::new(Body::empty())))
    });
    let mut request = Request::builder().version(http::Version::HTTP_2).uri(path).body(Body::empty()).unwrap();
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    }
    let layer = IngressLayer { ingress: ingress(), side: Side::Client };
    layer.layer(inner).oneshot(request).await.unwrap();
    let given = given.lock().take();
    given.unwrap()
}

#[tokio::test]
async fn only_calls_that_wait_for_other_clients_may_take_long() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (put, lock) = ("/etcdserverpb.KV/Put", "/v3lockpb.Lock/Lock");
    assert!(time_given(put, None).await <= limits::CALL_TIME_DEFAULT);
    assert!(time_given(put, Some("9H")).await <= limits::CALL_TIME_MAX);
    assert!(time_given(lock, None).await > DAY);
    assert!(time_given("/v3electionpb.Election/Campaign", Some("99999999H")).await > DAY);
    let asked = time_given(lock, Some("2H")).await;
    assert!(asked > Duration::from_secs(7100) && asked <= Duration::from_secs(7200));
}

#[tokio::test]
async fn an_etcd_call_is_bounded_in_time_and_number_and_streams_are_not_cut() {
    let ingress = ingress();
    let stuck = || tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let late = call(&ingress, stuck(), "/etcdserverpb.KV/Put", Body::empty()).await;
    assert_eq!(late.headers()["grpc-message"], "etcdserver:%20request%20timed%20out");
    let watching = call(&ingress, stuck(), "/etcdserverpb.Watch/Watch", Body::empty());
    assert!(tokio::time::timeout(Duration::from_millis(800), watching).await.is_err(), "longer than grpc-timeout");
    // A stream counts until its last message was read.
    let open = tower::service_fn(|_: Request<Body>| std::future::ready(Ok(Response::new(endless(1)))));
    let stream = call(&ingress, open, "/etcdserverpb.Watch/Watch", Body::empty()).await;
    assert_eq!(ingress.etcd_streams.available_permits(), limits::ETCD_STREAMS_MAX - 1);
    drop(stream);
    assert_eq!(ingress.etcd_streams.available_permits(), limits::ETCD_STREAMS_MAX);
}

/// Reads its request and answers with how it ended.
async fn reader(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    match request.into_body().collect().await {
        Ok(_) => Ok(tonic::Status::ok("").into_http()),
        Err(status) => Ok(status.into_http()),
    }
}

#[tokio::test]
async fn requests_of_etcd_clients_are_bounded_in_bytes() {
    const PUT: &str = "/etcdserverpb.KV/Put";
    const WATCH: &str = "/etcdserverpb.Watch/Watch";
    let ingress = ingress();
    let all = u32::try_from(limits::ETCD_CALL_BYTES_IN_FLIGHT_MAX).unwrap();
    let inner = tower::service_fn(reader);
    let others = ingress.etcd_bytes.clone().try_acquire_many_owned(all - 100).unwrap();
    let message = |length: usize, sent: usize| {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.resize(5 + sent, 7);
        Body::new(http_body_util::Full::new(Bytes::from(bytes)))
    };
    let code = |response: Response<Body>| ingress::grpc_code(response.headers());
    let crowded = tonic::Code::ResourceExhausted as i32;
    assert_eq!(code(call(&ingress, inner, PUT, message(95, 95)).await), 0);
    assert_eq!(code(call(&ingress, inner, PUT, message(96, 96)).await), crowded);
    // Of a stream only what is unfinished counts, which is not the length that was announced.
    assert_eq!(code(call(&ingress, inner, WATCH, message(500, 500)).await), 0);
    assert_eq!(code(call(&ingress, inner, WATCH, message(500, 95)).await), 0);
    assert_eq!(code(call(&ingress, inner, WATCH, message(500, 96)).await), crowded);
    assert_eq!(ingress.etcd_bytes.available_permits(), 100, "all of it was given back");
    drop(others);
    assert_eq!(code(call(&ingress, inner, PUT, message(96, 96)).await), 0);
}

#[tokio::test]
async fn old_http_reaches_no_method() {
    let ingress = ingress();
    let layer = IngressLayer { ingress, side: Side::Client };
    let served = layer.layer(tower::service_fn(reader));
    for (path, expected) in [(CREATE, 505), ("/etcdserverpb.KV/Put", 505), ("/metrics", 200)] {
        let request = Request::builder().version(http::Version::HTTP_11).uri(path).body(Body::empty()).unwrap();
        assert_eq!(served.clone().oneshot(request).await.unwrap().status(), expected, "{path}");
    }
}
