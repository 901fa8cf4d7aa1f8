//! What creates, drops, renames and alters collections. The state machine judges again what is judged here, and its
//! answer is the one that counts.

use prost::Message;

use crate::call::Call;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, DropCollectionRequest, RenameCollectionRequest,
};
use crate::rootcoord::catalog::{Catalog, named_collection};
use crate::rootcoord::validate;
use crate::state::{
    self, AlterCollectionProperties, CollectionChange, Command, CreateCollection, DropCollection, RenameCollection,
    Reply, View,
};

impl Catalog {
    /// On the leader. An identical collection of that name is a success.
    pub async fn create_collection(&self, asked: &Asked<CreateCollectionRequest>) -> Result<(), Failure> {
        let limits = &self.ledger.limits;
        let wanted = validate::create_collection(&asked.message, limits)?;
        let command = CreateCollection {
            database: asked.database(&asked.message.db_name).to_owned(),
            name: wanted.name,
            schema: wanted.schema.encode_to_vec(),
            shards: wanted.shards,
            consistency: wanted.consistency,
            properties: wanted.properties,
            partitions: wanted.partition_names,
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: state::Limits::from(limits.as_ref()),
        };
        let done = reply!(Reply::CollectionCreated { .. } => ());
        self.ledger.propose(&asked.call, Command::CreateCollection(command), done).await
    }

    /// On the leader. A missing collection is a success.
    pub async fn drop_collection(&self, asked: &Asked<DropCollectionRequest>) -> Result<(), Failure> {
        let DropCollectionRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let command = DropCollection { database: asked.database(db_name).to_owned(), name: collection_name.clone() };
        let done = reply!(Reply::CollectionDropped { .. } => ());
        self.ledger.propose(&asked.call, Command::DropCollection(command), done).await
    }

    /// On the leader. Sets properties of a collection or deletes them.
    pub async fn alter_collection(&self, asked: &Asked<AlterCollectionRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let database = asked.database(&request.db_name);
        let has_partition_key = match validate::asks_for_partition_key(&request.properties) {
            true => self.has_partition_key(&asked.call, database, &request.collection_name).await?,
            false => false,
        };
        let command = AlterCollectionProperties {
            database: database.to_owned(),
            collection: request.collection_name.clone(),
            set: validate::altered_properties(request, has_partition_key)?,
            delete: request.delete_keys.clone(),
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::CollectionAltered { .. } => ());
        self.ledger.propose(&asked.call, Command::AlterCollectionProperties(command), done).await
    }

    /// Never changes after the creation.
    async fn has_partition_key(&self, call: &Call, database: &str, collection: &str) -> Result<bool, Failure> {
        let view = self.ledger.view(call).await?;
        let row = named_collection(&View::new(view.as_ref()), database, collection)?;
        Ok(row.decoded_schema()?.fields.iter().any(|field| field.is_partition_key))
    }

    /// On the leader. Gives a collection another name, puts it into another database, or both.
    pub async fn rename_collection(&self, asked: &Asked<RenameCollectionRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::renaming(request)?;
        let command = RenameCollection {
            database: asked.database(&request.db_name).to_owned(),
            name: request.old_name.clone(),
            new_database: request.new_db_name.clone(),
            new_name: request.new_name.clone(),
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: state::Limits::from(self.ledger.limits.as_ref()),
        };
        self.change_collection(&asked.call, CollectionChange::Rename(command)).await
    }

    /// On the leader.
    async fn change_collection(&self, call: &Call, change: CollectionChange) -> Result<(), Failure> {
        let done = reply!(Reply::CollectionAltered { .. } => ());
        self.ledger.propose(call, Command::Collection(change), done).await
    }
}
