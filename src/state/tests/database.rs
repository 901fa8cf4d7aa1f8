//! Databases by example.

use super::support::*;
use crate::state::*;

#[test]
fn the_default_database_is_there_from_the_first_apply() {
    let mut world = World::default();
    assert_eq!(world.view().database("").unwrap(), None);
    world.run(extend(START_MS));
    let row = world.view().database("").unwrap().unwrap();
    assert_eq!((row.id, row.name.as_str(), row.created_utc_ms()), (1, "default", START_MS));
    assert_eq!(world.view().database("default").unwrap().unwrap(), row);
    assert_eq!(world.view().totals().unwrap().databases, 0);
    assert_eq!(world.rejected(drop_database("default")).reason(), "can not drop default database: invalid parameter");
    assert_eq!(world.rejected(drop_database("")).code(), 1100);
}

#[test]
fn create_is_not_idempotent_and_drop_needs_it_empty() {
    let mut world = World::default();
    assert_eq!(world.run(create_database("a")), Reply::DatabaseCreated { database_id: 100 });
    assert_eq!(world.rejected(create_database("a")).reason(), "database already exist: a: invalid parameter");
    assert_eq!(world.rejected(drop_database("b")).code(), 800);

    world.run(Command::CreateCollection(create_collection("a", "books")));
    let refusal = world.rejected(drop_database("a"));
    assert!(refusal.reason().starts_with("database:a not empty, must drop all collections before drop database"));
    world.run(drop_collection("a", "books"));
    assert_eq!(world.run(drop_database("a")), Reply::DatabaseDropped { database_id: 100 });
    assert_eq!(world.view().database("a").unwrap(), None);
    assert_eq!(world.view().database_by_id(100).unwrap(), None);
    assert_eq!(world.view().totals().unwrap(), Default::default());
}

#[test]
fn names_and_numbers_are_limited() {
    let mut world = World::default();
    for bad in ["", "1a", "a-b", "ä", &"a".repeat(256)] {
        assert_eq!(world.rejected(create_database(bad)).code(), 802, "{bad}");
    }
    world.run(create_database(&"a".repeat(255)));
    let limits = Limits { max_databases: 2, ..Limits::default() };
    let create = |name: &str| {
        let name = name.into();
        Command::CreateDatabase(CreateDatabase { name, properties: Vec::new(), ts: TS, limits })
    };
    world.run(create("b"));
    assert_eq!(world.rejected(create("c")).code(), 801);
    world.run(drop_database("b"));
    assert_eq!(world.run(create("c")), Reply::DatabaseCreated { database_id: 102 });
}

#[test]
fn its_own_property_limits_its_collections() {
    let mut world = World::default();
    let create = |name: &str, value: &str| {
        let properties = vec![("database.max.collections".to_owned(), value.to_owned())];
        let (name, limits) = (name.to_owned(), Limits::default());
        Command::CreateDatabase(CreateDatabase { name, properties, ts: TS, limits })
    };
    world.run(create("a", "1"));
    world.run(Command::CreateCollection(create_collection("a", "one")));
    let refusal = world.rejected(Command::CreateCollection(create_collection("a", "two")));
    assert_eq!(refusal.reason(), "exceeded the limit number of collections[dbName=a][limit=1]");
    world.run(create("b", "many"));
    let refusal = world.rejected(Command::CreateCollection(create_collection("b", "one")));
    assert_eq!(refusal.code(), 5);
    assert_eq!(world.view().collections_in(100).unwrap(), 1);
}

#[test]
fn a_refused_creation_leaves_nothing() {
    let mut world = World::default();
    world.run(create_database("a"));
    let before = world.rows();
    world.rejected(create_database("a"));
    world.rejected(drop_database("missing"));
    assert_eq!(world.rows(), before);
}

#[test]
fn properties_are_set_or_deleted() {
    let mut world = World::default();
    world.run(create_database("a"));
    let altered = |changed| Reply::DatabaseAltered { database_id: 100, changed };
    let (reply, events) = world.apply(&entry(START_MS, None, alter_database("a", &[("k", "1"), ("b", "2")], &[])));
    assert_eq!(Reply::decode(&reply).unwrap(), altered(true));
    assert_eq!(events, [Event::DatabaseAltered { database_id: 100, name: "a".into() }]);
    let (reply, events) = world.apply(&entry(START_MS, None, alter_database("a", &[("k", "1")], &[])));
    assert_eq!((Reply::decode(&reply).unwrap(), events), (altered(false), vec![]));
    assert_eq!(world.run(alter_database("a", &[], &["unknown"])), altered(false));
    assert_eq!(world.run(alter_database("a", &[], &["b", "unknown"])), altered(true));
    let row = world.view().database("a").unwrap().unwrap();
    let properties: Vec<_> = row.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    assert_eq!((properties, row.created_ts), (vec![("k", "1")], TS));
    assert_eq!(world.view().database_by_id(100).unwrap().unwrap(), row);
    // The default one has properties, too.
    assert_eq!(
        world.run(alter_database("", &[("k", "1")], &[])),
        Reply::DatabaseAltered { database_id: 1, changed: true }
    );

    let before = world.facts();
    let refused = |world: &mut World, set: &[(&str, &str)], delete: &[&str]| {
        world.rejected(alter_database("a", set, delete)).reason()
    };
    assert_eq!(
        refused(&mut world, &[], &[]),
        "alter database with empty properties and delete keys, expected to set either properties or delete keys: \
         invalid parameter"
    );
    let both = "alter database cannot modify properties and delete keys at the same time: invalid parameter";
    assert_eq!(refused(&mut world, &[("k", "2")], &["k"]), both);
    assert_eq!(world.rejected(alter_database("missing", &[("k", "2")], &[])).code(), 800);
    assert_eq!(world.rejected(alter_database("a", &[("k", &"x".repeat(70_000))], &[])).code(), 1102);
    assert_eq!(world.facts(), before);
}

#[test]
fn a_changed_limit_of_collections_holds_at_once() {
    let mut world = World::default();
    world.run(create_database("a"));
    world.run(Command::CreateCollection(create_collection("a", "one")));
    world.run(alter_database("a", &[("database.max.collections", "1")], &[]));
    assert_eq!(world.rejected(Command::CreateCollection(create_collection("a", "two"))).code(), 102);
    world.run(alter_database("a", &[], &["database.max.collections"]));
    world.run(Command::CreateCollection(create_collection("a", "two")));
    assert_eq!(world.view().collections_in(100).unwrap(), 2);
}
