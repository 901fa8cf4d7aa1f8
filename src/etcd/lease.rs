//! The Lease service: grants and revocations are commands of the log, renewals and remaining times the leader's.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::BoxStream;
use prometheus_client::metrics::counter::Counter;
use roost_raft::kv::Read;
use tonic::{Request, Response, Status, Streaming};

use super::error::{self, LEASE_TTL_TOO_LARGE, refused};
use super::keyspace::{Keyspace, Reach, confused};
use super::lessor::all_leases;
use crate::call::Call;
use crate::limits;
use crate::pb::etcd::api::lease_server::Lease as LeaseApi;
use crate::pb::etcd::api::*;
use crate::relay::{Relay, Renewal};
use crate::state::keyspace::{self, KeyspaceCommand, KeyspaceError, KeyspaceReply, QueryError};

/// What etcd 3.4 raises shorter ones to: half as long again as its shortest election.
const TTL_LEAST_S: i64 = 2;
/// etcd's own bound, some 285 years.
const TTL_MOST_S: i64 = 9_000_000_000;
/// TimeToLive of a lease that is not there.
const NO_TTL: i64 = -1;

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct LeaseService {
    keyspace: Keyspace,
    relay: Arc<Relay>,
    renewed: Counter,
}

impl LeaseService {
    pub fn new(keyspace: Keyspace, relay: Arc<Relay>) -> Self {
        LeaseService { keyspace, relay, renewed: Counter::default() }
    }

    /// Counts renewals.
    pub fn renewed(&self) -> &Counter {
        &self.renewed
    }

    /// Renews one lease; one that is not there is answered with a TTL of 0.
    async fn keep_alive(self, mut call: Call, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        // The stream lives as long as its client; each renewal has the time of a call.
        call.deadline = Instant::now() + limits::CALL_TIME_DEFAULT;
        let ttl = match self.relay.renew(&call, id).await.map_err(error::status)? {
            Renewal::Renewed { ttl_s } => {
                self.renewed.inc();
                ttl_s
            }
            Renewal::NotFound => 0,
        };
        Ok(LeaseKeepAliveResponse { header: Some(self.keyspace.header()?), id, ttl })
    }
}

#[tonic::async_trait]
impl LeaseApi for LeaseService {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Answer<LeaseGrantResponse> {
        let call = Call::of(&request)?;
        let LeaseGrantRequest { ttl, id: asked } = request.into_inner();
        if ttl > TTL_MOST_S {
            return Err(LEASE_TTL_TOO_LARGE.status());
        }
        let ttl = ttl.max(TTL_LEAST_S);
        loop {
            let id = if asked == 0 { random_id() } else { asked };
            match self.keyspace.decide(&call, KeyspaceCommand::GrantLease { id, ttl_s: ttl }).await? {
                KeyspaceReply::LeaseGranted { revision } => {
                    let header = Some(self.keyspace.headers().stamp(revision));
                    return Ok(Response::new(LeaseGrantResponse { header, id, ttl, error: String::new() }));
                }
                KeyspaceReply::Refused(KeyspaceError::LeaseExists) if asked == 0 => {}
                KeyspaceReply::Refused(error) => return Err(refused(error)),
                _ => return Err(confused()),
            }
        }
    }

    async fn lease_revoke(&self, request: Request<LeaseRevokeRequest>) -> Answer<LeaseRevokeResponse> {
        let call = Call::of(&request)?;
        let id = request.into_inner().id;
        match self.keyspace.submit(&call, KeyspaceCommand::RevokeLease { id }).await? {
            KeyspaceReply::LeaseRevoked { revision } => {
                let header = Some(self.keyspace.headers().stamp(revision));
                Ok(Response::new(LeaseRevokeResponse { header }))
            }
            _ => Err(confused()),
        }
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<LeaseKeepAliveResponse, Status>>;

    /// Renews leases as they are named, several at once: answers bear the lease's id, and come as they are known.
    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let call = Call::of(&request)?;
        let service = self.clone();
        let renewals = request.into_inner().map(move |asked| {
            let (service, call) = (service.clone(), call.clone());
            async move { service.keep_alive(call, asked?.id).await }
        });
        Ok(Response::new(renewals.buffer_unordered(limits::LEASE_RENEWALS_PER_STREAM).boxed()))
    }

    async fn lease_time_to_live(&self, request: Request<LeaseTimeToLiveRequest>) -> Answer<LeaseTimeToLiveResponse> {
        let call = Call::of(&request)?;
        let LeaseTimeToLiveRequest { id, keys: with_keys } = request.into_inner();
        let Some(time) = self.relay.time_to_live(&call, id).await.map_err(error::status)? else {
            let header = Some(self.keyspace.header()?);
            return Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl: NO_TTL, ..Default::default() }));
        };
        let (header, keys) = match with_keys {
            false => (self.keyspace.header()?, Vec::new()),
            true => {
                let query = move |read: &dyn Read| Ok((keyspace::revisions(read)?.current, all_keys(read, id)?));
                let (revision, keys) = self.keyspace.read(&call, true, Reach::Many, query).await?;
                (self.keyspace.headers().stamp(revision), keys)
            }
        };
        Ok(Response::new(LeaseTimeToLiveResponse {
            header: Some(header),
            id,
            ttl: time.remaining_s,
            granted_ttl: time.granted_s,
            keys,
        }))
    }

    async fn lease_leases(&self, request: Request<LeaseLeasesRequest>) -> Answer<LeaseLeasesResponse> {
        let call = Call::of(&request)?;
        let query = |read: &dyn Read| {
            let leases = all_leases(read)?.into_iter().map(|lease| LeaseStatus { id: lease.id }).collect();
            Ok((keyspace::revisions(read)?.current, leases))
        };
        let (revision, leases) = self.keyspace.read(&call, true, Reach::Many, query).await?;
        let header = Some(self.keyspace.headers().stamp(revision));
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

/// Positive, as etcd's own are.
fn random_id() -> i64 {
    rand::random_range(1..=i64::MAX)
}

/// Every key of a lease, as long as they fit a reply.
fn all_keys(read: &dyn Read, id: i64) -> Result<Vec<Vec<u8>>, QueryError> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    loop {
        let page = keyspace::lease_keys(read, id, all.last().map(Vec::as_slice), limits::LEASE_PAGE)?;
        let last = page.len() < limits::LEASE_PAGE;
        bytes += page.iter().map(Vec::len).sum::<usize>();
        if bytes > limits::REPLY_BYTES_MAX {
            return Err(KeyspaceError::TooManyKeys.into());
        }
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tonic::Code;
    use tonic::service::interceptor::InterceptedService;
    use tonic::transport::{Channel, Server};

    use super::*;
    use crate::pb::etcd::api::lease_client::LeaseClient;
    use crate::pb::etcd::api::lease_server::LeaseServer;
    use crate::testing::{self, call};

    /// The service of a node that leads, behind a real socket.
    async fn served() -> (LeaseClient<Channel>, Keyspace) {
        let (keyspace, relay) = testing::keyspace();
        let service = LeaseServer::new(LeaseService::new(keyspace.clone(), relay));
        let stamped = InterceptedService::new(service, |mut request: Request<()>| {
            request.extensions_mut().insert(call());
            Ok(request)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().add_service(stamped).serve_with_incoming(incoming));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        (LeaseClient::new(channel), keyspace)
    }

    fn refusal<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> (Code, String) {
        let status = answer.unwrap_err();
        (status.code(), status.message().to_owned())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leases_are_granted_shown_and_revoked_as_etcd_does() {
        let (mut client, keyspace) = served().await;
        let granted = client.lease_grant(LeaseGrantRequest { ttl: -5, id: 0 }).await.unwrap().into_inner();
        assert!(granted.id > 0 && granted.ttl == 2 && granted.header.unwrap().revision == 1);
        let asked = client.lease_grant(LeaseGrantRequest { ttl: 100, id: 7 }).await.unwrap().into_inner();
        assert_eq!((asked.id, asked.ttl, asked.error.as_str()), (7, 100, ""));
        let again = client.lease_grant(LeaseGrantRequest { ttl: 100, id: 7 }).await;
        assert_eq!(refusal(again), (Code::FailedPrecondition, "etcdserver: lease already exists".into()));
        let eternal = client.lease_grant(LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await;
        assert_eq!(refusal(eternal), (Code::OutOfRange, "etcdserver: too large lease TTL".into()));
        client.lease_grant(LeaseGrantRequest { ttl: 9_000_000_000, id: 8 }).await.unwrap();

        for key in ["b", "a"] {
            let put = PutRequest { key: key.into(), lease: 7, ..PutRequest::default() };
            keyspace.put(&call(), put).await.unwrap();
        }
        let shown = client.lease_time_to_live(LeaseTimeToLiveRequest { id: 7, keys: true }).await.unwrap().into_inner();
        assert!((98..=100).contains(&shown.ttl) && shown.granted_ttl == 100);
        assert_eq!((shown.keys, shown.header.unwrap().revision), (vec![b"a".to_vec(), b"b".to_vec()], 3));
        let shown = client.lease_time_to_live(LeaseTimeToLiveRequest { id: 7, keys: false }).await.unwrap();
        assert_eq!(shown.into_inner().keys, Vec::<Vec<u8>>::new());
        let all = client.lease_leases(LeaseLeasesRequest {}).await.unwrap().into_inner().leases;
        let ids: Vec<i64> = all.into_iter().map(|lease| lease.id).collect();
        assert_eq!(ids, [7, 8, granted.id]);

        let revoked = client.lease_revoke(LeaseRevokeRequest { id: 7 }).await.unwrap().into_inner();
        assert_eq!(revoked.header.unwrap().revision, 4, "its keys went in one revision");
        let again = client.lease_revoke(LeaseRevokeRequest { id: 7 }).await;
        assert_eq!(refusal(again), (Code::NotFound, "etcdserver: requested lease not found".into()));
        let gone = client.lease_time_to_live(LeaseTimeToLiveRequest { id: 7, keys: true }).await.unwrap().into_inner();
        assert_eq!((gone.id, gone.ttl, gone.granted_ttl, gone.keys.len()), (7, -1, 0, 0));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_stream_keeps_many_leases_alive() {
        let (mut client, _) = served().await;
        let count = i64::try_from(limits::LEASE_RENEWALS_PER_STREAM).unwrap() * 2;
        for id in 1..=count {
            client.lease_grant(LeaseGrantRequest { ttl: 100 + id, id }).await.unwrap();
        }
        let asked = futures::stream::iter((1..=count + 1).map(|id| LeaseKeepAliveRequest { id }));
        let mut answers = client.lease_keep_alive(asked).await.unwrap().into_inner();
        let mut ttls = BTreeMap::new();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.header.unwrap().revision, 1);
            ttls.insert(answer.id, answer.ttl);
        }
        let mut expected: BTreeMap<i64, i64> = (1..=count).map(|id| (id, 100 + id)).collect();
        expected.insert(count + 1, 0);
        assert_eq!(ttls, expected, "one that is not there has a TTL of 0");
    }
}
