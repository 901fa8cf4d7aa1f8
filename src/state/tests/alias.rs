//! Aliases by example.

use std::collections::BTreeMap;

use prost::Message;
use roost_raft::kv::Txn;

use super::support::*;
use crate::pb::store;
use crate::state::limits::{MAX_ALIASES, MAX_ALIASES_OF_DATABASE};
use crate::state::*;

/// Collections `books` (id 100) and `maps` (102) in the default database, `books` (105) in `shelf` (104).
fn world() -> World {
    let mut world = World::default();
    for name in ["books", "maps"] {
        world.run(Command::CreateCollection(create_collection("", name)));
    }
    world.run(create_database("shelf"));
    world.run(Command::CreateCollection(create_collection("shelf", "books")));
    world
}

fn set(collection_id: i64, changed: bool) -> Reply {
    Reply::AliasSet { collection_id, changed }
}

fn aliases_of(world: &World, collection_id: i64) -> Vec<String> {
    let row = world.view().collection_by_id(collection_id).unwrap().unwrap();
    let aliases = world.view().aliases_of(&row).unwrap();
    assert_eq!(aliases.len(), row.aliases as usize);
    aliases
}

/// A change and its opposite are two changes.
fn but_revisions(world: &World) -> BTreeMap<Vec<u8>, Vec<u8>> {
    const COLLECTION: u8 = 0x30;
    let mut facts = world.facts();
    for (_, row) in facts.iter_mut().filter(|(key, _)| key[0] == COLLECTION) {
        let collection = store::Collection::decode(&**row).unwrap();
        *row = store::Collection { revision: 0, ..collection }.encode_to_vec();
    }
    facts
}

#[test]
fn an_alias_is_created_moved_and_dropped() {
    let mut world = world();
    let before = but_revisions(&world);
    let (reply, events) = world.apply(&entry(START_MS, None, create_alias("", "a", "books")));
    assert_eq!(Reply::decode(&reply).unwrap(), set(100, true));
    assert_eq!(events, [Event::AliasSet { database_id: 1, collection_id: 100, name: "a".into() }]);
    world.run(create_alias("default", "b", "books"));
    assert_eq!(aliases_of(&world, 100), ["a", "b"]);
    assert_eq!(world.view().alias(1, "a").unwrap(), Some(100));

    let (reply, events) = world.apply(&entry(START_MS, None, alter_alias("", "a", "maps")));
    assert_eq!(Reply::decode(&reply).unwrap(), set(102, true));
    let left = Event::AliasDropped { database_id: 1, collection_id: 100, name: "a".into() };
    assert_eq!(events, [left, Event::AliasSet { database_id: 1, collection_id: 102, name: "a".into() }]);
    assert_eq!((aliases_of(&world, 100), aliases_of(&world, 102)), (vec!["b".to_owned()], vec!["a".to_owned()]));
    assert_eq!(world.view().aliases(1, None, 9).unwrap(), [("a".to_owned(), 102), ("b".to_owned(), 100)]);
    assert_eq!(world.view().aliases(1, Some("a"), 9).unwrap(), [("b".to_owned(), 100)]);

    let (reply, events) = world.apply(&entry(START_MS, None, drop_alias("", "a")));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::AliasDropped { collection_id: Some(102) });
    assert_eq!(events, [Event::AliasDropped { database_id: 1, collection_id: 102, name: "a".into() }]);
    world.run(drop_alias("", "b"));
    assert_eq!(but_revisions(&world), before, "nothing is left over");
}

#[test]
fn the_same_again_is_a_success_without_a_change() {
    let mut world = world();
    world.run(create_alias("", "a", "books"));
    let before = world.facts();
    assert_eq!(world.run(create_alias("", "a", "books")), set(100, false));
    assert_eq!(world.run(alter_alias("", "a", "books")), set(100, false));
    for missing in ["b", "books", "", "not a name", &"x".repeat(9999)] {
        assert_eq!(world.run(drop_alias("", missing)), Reply::AliasDropped { collection_id: None }, "{missing}");
    }
    assert_eq!(world.facts(), before);
}

#[test]
fn names_of_collections_and_aliases_do_not_meet() {
    let mut world = world();
    world.run(create_alias("", "a", "books"));
    let before = world.facts();
    for command in [create_alias("", "maps", "books"), alter_alias("", "maps", "books")] {
        let refusal = world.rejected(command);
        let text = "alias and collection name conflict[database=default][alias=maps]";
        assert_eq!((refusal.code(), refusal.reason().as_str()), (1601, text));
    }
    let refusal = world.rejected(create_alias("", "a", "maps"));
    let text = "a is alias to another collection: books: alias already exist[database=default][alias=a]";
    assert_eq!((refusal.code(), refusal.reason().as_str()), (1602, text));
    let refusal = world.rejected(Command::CreateCollection(create_collection("", "a")));
    assert_eq!(refusal.code(), 65535);
    assert!(refusal.reason().contains("collection name [a] conflicts with an existing alias"));
    assert_eq!(world.facts(), before);
    // Elsewhere the names are free.
    assert_eq!(world.run(create_alias("shelf", "maps", "books")), set(105, true));
    world.run(Command::CreateCollection(create_collection("shelf", "a")));
}

#[test]
fn refusals() {
    let mut world = world();
    world.run(create_alias("", "a", "books"));
    let before = world.facts();
    assert_eq!(world.rejected(create_alias("nowhere", "x", "books")).code(), 800);
    assert_eq!(world.rejected(alter_alias("nowhere", "x", "books")).code(), 800);
    assert_eq!(world.rejected(drop_alias("nowhere", "x")).code(), 800);
    assert_eq!(world.rejected(create_alias("", "x", "missing")).code(), 100);
    assert_eq!(world.rejected(create_alias("shelf", "x", "maps")).code(), 100, "a collection of another database");
    assert_eq!(world.rejected(create_alias("", "x", "a")).code(), 100, "an alias of an alias");
    let refusal = world.rejected(alter_alias("", "x", "books"));
    assert_eq!((refusal.code(), refusal.reason().as_str()), (1600, "alias not found[database=default][alias=x]"));
    for (bad, text) in [
        ("", "collection alias should not be empty: invalid parameter"),
        (
            "1x",
            "Invalid collection alias: 1x. the first character of a collection alias must be an underscore or \
             letter: invalid parameter",
        ),
        (
            "a-b",
            "Invalid collection alias: a-b. collection alias can only contain numbers, letters and underscores: \
             invalid parameter",
        ),
    ] {
        assert_eq!(world.rejected(create_alias("", bad, "books")).reason(), text);
        assert_eq!(world.rejected(alter_alias("", bad, "books")).code(), 1100);
    }
    let long = world.rejected(create_alias("", &"x".repeat(256), "books")).reason();
    assert!(long.contains("the length of a collection alias must be less than 255 characters"), "{long}");
    assert_eq!(world.facts(), before);
}

#[test]
fn a_collection_is_dropped_by_its_own_name_and_after_its_aliases() {
    let mut world = world();
    world.run(create_alias("", "b", "books"));
    world.run(create_alias("", "a", "books"));
    let refusal = world.rejected(drop_collection("", "a"));
    assert_eq!(refusal.reason(), "cannot drop the collection via alias = a: invalid parameter");
    let refusal = world.rejected(drop_collection("", "books"));
    assert_eq!(
        refusal.reason(),
        "unable to drop the collection [books] because it has associated aliases [a b], please remove all aliases \
         before dropping the collection: invalid parameter"
    );
    world.run(drop_alias("", "a"));
    assert_eq!(world.rejected(drop_collection("", "books")).code(), 1100);
    world.run(drop_alias("", "b"));
    assert_eq!(world.run(drop_collection("", "books")), Reply::CollectionDropped { collection_id: Some(100) });
    // Now the name is free for an alias.
    assert_eq!(world.run(create_alias("", "books", "maps")), set(102, true));
}

#[test]
fn an_alias_stands_for_its_collection() {
    let mut world = world();
    world.run(create_alias("", "a", "books"));
    assert_eq!(world.view().collection(1, "a").unwrap().unwrap().name, "books");
    assert_eq!(world.run(create_partition("a", "p")), Reply::PartitionCreated { partition_id: 107, existed: false });
    assert_eq!(world.run(create_partition("books", "p")), Reply::PartitionCreated { partition_id: 107, existed: true });
    let altered = world.run(alter("a", &[("k", "v")], &[]));
    assert_eq!(altered, Reply::CollectionAltered { collection_id: 100, changed: true });
    world.run(alter_alias("", "a", "maps"));
    assert_eq!(world.run(drop_partition("a", "p")), Reply::PartitionDropped { partition_id: None });
    assert_eq!(world.run(drop_partition("books", "p")), Reply::PartitionDropped { partition_id: Some(107) });
    assert_eq!(world.view().collection(1, "a").unwrap().unwrap().name, "maps");
    assert_eq!(world.view().collection(104, "a").unwrap(), None, "not in another database");
}

#[test]
fn a_collection_has_a_limited_number_of_aliases() {
    let mut world = world();
    for number in 0..MAX_ALIASES {
        world.run(create_alias("", &format!("a{number}"), "books"));
    }
    world.run(create_alias("", "other", "maps"));
    for command in [create_alias("", "one_more", "books"), alter_alias("", "other", "books")] {
        assert_eq!(world.rejected(command).code(), 9);
    }
    assert_eq!(aliases_of(&world, 100).len(), MAX_ALIASES as usize);
    assert_eq!(world.view().alias(1, "other").unwrap(), Some(102));
}

#[test]
fn renaming_keeps_aliases_within_a_database_and_goes_by_the_own_name() {
    let mut world = world();
    world.run(create_alias("", "a", "books"));
    let rename = |command| Command::Collection(CollectionChange::Rename(command));
    let refusal = world.rejected(rename(rename_collection("a", "b")));
    let text = "unsupported use an alias to rename collection, alias:a: invalid parameter";
    assert_eq!((refusal.code(), refusal.reason().as_str()), (1100, text));
    let refusal = world.rejected(rename(rename_collection("maps", "a")));
    let text = "alias and collection name conflict[database=default][alias=a]";
    assert_eq!((refusal.code(), refusal.reason().as_str()), (1601, text));
    let elsewhere = RenameCollection { new_database: "shelf".into(), ..rename_collection("books", "tomes") };
    let refusal = world.rejected(rename(elsewhere.clone()));
    let text = "fail to rename db name, must drop all aliases of this collection before rename: invalid parameter";
    assert_eq!((refusal.code(), refusal.reason().as_str()), (1100, text));

    world.run(rename(rename_collection("books", "tomes")));
    assert_eq!(world.view().collection(1, "a").unwrap().unwrap().name, "tomes");
    assert_eq!(aliases_of(&world, 100), ["a"]);
    world.run(drop_alias("", "a"));
    world.run(rename(RenameCollection { name: "tomes".into(), new_name: "scrolls".into(), ..elsewhere }));
    assert_eq!(world.view().collection(104, "scrolls").unwrap().unwrap().id, 100);
}

#[test]
fn a_database_has_a_limited_number_of_aliases() {
    let mut world = world();
    let use_of = |world: &World| tables::DATABASE_USE.get(&world.tables, &1).unwrap().unwrap();
    world.run(create_alias("", "a", "books"));
    world.run(create_alias("", "a", "books"));
    world.run(alter_alias("", "a", "maps"));
    assert_eq!(use_of(&world), store::DatabaseUse { collections: 2, aliases: 1 });

    // As if all but one were there.
    let mut txn = Txn::new(&world.tables);
    let nearly = store::DatabaseUse { collections: 2, aliases: MAX_ALIASES_OF_DATABASE - 1 };
    tables::DATABASE_USE.put(&mut txn, &1, &nearly);
    let rows = txn.into_rows();
    world.tables.commit(rows);
    world.run(create_alias("", "b", "books"));
    assert_eq!(world.rejected(create_alias("", "c", "books")).code(), 9);
    assert_eq!(world.run(create_alias("", "a", "maps")), set(102, false), "what is there needs no room");
    assert_eq!(world.run(alter_alias("", "a", "books")), set(100, true));
    world.run(drop_alias("", "b"));
    assert_eq!(world.run(create_alias("", "c", "books")), set(100, true));
}
