//! Partitions by example.

use prost::Message;

use super::support::*;
use crate::pb::schema::FieldSchema;
use crate::state::*;

fn world() -> World {
    let mut world = World::default();
    world.run(Command::CreateCollection(create_collection("", "books")));
    world
}

#[test]
fn create_and_drop_are_idempotent_and_counted() {
    let mut world = world();
    let (reply, events) = world.apply(&entry(START_MS, None, create_partition("books", "p")));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::PartitionCreated { partition_id: 102, existed: false });
    assert_eq!(events, [Event::PartitionCreated { collection_id: 100, partition_id: 102, name: "p".into() }]);
    let again = world.run(create_partition("books", "p"));
    assert_eq!(again, Reply::PartitionCreated { partition_id: 102, existed: true });
    assert_eq!(world.view().partition(100, "p").unwrap().unwrap().created_ts, TS);
    assert_eq!(world.view().collection_by_id(100).unwrap().unwrap().partitions, 2);
    assert_eq!(world.view().totals().unwrap().general_capacity, 2);

    let dropped = world.run(drop_partition("books", "p"));
    assert_eq!(dropped, Reply::PartitionDropped { partition_id: Some(102) });
    assert_eq!(world.run(drop_partition("books", "p")), Reply::PartitionDropped { partition_id: None });
    assert_eq!(world.view().partitions(100).unwrap().len(), 1);
    assert_eq!(world.view().totals().unwrap().general_capacity, 1);
}

#[test]
fn refusals() {
    let mut world = world();
    let before = world.rows();
    assert_eq!(world.rejected(create_partition("missing", "p")).code(), 100);
    assert_eq!(world.rejected(drop_partition("missing", "p")).code(), 100);
    let refusal = world.rejected(drop_partition("books", "_default"));
    assert_eq!(refusal.reason(), "default partition cannot be deleted: invalid parameter");
    for bad in ["", " p", "p ", "-p", "p.q", &"p".repeat(256)] {
        let refusal = world.rejected(create_partition("books", bad));
        assert!(refusal.reason().starts_with("Invalid partition name: "), "{bad}");
    }
    let limited = |limits| {
        let (database, collection, name) = ("default".into(), "books".into(), "p".into());
        Command::CreatePartition(CreatePartition { database, collection, name, ts: TS, limits })
    };
    let few = Limits { max_partitions: 1, ..Limits::default() };
    for (apply_version, counted) in [(7, 2), (Roost::APPLY_VERSION, 1)] {
        world.apply_version = apply_version;
        let text =
            format!("partition number ({counted}) exceeds max configuration (1), collection: books: invalid parameter");
        assert_eq!(world.rejected(limited(few)).reason(), text);
    }
    let small = Limits { max_general_capacity: 1, ..Limits::default() };
    assert_eq!(world.rejected(limited(small)).code(), 250);
    assert_eq!(world.rows(), before);
}

#[test]
fn a_partition_key_takes_partitions_out_of_users_hands() {
    let mut world = World::default();
    let mut declared = schema("books");
    declared.fields[0] = FieldSchema { is_partition_key: true, ..declared.fields[0].clone() };
    let command = CreateCollection { schema: declared.encode_to_vec(), ..create_collection("", "books") };
    world.run(Command::CreateCollection(command));
    let refusal = world.rejected(create_partition("books", "p"));
    assert_eq!(refusal.reason(), "disable create partition if partition key mode is used: invalid parameter");
    let refusal = world.rejected(drop_partition("books", "p"));
    assert_eq!(refusal.reason(), "disable drop partition if partition key mode is used: invalid parameter");
}

#[test]
fn dropping_the_collection_takes_its_partitions_along() {
    let mut world = world();
    world.run(Command::CreateCollection(create_collection("", "kept")));
    world.run(create_partition("books", "p"));
    world.run(drop_collection("", "books"));
    assert_eq!((world.count(0x40), world.count(0x41)), (1, 1));
    assert_eq!(world.view().partitions(100).unwrap(), []);
}
