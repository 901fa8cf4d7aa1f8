//! A state machine on ordered maps, and commands with everything filled in.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use prost::Message;
use roost_raft::kv::{KeyRange, MemTables, Read, Space, Txn};
use roost_raft::machine::{ApplyContext, Machine};

use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::state::*;

/// The time at which worlds begin.
pub const START_MS: u64 = 1_732_245_423_000;
pub const TS: u64 = START_MS << 18;

/// One node's state, with the log position it has reached.
#[derive(Clone)]
pub struct World {
    pub tables: MemTables,
    pub index: u64,
    pub apply_version: u32,
}

impl Default for World {
    fn default() -> Self {
        World { tables: MemTables::default(), index: 0, apply_version: Roost::APPLY_VERSION }
    }
}

impl World {
    /// Applies an entry in a transaction of its own.
    pub fn apply(&mut self, entry: &Entry) -> (Vec<u8>, Vec<Event>) {
        let mut results = self.apply_batch(std::slice::from_ref(entry));
        results.pop().unwrap()
    }

    /// Applies entries in one transaction, as the host does.
    pub fn apply_batch(&mut self, entries: &[Entry]) -> Vec<(Vec<u8>, Vec<Event>)> {
        let mut txn = Txn::new(&self.tables);
        let mut results = Vec::new();
        for entry in entries {
            self.index += 1;
            let context = ApplyContext { index: self.index, term: 1, leader: 1, apply_version: self.apply_version };
            let mut events = Vec::new();
            let reply = Roost.apply(&context, &entry.encode().unwrap(), &mut txn, &mut events).unwrap();
            results.push((reply, events));
        }
        let rows = txn.into_rows();
        self.tables.commit(rows);
        results
    }

    /// Executes a command that nobody will repeat.
    pub fn run(&mut self, command: Command) -> Reply {
        self.run_at(START_MS, None, command)
    }

    pub fn run_at(&mut self, at_ms: u64, request: Option<RequestId>, command: Command) -> Reply {
        Reply::decode(&self.apply(&entry(at_ms, request, command)).0).unwrap()
    }

    pub fn rejected(&mut self, command: Command) -> Rejection {
        match self.run(command) {
            Reply::Rejected(rejection) => rejection,
            reply => panic!("not rejected: {reply:?}"),
        }
    }

    pub fn view(&self) -> View<'_> {
        View::new(&self.tables)
    }

    /// Every row.
    pub fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        self.tables
            .scan(Space::STATE, KeyRange::ALL, false, &mut |key, value| {
                rows.insert(key.to_vec(), value.to_vec());
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        rows
    }

    /// Every row of every space.
    pub fn every_row(&self) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        for space in Space::ALL {
            let row = &mut |key: &[u8], value: &[u8]| {
                rows.push((space, key.to_vec(), value.to_vec()));
                Ok(ControlFlow::Continue(()))
            };
            self.tables.scan(space, KeyRange::ALL, false, row).unwrap();
        }
        rows
    }

    /// Every row but the clock's and the sessions'.
    pub fn facts(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = self.rows();
        rows.retain(|key, _| !matches!(key[0], 0x01 | 0x10..=0x13));
        rows
    }

    pub fn count(&self, tag: u8) -> usize {
        self.rows().keys().filter(|key| key[0] == tag).count()
    }
}

pub fn entry(at_ms: u64, request: Option<RequestId>, command: Command) -> Entry {
    Entry { at_ms, request, principal: "root".into(), source: "127.0.0.1:40000".into(), command }
}

pub fn request(sequence: u64) -> RequestId {
    RequestId { node: 1, boot: 7, sequence, acked_below: 0 }
}

pub fn field(id: i64, name: &str, data_type: DataType) -> FieldSchema {
    FieldSchema { field_id: id, name: name.into(), data_type: data_type.into(), ..FieldSchema::default() }
}

pub fn schema(name: &str) -> CollectionSchema {
    let id = FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    let fields = vec![id, field(101, "vector", DataType::FloatVector)];
    CollectionSchema { name: name.into(), fields, ..CollectionSchema::default() }
}

pub fn create_collection(database: &str, name: &str) -> CreateCollection {
    CreateCollection {
        database: database.into(),
        name: name.into(),
        schema: schema(name).encode_to_vec(),
        shards: 1,
        consistency: 2,
        properties: Vec::new(),
        partitions: vec![DEFAULT_PARTITION.into()],
        ts: TS,
        limits: Limits::default(),
    }
}

pub fn create_database(name: &str) -> Command {
    let (name, limits) = (name.into(), Limits::default());
    Command::CreateDatabase(CreateDatabase { name, properties: Vec::new(), ts: TS, limits })
}

pub fn drop_database(name: &str) -> Command {
    Command::DropDatabase(DropDatabase { name: name.into() })
}

pub fn drop_collection(database: &str, name: &str) -> Command {
    Command::DropCollection(DropCollection { database: database.into(), name: name.into() })
}

/// In the default database.
pub fn rename_collection(name: &str, new_name: &str) -> RenameCollection {
    RenameCollection {
        database: String::new(),
        name: name.into(),
        new_database: String::new(),
        new_name: new_name.into(),
        ts: TS + 1,
        limits: Limits::default(),
    }
}

pub fn change(change: CollectionChange) -> Command {
    Command::Collection(change)
}

pub fn erase_collection(collection_id: i64) -> Command {
    change(CollectionChange::Erase(EraseCollection { collection_id }))
}

/// As the following, in the default database.
pub fn add_field(collection: &str, field: Vec<u8>) -> AddField {
    let (database, collection) = (String::new(), collection.to_owned());
    let limits = FieldLimits { max_fields: 64, max_vector_fields: 10 };
    AddField { database, collection, judged_id: 0, field, ts: TS + 7, limits }
}

pub fn enable_dynamic_field(collection: &str) -> EnableDynamicField {
    EnableDynamicField { database: String::new(), collection: collection.into(), enable: true, ts: TS + 9 }
}

pub fn alter_field(collection: &str, field: &str, set: &[(&str, &str)], delete: &[&str]) -> AlterField {
    AlterField {
        database: String::new(),
        collection: collection.into(),
        field: field.into(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        delete: delete.iter().map(ToString::to_string).collect(),
        ts: TS + 8,
        limits: ParamLimits { max_varchar_length: 65_535, max_array_capacity: 4096 },
    }
}

pub fn change_function(collection: &str, function: FunctionChange) -> Command {
    let (database, collection) = (String::new(), collection.to_owned());
    let command = ChangeFunction { database, collection, judged_id: 0, change: function, ts: TS + 7 };
    change(CollectionChange::Function(command))
}

pub fn alter_settings(collection: &str, description: &str) -> AlterSettings {
    AlterSettings {
        database: String::new(),
        collection: collection.into(),
        description: Some(description.into()),
        consistency: None,
        set: Vec::new(),
        ts: TS + 5,
    }
}

pub fn truncate_collection(collection: &str, ts: u64) -> TruncateCollection {
    TruncateCollection { database: String::new(), collection: collection.into(), ts }
}

pub fn create_partition(collection: &str, name: &str) -> Command {
    Command::CreatePartition(CreatePartition {
        database: String::new(),
        collection: collection.into(),
        name: name.into(),
        ts: TS,
        limits: Limits::default(),
    })
}

pub fn drop_partition(collection: &str, name: &str) -> Command {
    let (collection, name) = (collection.into(), name.into());
    Command::DropPartition(DropPartition { database: String::new(), collection, name })
}

pub fn alter(collection: &str, set: &[(&str, &str)], delete: &[&str]) -> Command {
    Command::AlterCollectionProperties(AlterCollectionProperties {
        database: String::new(),
        collection: collection.into(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        delete: delete.iter().map(ToString::to_string).collect(),
        ts: TS + 1,
    })
}

pub fn alter_database(name: &str, set: &[(&str, &str)], delete: &[&str]) -> Command {
    Command::AlterDatabase(AlterDatabase {
        name: name.into(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        delete: delete.iter().map(ToString::to_string).collect(),
    })
}

pub fn create_alias(database: &str, alias: &str, collection: &str) -> Command {
    let (database, alias, collection) = (database.into(), alias.into(), collection.into());
    Command::Alias(AliasCommand::Create { database, alias, collection })
}

pub fn alter_alias(database: &str, alias: &str, collection: &str) -> Command {
    let (database, alias, collection) = (database.into(), alias.into(), collection.into());
    Command::Alias(AliasCommand::Alter { database, alias, collection })
}

pub fn drop_alias(database: &str, alias: &str) -> Command {
    Command::Alias(AliasCommand::Drop { database: database.into(), alias: alias.into() })
}

pub fn alloc(count: u32) -> Command {
    Command::AllocId(AllocId { count })
}

pub fn extend(bound_ms: u64) -> Command {
    Command::ExtendTso(ExtendTso { bound_ms, operator_override: false })
}

pub fn index_of(collection_id: i64, field_id: i64, name: &str) -> CreateIndex {
    CreateIndex {
        collection_id,
        field_id,
        name: name.into(),
        default_name: "vector".into(),
        type_params: vec![("dim".into(), "8".into())],
        index_params: vec![("index_type".into(), "HNSW".into()), ("metric_type".into(), "L2".into())],
        user_params: vec![("index_type".into(), "HNSW".into()), ("metric_type".into(), "L2".into())],
        is_auto: false,
        metric_is_default: false,
        ts: TS,
    }
}

/// With both fields of [`schema`], as one replica.
pub fn load_of(collection_id: i64) -> LoadCollection {
    LoadCollection { collection_id, replicas: vec!["g".into()], fields: vec![100, 101], ts: TS }
}
