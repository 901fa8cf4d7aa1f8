//! What changes of the catalogue leave for streaming nodes.

use prost::Message;

use super::*;
use crate::pb::messages::{
    AlterCollectionMessageBody, AlterCollectionMessageHeader, AlterPrivilegeMessageHeader, AlterUserMessageBody,
    CreateCollectionMessageHeader, CreateIndexMessageBody, CreateIndexMessageHeader, DropCollectionMessageHeader,
    MessageType, RestoreRbacMessageBody,
};
use crate::pb::msg::CreateCollectionRequest;
use crate::pb::store;
use crate::state::access::*;
use crate::state::broadcast::message;
use crate::state::limits::MAX_PENDING_BROADCASTS;
use crate::state::tables::{BROADCAST_TOTALS, STREAMING};
use crate::state::tests::access::{bind, change_group, create_group, create_role, grant, key, root};

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

    /// Brings everything to everybody.
    fn deliver(&mut self) {
        while !self.pending().is_empty() {
            self.begin_all();
            for row in self.pending() {
                let vchannels: Vec<&str> = row.channels.iter().map(|channel| channel.vchannel.as_str()).collect();
                // Those that have not begun are refused.
                self.run(command(acked(row.id, &vchannels, true)));
            }
        }
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
        world.deliver();
    }
    let id = world.view().collection(1, "c").unwrap().unwrap().id;
    world.run(Command::Index(IndexCommand::Create(index_of(id, 101, "i"))));
    assert_eq!(world.kinds(), [M::CreateIndex]);
    world.deliver();
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

#[test]
fn an_index_is_told_with_all_that_it_is() {
    let mut world = streaming();
    let id = world.created("c");
    world.deliver();
    world.run(Command::Index(IndexCommand::Create(index_of(id, 101, "i"))));
    let task = world.pending().remove(0);
    assert_eq!((task.channels.len(), task.channels[0].vchannel.as_str()), (1, "by-dev-rootcoord-dml_0_vcchan"));
    let keys: Vec<(u32, &str, bool)> = task.keys.iter().map(|key| (key.domain, key.key.as_str(), key.shared)).collect();
    assert_eq!(keys, [(2, "default:c", false), (3, "default", true), (127, "", true)]);
    let (header, body): (CreateIndexMessageHeader, CreateIndexMessageBody) = world.carried(task.id);
    let index = tables::INDEXES.page(&world.tables, &id, None, 9).unwrap().remove(0).1;
    assert_eq!((header.db_id, header.collection_id, header.field_id), (1, id, 101));
    assert_eq!((header.index_id, header.index_name.as_str()), (index.id, "i"));
    let told = body.field_index.unwrap();
    let info = told.index_info.unwrap();
    assert_eq!((told.create_time, told.deleted, info.index_id, info.collection_id), (TS, false, index.id, id));
    assert_eq!((info.type_params.len(), info.index_params.len(), info.user_index_params.len()), (1, 2, 2));
    // What nobody has begun with goes with what it told of.
    let alter = AlterIndex {
        collection_id: id,
        index_id: index.id,
        name: "i".into(),
        set: vec![("mmap.enabled".into(), "true".into())],
        delete: Vec::new(),
        ts: TS,
    };
    world.run(Command::Index(IndexCommand::Alter(alter)));
    assert_eq!(world.kinds(), [MessageType::CreateIndex, MessageType::AlterIndex]);
    let drop = Command::Index(IndexCommand::Drop(DropIndex { collection_id: id, name: "i".into() }));
    world.run(drop.clone());
    assert!(world.pending().is_empty());
    world.run(Command::Index(IndexCommand::Create(index_of(id, 101, "i"))));
    world.deliver();
    world.run(drop);
    assert_eq!(world.kinds(), [MessageType::DropIndex]);
}

#[test]
fn changes_of_access_are_told_one_after_the_other() {
    use MessageType as M;
    let mut world = World::default();
    world.access(root());
    enable(&mut world);
    let create = AccessCommand::CreateUser(CreateUser {
        name: "u".into(),
        password_hash: "hash".into(),
        description: "d".into(),
        max_users: 100,
    });
    let of_group = key("r", "c", "g");
    let restore = Restore {
        users: vec![RestoredUser { name: "v".into(), password_hash: "h".into(), roles: vec!["s".into()] }],
        roles: vec![("s".into(), "t".into())],
        grants: vec![grant(key("s", "c", "PrivilegeLoad"), false)],
        groups: vec![("h".into(), vec![GroupMember { name: "Load".into(), level: Some(PrivilegeLevel::Collection) }])],
        max_users: 100,
        max_roles: 100,
    };
    let load: &[(&str, Option<PrivilegeLevel>)] = &[("Load", Some(PrivilegeLevel::Collection))];
    let steps: Vec<(AccessCommand, &[M])> = vec![
        (create, &[M::AlterUser]),
        (create_role("r"), &[M::AlterRole]),
        (bind("u", "r", true), &[M::AlterUserRole]),
        (bind("u", "r", true), &[]),
        (create_group("g"), &[M::AlterPrivilegeGroup]),
        (change_group("g", load, true), &[M::AlterPrivilegeGroup]),
        (AccessCommand::Grant(grant(of_group.clone(), true)), &[M::AlterPrivilege]),
        (AccessCommand::Grant(grant(of_group.clone(), true)), &[]),
        (AccessCommand::Revoke(Revoke { key: of_group.clone() }), &[M::DropPrivilege]),
        (AccessCommand::Revoke(Revoke { key: of_group }), &[]),
        (change_group("g", load, false), &[M::DropPrivilegeGroup]),
        (AccessCommand::DropGroup(DropGroup { name: "g".into() }), &[M::DropPrivilegeGroup]),
        (bind("u", "r", false), &[M::DropUserRole]),
        (AccessCommand::DropRole(DropRole { name: "r".into(), force: true }), &[M::DropRole]),
        (AccessCommand::DropUser(DropUser { name: "u".into() }), &[M::DropUser]),
        (AccessCommand::DropUser(DropUser { name: "u".into() }), &[]),
        (AccessCommand::Restore(restore), &[M::RestoreRbac]),
    ];
    let mut told = Vec::new();
    for (asked, expected) in steps {
        world.access(asked.clone());
        assert_eq!(world.kinds(), expected, "{asked}");
        for task in world.pending() {
            assert_eq!(task.channels.len(), 1);
            let keys: Vec<(u32, bool)> = task.keys.iter().map(|key| (key.domain, key.shared)).collect();
            assert_eq!(keys, [(4, false), (127, true)]);
            told.push((task.id, world.view().broadcasts().message(task.id).unwrap().unwrap()));
        }
        world.deliver();
    }
    let body = |at: usize| told[at].1.payload.clone();
    let credential = AlterUserMessageBody::decode(body(0).as_slice()).unwrap().credential_info.unwrap();
    assert_eq!((credential.username.as_str(), credential.encrypted_password.as_str()), ("u", "hash"));
    let header = told[5].1.properties.iter().find(|property| property.key == message::HEADER).unwrap();
    let granted: AlterPrivilegeMessageHeader = message::decoded(&header.value).unwrap();
    let entity = granted.entity.unwrap();
    assert_eq!(entity.grantor.unwrap().privilege.unwrap().name, "PrivilegeGroupg");
    assert_eq!((entity.object.unwrap().name.as_str(), entity.object_name.as_str()), ("Collection", "c"));
    let meta = RestoreRbacMessageBody::decode(told.last().unwrap().1.payload.as_slice()).unwrap().rbac_meta.unwrap();
    assert_eq!((meta.users.len(), meta.roles.len(), meta.grants.len(), meta.privilege_groups.len()), (1, 1, 1, 1));
    assert_eq!((meta.users[0].password.as_str(), meta.users[0].roles[0].name.as_str()), ("h", "s"));
}

#[test]
fn older_versions_tell_nothing_of_indexes_and_access() {
    let mut world = streaming();
    world.apply_version = 6;
    let id = world.created("c");
    world.deliver();
    world.run(Command::Index(IndexCommand::Create(index_of(id, 101, "i"))));
    world.access(root());
    world.access(create_role("r"));
    world.access(bind(ROOT, "r", true));
    assert!(world.pending().is_empty());
}

#[test]
fn what_was_not_looked_at_is_not_taken_for_told() {
    let mut world = streaming();
    let id = world.created("c");
    for n in 0..1023 {
        world.run(create_partition("c", &format!("p{n}")));
    }
    world.run(alter("c", &[("k", "v")], &[]));
    assert_eq!(world.pending().len(), 1025, "one more than one change looks at");
    world.run(drop_collection("", "c"));
    let kinds = world.kinds();
    assert_eq!(kinds, [MessageType::CreateCollection, MessageType::AlterCollection, MessageType::DropCollection]);
    assert!(world.pending().iter().all(|task| task.subject_id == id));
}

#[test]
fn a_dropped_alias_that_nodes_know_is_told_though_its_collection_goes() {
    let mut world = streaming();
    world.created("c");
    world.run(create_alias("", "a", "c"));
    world.deliver();
    world.run(drop_alias("", "a"));
    world.run(alter("c", &[("k", "v")], &[]));
    world.run(drop_collection("", "c"));
    assert_eq!(world.kinds(), [MessageType::DropAlias, MessageType::DropCollection]);
}
