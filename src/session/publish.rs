//! The coordinator's own sessions, `<root>/meta/session/{rootcoord,mixcoord,...}`: how Milvus' processes find whom to
//! call. They name the leader, are kept alive by it, and pass to the next one; every node takes every call meanwhile.
//! Where another coordinator is registered under the root, nothing is written.

use std::io;
use std::sync::Arc;

use prost::Message;

use crate::etcd::lessor::Lessor;
use crate::failure::Failure;
use crate::gateway::VERSION;
use crate::leader::Reign;
use crate::limits;
use crate::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::{Compare, PutRequest, RequestOp, TxnRequest, TxnResponse};
use crate::pb::etcd::kv::KeyValue;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::keyspace::{self, KeyspaceCommand, KeyspaceReply};
use crate::state::worker::{SessionValue, counted, counter_key, folder};
use crate::state::{Command, Reply};

/// The parts that Milvus' processes look for; those of 2.6 for the last but one.
const COORDINATORS: [&str; 5] = ["rootcoord", "datacoord", "querycoord", "mixcoord", "streamingcoord"];

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} of another coordinator is registered under the same root: {1}")]
    Foreign(&'static str, String),
    #[error("the counter of server ids holds no number")]
    Counter,
    #[error("this node has no internal address")]
    NoAddress,
    #[error("another change came first")]
    Outrun,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Failed(error.into())
    }
}

/// See the module.
pub(super) struct Publisher {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    lessor: Arc<Lessor>,
    folder: String,
}

impl Publisher {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, lessor: Arc<Lessor>, root: &str) -> Self {
        Publisher { replica, proposer, lessor, folder: folder(root) }
    }

    /// Publishes, or keeps what is published: `lease` is under which, in this reign.
    pub async fn keep(&self, reign: Reign, lease: &mut Option<i64>) {
        let kept = match *lease {
            Some(lease) => self.stands(lease).await,
            None => Ok(false),
        };
        let outcome = match kept {
            Ok(true) => return,
            Ok(false) => self.publish(reign).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(granted) => {
                tracing::info!(term = reign.term, "the coordinator's sessions are published");
                *lease = Some(granted);
            }
            Err(error) => tracing::warn!(term = reign.term, %error, "the coordinator's sessions are not published"),
        }
    }

    /// Renews what is published. Whether it is all there.
    async fn stands(&self, lease: i64) -> Result<bool, Error> {
        if self.lessor.renew(lease).await?.is_none() {
            return Ok(false);
        }
        let view = self.replica.view()?;
        for role in COORDINATORS {
            if keyspace::get(view.as_ref(), &self.key(role))?.is_none_or(|row| row.lease != lease) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn key(&self, role: &str) -> Vec<u8> {
        format!("{}{role}", self.folder).into_bytes()
    }

    /// Writes all sessions in one transaction, which does nothing if any of them changed since they were looked at.
    async fn publish(&self, reign: Reign) -> Result<i64, Error> {
        let members = self.replica.members();
        let own = members.iter().find(|member| member.id == self.replica.node_id());
        let address = own.map(|own| own.internal.clone()).filter(|address| !address.is_empty());
        let address = address.ok_or(Error::NoAddress)?;
        let (mut compare, mut known_id) = (Vec::new(), None);
        let counter = counter_key(&self.folder);
        let next = {
            let view = self.replica.view()?;
            for role in COORDINATORS {
                let row = keyspace::get(view.as_ref(), &self.key(role))?;
                if let Some(row) = &row {
                    let said: SessionValue = serde_json::from_slice(&row.value).unwrap_or_default();
                    // What cannot be read names nobody, as a member without an address does.
                    if said.address.is_empty() || members.iter().all(|member| member.internal != said.address) {
                        return Err(Error::Foreign(role, said.address));
                    }
                    known_id = Some(said.server_id).filter(|id| *id > 0);
                }
                compare.push(unchanged(self.key(role), row.as_ref()));
            }
            let row = keyspace::get(view.as_ref(), &counter)?;
            compare.push(unchanged(counter.clone(), row.as_ref()));
            match row {
                Some(row) => counted(&row.value).ok_or(Error::Counter)?,
                None => 1,
            }
        };
        let lease = rand::random_range(1..=i64::MAX);
        let grant = KeyspaceCommand::GrantLease { id: lease, ttl_s: limits::PUBLISHED_TTL_S };
        self.propose(reign, grant).await?;
        let mut success = Vec::new();
        let server_id = known_id.unwrap_or(next);
        if known_id.is_none() {
            let value = next.saturating_add(1).to_string().into_bytes();
            success.push(put(PutRequest { key: counter, value, ..PutRequest::default() }));
        }
        for role in COORDINATORS {
            let value = self.value(role, server_id, lease, &address).encode();
            success.push(put(PutRequest { key: self.key(role), value, lease, ..PutRequest::default() }));
        }
        let txn = TxnRequest { compare, success, failure: Vec::new() };
        match self.propose(reign, KeyspaceCommand::Txn(txn.encode_to_vec())).await? {
            KeyspaceReply::Done(answer) if TxnResponse::decode(answer.as_slice()).is_ok_and(|done| done.succeeded) => {
                Ok(lease)
            }
            // The lease ends by itself.
            _ => Err(Error::Outrun),
        }
    }

    fn value(&self, role: &str, server_id: i64, lease_id: i64, address: &str) -> SessionValue {
        SessionValue {
            server_id,
            server_name: role.to_owned(),
            address: address.to_owned(),
            exclusive: true,
            trigger_kill: true,
            // Compared by Milvus as a version: ours behind Milvus' would make it an earlier one.
            version: VERSION.split('-').next().unwrap_or_default().to_owned(),
            lease_id,
            host_name: address.rsplit_once(':').map_or(address, |(host, _)| host).to_owned(),
            ..SessionValue::default()
        }
    }

    async fn propose(&self, reign: Reign, command: KeyspaceCommand) -> Result<KeyspaceReply, Error> {
        match self.proposer.propose_internal(reign.term, Command::Keyspace(command)).await? {
            Reply::Keyspace(KeyspaceReply::Refused(_)) => Err(Error::Outrun),
            Reply::Keyspace(reply) => Ok(reply),
            _ => Err(Error::Outrun),
        }
    }
}

fn put(request: PutRequest) -> RequestOp {
    RequestOp { request: Some(Op::RequestPut(request)) }
}

/// Whether a key is still at the revision of this row; `None`: whether it is not there.
fn unchanged(key: Vec<u8>, row: Option<&KeyValue>) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(row.map_or(0, |row| row.mod_revision))),
        ..Compare::default()
    }
}
