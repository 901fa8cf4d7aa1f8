//! What creates, drops, renames and alters collections. The state machine judges again what is judged here, and its
//! answer is the one that counts.

use prost::Message;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::common;
use crate::pb::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, DropCollectionRequest, RenameCollectionRequest,
    TruncateCollectionRequest, TruncateCollectionResponse,
};
use crate::pb::schema::CollectionSchema;
use crate::pb::store;
use crate::rootcoord::catalog::{Catalog, existing, named_collection};
use crate::rootcoord::validate::{self, Alteration};
use crate::state::{
    self, AlterCollectionProperties, AlterSettings, CollectionChange, Command, Conditional, ConditionalChange,
    CreateCollection, DropCollection, EnableDynamicField, RenameCollection, Reply, TIME_ZONE, TruncateCollection, View,
};

impl Catalog {
    /// On the leader. An identical collection of that name is a success.
    pub async fn create_collection(&self, asked: &Asked<CreateCollectionRequest>) -> Result<(), Failure> {
        self.create_collection_at(asked, None).await
    }

    /// The same, only if the collection is at this revision; 0: there is none.
    pub(in crate::rootcoord) async fn create_collection_at(
        &self,
        asked: &Asked<CreateCollectionRequest>,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let limits = &self.ledger.limits;
        let database = asked.database(&asked.message.db_name);
        let schema = validate::decoded(&asked.message.schema)?;
        let zone = match validate::asks_for_time_zone(&asked.message, &schema) {
            true => self.time_zone(&asked.call, database).await?,
            false => None,
        };
        let wanted = validate::create_collection(&asked.message, schema, zone.as_deref(), limits)?;
        let command = CreateCollection {
            database: database.to_owned(),
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
        self.ledger.propose(&asked.call, at_revision(revision, ConditionalChange::Create(command)), done).await
    }

    /// The time zone that new collections of the database get.
    async fn time_zone(&self, call: &Call, database: &str) -> Result<Option<String>, Failure> {
        let view = self.ledger.view(call).await?;
        let database = existing(&View::new(view.as_ref()), database)?;
        let zone = database.properties.into_iter().find(|property| property.key == TIME_ZONE);
        Ok(zone.map(|property| property.value))
    }

    /// On the leader. A missing collection is a success.
    pub async fn drop_collection(&self, asked: &Asked<DropCollectionRequest>) -> Result<(), Failure> {
        self.drop_collection_at(asked, None).await
    }

    /// The same, only if the collection is at this revision.
    pub(in crate::rootcoord) async fn drop_collection_at(
        &self,
        asked: &Asked<DropCollectionRequest>,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let DropCollectionRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let command = DropCollection { database: asked.database(db_name).to_owned(), name: collection_name.clone() };
        let done = reply!(Reply::CollectionDropped { .. } => ());
        self.ledger.propose(&asked.call, at_revision(revision, ConditionalChange::Drop(command)), done).await
    }

    /// On the leader. Sets properties of a collection or deletes them; changes its description and consistency level,
    /// and adds the dynamic field.
    pub async fn alter_collection(&self, asked: &Asked<AlterCollectionRequest>) -> Result<(), Failure> {
        self.alter_collection_at(asked, None).await
    }

    /// The same, only if the collection is at this revision.
    pub(in crate::rootcoord) async fn alter_collection_at(
        &self,
        asked: &Asked<AlterCollectionRequest>,
        revision: Option<u64>,
    ) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let database = asked.database(&request.db_name);
        let schema = match validate::asks_for_schema(request) {
            true => self.schema(&asked.call, database, &request.collection_name).await?.1,
            false => CollectionSchema::default(),
        };
        let alteration = validate::alteration(request, &schema, &self.ledger.limits)?;
        let (database, collection) = (database.to_owned(), request.collection_name.clone());
        let ts = self.ledger.timestamp(&asked.call).await?;
        let change = match alteration {
            Alteration::DynamicField { enable } => {
                ConditionalChange::EnableDynamicField(EnableDynamicField { database, collection, enable, ts })
            }
            Alteration::Set { properties: set, description, consistency }
                if description.is_some() || consistency.is_some() || set.is_empty() =>
            {
                let command = AlterSettings { database, collection, description, consistency, set, ts };
                ConditionalChange::Settings(command)
            }
            Alteration::Set { properties: set, .. } => {
                let delete = Vec::new();
                ConditionalChange::Properties(AlterCollectionProperties { database, collection, set, delete, ts })
            }
            Alteration::Delete(delete) => {
                let set = Vec::new();
                ConditionalChange::Properties(AlterCollectionProperties { database, collection, set, delete, ts })
            }
        };
        let done = reply!(Reply::CollectionAltered { .. } => ());
        self.ledger.propose(&asked.call, at_revision(revision, change), done).await
    }

    /// The row and the schema of a collection, as they are now.
    pub(super) async fn schema(
        &self,
        call: &Call,
        database: &str,
        collection: &str,
    ) -> Result<(store::Collection, CollectionSchema), Failure> {
        let view = self.ledger.view(call).await?;
        let row = named_collection(&View::new(view.as_ref()), database, collection)?;
        let schema = row.decoded_schema()?;
        Ok((row, schema))
    }

    /// On the leader. Rows that were written so far do not count any more.
    pub async fn truncate_collection(
        &self,
        asked: &Asked<TruncateCollectionRequest>,
    ) -> Result<TruncateCollectionResponse, Failure> {
        let TruncateCollectionRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let (database, collection) = (asked.database(db_name).to_owned(), collection_name.clone());
        let ts = self.ledger.timestamp(&asked.call).await?;
        let command = TruncateCollection { database, collection, ts };
        self.change_collection(&asked.call, CollectionChange::Truncate(command)).await?;
        Ok(TruncateCollectionResponse { status: Some(common::Status::default()) })
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

    /// See [`crate::ledger::Ledger::refuse`].
    pub(super) async fn refuse_change(&self, call: &Call, why: Rejection) -> Result<(), Failure> {
        self.ledger.refuse(call, why, reply!(Reply::CollectionAltered { .. } => ())).await
    }

    /// On the leader.
    pub(super) async fn change_collection(&self, call: &Call, change: CollectionChange) -> Result<(), Failure> {
        let done = reply!(Reply::CollectionAltered { .. } => ());
        self.ledger.propose(call, Command::Collection(change), done).await
    }
}

/// The change as it is, or to be made only at this revision of its collection.
fn at_revision(revision: Option<u64>, change: ConditionalChange) -> Command {
    match revision {
        None => change.unconditional(),
        Some(revision) => Command::Conditional(Conditional { revision, change }),
    }
}
