//! The catalog: databases and what is in them, for both APIs. Each noun has a file with its part of [`Catalog`]; here
//! is what they share.

use std::sync::Arc;

use super::cache::MetadataCache;
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::{Ledger, reply};
use crate::limits;
use crate::pb::common;
use crate::pb::rootcoord::{AllocIdRequest, AllocIdResponse};
use crate::pb::store;
use crate::replica;
use crate::state::{AllocId, Command, DEFAULT_DATABASE, Reply, View};

/// What RootCoord decides, over the replicated state.
pub struct Catalog {
    pub(super) ledger: Ledger,
    pub(super) cache: Arc<MetadataCache>,
}

impl Catalog {
    pub fn new(ledger: Ledger, cache: Arc<MetadataCache>) -> Arc<Self> {
        Arc::new(Catalog { ledger, cache })
    }

    /// On the leader. The first of `count` consecutive ids.
    pub async fn allocate_ids(&self, asked: &Asked<AllocIdRequest>) -> Result<AllocIdResponse, Failure> {
        let count = asked.message.count;
        if count == 0 || count > limits::IDS_PER_REQUEST_MAX {
            let most = limits::IDS_PER_REQUEST_MAX;
            return Err(Rejection::invalid(format!("cannot allocate {count} ids, 1 to {most} are possible")).into());
        }
        let first = reply!(Reply::IdsAllocated { first, .. } => first);
        let id = self.ledger.propose(&asked.call, Command::AllocId(AllocId { count }), first).await?;
        Ok(AllocIdResponse { status: Some(common::Status::default()), id, count })
    }

    /// Fails with code 800 if there is no such database.
    pub async fn require_database(&self, call: &Call, database: &str) -> Result<(), Failure> {
        let view = self.ledger.view(call).await?;
        existing(&View::new(view.as_ref()), database)?;
        Ok(())
    }
}

/// The database, which must be there.
pub(super) fn existing(view: &View<'_>, database: &str) -> Result<store::Database, Failure> {
    match view.database(database)? {
        Some(found) => Ok(found),
        // It comes with the first entry of all, which the first leader is about to propose.
        None if database == DEFAULT_DATABASE => {
            Err(Failure::Again(replica::Error::NoQuorum("the cluster is being initialized".into())))
        }
        None => Err(Rejection::DatabaseNotFound { database: database.to_owned(), detail: String::new() }.into()),
    }
}

/// Every database, by name.
pub(super) fn all_databases(view: &View<'_>) -> Result<Vec<store::Database>, Failure> {
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

/// The collection of this name or alias, which must be there.
pub fn named_collection(view: &View<'_>, database: &str, collection: &str) -> Result<store::Collection, Failure> {
    let named = existing(view, database)?;
    let missing = || Rejection::CollectionNotFound { database: named.name.clone(), collection: collection.to_owned() };
    Ok(view.collection(named.id, collection)?.ok_or_else(missing)?)
}
