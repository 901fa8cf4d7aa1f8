//! Each rule of indexes and loads.

use prost::Message;

use super::*;
use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, DataType};

fn created(reply: Reply) -> (i64, bool) {
    match reply {
        Reply::Index(IndexReply::Created { index_id, existed }) => (index_id, existed),
        reply => panic!("{reply:?}"),
    }
}

fn refused(world: &mut World, command: Command) -> (i32, String) {
    let rejection = world.rejected(command);
    (rejection.code(), rejection.reason())
}

/// Creates a partition of "books" and returns its id.
fn partition(world: &mut World, name: &str) -> i64 {
    match world.run(create_partition("books", name)) {
        Reply::PartitionCreated { partition_id, .. } => partition_id,
        reply => panic!("{reply:?}"),
    }
}

fn default_partition(world: &World, collection: i64) -> i64 {
    world.view().partition(collection, DEFAULT_PARTITION).unwrap().unwrap().id
}

#[test]
fn a_field_has_one_index_and_the_same_one_again_is_a_success() {
    let (mut world, books) = world();
    let (first, existed) = created(world.run(create(index_of(books, 101, ""))));
    assert!(!existed);
    assert_eq!(world.view().indexes(books).unwrap()[0].name, "vector", "the field's name is the default");
    assert_eq!(created(world.run(create(index_of(books, 101, "")))), (first, true));
    assert_eq!(created(world.run(create(index_of(books, 101, "vector")))), (first, true));
    let mut other = index_of(books, 101, "");
    other.user_params[1].1 = "IP".into();
    let distinct = "CreateIndex failed: at most one distinct index is allowed per field: invalid parameter";
    assert_eq!(refused(&mut world, create(other.clone())), (1100, distinct.into()));
    let second = "CreateIndex failed: creating multiple indexes on same field is not supported: invalid parameter";
    assert_eq!(refused(&mut world, create(index_of(books, 101, "b"))), (1100, second.into()));
    assert_eq!(refused(&mut world, create(index_of(books, 100, "vector"))), (1100, distinct.into()));
    assert_eq!(world.count(0x80), 1);
}

#[test]
fn what_may_change_later_does_not_make_another_index() {
    let (mut world, books) = world();
    let (first, _) = created(world.run(create(index_of(books, 101, "i"))));
    let altered = world.run(alter_index(books, first, &[("mmap.enabled", "true")], &[]));
    assert_eq!(altered, Reply::Index(IndexReply::Altered { changed: true }));
    let row = world.view().indexes(books).unwrap().remove(0);
    assert_eq!(row.param("mmap.enabled"), Some("true"));
    assert_eq!((row.created_ts, row.updated_ts), (TS, TS + 1));
    assert_eq!(created(world.run(create(index_of(books, 101, "i")))), (first, true));
    assert_eq!(world.view().indexes(books).unwrap()[0].param("mmap.enabled"), Some("true"), "and nothing is lost");
}

#[test]
fn a_metric_that_the_server_chose_follows_the_index_that_is_there() {
    let (mut world, books) = world();
    let (first, _) = created(world.run(create(index_of(books, 101, ""))));
    let mut again = CreateIndex { metric_is_default: true, ..index_of(books, 101, "") };
    again.user_params[1].1 = "COSINE".into();
    again.index_params[1].1 = "COSINE".into();
    assert_eq!(created(world.run(create(again))), (first, true));
    assert_eq!(world.view().indexes(books).unwrap()[0].param("metric_type"), Some("L2"));
}

#[test]
fn a_json_field_has_an_index_for_each_path() {
    let (mut world, books) = world();
    let at = |path: &str, name: &str| {
        let mut index = index_of(books, 100, name);
        index.default_name = format!("id{path}");
        index.index_params.push(("json_path".into(), path.into()));
        create(index)
    };
    let (a, _) = created(world.run(at("/a", "")));
    let (b, _) = created(world.run(at("/b", "")));
    assert_ne!(a, b);
    assert_eq!(created(world.run(at("/b", ""))), (b, true));
    assert_eq!(refused(&mut world, at("/a", "third")).0, 1100);
    assert_eq!(refused(&mut world, drop_index(books, "")), (702, "index duplicates[indexName=]".into()));
    world.run(drop_index(books, "id/a"));
    assert_eq!(world.run(drop_index(books, "")), Reply::Index(IndexReply::Dropped { index_id: Some(b) }));
    assert_eq!(world.run(drop_index(books, "")), Reply::Index(IndexReply::Dropped { index_id: None }));
}

#[test]
fn what_is_missing_is_refused() {
    let (mut world, books) = world();
    let nowhere = (100, "collection not found[collection=999]".to_owned());
    for command in [
        create(index_of(999, 101, "")),
        alter_index(999, 1, &[], &[]),
        drop_index(999, ""),
        load(load_of(999)),
        load_partitions(999, &[1], 1),
        release(999),
        release_partitions(999, &[1]),
    ] {
        assert_eq!(refused(&mut world, command), nowhere);
    }
    assert_eq!(refused(&mut world, create(index_of(books, 7, ""))), (1700, "field not found[field=7]".into()));
    assert_eq!(refused(&mut world, alter_index(books, 7, &[], &[])), (700, "index not found[indexName=i]".into()));
    let (_, text) = refused(&mut world, alter_index(books, 7, &[("a", "b")], &["c"]));
    assert!(text.starts_with("cannot provide both DeleteKeys and ExtraParams"));
    let unindexed = (700, "index not found[collection=books]".to_owned());
    assert_eq!(refused(&mut world, load(load_of(books))), unindexed);
    world.run(create(index_of(books, 101, "")));
    assert_eq!(refused(&mut world, load_partitions(books, &[7], 1)), (200, "partition not found[partition=7]".into()));
    let empty = "invalid parameter[expected=any partition][actual=empty partition list]".to_owned();
    assert_eq!(refused(&mut world, load_partitions(books, &[], 1)), (1100, empty.clone()));
    assert_eq!(refused(&mut world, release_partitions(books, &[])), (1100, empty));
    let fields = load(LoadCollection { fields: vec![101, 7], ..load_of(books) });
    assert_eq!(refused(&mut world, fields).0, 1700);
    let replicas = load(LoadCollection { replicas: Vec::new(), ..load_of(books) });
    assert_eq!(refused(&mut world, replicas).0, 1100);
    let replicas = load(LoadCollection { replicas: vec!["g".into(); 129], ..load_of(books) });
    assert_eq!(refused(&mut world, replicas).0, 1100);
}

#[test]
fn every_vector_field_that_is_loaded_needs_an_index() {
    let mut world = World::default();
    let mut declared: CollectionSchema = schema("books");
    declared.fields.push(field(102, "second", DataType::SparseFloatVector));
    let command = CreateCollection { schema: declared.encode_to_vec(), ..create_collection("", "books") };
    let Reply::CollectionCreated { collection_id: books, .. } = world.run(Command::CreateCollection(command)) else {
        panic!()
    };
    world.run(create(index_of(books, 100, "scalar")));
    let all = load(LoadCollection { fields: vec![102, 101, 100], ..load_of(books) });
    let text = "there is no vector index on field: [vector second], please create index firstly: invalid parameter";
    assert_eq!(refused(&mut world, all), (1100, text.into()));
    world.run(create(index_of(books, 101, "")));
    world.run(load(load_of(books)));
    assert_eq!(world.view().load(books).unwrap().unwrap().fields, [100, 101]);
}

#[test]
fn a_loaded_collection_keeps_its_vector_indexes_and_parameters() {
    let (mut world, books) = world();
    let (index, _) = created(world.run(create(index_of(books, 101, ""))));
    world.run(create(index_of(books, 100, "scalar")));
    world.run(load(load_of(books)));
    let text = format!("vector index cannot be dropped on loaded collection: {books}: invalid parameter");
    assert_eq!(refused(&mut world, drop_index(books, "vector")), (1100, text));
    let loaded = "can't alter index on loaded collection, please release the collection first: \
                  collection already loaded[collection=books]";
    assert_eq!(refused(&mut world, alter_index(books, index, &[], &["mmap.enabled"])), (104, loaded.into()));
    // A scalar one may go.
    assert!(matches!(world.run(drop_index(books, "scalar")), Reply::Index(IndexReply::Dropped { index_id: Some(_) })));
    world.run(release(books));
    world.run(drop_index(books, "vector"));
    assert_eq!(world.count(0x80), 0);
}

#[test]
fn a_load_takes_on_another_way_and_keeps_its_replicas() {
    let (mut world, books) = world();
    world.run(create(index_of(books, 101, "")));
    assert_eq!(world.run(load(load_of(books))), Reply::Load(LoadReply::Loaded { changed: true }));
    let first = world.view().load(books).unwrap().unwrap();
    assert_eq!(world.run(load(load_of(books))), Reply::Load(LoadReply::Loaded { changed: false }));
    let two = LoadCollection { replicas: vec!["h".into(), "g".into()], ts: TS + 5, ..load_of(books) };
    assert_eq!(world.run(load(two)), Reply::Load(LoadReply::Loaded { changed: true }));
    let second = world.view().load(books).unwrap().unwrap();
    assert_eq!(second.replicas[1], first.replicas[0]);
    assert_ne!(second.replicas[0].id, first.replicas[0].id);
    assert_eq!((second.created_ts, second.updated_ts), (TS, TS + 5));
    let partition = default_partition(&world, books);
    let text = "can't change the replica number for loaded partitions: invalid parameter[expected=2][actual=1]";
    assert_eq!(refused(&mut world, load_partitions(books, &[partition], 1)), (1100, text.into()));
}

#[test]
fn new_partitions_of_a_loaded_collection_are_loaded_and_others_are_not() {
    let (mut world, books) = world();
    world.run(create(index_of(books, 101, "")));
    let p = partition(&mut world, "p");
    let holds = |world: &World, id| world.view().load(books).unwrap().is_some_and(|load| load.holds(id));
    let default = default_partition(&world, books);

    world.run(load_partitions(books, &[p], 1));
    assert!(holds(&world, p) && !holds(&world, default));
    let q = partition(&mut world, "q");
    assert!(!holds(&world, q));

    world.run(load(load_of(books)));
    world.run(release_partitions(books, &[q]));
    let r = partition(&mut world, "r");
    assert!(holds(&world, p) && !holds(&world, q) && holds(&world, r));
    world.run(load_partitions(books, &[q], 1));
    assert!(holds(&world, q));
}

#[test]
fn with_its_last_partition_a_collection_is_released() {
    let (mut world, books) = world();
    world.run(create(index_of(books, 101, "")));
    let (p, default) = (partition(&mut world, "p"), default_partition(&world, books));
    for whole in [false, true] {
        world.run(if whole { load(load_of(books)) } else { load_partitions(books, &[p, default], 1) });
        assert_eq!(world.run(release_partitions(books, &[p])), Reply::Load(LoadReply::Released { changed: true }));
        assert_eq!(world.run(release_partitions(books, &[p])), Reply::Load(LoadReply::Released { changed: false }));
        assert!(world.view().load(books).unwrap().is_some());
        let (_, events) = world.apply(&entry(START_MS, None, release_partitions(books, &[default])));
        assert_eq!(events, [Event::LoadEnded { collection_id: books }]);
        assert_eq!(world.view().load(books).unwrap(), None);
    }
    assert_eq!(world.run(release(books)), Reply::Load(LoadReply::Released { changed: false }));
}

#[test]
fn a_released_partition_that_is_dropped_leaves_nothing_behind() {
    let (mut world, books) = world();
    world.run(create(index_of(books, 101, "")));
    let p = partition(&mut world, "p");
    world.run(load(load_of(books)));
    let text = "partition cannot be dropped, partition is loaded, please release it first: invalid parameter";
    assert_eq!(refused(&mut world, drop_partition("books", "p")), (1100, text.into()));
    world.run(release_partitions(books, &[p]));
    world.run(drop_partition("books", "p"));
    assert_eq!(world.view().load(books).unwrap().unwrap().partitions, [] as [i64; 0]);
}

#[test]
fn a_dropped_collection_takes_its_indexes_and_its_load_with_it() {
    let (mut world, books) = world();
    world.run(create(index_of(books, 101, "")));
    world.run(load(load_of(books)));
    world.run(drop_collection("", "books"));
    assert_eq!((world.count(0x80), world.count(0x90)), (0, 0));
    assert!(matches!(world.rejected(release(books)), Rejection::CollectionIdNotFound { .. }));
}

#[test]
fn a_collection_has_a_bounded_number_of_indexes() {
    let (mut world, books) = world();
    let at = |number: usize| {
        let mut index = index_of(books, 100, &format!("i{number}"));
        index.index_params.push(("json_path".into(), format!("/{number}")));
        create(index)
    };
    for number in 0..limits::MAX_INDEXES {
        created(world.run(at(number)));
    }
    let text = "a collection may have 1024 indexes at most: invalid parameter";
    assert_eq!(refused(&mut world, at(limits::MAX_INDEXES)), (1100, text.into()));
}
