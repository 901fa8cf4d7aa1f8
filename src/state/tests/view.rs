//! Queries: pages, order, and what is missing.

use super::support::*;
use crate::state::*;

#[test]
fn collections_by_name_and_by_id_a_page_at_a_time() {
    let mut world = World::default();
    world.run(create_database("other"));
    for name in ["c", "a", "d", "b"] {
        world.run(Command::CreateCollection(create_collection("", name)));
    }
    world.run(Command::CreateCollection(create_collection("other", "a")));
    let view = world.view();
    let names = |after, limit| -> Vec<String> {
        view.collections(1, after, limit).unwrap().into_iter().map(|row| row.name).collect()
    };
    assert_eq!(names(None, 3), ["a", "b", "c"]);
    assert_eq!(names(Some("c"), 3), ["d"]);
    assert_eq!(names(Some("bb"), 1), ["c"]);
    assert_eq!(names(None, 0), [""; 0]);
    assert_eq!(view.collection_ids(1, None, 3).unwrap(), [101, 103, 105]);
    assert_eq!(view.collection_ids(1, Some(105), 3).unwrap(), [107]);
    assert_eq!(view.collection_ids(100, None, 3).unwrap(), [109]);
    assert_eq!(view.collections_in(1).unwrap(), 4);
    assert_eq!(view.collection(100, "b").unwrap(), None);
    assert_eq!(view.collection_by_id(1).unwrap(), None);
    assert_eq!(view.partitions(1).unwrap(), []);
}

#[test]
fn databases_by_name() {
    let mut world = World::default();
    for name in ["z", "a"] {
        world.run(create_database(name));
    }
    let view = world.view();
    let names = |after, limit| -> Vec<String> {
        view.databases(after, limit).unwrap().into_iter().map(|row| row.name).collect()
    };
    assert_eq!(names(None, 9), ["a", "default", "z"]);
    assert_eq!(names(Some("a"), 1), ["default"]);
    assert_eq!(view.totals().unwrap().databases, 2);
}
