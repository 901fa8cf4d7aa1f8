//! The upper bound of the timestamps that were served. The oracle itself keeps no fact but this one: a leader serves
//! only below it, and the next leader starts at it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Event;
use super::limits::{MAX_TSO_BOUND_MS, MAX_TSO_STEP_MS};
use super::reply::Reply;
use super::step::{Outcome, Step};
use super::tables::TSO_BOUND;
use crate::error::Rejection;
use crate::pb::store;

/// Moves the bound forward. Asking for a lower one changes nothing and is answered with the bound in force, so the
/// command may be executed twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendTso {
    /// Timestamps of this millisecond and later are not served yet.
    pub bound_ms: u64,
    /// An operator vouches for a jump that is otherwise refused, e.g. after a restore.
    pub operator_override: bool,
}

impl ExtendTso {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let bound_ms = TSO_BOUND.get_or_default(step.txn, &())?.bound_ms;
        if self.bound_ms <= bound_ms {
            return Ok(Reply::TsoExtended { bound_ms });
        }
        self.check(bound_ms.max(step.now_ms))?;
        TSO_BOUND.put(step.txn, &(), &store::TsoBound { bound_ms: self.bound_ms });
        step.events.push(Event::TsoExtended { bound_ms: self.bound_ms });
        Ok(Reply::TsoExtended { bound_ms: self.bound_ms })
    }

    /// `from_ms`: the bound, or the replicated clock if that is ahead. Whether the leader's own clock is right is
    /// checked by the leader, against its members' clocks.
    fn check(&self, from_ms: u64) -> Result<(), Rejection> {
        if self.bound_ms >= MAX_TSO_BOUND_MS {
            let detail = format!("timestamp bound {} ms does not fit in 46 bits", self.bound_ms);
            return Err(Rejection::invalid(detail));
        }
        let step_ms = self.bound_ms.saturating_sub(from_ms);
        if step_ms > MAX_TSO_STEP_MS && !self.operator_override {
            let detail = format!("timestamp bound would jump {step_ms} ms, at most {MAX_TSO_STEP_MS} without override");
            return Err(Rejection::invalid(detail));
        }
        Ok(())
    }
}

impl fmt::Display for ExtendTso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.operator_override { " by the operator" } else { "" };
        write!(f, "extend tso bound_ms={}{by}", self.bound_ms)
    }
}
