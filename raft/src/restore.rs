//! A new cluster's first disk from a snapshot file, offline.
//!
//! Every node of the new cluster restores the same file with the same members and gets the same state, so the result
//! holds nothing of this run or machine but the disk's incarnation. The cluster id is new: nodes of the old cluster,
//! which may still run, are strangers to it. Log indexes (the events' revisions) move on, so that nobody takes a new
//! revision for one that the old cluster handed out after the backup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use openraft::Membership;
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::apply::Position;
use crate::codec::corrupt;
use crate::kv::{Batch, Txn};
use crate::log::mark_purged;
use crate::snapshot::{self, SnapshotData, SnapshotFile};
use crate::storage::engine::Engine;
use crate::storage::marker::{ClusterId, Marker};
use crate::storage::rocks::{RocksBudget, RocksEngine};
use crate::storage::wal::create_mark;
use crate::system;
use crate::types::{CommittedLeaderId, LogId, Member, NodeId, StoredMembership};

/// How far log indexes move on: more than any cluster writes between its last backup and its loss.
const INDEX_MARGIN: u64 = 1_000_000_000;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    pub cluster_id: ClusterId,
    /// Where the new cluster's log begins.
    pub index: u64,
}

/// Makes `data_dir` (new or empty) a disk of `node_id` in a new cluster of `members` with the snapshot's state, after
/// `rewrite` has changed what must not be taken over as it is.
pub fn restore(
    file: &Path,
    data_dir: &Path,
    node_id: NodeId,
    members: &BTreeMap<NodeId, Member>,
    rewrite: impl Fn(&mut Txn<'_>) -> io::Result<()>,
) -> io::Result<Restored> {
    if !members.contains_key(&node_id) {
        return Err(corrupt(format!("node {node_id} is not one of the members")));
    }
    std::fs::create_dir_all(data_dir)?;
    if std::fs::read_dir(data_dir)?.next().is_some() {
        return Err(corrupt(format!("{} is not empty", data_dir.display())));
    }
    let verified = SnapshotFile::verify(file)?;
    let engine = RocksEngine::open(&data_dir.join("db"), RocksBudget::default())?;
    let snapshots = data_dir.join("snapshots");
    std::fs::create_dir_all(&snapshots)?;
    let copy = snapshots.join("restoring.snapshot");
    io::copy(&mut snapshot::content(file)?, &mut File::create_new(&copy)?)?;
    let staged = snapshot::stage(SnapshotData::File(SnapshotFile { path: copy, ..verified }), &snapshots)?;
    snapshot::install(&engine, &staged)?;
    let cluster_id = new_cluster_id(&staged, members);
    let index = found_cluster(&engine, members, rewrite)?;
    let mut marker = Marker::open(&engine, node_id).map_err(io::Error::other)?;
    marker.join(&engine, cluster_id).map_err(io::Error::other)?;
    engine.sync()?;
    create_mark(&data_dir.join("synced.mark"))?;
    File::open(data_dir)?.sync_all()?;
    Ok(Restored { cluster_id, index })
}

/// Equal on every node that restores the same backup to the same members.
fn new_cluster_id(file: &SnapshotFile, members: &BTreeMap<NodeId, Member>) -> ClusterId {
    let mut hasher = blake3::Hasher::new_derive_key("roost 2026 restored cluster id v1");
    hasher.update(file.header.hash.to_string().as_bytes());
    hasher.update(format!("{:?} {:?}", file.header.cluster_id, file.header.last_log_id).as_bytes());
    for (id, member) in members {
        hasher.update(&id.to_be_bytes());
        hasher.update(member.peer.as_bytes());
    }
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    ClusterId(u128::from_be_bytes(id))
}

/// Puts the state at the beginning of a new cluster's log.
fn found_cluster(
    engine: &dyn Engine,
    members: &BTreeMap<NodeId, Member>,
    rewrite: impl Fn(&mut Txn<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut position = Position::read(engine)?;
    let last = position.applied.map_or(0, |id| id.index());
    // Term 0, as the first entry of any cluster has: the new disks have no vote, so the first election is in term 1,
    // and an old, higher term here would make every later log id smaller than this one.
    let log_id = LogId::new(CommittedLeaderId::new(0), last + INDEX_MARGIN);
    let voters: BTreeSet<NodeId> = members.keys().copied().collect();
    let membership = Membership::new(vec![voters], members.clone()).map_err(io::Error::other)?;
    position.applied = Some(log_id);
    position.membership = StoredMembership::new(Some(log_id), membership);
    let mut txn = Txn::new(engine);
    system::forget_nodes(&mut txn)?;
    rewrite(&mut txn)?;
    let mut batch = Batch::default();
    for ((space, key), value) in txn.into_rows() {
        if let Some(old) = engine.get(space, &key)? {
            position.hash.remove(space, &key, &old);
        }
        if let Some(value) = &value {
            position.hash.add(space, &key, value);
        }
        batch.ops.push((space, key, value));
    }
    position.put(&mut batch)?;
    mark_purged(&mut batch, log_id)?;
    engine.write(batch)?;
    Ok(log_id.index())
}

/// Whether a running node has this data directory open.
pub fn in_use(data_dir: &Path) -> io::Result<bool> {
    let lock = match OpenOptions::new().read(true).write(true).open(data_dir.join("db").join("LOCK")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // RocksDB holds this lock while it is open; asking for it here gives it back at once when the file is closed.
    match fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::ACCESS | Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
