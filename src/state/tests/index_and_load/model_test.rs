//! Random steps against the model: every answer, every row, and rows that a refusal must not leave.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::model::{Answer, Collection};
use super::*;

/// A step names collections and partitions, because ids are only known while it runs.
#[derive(Clone, Debug)]
enum Do {
    Create,
    Drop,
    CreatePartition(&'static str),
    DropPartition(&'static str),
    CreateIndex { field: i64, name: &'static str, metric: &'static str },
    DropIndex(&'static str),
    Load { replicas: usize, fields: Vec<i64> },
    LoadPartitions { partitions: Vec<&'static str>, replicas: usize, fields: Vec<i64> },
    Release,
    ReleasePartitions(Vec<&'static str>),
}

const NAMES: [&str; 2] = ["one", "two"];
const PARTITIONS: [&str; 3] = ["_default", "p", "q"];

fn step() -> impl Strategy<Value = (Index, Do)> {
    let partition = || select(&PARTITIONS[1..]);
    let partitions = || subsequence(PARTITIONS.to_vec(), 0..=3);
    let fields = || prop_oneof![4 => Just(vec![100, 101]), 1 => Just(vec![100])];
    let replicas = || prop_oneof![4 => Just(1_usize), 1 => Just(2)];
    let name = || select(&["", "vector", "i"][..]);
    let act = prop_oneof![
        2 => Just(Do::Create),
        1 => Just(Do::Drop),
        2 => partition().prop_map(Do::CreatePartition),
        1 => partition().prop_map(Do::DropPartition),
        6 => (select(&[100_i64, 101, 101][..]), name(), select(&["L2", "L2", "IP"][..]))
            .prop_map(|(field, name, metric)| Do::CreateIndex { field, name, metric }),
        2 => name().prop_map(Do::DropIndex),
        4 => (replicas(), fields()).prop_map(|(replicas, fields)| Do::Load { replicas, fields }),
        4 => (partitions(), replicas(), fields())
            .prop_map(|(partitions, replicas, fields)| Do::LoadPartitions { partitions, replicas, fields }),
        1 => Just(Do::Release),
        3 => partitions().prop_map(Do::ReleasePartitions),
    ];
    (any::<Index>(), act)
}

/// Both sides of the comparison.
#[derive(Default)]
struct Pair {
    world: World,
    model: BTreeMap<&'static str, (i64, Collection)>,
}

impl Pair {
    fn run(&mut self, name: &'static str, act: Do) {
        match act {
            Do::Create if !self.model.contains_key(name) => {
                let reply = self.world.run(Command::CreateCollection(create_collection("", name)));
                let Reply::CollectionCreated { collection_id, .. } = reply else { panic!("{reply:?}") };
                let mut made = Collection::default();
                let partition = self.world.view().partition(collection_id, "_default").unwrap().unwrap().id;
                made.create_partition("_default", partition);
                self.model.insert(name, (collection_id, made));
            }
            Do::Drop => {
                self.world.run(drop_collection("", name));
                self.model.remove(name);
            }
            Do::CreatePartition(partition) => {
                if let Reply::PartitionCreated { partition_id, existed: false } =
                    self.world.run(create_partition(name, partition))
                {
                    self.model.get_mut(name).unwrap().1.create_partition(partition, partition_id);
                }
            }
            Do::DropPartition(partition) => {
                let reply = self.world.run(drop_partition(name, partition)).into_result();
                if let Some((_, collection)) = self.model.get_mut(name) {
                    let dropped = reply.is_ok();
                    assert_eq!(dropped, collection.drop_partition(partition).is_ok());
                }
            }
            other => self.compare_answers(name, other),
        }
    }

    fn compare_answers(&mut self, name: &'static str, act: Do) {
        let Some((id, collection)) = self.model.get_mut(name) else { return };
        let id = *id;
        let known = |names: &[&str]| -> Vec<i64> {
            names.iter().filter_map(|name| collection.partitions.get(*name).copied()).collect()
        };
        let fields = |fields: &[i64]| fields.iter().copied().collect::<BTreeSet<i64>>();
        let set = |ids: &[i64]| ids.iter().copied().collect::<BTreeSet<i64>>();
        let loaded = |changed: Answer<bool>| changed.map(|changed| Reply::Load(LoadReply::Loaded { changed }));
        let released = |changed: Answer<bool>| changed.map(|changed| Reply::Load(LoadReply::Released { changed }));
        let (command, expected) = match act {
            Do::CreateIndex { field, name, metric } => {
                let mut index = index_of(id, field, name);
                index.user_params[1].1 = metric.into();
                index.index_params[1].1 = metric.into();
                let next = self.world.view().next_id().unwrap();
                let present = self.world.view().indexes(id).unwrap();
                let old = present.iter().find(|index| index.field_id == field).map_or(0, |index| index.id);
                let answer = collection.create_index(field, name, metric).map(|new| {
                    let index_id = if new { next } else { old };
                    Reply::Index(IndexReply::Created { index_id, existed: !new })
                });
                (create(index), answer)
            }
            Do::DropIndex(name) => {
                let present = self.world.view().indexes(id).unwrap();
                let old = present.iter().find(|index| name.is_empty() || index.name == name).map(|index| index.id);
                let answer = collection.drop_index(name);
                let reply = |dropped: bool| Reply::Index(IndexReply::Dropped { index_id: old.filter(|_| dropped) });
                (drop_index(id, name), answer.map(reply))
            }
            Do::Load { replicas, fields: list } => {
                let replicas_of = vec!["g".to_owned(); replicas];
                let answer = collection.load(replicas, fields(&list));
                let command = LoadCollection { replicas: replicas_of, fields: list, ..load_of(id) };
                (load(command), loaded(answer))
            }
            Do::LoadPartitions { partitions, replicas, fields: list } => {
                let ids = known(&partitions);
                let answer = collection.load_partitions(&set(&ids), replicas, fields(&list));
                let Command::Load(LoadCommand::Partitions(mut command)) = load_partitions(id, &ids, replicas) else {
                    unreachable!()
                };
                command.fields = list;
                (Command::Load(LoadCommand::Partitions(command)), loaded(answer))
            }
            Do::Release => (release(id), released(Ok(collection.load.take().is_some()))),
            Do::ReleasePartitions(partitions) => {
                let ids = known(&partitions);
                (release_partitions(id, &ids), released(collection.release_partitions(&set(&ids))))
            }
            _ => return,
        };
        let before = self.world.facts();
        let (reply, events) = self.world.apply(&entry(START_MS, None, command));
        let answer = Reply::decode(&reply).unwrap().into_result().map_err(|rejection| rejection.code());
        assert_eq!(answer, expected);
        if answer.is_err() {
            assert!(events.is_empty());
            assert_eq!(self.world.facts(), before, "a refusal left something behind");
        } else {
            assert_eq!(events.is_empty(), self.world.facts() == before, "a change is told, and nothing else");
        }
    }

    fn compare_rows(&self) {
        let view = self.world.view();
        for (id, collection) in self.model.values() {
            let indexes: BTreeMap<String, (i64, String)> = view
                .indexes(*id)
                .unwrap()
                .into_iter()
                .map(|index| (index.name.clone(), (index.field_id, index.param("metric_type").unwrap().to_owned())))
                .collect();
            assert_eq!(indexes, collection.indexes);
            let load = view.load(*id).unwrap();
            assert_eq!(load.is_some(), collection.load.is_some());
            let (Some(row), Some(expected)) = (load, &collection.load) else { continue };
            let held = |id: &&i64| row.holds(**id);
            assert_eq!(
                collection.partitions.values().filter(held).copied().collect::<BTreeSet<_>>(),
                expected.partitions
            );
            assert_eq!(row.replicas.len(), expected.replicas);
            assert_eq!(row.fields.iter().copied().collect::<BTreeSet<_>>(), expected.fields);
        }
        let indexes: usize = self.model.values().map(|(_, collection)| collection.indexes.len()).sum();
        let loads = self.model.values().filter(|(_, collection)| collection.load.is_some()).count();
        assert_eq!((self.world.count(0x80), self.world.count(0x90)), (indexes, loads), "a row is left over");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_and_rows_follow_the_model(steps in vec(step(), 1..60)) {
        let mut pair = Pair::default();
        for (at, act) in steps {
            pair.run(NAMES[at.index(NAMES.len())], act);
            pair.compare_rows();
        }
    }
}
