//! Flushes of collections that have no data: nothing waits in memory, so each is done when it is asked for. And what
//! segments there are: none.

use std::collections::{BTreeMap, BTreeSet};

use super::DataCoord;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::limits::COLLECTIONS_PER_FLUSH;
use crate::pb::common;
use crate::pb::milvus::{
    FlushAllRequest, FlushAllResponse, FlushRequest, FlushResponse, GetFlushAllStateRequest, GetFlushAllStateResponse,
    GetFlushStateRequest, GetFlushStateResponse, GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse,
};
use crate::pb::schema::LongArray;
use crate::rootcoord::{named_collection, validate};
use crate::state::{View, physical_ms};

impl DataCoord {
    /// On the leader. Every collection must be there; none has segments.
    pub async fn flush(&self, asked: &Asked<FlushRequest>) -> Result<FlushResponse, Failure> {
        let FlushRequest { db_name, collection_names, .. } = &asked.message;
        let names = collection_names.iter().collect::<BTreeSet<_>>();
        if names.len() > COLLECTIONS_PER_FLUSH {
            let detail = format!("{} collections, at most {COLLECTIONS_PER_FLUSH} can be flushed at once", names.len());
            return Err(Rejection::ParameterTooLarge { detail }.into());
        }
        names.iter().try_for_each(|name| validate::collection_name(name))?;
        let (database, wanted) = (asked.database(db_name).to_owned(), names.iter().map(|name| (*name).clone()));
        let wanted: Vec<String> = wanted.collect();
        let all_there = move |view: &View<'_>| {
            wanted.iter().try_for_each(|name| named_collection(view, &database, name).map(|_| ()))
        };
        self.ledger.list(&asked.call, all_there).await?;
        let ts = self.ledger.timestamp(&asked.call).await?;
        let none: BTreeMap<String, LongArray> =
            names.iter().map(|name| ((*name).clone(), LongArray::default())).collect();
        let sealed_s = i64::try_from(physical_ms(ts) / 1000).unwrap_or(i64::MAX);
        Ok(FlushResponse {
            status: Some(common::Status::default()),
            db_name: db_name.clone(),
            coll_seg_i_ds: none.clone(),
            flush_coll_seg_i_ds: none,
            coll_seal_times: names.iter().map(|name| ((*name).clone(), sealed_s)).collect(),
            coll_flush_ts: names.iter().map(|name| ((*name).clone(), ts)).collect(),
        })
    }

    /// Segments that nobody knows count as flushed, as in Milvus; nobody knows any.
    pub async fn flush_state(&self, asked: &Asked<GetFlushStateRequest>) -> Result<GetFlushStateResponse, Failure> {
        let GetFlushStateRequest { db_name, collection_name, .. } = &asked.message;
        if !collection_name.is_empty() {
            validate::collection_name(collection_name)?;
            self.collection(asked, db_name, collection_name).await?;
        }
        Ok(GetFlushStateResponse { status: Some(common::Status::default()), flushed: true })
    }

    /// On the leader. All that was written before the timestamp is flushed.
    pub async fn flush_all(&self, asked: &Asked<FlushAllRequest>) -> Result<FlushAllResponse, Failure> {
        let flush_all_ts = self.ledger.timestamp(&asked.call).await?;
        Ok(FlushAllResponse { status: Some(common::Status::default()), flush_all_ts })
    }

    pub async fn flush_all_state(
        &self,
        _asked: &Asked<GetFlushAllStateRequest>,
    ) -> Result<GetFlushAllStateResponse, Failure> {
        Ok(GetFlushAllStateResponse { status: Some(common::Status::default()), flushed: true })
    }

    /// The segments of a collection, which must be there; none holds rows.
    pub async fn persistent_segments(
        &self,
        asked: &Asked<GetPersistentSegmentInfoRequest>,
    ) -> Result<GetPersistentSegmentInfoResponse, Failure> {
        let GetPersistentSegmentInfoRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        self.collection(asked, db_name, collection_name).await?;
        Ok(GetPersistentSegmentInfoResponse { status: Some(common::Status::default()) })
    }
}
