//! The bytes of everything that is stored: entries, replies, keys and rows. A difference here is a difference on disk
//! and in every log: it needs a new version, not a new constant.

use prost::Message;
use roost_raft::kv::Space;

use super::support::*;
use crate::error::Rejection;
use crate::pb::etcd::api;
use crate::pb::store;
use crate::state::access::*;
use crate::state::keyspace::{KeyspaceCommand, KeyspaceError, KeyspaceReply};
use crate::state::*;

/// Compares, and on a difference prints all of what is.
pub fn check(found: &[(&str, Vec<u8>)], golden: &[(&str, &str)]) {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let found: Vec<_> = found.iter().map(|(name, bytes)| (*name, hex(bytes))).collect();
    let lines: String = found.iter().map(|(name, hex)| format!("    (\"{name}\", \"{hex}\"),\n")).collect();
    let same = found.iter().map(|(name, hex)| (*name, hex.as_str())).eq(golden.iter().copied());
    assert!(same, "stored bytes changed; now:\n{lines}");
}

fn commands() -> Vec<(&'static str, Command)> {
    let database = CreateDatabase {
        name: "a".into(),
        properties: vec![("k".into(), "v".into())],
        ts: 1 << 18,
        limits: Limits::default(),
    };
    let mut collection = create_collection("a", "c");
    collection.schema = vec![1, 2, 255];
    collection.properties = vec![("k".into(), "v".into())];
    vec![
        ("create database", Command::CreateDatabase(database)),
        ("drop database", drop_database("a")),
        ("create collection", Command::CreateCollection(collection)),
        ("drop collection", drop_collection("a", "c")),
        ("create partition", create_partition("c", "p")),
        ("drop partition", drop_partition("c", "p")),
        ("alter collection properties", alter("c", &[("k", "v")], &["d"])),
        ("alloc id", alloc(300)),
        ("extend tso", extend(START_MS)),
        ("etcd put", Command::Keyspace(KeyspaceCommand::Put(vec![10, 1, 97]))),
        ("etcd delete range", Command::Keyspace(KeyspaceCommand::DeleteRange(vec![10, 1, 97]))),
        ("etcd txn", Command::Keyspace(KeyspaceCommand::Txn(vec![]))),
        ("etcd compact", Command::Keyspace(KeyspaceCommand::Compact { revision: 300 })),
        ("etcd grant lease", Command::Keyspace(KeyspaceCommand::GrantLease { id: -7, ttl_s: 10 })),
        ("etcd revoke lease", Command::Keyspace(KeyspaceCommand::RevokeLease { id: 7 })),
        ("etcd expire leases", Command::Keyspace(KeyspaceCommand::ExpireLeases { leases: vec![(7, 2)] })),
        ("etcd checkpoint leases", Command::Keyspace(KeyspaceCommand::CheckpointLeases { leases: vec![(7, 2, 5)] })),
        ("etcd reclaim history", Command::Keyspace(KeyspaceCommand::ReclaimHistory)),
        ("rename collection", Command::Collection(CollectionChange::Rename(rename_collection("a", "b")))),
        ("erase collection", erase_collection(300)),
        ("alter database", alter_database("a", &[("k", "v")], &["d"])),
        ("create alias", create_alias("a", "b", "c")),
        ("drop alias", drop_alias("a", "b")),
        ("alter alias", alter_alias("a", "b", "c")),
        ("add field", change(CollectionChange::AddField(add_field("a", vec![10, 1, 102])))),
        ("enable dynamic field", change(CollectionChange::EnableDynamicField(enable_dynamic_field("a")))),
        ("alter field", change(CollectionChange::AlterField(alter_field("a", "f", &[("k", "v")], &["d"])))),
        ("add function", change_function("a", FunctionChange::Add(vec![1]))),
        ("alter function", change_function("a", FunctionChange::Alter(vec![1]))),
        ("drop function", change_function("a", FunctionChange::Drop("f".into()))),
        ("alter settings", change(CollectionChange::Settings(alter_settings("a", "d")))),
        ("truncate collection", change(CollectionChange::Truncate(truncate_collection("a", TS)))),
        ("if at a revision", {
            let drop = DropCollection { database: "a".into(), name: "c".into() };
            Command::Conditional(Conditional { revision: 300, change: ConditionalChange::Drop(drop) })
        }),
    ]
    .into_iter()
    .chain(access_commands().into_iter().map(|(name, command)| (name, Command::Access(command))))
    .collect()
}

fn access_commands() -> Vec<(&'static str, AccessCommand)> {
    let key = GrantKey {
        role: "r".into(),
        object_type: ObjectType::Global,
        database: "d".into(),
        object: "*".into(),
        privilege: "g".into(),
    };
    let grant = Grant { key: key.clone(), grantor: "root".into(), of_group: true };
    let user = |name: &str, description: &str| (name.to_owned(), description.to_owned());
    let (name, description) = user("u", "d");
    let update = UpdateUser {
        name: name.clone(),
        password_hash: Some("h".into()),
        description: Some(description.clone()),
        known: Some(7),
    };
    let create = CreateUser { name: name.clone(), password_hash: "h".into(), description, max_users: 100 };
    let (role, description) = user("r", "d");
    let members = vec![
        GroupMember { name: "Load".into(), level: Some(PrivilegeLevel::Collection) },
        GroupMember { name: "h".into(), level: None },
    ];
    let restore = Restore {
        users: vec![RestoredUser { name: name.clone(), password_hash: "h".into(), roles: vec![role.clone()] }],
        roles: vec![(role.clone(), description.clone())],
        grants: vec![grant.clone()],
        groups: vec![("g".into(), members.clone())],
        max_users: 100,
        max_roles: 10,
    };
    use AccessCommand as A;
    vec![
        ("create root", A::CreateRoot(CreateRoot { password_hash: "h".into(), grants: vec![grant.clone()] })),
        ("create user", A::CreateUser(create)),
        ("update user", A::UpdateUser(update)),
        ("drop user", A::DropUser(DropUser { name: name.clone() })),
        (
            "create role",
            A::CreateRole(CreateRole { name: role.clone(), description: description.clone(), max_roles: 10 }),
        ),
        ("alter role", A::AlterRole(AlterRole { name: role.clone(), description })),
        ("drop role", A::DropRole(DropRole { name: role.clone(), force: true })),
        ("bind role", A::BindRole(BindRole { user: name, role, bind: true })),
        ("grant", A::Grant(grant)),
        ("revoke", A::Revoke(Revoke { key: key.clone() })),
        ("set condition", A::SetCondition(SetCondition { key, condition: "true".into() })),
        ("create group", A::CreateGroup(CreateGroup { name: "g".into() })),
        ("drop group", A::DropGroup(DropGroup { name: "g".into() })),
        ("change group", A::ChangeGroup(ChangeGroup { name: "g".into(), members, add: true })),
        ("restore", A::Restore(restore)),
        ("sweep grants", A::Sweep),
    ]
}

#[test]
fn entries() {
    let request = RequestId { node: 1, boot: 300, sequence: 70_000, acked_below: 69_999 };
    let found: Vec<_> = commands()
        .into_iter()
        .map(|(name, command)| (name, entry(START_MS, Some(request), command).encode().unwrap()))
        .chain([("without request", entry(1, None, alloc(1)).encode().unwrap())])
        .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let found: Vec<_> = [
        ("rejected", Reply::Rejected(Rejection::CollectionNotFound { database: "a".into(), collection: "c".into() })),
        ("expired", Reply::Expired),
        ("window full", Reply::WindowFull),
        ("database created", Reply::DatabaseCreated { database_id: 100 }),
        ("database dropped", Reply::DatabaseDropped { database_id: 100 }),
        ("collection created", Reply::CollectionCreated { collection_id: 100, existed: true }),
        ("collection dropped", Reply::CollectionDropped { collection_id: Some(100) }),
        ("partition created", Reply::PartitionCreated { partition_id: 100, existed: false }),
        ("partition dropped", Reply::PartitionDropped { partition_id: None }),
        ("collection altered", Reply::CollectionAltered { collection_id: 100, changed: true }),
        ("ids allocated", Reply::IdsAllocated { first: 100, count: 300 }),
        ("tso extended", Reply::TsoExtended { bound_ms: START_MS }),
        ("etcd refused", Reply::Keyspace(KeyspaceReply::Refused(KeyspaceError::Malformed))),
        ("etcd done", Reply::Keyspace(KeyspaceReply::Done(vec![10, 2, 24, 3]))),
        ("etcd done before", Reply::Keyspace(KeyspaceReply::DoneBefore)),
        ("etcd compacted", Reply::Keyspace(KeyspaceReply::Compacted { revision: 300 })),
        ("etcd lease granted", Reply::Keyspace(KeyspaceReply::LeaseGranted { revision: 3 })),
        ("etcd lease revoked", Reply::Keyspace(KeyspaceReply::LeaseRevoked { revision: 3 })),
        ("etcd leases expired", Reply::Keyspace(KeyspaceReply::LeasesExpired { remaining: 1 })),
        ("etcd leases checkpointed", Reply::Keyspace(KeyspaceReply::LeasesCheckpointed)),
        ("etcd history reclaimed", Reply::Keyspace(KeyspaceReply::HistoryReclaimed { more: true })),
        ("collection erased", Reply::CollectionErased { more: true }),
        ("database altered", Reply::DatabaseAltered { database_id: 100, changed: true }),
        ("alias set", Reply::AliasSet { collection_id: 100, changed: true }),
        ("alias dropped", Reply::AliasDropped { collection_id: Some(100) }),
        ("access changed", Reply::AccessChanged),
    ]
    .into_iter()
    .map(|(name, reply)| (name, reply.encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys() {
    let grant = GrantKey {
        role: "r".into(),
        object_type: ObjectType::User,
        database: "d".into(),
        object: "o".into(),
        privilege: "g".into(),
    };
    let found = [
        ("clock", tables::CLOCK.key(&())),
        ("id counter", tables::ID_COUNTER.key(&())),
        ("tso bound", tables::TSO_BOUND.key(&())),
        ("totals", tables::TOTALS.key(&())),
        ("session", tables::SESSIONS.key(&3)),
        ("reply", tables::REPLIES.key(&(3, 7, 258))),
        ("retired", tables::RETIRED.key(&(3, 7))),
        ("database", tables::DATABASES.key(&1)),
        ("database name", tables::DATABASE_NAMES.key(&"ab".to_owned())),
        ("database use", tables::DATABASE_USE.key(&1)),
        ("collection", tables::COLLECTIONS.key(&258)),
        ("collection name", tables::COLLECTION_NAMES.key(&(1, "ab".to_owned()))),
        ("database's collection", tables::DATABASE_COLLECTIONS.key(&(1, 258))),
        ("dropping collection", tables::DROPPING.key(&(1, 258))),
        ("alias", tables::ALIASES.key(&(1, "ab".to_owned()))),
        ("collection's alias", tables::COLLECTION_ALIASES.key(&(258, "ab".to_owned()))),
        ("partition", tables::PARTITIONS.key(&(258, 259))),
        ("partition name", tables::PARTITION_NAMES.key(&(258, "ab".to_owned()))),
        ("channel use", tables::CHANNEL_USE.key(&15)),
        ("channel order", tables::CHANNEL_ORDER.key(&())),
        ("channel by use", tables::CHANNELS_BY_USE.key(&(2, 15))),
        ("key space", tables::KEY_SPACE.key(&())),
        ("lease", tables::LEASES.key(&7)),
        ("lease's key", tables::LEASE_KEYS.key(&(7, b"a\0".to_vec()))),
        ("user", tables::USERS.key(&"u".to_owned())),
        ("role", tables::ROLES.key(&"r".to_owned())),
        ("user's role", tables::USER_ROLES.key(&("u".to_owned().into(), "r".to_owned()))),
        ("role's user", tables::ROLE_USERS.key(&("r".to_owned().into(), "u".to_owned()))),
        ("grant", tables::GRANTS.key(&grant)),
        ("object's grant", tables::OBJECT_GRANTS.key(&(("d".to_owned().into(), "o".to_owned().into()), grant.clone()))),
        ("group's grant", tables::GROUP_GRANTS.key(&("g".to_owned().into(), grant.clone()))),
        ("privilege group", tables::PRIVILEGE_GROUPS.key(&"g".to_owned())),
        ("access totals", tables::ACCESS_TOTALS.key(&())),
        ("grant shift", tables::GRANT_SHIFTS.key(&(("d".to_owned().into(), "o".to_owned().into()), 7))),
        ("grant source", tables::GRANT_SOURCES.key(&(("d".to_owned().into(), "o".to_owned().into()), 7))),
        ("role cut", tables::ROLE_CUTS.key(&"r".to_owned())),
        ("below zero", tables::DATABASES.key(&-1)),
    ];
    check(&found, KEYS);
}

#[test]
fn rows() {
    let properties = vec![store::Property { key: "k".into(), value: "v".into() }];
    let database = store::Database { id: 1, name: "a".into(), properties: properties.clone(), created_ts: TS };
    let collection = store::Collection {
        id: 100,
        database_id: 1,
        name: "c".into(),
        schema: vec![1, 2, 255],
        shards: 1,
        consistency: 2,
        properties,
        partitions: 1,
        vchannels: vec!["by-dev-rootcoord-dml_0_100v0".into()],
        pchannels: vec!["by-dev-rootcoord-dml_0".into()],
        created_ts: TS,
        updated_ts: TS + 1,
        schema_version: 3,
        state: store::CollectionState::Dropping.into(),
        aliases: 2,
        truncated_ts: TS,
        revision: 0,
    };
    let changed = store::Collection { revision: 300, ..collection.clone() };
    let partition = store::Partition {
        id: 101,
        collection_id: 100,
        name: "p".into(),
        created_ts: TS,
        state: store::PartitionState::Dropping.into(),
    };
    let session =
        store::Session { boot: 7, acked_below: 5, forgotten_below: 4, next_sequence: 9, last_active_ms: START_MS };
    let clock = store::Clock { now_ms: START_MS, next_sweep_ms: START_MS + 1, sweep_cursor: 2, retired: 1 };
    let key_space = store::KeySpace {
        revision: 9,
        compacted: 8,
        reclaim_main: 7,
        reclaim_sub: 1,
        reclaimed: 6,
        lease_generation: 5,
    };
    let key_row = store::KeyRow { create_revision: 2, mod_revision: 4, version: 3, value: vec![1, 2], lease: 7 };
    let lease = store::Lease { generation: 5, granted_ttl_s: 10, remaining_ttl_s: 4, ending: true };
    let user = store::User { password_hash: "h".into(), description: "d".into(), generation: 7, created_ms: START_MS };
    let grant = store::Grant { grantor: "root".into(), of_group: true, condition: "true".into(), written: 0 };
    let later = store::Grant { written: 300, ..grant.clone() };
    let totals = store::AccessTotals { users: 1, roles: 2, grants: 3, generation: 7, shifts: 0, sweeps: 0 };
    let shifted = store::AccessTotals { shifts: 300, sweeps: 2, ..totals };
    let to = store::GrantPlace { database: "d".into(), object: "o".into() };
    let shift = store::GrantShift { to: Some(to.clone()), after: vec![1, 2] };
    let found = [
        ("clock", clock.encode_to_vec()),
        ("id counter", store::IdCounter { next: 100 }.encode_to_vec()),
        ("tso bound", store::TsoBound { bound_ms: START_MS }.encode_to_vec()),
        ("totals", store::Totals { databases: 1, collections: 2, general_capacity: 3 }.encode_to_vec()),
        ("session", session.encode_to_vec()),
        ("reply", store::StoredReply { reply: vec![1, 1] }.encode_to_vec()),
        ("retired", store::RetiredReplies { next_sequence: 4, end_sequence: 9 }.encode_to_vec()),
        ("reference", store::Reference { id: 100 }.encode_to_vec()),
        ("present", store::Present {}.encode_to_vec()),
        ("database", database.encode_to_vec()),
        ("database use", store::DatabaseUse { collections: 2, aliases: 3 }.encode_to_vec()),
        ("collection", collection.encode_to_vec()),
        ("collection at a revision", changed.encode_to_vec()),
        ("partition", partition.encode_to_vec()),
        ("channel use", store::ChannelUse { vchannels: 2 }.encode_to_vec()),
        ("channel order", store::ChannelOrder { channels: 16, first_vchannels: 3, first_number: 9 }.encode_to_vec()),
        ("key space", key_space.encode_to_vec()),
        ("key row", key_row.encode_to_vec()),
        ("lease", lease.encode_to_vec()),
        ("user", user.encode_to_vec()),
        ("role", store::Role { description: "d".into(), grants: 2 }.encode_to_vec()),
        ("grant", grant.encode_to_vec()),
        ("privilege group", store::PrivilegeGroup { privileges: vec!["Load".into()], level: 3 }.encode_to_vec()),
        ("access totals", totals.encode_to_vec()),
        ("grant after shifts", later.encode_to_vec()),
        ("access totals with shifts", shifted.encode_to_vec()),
        ("grant place", to.encode_to_vec()),
        ("grant shift", shift.encode_to_vec()),
        ("role cut", store::RoleCut { before: 300, after: vec![1, 2], ..Default::default() }.encode_to_vec()),
        (
            "role cut of users",
            store::RoleCut { users_before: 301, after_user: "u".into(), ..Default::default() }.encode_to_vec(),
        ),
        ("user's role", store::Binding { written: 300 }.encode_to_vec()),
        ("user's role before cuts", store::Binding::default().encode_to_vec()),
    ];
    check(&found, ROWS);
}

/// What a put, a put over it with a lease, and a deletion leave in the key space's own spaces.
#[test]
fn key_space() {
    let mut world = World::default();
    let run = |world: &mut World, command| world.run(Command::Keyspace(command));
    run(&mut world, KeyspaceCommand::GrantLease { id: 7, ttl_s: 10 });
    let put = |key: &[u8], lease| api::PutRequest { key: key.to_vec(), value: vec![1, 2], lease, ..Default::default() };
    let delete = api::DeleteRangeRequest { key: b"a\0b".to_vec(), ..Default::default() };
    for put in [put(b"a\0b", 0), put(b"c", 0), put(b"c", 7)] {
        run(&mut world, KeyspaceCommand::Put(put.encode_to_vec()));
    }
    run(&mut world, KeyspaceCommand::DeleteRange(delete.encode_to_vec()));
    let mut rows: Vec<(&str, Vec<u8>)> = Vec::new();
    for (space, key, value) in world.every_row() {
        if ![Space::STATE, Space::SYSTEM].contains(&space) {
            rows.push((space.name(), key));
            rows.push(("=", value));
        }
    }
    check(&rows, KEY_SPACE);
}

const ENTRIES: &[(&str, &str)] = &[
    (
        "create database",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303000016101\
         016b0176fc0000040040fc00000100fc00000100fb000410fc00000100",
    ),
    (
        "drop database",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a3430303030010161",
    ),
    (
        "create collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303002016101\
         63030102ff010401016b017601085f64656661756c74fd0000600e7e474d0640fc00000100fc00000100fb000410fc000001\
         00",
    ),
    (
        "drop collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303003016101\
         63",
    ),
    (
        "create partition",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303004000163\
         0170fd0000600e7e474d0640fc00000100fc00000100fb000410fc00000100",
    ),
    (
        "drop partition",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303005000163\
         0170",
    ),
    (
        "alter collection properties",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303006000163\
         01016b0176010164fd0100600e7e474d06",
    ),
    (
        "alloc id",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303007fb2c01",
    ),
    (
        "extend tso",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303008fd9883\
         df519301000000",
    ),
    (
        "etcd put",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300900030a\
         0161",
    ),
    (
        "etcd delete range",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300901030a\
         0161",
    ),
    ("etcd txn", "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a3430303030090200"),
    (
        "etcd compact",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300903fb58\
         02",
    ),
    (
        "etcd grant lease",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303009040d14",
    ),
    (
        "etcd revoke lease",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303009050e",
    ),
    (
        "etcd expire leases",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300906010e\
         02",
    ),
    (
        "etcd checkpoint leases",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300907010e\
         020a",
    ),
    (
        "etcd reclaim history",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300908",
    ),
    (
        "rename collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a00\
         000161000162fd0100600e7e474d0640fc00000100fc00000100fb000410fc00000100",
    ),
    (
        "erase collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a01fb5802",
    ),
    (
        "alter database",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300b016101\
         016b0176010164",
    ),
    (
        "create alias",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300c00016101620163",
    ),
    (
        "drop alias",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300c0101610162",
    ),
    (
        "alter alias",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300c02016101620163",
    ),
    (
        "add field",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a020001\
         6100030a0166fd0700600e7e474d06400a",
    ),
    (
        "enable dynamic field",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a030001\
         6101fd0900600e7e474d06",
    ),
    (
        "alter field",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a040001\
         61016601016b0176010164fd0800600e7e474d06fcfeff0100fb0020",
    ),
    (
        "add function",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a050001\
         6100000101fd0700600e7e474d06",
    ),
    (
        "alter function",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a050001\
         6100010101fd0700600e7e474d06",
    ),
    (
        "drop function",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a050001\
         6100020166fd0700600e7e474d06",
    ),
    (
        "alter settings",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a060001\
         610101640000fd0500600e7e474d06",
    ),
    (
        "truncate collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300a070001\
         61fd0000600e7e474d06",
    ),
    (
        "if at a revision",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303011fb2c01\
         0101610163",
    ),
    (
        "create root",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f000168\
         010172010164012a016704726f6f7401",
    ),
    (
        "create user",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f010175\
         0168016464",
    ),
    (
        "update user",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f020175\
         0101680101640107",
    ),
    (
        "drop user",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f030175",
    ),
    (
        "create role",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f04017201640a",
    ),
    (
        "alter role",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0501720164",
    ),
    (
        "drop role",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f06017201",
    ),
    (
        "bind role",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f070175017201",
    ),
    (
        "grant",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f080172\
         010164012a016704726f6f7401",
    ),
    (
        "revoke",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f090172\
         010164012a0167",
    ),
    (
        "set condition",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0a0172\
         010164012a01670474727565",
    ),
    (
        "create group",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0b0167",
    ),
    (
        "drop group",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0c0167",
    ),
    (
        "change group",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0d0167\
         02044c6f6164010201680001",
    ),
    (
        "restore",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0e0101\
         7501680101720101720164010172010164012a016704726f6f740101016702044c6f61640102016800640a",
    ),
    (
        "sweep grants",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a34303030300f0f",
    ),
    ("without request", "01010004726f6f740f3132372e302e302e313a34303030300701"),
];

const REPLIES: &[(&str, &str)] = &[
    ("rejected", "01000a01610163"),
    ("expired", "0101"),
    ("window full", "0102"),
    ("database created", "0103c8"),
    ("database dropped", "0104c8"),
    ("collection created", "0105c801"),
    ("collection dropped", "010601c8"),
    ("partition created", "0107c800"),
    ("partition dropped", "010800"),
    ("collection altered", "0109c801"),
    ("ids allocated", "010ac8fb2c01"),
    ("tso extended", "010bfd9883df5193010000"),
    ("etcd refused", "010c0006"),
    ("etcd done", "010c01040a021803"),
    ("etcd done before", "010c02"),
    ("etcd compacted", "010c03fb5802"),
    ("etcd lease granted", "010c0406"),
    ("etcd lease revoked", "010c0506"),
    ("etcd leases expired", "010c0601"),
    ("etcd leases checkpointed", "010c07"),
    ("etcd history reclaimed", "010c0801"),
    ("collection erased", "010d01"),
    ("database altered", "010ec801"),
    ("alias set", "010fc801"),
    ("alias dropped", "011001c8"),
    ("access changed", "0113"),
];

const KEYS: &[(&str, &str)] = &[
    ("clock", "01"),
    ("id counter", "02"),
    ("tso bound", "03"),
    ("totals", "04"),
    ("session", "100000000000000003"),
    ("reply", "11000000000000000300000000000000070000000000000102"),
    ("retired", "1200000000000000030000000000000007"),
    ("database", "208000000000000001"),
    ("database name", "216162"),
    ("database use", "228000000000000001"),
    ("collection", "308000000000000102"),
    ("collection name", "3180000000000000016162"),
    ("database's collection", "3280000000000000018000000000000102"),
    ("dropping collection", "3580000000000000018000000000000102"),
    ("alias", "3380000000000000016162"),
    ("collection's alias", "3480000000000001026162"),
    ("partition", "4080000000000001028000000000000103"),
    ("partition name", "4180000000000001026162"),
    ("channel use", "50000f"),
    ("channel order", "51"),
    ("channel by use", "520000000000000002000f"),
    ("key space", "60"),
    ("lease", "618000000000000007"),
    ("lease's key", "6280000000000000076100"),
    ("user", "7075"),
    ("role", "7172"),
    ("user's role", "72017572"),
    ("role's user", "73017275"),
    ("grant", "740172020164016f67"),
    ("object's grant", "750164016f0172020164016f67"),
    ("group's grant", "7601670172020164016f67"),
    ("privilege group", "7767"),
    ("access totals", "78"),
    ("grant shift", "790164016f0000000000000007"),
    ("grant source", "7a0164016f0000000000000007"),
    ("role cut", "7b72"),
    ("below zero", "207fffffffffffffff"),
];

const ROWS: &[(&str, &str)] = &[
    ("clock", "089887fe8eb532109987fe8eb53218022001"),
    ("id counter", "0864"),
    ("tso bound", "089887fe8eb532"),
    ("totals", "080110021803"),
    ("session", "0807100518042009289887fe8eb532"),
    ("reply", "0a020101"),
    ("retired", "08041009"),
    ("reference", "0864"),
    ("present", ""),
    ("database", "08011201611a060a016b12017620808080f3e0efd1a606"),
    ("database use", "08021003"),
    (
        "collection",
        "086410011a016322030102ff280130023a060a016b12017640014a1c62792d6465762d726f6f74636f6f72642d646d6c5f30\
         5f3130307630521662792d6465762d726f6f74636f6f72642d646d6c5f3058808080f3e0efd1a60660818080f3e0efd1a606\
         6803700278808080f3e0efd1a606f00102",
    ),
    (
        "collection at a revision",
        "086410011a016322030102ff280130023a060a016b12017640014a1c62792d6465762d726f6f74636f6f72642d646d6c5f30\
         5f3130307630521662792d6465762d726f6f74636f6f72642d646d6c5f3058808080f3e0efd1a60660818080f3e0efd1a606\
         6803700278808080f3e0efd1a6068001ac02f00102",
    ),
    ("partition", "086510641a017020808080f3e0efd1a6062802"),
    ("channel use", "0802"),
    ("channel order", "081010031809"),
    ("key space", "080910081807200128063005"),
    ("key row", "080210041803220201022807"),
    ("lease", "0805100a18042001"),
    ("user", "0a01681201641807209887fe8eb532"),
    ("role", "0a01641002"),
    ("grant", "0a04726f6f7410011a0474727565"),
    ("privilege group", "0a044c6f61641003"),
    ("access totals", "0801100218032007"),
    ("grant after shifts", "0a04726f6f7410011a047472756520ac02"),
    ("access totals with shifts", "080110021803200728ac023002"),
    ("grant place", "0a016412016f"),
    ("grant shift", "0a060a016412016f12020102"),
    ("role cut", "08ac0212020102"),
    ("role cut of users", "18ad02220175"),
    ("user's role", "08ac02"),
    ("user's role before cuts", ""),
];

/// A space and a key, then the row.
const KEY_SPACE: &[(&str, &str)] = &[
    ("keys", "63"),
    ("=", "080310041802220201022807"),
    ("revisions", "00000000000000020000000000000000"),
    ("=", "0a036100621002180220012a020102"),
    ("revisions", "00000000000000030000000000000000"),
    ("=", "0a01631003180320012a020102"),
    ("revisions", "00000000000000040000000000000000"),
    ("=", "0a01631003180420022a0201023007"),
    ("revisions", "00000000000000050000000000000000"),
    ("=", "0a03610062"),
    ("versions", "6100ff62000100000000000000020000000000000000"),
    ("=", ""),
    ("versions", "6100ff62000100000000000000050000000000000000"),
    ("=", "01"),
    ("versions", "63000100000000000000030000000000000000"),
    ("=", ""),
    ("versions", "63000100000000000000040000000000000000"),
    ("=", ""),
];
