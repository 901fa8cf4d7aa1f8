//! openraft's own storage suite, on both engines.

use std::sync::Arc;

use openraft::testing::log::{StoreBuilder, Suite};
use roost_raft::apply::StateStore;
use roost_raft::log::LogStore;
use roost_raft::storage::mem::MemEngine;
use roost_raft::types::TypeConfig;
use tempfile::TempDir;

use crate::support::{Stores, TestMachine, block_on};

type StorageError = openraft::StorageError<TypeConfig>;
type Built = Result<(TempDir, LogStore, StateStore<TestMachine>), StorageError>;

struct OnRocks;
struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, StateStore<TestMachine>, TempDir> for OnRocks {
    async fn build(&self) -> Built {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::rocks(dir.path()).unwrap();
        Ok((dir, stores.log, stores.state))
    }
}

impl StoreBuilder<TypeConfig, LogStore, StateStore<TestMachine>, TempDir> for InMemory {
    async fn build(&self) -> Built {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::on(Arc::new(MemEngine::default()), dir.path()).unwrap();
        Ok((dir, stores.log, stores.state))
    }
}

#[test]
fn openraft_accepts_the_stores_on_rocksdb() {
    block_on(Suite::test_all(OnRocks)).unwrap();
}

#[test]
fn openraft_accepts_the_stores_in_memory() {
    block_on(Suite::test_all(InMemory)).unwrap();
}
