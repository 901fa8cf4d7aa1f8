//! Collections for both APIs: validate, propose, and read behind a barrier. The state machine judges again what is
//! judged here, and its answer is the one that counts.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;

use super::describe;
use super::validate;
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::tso::Oracle;
use crate::limits::{self, Limits};
use crate::pb::common;
use crate::pb::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    ShowCollectionsRequest, ShowCollectionsResponse, ShowType,
};
use crate::pb::rootcoord::{DbCollections, ShowCollectionIDsRequest};
use crate::pb::store;
use crate::proposer::Proposer;
use crate::replica::{self, Replica};
use crate::state::{
    self, AllocId, AlterCollectionProperties, Command, CreateCollection, DEFAULT_DATABASE, DropCollection, Reply, View,
};

/// Who asks for a schema: clients do not see what Milvus adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Without system fields.
    Client,
    /// As stored.
    Internal,
}

/// The collections of the cluster.
pub struct Catalog {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    oracle: Arc<Oracle>,
    limits: Limits,
}

impl Catalog {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, oracle: Arc<Oracle>, limits: Limits) -> Arc<Self> {
        Arc::new(Catalog { replica, proposer, oracle, limits })
    }

    /// On the leader. An identical collection of that name is a success.
    pub async fn create(&self, call: &Call, database: &str, request: &CreateCollectionRequest) -> Result<(), Failure> {
        let asked = validate::create_collection(request, &self.limits)?;
        let command = CreateCollection {
            database: database.to_owned(),
            name: asked.name,
            schema: asked.schema.encode_to_vec(),
            shards: asked.shards,
            consistency: asked.consistency,
            properties: asked.properties,
            partitions: asked.partition_names,
            ts: self.oracle.allocate(1, call.deadline).await?,
            limits: state::Limits::from(&self.limits),
        };
        match self.proposer.propose(call, Command::CreateCollection(command)).await? {
            Reply::CollectionCreated { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// On the leader. A missing collection is a success.
    pub async fn remove(&self, call: &Call, database: &str, collection: &str) -> Result<(), Failure> {
        validate::collection_name(collection)?;
        let command = DropCollection { database: database.to_owned(), name: collection.to_owned() };
        match self.proposer.propose(call, Command::DropCollection(command)).await? {
            Reply::CollectionDropped { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// On the leader. Sets properties of a collection or deletes them.
    pub async fn alter(&self, call: &Call, database: &str, request: &AlterCollectionRequest) -> Result<(), Failure> {
        validate::collection_name(&request.collection_name)?;
        let has_partition_key = match validate::asks_for_partition_key(&request.properties) {
            true => self.has_partition_key(call, database, &request.collection_name).await?,
            false => false,
        };
        let command = AlterCollectionProperties {
            database: database.to_owned(),
            collection: request.collection_name.clone(),
            set: validate::altered_properties(request, has_partition_key)?,
            delete: request.delete_keys.clone(),
            ts: self.oracle.allocate(1, call.deadline).await?,
        };
        match self.proposer.propose(call, Command::AlterCollectionProperties(command)).await? {
            Reply::CollectionAltered { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Never changes after the creation.
    async fn has_partition_key(&self, call: &Call, database: &str, collection: &str) -> Result<bool, Failure> {
        let view = self.fresh_view(call.deadline).await?;
        let row = named_collection(&View::new(view.as_ref()), database, collection)?;
        Ok(row.decoded_schema()?.fields.iter().any(|field| field.is_partition_key))
    }

    /// On the leader. The first of `count` consecutive ids.
    pub async fn allocate_ids(&self, call: &Call, count: u32) -> Result<i64, Failure> {
        if count == 0 || count > limits::IDS_PER_REQUEST_MAX {
            let most = limits::IDS_PER_REQUEST_MAX;
            return Err(Rejection::invalid(format!("cannot allocate {count} ids, 1 to {most} are possible")).into());
        }
        match self.proposer.propose(call, Command::AllocId(AllocId { count })).await? {
            Reply::IdsAllocated { first, .. } => Ok(first),
            other => Err(unexpected(&other)),
        }
    }

    /// False also when the database does not exist, as in Milvus.
    pub async fn has(&self, call: &Call, database: &str, collection: &str) -> Result<bool, Failure> {
        validate::collection_name(collection)?;
        let view = self.fresh_view(call.deadline).await?;
        let view = View::new(view.as_ref());
        let Some(database) = view.database(database)? else { return Ok(false) };
        Ok(view.collection(database.id, collection)?.is_some())
    }

    /// By name, or by id when there is no name.
    pub async fn describe(
        &self,
        call: &Call,
        database: &str,
        request: &DescribeCollectionRequest,
        which: Which,
    ) -> Result<DescribeCollectionResponse, Failure> {
        let by_id = request.collection_name.is_empty() && request.collection_id != 0;
        if !by_id {
            validate::collection_name(&request.collection_name)?;
        }
        let view = self.fresh_view(call.deadline).await?;
        let view = View::new(view.as_ref());
        let row = if by_id {
            let missing = || Rejection::CollectionIdNotFound { id: request.collection_id };
            view.collection_by_id(request.collection_id)?.ok_or_else(missing)?
        } else {
            named_collection(&view, database, &request.collection_name)?
        };
        let Some(database) = view.database_by_id(row.database_id)? else {
            let detail = format!("collection {} names database {}, which is missing", row.id, row.database_id);
            return Err(Rejection::Internal { detail }.into());
        };
        Ok(describe::collection(row, &database, which)?)
    }

    /// Every collection of a database; none for the list of those in memory, which Roost's own state does not load.
    pub async fn show(
        &self,
        call: &Call,
        database: &str,
        request: &ShowCollectionsRequest,
    ) -> Result<ShowCollectionsResponse, Failure> {
        let in_memory = request.r#type == i32::from(ShowType::InMemory);
        self.barrier(call.deadline).await?;
        let (replica, database) = (self.replica.clone(), database.to_owned());
        // A long listing must not hold up the calls that share this thread.
        unblocked(move || {
            let view = replica.view()?;
            let view = View::new(view.as_ref());
            let database = existing(&view, &database)?;
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
        })
        .await
    }

    /// The ids of all collections of the named databases, or of every database.
    pub async fn show_ids(
        &self,
        call: &Call,
        request: ShowCollectionIDsRequest,
    ) -> Result<Vec<DbCollections>, Failure> {
        self.barrier(call.deadline).await?;
        let replica = self.replica.clone();
        unblocked(move || {
            let view = replica.view()?;
            let view = View::new(view.as_ref());
            let databases = if request.db_names.is_empty() {
                all_databases(&view)?
            } else {
                request.db_names.iter().map(|name| existing(&view, name)).collect::<Result<_, _>>()?
            };
            databases.into_iter().map(|database| ids_of(&view, database)).collect()
        })
        .await
    }

    /// Fails with code 800 if there is no such database.
    pub async fn require_database(&self, call: &Call, database: &str) -> Result<(), Failure> {
        let view = self.fresh_view(call.deadline).await?;
        existing(&View::new(view.as_ref()), database)?;
        Ok(())
    }

    async fn barrier(&self, deadline: Instant) -> Result<(), Failure> {
        self.replica.read_barrier(deadline).await?;
        Ok(())
    }

    async fn fresh_view(&self, deadline: Instant) -> Result<Box<dyn roost_raft::kv::Read + '_>, Failure> {
        self.barrier(deadline).await?;
        Ok(self.replica.view()?)
    }
}

/// The database that a call means: its own field, else the metadata `dbname` that clients send, else the default one.
pub fn database_of<'a>(field: &'a str, metadata: &'a tonic::metadata::MetadataMap) -> &'a str {
    let named = || metadata.get("dbname").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let database = if field.is_empty() { named() } else { field };
    if database.is_empty() { DEFAULT_DATABASE } else { database }
}

fn existing(view: &View<'_>, database: &str) -> Result<store::Database, Failure> {
    match view.database(database)? {
        Some(found) => Ok(found),
        // It comes with the first entry of all, which the first leader is about to propose.
        None if database == DEFAULT_DATABASE => {
            Err(Failure::Again(replica::Error::NoQuorum("the cluster is being initialized".into())))
        }
        None => Err(Rejection::DatabaseNotFound { database: database.to_owned(), detail: String::new() }.into()),
    }
}

fn named_collection(view: &View<'_>, database: &str, collection: &str) -> Result<store::Collection, Failure> {
    let named = existing(view, database)?;
    let missing = || Rejection::CollectionNotFound { database: named.name.clone(), collection: collection.to_owned() };
    Ok(view.collection(named.id, collection)?.ok_or_else(missing)?)
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

async fn unblocked<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        Err(error) => Err(Rejection::Internal { detail: format!("a listing was cut off: {error}") }.into()),
    }
}

fn unexpected(reply: &Reply) -> Failure {
    tracing::error!(?reply, "a command was answered with another command's reply");
    Rejection::Internal { detail: "unexpected reply of the state machine".into() }.into()
}
