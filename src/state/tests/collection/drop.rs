//! Drops that take several steps.

use super::super::support::*;
use crate::pb::store;
use crate::state::limits::ERASED_ROWS;
use crate::state::*;

/// A collection with so many partitions: ids from 100 on.
fn world(partitions: usize) -> World {
    let mut world = World::default();
    world.run(extend(START_MS));
    let partitions = (0..partitions).map(|number| format!("p{number}")).collect();
    let limits = Limits { max_partitions: 5000, ..Limits::default() };
    let create = CreateCollection { partitions, limits, shards: 2, ..create_collection("", "wide") };
    assert!(matches!(world.run(Command::CreateCollection(create)), Reply::CollectionCreated { .. }));
    world
}

#[test]
fn a_large_collection_is_gone_at_once_for_everybody_and_its_rows_step_by_step() {
    let mut world = world(2 * ERASED_ROWS + 1);
    let before = world.rows().len();
    assert_eq!(world.run(drop_collection("", "wide")), Reply::CollectionDropped { collection_id: Some(100) });
    let deleted = before - world.rows().len();
    assert!(deleted <= 2 * ERASED_ROWS + 2, "{deleted} rows in one entry");

    let view = world.view();
    assert_eq!(view.collection(1, "wide").unwrap(), None);
    assert_eq!(view.collection_by_id(100).unwrap(), None);
    assert_eq!(view.partitions(100).unwrap(), []);
    assert_eq!(view.collections(1, None, 10).unwrap(), []);
    assert_eq!(view.collection_ids(1, None, 10).unwrap(), [0_i64; 0]);
    let row = view.collection_in_any_state(100).unwrap().unwrap();
    assert_eq!((row.state(), row.partitions as usize), (store::CollectionState::Dropping, ERASED_ROWS + 1));
    assert_eq!(view.partitions_of(&row).unwrap().len(), ERASED_ROWS + 1);
    assert_eq!(view.dropping(None, 10).unwrap(), [(1, 100)]);
    assert_eq!(view.dropping_in(1, None, 10).unwrap(), [100]);
    let totals = view.totals().unwrap();
    assert_eq!((totals.collections, totals.general_capacity, view.collections_in(1).unwrap()), (0, 0, 0));

    assert_eq!(world.run(erase_collection(100)), Reply::CollectionErased { more: true });
    assert_eq!(world.run(erase_collection(100)), Reply::CollectionErased { more: false });
    assert_eq!(world.view().collection_in_any_state(100).unwrap(), None);
    let left = [0x30, 0x31, 0x32, 0x35, 0x40, 0x41].map(|tag| world.count(tag));
    assert_eq!(left, [0; 6]);
    assert_eq!(world.run(erase_collection(100)), Reply::CollectionErased { more: false });
}

#[test]
fn the_name_can_be_used_again_before_the_drop_has_ended() {
    let mut world = world(ERASED_ROWS + 1);
    world.run(drop_collection("", "wide"));
    let again = Command::CreateCollection(create_collection("", "wide"));
    let Reply::CollectionCreated { collection_id, existed: false } = world.run(again) else { panic!("not created") };
    // The dropped one keeps its channels until the end.
    let row = world.view().collection(1, "wide").unwrap().unwrap();
    assert_eq!(row.pchannels, ["by-dev-rootcoord-dml_2"]);
    assert_eq!(world.run(erase_collection(100)), Reply::CollectionErased { more: false });
    assert_eq!(world.view().collection(1, "wide").unwrap().unwrap().id, collection_id);
    assert_eq!(world.view().partitions(collection_id).unwrap().len(), 1);
    world.run(drop_collection("", "wide"));
    assert_eq!([0x30, 0x35, 0x40].map(|tag| world.count(tag)), [0; 3]);
}

#[test]
fn a_collection_that_is_not_being_dropped_is_not_erased() {
    let mut world = world(3);
    let before = world.facts();
    assert_eq!(world.run(erase_collection(100)), Reply::CollectionErased { more: false });
    assert_eq!(world.facts(), before);
}

#[test]
fn nothing_that_serves_clients_reaches_a_collection_on_its_way_out() {
    let mut world = world(ERASED_ROWS + 1);
    world.run(drop_collection("", "wide"));
    for command in [
        create_partition("wide", "q"),
        drop_partition("wide", "p1"),
        alter("wide", &[("k", "v")], &[]),
        Command::Collection(CollectionChange::Rename(rename_collection("wide", "narrow"))),
    ] {
        assert_eq!(world.rejected(command).code(), 100);
    }
    assert_eq!(world.run(drop_collection("", "wide")), Reply::CollectionDropped { collection_id: None });
}

#[test]
fn a_database_may_go_while_something_of_its_last_collection_is_left() {
    let mut world = World::default();
    world.run(create_database("shelf"));
    let partitions = (0..=ERASED_ROWS).map(|number| format!("p{number}")).collect();
    let create = CreateCollection { partitions, ..create_collection("shelf", "wide") };
    let Reply::CollectionCreated { collection_id, .. } = world.run(Command::CreateCollection(create)) else {
        panic!("not created")
    };
    world.run(drop_collection("shelf", "wide"));
    assert!(matches!(world.run(drop_database("shelf")), Reply::DatabaseDropped { .. }));
    assert_eq!(world.run(erase_collection(collection_id)), Reply::CollectionErased { more: false });
    assert_eq!([0x30, 0x35, 0x40].map(|tag| world.count(tag)), [0; 3]);
}

#[test]
fn members_of_apply_version_3_drop_in_one_step() {
    let mut world = world(3 * ERASED_ROWS);
    world.apply_version = 3;
    world.run(drop_collection("", "wide"));
    assert_eq!([0x30, 0x35, 0x40, 0x41].map(|tag| world.count(tag)), [0; 4]);
}
