//! The state machine told in ordered maps, the slow and obvious way: what a command answers, and which rows follow.

use std::collections::BTreeMap;

use prost::Message;

use crate::pb::schema::FieldSchema;
use crate::state::*;

/// A refusal is compared by its code.
pub type Answer = Result<Reply, i32>;

#[derive(Clone, Debug)]
pub struct Collection {
    pub id: i64,
    pub shards: u32,
    pub pchannels: Vec<usize>,
    pub partitions: BTreeMap<String, i64>,
    pub properties: BTreeMap<String, String>,
    /// Added ones, in this order.
    pub fields: Vec<String>,
    pub truncated_ts: u64,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub databases: BTreeMap<String, i64>,
    pub database_properties: BTreeMap<String, BTreeMap<String, String>>,
    /// By database and alias: the collection's name.
    pub aliases: BTreeMap<(String, String), String>,
    pub collections: BTreeMap<(String, String), Collection>,
    pub next_id: i64,
    pub bound_ms: u64,
}

/// What a collection has that was declared without properties.
fn inherited() -> BTreeMap<String, String> {
    BTreeMap::from([("timezone".to_owned(), "UTC".to_owned())])
}

impl Default for Model {
    fn default() -> Self {
        let databases = BTreeMap::from([("default".to_owned(), 1)]);
        Model {
            databases,
            database_properties: BTreeMap::new(),
            aliases: BTreeMap::new(),
            collections: BTreeMap::new(),
            next_id: 100,
            bound_ms: 0,
        }
    }
}

impl Model {
    pub fn apply(&mut self, command: &Command) -> Answer {
        match command {
            Command::CreateDatabase(command) => self.create_database(command),
            Command::DropDatabase(command) => self.drop_database(command),
            Command::CreateCollection(command) => self.create_collection(command),
            Command::DropCollection(command) => self.drop_collection(command),
            Command::CreatePartition(command) => self.create_partition(command),
            Command::DropPartition(command) => self.drop_partition(command),
            Command::AlterCollectionProperties(command) => self.alter(command),
            Command::AllocId(command) => Ok(self.alloc(command)),
            Command::ExtendTso(command) => Ok(self.extend(command)),
            Command::Keyspace(_) | Command::Index(_) | Command::Load(_) => {
                unreachable!("these have models of their own")
            }
            Command::Collection(command) => self.change(command),
            Command::AlterDatabase(command) => self.alter_database(command),
            Command::Alias(command) => self.alias(command),
            Command::Access(_) => unreachable!("access has a model of its own"),
            Command::Worker(_) => unreachable!("workers have a model of their own"),
            Command::Conditional(_) => unreachable!("a change or a refusal: collection/revision.rs has examples"),
            Command::PChannel(_) => unreachable!("pchannels have a model of their own"),
            Command::Broadcast(_) => unreachable!("broadcasts have a model of their own"),
        }
    }

    /// Vchannels by pchannel.
    pub fn channel_use(&self) -> [u64; PCHANNELS as usize] {
        let mut used = [0; PCHANNELS as usize];
        self.collections.values().flat_map(|collection| &collection.pchannels).for_each(|number| used[*number] += 1);
        used
    }

    pub fn capacity(&self) -> u64 {
        self.collections.values().map(|c| c.partitions.len() as u64 * u64::from(c.shards)).sum()
    }

    pub fn collections_in(&self, database: &str) -> u64 {
        self.collections.keys().filter(|(of, _)| of == database).count() as u64
    }

    fn take(&mut self, count: i64) -> i64 {
        self.next_id += count;
        self.next_id - count
    }

    fn create_database(&mut self, command: &CreateDatabase) -> Answer {
        if self.databases.contains_key(&command.name) {
            return Err(1100);
        }
        if self.databases.len() as u64 > command.limits.max_databases {
            return Err(801);
        }
        let database_id = self.take(1);
        self.databases.insert(command.name.clone(), database_id);
        Ok(Reply::DatabaseCreated { database_id })
    }

    fn drop_database(&mut self, command: &DropDatabase) -> Answer {
        let database_id = *self.databases.get(&command.name).ok_or(800)?;
        if command.name == "default" || self.collections_in(&command.name) > 0 {
            return Err(1100);
        }
        self.databases.remove(&command.name);
        self.database_properties.remove(&command.name);
        Ok(Reply::DatabaseDropped { database_id })
    }

    fn alter_database(&mut self, command: &AlterDatabase) -> Answer {
        if command.set.is_empty() == command.delete.is_empty() {
            return Err(1100);
        }
        let database_id = *self.databases.get(&command.name).ok_or(800)?;
        let properties = self.database_properties.entry(command.name.clone()).or_default();
        let before = properties.clone();
        properties.extend(command.set.iter().cloned());
        properties.retain(|key, _| !command.delete.contains(key));
        Ok(Reply::DatabaseAltered { database_id, changed: before != *properties })
    }

    fn alias(&mut self, command: &AliasCommand) -> Answer {
        let (database, alias, collection, must_exist) = match command {
            AliasCommand::Create { database, alias, collection } => (database, alias, collection, false),
            AliasCommand::Alter { database, alias, collection } => (database, alias, collection, true),
            AliasCommand::Drop { database, alias } => {
                self.databases.get(database).ok_or(800)?;
                let named = self.aliases.remove(&(database.clone(), alias.clone()));
                let collection_id = named.map(|name| self.collections[&(database.clone(), name)].id);
                return Ok(Reply::AliasDropped { collection_id });
            }
        };
        self.databases.get(database).ok_or(800)?;
        let of = |name: &String| (database.clone(), name.clone());
        if self.collections.contains_key(&of(alias)) {
            return Err(1601);
        }
        let collection_id = self.collections.get(&of(collection)).ok_or(100)?.id;
        let old = self.aliases.get(&of(alias));
        match old {
            None if must_exist => return Err(1600),
            Some(old) if !must_exist && old != collection => return Err(1602),
            _ => {}
        }
        let changed = old != Some(collection);
        self.aliases.insert(of(alias), collection.clone());
        Ok(Reply::AliasSet { collection_id, changed })
    }

    fn create_collection(&mut self, command: &CreateCollection) -> Answer {
        let limits = command.limits;
        if command.partitions.len() as u64 > limits.max_partitions {
            return Err(1100);
        }
        if !self.databases.contains_key(&command.database) {
            return Err(800);
        }
        let key = (command.database.clone(), command.name.clone());
        if self.aliases.contains_key(&key) {
            return Err(65535);
        }
        if let Some(old) = self.collections.get(&key) {
            let same = old.shards == command.shards
                && command.partitions.iter().all(|name| old.partitions.contains_key(name))
                && old.properties == inherited()
                && old.fields.is_empty();
            let existed = Reply::CollectionCreated { collection_id: old.id, existed: true };
            return if same { Ok(existed) } else { Err(1100) };
        }
        if self.collections.len() as u64 >= limits.max_collections
            || self.collections_in(&command.database) >= limits.max_collections_per_database
        {
            return Err(102);
        }
        let wanted = command.partitions.len() as u64 * u64::from(command.shards);
        if self.capacity() + wanted > limits.max_general_capacity {
            return Err(250);
        }
        let mut channels: Vec<_> = self.channel_use().into_iter().zip(0..).collect();
        channels.sort();
        let pchannels = channels.into_iter().take(command.shards as usize).map(|(_, number)| number).collect();
        let id = self.take(1);
        let partitions = command.partitions.iter().map(|name| (name.clone(), self.take(1))).collect();
        let properties = inherited();
        let (shards, fields) = (command.shards, Vec::new());
        let collection = Collection { id, shards, pchannels, partitions, properties, fields, truncated_ts: 0 };
        self.collections.insert(key, collection);
        Ok(Reply::CollectionCreated { collection_id: id, existed: false })
    }

    fn drop_collection(&mut self, command: &DropCollection) -> Answer {
        let key = (command.database.clone(), command.name.clone());
        let named = |(alias, name): (&(String, String), &String)| alias.0 == key.0 && *name == key.1;
        if self.aliases.contains_key(&key) || self.aliases.iter().any(named) {
            return Err(1100);
        }
        let old = self.collections.remove(&key);
        Ok(Reply::CollectionDropped { collection_id: old.map(|collection| collection.id) })
    }

    fn collection(&mut self, database: &str, name: &str) -> Result<&mut Collection, i32> {
        if !self.databases.contains_key(database) {
            return Err(800);
        }
        let key = (database.to_owned(), name.to_owned());
        let name = self.aliases.get(&key).unwrap_or(&key.1).clone();
        self.collections.get_mut(&(key.0, name)).ok_or(100)
    }

    fn create_partition(&mut self, command: &CreatePartition) -> Answer {
        let (capacity, next_id, limits) = (self.capacity(), self.next_id, command.limits);
        let collection = self.collection(&command.database, &command.collection)?;
        if let Some(&partition_id) = collection.partitions.get(&command.name) {
            return Ok(Reply::PartitionCreated { partition_id, existed: true });
        }
        if collection.partitions.len() as u64 >= limits.max_partitions {
            return Err(1100);
        }
        if capacity + u64::from(collection.shards) > limits.max_general_capacity {
            return Err(250);
        }
        collection.partitions.insert(command.name.clone(), next_id);
        let partition_id = self.take(1);
        Ok(Reply::PartitionCreated { partition_id, existed: false })
    }

    fn drop_partition(&mut self, command: &DropPartition) -> Answer {
        let collection = self.collection(&command.database, &command.collection)?;
        if command.name == "_default" {
            return Err(1100);
        }
        Ok(Reply::PartitionDropped { partition_id: collection.partitions.remove(&command.name) })
    }

    fn alter(&mut self, command: &AlterCollectionProperties) -> Answer {
        if command.set.is_empty() == command.delete.is_empty() {
            return Err(1100);
        }
        let collection = self.collection(&command.database, &command.collection)?;
        let before = collection.properties.clone();
        collection.properties.extend(command.set.iter().cloned());
        collection.properties.retain(|key, _| !command.delete.contains(key));
        Ok(Reply::CollectionAltered { collection_id: collection.id, changed: before != collection.properties })
    }

    fn change(&mut self, change: &CollectionChange) -> Answer {
        match change {
            CollectionChange::Rename(command) => self.rename(command),
            // Collections of the model are small: their drops end with the first entry.
            CollectionChange::Erase(_) => Ok(Reply::CollectionErased { more: false }),
            CollectionChange::AddField(command) => self.add_field(command),
            CollectionChange::Truncate(command) => self.truncate(command),
            other => unreachable!("not in these logs: {other}"),
        }
    }

    fn rename(&mut self, command: &RenameCollection) -> Answer {
        let to = if command.new_database.is_empty() { &command.database } else { &command.new_database };
        if !self.databases.contains_key(&command.database) || !self.databases.contains_key(to) {
            return Err(800);
        }
        let (old, new) = ((command.database.clone(), command.name.clone()), (to.clone(), command.new_name.clone()));
        if old == new || self.aliases.contains_key(&old) {
            return Err(1100);
        }
        if self.aliases.contains_key(&new) {
            return Err(1601);
        }
        if self.collections.contains_key(&new) {
            return Err(1100);
        }
        if !self.collections.contains_key(&old) {
            return Err(100);
        }
        let named = |(alias, name): (&(String, String), &String)| alias.0 == old.0 && *name == old.1;
        if old.0 != new.0 && self.aliases.iter().any(named) {
            return Err(1100);
        }
        if command.database != *to && self.collections_in(to) >= command.limits.max_collections_per_database {
            return Err(102);
        }
        let collection = self.collections.remove(&old).unwrap();
        for ((database, _), name) in &mut self.aliases {
            if *database == old.0 && *name == old.1 {
                name.clone_from(&new.1);
            }
        }
        let collection_id = collection.id;
        self.collections.insert(new, collection);
        Ok(Reply::CollectionAltered { collection_id, changed: true })
    }

    fn add_field(&mut self, command: &AddField) -> Answer {
        let field = FieldSchema::decode(command.field.as_slice()).unwrap();
        let collection = self.collection(&command.database, &command.collection)?;
        // Two fields were declared.
        if collection.fields.len() as u64 + 2 >= command.limits.max_fields || collection.fields.contains(&field.name) {
            return Err(1100);
        }
        collection.fields.push(field.name);
        Ok(Reply::CollectionAltered { collection_id: collection.id, changed: true })
    }

    fn truncate(&mut self, command: &TruncateCollection) -> Answer {
        let collection = self.collection(&command.database, &command.collection)?;
        let changed = collection.truncated_ts < command.ts;
        collection.truncated_ts = collection.truncated_ts.max(command.ts);
        Ok(Reply::CollectionAltered { collection_id: collection.id, changed })
    }

    fn alloc(&mut self, command: &AllocId) -> Reply {
        Reply::IdsAllocated { first: self.take(command.count.into()), count: command.count }
    }

    fn extend(&mut self, command: &ExtendTso) -> Reply {
        self.bound_ms = self.bound_ms.max(command.bound_ms);
        Reply::TsoExtended { bound_ms: self.bound_ms }
    }
}
