//! What changes of the catalogue leave for streaming nodes.

use prost::Message;

use super::*;
use crate::pb::messages::{
    AlterCollectionMessageBody, AlterCollectionMessageHeader, CreateCollectionMessageHeader,
    DropCollectionMessageHeader, MessageType,
};
use crate::pb::msg::CreateCollectionRequest;
use crate::pb::store;
use crate::state::broadcast::message;
use crate::state::limits::MAX_PENDING_BROADCASTS;
use crate::state::tables::{BROADCAST_TOTALS, STREAMING};

/// A world in which a streaming node was there once.
fn streaming() -> World {
    let mut world = World::default();
    world.run(alloc(1));
    enable(&mut world);
    world
}

pub fn enable(world: &mut World) {
    put(world, |txn| {
        let control_channel = "by-dev-rootcoord-dml_0".to_owned();
        let row = store::Streaming { ever_enabled: true, control_channel, ..Default::default() };
        STREAMING.put(txn, &(), &row);
    });
}

/// Writes rows past all commands.
fn put(world: &mut World, with: impl FnOnce(&mut roost_raft::kv::Txn<'_>)) {
    let mut txn = roost_raft::kv::Txn::new(&world.tables);
    with(&mut txn);
    let rows = txn.into_rows();
    world.tables.commit(rows);
}

impl World {
    fn created(&mut self, name: &str) -> i64 {
        let create = CreateCollection { shards: 2, ..create_collection("", name) };
        match self.run(Command::CreateCollection(create)) {
            Reply::CollectionCreated { collection_id, .. } => collection_id,
            reply => panic!("{reply:?}"),
        }
    }

    fn pending(&self) -> Vec<store::BroadcastTask> {
        let tasks = self.view().broadcasts().tasks(None, usize::MAX).unwrap();
        tasks.into_iter().filter(store::BroadcastTask::is_pending).collect()
    }

    fn kinds(&self) -> Vec<MessageType> {
        self.pending().iter().map(|row| MessageType::try_from(row.message_type).unwrap()).collect()
    }

    /// The header and the body of a task's message.
    fn carried<H: Message + Default, B: Message + Default>(&self, id: i64) -> (H, B) {
        let carried = self.view().broadcasts().message(id).unwrap().unwrap();
        let header = carried.properties.iter().find(|property| property.key == message::HEADER).unwrap();
        (message::decoded(&header.value).unwrap(), B::decode(carried.payload.as_slice()).unwrap())
    }

    /// Has every pending task begun that may.
    fn begin_all(&mut self) {
        let ids: Vec<i64> = self.pending().iter().map(|row| row.id).collect();
        self.begun(&ids);
    }
}

#[test]
fn nothing_leaves_before_a_streaming_node_was_there() {
    let mut world = World::default();
    world.created("c");
    world.run(drop_collection("", "c"));
    assert_eq!(world.count(0xC0), 0);
}

#[test]
fn a_new_collection_is_told_to_all_its_channels_and_the_control_channel() {
    let mut world = streaming();
    let id = world.created("c");
    let task = &world.pending()[0];
    assert!(task.own && task.subject_id == id);
    let channels: Vec<&str> = task.channels.iter().map(|channel| channel.vchannel.as_str()).collect();
    let row = world.view().collection_by_id(id).unwrap().unwrap();
    assert_eq!(channels, [&row.vchannels[0], &row.vchannels[1], "by-dev-rootcoord-dml_0_vcchan"]);
    assert_eq!(task.keys.len(), 3);
    let (header, body): (CreateCollectionMessageHeader, CreateCollectionRequest) = world.carried(task.id);
    assert_eq!((header.collection_id, header.partition_ids.len(), header.db_id), (id, 1, 1));
    assert_eq!((body.db_name.as_str(), body.virtual_channel_names), ("default", row.vchannels));
    assert_eq!(body.collection_schema.unwrap().fields.len(), 2);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let mut world = streaming();
    world.created("c");
    let before = world.facts();
    world.rejected(create_database("default"));
    world.rejected(create_partition("nowhere", "p"));
    assert_eq!(world.facts(), before);
}

#[test]
fn a_drop_takes_along_what_nobody_has_begun() {
    let mut world = streaming();
    let id = world.created("c");
    world.run(create_partition("c", "p"));
    world.run(alter("c", &[("k", "v")], &[]));
    assert_eq!(
        world.kinds(),
        [MessageType::CreateCollection, MessageType::CreatePartition, MessageType::AlterCollection]
    );
    world.run(drop_collection("", "c"));
    assert!(world.pending().is_empty(), "nodes never heard of it");
    assert_eq!([0xC0, 0xC1, 0xC2, 0xC3, 0xC4].map(|tag| world.count(tag)), [0; 5]);
    let id = (world.created("c") != id).then(|| world.pending()[0].id).unwrap();
    world.begin_all();
    world.run(create_partition("c", "p"));
    world.run(drop_collection("", "c"));
    assert_eq!(world.kinds(), [MessageType::CreateCollection, MessageType::DropCollection]);
    let drop = world.pending()[1].clone();
    assert_eq!(world.view().broadcasts().waits_for(&drop).unwrap(), Some(id), "after its creation");
    let (header, _): (DropCollectionMessageHeader, store::Present) = world.carried(drop.id);
    assert_eq!(header.collection_id, world.pending()[0].subject_id);
}

#[test]
fn a_newer_alteration_says_what_older_ones_said() {
    let mut world = streaming();
    world.created("c");
    world.begin_all();
    world.run(alter("c", &[("k", "v")], &[]));
    world.run(change(CollectionChange::Settings(alter_settings("c", "d"))));
    world.run(change(CollectionChange::EnableDynamicField(enable_dynamic_field("c"))));
    assert_eq!(world.kinds(), [MessageType::CreateCollection, MessageType::AlterCollection]);
    let id = world.pending()[1].id;
    let (header, body): (AlterCollectionMessageHeader, AlterCollectionMessageBody) = world.carried(id);
    assert_eq!(header.update_mask.unwrap().paths, ["description", "properties", "schema"]);
    let updates = body.updates.unwrap();
    assert_eq!((updates.description.as_str(), updates.collection_name.as_str()), ("d", "c"));
    assert!(updates.properties.iter().any(|pair| pair.key == "k") && updates.schema.unwrap().enable_dynamic_field);
    // A rename has other resources, so it stands for itself.
    world.run(change(CollectionChange::Rename(rename_collection("c", "e"))));
    assert_eq!(world.pending().len(), 2);
    world.run(alter("e", &[("k", "w")], &[]));
    assert_eq!(world.pending().len(), 3);
    let (header, _): (AlterCollectionMessageHeader, AlterCollectionMessageBody) = world.carried(world.pending()[1].id);
    assert!(header.update_mask.unwrap().paths.contains(&"name".to_owned()));
    // Nothing changes, nothing is said.
    world.run(alter("e", &[("k", "w")], &[]));
    assert_eq!(world.pending().len(), 3);
}

#[test]
fn every_kind_of_change_is_told() {
    use MessageType as M;
    let mut world = streaming();
    let steps: Vec<(Command, &[M])> = vec![
        (create_database("d"), &[M::CreateDatabase]),
        (alter_database("d", &[("k", "v")], &[]), &[M::AlterDatabase]),
        (drop_database("d"), &[M::DropDatabase]),
        (Command::CreateCollection(create_collection("", "c")), &[M::CreateCollection]),
        (create_alias("", "a", "c"), &[M::AlterAlias]),
        (drop_alias("", "a"), &[M::DropAlias]),
        (create_partition("c", "p"), &[M::CreatePartition]),
        (drop_partition("c", "p"), &[M::DropPartition]),
        (change(CollectionChange::Truncate(truncate_collection("c", TS + 1))), &[M::TruncateCollection]),
        (alter("c", &[("k", "v")], &[]), &[M::AlterCollection]),
    ];
    for (command, expected) in steps {
        world.run(command.clone()).into_result().unwrap();
        assert_eq!(world.kinds(), expected, "{command}");
        world.begin_all();
        for row in world.pending() {
            let vchannels: Vec<&str> = row.channels.iter().map(|channel| channel.vchannel.as_str()).collect();
            world.broadcast(acked(row.id, &vchannels, true));
        }
    }
    let id = world.view().collection(1, "c").unwrap().unwrap().id;
    world.run(Command::Index(IndexCommand::Create(index_of(id, 101, "i"))));
    world.run(Command::Load(LoadCommand::Collection(load_of(id))));
    assert_eq!(world.kinds(), [M::AlterLoadConfig]);
    world.run(Command::Load(LoadCommand::ReleaseCollection(ReleaseCollection { collection_id: id })));
    assert_eq!(world.kinds(), [M::DropLoadConfig], "what nobody has begun gives way");
    world.run(drop_collection("", "c"));
    assert_eq!(world.kinds(), [M::DropCollection]);
}

/// Counts as after so many changes without a node, which would take long to make.
#[test]
fn too_much_that_waits_refuses_what_adds_and_not_what_takes_away() {
    let mut world = streaming();
    world.created("c");
    world.begin_all();
    let mut totals = world.view().broadcasts().totals().unwrap();
    totals.pending = MAX_PENDING_BROADCASTS;
    put(&mut world, |txn| BROADCAST_TOTALS.put(txn, &(), &totals));
    let refused = world.rejected(Command::CreateCollection(create_collection("", "d")));
    assert!(refused.reason().contains("wait for streaming nodes"), "{}", refused.reason());
    assert!(world.view().collection(1, "d").unwrap().is_none());
    world.run(drop_collection("", "c")).into_result().unwrap();
    assert_eq!(world.kinds(), [MessageType::CreateCollection, MessageType::DropCollection]);
}
