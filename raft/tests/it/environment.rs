//! A host in surroundings of the test's choice: an engine in memory, and time that passes when nobody has work to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use roost_raft::Host;
use roost_raft::error::ReadError;
use roost_raft::host::{Environment, HostConfig};
use roost_raft::kv::{Read, Space};
use roost_raft::network::dial_tcp;
use roost_raft::storage::mem::MemEngine;
use roost_raft::storage::wal::Syncing;
use roost_raft::types::Member;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::cluster::harness::proposal;
use crate::support::{Op, TestMachine};

/// Of real time: what stands still is found.
const PATIENCE: Duration = Duration::from_secs(30);

/// An engine, and the files beside it.
#[derive(Clone)]
struct Disk {
    engine: MemEngine,
    dir: Arc<TempDir>,
}

impl Disk {
    fn new() -> Self {
        Disk { engine: MemEngine::default(), dir: Arc::new(tempfile::tempdir().unwrap()) }
    }
}

/// Runs a node that is a cluster of its own until `with` is done.
fn alone<T: Send + 'static>(disk: Disk, with: impl AsyncFnOnce(Arc<Host<TestMachine>>) -> T + Send + 'static) -> T {
    let (sender, done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let members = BTreeMap::from([(1, Member { peer: "127.0.0.1:1".into(), ..Member::default() })]);
        let config =
            HostConfig { ballast_bytes: 0, ..HostConfig::new(1, disk.dir.path().into(), members, "test secret") };
        let syncing = Syncing::Task(Arc::new(|| Duration::from_millis(1)));
        let environment = Environment { engine: Arc::new(disk.engine), syncing, dial: dial_tcp(), gaps: || [0, 0] };
        let result = runtime.block_on(async {
            let host = Host::start_in(environment, config, TestMachine).await.unwrap();
            with(host).await
        });
        sender.send(result).unwrap();
    });
    done.recv_timeout(PATIENCE).expect("time goes on only where everybody waits")
}

async fn leads(host: &Host<TestMachine>) {
    host.leadership().wait_for(|seen| seen.is_self).await.unwrap();
}

#[test]
fn what_was_answered_survives_the_loss_of_what_was_not_synced() {
    let disk = Disk::new();
    alone(disk.clone(), async |host| {
        leads(&host).await;
        host.propose(proposal(&Op::put("key", "value"))).await.unwrap();
    });
    disk.engine.lose_unsynced();
    let found = alone(disk, async |host| {
        host.read_barrier(Instant::now() + Duration::from_secs(5)).await.unwrap();
        host.view().unwrap().get(Space::STATE, b"key").unwrap()
    });
    assert_eq!(found.as_deref(), Some(&b"value"[..]));
}

#[test]
fn a_read_that_finds_no_leader_waits_instead_of_spinning() {
    let disk = Disk::new();
    alone(disk.clone(), async |host| leads(&host).await);
    // Restarted, it knows a term and nobody who leads it until the lease that it may have granted is over.
    let refused = alone(disk, async |host| {
        host.leadership().wait_for(|seen| seen.term > 0).await.unwrap();
        host.read_barrier(Instant::now() + Duration::from_millis(50)).await
    });
    assert_eq!(refused, Err(ReadError::NoQuorum));
}

#[test]
fn a_read_of_a_stopped_node_is_refused_instead_of_spinning() {
    let refused = alone(Disk::new(), async |host| {
        leads(&host).await;
        host.stop().await;
        host.read_barrier(Instant::now() + Duration::from_secs(5)).await
    });
    assert_eq!(refused, Err(ReadError::Stopped));
}
