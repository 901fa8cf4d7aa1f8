//! DDL on one collection never waits for DDL on another: by structure, not by time. The log is held up for every change
//! of one collection, for good, and every change of another one is answered meanwhile. What is done to one collection
//! happens in the order of the log.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use roost_raft::kv::Read;
use roost_raft::types::Leadership;
use tokio::sync::watch;

use super::{Desk, ask, desk_on, new_collection, set};
use crate::config;
use crate::pb::milvus::*;
use crate::replica::{Applied, Error, Events, Peer, Proposal, Replica};
use crate::state::{Command, Entry, View};
use crate::testing::SoloReplica;

/// Never answers a proposal whose command names one collection, and writes down the others.
struct Holding {
    inner: Arc<SoloReplica>,
    held: &'static str,
    arrived: watch::Sender<usize>,
    /// What was applied, with its place in the log.
    applied: Mutex<Vec<(u64, Command)>>,
}

impl Holding {
    fn new(held: &'static str) -> Arc<Self> {
        let inner = SoloReplica::new();
        Arc::new(Holding { inner, held, arrived: watch::Sender::new(0), applied: Mutex::default() })
    }
}

#[tonic::async_trait]
impl Replica for Holding {
    fn node_id(&self) -> u64 {
        self.inner.node_id()
    }

    async fn propose(&self, proposal: Proposal) -> Result<Applied, Error> {
        let command = Entry::decode(&proposal.command).unwrap().command;
        if command.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == self.held) {
            self.arrived.send_modify(|count| *count += 1);
            std::future::pending::<()>().await;
        }
        // Those that came together reach the log in any order.
        tokio::task::yield_now().await;
        let applied = self.inner.propose(proposal).await?;
        self.applied.lock().push((applied.index, command));
        Ok(applied)
    }

    async fn read_barrier(&self, deadline: Instant) -> Result<u64, Error> {
        self.inner.read_barrier(deadline).await
    }

    fn view(&self) -> io::Result<Box<dyn Read + '_>> {
        self.inner.view()
    }

    fn events(&self) -> Events {
        self.inner.events()
    }

    fn all_events(&self) -> Events {
        self.inner.all_events()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership()
    }

    async fn confirm_leader(&self, term: u64) -> Result<(), Error> {
        self.inner.confirm_leader(term).await
    }

    fn members(&self) -> Vec<Peer> {
        self.inner.members()
    }

    fn alarms(&self) -> Vec<String> {
        self.inner.alarms()
    }

    fn disk_full(&self) -> bool {
        self.inner.disk_full()
    }

    fn cluster_id(&self) -> String {
        self.inner.cluster_id()
    }

    async fn hand_over(&self) {
        self.inner.hand_over().await;
    }

    async fn failed(&self) -> String {
        self.inner.failed().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

const KINDS: [&str; 10] = [
    "create",
    "alter",
    "rename",
    "truncate",
    "create partition",
    "drop partition",
    "create alias",
    "alter alias",
    "drop alias",
    "drop",
];

impl Desk {
    /// One kind of change of a collection.
    async fn ddl(&self, kind: &str, name: &str) {
        let catalog = &self.catalog;
        let collection_name = name.to_owned();
        let alias = format!("alias_of_{name}");
        let outcome = match kind {
            "create" => catalog.create_collection(&ask(new_collection(name))).await,
            "alter" => catalog.alter_collection(&ask(set(name, 1))).await,
            "rename" => {
                let (old_name, new_name) = (collection_name, format!("new_{name}"));
                let request = RenameCollectionRequest {
                    old_name: old_name.clone(),
                    new_name: new_name.clone(),
                    ..Default::default()
                };
                let back = RenameCollectionRequest { old_name: new_name, new_name: old_name, ..Default::default() };
                let done = catalog.rename_collection(&ask(request)).await;
                done.and(catalog.rename_collection(&ask(back)).await)
            }
            "truncate" => {
                let request = TruncateCollectionRequest { collection_name, ..Default::default() };
                catalog.truncate_collection(&ask(request)).await.map(drop)
            }
            "create partition" | "drop partition" => {
                let partition_name = "p".to_owned();
                if kind == "create partition" {
                    let request = CreatePartitionRequest { collection_name, partition_name, ..Default::default() };
                    catalog.create_partition(&ask(request)).await
                } else {
                    let request = DropPartitionRequest { collection_name, partition_name, ..Default::default() };
                    catalog.drop_partition(&ask(request)).await
                }
            }
            "create alias" => {
                let request = CreateAliasRequest { collection_name, alias, ..Default::default() };
                catalog.create_alias(&ask(request)).await
            }
            "alter alias" => {
                let request = AlterAliasRequest { collection_name, alias, ..Default::default() };
                catalog.alter_alias(&ask(request)).await
            }
            "drop alias" => catalog.drop_alias(&ask(DropAliasRequest { alias, ..Default::default() })).await,
            _ => {
                let request = DropCollectionRequest { collection_name, ..Default::default() };
                catalog.drop_collection(&ask(request)).await
            }
        };
        outcome.unwrap_or_else(|failure| panic!("{kind} {name}: {failure}"));
    }
}

async fn desk_of(holding: &Arc<Holding>) -> Arc<Desk> {
    Arc::new(desk_on(holding.inner.clone(), holding.clone(), config::Cache::default()).await)
}

#[tokio::test]
async fn no_change_of_a_collection_waits_for_another_collections() {
    let holding = Holding::new("held");
    let desk = desk_of(&holding).await;
    let mut stuck = Vec::new();
    for kind in KINDS {
        let desk = desk.clone();
        stuck.push(tokio::spawn(async move { desk.ddl(kind, "held").await }));
        // It is in the log's hands, and stays there.
        holding.arrived.subscribe().wait_for(|count| *count == stuck.len()).await.unwrap();
    }
    for kind in KINDS {
        desk.ddl(kind, "free").await;
    }
    assert!(stuck.iter().all(|task| !task.is_finished()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_done_to_a_collection_happens_in_the_order_of_the_log() {
    const CHANGES: u64 = 64;
    let holding = Holding::new("nothing");
    let desk = desk_of(&holding).await;
    desk.ddl("create", "books").await;
    let changes: Vec<_> = (0..CHANGES)
        .map(|value| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.catalog.alter_collection(&ask(set("books", value))).await.unwrap() })
        })
        .collect();
    for change in changes {
        change.await.unwrap();
    }
    let mut applied = std::mem::take(&mut *holding.applied.lock());
    applied.retain(|(_, command)| matches!(command, Command::AlterCollectionProperties(_)));
    assert_eq!(applied.len() as u64, CHANGES);
    let (index, last) = applied.into_iter().max_by_key(|(index, _)| *index).unwrap();
    let Command::AlterCollectionProperties(last) = last else { panic!("{last}") };
    let view = holding.inner.view().unwrap();
    let row = View::new(view.as_ref()).collection(1, "books").unwrap().unwrap();
    let own = row.properties.iter().find(|property| property.key == "count").unwrap();
    assert_eq!((&own.value, row.revision()), (&last.set[0].1, index));
}
