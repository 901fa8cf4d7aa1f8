//! A new cluster from a backup: what the state machine's rows need beyond what the host does (`roost_raft::restore`).
//!
//! Timestamps need nothing: an oracle starts at the clock or at the stored bound, whichever is later. Ids are skipped.
//! Sessions go: a restored node takes a new boot number from its own clock, and if that clock is behind the old one's,
//! a session kept would tell it for ever that its requests are too old. No late copy of an old request can come:
//! forwarded calls name their cluster. The etcd key space goes on at a revision that the old cluster never reached, and
//! its history is given up, so that a watcher from before is told to read anew instead of missing something; so it is
//! with worker nodes, whose server ids are skipped too. Their sessions end: a node of the old cluster, which may well
//! run on, would else be given channels, and would fence out its own coordinator. Other leases stay. Physical channels
//! belong to nobody, and their next terms are beyond any that the old cluster gave out.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use roost_raft::kv::Txn;
pub use roost_raft::restore::{Restored, in_use};
use roost_raft::types::{Member, NodeId};

use crate::pb::store::{Clock, IdCounter};
use crate::state::tables::{CLOCK, ID_COUNTER, REPLIES, REPLY_PAGES, RETIRED, SESSIONS};
use crate::state::{View, keyspace, pchannel, worker};

/// Ids that are left out: more than any cluster gives out between its last backup and its loss.
const ID_MARGIN: i64 = 1 << 40;

/// Revisions of the key space that are left out, likewise.
const REVISION_MARGIN: i64 = 1_000_000_000;

/// Terms of pchannels, and revisions of who has them, that are left out, likewise.
const TERM_MARGIN: u32 = 1 << 20;

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
    roost_raft::restore::restore(file, data_dir, *node_id, members, rewrite)
}

fn rewrite(txn: &mut Txn<'_>) -> io::Result<()> {
    skip_ids(txn)?;
    worker::forget_all(txn)?;
    worker::skip_revisions(txn, REVISION_MARGIN.unsigned_abs())?;
    keyspace::skip_revisions(txn, REVISION_MARGIN)?;
    pchannel::skip_terms(txn, TERM_MARGIN)?;
    end_sessions(txn)
}

/// The old cluster may have given out ids after the backup was taken; none of them may come again.
fn skip_ids(txn: &mut Txn<'_>) -> io::Result<()> {
    let next = View::new(txn).next_id()?.checked_add(ID_MARGIN);
    let next = next.ok_or_else(|| io::Error::other("the id space is used up"))?;
    ID_COUNTER.put(txn, &(), &IdCounter { next });
    Ok(())
}

/// Deletes the sessions and what belongs to them, and the clock's account of their housekeeping.
fn end_sessions(txn: &mut Txn<'_>) -> io::Result<()> {
    SESSIONS.clear(txn)?;
    REPLIES.clear(txn)?;
    REPLY_PAGES.clear(txn)?;
    RETIRED.clear(txn)?;
    // Without that row no entry was ever applied, and the first one is yet to found the cluster.
    if let Some(clock) = CLOCK.get(txn, &())? {
        CLOCK.put(txn, &(), &Clock { now_ms: clock.now_ms, ..Clock::default() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use prost::Message;
    use roost_raft::Host;
    use roost_raft::apply::StateHash;
    use roost_raft::host::HostConfig;
    use roost_raft::kv::{KeyRange, MemTables, Read, Space};
    use roost_raft::machine::{ApplyContext, Machine};
    use roost_raft::snapshot::{Sealing, SnapshotHeader, write_snapshot};
    use roost_raft::types::{CommittedLeaderId, LogId};

    use crate::pb::etcd::api::{PutRequest, RangeRequest};
    use crate::pb::store::WorkerRole;
    use crate::state::keyspace::{KeyspaceCommand, KeyspaceError, QueryError};
    use crate::state::worker::RegisterWorker;
    use crate::state::{AllocId, Command, Entry, Reply, RequestId, Roost, WorkerCommand, WorkerReply};

    /// A snapshot of an old cluster in term 7, whose next id is 500, as `etcdctl snapshot save` leaves it.
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
        let mut file = std::fs::File::create(file).unwrap();
        let mut sealing = Sealing::new(&mut file);
        write_snapshot(&txn, &header, &mut sealing).unwrap();
        sealing.finish().unwrap();
    }

    /// One state of an old cluster: a node was started twice, in the future.
    fn with_sessions() -> MemTables {
        let mut tables = MemTables::default();
        for (index, (boot, sequence)) in [(9000, 0), (9000, 1), (9001, 0)].into_iter().enumerate() {
            apply(&mut tables, 1 + index as u64, boot, sequence);
        }
        tables
    }

    fn apply(tables: &mut MemTables, index: u64, boot: u64, sequence: u64) -> Reply {
        let request = Some(RequestId { node: 1, boot, sequence, acked_below: sequence });
        run(tables, index, request, Command::AllocId(AllocId { count: 1 }))
    }

    fn execute(tables: &mut MemTables, index: u64, command: Command) -> Reply {
        run(tables, index, None, command)
    }

    fn run(tables: &mut MemTables, index: u64, request: Option<RequestId>, command: Command) -> Reply {
        let entry = Entry { at_ms: 5000, request, principal: String::new(), source: String::new(), command };
        let context = ApplyContext { index, term: 1, leader: 1, apply_version: 1 };
        let mut txn = Txn::new(tables);
        let reply = Roost.apply(&context, &entry.encode().unwrap(), &mut txn, &mut Vec::new()).unwrap();
        let rows = txn.into_rows();
        tables.commit(rows);
        Reply::decode(&reply).unwrap()
    }

    #[test]
    fn a_restored_node_whose_clock_is_behind_may_write() {
        let rewritten = |mut tables: MemTables| {
            let mut txn = Txn::new(&tables);
            rewrite(&mut txn).unwrap();
            let rows = txn.into_rows();
            tables.commit(rows);
            tables
        };
        let mut tables = rewritten(with_sessions());
        assert!(SESSIONS.page(&tables, &(), None, 9).unwrap().is_empty());
        assert!(REPLIES.page(&tables, &(), None, 9).unwrap().is_empty());
        assert!(REPLY_PAGES.page(&tables, &(), None, 9).unwrap().is_empty());
        assert!(RETIRED.page(&tables, &(), None, 9).unwrap().is_empty());
        assert_eq!(CLOCK.get(&tables, &()).unwrap(), Some(Clock { now_ms: 5000, ..Clock::default() }));
        let reply = apply(&mut tables, 100, 8000, 0);
        assert!(matches!(reply, Reply::IdsAllocated { first, .. } if first > ID_MARGIN), "{reply:?}");
        assert_eq!(CLOCK.get(&rewritten(MemTables::default()), &()).unwrap(), None);
    }

    #[test]
    fn watchers_of_the_old_cluster_are_told_that_their_past_is_gone() {
        let mut tables = MemTables::default();
        let put = |index: u64, tables: &mut MemTables| {
            let put = PutRequest { key: b"k".to_vec(), value: vec![1], lease: 7, ..PutRequest::default() };
            execute(tables, index, Command::Keyspace(KeyspaceCommand::Put(put.encode_to_vec())))
        };
        execute(&mut tables, 1, Command::Keyspace(KeyspaceCommand::GrantLease { id: 7, ttl_s: 60 }));
        put(2, &mut tables);
        let mut txn = Txn::new(&tables);
        rewrite(&mut txn).unwrap();
        let rows = txn.into_rows();
        tables.commit(rows);
        let moved = 2 + REVISION_MARGIN;
        let now = keyspace::revisions(&tables).unwrap();
        assert_eq!((now.current, now.compacted), (moved, moved));
        // The old cluster may have gone on for a while after the backup.
        let seen = keyspace::changes(&tables, b"k", b"", 1000, false, 1 << 20, &mut |_, _| panic!("a change"));
        assert!(matches!(seen, Err(QueryError::Refused(KeyspaceError::Compacted))), "{seen:?}");
        assert_eq!(keyspace::lease_keys(&tables, 7, None, 9).unwrap(), [b"k"]);
        let read = keyspace::range(&tables, &RangeRequest { key: b"k".to_vec(), ..Default::default() }).unwrap();
        assert_eq!((read.kvs[0].mod_revision, read.header.unwrap().revision), (2, moved));
        execute(&mut tables, 3, Command::Keyspace(KeyspaceCommand::ReclaimHistory));
        put(4, &mut tables);
        assert_eq!(keyspace::revisions(&tables).unwrap().current, moved + 1);
        let mut seen = Vec::new();
        let next = keyspace::changes(&tables, b"k", b"", moved, true, 1 << 20, &mut |at, events| {
            seen.push((at, events.len(), events[0].prev_kv.is_some()));
        });
        assert_eq!((next.unwrap(), seen), (moved + 2, vec![(moved + 1, 1, true)]));
    }

    #[test]
    fn nodes_of_the_old_cluster_are_strangers() {
        let mut tables = MemTables::default();
        let command = |command| Command::Worker(command);
        execute(&mut tables, 1, command(WorkerCommand::Found { root: "by-dev".into() }));
        for (index, role) in [WorkerRole::StreamingNode, WorkerRole::QueryNode].into_iter().enumerate() {
            let register = RegisterWorker {
                request: vec![index as u8],
                role: role.into(),
                address: format!("127.0.0.1:{}", 1 + index),
                version: "2.6.9".into(),
                hostname: "h".into(),
                labels: BTreeMap::new(),
                capacity: None,
                ttl_s: 60,
            };
            let reply = execute(&mut tables, 2 + index as u64, command(WorkerCommand::Register(register)));
            assert!(matches!(reply, Reply::Worker(WorkerReply::Registered { .. })), "{reply:?}");
        }
        let workers = worker::all(&tables).unwrap();
        assert!(workers.len() == 2 && workers.iter().all(|worker| worker.lease != 0));
        let mut txn = Txn::new(&tables);
        rewrite(&mut txn).unwrap();
        let rows = txn.into_rows();
        tables.commit(rows);
        assert!(worker::all(&tables).unwrap().is_empty());
        let sessions = RangeRequest {
            key: b"by-dev/meta/session/q".to_vec(),
            range_end: b"by-dev/meta/session/z".to_vec(),
            ..Default::default()
        };
        assert_eq!(keyspace::range(&tables, &sessions).unwrap().kvs, []);
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
