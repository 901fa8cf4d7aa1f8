//! How much of a collection or a partition is loaded, in percent. Without data all of it is as soon as it shall be:
//! once there are segments, the answer will be made here from what query nodes report.

use std::io;

use super::QueryCoord;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common::{self, LoadState};
use crate::pb::milvus::{
    GetLoadStateRequest, GetLoadStateResponse, GetLoadingProgressRequest, GetLoadingProgressResponse,
};
use crate::pb::store;
use crate::rootcoord::{named_collection, validate};
use crate::state::View;

const ALL: i64 = 100;

/// `None`: the collection is not loaded.
pub fn collection_percent(view: &View<'_>, collection_id: i64) -> io::Result<Option<i64>> {
    Ok(view.load(collection_id)?.map(|_| ALL))
}

/// Of a collection with this load. `None`: the partition is not loaded.
pub fn partition_percent(load: Option<&store::Load>, partition_id: i64) -> Option<i64> {
    load.filter(|load| load.holds(partition_id)).map(|_| ALL)
}

/// The ids of a collection's partitions, each of which must be there.
pub(super) fn partition_ids(view: &View<'_>, collection_id: i64, names: &[String]) -> Result<Vec<i64>, Failure> {
    validate::not_too_many(names)?;
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let missing = || Rejection::PartitionNotFound { partition: name.clone() };
        ids.push(view.partition(collection_id, name)?.ok_or_else(missing)?.id);
    }
    Ok(ids)
}

impl QueryCoord {
    /// Of the whole collection, or of all the named partitions together.
    pub async fn loading_progress(
        &self,
        asked: &Asked<GetLoadingProgressRequest>,
    ) -> Result<GetLoadingProgressResponse, Failure> {
        let GetLoadingProgressRequest { db_name, collection_name, partition_names, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = named_collection(&view, asked.database(db_name), collection_name)?;
        let progress = percent(&view, row.id, partition_names)?;
        // A refresh looks for segments that are not loaded yet; there are none.
        Ok(GetLoadingProgressResponse { status: Some(common::Status::default()), progress, refresh_progress: progress })
    }

    /// Fails for a collection that is not there, or that is to be read (`reading`: how) and not loaded.
    pub async fn require<T>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
        reading: &str,
    ) -> Result<(), Failure> {
        validate::collection_name(collection)?;
        let loaded = |view: &View<'_>, row: store::Collection| {
            if reading.is_empty() || collection_percent(view, row.id)?.is_some() {
                return Ok(());
            }
            let detail = format!("failed to {reading}");
            Err(Rejection::CollectionNotLoaded { collection: row.id.to_string(), detail }.into())
        };
        self.look(asked, database, collection, loaded).await
    }

    /// A collection that is not there is a state too.
    pub async fn load_state(&self, asked: &Asked<GetLoadStateRequest>) -> Result<GetLoadStateResponse, Failure> {
        let GetLoadStateRequest { db_name, collection_name, partition_names, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let state = match named_collection(&view, asked.database(db_name), collection_name) {
            Err(Failure::Rejected(Rejection::CollectionNotFound { .. })) => LoadState::NotExist,
            Err(failure) => return Err(failure),
            Ok(row) => match percent(&view, row.id, partition_names) {
                Ok(ALL) => LoadState::Loaded,
                Ok(_) => LoadState::Loading,
                Err(Failure::Rejected(
                    Rejection::CollectionNotLoaded { .. } | Rejection::PartitionNotLoaded { .. },
                )) => LoadState::NotLoad,
                Err(failure) => return Err(failure),
            },
        };
        Ok(GetLoadStateResponse { status: Some(common::Status::default()), state: state.into() })
    }
}

fn percent(view: &View<'_>, collection_id: i64, partitions: &[String]) -> Result<i64, Failure> {
    if partitions.is_empty() {
        let (collection, detail) = (collection_id.to_string(), "show collection failed".to_owned());
        let missing = || Rejection::CollectionNotLoaded { collection, detail };
        return Ok(collection_percent(view, collection_id)?.ok_or_else(missing)?);
    }
    let load = view.load(collection_id)?;
    let mut sum = 0;
    for id in partition_ids(view, collection_id, partitions)? {
        let (partition, detail) = (id.to_string(), "show partition failed".to_owned());
        let missing = || Rejection::PartitionNotLoaded { partition, detail };
        sum += partition_percent(load.as_ref(), id).ok_or_else(missing)?;
    }
    Ok(sum / i64::try_from(partitions.len()).unwrap_or(i64::MAX))
}
