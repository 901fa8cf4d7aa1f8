//! Clients against nodes that misbehave: stubs that open streams and say nothing, or answer too late.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status};

use super::*;
use crate::pb::session::session_server::{Session as SessionApi, SessionServer};
use crate::pb::session::*;
use crate::pb::tso::timestamp_server::{Timestamp, TimestampServer};
use crate::pb::tso::{ClockRequest, ClockResponse};

const PATIENCE: Duration = Duration::from_secs(30);

/// A node of Roost, as far as a worker sees it.
#[derive(Default)]
struct Stub {
    /// Whom it says to be the leader.
    leader: Mutex<Option<String>>,
    /// Registrations that are never answered, before those that are.
    ignored: usize,
    refuses: bool,
    /// Keep-alives are answered.
    answers: bool,
    ttl_s: u32,
    /// The request ids of registrations, as they came.
    registrations: Mutex<Vec<Vec<u8>>>,
    renewals: AtomicU64,
}

type Answer<T> = Result<Response<T>, Status>;

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("nobody asks that here"))
}

#[tonic::async_trait]
impl SessionApi for Arc<Stub> {
    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        if self.refuses {
            return Err(Status::unavailable("this node has no leader"));
        }
        let count = {
            let mut registrations = self.registrations.lock();
            registrations.push(request.into_inner().request_id);
            registrations.len()
        };
        if count <= self.ignored {
            std::future::pending::<()>().await;
        }
        let answer = RegisterResponse { server_id: 1, lease_id: 7, ttl_s: self.ttl_s, revision: 1 };
        let mut response = Response::new(answer);
        if let Some(leader) = self.leader.lock().clone() {
            response.metadata_mut().insert(LEADER_KEY, leader.parse().unwrap());
        }
        Ok(response)
    }

    type KeepAliveStream = BoxStream<'static, Result<KeepAliveResponse, Status>>;

    async fn keep_alive(&self, request: Request<tonic::Streaming<KeepAliveRequest>>) -> Answer<Self::KeepAliveStream> {
        let stub = self.clone();
        let answers = request.into_inner().then(move |asked| {
            let stub = stub.clone();
            async move {
                let KeepAliveRequest { server_id, lease_id, .. } = asked?;
                if !stub.answers {
                    std::future::pending::<()>().await;
                }
                stub.renewals.fetch_add(1, Ordering::SeqCst);
                Ok(KeepAliveResponse { server_id, lease_id, alive: true, ttl_s: stub.ttl_s })
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Answer<LeaveResponse> {
        unused()
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Answer<DrainResponse> {
        unused()
    }

    async fn freeze(&self, _: Request<FreezeRequest>) -> Answer<FreezeResponse> {
        unused()
    }

    async fn list(&self, _: Request<ListRequest>) -> Answer<ListResponse> {
        unused()
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        unused()
    }
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn node(stub: Stub) -> (Arc<Stub>, String) {
    let stub = Arc::new(stub);
    let address = serve(Server::builder().add_service(SessionServer::new(stub.clone()))).await;
    (stub, address)
}

fn session(endpoints: &[&String], ttl_s: u32) -> WorkerSession {
    let endpoints = endpoints.iter().map(|endpoint| (*endpoint).clone()).collect();
    WorkerSession::start(&Coordinators::new(endpoints, None), Registration { ttl_s, ..Registration::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_opens_streams_and_is_silent_does_not_cost_the_session() {
    let (_, silent) = node(Stub { refuses: true, ttl_s: 2, ..Stub::default() }).await;
    let (good, address) = node(Stub { answers: true, ttl_s: 2, ..Stub::default() }).await;
    *good.leader.lock() = Some(silent.clone());
    let session = session(&[&silent, &address], 2);
    let live = session.live(PATIENCE).await.unwrap();
    let mut standing = session.watch();
    let lost = standing.wait_for(|now| *now != Standing::Live(live));
    let renewed = async {
        // Longer than its time.
        while good.renewals.load(Ordering::SeqCst) < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        lost = lost => panic!("it is lost though a node answers: {:?}", *lost.unwrap()),
        renewed = tokio::time::timeout(PATIENCE, renewed) => renewed.expect("the other node is asked"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_lost_when_the_first_attempt_that_may_have_begun_it_is_so_old() {
    let began = Instant::now();
    let (stub, address) = node(Stub { ignored: 1, ttl_s: 5, ..Stub::default() }).await;
    let session = session(&[&address], 5);
    let live = session.live(PATIENCE).await.unwrap();
    let mut standing = session.watch();
    let lost = standing.wait_for(|now| *now == Standing::Lost(live));
    tokio::time::timeout(PATIENCE, lost).await.expect("nobody answers").unwrap();
    let after = began.elapsed();
    assert!(after >= live.ttl, "{after:?}");
    // Four of the five seconds had gone by when the second attempt was answered.
    assert!(after < live.ttl + Duration::from_secs(3), "{after:?}");
    let asked = stub.registrations.lock().clone();
    assert!(asked.len() == 2 && asked[0] == asked[1] && !asked[0].is_empty(), "one name for both: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_a_session_hears_that_its_handle_is_gone() {
    let (_stub, address) = node(Stub { answers: true, ttl_s: 60, ..Stub::default() }).await;
    let session = session(&[&address], 60);
    session.live(PATIENCE).await.unwrap();
    let mut standing = session.watch();
    drop(session);
    let left = standing.wait_for(|now| *now == Standing::Left);
    tokio::time::timeout(PATIENCE, left).await.expect("it is told").unwrap();
}

/// Takes requests, and says when there are no more.
struct Deaf(Arc<tokio::sync::Notify>);

#[tonic::async_trait]
impl Timestamp for Deaf {
    type AllocateStream = BoxStream<'static, Result<AllocateResponse, Status>>;

    async fn allocate(&self, request: Request<tonic::Streaming<AllocateRequest>>) -> Answer<Self::AllocateStream> {
        let (mut requests, over) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            while let Ok(Some(_)) = requests.message().await {}
            over.notify_one();
        });
        Ok(Response::new(futures::stream::pending().boxed()))
    }

    async fn clock(&self, _: Request<ClockRequest>) -> Answer<ClockResponse> {
        unused()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_nobody_holds_ends_though_nobody_answers_it() {
    let over = Arc::new(tokio::sync::Notify::new());
    let address = serve(Server::builder().add_service(TimestampServer::new(Deaf(over.clone())))).await;
    let timestamps = Timestamps::new(vec![address], None);
    assert_eq!(timestamps.allocate(1, Duration::from_millis(300)).await, Err(Error::TimedOut));
    drop(timestamps);
    tokio::time::timeout(STALL * 5, over.notified()).await.expect("its stream is closed");
}
