//! What may not change while a collection is loaded, or has a vector index.

use super::*;

fn settings(set: &[(&str, &str)]) -> Command {
    let set = set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    change(CollectionChange::Settings(AlterSettings { set, description: None, ..alter_settings("books", "") }))
}

fn field_params(set: &[(&str, &str)], delete: &[&str]) -> Command {
    change(CollectionChange::AlterField(alter_field("books", "vector", set, delete)))
}

/// Loaded.
fn loaded() -> (World, i64) {
    let (mut world, books) = world();
    world.run(alter("books", &[("mmap.enabled", "false"), ("warmup.vectorIndex", "sync"), ("other", "1")], &[]));
    world.run(create(index_of(books, 101, "i")));
    let done = world.run(load(load_of(books)));
    assert_eq!(done, Reply::Load(LoadReply::Loaded { changed: true }));
    (world, books)
}

#[test]
fn how_data_is_brought_into_memory_does_not_change_while_it_is_there() {
    let (mut world, books) = loaded();
    for (command, start) in [
        (alter("books", &[("mmap.enabled", "true")], &[]), "can not alter mmap properties"),
        (settings(&[("mmap.enabled", "true")]), "can not alter mmap properties"),
        (alter("books", &[("other", "2"), ("warmup.vectorIndex", "disable")], &[]), "can not alter warmup properties"),
        (alter("books", &[], &["mmap.enabled"]), "can not delete mmap properties"),
        (alter("books", &[], &["warmup.vectorIndex"]), "can not delete warmup.vectorIndex properties"),
        (field_params(&[("mmap.enabled", "true")], &[]), "can not alter collection field properties"),
        (field_params(&[("mmap_enabled", "true")], &[]), "can not alter collection field properties"),
        (field_params(&[("warmup", "sync")], &[]), "can not alter warmup"),
        (field_params(&[], &["mmap.enabled"]), "can not drop collection field properties"),
    ] {
        let refusal = world.rejected(command);
        let text = format!("{start} if collection loaded: collection already loaded[collection=books]");
        assert_eq!((refusal.code(), refusal.reason()), (104, text));
    }
    let changed = Reply::CollectionAltered { collection_id: books, changed: true };
    assert_eq!(world.run(alter("books", &[("other", "2")], &[])), changed, "the rest may");
    world.run(release(books));
    assert_eq!(world.run(alter("books", &[("mmap.enabled", "true")], &[])), changed);
    assert_eq!(world.run(field_params(&[("warmup", "sync")], &[])), changed);
}

#[test]
fn isolation_changes_before_there_is_a_vector_index() {
    let (mut world, books) = world();
    let isolated = |value: &str| alter("books", &[("partitionkey.isolation", value)], &[]);
    world.run(isolated("true"));
    world.run(create(index_of(books, 101, "i")));
    let text = |what: &str| {
        let hint = "if the collection already has a vector index. Please drop the index first";
        format!("can not alter {what} {hint}: index duplicates[indexName=i]")
    };
    let refusal = world.rejected(isolated("false"));
    assert_eq!((refusal.code(), refusal.reason()), (702, text("partition key isolation mode")));
    let refusal = world.rejected(alter("books", &[], &["partitionkey.isolation"]));
    assert_eq!((refusal.code(), refusal.reason()), (702, text("partitionkey.isolation")));
    assert_eq!(world.rejected(settings(&[("partitionkey.isolation", "false")])).code(), 702);
    // What stays as it is does not matter.
    assert!(matches!(world.run(isolated("True")), Reply::CollectionAltered { .. }));
    assert!(matches!(world.run(alter("books", &[("other", "1")], &[])), Reply::CollectionAltered { .. }));
    world.run(drop_index(books, "i"));
    assert!(matches!(world.run(isolated("false")), Reply::CollectionAltered { changed: true, .. }));
    // An index of another field is not in the way.
    world.run(create(index_of(books, 100, "k")));
    assert!(matches!(world.run(isolated("true")), Reply::CollectionAltered { changed: true, .. }));
}

#[test]
fn members_of_apply_version_4_let_it_pass() {
    let (mut world, books) = loaded();
    world.apply_version = 4;
    let changed = Reply::CollectionAltered { collection_id: books, changed: true };
    assert_eq!(world.run(alter("books", &[("mmap.enabled", "true")], &[])), changed);
    assert_eq!(world.run(field_params(&[("warmup", "sync")], &[])), changed);
    assert_eq!(world.run(alter("books", &[("partitionkey.isolation", "true")], &[])), changed);
}
