//! Which tasks stand in each other's way. Every pending task has a row for each resource that it needs; the rows of a
//! resource sort by whether they are exclusive, then by id, so the first row of either kind tells whose turn it is.

use std::collections::BTreeMap;
use std::io;

use roost_raft::kv::{Read, Txn};
use serde::{Deserialize, Serialize};

use crate::pb::messages::ResourceDomain;
use crate::pb::store;
use crate::state::table::{FixedKey, Key};
use crate::state::tables::BROADCAST_LOCKS;

/// A resource that a task needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceKey {
    /// Milvus' number, a `messages.ResourceDomain`.
    pub domain: u8,
    pub key: String,
    /// Tasks that share it do not wait for each other.
    pub shared: bool,
}

impl ResourceKey {
    pub fn new(domain: ResourceDomain, key: impl Into<String>, shared: bool) -> Self {
        // Milvus' numbers end at 127.
        ResourceKey { domain: u8::try_from(i32::from(domain)).unwrap_or(u8::MAX), key: key.into(), shared }
    }

    pub fn cluster(shared: bool) -> Self {
        Self::new(ResourceDomain::Cluster, "", shared)
    }

    pub fn database(name: &str, shared: bool) -> Self {
        Self::new(ResourceDomain::DbName, name, shared)
    }

    /// All of users, roles, grants and privilege groups.
    pub fn access() -> Self {
        Self::new(ResourceDomain::Privilege, "", false)
    }

    pub fn collection(database: &str, name: &str) -> Self {
        Self::new(ResourceDomain::CollectionName, format!("{database}:{name}"), false)
    }
}

/// A resource, as the key of its locks begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockName {
    pub domain: u8,
    pub key: String,
}

impl From<&store::ResourceKey> for LockName {
    fn from(key: &store::ResourceKey) -> Self {
        LockName { domain: u8::try_from(key.domain).unwrap_or(u8::MAX), key: key.key.clone() }
    }
}

/// The domain, the key's length in two bytes, the key.
impl Key for LockName {
    fn write(&self, out: &mut Vec<u8>) {
        self.domain.write(out);
        // Submissions bound it.
        u16::try_from(self.key.len()).unwrap_or(u16::MAX).write(out);
        out.extend_from_slice(self.key.as_bytes());
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let domain = u8::read(bytes)?;
        let length = u16::read(bytes)?;
        let (key, rest) = bytes.split_at_checked(length.into())?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        *bytes = rest;
        Some(LockName { domain, key })
    }
}
impl FixedKey for LockName {}

/// How a resource is held, as it stands in the key of a lock.
const EXCLUSIVE: u8 = 0;
const SHARED: u8 = 1;

fn mode(shared: bool) -> u8 {
    if shared { SHARED } else { EXCLUSIVE }
}

/// Each resource once, exclusive where it is named in both ways. Whatever does not need the cluster for itself shares
/// it, as in Milvus.
pub(super) fn normal(keys: &[ResourceKey]) -> Vec<store::ResourceKey> {
    let cluster = ResourceKey::cluster(true);
    let mut found = BTreeMap::from([((cluster.domain, ""), true)]);
    for key in keys {
        // There is one cluster, whatever it is called.
        let name = if key.domain == cluster.domain { "" } else { key.key.as_str() };
        found.entry((key.domain, name)).and_modify(|shared| *shared &= key.shared).or_insert(key.shared);
    }
    let row = |((domain, key), shared): ((u8, &str), bool)| store::ResourceKey {
        domain: domain.into(),
        key: key.to_owned(),
        shared,
    };
    found.into_iter().map(row).collect()
}

pub(super) fn take(txn: &mut Txn<'_>, row: &store::BroadcastTask) {
    for key in &row.keys {
        BROADCAST_LOCKS.put(txn, &(LockName::from(key), mode(key.shared), row.id), &store::Present {});
    }
}

pub(super) fn release(txn: &mut Txn<'_>, row: &store::BroadcastTask) {
    for key in &row.keys {
        BROADCAST_LOCKS.delete(txn, &(LockName::from(key), mode(key.shared), row.id));
    }
}

/// An earlier task that conflicts with this pending one and is not finished.
pub(super) fn ahead_of(read: &dyn Read, row: &store::BroadcastTask) -> io::Result<Option<i64>> {
    for key in &row.keys {
        let modes: &[u8] = if key.shared { &[EXCLUSIVE] } else { &[EXCLUSIVE, SHARED] };
        for mode in modes {
            let first = BROADCAST_LOCKS.page(read, &(LockName::from(key), *mode), None, 1)?;
            if let Some(((_, _, id), _)) = first.first()
                && *id < row.id
            {
                return Ok(Some(*id));
            }
        }
    }
    Ok(None)
}
