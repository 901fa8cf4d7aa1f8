//! What is asked: one request, with revisions counted from where its sequence began, and strategies for sequences.
//!
//! The alphabet of keys is small, so that requests meet, and has no more than twelve keys: Go sorts up to twelve rows
//! stably, and rows with equal sort keys have no defined order beyond that.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use roost::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use roost::pb::etcd::api::request_op::Request;
use roost::pb::etcd::api::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};

/// A revision field that holds this plus n means n revisions after the sequence's beginning.
pub const BASE: i64 = 1 << 40;
/// How far from [`BASE`] a field is still counted from the beginning.
pub const BASE_REACH: i64 = 1 << 20;
/// The ids of leases whose id the server chose, in the order of the grants.
pub const CHOSEN: i64 = 7000;
/// A key that no server takes as part of a small request.
const HUGE: usize = 1_600_000;
/// Operations that etcd takes in one transaction.
const OPS_MAX: usize = 128;

#[derive(Clone, Debug)]
pub enum Ask {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact {
        revision: i64,
        physical: bool,
    },
    Grant {
        id: i64,
        ttl: i64,
    },
    /// A lease that could run out before the sequence ends, so it is revoked at once.
    GrantBriefly {
        id: i64,
        ttl: i64,
    },
    Revoke {
        id: i64,
    },
    KeepAlive {
        id: i64,
    },
    TimeToLive {
        id: i64,
        keys: bool,
    },
    Leases,
    HashKv {
        revision: i64,
    },
    Watch(WatchCreateRequest),
    /// The watcher that was opened as the n-th, modulo their number.
    Cancel {
        nth: usize,
    },
    Progress,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let keys: [&[u8]; 11] = [b"a", b"b", b"aa", b"ab", b"b\0", b"c", b"\0", b"\xff", b"k1", b"k2", b"a\xff"];
    prop_oneof![8 => select(&keys[..3]), 12 => select(&keys)]
}

fn select(keys: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    proptest::sample::select(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>())
}

/// Key and range end: one key, prefixes, ranges (empty ones too), `\0` forms.
fn span() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let prefix = |mut end: Vec<u8>| match end.last_mut() {
        Some(last) if *last < 0xff => {
            *last += 1;
            end
        }
        _ => vec![0],
    };
    prop_oneof![
        6 => key().prop_map(|key| (key, Vec::new())),
        3 => key().prop_map(move |key| (key.clone(), prefix(key))),
        3 => (key(), key()),
        2 => key().prop_map(|key| (key, vec![0])),
        2 => Just((vec![0], vec![0])),
    ]
}

/// [`span`], or one that is refused.
fn any_span() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop_oneof![60 => span(), 1 => Just((Vec::new(), Vec::new())), 1 => Just((Vec::new(), vec![0]))]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let values: [&[u8]; 6] = [b"", b"x", b"y", b"zz", b"x\0", b"\xff\xfe"];
    prop_oneof![20 => select(&values), 1 => Just(vec![b'v'; 3000])]
}

/// A revision since the sequence began; a few before it and beyond its end.
fn since() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 0..30_i64, 1 => -3..0_i64, 1 => 200..1000_i64].prop_map(|since| BASE + since)
}

/// The revision of a read: mostly the current one.
fn read_revision() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 6 => since(), 1 => prop_oneof![Just(-1), Just(i64::MAX), Just(i64::MIN), Just(1)]]
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0), 2 => since(), 1 => Just(-1)]
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1..4_i64, 1 => Just(CHOSEN), 1 => Just(i64::MAX), 1 => Just(-2), 1 => Just(99)]
}

prop_compose! {
    fn range_options()(
        limit in prop_oneof![6 => Just(0), 4 => 1..4_i64, 1 => Just(100), 1 => Just(-1)],
        revision in read_revision(),
        // None that does not exist: Roost refuses it as etcd 3.5 does, etcd 3.4 takes it, or ends with a panic if it is
        // a target.
        sort_order in prop_oneof![2 => Just(0), 5 => 0..3_i32],
        sort_target in prop_oneof![3 => Just(0), 9 => 0..5_i32],
        (serializable, keys_only, count_only) in (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.15)),
        (min_mod_revision, max_mod_revision) in (bound(), bound()),
        (min_create_revision, max_create_revision) in (bound(), bound()),
    ) -> RangeRequest {
        RangeRequest {
            key: Vec::new(), range_end: Vec::new(), limit, revision, sort_order, sort_target, serializable, keys_only,
            count_only, min_mod_revision, max_mod_revision, min_create_revision, max_create_revision,
        }
    }
}

/// Half of them have no options, as most requests of the world.
fn range() -> impl Strategy<Value = RangeRequest> {
    let plain = any_span().prop_map(|(key, range_end)| RangeRequest { key, range_end, ..RangeRequest::default() });
    let full = (any_span(), range_options()).prop_map(|((key, range_end), options)| RangeRequest {
        key,
        range_end,
        ..options
    });
    prop_oneof![1 => plain, 3 => full]
}

fn put() -> impl Strategy<Value = PutRequest> {
    let plain = (key(), value()).prop_map(|(key, value)| PutRequest { key, value, ..PutRequest::default() });
    let flags = (prop::bool::weighted(0.4), prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    // With `ignore_value` a value is refused, so it is often left out.
    let full = (key(), value(), option::weighted(0.6, lease()), flags, any::<bool>()).prop_map(
        |(key, value, lease, (prev_kv, ignore_value, ignore_lease), fit)| PutRequest {
            key,
            value: if ignore_value && fit { Vec::new() } else { value },
            lease: if ignore_lease && fit { 0 } else { lease.unwrap_or(0) },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    );
    let bad = (value(), lease()).prop_map(|(value, lease)| PutRequest { value, lease, ..PutRequest::default() });
    prop_oneof![40 => plain, 60 => full, 1 => bad]
}

fn delete_range() -> impl Strategy<Value = DeleteRangeRequest> {
    (any_span(), any::<bool>()).prop_map(|((key, range_end), prev_kv)| DeleteRangeRequest { key, range_end, prev_kv })
}

fn compare() -> impl Strategy<Value = Compare> {
    let union = prop_oneof![
        3 => (0..4_i64).prop_map(|version| (CompareTarget::Version, TargetUnion::Version(version))),
        2 => prop_oneof![Just(0), since()]
            .prop_map(|revision| (CompareTarget::Create, TargetUnion::CreateRevision(revision))),
        2 => prop_oneof![Just(0), since()]
            .prop_map(|since| (CompareTarget::Mod, TargetUnion::ModRevision(since))),
        3 => value().prop_map(|value| (CompareTarget::Value, TargetUnion::Value(value))),
        2 => prop_oneof![Just(0), lease()].prop_map(|lease| (CompareTarget::Lease, TargetUnion::Lease(lease))),
    ];
    let results = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
    let result = prop_oneof![40 => proptest::sample::select(results.map(i32::from).to_vec()), 1 => Just(9)];
    // Now and then a target without its value, or with another's, or none that exists.
    let odd = prop_oneof![30 => Just(None), 1 => (0..7_i32).prop_map(Some)];
    let no_union = prop::bool::weighted(0.03);
    (any_span(), union, result, odd, no_union).prop_map(|((key, range_end), (target, union), result, odd, no_union)| {
        let target = odd.unwrap_or(target.into());
        Compare { key, range_end, result, target, target_union: (!no_union).then_some(union) }
    })
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn simple_op() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        30 => range().prop_map(|range| op(Request::RequestRange(range))),
        40 => put().prop_map(|put| op(Request::RequestPut(put))),
        20 => delete_range().prop_map(|delete| op(Request::RequestDeleteRange(delete))),
        1 => Just(RequestOp { request: None }),
    ]
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let branch = |op: BoxedStrategy<RequestOp>| vec(op, 0..4);
    let leaf = (vec(compare(), 0..3), branch(simple_op().boxed()), branch(simple_op().boxed()))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure });
    leaf.prop_recursive(2, 12, 3, move |inner| {
        let op = prop_oneof![
            3 => simple_op(),
            1 => inner.prop_map(|txn| op(Request::RequestTxn(txn))),
        ]
        .boxed();
        (vec(compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..3))
            .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
    })
}

/// Without `ignore_value` and `ignore_lease` where keys are deleted too: if the key was deleted by an earlier part of
/// the transaction, etcd 3.4 ends with a panic, and again at each of its starts.
fn tamed(mut txn: TxnRequest) -> TxnRequest {
    if deletes(&txn) {
        stop_ignoring(&mut txn);
    }
    txn
}

fn deletes(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(txn)) => deletes(txn),
        _ => false,
    })
}

fn stop_ignoring(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Request::RequestTxn(txn)) => stop_ignoring(txn),
            _ => {}
        }
    }
}

/// Transactions around the limit of operations, in each of its three places.
fn wide_txn() -> impl Strategy<Value = TxnRequest> {
    let count = prop_oneof![Just(OPS_MAX - 1), Just(OPS_MAX), Just(OPS_MAX + 1)];
    let read = |key: &[u8]| op(Request::RequestRange(RangeRequest { key: key.into(), ..RangeRequest::default() }));
    (count, 0..4_u8, key()).prop_map(move |(count, place, key)| {
        let reads = vec![read(&key); count];
        let compares =
            vec![
                Compare { key: key.clone(), target_union: Some(TargetUnion::Version(0)), ..Default::default() };
                count
            ];
        let none = TxnRequest::default();
        match place {
            0 => TxnRequest { success: reads, ..none },
            1 => TxnRequest { failure: reads, ..none },
            2 => TxnRequest { compare: compares, ..none },
            _ => {
                let inner = TxnRequest { success: reads, ..none.clone() };
                TxnRequest { success: vec![op(Request::RequestTxn(inner))], ..none }
            }
        }
    })
}

fn watch() -> impl Strategy<Value = WatchCreateRequest> {
    // Ids beyond those that the server chooses, and only of watchers that no compaction can end: etcd never frees the
    // id of one that was ended so.
    let start_and_id = prop_oneof![
        5 => Just((0, 0)),
        2 => (101..104_i64).prop_map(|id| (0, id)),
        5 => since().prop_map(|start| (start, 0)),
        1 => Just((-1, 0)),
    ];
    // Not both: nothing would tell when such a watcher has seen everything.
    let filters = prop_oneof![5 => Just(Vec::new()), 3 => (0..2_i32, 1..3_usize).prop_map(|(one, n)| vec![one; n])];
    (any_span(), start_and_id, filters, any::<[bool; 3]>()).prop_map(
        |((key, range_end), (start_revision, watch_id), filters, [progress_notify, prev_kv, fragment])| {
            WatchCreateRequest { key, range_end, start_revision, progress_notify, filters, prev_kv, watch_id, fragment }
        },
    )
}

fn leases() -> impl Strategy<Value = Ask> {
    // Long enough not to run out in any sequence, not even on a machine that hangs for a while.
    let ttl = prop_oneof![8 => 5000..5003_i64, 1 => Just(9_000_000_000), 1 => Just(9_000_000_001), 1 => Just(i64::MAX)];
    let brief = prop_oneof![Just(0), Just(1), Just(2), Just(3), Just(-1), Just(i64::MIN)];
    let id = prop_oneof![10 => lease(), 2 => Just(0)];
    prop_oneof![
        8 => (id, ttl).prop_map(|(id, ttl)| Ask::Grant { id, ttl }),
        1 => (4..6_i64, brief).prop_map(|(id, ttl)| Ask::GrantBriefly { id, ttl }),
        3 => prop_oneof![lease(), lease(), lease(), Just(0)].prop_map(|id| Ask::Revoke { id }),
        2 => prop_oneof![lease(), lease(), Just(0)].prop_map(|id| Ask::KeepAlive { id }),
        4 => (prop_oneof![2 => lease(), 1 => Just(0)], any::<bool>())
            .prop_map(|(id, keys)| Ask::TimeToLive { id, keys }),
        1 => Just(Ask::Leases),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let revision = || prop_oneof![12 => since(), 1 => prop_oneof![Just(0), Just(-1), Just(1), Just(i64::MAX)]];
    let huge = key().prop_map(|key| Ask::Put(PutRequest { key, value: vec![b'h'; HUGE], ..PutRequest::default() }));
    prop_oneof![
        120 => put().prop_map(Ask::Put),
        80 => range().prop_map(Ask::Range),
        30 => delete_range().prop_map(Ask::DeleteRange),
        80 => txn().prop_map(tamed).prop_map(Ask::Txn),
        4 => wide_txn().prop_map(Ask::Txn),
        1 => huge,
        12 => (revision(), any::<bool>()).prop_map(|(revision, physical)| Ask::Compact { revision, physical }),
        60 => leases(),
        10 => prop_oneof![Just(0), read_revision()].prop_map(|revision| Ask::HashKv { revision }),
    ]
}

fn ask_or_watch() -> impl Strategy<Value = Ask> {
    prop_oneof![
        380 => ask(),
        25 => watch().prop_map(Ask::Watch),
        5 => any::<usize>().prop_map(|nth| Ask::Cancel { nth }),
        5 => Just(Ask::Progress),
    ]
}

/// A sequence. Watchers take time, because etcd looks at those that start in the past ten times a second: one sequence
/// in four has them.
pub fn sequence(asks_max: usize) -> impl Strategy<Value = Vec<Ask>> {
    prop_oneof![
        3 => vec(ask(), 1..asks_max),
        1 => vec(ask_or_watch(), 1..asks_max),
    ]
}
