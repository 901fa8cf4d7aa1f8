//! `roostctl import etcd` and `export etcd` between a real etcd and Roost.

use std::path::PathBuf;

use roost::pb::etcd::api::{CompactionRequest, LeaseGrantRequest};
use roost::pb::etcd::kv::KeyValue;

use crate::support::etcd::{EtcdClient, RealEtcd, enabled, within};
use crate::support::{Cluster, Ran, ctl};

const KEYS: usize = 700;

/// Keys of many sizes, one beside the prefix, one with a lease.
async fn fill(client: &EtcdClient) {
    for number in 0..KEYS {
        let value = vec![number as u8; if number % 100 == 0 { 300_000 } else { number }];
        client.put(&format!("by-dev/{number:04}"), value, 0).await.unwrap();
    }
    client.put("by-dev/\u{ff}\0", "odd bytes", 0).await.unwrap();
    client.put("other", "not copied", 0).await.unwrap();
    within(client.lease.clone().lease_grant(LeaseGrantRequest { id: 9, ttl: 600 })).await.unwrap();
    client.put("by-dev/session", "leased", 9).await.unwrap();
}

fn pairs(rows: Vec<KeyValue>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.into_iter().filter(|row| row.lease == 0).map(|row| (row.key, row.value)).collect()
}

struct Bench {
    etcd: RealEtcd,
    cluster: Cluster,
    state: PathBuf,
}

impl Bench {
    async fn start() -> (Self, EtcdClient, EtcdClient) {
        let (etcd, cluster) = tokio::join!(RealEtcd::start(), Cluster::start_with(1, enabled()));
        let (theirs, ours) = (etcd.client(), EtcdClient::new(&cluster.at(1).client));
        ours.serves().await;
        let state = cluster.home().join("copy.state");
        (Bench { etcd, cluster, state }, theirs, ours)
    }

    /// `roostctl import|export etcd` of the prefix by-dev/.
    async fn copy(&self, verb: &str, more: &[&str]) -> Ran {
        let roost = if verb == "import" { "--to" } else { "--from" };
        let (endpoint, client) = (format!("127.0.0.1:1,{}", self.etcd.endpoint()), self.cluster.at(1).client);
        let state = self.state.to_str().unwrap();
        let words = ["-o", "json", verb, "etcd", "--endpoints", &endpoint, roost, &client, "--state", state];
        ctl::run(&[], &[&words[..], &["--prefix", "by-dev/"], more].concat()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_over_and_back() {
    let (bench, theirs, ours) = Bench::start().await;
    fill(&theirs).await;
    let counted = bench.copy("import", &["--dry-run"]).await.json();
    assert_eq!((&counted["keys"], &counted["leased_keys_left_out"]), (&(KEYS + 1).into(), &1.into()), "{counted}");
    assert!(ours.get_prefix("by-dev").await.unwrap().is_empty() && !bench.state.exists(), "a dry run writes nothing");
    let copied = bench.copy("import", &[]).await.json();
    assert_eq!((&copied["bytes"], &copied["resumed"]), (&counted["bytes"], &false.into()), "{copied}");
    let expected = pairs(theirs.get_prefix("by-dev").await.unwrap());
    assert_eq!(pairs(ours.get_prefix("by-dev").await.unwrap()), expected);
    assert!(ours.get("other").await.unwrap().is_none() && !bench.state.exists());

    // The target has keys there now.
    bench.copy("import", &[]).await.refused(1, "--overwrite");
    bench.copy("import", &["--overwrite"]).await.refused(5, "--yes");
    ours.put("by-dev/stale", "goes", 0).await.unwrap();
    let again = bench.copy("import", &["--overwrite", "--yes"]).await.json();
    assert_eq!((&again["blake3"], &again["target_keys_before"]), (&copied["blake3"], &(KEYS + 2).into()));
    assert_eq!(pairs(ours.get_prefix("by-dev").await.unwrap()), expected);

    // And back, into an etcd that has lost them.
    theirs.delete_prefix("by-dev").await.unwrap();
    let back = bench.copy("export", &[]).await.json();
    assert_eq!((&back["blake3"], &back["keys"]), (&copied["blake3"], &copied["keys"]));
    assert_eq!(pairs(theirs.get_prefix("by-dev").await.unwrap()), expected);
}

/// What a copy that was killed after `last_key` leaves, of the two at hand.
fn interrupted(bench: &Bench, source: u64, target: u64, revision: i64, last_key: &str, keys: usize) {
    let hex: String = last_key.bytes().map(|byte| format!("{byte:02x}")).collect();
    let state = serde_json::json!({
        "version": 1, "source_cluster": source, "target_cluster": target, "prefix": "by-dev/", "revision": revision,
        "target_keys_before": 0, "cleared": true, "last_key": hex, "keys": keys, "bytes": 0, "leased_keys": 0,
        "leased_bytes": 0,
    });
    std::fs::write(&bench.state, state.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_copy_goes_on_at_its_revision() {
    let (bench, theirs, ours) = Bench::start().await;
    fill(&theirs).await;
    let cluster_of = async |client: &EtcdClient| {
        let request = roost::pb::etcd::api::RangeRequest { key: "a".into(), ..Default::default() };
        within(client.kv.clone().range(request)).await.unwrap().header.unwrap()
    };
    let (source, target) = (cluster_of(&theirs).await, cluster_of(&ours).await);
    let rows = theirs.get_prefix("by-dev").await.unwrap();
    let (done, last) = (&rows[..100], String::from_utf8(rows[99].key.clone()).unwrap());
    for row in done {
        ours.put(&String::from_utf8(row.key.clone()).unwrap(), row.value.clone(), 0).await.unwrap();
    }
    // Written after the copy began: not part of it.
    let pinned = source.revision;
    theirs.put("by-dev/9999", "too late", 0).await.unwrap();
    interrupted(&bench, source.cluster_id, target.cluster_id, pinned, &last, 100);
    let copied = bench.copy("import", &[]).await;
    assert!(copied.stderr.contains("going on after 100 keys"), "{copied:?}");
    let copied = copied.json();
    assert_eq!(
        (&copied["resumed"], &copied["revision"], &copied["keys"]),
        (&true.into(), &pinned.into(), &(KEYS + 1).into())
    );
    assert_eq!(pairs(ours.get_prefix("by-dev").await.unwrap()), pairs(rows));

    // The state of another copy is not taken for this one's.
    interrupted(&bench, source.cluster_id, 7, pinned, &last, 100);
    bench.copy("import", &[]).await.refused(1, "another copy");
    // Nor can it go on when the revision is gone.
    interrupted(&bench, source.cluster_id, target.cluster_id, pinned, &last, 100);
    let revision = cluster_of(&theirs).await.revision;
    within(theirs.kv.clone().compact(CompactionRequest { revision, physical: true })).await.unwrap();
    bench.copy("import", &[]).await.refused(1, "--restart --overwrite");
    let again = bench.copy("import", &["--restart", "--overwrite", "--yes"]).await.json();
    assert_eq!((&again["resumed"], &again["keys"]), (&false.into(), &(KEYS + 2).into()));
}
