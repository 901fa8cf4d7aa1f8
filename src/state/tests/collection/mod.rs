//! Collections by example.

mod channels;
mod drop;
mod fields;
mod functions;
mod rename;
mod revision;
mod settings;

use prost::Message;

use super::support::*;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::state::*;

/// Makes a good value bad in one way.
type Spoil<T> = fn(&mut T);

fn create(name: &str) -> Command {
    Command::CreateCollection(create_collection("", name))
}

#[test]
fn create_writes_the_collection_with_its_partitions_and_channels() {
    let mut world = World::default();
    let mut command = create_collection("", "books");
    command.shards = 2;
    command.partitions = vec!["_default".into(), "old".into()];
    command.properties = vec![("b".into(), "2".into()), ("a".into(), "0".into()), ("a".into(), "1".into())];
    let (reply, events) = world.apply(&entry(START_MS, None, Command::CreateCollection(command)));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::CollectionCreated { collection_id: 100, existed: false });
    assert_eq!(events, [Event::CollectionCreated { database_id: 1, collection_id: 100, name: "books".into() }]);

    let row = world.view().collection(1, "books").unwrap().unwrap();
    assert_eq!(world.view().collection_by_id(100).unwrap().unwrap(), row);
    assert_eq!(row.vchannels, ["by-dev-rootcoord-dml_0_100v0", "by-dev-rootcoord-dml_1_100v1"]);
    assert_eq!(row.pchannels, ["by-dev-rootcoord-dml_0", "by-dev-rootcoord-dml_1"]);
    assert_eq!((row.partitions, row.created_ts, row.updated_ts, row.created_utc_ms()), (2, TS, TS, START_MS));
    let properties: Vec<_> = row.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    assert_eq!(properties, [("a", "1"), ("b", "2"), ("timezone", "UTC")]);
    assert_eq!(row.decoded_schema().unwrap(), schema("books"));
    let partitions: Vec<_> = world.view().partitions(100).unwrap().into_iter().map(|p| (p.id, p.name)).collect();
    assert_eq!(partitions, [(101, "_default".to_owned()), (102, "old".to_owned())]);
    assert_eq!(world.view().totals().unwrap().general_capacity, 4);
}

#[test]
fn create_is_idempotent_only_for_the_same_declaration() {
    let mut world = World::default();
    world.run(create("books"));
    let before = world.rows();
    let existed = Reply::CollectionCreated { collection_id: 100, existed: true };
    assert_eq!(world.run(create("books")), existed);

    // Ids and versions are the server's: a client that declares the same again got new ones from the proposer.
    let mut again = create_collection("default", "books");
    let mut declared = schema("books");
    declared.fields[0].field_id = 900;
    declared.version = 3;
    again.schema = declared.encode_to_vec();
    again.ts = TS + 5;
    assert_eq!(world.run(Command::CreateCollection(again)), existed);

    let differ: [fn(&mut CreateCollection); 5] = [
        |command| command.shards = 2,
        |command| command.consistency = 0,
        |command| command.properties.push(("k".into(), "v".into())),
        |command| command.partitions.push("p".into()),
        |command| {
            let mut declared = schema("books");
            declared.fields[1].name = "other".into();
            command.schema = declared.encode_to_vec();
        },
    ];
    for change in differ {
        let mut other = create_collection("", "books");
        change(&mut other);
        let refusal = world.rejected(Command::CreateCollection(other));
        let text = "create duplicate collection with different parameters, collection: books: invalid parameter";
        assert_eq!(refusal.reason(), text);
    }
    assert_eq!(world.rows(), before);
}

#[test]
fn partitions_that_were_created_since_do_not_make_it_another_declaration() {
    let again = |world: &mut World, partitions: &[&str]| {
        let partitions = partitions.iter().map(ToString::to_string).collect();
        world.run(Command::CreateCollection(CreateCollection { partitions, ..create_collection("", "books") }))
    };
    let existed = Reply::CollectionCreated { collection_id: 100, existed: true };
    let mut world = World::default();
    world.run(create("books"));
    world.run(create_partition("books", "p"));
    assert_eq!(again(&mut world, &["_default"]), existed);
    assert_eq!(again(&mut world, &["_default", "p"]), existed);
    assert!(matches!(again(&mut world, &["_default", "q"]), Reply::Rejected(_)));
    world.run(drop_partition("books", "p"));
    assert!(matches!(again(&mut world, &["_default", "p"]), Reply::Rejected(_)));

    let mut old = World { apply_version: 4, ..World::default() };
    old.run(create("books"));
    old.run(create_partition("books", "p"));
    assert!(matches!(again(&mut old, &["_default"]), Reply::Rejected(_)), "as members of that version have it");
}

#[test]
fn partitions_of_a_partition_key_belong_to_the_declaration() {
    let keyed = |partitions: &[&str]| {
        let mut declared = schema("books");
        declared.fields.push(FieldSchema { is_partition_key: true, ..field(102, "key", DataType::Int64) });
        let partitions = partitions.iter().map(ToString::to_string).collect();
        let schema = declared.encode_to_vec();
        Command::CreateCollection(CreateCollection { schema, partitions, ..create_collection("", "books") })
    };
    let mut world = World::default();
    world.run(keyed(&["_default_0", "_default_1"]));
    assert!(matches!(world.run(keyed(&["_default_0", "_default_1"])), Reply::CollectionCreated { existed: true, .. }));
    for other in [&["_default_0"][..], &["_default_0", "_default_1", "_default_2"]] {
        assert_eq!(world.rejected(keyed(other)).code(), 1100);
    }
}

#[test]
fn drop_frees_everything_at_once_and_again_is_a_success() {
    let mut world = World::default();
    world.run(extend(START_MS));
    let empty = world.facts();
    world.run(create("books"));
    let (reply, events) = world.apply(&entry(START_MS, None, drop_collection("", "books")));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::CollectionDropped { collection_id: Some(100) });
    assert_eq!(events, [Event::CollectionDropped { database_id: 1, collection_id: 100, name: "books".into() }]);
    for missing in [drop_collection("", "books"), drop_collection("nowhere", "books")] {
        assert_eq!(world.run(missing), Reply::CollectionDropped { collection_id: None });
    }
    // What remains are counts that are zero again, the order of channels, and ids that are never given twice.
    let mut rows = world.facts();
    rows.retain(|key, value| !(matches!(key[0], 0x04 | 0x22 | 0x50) && value.is_empty()));
    rows.retain(|key, _| !matches!(key[0], 0x02 | 0x51 | 0x52));
    assert_eq!(rows, empty);
    assert_eq!(world.run(create("books")), Reply::CollectionCreated { collection_id: 102, existed: false });
}

#[test]
fn shards_go_to_the_least_used_channels() {
    let mut world = World::default();
    let mut wide = create_collection("", "wide");
    wide.shards = 15;
    world.run(Command::CreateCollection(wide));
    let mut next = create_collection("", "next");
    next.shards = 2;
    world.run(Command::CreateCollection(next));
    let row = world.view().collection(1, "next").unwrap().unwrap();
    assert_eq!(row.pchannels, ["by-dev-rootcoord-dml_15", "by-dev-rootcoord-dml_0"]);
    world.run(drop_collection("", "wide"));
    world.run(create("third"));
    let row = world.view().collection(1, "third").unwrap().unwrap();
    assert_eq!(row.pchannels, ["by-dev-rootcoord-dml_1"]);
}

#[test]
fn limits_come_with_the_command() {
    let mut world = World::default();
    let with = |name: &str, limits: Limits| {
        Command::CreateCollection(CreateCollection { limits, ..create_collection("", name) })
    };
    let default = Limits::default();
    world.run(create("one"));
    assert_eq!(world.rejected(with("x", Limits { max_collections: 1, ..default })).code(), 102);
    assert_eq!(world.rejected(with("x", Limits { max_collections_per_database: 1, ..default })).code(), 102);
    let refusal = world.rejected(with("x", Limits { max_general_capacity: 1, ..default }));
    assert_eq!(refusal.code(), 250);
    assert_eq!(world.rejected(with("x", Limits { max_shards: 0, ..default })).code(), 1100);
    let refusal = world.rejected(with("x", Limits { max_partitions: 0, ..default }));
    assert_eq!(
        refusal.reason(),
        "partition number (1) exceeds max configuration (0), collection: x: invalid parameter"
    );
    // The name that is there already is no new collection.
    let full = Limits { max_collections: 1, ..default };
    assert_eq!(world.run(with("one", full)), Reply::CollectionCreated { collection_id: 100, existed: true });
    assert_eq!(world.view().totals().unwrap().collections, 1);
}

#[test]
fn malformed_commands_are_refused() {
    let bad: [(Spoil<CreateCollection>, i32); 14] = [
        (|command| command.name = "1x".into(), 1100),
        (|command| command.name.clear(), 1100),
        (|command| command.database = "nowhere".into(), 800),
        (|command| command.shards = 0, 1100),
        (|command| command.shards = 17, 1100),
        (|command| command.consistency = 9, 1100),
        (|command| command.partitions.clear(), 1100),
        (|command| command.partitions.push("_default".into()), 1100),
        (|command| command.partitions.push("a b".into()), 1100),
        (|command| command.schema = vec![0xff, 0xff], 1100),
        (|command| command.schema = schema("other").encode_to_vec(), 1100),
        (|command| command.schema.clear(), 1100),
        (|command| command.properties = vec![(String::new(), "x".into())], 1100),
        (|command| command.properties = vec![("k".into(), "x".repeat(70_000))], 1102),
    ];
    for (number, (spoil, code)) in bad.into_iter().enumerate() {
        let mut world = World::default();
        let mut command = create_collection("", "books");
        spoil(&mut command);
        assert_eq!(world.rejected(Command::CreateCollection(command)).code(), code, "case {number}");
        assert_eq!(world.view().next_id().unwrap(), 100, "case {number}");
    }
}

#[test]
fn schemas_have_one_key_and_no_duplicates() {
    let spoiled: [(Spoil<CollectionSchema>, &str); 4] = [
        (|schema| schema.fields[0].is_primary_key = false, "primary key is not specified: missing parameter"),
        (
            |schema| schema.fields[1].is_primary_key = true,
            "there are more than one primary key, field name = id, vector: invalid parameter",
        ),
        (|schema| schema.fields[1].name = "id".into(), "duplicated field name id found: invalid parameter"),
        (|schema| schema.fields.push(field(100, "x", DataType::Bool)), "duplicated fieldID: 100: invalid parameter"),
    ];
    for (spoil, text) in spoiled {
        let mut declared = schema("books");
        spoil(&mut declared);
        let command = CreateCollection { schema: declared.encode_to_vec(), ..create_collection("", "books") };
        assert_eq!(World::default().rejected(Command::CreateCollection(command)).reason(), text);
    }
}

#[test]
fn properties_are_set_or_deleted() {
    let mut world = World::default();
    world.run(create("books"));
    let changed = |changed| Reply::CollectionAltered { collection_id: 100, changed };
    assert_eq!(world.run(alter("books", &[("ttl", "60"), ("mmap", "true")], &[])), changed(true));
    assert_eq!(world.run(alter("books", &[("ttl", "60")], &[])), changed(false));
    assert_eq!(world.run(alter("books", &[], &["mmap", "unknown"])), changed(true));
    let row = world.view().collection(1, "books").unwrap().unwrap();
    assert_eq!((row.properties.len(), row.properties[1].value.as_str(), row.updated_ts), (2, "60", TS + 1));

    assert_eq!(world.rejected(alter("missing", &[("a", "b")], &[])).code(), 100);
    let refusal = world.rejected(alter("books", &[], &[]));
    assert_eq!(refusal.reason(), "no properties or delete keys provided: invalid parameter");
    assert_eq!(world.rejected(alter("books", &[("a", "b")], &["ttl"])).code(), 1100);
}
