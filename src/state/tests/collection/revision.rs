//! Revisions, and changes that are made only at one.

use roost_raft::machine::Machine;

use super::super::support::*;
use crate::state::*;

/// Of the collection with the first id.
fn revision(world: &World) -> u64 {
    world.view().collection_in_any_state(100).unwrap().unwrap().revision()
}

fn at(revision: u64, change: ConditionalChange) -> Command {
    Command::Conditional(Conditional { revision, change })
}

fn create() -> ConditionalChange {
    ConditionalChange::Create(create_collection("", "books"))
}

fn set(key: &str, value: &str) -> ConditionalChange {
    match alter("books", &[(key, value)], &[]) {
        Command::AlterCollectionProperties(command) => ConditionalChange::Properties(command),
        other => panic!("{other}"),
    }
}

fn drop_named(name: &str) -> ConditionalChange {
    ConditionalChange::Drop(DropCollection { database: String::new(), name: name.into() })
}

/// A world with the collection `books`, created by the second entry of its log.
fn with_books() -> World {
    let mut world = World::default();
    world.run(extend(1));
    world.run(create().unconditional());
    assert_eq!(world.view().collection(1, "books").unwrap().unwrap().revision(), 2);
    world
}

#[test]
fn whatever_a_description_shows_is_another_revision() {
    let mut world = World::default();
    world.run(create().unconditional());
    world.run(Command::CreateCollection(create_collection("", "maps")));
    for command in [
        alter("books", &[("a", "b")], &[]),
        change(CollectionChange::Settings(alter_settings("books", "about"))),
        change(CollectionChange::EnableDynamicField(enable_dynamic_field("books"))),
        change(CollectionChange::AlterField(alter_field("books", "vector", &[("mmap.enabled", "true")], &[]))),
        change(CollectionChange::Truncate(truncate_collection("books", TS + 1))),
        create_partition("books", "p"),
        drop_partition("books", "p"),
        create_alias("", "tomes", "books"),
        alter_alias("", "tomes", "maps"),
        alter_alias("", "tomes", "books"),
        drop_alias("", "tomes"),
        change(CollectionChange::Rename(rename_collection("books", "volumes"))),
    ] {
        let line = command.to_string();
        let reply = world.run(command);
        assert!(!matches!(reply, Reply::Rejected(_)), "{line}: {reply:?}");
        assert_eq!(revision(&world), world.index, "{line}");
    }
    // What changes nothing is no revision.
    let last = revision(&world);
    world.run(create_partition("volumes", "_default"));
    world.run(alter("volumes", &[("a", "b")], &[]));
    assert_eq!(revision(&world), last);
}

#[test]
fn a_change_is_made_only_at_its_revision() {
    let mut world = World::default();
    // Brings the default database.
    world.run(extend(1));
    let refused = |world: &mut World, command: Command| {
        let before = world.facts();
        let refusal = world.rejected(command);
        assert_eq!(world.facts(), before);
        (refusal.code(), refusal.reason())
    };
    let text = |actual: u64, expected: u64| {
        (1100, format!("collection books is at revision {actual}, not {expected}: invalid parameter"))
    };
    assert_eq!(refused(&mut world, at(1, create())), text(0, 1));
    assert_eq!(world.run(at(0, create())), Reply::CollectionCreated { collection_id: 100, existed: false });
    assert_eq!(refused(&mut world, at(0, create())), text(3, 0));
    let changed = Reply::CollectionAltered { collection_id: 100, changed: true };
    assert_eq!(world.run(at(3, set("a", "b"))), changed);
    assert_eq!(refused(&mut world, at(3, set("a", "c"))), text(5, 3));
    let described = ConditionalChange::Settings(alter_settings("books", "about"));
    assert_eq!(world.run(at(5, described)), changed);
    let dynamic = ConditionalChange::EnableDynamicField(enable_dynamic_field("books"));
    assert_eq!(refused(&mut world, at(5, dynamic.clone())), text(7, 5));
    assert_eq!(world.run(at(7, dynamic)), changed);
    world.run(create_partition("books", "p"));
    assert_eq!(refused(&mut world, at(9, drop_named("books"))), text(10, 9));
    assert_eq!(world.run(at(10, drop_named("books"))), Reply::CollectionDropped { collection_id: Some(100) });
    assert_eq!(refused(&mut world, at(10, drop_named("books"))), text(0, 10));
    // The revision is not the only reason for a refusal.
    let nowhere = ConditionalChange::Drop(DropCollection { database: "x".into(), name: "books".into() });
    assert_eq!(refused(&mut world, at(0, nowhere)).0, 800);
}

#[test]
fn of_two_who_saw_the_same_one_is_told() {
    let mut world = with_books();
    for shared in [false, true] {
        let mut world = world.clone();
        assert!(matches!(world.run(at(2, set("by", "one"))), Reply::CollectionAltered { changed: true, .. }));
        // Commands that share an entry of the log share its place.
        world.index -= u64::from(shared);
        assert_eq!(world.rejected(at(2, set("by", "two"))).code(), 1100);
    }
    // A change without a condition counts as well.
    world.run(alter("books", &[("by", "three")], &[]));
    assert_eq!(world.rejected(at(2, set("by", "one"))).code(), 1100);
}

#[test]
fn another_collection_of_the_same_name_is_at_another_revision() {
    let mut world = with_books();
    world.run(drop_collection("", "books"));
    world.run(create().unconditional());
    assert_eq!(world.rejected(at(2, drop_named("books"))).code(), 1100);
    assert!(world.view().collection(1, "books").unwrap().is_some());
}

#[test]
fn an_alias_stands_for_its_collection() {
    let mut world = with_books();
    world.run(create_alias("", "tomes", "books"));
    let command = AlterCollectionProperties {
        database: String::new(),
        collection: "tomes".into(),
        set: vec![("a".into(), "b".into())],
        delete: Vec::new(),
        ts: TS,
    };
    let alter = ConditionalChange::Properties(command);
    assert_eq!(world.rejected(at(2, alter.clone())).code(), 1100);
    assert!(matches!(world.run(at(3, alter)), Reply::CollectionAltered { changed: true, .. }));
    let refused = world.rejected(at(5, drop_named("tomes")));
    assert!(refused.reason().contains("cannot drop the collection via alias"), "{}", refused.reason());
}

#[test]
fn a_copy_is_answered_as_the_first_was() {
    let mut world = with_books();
    let alter = entry(START_MS, Some(request(1)), at(2, set("a", "b")));
    let late = entry(START_MS, Some(request(2)), at(2, set("a", "c")));
    let done = world.apply(&alter).0;
    let refused = world.apply(&late).0;
    let facts = world.facts();
    assert_eq!(Reply::decode(&done).unwrap(), Reply::CollectionAltered { collection_id: 100, changed: true });
    assert!(matches!(Reply::decode(&refused).unwrap(), Reply::Rejected(_)));
    for (copy, first) in [(&alter, &done), (&late, &refused), (&alter, &done)] {
        assert_eq!(world.apply(copy).0, *first);
    }
    assert_eq!(world.facts(), facts);
}

#[test]
fn a_collection_of_an_older_version_has_a_revision() {
    let mut world = World { apply_version: 5, ..World::default() };
    world.run(create().unconditional());
    world.run(alter("books", &[("a", "b")], &[]));
    assert_eq!(world.view().collection(1, "books").unwrap().unwrap().revision, 0, "as members of that version have it");
    world.apply_version = Roost::APPLY_VERSION;
    assert_eq!(revision(&world), 1);
    world.run(at(1, set("a", "c")));
    assert_eq!(revision(&world), 3);
    assert_eq!(at(1, create()).min_apply_version(), 6);
}
