//! How a proxy registers: the key `<root>/meta/session/proxy-<id>`, JSON with its address, attached to a lease that it
//! keeps alive. When the lease ends the key goes, and with it the proxy.

use std::io;

use roost_raft::kv::Read;

use crate::limits;
use crate::pb::etcd::api::RangeRequest;
use crate::pb::etcd::kv::KeyValue;
use crate::replica::Peer;
use crate::state::keyspace::{self, QueryError};
use crate::state::worker::{SessionValue, folder};

/// A proxy that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Milvus' ServerID.
    pub id: i64,
    /// `host:port` of its internal listener.
    pub address: String,
    pub version: String,
    /// The revision at which it registered: two that registered under one id one after the other are two.
    pub registered: i64,
}

/// Where sessions are.
#[derive(Clone, Debug)]
pub struct Place {
    /// With its `/` at the end.
    folder: String,
}

impl Place {
    /// `root` is Milvus' etcd.rootPath.
    pub fn under(root: &str) -> Self {
        Place { folder: folder(root) }
    }

    fn proxies(&self) -> Vec<u8> {
        format!("{}proxy-", self.folder).into_bytes()
    }

    /// Whether a change of this key may be one of [`Place::sessions`].
    pub fn concerns(&self, key: &[u8]) -> bool {
        key.starts_with(self.folder.as_bytes())
    }

    /// Whether another coordinator than one of `members` is registered. Then the others that are registered are its
    /// own: a stock Milvus may use this cluster as its etcd.
    pub fn has_another_coordinator(&self, read: &dyn Read, members: &[Peer]) -> io::Result<bool> {
        for coordinator in ["rootcoord", "mixcoord"] {
            let key = format!("{}{coordinator}", self.folder).into_bytes();
            let rows = range(read, RangeRequest { key, limit: 1, ..RangeRequest::default() })?;
            let foreign = |session: &Session| members.iter().all(|member| member.internal != session.address);
            if rows.iter().filter_map(parse).any(|session| foreign(&session)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The proxies that are registered, in the order of their keys; none of another coordinator's.
    pub fn sessions(&self, read: &dyn Read, members: &[Peer]) -> io::Result<Vec<Session>> {
        if self.has_another_coordinator(read, members)? {
            return Ok(Vec::new());
        }
        let (key, mut range_end) = (self.proxies(), self.proxies());
        // The last byte is `-`.
        if let Some(last) = range_end.last_mut() {
            *last += 1;
        }
        let limit = i64::try_from(limits::PROXIES_MAX).unwrap_or(i64::MAX);
        let rows = range(read, RangeRequest { key, range_end, limit, ..RangeRequest::default() })?;
        if rows.len() == limits::PROXIES_MAX {
            tracing::warn!(most = limits::PROXIES_MAX, "more proxies are registered than are told anything");
        }
        Ok(rows.iter().filter_map(parse).collect())
    }
}

fn range(read: &dyn Read, request: RangeRequest) -> io::Result<Vec<KeyValue>> {
    match keyspace::range(read, &request) {
        Ok(found) => Ok(found.kvs),
        Err(QueryError::Storage(error)) => Err(error),
        Err(QueryError::Refused(error)) => Err(io::Error::other(error.to_string())),
    }
}

/// `None` for what is no session.
fn parse(row: &KeyValue) -> Option<Session> {
    let key = String::from_utf8_lossy(&row.key);
    if row.lease == 0 {
        tracing::debug!(%key, "a session without a lease is none");
        return None;
    }
    match serde_json::from_slice(&row.value) {
        Ok(SessionValue { address, .. }) if address.is_empty() => {
            tracing::warn!(%key, "a session without an address");
            None
        }
        Ok(SessionValue { server_id: id, address, version, .. }) => {
            Some(Session { id, address, version, registered: row.create_revision })
        }
        Err(error) => {
            tracing::warn!(%key, %error, "a session that cannot be read");
            None
        }
    }
}
