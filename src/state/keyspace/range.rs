//! One range read: etcd's limits, orders and filters.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use prost::Message;
use roost_raft::kv::Read;

use super::budget::Budget;
use super::error::KeyspaceError;
use super::query::{QueryError, Revisions};
use super::rows::{Span, walk, walk_at};
use crate::pb::etcd::api::range_request::{SortOrder, SortTarget};
use crate::pb::etcd::api::{RangeRequest, RangeResponse, ResponseHeader};
use crate::pb::etcd::kv::KeyValue;

/// Rows beyond the limit that are held before the worst of them are thrown out.
const SORT_SLACK: usize = 256;

pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

/// Reads `request` where the key space stands at `revisions`.
pub(super) fn answer(
    read: &dyn Read,
    revisions: Revisions,
    request: &RangeRequest,
    budget: &mut Budget,
) -> Result<RangeResponse, QueryError> {
    if request.key.is_empty() {
        return Err(KeyspaceError::Malformed.into());
    }
    let revision = if request.revision <= 0 { revisions.current } else { request.revision };
    if revision > revisions.current {
        return Err(KeyspaceError::FutureRevision.into());
    }
    if revision < revisions.compacted {
        return Err(KeyspaceError::Compacted.into());
    }
    let plan = Plan::of(request, revision == revisions.current)?;
    let mut rows = Rows { plan: &plan, request, kvs: Vec::new(), count: 0, budget };
    let span = Span::new(&request.key, &request.range_end);
    let visit: &mut super::rows::VisitKey<'_, QueryError> = &mut |_, load| {
        rows.budget.take_key()?;
        rows.count += 1;
        if rows.wants_more() {
            rows.push(load()?)?;
        }
        Ok(ControlFlow::Continue(()))
    };
    if revision == revisions.current {
        walk(read, span, plan.reverse, visit)?;
    } else {
        walk_at(read, span, revision, visit)?;
    }
    let count = rows.count;
    let (kvs, more) = rows.finish();
    Ok(RangeResponse { header: header(revisions.current), kvs, more, count })
}

/// How the rows of a request are chosen.
struct Plan {
    /// `usize::MAX` without one.
    limit: usize,
    /// Whether it can be said who belongs to the answer before all rows were seen.
    first_come: bool,
    sort: Option<(SortTarget, bool)>,
    /// Walk backwards, instead of sorting by descending keys.
    reverse: bool,
}

impl Plan {
    fn of(request: &RangeRequest, current: bool) -> Result<Self, QueryError> {
        let order = SortOrder::try_from(request.sort_order).map_err(|_| KeyspaceError::Malformed)?;
        let target = SortTarget::try_from(request.sort_target).map_err(|_| KeyspaceError::Malformed)?;
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let reverse = current && target == SortTarget::Key && order == SortOrder::Descend;
        let sort = match (target, order) {
            _ if reverse => None,
            // Keys come in that order.
            (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => None,
            (target, order) => Some((target, order == SortOrder::Descend)),
        };
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        // etcd takes the first keys up to the limit and then sorts them, if a target but no order is given.
        let cut_before_sort = order == SortOrder::None && filters == [0; 4];
        Ok(Plan { limit, first_come: sort.is_none() || cut_before_sort, sort, reverse })
    }

    /// One more than the limit says that there are more.
    fn kept(&self) -> usize {
        self.limit.saturating_add(1)
    }

    fn compare(&self, a: &KeyValue, b: &KeyValue) -> Ordering {
        let Some((target, descending)) = self.sort else { return Ordering::Equal };
        let order = match target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if descending { order.reverse() } else { order }
    }
}

/// The rows of an answer on their way.
struct Rows<'r> {
    plan: &'r Plan,
    request: &'r RangeRequest,
    kvs: Vec<KeyValue>,
    count: i64,
    budget: &'r mut Budget,
}

impl Rows<'_> {
    fn wants_more(&self) -> bool {
        let complete = self.plan.first_come && self.kvs.len() >= self.plan.kept();
        !self.request.count_only && !complete
    }

    fn push(&mut self, mut kv: KeyValue) -> Result<(), QueryError> {
        let request = self.request;
        let outside = |revision: i64, min: i64, max: i64| (max != 0 && revision > max) || (min != 0 && revision < min);
        if outside(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            || outside(kv.create_revision, request.min_create_revision, request.max_create_revision)
        {
            return Ok(());
        }
        let by_value = matches!(self.plan.sort, Some((SortTarget::Value, _)));
        if request.keys_only && !by_value {
            kv.value = Vec::new();
        }
        self.budget.take_bytes(weight(&kv))?;
        self.kvs.push(kv);
        if self.kvs.len() >= self.plan.kept().saturating_mul(2).saturating_add(SORT_SLACK) {
            self.sort();
            self.cut(self.plan.kept());
        }
        Ok(())
    }

    fn sort(&mut self) {
        if self.plan.sort.is_some() {
            let plan = self.plan;
            // Stable: among equals the smaller key comes first, whichever the direction.
            self.kvs.sort_by(|a, b| plan.compare(a, b));
        }
    }

    fn cut(&mut self, length: usize) {
        while self.kvs.len() > length {
            if let Some(kv) = self.kvs.pop() {
                self.budget.give_back(weight(&kv));
            }
        }
    }

    /// The rows, and whether there are more.
    fn finish(mut self) -> (Vec<KeyValue>, bool) {
        self.sort();
        let more = self.kvs.len() > self.plan.limit;
        self.cut(self.plan.limit);
        if self.request.keys_only {
            self.kvs.iter_mut().for_each(|kv| kv.value = Vec::new());
        }
        (self.kvs, more)
    }
}

/// What it takes in an answer, with its own tag and length.
fn weight(kv: &KeyValue) -> usize {
    kv.encoded_len() + 8
}
