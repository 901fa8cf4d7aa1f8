//! Timestamps above a given one, for callers that must not act before a moment has passed.

use std::time::Instant;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::tso::{self, Oracle};
use crate::limits;

/// Allocates `count` timestamps, all above `blocked`; waits, within bounds, until that is possible. 0 blocks nothing.
pub async fn allocate_after(oracle: &Oracle, call: &Call, count: u32, blocked: u64) -> Result<u64, Failure> {
    let deadline = call.deadline.min(Instant::now() + limits::BLOCK_TIMESTAMP_WAIT_MAX);
    loop {
        if blocked > 0 {
            oracle.pass(blocked, deadline).await.map_err(|error| match error {
                tso::Error::Stalled => Rejection::TimestampRefused {
                    detail: format!("the oracle does not pass {blocked} within the time of this call"),
                }
                .into(),
                other => Failure::from(other),
            })?;
        }
        let first = oracle.allocate(count, call.deadline).await?;
        if first > blocked {
            return Ok(first);
        }
    }
}
