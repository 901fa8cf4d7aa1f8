//! A new cluster from a backup: what the state machine's rows need beyond what the host does (`roost_raft::restore`).
//!
//! Timestamps need nothing: an oracle starts at the clock or at the stored bound, whichever is later.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use roost_raft::kv::Txn;
pub use roost_raft::restore::{Restored, in_use};
use roost_raft::types::{Member, NodeId};

use crate::pb::store::IdCounter;
use crate::state::View;
use crate::state::tables::ID_COUNTER;

/// Ids that are left out: more than any cluster gives out between its last backup and its loss.
const ID_MARGIN: i64 = 1 << 40;

/// One disk of the new cluster.
#[derive(Clone, Debug)]
pub struct Restore {
    pub file: PathBuf,
    /// Must not exist or be empty. Worthless until [`restore`] returned.
    pub data_dir: PathBuf,
    /// Whose disk it is; one of the members.
    pub node_id: NodeId,
    /// The first voters; the same for each of them.
    pub members: BTreeMap<NodeId, Member>,
}

/// Writes one disk of the new cluster.
pub fn restore(request: &Restore) -> io::Result<Restored> {
    let Restore { file, data_dir, node_id, members } = request;
    roost_raft::restore::restore(file, data_dir, *node_id, members, skip_ids)
}

/// The old cluster may have given out ids after the backup was taken; none of them may come again.
fn skip_ids(txn: &mut Txn<'_>) -> io::Result<()> {
    let next = View::new(txn).next_id()?.checked_add(ID_MARGIN);
    let next = next.ok_or_else(|| io::Error::other("the id space is used up"))?;
    ID_COUNTER.put(txn, &(), &IdCounter { next });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use roost_raft::Host;
    use roost_raft::apply::StateHash;
    use roost_raft::host::HostConfig;
    use roost_raft::kv::{KeyRange, MemTables, Read, Space};
    use roost_raft::snapshot::{SnapshotHeader, write_snapshot};
    use roost_raft::types::{CommittedLeaderId, LogId};

    use crate::state::Roost;

    /// A snapshot of an old cluster in term 7, whose next id is 500.
    fn backup(file: &std::path::Path) {
        let tables = MemTables::default();
        let mut txn = Txn::new(&tables);
        ID_COUNTER.put(&mut txn, &(), &IdCounter { next: 500 });
        let mut hash = StateHash::default();
        let add = &mut |key: &[u8], value: &[u8]| {
            hash.add(Space::STATE, key, value);
            Ok(std::ops::ControlFlow::Continue(()))
        };
        txn.scan(Space::STATE, KeyRange::ALL, false, add).unwrap();
        let last_log_id = Some(LogId::new(CommittedLeaderId::new(7), 100));
        let header = SnapshotHeader { cluster_id: None, node_id: 4, last_log_id, membership: Default::default(), hash };
        write_snapshot(&txn, &header, &mut std::fs::File::create(file).unwrap()).unwrap();
    }

    #[tokio::test]
    async fn a_restored_node_leads_and_gives_out_new_ids() {
        let home = tempfile::tempdir().unwrap();
        let (file, data_dir) = (home.path().join("backup"), home.path().join("node"));
        backup(&file);
        let members = BTreeMap::from([(1, Member { peer: "127.0.0.1:1".into(), ..Member::default() })]);
        let request = Restore { file, data_dir: data_dir.clone(), node_id: 1, members: members.clone() };
        let restored = restore(&request).unwrap();
        assert!(restored.index > 100 && !in_use(&data_dir).unwrap());
        // Twice: what the first start left on the disk must be as good as what the restore left.
        for start in 1..=2 {
            let config = HostConfig::new(1, data_dir.clone(), members.clone(), "secret");
            let host = Host::start(config, Roost).await.unwrap();
            let mut leadership = host.leadership();
            let leads = leadership.wait_for(|now| now.is_self);
            tokio::time::timeout(Duration::from_secs(20), leads).await.unwrap().unwrap();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
            let applied = host.read_barrier(deadline).await.unwrap();
            assert!(applied > restored.index, "start {start}: {applied}");
            let view = host.view().unwrap();
            assert_eq!(View::new(&view).next_id().unwrap(), 500 + ID_MARGIN);
            assert_eq!(host.status().unwrap().cluster_id, Some(restored.cluster_id));
            host.stop().await;
            drop((view, host));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
