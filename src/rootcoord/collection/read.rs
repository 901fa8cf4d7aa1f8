//! What is asked about collections: one, or several by name; and the ids of all.

use std::io;
use std::sync::Arc;

use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::{Asked, Reply};
use crate::limits;
use crate::pb::common::{self, KeyValuePair};
use crate::pb::milvus::{
    BatchDescribeCollectionRequest, BatchDescribeCollectionResponse, DescribeCollectionRequest,
    DescribeCollectionResponse, GetCollectionStatisticsRequest, GetCollectionStatisticsResponse, HasCollectionRequest,
};
use crate::pb::rootcoord::{DbCollections, ShowCollectionIDsRequest, ShowCollectionIDsResponse};
use crate::pb::store;
use crate::rootcoord::cache::Described;
use crate::rootcoord::catalog::{Catalog, all_databases, existing, named_collection};
use crate::rootcoord::{Which, validate};
use crate::state::View;

impl Catalog {
    /// False also when the database does not exist, as in Milvus.
    pub async fn has_collection(&self, asked: &Asked<HasCollectionRequest>) -> Result<bool, Failure> {
        let HasCollectionRequest { db_name, collection_name, time_stamp, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        self.ledger.barrier(&asked.call).await?;
        if let Some(known) = self.cache.named(asked.database(db_name), collection_name) {
            return Ok(was_there(known.reply(Which::Internal).created_timestamp, *time_stamp));
        }
        let view = self.ledger.now()?;
        let view = View::new(view.as_ref());
        let Some(database) = view.database(asked.database(db_name))? else { return Ok(false) };
        let row = view.collection(database.id, collection_name)?;
        Ok(row.is_some_and(|row| was_there(row.created_ts, *time_stamp)))
    }

    /// By name, or by id when there is no name.
    pub async fn describe_collection(
        &self,
        asked: &Asked<DescribeCollectionRequest>,
        which: Which,
    ) -> Result<DescribeCollectionResponse, Failure> {
        let request = &asked.message;
        if request.collection_name.is_empty() && request.collection_id != 0 {
            self.ledger.barrier(&asked.call).await?;
            if let Some(known) = self.cache.of_id(request.collection_id) {
                return shown_at(&known, request.time_stamp, which)
                    .ok_or_else(|| Rejection::CollectionIdNotFound { id: request.collection_id }.into());
            }
            let view = self.ledger.now()?;
            return described_by_id(&View::new(view.as_ref()), request, which);
        }
        validate::collection_name(&request.collection_name)?;
        self.ledger.barrier(&asked.call).await?;
        let (database, name) = (asked.database(&request.db_name), &request.collection_name);
        let known = match self.cache.named(database, name) {
            Some(known) => known,
            None => {
                let reading = self.cache.reading();
                let view = self.ledger.now()?;
                let read = Arc::new(described(&View::new(view.as_ref()), database, name)?);
                self.cache.keep(&reading, name, &read);
                read
            }
        };
        let missing = || Rejection::CollectionNotFound { database: database.to_owned(), collection: name.clone() };
        shown_at(&known, request.time_stamp, which).ok_or_else(|| missing().into())
    }

    /// Several at once, of one moment. What is wrong with one of them is said in its own response.
    pub async fn describe_collections(
        &self,
        asked: &Asked<BatchDescribeCollectionRequest>,
    ) -> Result<BatchDescribeCollectionResponse, Failure> {
        let names = asked.message.collection_name.clone();
        if names.is_empty() {
            return Err(Rejection::missing("collection names cannot be empty").into());
        }
        if names.len() > limits::LIST_PAGE {
            let (given, most) = (names.len(), limits::LIST_PAGE);
            let detail = format!("{given} collections cannot be described at once, at most {most}");
            return Err(Rejection::ParameterTooLarge { detail }.into());
        }
        let database = asked.database(&asked.message.db_name).to_owned();
        let read = move |view: &View<'_>| {
            let one = |name: &String| {
                validate::collection_name(name)?;
                Ok(described(view, &database, name)?.reply(Which::Client).clone())
            };
            names.iter().map(|name| refusal_inside(one(name))).collect()
        };
        let responses = self.ledger.list(&asked.call, read).await?;
        Ok(BatchDescribeCollectionResponse { status: Some(common::Status::default()), responses })
    }

    /// Rows are written by Milvus' data plane, which cannot join yet, so there are none.
    pub async fn collection_statistics(
        &self,
        asked: &Asked<GetCollectionStatisticsRequest>,
    ) -> Result<GetCollectionStatisticsResponse, Failure> {
        let GetCollectionStatisticsRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let view = self.ledger.view(&asked.call).await?;
        named_collection(&View::new(view.as_ref()), asked.database(db_name), collection_name)?;
        let rows = KeyValuePair { key: "row_count".to_owned(), value: "0".to_owned() };
        Ok(GetCollectionStatisticsResponse { status: Some(common::Status::default()), stats: vec![rows] })
    }

    /// The ids of all collections of the named databases, or of every database; if it is asked for, also of those that
    /// are being dropped.
    pub async fn show_collection_ids(
        &self,
        asked: &Asked<ShowCollectionIDsRequest>,
    ) -> Result<ShowCollectionIDsResponse, Failure> {
        let (names, dropping) = (asked.message.db_names.clone(), asked.message.allow_unavailable);
        let read = move |view: &View<'_>| {
            let databases = if names.is_empty() {
                all_databases(view)?
            } else {
                names.iter().map(|name| existing(view, name)).collect::<Result<_, _>>()?
            };
            databases.into_iter().map(|database| ids_of(view, database, dropping)).collect()
        };
        let db_collections = self.ledger.list(&asked.call, read).await?;
        Ok(ShowCollectionIDsResponse { status: Some(common::Status::default()), db_collections })
    }
}

fn ids_of(view: &View<'_>, database: store::Database, dropping: bool) -> Result<DbCollections, Failure> {
    let mut ids = all_ids(|after| view.collection_ids(database.id, after, limits::LIST_PAGE))?;
    if dropping {
        ids.extend(all_ids(|after| view.dropping_in(database.id, after, limits::LIST_PAGE))?);
    }
    Ok(DbCollections { db_name: database.name, collection_i_ds: ids })
}

fn all_ids(next: impl Fn(Option<i64>) -> io::Result<Vec<i64>>) -> io::Result<Vec<i64>> {
    let mut ids: Vec<i64> = Vec::new();
    loop {
        let page = next(ids.last().copied())?;
        if page.is_empty() {
            return Ok(ids);
        }
        ids.extend(page);
    }
}

/// Whether what was created at one hybrid timestamp had been at another; 0 means now.
pub(super) fn was_there(created_ts: u64, time_stamp: u64) -> bool {
    time_stamp == 0 || created_ts <= time_stamp
}

fn shown_at(known: &Described, time_stamp: u64, which: Which) -> Option<DescribeCollectionResponse> {
    let reply = known.reply(which);
    was_there(reply.created_timestamp, time_stamp).then(|| reply.clone())
}

fn described(view: &View<'_>, database: &str, name: &str) -> Result<Described, Failure> {
    let row = named_collection(view, database, name)?;
    let Some(database) = view.database_by_id(row.database_id)? else {
        let detail = format!("collection {} names database {}, which is missing", row.id, row.database_id);
        return Err(Rejection::Internal { detail }.into());
    };
    Ok(Described::read(view, row, &database)?)
}

fn described_by_id(
    view: &View<'_>,
    request: &DescribeCollectionRequest,
    which: Which,
) -> Result<DescribeCollectionResponse, Failure> {
    let id = request.collection_id;
    let row = which.by_id(view, id)?.filter(|row| was_there(row.created_ts, request.time_stamp));
    let row = row.ok_or(Rejection::CollectionIdNotFound { id })?;
    // A database may be dropped while something of its last collections is left.
    let database = view.database_by_id(row.database_id)?.unwrap_or_default();
    Ok(Described::read(view, row, &database)?.reply(which).clone())
}

/// A refusal of one of several as a response of its own; a call that must be sent again stays an error.
fn refusal_inside(one: Result<DescribeCollectionResponse, Failure>) -> Result<DescribeCollectionResponse, Failure> {
    match one {
        Err(Failure::Rejected(rejection)) => Ok(DescribeCollectionResponse::refused(rejection.to_status())),
        other => other,
    }
}
