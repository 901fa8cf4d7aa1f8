//! What etcd checks of a request before anything else, in its order: a request with two faults gets etcd's error.

use std::collections::{BTreeMap, HashSet};

use super::error::{
    DUPLICATE_KEY, EMPTY_KEY, INVALID_SORT, KEY_NOT_FOUND, LEASE_PROVIDED, Refusal, TOO_MANY_OPERATIONS, VALUE_PROVIDED,
};
use crate::limits;
use crate::pb::etcd::api::range_request::{SortOrder, SortTarget};
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

pub fn range(request: &RangeRequest) -> Result<(), Refusal> {
    check(!request.key.is_empty(), EMPTY_KEY)?;
    check(SortOrder::try_from(request.sort_order).is_ok(), INVALID_SORT)?;
    check(SortTarget::try_from(request.sort_target).is_ok(), INVALID_SORT)
}

pub fn put(request: &PutRequest) -> Result<(), Refusal> {
    check(!request.key.is_empty(), EMPTY_KEY)?;
    check(!request.ignore_value || request.value.is_empty(), VALUE_PROVIDED)?;
    check(!request.ignore_lease || request.lease == 0, LEASE_PROVIDED)
}

pub fn delete_range(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    check(!request.key.is_empty(), EMPTY_KEY)
}

pub fn txn(request: &TxnRequest) -> Result<(), Refusal> {
    operations(request, limits::ETCD_TXN_OPERATIONS_MAX)?;
    writes(&request.success)?;
    writes(&request.failure)?;
    Ok(())
}

fn check(holds: bool, otherwise: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Checks every operation by itself. A nested transaction may be as large as what `limit` leaves beside this one.
fn operations(request: &TxnRequest, limit: usize) -> Result<(), Refusal> {
    let count = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = limit.checked_sub(count).ok_or(TOO_MANY_OPERATIONS)?;
    check(request.compare.iter().all(|compare| !compare.key.is_empty()), EMPTY_KEY)?;
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Op::RequestRange(request)) => range(request)?,
            Some(Op::RequestPut(request)) => put(request)?,
            Some(Op::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Op::RequestTxn(request)) => operations(request, left)?,
            // etcd's own, odd answer.
            None => return Err(KEY_NOT_FOUND),
        }
    }
    Ok(())
}

/// What one branch, with everything nested in it, may put and delete.
#[derive(Default)]
struct Writes<'a> {
    puts: HashSet<&'a [u8]>,
    deleted: Intervals,
}

/// No key may be put twice, or put and deleted, in one execution. etcd's rule, in its order: this level's deletes count
/// for every put of the level and of what is nested in it; what a nested transaction deletes counts for everything
/// after it. Its two branches may touch the same keys, as only one is executed.
fn writes(ops: &[RequestOp]) -> Result<Writes<'_>, Refusal> {
    let mut all = Writes::default();
    for op in ops {
        if let Some(Op::RequestDeleteRange(request)) = &op.request {
            all.deleted.add(&request.key, &request.range_end);
        }
    }
    for op in ops {
        if let Some(Op::RequestTxn(request)) = &op.request {
            let (success, failure) = (writes(&request.success)?, writes(&request.failure)?);
            for key in success.puts.iter().chain(&failure.puts) {
                check(!all.puts.contains(key) && !all.deleted.contains(key), DUPLICATE_KEY)?;
            }
            all.puts.extend(success.puts);
            all.puts.extend(failure.puts);
            all.deleted.join(success.deleted);
            all.deleted.join(failure.deleted);
        }
    }
    for op in ops {
        if let Some(Op::RequestPut(request)) = &op.request {
            let key = request.key.as_slice();
            check(!all.deleted.contains(key) && all.puts.insert(key), DUPLICATE_KEY)?;
        }
    }
    Ok(all)
}

/// Sets of keys, kept as ranges that do not touch: from each start to its end, which is excluded.
#[derive(Default)]
struct Intervals {
    ranges: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Intervals {
    /// etcd's forms: without `end` the one key. Here etcd takes the end literally, so that `\0` is no "from the key on"
    /// but a range without keys: such a delete never meets a put.
    fn add(&mut self, key: &[u8], end: &[u8]) {
        match end {
            [] => self.insert(key.to_vec(), [key, &[0]].concat()),
            end if end > key => self.insert(key.to_vec(), end.to_vec()),
            _ => {}
        }
    }

    fn insert(&mut self, mut from: Vec<u8>, mut to: Vec<u8>) {
        // Every range that begins at or before the new end, and ends at or after the new start, becomes part of it.
        while let Some((start, end)) = self.ranges.range(..=to.clone()).next_back() {
            if *end < from {
                break;
            }
            let start = start.clone();
            if let Some(end) = self.ranges.remove(&start) {
                to = to.max(end);
            }
            from = from.min(start);
        }
        self.ranges.insert(from, to);
    }

    fn join(&mut self, other: Intervals) {
        for (from, to) in other.ranges {
            self.insert(from, to);
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        let mut before = self.ranges.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key)));
        before.next_back().is_some_and(|(_, end)| key < end.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::etcd::api::Compare;

    fn op(request: Op) -> RequestOp {
        RequestOp { request: Some(request) }
    }

    fn put_of(key: &str) -> RequestOp {
        op(Op::RequestPut(PutRequest { key: key.into(), ..Default::default() }))
    }

    fn get(key: &str) -> RequestOp {
        op(Op::RequestRange(RangeRequest { key: key.into(), ..Default::default() }))
    }

    fn gets(count: usize) -> Vec<RequestOp> {
        (0..count).map(|n| get(&n.to_string())).collect()
    }

    fn delete(key: &str, end: &str) -> RequestOp {
        op(Op::RequestDeleteRange(DeleteRangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }))
    }

    fn both(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        op(Op::RequestTxn(TxnRequest { success, failure, ..Default::default() }))
    }

    fn nested(success: Vec<RequestOp>) -> RequestOp {
        both(success, vec![])
    }

    fn verdict(success: Vec<RequestOp>) -> Result<(), Refusal> {
        txn(&TxnRequest { success, ..Default::default() })
    }

    #[test]
    fn single_requests_are_refused_in_etcds_order() {
        let request = PutRequest { ignore_value: true, value: b"x".into(), ..Default::default() };
        assert_eq!(put(&request), Err(EMPTY_KEY));
        let request = PutRequest { key: b"k".into(), ignore_lease: true, lease: 3, ..request };
        assert_eq!(put(&request), Err(VALUE_PROVIDED));
        assert_eq!(put(&PutRequest { value: vec![], ..request.clone() }), Err(LEASE_PROVIDED));
        assert_eq!(put(&PutRequest { value: vec![], lease: 0, ..request }), Ok(()));
        let request = RangeRequest { sort_target: 9, ..Default::default() };
        assert_eq!(range(&request), Err(EMPTY_KEY));
        assert_eq!(range(&RangeRequest { key: b"k".into(), ..request }), Err(INVALID_SORT));
        assert_eq!(range(&RangeRequest { key: b"k".into(), sort_order: -1, ..Default::default() }), Err(INVALID_SORT));
        assert_eq!(delete_range(&DeleteRangeRequest { range_end: b"z".into(), ..Default::default() }), Err(EMPTY_KEY));
    }

    /// As a real etcd 3.4 answered each of them.
    #[test]
    fn operations_are_counted_by_level() {
        assert_eq!(verdict(gets(128)), Ok(()));
        assert_eq!(verdict(gets(129)), Err(TOO_MANY_OPERATIONS));
        assert_eq!(txn(&TxnRequest { failure: gets(129), ..Default::default() }), Err(TOO_MANY_OPERATIONS));
        assert_eq!(verdict(vec![nested(gets(127))]), Ok(()));
        assert_eq!(verdict(vec![nested(gets(128))]), Err(TOO_MANY_OPERATIONS));
        assert_eq!(verdict(vec![nested(gets(100)), nested(gets(100))]), Ok(()), "siblings do not add up");
        let compare = |count| TxnRequest {
            compare: vec![Compare { key: b"a".into(), ..Default::default() }; count],
            success: vec![nested(gets(100)); 2],
            ..Default::default()
        };
        assert_eq!(txn(&compare(28)), Ok(()));
        assert_eq!(txn(&compare(29)), Err(TOO_MANY_OPERATIONS));
        let unnamed = TxnRequest { compare: vec![Compare::default()], success: gets(129), ..Default::default() };
        assert_eq!(txn(&unnamed), Err(TOO_MANY_OPERATIONS));
        assert_eq!(txn(&TxnRequest { success: gets(1), ..unnamed }), Err(EMPTY_KEY));
        assert_eq!(verdict(vec![RequestOp { request: None }]), Err(KEY_NOT_FOUND));
        assert_eq!(verdict(vec![nested(vec![]), nested(vec![put_of("")])]), Err(EMPTY_KEY));
    }

    /// As a real etcd 3.4 answered each of them.
    #[test]
    fn a_key_is_written_once_in_one_execution() {
        let refused = Err(DUPLICATE_KEY);
        assert_eq!(verdict(vec![put_of("a"), put_of("a")]), refused);
        assert_eq!(verdict(vec![put_of("a"), put_of("a"), put_of("")]), Err(EMPTY_KEY), "later checks come later");
        let branches = TxnRequest { success: vec![put_of("a")], failure: vec![put_of("a")], ..Default::default() };
        assert_eq!(txn(&branches), Ok(()));
        assert_eq!(txn(&TxnRequest { failure: vec![put_of("a"), put_of("a")], ..branches }), refused);
        for pair in [[put_of("a"), delete("a", "")], [delete("a", ""), put_of("a")], [delete("a", "c"), put_of("b")]] {
            assert_eq!(verdict(pair.to_vec()), refused);
        }
        assert_eq!(verdict(vec![delete("a", ""), delete("a", "")]), Ok(()));
        assert_eq!(verdict(vec![delete("a", "\0"), put_of("zz")]), Ok(()));
        assert_eq!(verdict(vec![delete("\0", "\0"), put_of("zz")]), Ok(()));
        assert_eq!(verdict(vec![delete("c", "a"), put_of("b")]), Ok(()));
        assert_eq!(verdict(vec![delete("a", "b"), put_of("b")]), Ok(()));

        let (a, gone) = (|| put_of("a"), || delete("a", ""));
        assert_eq!(verdict(vec![both(vec![a()], vec![a()])]), Ok(()));
        assert_eq!(verdict(vec![a(), nested(vec![a()])]), refused);
        assert_eq!(verdict(vec![a(), both(vec![], vec![a()])]), refused);
        assert_eq!(verdict(vec![nested(vec![a()]), both(vec![], vec![a()])]), refused);
        assert_eq!(verdict(vec![a(), both(vec![], vec![gone()])]), refused);
        assert_eq!(verdict(vec![nested(vec![gone()]), a()]), refused);
        assert_eq!(verdict(vec![gone(), nested(vec![a()])]), refused);
        assert_eq!(verdict(vec![nested(vec![gone()]), nested(vec![a()])]), refused);
        assert_eq!(verdict(vec![nested(vec![a()]), nested(vec![gone()])]), Ok(()), "etcd looks back only");
        assert_eq!(verdict(vec![both(vec![a()], vec![gone()])]), Ok(()));
        assert_eq!(verdict(vec![both(vec![gone()], vec![a()])]), Ok(()));
        assert_eq!(verdict(vec![both(vec![nested(vec![a()])], vec![delete("a", "b")])]), Ok(()));
    }

    #[test]
    fn intervals_hold_exactly_what_was_added() {
        let ranges = [("d", "f"), ("a", "b"), ("f", "h"), ("m", ""), ("c", "e"), ("x", "k"), ("b", "b"), ("g", "k")];
        let mut intervals = Intervals::default();
        for (count, (from, to)) in ranges.iter().enumerate() {
            intervals.add(from.as_bytes(), to.as_bytes());
            for key in "a b bb c d e f g h i k l m mm x z".split(' ') {
                let added = ranges.iter().take(count + 1);
                let within =
                    |(from, to): &(&str, &str)| if to.is_empty() { key == *from } else { *from <= key && key < *to };
                let expected = added.clone().any(within);
                assert_eq!(intervals.contains(key.as_bytes()), expected, "{key} after {count}");
            }
        }
        assert_eq!(intervals.ranges.len(), 3);
    }
}
