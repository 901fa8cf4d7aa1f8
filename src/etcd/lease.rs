//! The Lease service: grants and revocations are commands of the log, renewals and remaining times the leader's.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::BoxStream;
use roost_raft::kv::Read;
use tonic::{Request, Response, Status, Streaming};

use super::error::{self, LEASE_TTL_TOO_LARGE, refused};
use super::keyspace::{Keyspace, confused};
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
}

impl LeaseService {
    pub fn new(keyspace: Keyspace, relay: Arc<Relay>) -> Self {
        LeaseService { keyspace, relay }
    }

    /// Renews one lease; one that is not there is answered with a TTL of 0.
    async fn keep_alive(self, mut call: Call, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        // The stream lives as long as its client; each renewal has the time of a call.
        call.deadline = Instant::now() + limits::CALL_TIME_DEFAULT;
        let ttl = match self.relay.renew(&call, id).await.map_err(error::status)? {
            Renewal::Renewed { ttl_s } => ttl_s,
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
                let (revision, keys) = self.keyspace.read(&call, true, true, query).await?;
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
        let (revision, leases) = self.keyspace.read(&call, true, true, query).await?;
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
