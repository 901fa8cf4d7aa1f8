//! Requests of the etcd API whose values are numbers, as the load of keys makes them.

use roost::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use roost::pb::etcd::api::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, request_op, response_op,
};
use roost::pb::etcd::kv::KeyValue;

/// Writes `new` if the value is the expected one, or there is none; else reads it.
pub fn swap(key: &str, expected: Option<u64>, new: u64) -> TxnRequest {
    let (target, union) = match expected {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(text(value))),
        None => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    let compare = Compare {
        key: key.into(),
        result: CompareResult::Equal.into(),
        target: target.into(),
        target_union: Some(union),
        ..Compare::default()
    };
    let put = PutRequest { key: key.into(), value: text(new), ..PutRequest::default() };
    let get = RangeRequest { key: key.into(), ..RangeRequest::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
        failure: vec![RequestOp { request: Some(request_op::Request::RequestRange(get)) }],
    }
}

/// What a swap that was not done found.
pub fn found_by(answer: &TxnResponse) -> Option<u64> {
    match answer.responses.first()?.response.as_ref()? {
        response_op::Response::ResponseRange(range) => range.kvs.first().and_then(number),
        _ => None,
    }
}

/// A value as it is stored.
pub fn text(value: u64) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The number that a value is.
pub fn number(row: &KeyValue) -> Option<u64> {
    parse(&row.value)
}

pub fn parse(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
