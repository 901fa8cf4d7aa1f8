//! Rates and denials as a client of three servers meets them.

use super::*;
use crate::pb::internal::GetQuotaMetricsRequest;
use crate::quota::report::Report;

async fn limited(yaml: &str) -> Vec<Running> {
    let quota = serde_yaml_ng::from_str(yaml).unwrap();
    cluster_limited(None, Security { bcrypt_cost: 4, ..Security::default() }, quota).await
}

/// As the leader reports it.
async fn report(node: &Running) -> Report {
    let answer =
        node.rootcoord().await.get_quota_metrics(GetQuotaMetricsRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().code, 0);
    serde_json::from_str(&answer.metrics_info).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_the_rate_is_refused_before_anything_is_done() {
    // So slow that no second call becomes due while the test runs.
    let nodes = limited("{enabled: true, ddl: {enabled: true, collection: {cluster: 0.001}}}").await;
    for node in &nodes {
        let mut client = node.milvus().await;
        let name = |word: &str| format!("{word}_{}", node.replica.id);
        assert_eq!(client.create_collection(new_collection(&name("in"))).await.unwrap().into_inner().code, 0);
        let refused = client.create_collection(new_collection(&name("out"))).await.unwrap().into_inner();
        assert_eq!((refused.code, refused.retriable), (8, true), "{}", refused.reason);
        assert!(refused.reason.ends_with("rate limit exceeded[rate=0.001]"), "{}", refused.reason);
        assert_eq!(
            client.describe_collection(describe(&name("out"))).await.unwrap().into_inner().status.unwrap().code,
            100
        );
        // Milvus' own processes and operators are not counted.
        let internal =
            node.rootcoord().await.create_collection(new_collection(&name("by"))).await.unwrap().into_inner();
        assert_eq!(internal.code, 0);
    }
    let report = report(&nodes[2]).await;
    let rate = report.rates.iter().find(|rate| rate.rate_type == "DDLCollection").unwrap();
    assert_eq!((rate.limit, report.nodes), (0.001, 3));
    assert!((rate.share * 3.0 - rate.limit).abs() < 1e-9);
    let count = |what: &str, database: &str| {
        let line = report.counts.iter().find(|line| line.what == what && line.database == database).unwrap();
        (line.used, line.limit)
    };
    assert_eq!((count("collections", ""), count("collections", "default")), ((6, 65_536), (6, 65_536)));
    assert_eq!((count("databases", ""), count("partitions x shards", "")), ((0, 64), (6, 65_536)));
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_are_in_check_health_and_in_the_metrics() {
    let nodes = limited("{enabled: true, force_deny_reading: true}").await;
    let mut client = nodes[1].milvus().await;
    let shelf = CreateDatabaseRequest {
        db_name: "shelf".into(),
        properties: vec![KeyValuePair { key: "database.force.deny.ddl".into(), value: "true".into() }],
        ..Default::default()
    };
    assert_eq!(client.create_database(shelf).await.unwrap().into_inner().code, 0);
    let inside = CreateCollectionRequest { db_name: "shelf".into(), ..new_collection("c") };
    let refused = client.create_collection(inside).await.unwrap().into_inner();
    let text = "quota exceeded[reason=access has been disabled by the administrator]";
    assert_eq!((refused.code, refused.retriable, refused.reason.as_str()), (9, false, text));
    let health = client.check_health(CheckHealthRequest::default()).await.unwrap().into_inner();
    assert!(health.is_healthy);
    assert_eq!(health.quota_states, [i32::from(QuotaState::DenyToRead)]);
    assert_eq!(health.reasons, ["access has been disabled by the administrator"]);
    let seen: Vec<(String, String)> =
        report(&nodes[1]).await.denials.into_iter().map(|line| (line.database, line.state)).collect();
    let expected = [("", "DenyToRead"), ("shelf", "DenyToDDL")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(seen, expected);
    nodes[1].replica.disk_full.store(true, Ordering::Relaxed);
    let health = client.check_health(CheckHealthRequest::default()).await.unwrap().into_inner();
    let states = [QuotaState::DenyToRead, QuotaState::DenyToWrite, QuotaState::DenyToDdl].map(i32::from);
    assert_eq!(health.quota_states, states);
    assert_eq!(health.reasons[1], "disk quota exceeded, please allocate more resources");
}
