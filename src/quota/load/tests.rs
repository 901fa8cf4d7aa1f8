//! Factors by example and by property; reports as Milvus' nodes write them.

use proptest::prelude::*;

use super::*;
use crate::config::{Quota, Rate};
use crate::limits::NODE_COLLECTIONS_MAX;
use crate::pb::internal::RateType;
use crate::pb::proxy::LimiterNode;
use crate::quota::tree::{self, Catalogue, CollectionLimits, DatabaseLimits, Situation};

const GIB: u64 = 1 << 30;
const NOW_MS: u64 = 1_732_245_423_000;

fn full(part: f64, collections: &[i64]) -> NodeMetrics {
    let memory_used = (part * 100.0 * GIB as f64) as u64;
    NodeMetrics { memory_used, memory_total: 100 * GIB, collections: collections.into(), ..NodeMetrics::default() }
}

fn late(by_ms: u64, collections: &[i64]) -> NodeMetrics {
    let time_tick = (NOW_MS - by_ms) << 18;
    NodeMetrics { time_tick, collections: collections.into(), ..NodeMetrics::default() }
}

fn of(nodes: &[(WorkerRole, NodeMetrics)], settings: &Protections) -> Factors {
    factors(nodes.iter().map(|(role, node)| (*role, node)), settings, NOW_MS)
}

fn everything() -> Protections {
    let mut settings = Protections::default();
    settings.growing_segments.enabled = true;
    settings.time_tick.enabled = true;
    settings.deleted_rows.enabled = true;
    settings.deleted_bytes.enabled = true;
    settings
}

#[test]
fn memory_between_the_water_levels_leaves_a_part() {
    let settings = Protections::default();
    let of_query_node = |part| of(&[(WorkerRole::QueryNode, full(part, &[7]))], &settings).get(&7).copied();
    assert_eq!(of_query_node(0.5), None);
    assert_eq!(of_query_node(0.85), None);
    let half = of_query_node(0.9).unwrap();
    assert!((half.value - 0.5).abs() < 1e-6 && half.denial().is_none(), "{half:?}");
    let none = of_query_node(0.95).unwrap();
    assert_eq!((none.value, none.why), (0.0, ErrorCode::MemoryQuotaExhausted));
    assert_eq!(none.denial().unwrap().reason(), "memory quota exceeded, please allocate more resources");
    // A proxy's memory limits nobody, nor does a node that says nothing of its memory.
    assert!(of(&[(WorkerRole::Proxy, full(0.99, &[7]))], &settings).is_empty());
    let silent = NodeMetrics { collections: vec![7], ..NodeMetrics::default() };
    assert!(of(&[(WorkerRole::QueryNode, silent)], &settings).is_empty());
    let mut off = Protections::default();
    off.memory.enabled = false;
    assert!(of(&[(WorkerRole::QueryNode, full(0.99, &[7]))], &off).is_empty());
}

#[test]
fn lateness_and_growth_count_once_they_are_on() {
    let both = [
        (WorkerRole::DataNode, late(600_000, &[1])),
        (WorkerRole::DataNode, late(30_000, &[2])),
        (WorkerRole::DataNode, late(1_200_000, &[3])),
        (WorkerRole::QueryNode, NodeMetrics { growing_bytes: 39 * GIB, ..full(0.1, &[4]) }),
    ];
    assert!(of(&both, &Protections::default()).is_empty());
    let found = of(&both, &everything());
    assert_eq!(found.get(&1).unwrap().value, 0.5);
    // 2.5 % of the delay is hardly any.
    assert_eq!(found.get(&2), None);
    assert_eq!((found[&3].value, found[&3].why), (0.0, ErrorCode::TimeTickLongDelay));
    assert_eq!(found[&4].value, 0.5, "never below the least ratio");
}

/// All that nodes hold of a collection together counts.
#[test]
fn full_buffers_of_deletions_lower_rates() {
    let holds = |rows, bytes| {
        let deleted = BTreeMap::from([(7, Deleted { rows, bytes })]);
        (WorkerRole::QueryNode, NodeMetrics { deleted, ..NodeMetrics::default() })
    };
    let of_two = |one, other| of(&[one, other], &everything()).get(&7).copied();
    assert_eq!(of_two(holds(16_384, 0), holds(16_384, 128 << 20)), None, "up to the low levels");
    let half = of_two(holds(24_576, 0), holds(24_576, 0)).unwrap();
    assert_eq!((half.value, half.denial()), (0.5, None));
    let none = of_two(holds(0, 200 << 20), holds(0, 56 << 20)).unwrap();
    assert_eq!((none.value, none.why), (0.0, ErrorCode::ForceDeny));
    assert!(of(&[holds(1 << 40, 1 << 40)], &Protections::default()).is_empty(), "off");
}

/// However full nodes are, so much is left, of what there was.
#[test]
fn a_rate_falls_no_lower_than_its_least() {
    let mut quota = Quota { enabled: true, ..Quota::default() };
    quota.dml.enabled = true;
    quota.dml.insert.collection = Rate::from(8.0);
    quota.dml.insert_min = Rate::from(2.0);
    quota.dml.delete.collection = Rate::from(1.0);
    quota.dml.delete_min = Rate::from(2.0);
    let least = [(RateType::DmlInsert, 4.0 * 1_048_576.0)].into();
    let collections =
        [(1, CollectionLimits::default()), (2, CollectionLimits { least, ..CollectionLimits::default() })].into();
    let catalogue = Catalogue::from([(1, DatabaseLimits { collections, ..DatabaseLimits::default() })]);
    let rates = |value: f64, id: i64| {
        let factors = Factors::from([(id, Factor { value, why: ErrorCode::MemoryQuotaExhausted })]);
        let root =
            tree::build(Situation { quota: &quota, disk_full: false, proxies: 2, factors: &factors }, &catalogue);
        let limiter = root.children[&1].children[&id].limiter.clone().unwrap();
        let of = |kind| limiter.rates.iter().find(|rate| rate.rt() == kind).unwrap().r / 1_048_576.0;
        (of(RateType::DmlInsert), of(RateType::DmlDelete))
    };
    assert_eq!(rates(0.5, 1), (2.0, 0.5), "a share of 4 and a whole of 0.5");
    assert_eq!(rates(0.1, 1), (1.0, 0.5));
    assert_eq!(rates(0.1, 2), (2.0, 0.5), "its own");
    assert_eq!(rates(0.0, 1), (0.0, 0.0), "a denial is one");
}

#[test]
fn reports_are_read_as_milvus_writes_them() {
    let report = r#"{"has_error":false,"error_reason":"","name":"querynode7","hardware_infos":{"ip":"10.0.0.7:21123",
        "cpu_core_count":4,"cpu_core_usage":12.5,"memory":1000,"memory_usage":900,"disk":100,"disk_usage":1},
        "system_info":{"build_version":"2.6.18"},"type":"querynode","id":7,
        "quota_metrics":{"Hms":{"ip":"","cpu_core_count":4,"cpu_core_usage":1,"memory":2000,"memory_usage":1800},
        "Rms":[{"Label":"InsertConsumeThroughput","Rate":0.5}],
        "Fgm":{"MinFlowGraphChannel":"by-dev-rootcoord-dml_0_100v0","MinFlowGraphTt":454102000000000000,
        "NumFlowGraph":2},
        "GrowingSegmentsSize":77,"Effect":{"NodeID":7,"CollectionIDs":[100,101]},"DeleteBufferInfo":{
        "CollectionDeleteBufferNum":{"100":40,"101":-1},"CollectionDeleteBufferSize":{"101":512}}}}"#;
    let metrics = milvus::parse(report).unwrap();
    let expected = NodeMetrics {
        memory_used: 1800,
        memory_total: 2000,
        time_tick: 454_102_000_000_000_000,
        growing_bytes: 77,
        collections: vec![100, 101],
        deleted: BTreeMap::from([(100, Deleted { rows: 40, bytes: 0 }), (101, Deleted { rows: 0, bytes: 512 })]),
    };
    assert_eq!(metrics, expected);
    // Without channels the time tick is Go's largest number; an empty list is null.
    let idle = r#"{"hardware_infos":{"memory":10,"memory_usage":5},"quota_metrics":{"Hms":{"memory":0},
        "Fgm":{"MinFlowGraphTt":18446744073709551615,"NumFlowGraph":0},"Effect":{"CollectionIDs":null},
        "DeleteBufferInfo":{"CollectionDeleteBufferNum":null,"CollectionDeleteBufferSize":null}}}"#;
    let expected = NodeMetrics { memory_used: 5, memory_total: 10, ..NodeMetrics::default() };
    assert_eq!(milvus::parse(idle).unwrap(), expected);
    assert_eq!(milvus::parse("{}").unwrap(), NodeMetrics::default());
    let failed = milvus::parse(r#"{"has_error":true,"error_reason":"out of order"}"#).unwrap_err();
    assert!(failed.contains("out of order"), "{failed}");
    let many = (0..=NODE_COLLECTIONS_MAX).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let many = milvus::parse(&format!("{{\"quota_metrics\":{{\"Effect\":{{\"CollectionIDs\":[{many}]}}}}}}"));
    assert!(many.unwrap_err().contains("131073 collections"));
    for garbage in ["", "7", "{\"hardware_infos\":7}", "{\"hardware_infos\":{\"memory\":-1}}"] {
        assert!(milvus::parse(garbage).is_err(), "{garbage}");
    }
}

#[test]
fn a_proxy_is_told_less_or_nothing() {
    let mut quota = Quota { enabled: true, ..Quota::default() };
    quota.flush.enabled = false;
    quota.dml.enabled = true;
    quota.dml.insert.collection = Rate::from(2.0);
    let collections = [1, 2, 3].map(|id| (id, CollectionLimits::default())).into();
    let catalogue = Catalogue::from([(1, DatabaseLimits { collections, ..DatabaseLimits::default() })]);
    let half = Factor { value: 0.5, why: ErrorCode::MemoryQuotaExhausted };
    let nothing = Factor { value: 0.0, why: ErrorCode::TimeTickLongDelay };
    let told =
        |factors: &Factors| tree::build(Situation { quota: &quota, disk_full: false, proxies: 1, factors }, &catalogue);
    let rate = |root: &LimiterNode, id: i64, kind: RateType| {
        let limiter = root.children[&1].children[&id].limiter.clone().unwrap();
        (limiter.rates.iter().find(|rate| rate.rt() == kind).unwrap().r, limiter.codes)
    };
    let root = told(&Factors::from([(1, half), (2, nothing)]));
    let mib = 1_048_576.0;
    assert_eq!(rate(&root, 1, RateType::DmlInsert), (mib, vec![]));
    assert_eq!(rate(&root, 1, RateType::DmlDelete).0, f64::MAX, "what has no limit has no part");
    assert_eq!(rate(&root, 2, RateType::DmlInsert), (0.0, vec![ErrorCode::TimeTickLongDelay.into()]));
    assert_eq!(rate(&root, 2, RateType::DmlDelete).0, 0.0);
    assert_eq!(rate(&root, 2, RateType::DqlSearch).0, f64::MAX, "reading goes on");
    assert_eq!(rate(&root, 3, RateType::DmlInsert), (2.0 * mib, vec![]));
    // A denial is told also where nothing has a limit.
    quota.dml.enabled = false;
    let root = tree::build(
        Situation { quota: &quota, disk_full: false, proxies: 1, factors: &Factors::from([(2, nothing)]) },
        &catalogue,
    );
    assert_eq!(root.children[&1].children.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn small_changes_are_not_told() {
    let one = |value| Factors::from([(1, Factor { value, why: ErrorCode::MemoryQuotaExhausted })]);
    assert_eq!(steady(&one(0.5), one(0.51), 0.05), one(0.5));
    assert_eq!(steady(&one(0.5), one(0.53), 0.05), one(0.53));
    assert_eq!(steady(&one(0.01), one(0.0), 0.05), one(0.0), "a denial is");
    assert_eq!(steady(&one(0.0), one(0.01), 0.05), one(0.01), "and its end");
    assert_eq!(steady(&one(0.5), Factors::new(), 0.05), Factors::new());
    assert_eq!(steady(&Factors::new(), one(0.99), 0.05), one(0.99));
    let late = Factors::from([(1, Factor { value: 0.51, why: ErrorCode::TimeTickLongDelay })]);
    let told = steady(&one(0.5), late, 0.05)[&1];
    assert_eq!((told.value, told.why), (0.5, ErrorCode::TimeTickLongDelay), "as it was, for another reason");
}

fn node() -> impl Strategy<Value = (WorkerRole, NodeMetrics)> {
    let role = proptest::sample::select(vec![
        WorkerRole::DataNode,
        WorkerRole::QueryNode,
        WorkerRole::StreamingNode,
        WorkerRole::Proxy,
    ]);
    let collections = proptest::collection::vec(1..5_i64, 0..4);
    let deleted = (any::<u64>(), any::<u64>()).prop_map(|(rows, bytes)| Deleted { rows, bytes });
    let deleted = proptest::collection::btree_map(1..5_i64, deleted, 0..3);
    (role, any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), collections, deleted).prop_map(
        |(role, memory_used, memory_total, time_tick, growing_bytes, collections, deleted)| {
            (role, NodeMetrics { memory_used, memory_total, time_tick, growing_bytes, collections, deleted })
        },
    )
}

/// What fits its place, and what does not.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::json;
    prop_oneof![
        6 => (0..9_u64).prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => any::<u64>().prop_map(|number| json!(number)),
        1 => Just(json!(null)),
        1 => Just(json!([1, 2])),
        1 => Just(json!({"7": 9})),
        1 => Just(json!({"x": 9})),
        1 => ".*".prop_map(|text| json!(text)),
    ]
}

proptest! {
    /// Whatever nodes claim, a factor is a part, only theirs have one, and no further node raises it.
    #[test]
    fn a_factor_is_a_part(nodes in proptest::collection::vec(node(), 0..8), more in node()) {
        let before = of(&nodes, &everything());
        for (id, factor) in &before {
            prop_assert!((0.0..1.0).contains(&factor.value), "{factor:?}");
            let names = |node: &NodeMetrics| node.collections.contains(id) || node.deleted.contains_key(id);
            prop_assert!(nodes.iter().any(|(_, node)| names(node)));
        }
        let mut all = nodes.clone();
        all.push(more);
        let after = of(&all, &everything());
        for (id, factor) in &before {
            prop_assert!(after[id].value <= factor.value);
        }
        all.reverse();
        let values = |all: &Factors| all.iter().map(|(id, factor)| (*id, factor.value)).collect::<Vec<_>>();
        prop_assert_eq!(values(&of(&all, &everything())), values(&after), "in any order");
    }

    /// More memory in use never leaves more, whatever the levels.
    #[test]
    fn fuller_is_never_faster(low in 0.0..0.9_f64, span in 0.01..0.1_f64, one in 0.0..1.0_f64, other in 0.0..1.0_f64) {
        let mut settings = Protections::default();
        (settings.memory.query_node_low, settings.memory.query_node_high) = (low, low + span);
        let value = |part| {
            let found = of(&[(WorkerRole::StreamingNode, full(part, &[1]))], &settings);
            found.get(&1).map_or(1.0, |factor| factor.value)
        };
        let (less, more) = (one.min(other), one.max(other));
        prop_assert!(value(more) <= value(less));
    }

    /// Any JSON in any place is read or refused, and what is read is within bounds.
    #[test]
    fn any_report_is_read_or_refused(parts in proptest::collection::vec(json(), 8)) {
        let mut parts = parts.into_iter();
        let mut next = || parts.next().unwrap_or_default();
        let report = serde_json::json!({
            "hardware_infos": {"memory": next(), "memory_usage": 5},
            "quota_metrics": {
                "Hms": {"memory": next()},
                "Fgm": {"MinFlowGraphTt": next(), "NumFlowGraph": next()},
                "GrowingSegmentsSize": next(),
                "Effect": {"CollectionIDs": next()},
                "DeleteBufferInfo": {"CollectionDeleteBufferNum": next(), "CollectionDeleteBufferSize": next()},
            },
        });
        match milvus::parse(&report.to_string()) {
            Ok(metrics) => {
                let flow = &report["quota_metrics"]["Fgm"];
                let has_graphs = flow["NumFlowGraph"].as_i64().is_some_and(|graphs| graphs > 0);
                let tick = flow["MinFlowGraphTt"].as_u64().filter(|_| has_graphs);
                prop_assert_eq!(metrics.time_tick, tick.unwrap_or(0));
                prop_assert!(metrics.collections.len() <= NODE_COLLECTIONS_MAX);
            }
            Err(why) => prop_assert!(why.starts_with("its metrics do not decode"), "{}", why),
        }
    }
}
