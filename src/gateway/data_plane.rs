//! Vectors live on Milvus' own nodes: what would read or write them is refused here in Milvus' words (code 10).

use crate::error::Rejection;
use crate::pb::common::Status;

/// The refusal of a data-plane call.
pub fn refusal(method: &str) -> Status {
    let detail =
        format!("{method} is served by Milvus' proxies and nodes; Roost is the coordinator and does not serve data");
    Rejection::Unimplemented { detail }.to_status()
}
