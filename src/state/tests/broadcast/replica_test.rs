//! A copy that takes over what leaves for streaming nodes ends up with what this cluster has, whenever the nodes are
//! away: random changes, and messages that are begun and acknowledged in between. It trusts nothing: what a message
//! names must be there, and what it creates must not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::outbox::enable;
use super::*;
use crate::pb::messages::*;
use crate::pb::milvus::{GrantEntity, PrivilegeGroupInfo};
use crate::pb::store;
use crate::state::access::*;
use crate::state::broadcast::message;
use crate::state::tests::access::{access, bind, change_group, create_group, create_role, grant, key, root};

/// What a copy has, by the messages alone.
#[derive(Clone, Debug, Default, PartialEq)]
struct Mirror {
    /// With the hashes of passwords.
    users: BTreeMap<String, String>,
    roles: BTreeMap<String, String>,
    bindings: BTreeSet<(String, String)>,
    grants: BTreeSet<(String, String)>,
    groups: BTreeMap<String, BTreeSet<String>>,
    collections: BTreeSet<i64>,
    /// By collection and index, the value of one parameter.
    indexes: BTreeMap<(i64, i64), String>,
    partitions: BTreeSet<(i64, i64)>,
    aliases: BTreeMap<String, i64>,
}

fn binding(binding: Option<RoleBinding>) -> (String, String) {
    let binding = binding.unwrap();
    (binding.user_entity.unwrap().name, binding.role_entity.unwrap().name)
}

fn granted(entity: Option<GrantEntity>) -> (String, String) {
    let entity = entity.unwrap();
    (entity.role.unwrap().name, entity.grantor.unwrap().privilege.unwrap().name)
}

fn members(info: &PrivilegeGroupInfo) -> BTreeSet<String> {
    info.privileges.iter().map(|member| member.name.clone()).collect()
}

fn shown(index: &crate::pb::index::FieldIndex) -> String {
    let info = index.index_info.clone().unwrap();
    info.user_index_params.into_iter().find(|pair| pair.key == "mmap.enabled").map_or(String::new(), |pair| pair.value)
}

impl Mirror {
    fn take(&mut self, row: &store::BroadcastTask, carried: &store::BroadcastMessage) {
        let header = carried.properties.iter().find(|property| property.key == message::HEADER).unwrap();
        fn read<H: Message + Default>(header: &store::Property) -> H {
            message::decoded(&header.value).unwrap()
        }
        let kind = MessageType::try_from(row.message_type).unwrap();
        match kind {
            MessageType::AlterUser => {
                let body = AlterUserMessageBody::decode(carried.payload.as_slice()).unwrap();
                let credential = body.credential_info.unwrap();
                let new = self.users.insert(credential.username, credential.encrypted_password).is_none();
                assert_eq!(new, row.creates);
            }
            MessageType::DropUser => {
                let name = read::<DropUserMessageHeader>(header).user_name;
                assert!(self.users.remove(&name).is_some(), "{name} is not known");
                self.bindings.retain(|(user, _)| *user != name);
            }
            MessageType::AlterRole => {
                let role = read::<AlterRoleMessageHeader>(header).role_entity.unwrap();
                assert_eq!(self.roles.insert(role.name, role.description).is_none(), row.creates);
            }
            MessageType::DropRole => {
                let name = read::<DropRoleMessageHeader>(header).role_name;
                assert!(self.roles.remove(&name).is_some(), "{name} is not known");
                self.bindings.retain(|(_, role)| *role != name);
                self.grants.retain(|(role, _)| *role != name);
            }
            MessageType::AlterUserRole => {
                let pair = binding(read::<AlterUserRoleMessageHeader>(header).role_binding);
                assert!(self.users.contains_key(&pair.0) && self.roles.contains_key(&pair.1), "{pair:?}");
                assert!(self.bindings.insert(pair));
            }
            MessageType::DropUserRole => {
                let pair = binding(read::<DropUserRoleMessageHeader>(header).role_binding);
                assert!(self.bindings.remove(&pair), "{pair:?}");
            }
            MessageType::AlterPrivilege => {
                let grant = granted(read::<AlterPrivilegeMessageHeader>(header).entity);
                assert!(self.roles.contains_key(&grant.0) && self.grants.insert(grant));
            }
            MessageType::DropPrivilege => {
                let grant = granted(read::<DropPrivilegeMessageHeader>(header).entity);
                assert!(self.grants.remove(&grant), "{grant:?}");
            }
            MessageType::AlterPrivilegeGroup => {
                let info = read::<AlterPrivilegeGroupMessageHeader>(header).privilege_group_info.unwrap();
                match info.privileges.is_empty() {
                    true => assert_eq!(self.groups.insert(info.group_name, BTreeSet::new()), None),
                    false => self.groups.get_mut(&info.group_name).unwrap().extend(members(&info)),
                }
            }
            MessageType::DropPrivilegeGroup => {
                let info = read::<DropPrivilegeGroupMessageHeader>(header).privilege_group_info.unwrap();
                match info.privileges.is_empty() {
                    true => assert!(self.groups.remove(&info.group_name).is_some()),
                    false => {
                        let gone = members(&info);
                        self.groups.get_mut(&info.group_name).unwrap().retain(|name| !gone.contains(name));
                    }
                }
            }
            MessageType::CreateCollection => {
                let header: CreateCollectionMessageHeader = read(header);
                assert!(self.collections.insert(header.collection_id));
                self.partitions.extend(header.partition_ids.iter().map(|id| (header.collection_id, *id)));
            }
            MessageType::DropCollection => {
                let id = read::<DropCollectionMessageHeader>(header).collection_id;
                assert!(self.collections.remove(&id));
                self.indexes.retain(|(collection, _), _| *collection != id);
                self.partitions.retain(|(collection, _)| *collection != id);
            }
            MessageType::CreateIndex => {
                let header: CreateIndexMessageHeader = read(header);
                let body = CreateIndexMessageBody::decode(carried.payload.as_slice()).unwrap();
                assert!(self.collections.contains(&header.collection_id));
                let place = (header.collection_id, header.index_id);
                assert_eq!(self.indexes.insert(place, shown(&body.field_index.unwrap())), None);
            }
            MessageType::AlterIndex => {
                let header: AlterIndexMessageHeader = read(header);
                let body = AlterIndexMessageBody::decode(carried.payload.as_slice()).unwrap();
                let index = self.indexes.get_mut(&(header.collection_id, header.index_ids[0])).unwrap();
                *index = shown(&body.field_indexes[0]);
            }
            MessageType::DropIndex => {
                let header: DropIndexMessageHeader = read(header);
                assert!(self.indexes.remove(&(header.collection_id, header.index_ids[0])).is_some());
            }
            MessageType::CreatePartition => {
                let header: CreatePartitionMessageHeader = read(header);
                assert!(self.collections.contains(&header.collection_id));
                assert!(self.partitions.insert((header.collection_id, header.partition_id)));
            }
            MessageType::DropPartition => {
                let header: DropPartitionMessageHeader = read(header);
                assert!(self.partitions.remove(&(header.collection_id, header.partition_id)));
            }
            MessageType::AlterAlias => {
                let header: AlterAliasMessageHeader = read(header);
                assert!(self.collections.contains(&header.collection_id));
                self.aliases.insert(header.alias, header.collection_id);
            }
            MessageType::DropAlias => {
                let alias = read::<DropAliasMessageHeader>(header).alias;
                assert!(self.aliases.remove(&alias).is_some(), "{alias} is not known");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the tables say.
    fn of(world: &World) -> Self {
        let mut copy = Mirror::default();
        let (view, read) = (world.view().access(), &world.tables);
        for (name, row) in view.users(None, usize::MAX).unwrap().into_iter().filter(|(name, _)| name != ROOT) {
            copy.bindings.extend(view.roles_of(&name).unwrap().into_iter().map(|role| (name.clone(), role)));
            copy.users.insert(name, row.password_hash);
        }
        for (name, row) in view.roles(None, usize::MAX).unwrap().into_iter().filter(|(name, _)| !is_built_in(name)) {
            let grants = view.grants_of(&name).unwrap().into_iter();
            copy.grants.extend(grants.map(|(key, _)| (name.clone(), key.privilege)));
            copy.roles.insert(name, row.description);
        }
        for (name, row) in view.groups().unwrap() {
            copy.groups.insert(name, row.privileges.into_iter().collect());
        }
        for id in world.view().collection_ids(DEFAULT_DATABASE_ID, None, usize::MAX).unwrap() {
            copy.collections.insert(id);
            for (_, row) in tables::INDEXES.page(read, &id, None, usize::MAX).unwrap() {
                let value = row.user_params.iter().find(|pair| pair.key == "mmap.enabled");
                copy.indexes.insert((id, row.id), value.map_or(String::new(), |pair| pair.value.clone()));
            }
            let partitions = tables::PARTITIONS.page(read, &id, None, usize::MAX).unwrap();
            copy.partitions.extend(partitions.into_iter().map(|(_, row)| (id, row.id)));
        }
        for ((_, name), row) in tables::ALIASES.page(read, &DEFAULT_DATABASE_ID, None, usize::MAX).unwrap() {
            copy.aliases.insert(name, row.id);
        }
        copy
    }
}

#[derive(Clone, Debug)]
enum Do {
    Change(Command),
    /// By the name of the collection.
    Index {
        collection: String,
        act: u8,
    },
    /// So many of those that may begin, the latest first.
    Begin(usize),
    /// So many of those that have begun are acknowledged.
    Finish(usize),
}

fn name(letter: &'static str) -> impl Strategy<Value = String> {
    // Few, so that they meet each other.
    (0..2).prop_map(move |n| format!("{letter}{n}"))
}

fn changes() -> impl Strategy<Value = Command> {
    let user = |name: String, hash: u8| {
        AccessCommand::CreateUser(CreateUser {
            name,
            password_hash: format!("h{hash}"),
            description: String::new(),
            max_users: 100,
        })
    };
    let password = |name: String, hash: u8| {
        let password_hash = Some(format!("h{hash}"));
        AccessCommand::UpdateUser(UpdateUser { name, password_hash, description: None, known: None })
    };
    let describe = |name: String, n: u8| AccessCommand::AlterRole(AlterRole { name, description: format!("d{n}") });
    let of_access = prop_oneof![
        (name("u"), 0..9_u8).prop_map(move |(name, hash)| user(name, hash)),
        (name("u"), 0..9_u8).prop_map(move |(name, hash)| password(name, hash)),
        name("u").prop_map(|name| AccessCommand::DropUser(DropUser { name })),
        name("r").prop_map(|name| create_role(&name)),
        (name("r"), 0..9_u8).prop_map(move |(name, n)| describe(name, n)),
        (name("r"), any::<bool>()).prop_map(|(name, force)| AccessCommand::DropRole(DropRole { name, force })),
        (name("u"), name("r"), any::<bool>()).prop_map(|(user, role, give)| bind(&user, &role, give)),
        (name("r"), name("p")).prop_map(|(role, name)| AccessCommand::Grant(grant(key(&role, "o", &name), false))),
        (name("r"), name("p")).prop_map(|(role, name)| AccessCommand::Revoke(Revoke { key: key(&role, "o", &name) })),
        name("g").prop_map(|name| create_group(&name)),
        name("g").prop_map(|name| AccessCommand::DropGroup(DropGroup { name })),
        (name("g"), name("p"), any::<bool>()).prop_map(|(group, name, add)| change_group(
            &group,
            &[(&name, Some(PrivilegeLevel::Collection))],
            add
        )),
        (name("g"), name("g"), any::<bool>()).prop_map(|(group, other, add)| change_group(
            &group,
            &[(&other, None)],
            add
        )),
    ];
    prop_oneof![
        6 => of_access.prop_map(access),
        1 => name("c").prop_map(|name| Command::CreateCollection(create_collection("", &name))),
        1 => name("c").prop_map(|name| drop_collection("", &name)),
        1 => (name("c"), name("x")).prop_map(|(collection, name)| create_partition(&collection, &name)),
        1 => (name("c"), name("x")).prop_map(|(collection, name)| drop_partition(&collection, &name)),
        1 => (name("a"), name("c")).prop_map(|(alias, collection)| create_alias("", &alias, &collection)),
        1 => (name("a"), name("c")).prop_map(|(alias, collection)| alter_alias("", &alias, &collection)),
        1 => name("a").prop_map(|alias| drop_alias("", &alias)),
    ]
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        8 => changes().prop_map(Do::Change),
        2 => (name("c"), 0..4_u8).prop_map(|(collection, act)| Do::Index { collection, act }),
        1 => (0..4_usize).prop_map(Do::Begin),
        1 => (0..4_usize).prop_map(Do::Finish),
    ]
}

struct Pair {
    world: World,
    copy: Mirror,
}

impl Pair {
    fn run(&mut self, act: Do) {
        match act {
            // Many are refused, and leave nothing.
            Do::Change(command) => _ = self.world.run(command),
            Do::Index { collection, act } => {
                let Some(row) = self.world.view().collection(1, &collection).unwrap() else { return };
                let index = tables::INDEXES.page(&self.world.tables, &row.id, None, 1).unwrap().pop();
                let command = match (act, index) {
                    (0, _) => IndexCommand::Create(index_of(row.id, 101, "i")),
                    (1, _) => IndexCommand::Drop(DropIndex { collection_id: row.id, name: "i".into() }),
                    (value, Some((_, index))) => IndexCommand::Alter(AlterIndex {
                        collection_id: row.id,
                        index_id: index.id,
                        name: "i".into(),
                        set: vec![("mmap.enabled".into(), (value == 2).to_string())],
                        delete: Vec::new(),
                        ts: TS,
                    }),
                    _ => return,
                };
                self.world.run(Command::Index(command));
            }
            Do::Begin(count) => _ = self.begin(count),
            Do::Finish(count) => _ = self.finish(count),
        }
    }

    fn begin(&mut self, count: usize) -> usize {
        let may: Vec<_> = {
            let view = self.world.view().broadcasts();
            let tasks = view.tasks(None, usize::MAX).unwrap().into_iter();
            let may = tasks.filter(|row| row.is_pending() && !row.begun && view.waits_for(row).unwrap().is_none());
            let mut may: Vec<_> = may.collect();
            may.reverse();
            may.into_iter().take(count).map(|row| (view.message(row.id).unwrap().unwrap(), row)).collect()
        };
        for (carried, row) in &may {
            assert_eq!(self.world.begun(&[row.id]), [row.id]);
            // From now on it goes everywhere.
            self.copy.take(row, carried);
        }
        may.len()
    }

    fn finish(&mut self, count: usize) -> usize {
        let tasks = self.world.view().broadcasts().tasks(None, usize::MAX).unwrap().into_iter();
        let begun: Vec<_> = tasks.filter(|row| row.is_pending() && row.begun).take(count).collect();
        for row in &begun {
            let checkpoints = row.channels.iter().map(|channel| (channel.vchannel.clone(), Vec::new())).collect();
            self.world.broadcast(BroadcastCommand::Acked(Acked { id: row.id, checkpoints, finish: true }));
        }
        begun.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_copy_has_what_this_cluster_has(steps in vec(step(), 1..300)) {
        let mut world = World::default();
        world.access(root());
        enable(&mut world);
        let mut pair = Pair { world, copy: Mirror::default() };
        for act in steps {
            pair.run(act);
        }
        while pair.begin(usize::MAX) + pair.finish(usize::MAX) > 0 {}
        prop_assert_eq!(&pair.copy, &Mirror::of(&pair.world));
        prop_assert_eq!(pair.world.view().broadcasts().totals().unwrap().pending, 0);
    }

    /// Away from the first change on, nodes find nothing of what came and went.
    #[test]
    fn what_came_and_went_while_nodes_were_away_leaves_nothing(steps in vec(changes(), 1..120)) {
        let mut world = World::default();
        world.access(root());
        enable(&mut world);
        steps.into_iter().for_each(|command| _ = world.run(command));
        let access = world.view().access();
        let users = access.users(None, usize::MAX).unwrap().into_iter().map(|(name, _)| name);
        let users: Vec<String> = users.filter(|name| name != ROOT).collect();
        let roles = access.roles(None, usize::MAX).unwrap().into_iter().map(|(name, _)| name);
        let roles: Vec<String> = roles.filter(|name| !is_built_in(name)).collect();
        let groups: Vec<String> = access.groups().unwrap().into_iter().map(|(name, _)| name).collect();
        let aliases = Mirror::of(&world).aliases;
        users.into_iter().for_each(|name| world.access(AccessCommand::DropUser(DropUser { name })));
        roles.into_iter().for_each(|name| world.access(AccessCommand::DropRole(DropRole { name, force: true })));
        groups.into_iter().for_each(|name| world.access(AccessCommand::DropGroup(DropGroup { name })));
        aliases.into_keys().for_each(|name| _ = world.run(drop_alias("", &name)));
        for n in 0..3 {
            world.run(drop_collection("", &format!("c{n}")));
        }
        prop_assert_eq!(Mirror::of(&world), Mirror::default());
        prop_assert_eq!(world.view().broadcasts().totals().unwrap().pending, 0);
        prop_assert_eq!([0xC0, 0xC1, 0xC2, 0xC3, 0xC4].map(|tag| world.count(tag)), [0; 5]);
    }
}
