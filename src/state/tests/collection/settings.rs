//! Description, consistency level, truncation; and what a repeated declaration may differ in.

use prost::Message;
use roost_raft::machine::Machine;

use super::super::support::*;
use crate::pb::common::KeyValuePair;
use crate::state::*;

fn settings(description: Option<&str>, consistency: Option<i32>, set: &[(&str, &str)]) -> Command {
    let command = AlterSettings {
        description: description.map(str::to_owned),
        consistency,
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        ..alter_settings("books", "")
    };
    change(CollectionChange::Settings(command))
}

fn truncate(ts: u64) -> Command {
    change(CollectionChange::Truncate(truncate_collection("books", ts)))
}

fn world() -> World {
    let mut world = World::default();
    world.run(Command::CreateCollection(create_collection("", "books")));
    world
}

#[test]
fn settings_change_beside_the_schema() {
    let mut world = world();
    let changed = |changed| Reply::CollectionAltered { collection_id: 100, changed };
    assert_eq!(world.run(settings(Some("all books"), Some(0), &[("ttl", "1")])), changed(true));
    let row = world.view().collection(1, "books").unwrap().unwrap();
    assert_eq!((row.consistency, row.properties.len(), row.updated_ts, row.schema_version), (0, 2, TS + 5, 0));
    assert_eq!(row.decoded_schema().unwrap().description, "all books");
    assert_eq!(world.run(settings(Some("all books"), Some(0), &[("ttl", "1")])), changed(false));
    assert_eq!(world.run(settings(None, None, &[])), changed(false));
    assert_eq!(world.rejected(settings(None, Some(9), &[])).code(), 1100);
    assert_eq!(world.rejected(settings(Some(&"x".repeat(70 << 10)), None, &[])).code(), 1102);
}

#[test]
fn a_truncation_is_a_mark_that_only_moves_forward() {
    let mut world = world();
    let (reply, events) = world.apply(&entry(START_MS, None, truncate(TS + 9)));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::CollectionAltered { collection_id: 100, changed: true });
    let name = "books".to_owned();
    assert_eq!(events, [Event::CollectionTruncated { database_id: 1, collection_id: 100, name }]);
    world.run(truncate(TS + 8));
    let row = world.view().collection(1, "books").unwrap().unwrap();
    assert_eq!((row.truncated_ts, row.updated_ts), (TS + 9, TS));
    world.run(drop_collection("", "books"));
    assert_eq!(world.rejected(truncate(TS + 10)).code(), 100);
}

#[test]
fn the_order_of_parameters_makes_no_other_declaration() {
    let declared = |order: [usize; 2]| {
        let pairs = [("dim", "8"), ("mmap.enabled", "true")];
        let mut schema = schema("books");
        let pair = |at: usize| KeyValuePair { key: pairs[at].0.into(), value: pairs[at].1.into() };
        schema.fields[1].type_params = order.map(pair).to_vec();
        let create = CreateCollection { schema: schema.encode_to_vec(), ..create_collection("", "books") };
        Command::CreateCollection(create)
    };
    let mut world = World::default();
    world.run(declared([0, 1]));
    let existed = Reply::CollectionCreated { collection_id: 100, existed: true };
    assert_eq!(world.run(declared([1, 0])), existed);
    let mut old = World { apply_version: 3, ..World::default() };
    old.run(declared([0, 1]));
    assert_eq!(old.run(declared([0, 1])), existed);
    assert_eq!(old.rejected(declared([1, 0])).code(), 1100, "as members of that version have it");
}

#[test]
fn a_declaration_that_was_changed_since_is_another_one() {
    let mut world = world();
    world.run(settings(Some("all books"), None, &[]));
    let again = Command::CreateCollection(create_collection("", "books"));
    assert_eq!(world.rejected(again).code(), 1100);
}

#[test]
fn a_collection_takes_its_time_zone_from_its_database() {
    let zone = |world: &World, database: i64| -> Vec<_> {
        let row = world.view().collection(database, "books").unwrap().unwrap();
        row.properties.into_iter().map(|property| (property.key, property.value)).collect()
    };
    let pair = |value: &str| ("timezone".to_owned(), value.to_owned());
    let mut world = world();
    assert_eq!(zone(&world, 1), [pair("UTC")]);
    let shelf = CreateDatabase {
        name: "shelf".into(),
        properties: vec![pair("Asia/Shanghai")],
        ts: TS,
        limits: Limits::default(),
    };
    let Reply::DatabaseCreated { database_id } = world.run(Command::CreateDatabase(shelf)) else { panic!("refused") };
    let create = create_collection("shelf", "books");
    world.run(Command::CreateCollection(create.clone()));
    assert_eq!(zone(&world, database_id), [pair("Asia/Shanghai")]);
    // The same declaration again is the same collection, also when it names what was inherited.
    let named = CreateCollection { properties: vec![pair("Asia/Shanghai")], ..create.clone() };
    for again in [create.clone(), named] {
        assert!(matches!(world.run(Command::CreateCollection(again)), Reply::CollectionCreated { existed: true, .. }));
    }
    let other = CreateCollection { properties: vec![pair("UTC")], ..create };
    assert_eq!(world.rejected(Command::CreateCollection(other)).code(), 1100);
}

#[test]
fn a_collection_of_an_older_member_has_no_time_zone_and_is_found_again() {
    let mut world = World { apply_version: 3, ..World::default() };
    world.run(Command::CreateCollection(create_collection("", "books")));
    assert_eq!(world.view().collection(1, "books").unwrap().unwrap().properties, []);
    world.apply_version = Roost::APPLY_VERSION;
    let again = world.run(Command::CreateCollection(create_collection("", "books")));
    assert_eq!(again, Reply::CollectionCreated { collection_id: 100, existed: true });
}
