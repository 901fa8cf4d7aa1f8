//! Renaming by example.

use super::super::support::*;
use crate::state::*;

fn rename(command: RenameCollection) -> Command {
    Command::Collection(CollectionChange::Rename(command))
}

fn world() -> World {
    let mut world = World::default();
    world.run(create_database("shelf"));
    for (database, name) in [("", "books"), ("", "maps"), ("shelf", "maps")] {
        world.run(Command::CreateCollection(create_collection(database, name)));
    }
    world
}

#[test]
fn a_new_name_means_the_same_collection() {
    let mut world = world();
    let old = world.view().collection(1, "books").unwrap().unwrap();
    let (reply, events) = world.apply(&entry(START_MS, None, rename(rename_collection("books", "tomes"))));
    let altered = Reply::CollectionAltered { collection_id: old.id, changed: true };
    assert_eq!(Reply::decode(&reply).unwrap(), altered);
    let (old_name, name) = ("books".to_owned(), "tomes".to_owned());
    let (database_id, collection_id) = (1, old.id);
    let renamed = Event::CollectionRenamed { old_database_id: 1, old_name, database_id, name, collection_id };
    assert_eq!(events, [renamed]);
    assert_eq!(world.view().collection(1, "books").unwrap(), None);
    let new = world.view().collection(1, "tomes").unwrap().unwrap();
    assert_eq!(new.decoded_schema().unwrap(), schema("tomes"));
    assert_eq!(new.updated_ts, TS + 1);
    assert_eq!((new.id, &new.vchannels, new.partitions), (old.id, &old.vchannels, old.partitions));
    // The same declaration under the new name is this collection.
    let again = Command::CreateCollection(create_collection("", "tomes"));
    assert_eq!(world.run(again), Reply::CollectionCreated { collection_id: old.id, existed: true });
}

#[test]
fn a_collection_moves_between_databases_with_its_counts() {
    let mut world = world();
    let id = world.view().collection(1, "books").unwrap().unwrap().id;
    let shelf = world.view().database("shelf").unwrap().unwrap().id;
    let command = RenameCollection { new_database: "shelf".into(), ..rename_collection("books", "books") };
    world.run(rename(command));
    assert_eq!(world.view().collection(1, "books").unwrap(), None);
    assert_eq!(world.view().collection(shelf, "books").unwrap().unwrap().id, id);
    assert_eq!((world.view().collections_in(1).unwrap(), world.view().collections_in(shelf).unwrap()), (1, 2));
    assert!(world.view().collection_ids(shelf, None, 9).unwrap().contains(&id));
    // Back, from a database that is not the default one.
    let command = RenameCollection {
        database: "shelf".into(),
        new_database: "default".into(),
        ..rename_collection("books", "tomes")
    };
    world.run(rename(command));
    assert_eq!(world.view().collection(1, "tomes").unwrap().unwrap().id, id);
}

#[test]
fn refusals_have_milvus_texts_and_change_nothing() {
    let mut world = world();
    let encrypted = CreateDatabase {
        name: "secret".into(),
        properties: vec![("cipher.enabled".into(), "true".into())],
        ts: TS,
        limits: Limits::default(),
    };
    world.run(Command::CreateDatabase(encrypted));
    let before = world.facts();
    let to = |database: &str, command: RenameCollection| RenameCollection { new_database: database.into(), ..command };
    let few = Limits { max_collections_per_database: 1, ..Limits::default() };
    for (command, code, text) in [
        (
            rename_collection("books", "books"),
            1100,
            "collection name or database name should be different: invalid parameter",
        ),
        (
            rename_collection("books", "maps"),
            1100,
            "duplicated new collection name default:maps with other collection name or alias: invalid parameter",
        ),
        (
            to("shelf", rename_collection("books", "maps")),
            1100,
            "duplicated new collection name shelf:maps with other collection name or alias: invalid parameter",
        ),
        (rename_collection("none", "new"), 100, "collection not found[database=default][collection=none]"),
        (to("nowhere", rename_collection("books", "new")), 800, "database not found[database=nowhere]"),
        (
            rename_collection("books", "1st"),
            1100,
            "Invalid collection name: 1st. the first character of a collection name must be an underscore or letter: \
             invalid parameter",
        ),
        (
            to("secret", rename_collection("books", "new")),
            3000,
            "deny to change collection databases due to at least one database enabled encryption, original DB: \
             default, target DB: secret: unsupported operation",
        ),
        (
            RenameCollection { limits: few, ..to("shelf", rename_collection("books", "new")) },
            102,
            "exceeded the limit number of collections[dbName=shelf][limit=1]",
        ),
    ] {
        let refusal = world.rejected(rename(command));
        assert_eq!((refusal.code(), refusal.reason().as_str()), (code, text));
    }
    assert_eq!(world.facts(), before);
}
