//! Transactions: which branches run, whether they may, and what they answer. As in etcd every compare, those of nested
//! transactions too, sees the key space as it was before the first change.

use std::ops::ControlFlow;

use prost::Message;
use roost_raft::kv::Read;

use super::budget::Budget;
use super::error::KeyspaceError;
use super::lease;
use super::query::{QueryError, Revisions};
use super::range;
use super::rows::{self, Span, walk};
use super::write::Writer;
use crate::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcd::api::request_op::Request;
use crate::pb::etcd::api::response_op::Response;
use crate::pb::etcd::api::{
    Compare, PutRequest, RangeRequest, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::pb::etcd::kv::KeyValue;
use crate::state::limits::{MAX_KEYSPACE_REPLY_BYTES, MAX_TXN_DEPTH, MAX_TXN_OPS};

/// A transaction whose compares are decided.
struct Chosen<'t> {
    succeeded: bool,
    ops: Vec<ChosenOp<'t>>,
}

enum ChosenOp<'t> {
    Leaf(&'t Request),
    Txn(Chosen<'t>),
}

/// Whether no branch can change anything.
pub(super) fn reads_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        Some(Request::RequestRange(_)) => true,
        Some(Request::RequestTxn(nested)) => reads_only(nested),
        _ => false,
    })
}

/// Answers a transaction that [`reads_only`].
pub(super) fn read(
    read: &dyn Read,
    revisions: Revisions,
    request: &TxnRequest,
    budget: &mut Budget,
) -> Result<TxnResponse, QueryError> {
    let chosen = admit(read, revisions, request, budget)?;
    let mut response = respond(&chosen, &mut |op| match op {
        Request::RequestRange(range) => Ok(Response::ResponseRange(range::answer(read, revisions, range, budget)?)),
        _ => Err(KeyspaceError::Malformed.into()),
    })?;
    response.header = range::header(revisions.current);
    Ok(response)
}

/// Executes a transaction.
pub(super) fn write(
    writer: &mut Writer<'_, '_>,
    request: &TxnRequest,
    budget: &mut Budget,
) -> Result<TxnResponse, QueryError> {
    let chosen = admit(writer.read(), writer.revisions(), request, budget)?;
    let mut response = respond(&chosen, &mut |op| {
        Ok(match op {
            Request::RequestRange(range) => {
                Response::ResponseRange(range::answer(writer.read(), writer.revisions(), range, budget)?)
            }
            Request::RequestPut(put) => Response::ResponsePut(writer.put(put.clone(), budget)?),
            Request::RequestDeleteRange(delete) => Response::ResponseDeleteRange(writer.delete_range(delete, budget)?),
            Request::RequestTxn(_) => return Err(KeyspaceError::Malformed.into()),
        })
    })?;
    response.header = range::header(writer.revisions().current);
    if response.encoded_len() > MAX_KEYSPACE_REPLY_BYTES {
        return Err(KeyspaceError::TooManyKeys.into());
    }
    Ok(response)
}

/// Decides the compares and checks what is to run.
fn admit<'t>(
    read: &dyn Read,
    revisions: Revisions,
    request: &'t TxnRequest,
    budget: &mut Budget,
) -> Result<Chosen<'t>, QueryError> {
    let mut ops = 0;
    check_shape(request, 1, &mut ops)?;
    let chosen = choose(read, request, budget)?;
    each_leaf(&chosen, &mut |op| check_put(read, op, budget))?;
    each_leaf(&chosen, &mut |op| check_range(revisions, op))?;
    Ok(chosen)
}

/// Bounds depth and operations, those of branches that will not run too.
fn check_shape(request: &TxnRequest, depth: usize, ops: &mut usize) -> Result<(), QueryError> {
    *ops += request.compare.len() + request.success.len() + request.failure.len();
    if depth > MAX_TXN_DEPTH || *ops > MAX_TXN_OPS || request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(KeyspaceError::Malformed.into());
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestTxn(nested)) => check_shape(nested, depth + 1, ops)?,
            Some(_) => {}
            None => return Err(KeyspaceError::Malformed.into()),
        }
    }
    Ok(())
}

fn choose<'t>(read: &dyn Read, request: &'t TxnRequest, budget: &mut Budget) -> Result<Chosen<'t>, QueryError> {
    let mut succeeded = true;
    for compare in &request.compare {
        if !holds(read, compare, budget)? {
            succeeded = false;
            break;
        }
    }
    let branch: &[RequestOp] = if succeeded { &request.success } else { &request.failure };
    let mut ops = Vec::with_capacity(branch.len());
    for op in branch {
        ops.push(match &op.request {
            Some(Request::RequestTxn(nested)) => ChosenOp::Txn(choose(read, nested, budget)?),
            Some(leaf) => ChosenOp::Leaf(leaf),
            None => return Err(KeyspaceError::Malformed.into()),
        });
    }
    Ok(Chosen { succeeded, ops })
}

fn each_leaf(chosen: &Chosen<'_>, check: &mut dyn FnMut(&Request) -> Result<(), QueryError>) -> Result<(), QueryError> {
    chosen.ops.iter().try_for_each(|op| match op {
        ChosenOp::Leaf(leaf) => check(leaf),
        ChosenOp::Txn(nested) => each_leaf(nested, check),
    })
}

/// Puts are checked before anything runs, and against the state before it.
fn check_put(read: &dyn Read, op: &Request, budget: &mut Budget) -> Result<(), QueryError> {
    let Request::RequestPut(PutRequest { key, lease, ignore_value, ignore_lease, .. }) = op else { return Ok(()) };
    if *ignore_value || *ignore_lease {
        budget.take_key()?;
        rows::current(read, key)?.ok_or(KeyspaceError::KeyNotFound)?;
    }
    if *lease != 0 && !lease::may_be_joined(read, *lease)? {
        return Err(KeyspaceError::LeaseNotFound.into());
    }
    Ok(())
}

/// Ranges of a transaction may not name the revision that it makes.
fn check_range(revisions: Revisions, op: &Request) -> Result<(), QueryError> {
    let Request::RequestRange(RangeRequest { revision, .. }) = op else { return Ok(()) };
    if *revision > revisions.current {
        return Err(KeyspaceError::FutureRevision.into());
    }
    if *revision != 0 && *revision < revisions.compacted {
        return Err(KeyspaceError::Compacted.into());
    }
    Ok(())
}

fn respond(
    chosen: &Chosen<'_>,
    run: &mut dyn FnMut(&Request) -> Result<Response, QueryError>,
) -> Result<TxnResponse, QueryError> {
    let mut responses = Vec::with_capacity(chosen.ops.len());
    for op in &chosen.ops {
        let response = match op {
            ChosenOp::Leaf(leaf) => run(leaf)?,
            ChosenOp::Txn(nested) => Response::ResponseTxn(respond(nested, run)?),
        };
        responses.push(ResponseOp { response: Some(response) });
    }
    // etcd leaves the header of a nested transaction empty.
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded: chosen.succeeded, responses })
}

/// Whether a compare holds for every key that it names.
fn holds(read: &dyn Read, compare: &Compare, budget: &mut Budget) -> Result<bool, QueryError> {
    let mut found = false;
    let mut all = true;
    walk(read, Span::new(&compare.key, &compare.range_end), false, &mut |_, load| {
        budget.take_key()?;
        found = true;
        all = holds_for(compare, &load()?);
        Ok::<_, QueryError>(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(match found {
        true => all,
        // A value that is not there cannot be told from an empty one, so no compare with it holds.
        false => compare.target() != CompareTarget::Value && holds_for(compare, &KeyValue::default()),
    })
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    // What is not given counts as zero, and so does what belongs to another target.
    let union = compare.target_union.as_ref();
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => kv.version.cmp(&match union {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&match union {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&match union {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&match union {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
        Ok(CompareTarget::Value) => kv.value.as_slice().cmp(match union {
            Some(TargetUnion::Value(value)) => value,
            _ => &[],
        }),
        Err(_) => std::cmp::Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}
