//! `roostctl` as programs use it: JSON on stdout and nothing else there, and exit codes that say what happened.

use serde_json::Value;

use crate::support::{Cluster, ctl, soon};

/// The JSON of a command that succeeds.
async fn json(cluster: &Cluster, words: &[&str]) -> Value {
    cluster.ctl(&[&["-o", "json"], words].concat()).await.json()
}

#[track_caller]
fn assert_keys(value: &Value, keys: &[&str]) {
    let mut found: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut keys = keys.to_vec();
    found.sort_unstable();
    keys.sort_unstable();
    assert_eq!(found, keys);
}

const STATUS_KEYS: [&str; 17] = [
    "state",
    "term",
    "leader",
    "first_log_index",
    "last_log_index",
    "committed_index",
    "applied_index",
    "snapshot_index",
    "state_hash",
    "state_hash_index",
    "apply_version",
    "apply_version_supported",
    "wal_sync_p99_us",
    "uptime_ms",
    "version",
    "incarnation",
    "alarms",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_prints_its_documented_json() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).create("books").await.unwrap();
    let leader = cluster.leader().await;

    let status = json(&cluster, &["cluster", "status"]).await;
    assert_keys(&status, &["cluster_id", "asked_node", "leader", "term", "nodes"]);
    assert_eq!((status["leader"].as_u64(), status["asked_node"].as_u64()), (Some(leader), Some(1)));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    for node in status["nodes"].as_array().unwrap() {
        assert_keys(node, &["member", "reachable", "error", "took_us", "status"]);
        assert_keys(&node["member"], &["id", "role", "address", "incarnation", "matched_index", "lag_entries"]);
        assert_keys(&node["status"], &STATUS_KEYS);
        let leads = node["member"]["id"].as_u64() == Some(leader);
        assert_eq!(node["status"]["state"], if leads { "leader" } else { "follower" });
        assert_eq!((&node["reachable"], &node["error"]), (&Value::Bool(true), &Value::Null));
        assert_eq!(node["status"]["alarms"], Value::Array(Vec::new()));
    }

    let list = json(&cluster, &["member", "list"]).await;
    assert_keys(&list, &["term", "leader", "members"]);
    assert_eq!(list["members"][2]["address"]["peer"], cluster.at(3).peer);
    let shown = json(&cluster, &["leader", "show"]).await;
    assert_keys(&shown, &["leader", "term", "address"]);
    assert_eq!(shown["address"]["internal"], cluster.at(leader).internal);
    let hash = json(&cluster, &["state", "hash", "--all"]).await;
    assert_keys(&hash, &["index", "equal", "nodes"]);
    assert_keys(&hash["nodes"][0], &["node_id", "hash", "error"]);
    assert_eq!(json(&cluster, &["alarm", "list"]).await, serde_json::json!({ "alarms": [] }));
    let snapshot = json(&cluster, &["snapshot", "trigger"]).await;
    assert_keys(&snapshot, &["node_id", "index"]);
    let newest = json(&cluster, &["snapshot", "status"]).await;
    assert_keys(&newest, &["node_id", "index", "term", "first_log_index", "last_log_index", "applied_index"]);
    assert!(newest["index"].as_u64() >= snapshot["index"].as_u64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_and_the_oracle_are_readable() {
    let cluster = Cluster::start(3).await;
    let from_api = cluster.client(2).timestamp().await.unwrap();
    let now = json(&cluster, &["tso", "now"]).await;
    assert_keys(&now, &["timestamp", "physical_ms", "logical", "utc"]);
    assert!(now["timestamp"].as_u64().unwrap() > from_api);
    let decoded = ctl::run(&[], &["-o", "json", "tso", "decode", &now["timestamp"].to_string()]).await.json();
    assert_eq!(decoded, now, "and no cluster is needed to decode");

    cluster.client(1).create("readable").await.unwrap();
    let tail = cluster.ctl(&["-o", "json", "log", "tail", "-n", "1000"]).await.ok();
    let entries: Vec<Value> = tail.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for pair in entries.windows(2) {
        assert_eq!(pair[0]["index"].as_u64().unwrap() + 1, pair[1]["index"].as_u64().unwrap());
    }
    assert_keys(&entries[0], &["index", "term", "kind", "text"]);
    assert!(entries.iter().any(|entry| entry["text"].as_str().unwrap().contains("readable")), "{}", tail.stdout);
    assert!(entries.iter().any(|entry| entry["kind"] == "membership"));
    let few = cluster.ctl(&["-o", "json", "log", "tail", "-n", "3"]).await.ok();
    assert_eq!(few.stdout.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_what_happened() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    // Degraded, if the disk that all tests share is slow at this moment.
    cluster.ctl(&["cluster", "health", "--allow-degraded"]).await.ok();
    for destructive in [
        &["member", "remove", "3"][..],
        &["member", "replace", "3", "4", "--peer", "h:1", "--client", "h:2", "--internal", "h:3"],
        &["alarm", "disarm"],
    ] {
        cluster.ctl(destructive).await.refused(5, "--yes");
    }
    cluster.ctl(&["member", "remove"]).await.refused(2, "NODE_ID");
    cluster.ctl(&["no", "such"]).await.refused(2, "no");
    cluster.ctl(&["--timeout", "never", "leader", "show"]).await.refused(2, "never");

    cluster.node(leader).kill();
    cluster.leader().await;
    let health = cluster.ctl(&["-o", "json", "cluster", "health"]).await;
    assert_eq!(health.code, 6, "{health:?}");
    let verdict: Value = serde_json::from_str(&health.stdout).unwrap();
    assert_keys(&verdict, &["verdict", "reasons", "alarms", "leader", "term", "voters", "voters_reachable"]);
    assert_eq!((&verdict["verdict"], &verdict["voters_reachable"]), (&"degraded".into(), &2.into()), "{verdict}");
    cluster.ctl(&["cluster", "health", "--allow-degraded"]).await.ok();
    cluster.ctl(&["state", "hash", "--all"]).await.code_is(1);

    let last = cluster.answering()[0];
    let other = cluster.answering()[1];
    cluster.node(other).kill();
    // Until its lease is over, one of three may still answer.
    let alone = soon("one of three gives no timestamp", async || {
        let ran = cluster.ctl(&["--timeout", "3s", "tso", "now"]).await;
        (ran.code != 0).then_some(ran)
    })
    .await;
    assert!(matches!(alone.code, 1 | 4) && alone.stdout.is_empty(), "{alone:?}");
    let unhealthy = cluster.ctl(&["cluster", "health", "--allow-degraded"]).await;
    assert_eq!(unhealthy.code, 6, "{unhealthy:?}");
    cluster.node(last).kill();
    cluster.ctl(&["--timeout", "2s", "cluster", "status"]).await.refused(3, "no node could be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_managed_by_their_nouns() {
    let cluster = Cluster::start(3).await;
    let done = |kind: &str, name: &str, done: &str| serde_json::json!({ "kind": kind, "name": name, "done": done });
    let created = json(&cluster, &["db", "create", "shelf", "--property", "owner=me"]).await;
    assert_eq!(created, done("database", "shelf", "created"));
    json(&cluster, &["db", "alter", "shelf", "--set", "database.max.collections=3"]).await;
    json(&cluster, &["db", "alter", "shelf", "--unset", "owner"]).await;
    let shelf = json(&cluster, &["db", "describe", "shelf"]).await;
    assert_keys(&shelf, &["name", "id", "created_timestamp", "properties"]);
    assert_eq!(shelf["properties"], serde_json::json!({ "database.max.collections": "3" }));
    let listed = json(&cluster, &["db", "list"]).await;
    let names: Vec<&str> =
        listed["databases"].as_array().unwrap().iter().map(|d| d["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "shelf"]);
    cluster.ctl(&["db", "create", "shelf"]).await.refused(1, "database already exist: shelf");
    cluster.ctl(&["db", "drop", "shelf"]).await.refused(5, "--yes");
    assert_eq!(json(&cluster, &["db", "drop", "shelf", "-y"]).await, done("database", "shelf", "dropped"));
    cluster.ctl(&["db", "describe", "shelf"]).await.refused(1, "database not found[database=shelf]");

    cluster.client(2).create("books").await.unwrap();
    assert_eq!(json(&cluster, &["alias", "create", "tomes", "--collection", "books"]).await["done"], "created");
    json(&cluster, &["partition", "create", "tomes", "old"]).await;
    let partitions = json(&cluster, &["partition", "list", "books"]).await;
    assert_eq!(
        (&partitions["partitions"][1]["name"], partitions["partitions"].as_array().unwrap().len()),
        (&"old".into(), 2)
    );
    assert_eq!(json(&cluster, &["partition", "describe", "tomes", "old"]).await, partitions["partitions"][1]);
    cluster.ctl(&["partition", "describe", "books", "new"]).await.refused(1, "collection books has no partition new");
    let alias = json(&cluster, &["alias", "describe", "tomes"]).await;
    let expected = serde_json::json!({ "alias": "tomes", "database": "default", "collection": "books" });
    assert_eq!(alias, expected);

    let books = json(&cluster, &["collection", "describe", "tomes"]).await;
    assert_eq!(
        (&books["name"], &books["partitions"], &books["aliases"][0]),
        (&"books".into(), &2.into(), &"tomes".into())
    );
    assert_eq!(books["virtual_channels"].as_array().unwrap().len(), 1);
    let key = &books["fields"][0];
    assert_keys(key, &["name", "id", "type", "element_type", "attributes", "params", "default"]);
    assert_eq!((&key["type"], &key["attributes"][0]), (&"Int64".into(), &"primary key".into()));
    let text = cluster.ctl(&["collection", "describe", "books"]).await.ok().stdout;
    assert!(text.contains("aliases:           tomes\n"), "{text}");
    cluster.ctl(&["collection", "drop", "books", "-y"]).await.refused(1, "because it has associated aliases [tomes]");
    json(&cluster, &["partition", "drop", "books", "old", "-y"]).await;
    json(&cluster, &["alias", "drop", "tomes", "-y"]).await;
    assert_eq!(json(&cluster, &["alias", "list"]).await, serde_json::json!({ "aliases": [] }));
    json(&cluster, &["collection", "drop", "books", "-y"]).await;
    assert_eq!(json(&cluster, &["collection", "list"]).await, serde_json::json!({ "collections": [] }));

    let script = ctl::run(&[], &["completion", "bash"]).await.ok().stdout;
    assert!(script.contains("collection") && script.contains("--endpoint"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_who_saw_the_same_cannot_both_change_it() {
    const SCHEMA: &str = r#"{
        "description": "all books", "dynamic_field": true,
        "fields": [
            {"name": "id", "type": "Int64", "attributes": ["primary key"]},
            {"name": "title", "type": "VarChar", "params": {"max_length": 64}, "default": "?"},
            {"name": "v", "type": "FloatVector", "params": {"dim": 8}}
        ]
    }"#;
    let mut cluster = Cluster::start(3).await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("books.json");
    std::fs::write(&file, SCHEMA).unwrap();
    let file = file.to_str().unwrap();
    let create = ["collection", "create", "books", "--schema", file, "--property", "a=b", "--if-revision", "0"];
    assert_eq!(json(&cluster, &create).await["done"], "created");
    cluster.ctl(&create).await.refused(1, "collection books is at revision");
    let seen = json(&cluster, &["collection", "describe", "books"]).await;
    assert_eq!((&seen["state"], &seen["load_percent"]), (&"CollectionCreated".into(), &Value::Null));
    assert_eq!(seen["fields"][1]["default"], "?");
    let revision = seen["revision"].to_string();

    let alter = |value: &'static str| ["collection", "alter", "books", "--set", value, "--if-revision", &revision];
    let (one, other) = (alter("by=one"), alter("by=two"));
    let (one, other) = tokio::join!(cluster.ctl(&one), cluster.ctl(&other));
    let mut codes = [one.code, other.code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{one:?} {other:?}");
    let now = json(&cluster, &["collection", "describe", "books"]).await;
    assert_eq!(now["properties"]["by"], if one.code == 0 { "one" } else { "two" });

    // Nor is it dropped by who does not know of the change, also after another node leads.
    let drop = ["collection", "drop", "books", "-y", "--if-revision"];
    let leader = cluster.leader().await;
    cluster.node(leader).kill();
    cluster.ctl(&[&drop[..], &[&revision]].concat()).await.refused(1, "collection books is at revision");
    // What was shown is a schema file.
    let shown = home.path().join("shown.json");
    std::fs::write(&shown, now.to_string()).unwrap();
    let shown = shown.to_str().unwrap();
    json(&cluster, &["collection", "create", "tomes", "--schema", shown, "--property", "a=b"]).await;
    let tomes = json(&cluster, &["collection", "describe", "tomes"]).await;
    assert_eq!((&tomes["fields"], &tomes["description"]), (&now["fields"], &now["description"]));
    let last = now["revision"].to_string();
    assert_eq!(json(&cluster, &[&drop[..], &[&last]].concat()).await["done"], "dropped");

    // Each of these calls is in the audit log of the node that was asked.
    let logs: Vec<String> = cluster.ids().into_iter().map(|id| cluster.log_of(id)).collect();
    let audited = |method: &str, outcome: &str| {
        let says = |line: &str| line.contains(" audit: ") && line.contains(method) && line.contains(outcome);
        logs.iter().flat_map(|log| log.lines()).filter(|line| says(line) && line.contains("books")).count()
    };
    assert_eq!((audited("CreateCollection", "done"), audited("CreateCollection", "refused")), (1, 1));
    assert_eq!((audited("AlterCollection", "done"), audited("AlterCollection", "refused")), (1, 1));
    assert_eq!((audited("DropCollection", "done"), audited("DropCollection", "refused")), (1, 1));
}
