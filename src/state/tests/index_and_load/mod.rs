//! Indexes and loads: by example, by bytes, and against a model.

mod examples;
mod golden;
mod model;
mod model_test;
mod restraints;

use crate::state::tests::support::*;
use crate::state::*;

/// A collection of one vector field (101) and its id.
fn world() -> (World, i64) {
    let mut world = World::default();
    let create = Command::CreateCollection(create_collection("", "books"));
    match world.run(create) {
        Reply::CollectionCreated { collection_id, .. } => (world, collection_id),
        reply => panic!("{reply:?}"),
    }
}

fn create(index: CreateIndex) -> Command {
    Command::Index(IndexCommand::Create(index))
}

fn drop_index(collection_id: i64, name: &str) -> Command {
    Command::Index(IndexCommand::Drop(DropIndex { collection_id, name: name.into() }))
}

fn alter_index(collection_id: i64, index_id: i64, set: &[(&str, &str)], delete: &[&str]) -> Command {
    Command::Index(IndexCommand::Alter(AlterIndex {
        collection_id,
        index_id,
        name: "i".into(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        delete: delete.iter().map(ToString::to_string).collect(),
        ts: TS + 1,
    }))
}

fn load(load: LoadCollection) -> Command {
    Command::Load(LoadCommand::Collection(load))
}

fn load_partitions(collection_id: i64, partitions: &[i64], replicas: usize) -> Command {
    let LoadCollection { fields, ts, .. } = load_of(collection_id);
    let (partitions, replicas) = (partitions.to_vec(), vec!["g".to_owned(); replicas]);
    Command::Load(LoadCommand::Partitions(LoadPartitions { collection_id, partitions, replicas, fields, ts }))
}

fn release(collection_id: i64) -> Command {
    Command::Load(LoadCommand::ReleaseCollection(ReleaseCollection { collection_id }))
}

fn release_partitions(collection_id: i64, partitions: &[i64]) -> Command {
    let partitions = partitions.to_vec();
    Command::Load(LoadCommand::ReleasePartitions(ReleasePartitions { collection_id, partitions, ts: TS + 1 }))
}
