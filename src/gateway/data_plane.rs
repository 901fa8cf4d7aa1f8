//! Vectors live on Milvus' own nodes: what would read or write them is refused here in Milvus' words (code 10). So is
//! what the coordinators do for those nodes, as long as Roost does not. What the catalogue alone can tell comes first:
//! that a collection is missing, or not loaded.

use super::Gateway;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::milvus::{
    DeleteRequest, HybridSearchRequest, InsertRequest, QueryRequest, SearchRequest, UpsertRequest,
};

/// The refusal of a data-plane call, whatever it would reply.
pub async fn refused<T>(method: &str) -> Result<T, Failure> {
    let detail =
        format!("{method} is served by Milvus' proxies and nodes; Roost is the coordinator and does not serve data");
    Err(Rejection::Unimplemented { detail }.into())
}

/// The refusal of a call that no part of Roost serves yet.
pub async fn not_served<T>(method: &str) -> Result<T, Failure> {
    Err(Rejection::Unimplemented { detail: format!("{method} is not served by Roost yet") }.into())
}

/// A call about the rows of one collection.
pub(super) trait AboutRows {
    const METHOD: &str;
    /// What a collection must be loaded for; empty: nothing.
    const READS: &str;
    /// The database and the collection as the request names them.
    fn names(&self) -> (&str, &str);
}

macro_rules! about_rows {
    ($($request:ty => $method:literal, $reads:literal;)*) => { $(
        impl AboutRows for $request {
            const METHOD: &str = $method;
            const READS: &str = $reads;
            fn names(&self) -> (&str, &str) {
                (&self.db_name, &self.collection_name)
            }
        }
    )* };
}

about_rows!(
    InsertRequest => "Insert", "";
    DeleteRequest => "Delete", "";
    UpsertRequest => "Upsert", "";
    SearchRequest => "Search", "search";
    HybridSearchRequest => "HybridSearch", "search";
    QueryRequest => "Query", "query";
);

impl Gateway {
    /// The refusal of a call about rows, and before it what is wrong with its collection.
    pub(super) async fn refuse_rows<T: AboutRows, R>(&self, asked: &Asked<T>) -> Result<R, Failure> {
        let (database, collection) = asked.message.names();
        self.querycoord.require(asked, database, collection, T::READS).await?;
        refused(T::METHOD).await
    }
}
