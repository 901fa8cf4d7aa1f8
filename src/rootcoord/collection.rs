//! Collections for both APIs: validate, propose, and read behind a barrier. The state machine judges again what is
//! judged here, and its answer is the one that counts.

use prost::Message;

use super::catalog::{Catalog, existing, named_collection};
use super::describe;
use super::validate;
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::limits;
use crate::pb::common;
use crate::pb::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DropCollectionRequest, HasCollectionRequest, ShowCollectionsRequest, ShowCollectionsResponse, ShowType,
};
use crate::pb::rootcoord::{DbCollections, ShowCollectionIDsRequest, ShowCollectionIDsResponse};
use crate::pb::store;
use crate::state::{self, AlterCollectionProperties, Command, CreateCollection, DropCollection, Reply, View};

/// Who asks for a schema: clients do not see what Milvus adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Without system fields.
    Client,
    /// As stored.
    Internal,
}

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

    /// False also when the database does not exist, as in Milvus.
    pub async fn has_collection(&self, asked: &Asked<HasCollectionRequest>) -> Result<bool, Failure> {
        let HasCollectionRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let Some(database) = view.database(asked.database(db_name))? else { return Ok(false) };
        Ok(view.collection(database.id, collection_name)?.is_some())
    }

    /// By name, or by id when there is no name.
    pub async fn describe_collection(
        &self,
        asked: &Asked<DescribeCollectionRequest>,
        which: Which,
    ) -> Result<DescribeCollectionResponse, Failure> {
        let request = &asked.message;
        let by_id = request.collection_name.is_empty() && request.collection_id != 0;
        if !by_id {
            validate::collection_name(&request.collection_name)?;
        }
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = if by_id {
            let missing = || Rejection::CollectionIdNotFound { id: request.collection_id };
            view.collection_by_id(request.collection_id)?.ok_or_else(missing)?
        } else {
            named_collection(&view, asked.database(&request.db_name), &request.collection_name)?
        };
        let Some(database) = view.database_by_id(row.database_id)? else {
            let detail = format!("collection {} names database {}, which is missing", row.id, row.database_id);
            return Err(Rejection::Internal { detail }.into());
        };
        Ok(describe::collection(row, &database, which)?)
    }

    /// Every collection of a database; none for the list of those in memory, which Roost's own state does not load.
    pub async fn show_collections(
        &self,
        asked: &Asked<ShowCollectionsRequest>,
    ) -> Result<ShowCollectionsResponse, Failure> {
        let in_memory = asked.message.r#type == i32::from(ShowType::InMemory);
        let database = asked.database(&asked.message.db_name).to_owned();
        let read = move |view: &View<'_>| {
            let database = existing(view, &database)?;
            let status = Some(common::Status::default());
            let mut list = ShowCollectionsResponse { status, ..ShowCollectionsResponse::default() };
            if in_memory {
                return Ok(list);
            }
            let mut after: Option<String> = None;
            loop {
                let page = view.collections(database.id, after.as_deref(), limits::LIST_PAGE)?;
                let Some(last) = page.last() else { return Ok(list) };
                after = Some(last.name.clone());
                for row in page {
                    describe::list(&mut list, row);
                }
            }
        };
        self.ledger.list(&asked.call, read).await
    }

    /// The ids of all collections of the named databases, or of every database.
    pub async fn show_collection_ids(
        &self,
        asked: &Asked<ShowCollectionIDsRequest>,
    ) -> Result<ShowCollectionIDsResponse, Failure> {
        let names = asked.message.db_names.clone();
        let read = move |view: &View<'_>| {
            let databases = if names.is_empty() {
                all_databases(view)?
            } else {
                names.iter().map(|name| existing(view, name)).collect::<Result<_, _>>()?
            };
            databases.into_iter().map(|database| ids_of(view, database)).collect()
        };
        let db_collections = self.ledger.list(&asked.call, read).await?;
        Ok(ShowCollectionIDsResponse { status: Some(common::Status::default()), db_collections })
    }
}

fn all_databases(view: &View<'_>) -> Result<Vec<store::Database>, Failure> {
    let mut all: Vec<store::Database> = Vec::new();
    loop {
        let after = all.last().map(|database| database.name.clone());
        let page = view.databases(after.as_deref(), limits::LIST_PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn ids_of(view: &View<'_>, database: store::Database) -> Result<DbCollections, Failure> {
    let mut ids: Vec<i64> = Vec::new();
    loop {
        let page = view.collection_ids(database.id, ids.last().copied(), limits::LIST_PAGE)?;
        if page.is_empty() {
            return Ok(DbCollections { db_name: database.name, collection_i_ds: ids });
        }
        ids.extend(page);
    }
}
