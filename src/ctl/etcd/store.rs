//! One end of a copy: an etcd, or Roost's etcd API. Its endpoints are tried in turn; every call may be repeated,
//! because all that a copy asks for is idempotent.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::super::connect::Endpoint;
use super::super::exit::{self, Failure};
use crate::limits;
use crate::pb::etcd::api::auth_client::AuthClient;
use crate::pb::etcd::api::kv_client::KvClient;
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::{
    AuthenticateRequest, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};

/// Who we are there.
#[derive(Clone)]
pub struct Credentials {
    pub name: String,
    pub password: String,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum Denied {
    /// The revision that was asked for is no longer there.
    Compacted,
    /// The answer is larger than what is read: ask for less.
    TooLarge,
    Failed(Failure),
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Compacted => Failure::Failed("the revision was compacted meanwhile".to_owned()),
            Denied::TooLarge => Failure::Failed("one key and its value are too large to be copied".to_owned()),
            Denied::Failed(failure) => failure,
        }
    }
}

pub struct Store {
    /// For messages: etcd or Roost.
    pub kind: &'static str,
    /// The options that say who we are.
    hint: &'static str,
    endpoints: Vec<Endpoint>,
    credentials: Option<Credentials>,
    timeout: Duration,
    tried: usize,
    session: Option<Session>,
}

#[derive(Clone)]
struct Session {
    client: KvClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

impl Store {
    pub fn new(
        kind: &'static str,
        hint: &'static str,
        endpoints: Vec<Endpoint>,
        credentials: Option<Credentials>,
        timeout: Duration,
    ) -> Self {
        Store { kind, hint, endpoints, credentials, timeout, tried: 0, session: None }
    }

    /// Kind and addresses, for people.
    pub fn describe(&self) -> String {
        let addresses: Vec<String> = self.endpoints.iter().map(ToString::to_string).collect();
        format!("{} at {}", self.kind, addresses.join(", "))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoints[self.tried % self.endpoints.len()].clone()
    }

    pub async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, Denied> {
        self.call(request, |mut client, request| async move { client.range(request).await }).await
    }

    pub async fn put_all(&mut self, mut puts: Vec<PutRequest>) -> Result<(), Denied> {
        // The largest value fits a put, and not a transaction around it.
        if puts.len() == 1
            && let Some(put) = puts.pop()
        {
            return self.call(put, |mut client, request| async move { client.put(request).await }).await.map(drop);
        }
        let success = puts.into_iter().map(|put| RequestOp { request: Some(Op::RequestPut(put)) }).collect();
        let txn = TxnRequest { success, ..TxnRequest::default() };
        self.call(txn, |mut client, request| async move { client.txn(request).await }).await.map(drop)
    }

    pub async fn delete(&mut self, key: Vec<u8>, range_end: Vec<u8>) -> Result<(), Denied> {
        let request = DeleteRangeRequest { key, range_end, prev_kv: false };
        self.call(request, |mut client, request| async move { client.delete_range(request).await }).await.map(drop)
    }

    /// Tries the endpoints in turn until one answers, for as long as `--timeout` says.
    async fn call<Q, A, F>(&mut self, message: Q, rpc: impl Fn(KvClient<Channel>, Request<Q>) -> F) -> Result<A, Denied>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut renewed = false;
        loop {
            let status = match self.session(deadline).await {
                Ok(Session { client, token }) => {
                    let mut request = Request::new(message.clone());
                    if let Some(token) = token {
                        request.metadata_mut().insert("token", token);
                    }
                    match timeout_at(deadline, rpc(client, request)).await {
                        Ok(Ok(answer)) => return Ok(answer.into_inner()),
                        Ok(Err(status)) => status,
                        Err(_) => Status::unavailable("no answer in time"),
                    }
                }
                Err(status) => status,
            };
            // A token may run out in the middle.
            let expired = status.code() == Code::Unauthenticated && self.credentials.is_some() && !renewed;
            renewed |= expired;
            if !expired && (!exit::is_passing(&status) || Instant::now() + limits::CTL_RETRY_PAUSE >= deadline) {
                return Err(self.denied(&status));
            }
            self.session = None;
            self.tried += usize::from(!expired);
            sleep(limits::CTL_RETRY_PAUSE).await;
        }
    }

    async fn session(&mut self, deadline: Instant) -> Result<Session, Status> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let unreachable = |why: String| Status::unavailable(why);
        let until = deadline.min(Instant::now() + limits::CTL_PROBE_TIMEOUT);
        let endpoint = Channel::from_shared(format!("http://{}", self.endpoint()))
            .map_err(|error| unreachable(error.to_string()))?
            .connect_timeout(limits::CTL_PROBE_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits::CTL_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(limits::CTL_KEEP_ALIVE_TIMEOUT);
        let opened = timeout_at(until, async {
            let channel = endpoint.connect().await.map_err(|error| unreachable(exit::cause(&error)))?;
            let token = match &self.credentials {
                Some(credentials) => token(channel.clone(), credentials).await?,
                None => None,
            };
            let client = KvClient::new(channel).max_decoding_message_size(limits::CTL_COPY_REPLY_BYTES_MAX);
            Ok(Session { client, token })
        });
        let session = opened.await.unwrap_or_else(|_| Err(unreachable("no answer in time".to_owned())))?;
        Ok(self.session.insert(session).clone())
    }

    fn denied(&self, status: &Status) -> Denied {
        let (text, node) = (exit::one_line(status.message()), self.endpoint());
        if text.contains("required revision has been compacted") {
            return Denied::Compacted;
        }
        Denied::Failed(match status.code() {
            // tonic's code for a message beyond `max_decoding_message_size`.
            Code::OutOfRange if text.contains("too large") => return Denied::TooLarge,
            // A server's own bound: Roost's on an answer, etcd's on a request.
            Code::InvalidArgument if text == "etcdserver: request is too large" => return Denied::TooLarge,
            Code::Unauthenticated | Code::PermissionDenied => {
                Failure::Failed(format!("{} at {node}: {text} (say who you are by {})", self.kind, self.hint))
            }
            _ if exit::is_passing(status) => Failure::Unreachable(format!("{}: {text}", self.describe())),
            Code::Unimplemented => Failure::Failed(format!(
                "{} at {node}: no etcd API here (Roost serves it at its client addresses if etcd.enabled is set)",
                self.kind
            )),
            _ => Failure::Failed(format!("{} at {node}: {text}", self.kind)),
        })
    }
}

/// A token for the calls; none where nobody asks for one.
async fn token(channel: Channel, credentials: &Credentials) -> Result<Option<MetadataValue<Ascii>>, Status> {
    let Credentials { name, password } = credentials.clone();
    match AuthClient::new(channel).authenticate(AuthenticateRequest { name, password }).await {
        Ok(answer) => {
            let token = answer.into_inner().token.parse();
            token.map(Some).map_err(|_| Status::internal("the token is not text"))
        }
        Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
        Err(status) => Err(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(endpoints: &[&str]) -> Store {
        let endpoints = endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect();
        Store::new("etcd", "--user and --password", endpoints, None, Duration::from_millis(300))
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_named_within_the_timeout() {
        let started = Instant::now();
        let denied = store(&["127.0.0.1:1", "127.0.0.1:2"]).range(RangeRequest::default()).await.unwrap_err();
        let failure = Failure::from(denied);
        assert_eq!(failure.exit_code(), 3, "{failure}");
        assert!(failure.to_string().contains("etcd at 127.0.0.1:1, 127.0.0.1:2"), "{failure}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let denied = |status: Status| store(&["h:1"]).denied(&status);
        assert!(matches!(
            denied(Status::out_of_range("etcdserver: mvcc: required revision has been compacted")),
            Denied::Compacted
        ));
        let large =
            Status::out_of_range("Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes");
        assert!(matches!(denied(large), Denied::TooLarge));
        assert!(matches!(denied(Status::invalid_argument("etcdserver: request is too large")), Denied::TooLarge));
        let unknown = Failure::from(denied(Status::unauthenticated("etcdserver: invalid auth token")));
        assert!(unknown.to_string().contains("--user"), "{unknown}");
    }
}
