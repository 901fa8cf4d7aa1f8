//! Vectors live on Milvus' own nodes: what would read or write them is refused here in Milvus' words (code 10).

use crate::error::Rejection;
use crate::failure::Failure;

/// The refusal of a data-plane call, whatever it would reply.
pub async fn refused<T>(method: &str) -> Result<T, Failure> {
    let detail =
        format!("{method} is served by Milvus' proxies and nodes; Roost is the coordinator and does not serve data");
    Err(Rejection::Unimplemented { detail }.into())
}
