//! The audit log: tracing events of the target `audit`, one for each call that was denied and each call that writes to
//! the log. With `log.format: json` each is one JSON object; `log.level: audit=off` turns them off.

use tonic::Status;

use super::guard::Asking;
use crate::call::Call;
use crate::failure::Failure;
use crate::state::access::GrantKey;
use crate::state::name::shown;

/// The call was not let in.
pub fn denied(call: &Call, path: &str, asking: Option<&Asking<'_>>, status: &Status) {
    tracing::warn!(
        target: "audit",
        user = %call.principal,
        source = %call.source,
        method = method(path),
        database = asking.map_or("", |asking| shown(asking.database)),
        object = asking.map_or("", |asking| shown(asking.subject())),
        outcome = "denied",
        reason = status.message(),
    );
}

/// Whether anybody reads what was done.
pub fn is_on() -> bool {
    tracing::enabled!(target: "audit", tracing::Level::INFO)
}

/// The call was let in, and this is what became of it: Milvus' code and text, or gRPC's code as a negative number.
pub fn done(call: &Call, path: &str, asking: &Asking<'_>, code: i32, reason: &str) {
    tracing::info!(
        target: "audit",
        user = %call.principal,
        source = %call.source,
        method = method(path),
        database = shown(asking.database),
        object = shown(asking.subject()),
        outcome = if code == 0 { "done" } else { "refused" },
        code,
        reason,
    );
}

/// An operator's change of a grant's condition: it comes by the internal listener, past the check of calls.
pub fn condition_set(call: &Call, key: &GrantKey, condition: &str, outcome: Result<(), &Failure>) {
    let (outcome, reason) = match outcome {
        Ok(()) => ("done", String::new()),
        Err(failure) => ("refused", failure.to_string()),
    };
    tracing::info!(
        target: "audit",
        user = %call.principal,
        source = %call.source,
        method = "SetCondition",
        database = shown(&key.database),
        object = shown(&key.object),
        role = shown(&key.role),
        privilege = shown(&key.privilege),
        condition,
        outcome,
        reason,
    );
}

/// `/package.Service/Method` without what all have in common.
fn method(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, method)| method)
}
