//! Random logs against the model: every answer, every table, every count; and the same log twice gives the same rows.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::model::Model;
use super::support::*;
use crate::pb::schema::{DataType, FieldSchema};
use crate::state::*;

/// Few names and tight limits, so that commands meet each other.
const LIMITS: Limits = Limits {
    max_databases: 2,
    max_collections: 5,
    max_collections_per_database: 3,
    max_partitions: 3,
    max_shards: 16,
    max_general_capacity: 40,
};

fn pick(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(names).prop_map(str::to_owned)
}

fn database() -> impl Strategy<Value = String> {
    pick(&["default", "default", "a", "b", "c"])
}

/// Names of collections, and of aliases.
fn collection() -> impl Strategy<Value = String> {
    pick(&["one", "two", "three", "four"])
}

fn partition() -> impl Strategy<Value = String> {
    pick(&["_default", "p", "q", "r"])
}

fn command() -> impl Strategy<Value = Command> {
    let key = || pick(&["ttl", "mmap"]);
    prop_oneof![
        2 => database().prop_map(|name| {
            Command::CreateDatabase(CreateDatabase { name, properties: Vec::new(), ts: TS, limits: LIMITS })
        }),
        1 => database().prop_map(|name| Command::DropDatabase(DropDatabase { name })),
        6 => (database(), collection(), 1_u32..=5, 1_usize..=4).prop_map(|(database, name, shards, partitions)| {
            let partitions = ["_default", "p", "q", "r"].iter().take(partitions).map(ToString::to_string).collect();
            let basis = create_collection(&database, &name);
            Command::CreateCollection(CreateCollection { shards, partitions, limits: LIMITS, ..basis })
        }),
        3 => (database(), collection()).prop_map(|(database, name)| drop_collection(&database, &name)),
        3 => (database(), collection(), partition()).prop_map(|(database, collection, name)| {
            Command::CreatePartition(CreatePartition { database, collection, name, ts: TS, limits: LIMITS })
        }),
        2 => (database(), collection(), partition()).prop_map(|(database, collection, name)| {
            Command::DropPartition(DropPartition { database, collection, name })
        }),
        2 => (database(), collection(), vec((key(), pick(&["1", "2"])), 0..2), vec(key(), 0..2)).prop_map(
            |(database, collection, set, delete)| {
                let command = AlterCollectionProperties { database, collection, set, delete, ts: TS };
                Command::AlterCollectionProperties(command)
            }
        ),
        3 => (database(), collection(), database(), collection()).prop_map(|(database, name, to, new_name)| {
            let basis = rename_collection(&name, &new_name);
            let new_database = to.replace('c', "");
            let command = RenameCollection { database, new_database, limits: LIMITS, ..basis };
            Command::Collection(CollectionChange::Rename(command))
        }),
        1 => (99_i64..120).prop_map(erase_collection),
        1 => (database(), vec((key(), pick(&["1", "2"])), 0..2), vec(key(), 0..2)).prop_map(|(name, set, delete)| {
            Command::AlterDatabase(AlterDatabase { name, set, delete })
        }),
        6 => (database(), collection(), collection(), 0..5).prop_map(|(database, alias, collection, verb)| {
            Command::Alias(match verb {
                0 => AliasCommand::Drop { database, alias },
                1 => AliasCommand::Alter { database, alias, collection },
                _ => AliasCommand::Create { database, alias, collection },
            })
        }),
        3 => (database(), collection(), pick(&["a", "b", "c"])).prop_map(|(database, collection, name)| {
            let field = FieldSchema { nullable: true, ..field(0, &name, DataType::Int64) };
            let limits = FieldLimits { max_fields: 4, max_vector_fields: 1 };
            let basis = add_field(&collection, field.encode_to_vec());
            change(CollectionChange::AddField(AddField { database, limits, ..basis }))
        }),
        1 => (database(), collection(), 0_u64..9).prop_map(|(database, collection, later)| {
            let basis = truncate_collection(&collection, TS + later);
            change(CollectionChange::Truncate(TruncateCollection { database, ..basis }))
        }),
        1 => (1_u32..9).prop_map(alloc),
        1 => (0_u64..9000).prop_map(|ahead| extend(START_MS + ahead)),
    ]
}

/// A log with requests of two nodes, some of them copies of earlier ones.
fn log() -> impl Strategy<Value = Vec<Entry>> {
    vec((command(), 0_u64..2, any::<proptest::sample::Index>(), 0_u8..5), 1..60).prop_map(|steps| {
        let mut entries: Vec<Entry> = Vec::new();
        for (sequence, (command, node, earlier, dice)) in steps.into_iter().enumerate() {
            let request = RequestId { node, boot: 1, sequence: sequence as u64, acked_below: 0 };
            match dice {
                0 if !entries.is_empty() => entries.push(earlier.get(&entries).clone()),
                _ => entries.push(entry(START_MS + sequence as u64, Some(request), command)),
            }
        }
        entries
    })
}

/// Checks every table against the model.
fn compare(world: &World, model: &Model) {
    let view = world.view();
    let databases: BTreeMap<_, _> = view.databases(None, 99).unwrap().into_iter().map(|d| (d.name, d.id)).collect();
    assert_eq!(databases, model.databases);
    let totals = view.totals().unwrap();
    assert_eq!(totals.databases + 1, model.databases.len() as u64);
    assert_eq!(totals.collections, model.collections.len() as u64);
    assert_eq!(totals.general_capacity, model.capacity());
    assert_eq!(view.next_id().unwrap(), model.next_id);
    assert_eq!(view.tso_bound_ms().unwrap(), model.bound_ms);
    for (number, used) in model.channel_use().into_iter().enumerate() {
        let row = tables::CHANNEL_USE.get_or_default(&world.tables, &(number as u16)).unwrap();
        let ordered = tables::CHANNELS_BY_USE.get(&world.tables, &(row.vchannels, number as u16)).unwrap();
        let any = tables::CHANNEL_ORDER.get(&world.tables, &()).unwrap().is_some();
        assert_eq!(ordered.is_some(), any, "pchannel {number}");
        assert_eq!(row.vchannels, used, "pchannel {number}");
    }
    for (name, &id) in &model.databases {
        compare_database(world, model, name, id);
    }
    // No row is left over.
    let partitions: usize = model.collections.values().map(|collection| collection.partitions.len()).sum();
    assert_eq!(world.count(0x35), 0, "small collections are dropped in one step");
    let counts = [0x20, 0x21, 0x30, 0x31, 0x32, 0x33, 0x34, 0x40, 0x41].map(|tag| world.count(tag));
    let (databases, collections, aliases) = (model.databases.len(), model.collections.len(), model.aliases.len());
    let expected = [databases, databases, collections, collections, collections, aliases, aliases];
    assert_eq!(counts[..7], expected);
    assert_eq!(counts[7..], [partitions, partitions]);
    assert!(world.count(0x22) <= databases);
}

fn compare_database(world: &World, model: &Model, name: &str, id: i64) {
    let view = world.view();
    let row = view.database_by_id(id).unwrap().unwrap();
    let properties: BTreeMap<_, _> = row.properties.into_iter().map(|p| (p.key, p.value)).collect();
    assert_eq!(properties, model.database_properties.get(name).cloned().unwrap_or_default());
    assert_eq!(row.name, name);
    let used = tables::DATABASE_USE.get_or_default(&world.tables, &id).unwrap();
    assert_eq!(used.aliases, model.aliases.keys().filter(|(of, _)| of == name).count() as u64);
    let aliases: Vec<_> = model.aliases.iter().filter(|((of, _), _)| of == name).collect();
    assert_eq!(view.aliases(id, None, 99).unwrap().len(), aliases.len());
    for ((_, alias), collection) in &aliases {
        assert_eq!(view.collection(id, alias).unwrap().unwrap().name, **collection);
    }
    assert_eq!(view.collections_in(id).unwrap(), model.collections_in(name));
    let expected: Vec<_> = model.collections.iter().filter(|((of, _), _)| of == name).collect();
    let rows = view.collections(id, None, 99).unwrap();
    assert_eq!(rows.len(), expected.len());
    let mut ids: Vec<_> = expected.iter().map(|(_, collection)| collection.id).collect();
    ids.sort_unstable();
    assert_eq!(view.collection_ids(id, None, 99).unwrap(), ids);
    for (row, ((_, name), collection)) in rows.into_iter().zip(expected) {
        assert_eq!(view.collection(id, name).unwrap().as_ref(), Some(&row));
        let named: Vec<_> = aliases.iter().filter(|(_, of)| *of == name).map(|((_, alias), _)| alias.clone()).collect();
        assert_eq!(view.aliases_of(&row).unwrap(), named);
        assert_eq!((&row.name, row.id, row.database_id), (name, collection.id, id));
        let channels: Vec<_> = collection.pchannels.iter().map(|n| format!("by-dev-rootcoord-dml_{n}")).collect();
        assert_eq!(row.pchannels, channels);
        let vchannels: Vec<_> = channels.iter().zip(0..).map(|(p, i)| format!("{p}_{}v{i}", row.id)).collect();
        assert_eq!(row.vchannels, vchannels);
        let schema = row.decoded_schema().unwrap();
        let names: Vec<_> = schema.fields.iter().skip(2).map(|field| field.name.clone()).collect();
        assert_eq!((&schema.name, names, row.truncated_ts), (name, collection.fields.clone(), collection.truncated_ts));
        assert_eq!((row.schema_version, schema.version), (collection.fields.len() as i32, row.schema_version));
        let properties: BTreeMap<_, _> = row.properties.into_iter().map(|p| (p.key, p.value)).collect();
        assert_eq!(properties, collection.properties);
        let partitions: BTreeMap<_, _> = view.partitions(row.id).unwrap().into_iter().map(|p| (p.name, p.id)).collect();
        assert_eq!(partitions, collection.partitions);
        for (name, &partition) in &partitions {
            assert_eq!(view.partition(row.id, name).unwrap().unwrap().id, partition);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn answers_and_tables_follow_the_model(log in log()) {
        let (mut world, mut model) = (World::default(), Model::default());
        let mut replies: BTreeMap<RequestId, Vec<u8>> = BTreeMap::new();
        for entry in &log {
            let (facts, rows) = (world.facts(), world.rows());
            let (reply, events) = world.apply(entry);
            let request = entry.request.unwrap();
            if let Some(first) = replies.get(&request) {
                prop_assert_eq!((&reply, events.len()), (first, 0));
                prop_assert_eq!(world.rows(), rows);
                continue;
            }
            let answer = Reply::decode(&reply).unwrap().into_result().map_err(|rejection| rejection.code());
            prop_assert_eq!(&answer, &model.apply(&entry.command));
            if answer.is_err() {
                prop_assert!(events.is_empty());
                prop_assert!(facts.is_empty() || world.facts() == facts, "a rejection left a row");
            }
            replies.insert(request, reply);
            compare(&world, &model);
        }
    }

    #[test]
    fn the_same_log_gives_the_same_rows_however_it_is_cut(log in log(), cut in 1_usize..9) {
        let (mut one, mut many) = (World::default(), World::default());
        let mut replies = Vec::new();
        for entry in &log {
            replies.push(one.apply(entry));
        }
        let again: Vec<_> = log.chunks(cut).flat_map(|batch| many.apply_batch(batch)).collect();
        prop_assert_eq!(replies, again);
        prop_assert_eq!(one.rows(), many.rows());
    }

    #[test]
    fn ids_never_repeat(log in log()) {
        let mut world = World::default();
        let mut last = world.view().next_id().unwrap();
        let mut highest = last - 1;
        for entry in &log {
            let copy = world.clone();
            let (reply, _) = world.apply(entry);
            let next = world.view().next_id().unwrap();
            prop_assert!(next >= last);
            let new = match Reply::decode(&reply).unwrap() {
                _ if copy.rows() == world.rows() => None,
                Reply::DatabaseCreated { database_id } => Some(database_id),
                Reply::CollectionCreated { collection_id, existed: false } => Some(collection_id),
                Reply::PartitionCreated { partition_id, existed: false } => Some(partition_id),
                Reply::IdsAllocated { first, .. } => Some(first),
                _ => None,
            };
            if let Some(new) = new {
                prop_assert!(new > highest && new < next);
                highest = next - 1;
            }
            last = next;
        }
    }
}
