//! The HTTP listener: probes that tell the truth, and metrics that Prometheus can read.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Cluster, soon};

/// Status code and body of a GET.
async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_follow_the_leader() {
    let mut cluster = Cluster::start(3).await;
    for id in cluster.ids() {
        for path in ["/livez", "/readyz", "/healthz"] {
            assert_eq!(get(&cluster.at(id).http, path).await, (200, "OK".to_owned()), "node {id} {path}");
        }
        assert_eq!(get(&cluster.at(id).http, "/nothing").await.0, 404);
    }
    let followers = cluster.followers().await;
    let leader = cluster.leader().await;
    cluster.node(followers[0]).kill();
    cluster.node(leader).kill();
    let alone = cluster.at(followers[1]).http;
    soon("a node without a leader is not ready", async || (get(&alone, "/readyz").await.0 == 503).then_some(())).await;
    let (code, reasons) = get(&alone, "/healthz").await;
    assert_eq!((code, reasons.contains("leader")), (503, true), "{reasons}");
    assert_eq!(get(&alone, "/livez").await.0, 200, "restarting it would not help");
    cluster.node(leader).start();
    soon("two of three are ready", async || (get(&alone, "/readyz").await.0 == 200).then_some(())).await;
}

/// The names in a text of metrics; panics where Prometheus would refuse it.
fn names(text: &str) -> BTreeSet<String> {
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = samples.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        assert!(value.parse::<f64>().is_ok(), "not a number: {line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(labels.ends_with('}'), "open label: {line}");
        let ours = name.starts_with("roost_") || name == "process_resident_memory_bytes";
        assert!(ours && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
        name.to_owned()
    });
    parsed.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_of_raft_timestamps_and_calls() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).create("counted").await.unwrap();
    cluster.client(2).timestamp().await.unwrap();
    let leader = cluster.leader().await;
    for id in cluster.ids() {
        let (code, text) = get(&cluster.at(id).http, "/metrics").await;
        assert_eq!(code, 200);
        let names = names(&text);
        for expected in ["roost_calls_total", "roost_call_seconds_bucket", "roost_forwarded_total"] {
            assert!(names.contains(expected), "node {id} lacks {expected}:\n{text}");
        }
        for expected in ["roost_raft_term", "roost_raft_applied_index", "roost_raft_last_log_index"] {
            assert!(names.contains(expected), "node {id} lacks {expected}:\n{text}");
        }
        assert!(names.contains("process_resident_memory_bytes"), "node {id}:\n{text}");
        assert!(names.iter().any(|name| name.starts_with("roost_tso_")), "node {id}:\n{text}");
        let leads = format!("roost_raft_is_leader {}", u64::from(id == leader));
        assert!(text.contains(&leads), "node {id} lacks `{leads}`:\n{text}");
    }
}
