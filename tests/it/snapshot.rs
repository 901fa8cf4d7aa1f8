//! Backups: saved from a running node, restored into a new cluster, and refused when damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::config::Settings;
use crate::support::{Cluster, Ran, ctl};

/// Saves the cluster's state to a file in its directory.
async fn save(cluster: &Cluster) -> (PathBuf, Value) {
    let file = cluster.home().join("backup.roost");
    let saved = cluster.ctl(&["-o", "json", "snapshot", "save", file.to_str().unwrap()]).await.json();
    (file, saved)
}

/// Restores the disk of node `id` of `cluster`, whose voters are nodes 1 to 3.
async fn restore(cluster: &mut Cluster, id: u64, file: &Path) -> Ran {
    let members: Vec<String> = (1..=3)
        .map(|id| {
            let at = cluster.at(id);
            format!("id={id},peer={},client={},internal={}", at.peer, at.client, at.internal)
        })
        .collect();
    let (dir, id) = (cluster.node(id).data_dir(), id.to_string());
    let mut words = vec!["-o", "json", "--yes", "snapshot", "restore", file.to_str().unwrap()];
    words.extend(["--data-dir", dir.to_str().unwrap(), "--node-id", &id]);
    for member in &members {
        words.extend(["--member", member]);
    }
    // Works offline: no endpoint is needed.
    ctl::run(&[], &words).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_becomes_a_new_cluster() {
    let mut old = Cluster::start(3).await;
    for number in 0..30 {
        old.client(number % 3 + 1).create(&format!("kept_{number}")).await.unwrap();
    }
    let (file, saved) = save(&old).await;
    let checked = ctl::run(&[], &["-o", "json", "snapshot", "status", file.to_str().unwrap()]).await.json();
    assert_eq!((&checked["index"], &checked["state_hash"]), (&saved["index"], &saved["state_hash"]));
    old.client(1).create("after_the_backup").await.unwrap();
    let kept = old.client(1).describe("kept_7").await.unwrap();
    let last_id = old.client(2).ids(1000).await.unwrap() + 999;
    let last_timestamp = old.client(3).timestamp().await.unwrap();
    old.kill_all();

    let mut new = Cluster::prepare(3, Settings::new());
    for id in 1..=3 {
        let restored = restore(&mut new, id, &file).await.json();
        assert_eq!(restored["node_id"], id);
        assert_ne!(restored["cluster_id"], saved["cluster_id"]);
    }
    new.start_all();
    new.ready().await;
    new.hash().await;
    for id in 1..=3 {
        assert_eq!(new.client(id).names().await.unwrap().len(), 30);
        let found = new.client(id).describe("kept_7").await.unwrap();
        assert_eq!(
            (found.collection_id, &found.virtual_channel_names),
            (kept.collection_id, &kept.virtual_channel_names)
        );
        assert!(new.client(id).timestamp().await.unwrap() > last_timestamp);
        assert!(new.client(id).ids(1).await.unwrap() > last_id, "no id of the old cluster comes again");
    }
    new.client(1).create("new").await.unwrap();
    assert!(new.client(2).describe("new").await.unwrap().collection_id > last_id);
    // And it is a cluster like any other.
    let leader = new.leader().await;
    new.restart(leader);
    new.ready().await;
    new.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_and_changes_nothing() {
    let cluster = Cluster::start(1).await;
    for number in 0..30 {
        cluster.client(1).create(&format!("kept_{number}")).await.unwrap();
    }
    let (file, _) = save(&cluster).await;
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let mut longer = whole.clone();
    // Zeros alone could be the padding that etcd's tools want.
    longer.extend([1; 100]);
    let length = whole.len();
    let damaged = [
        ("empty", Vec::new()),
        ("first byte", flipped(0)),
        ("version", flipped(9)),
        ("header", flipped(30)),
        ("middle", flipped(length / 2)),
        ("last byte", flipped(length - 1)),
        ("cut in half", whole[..length / 2].to_vec()),
        ("last byte missing", whole[..length - 1].to_vec()),
        ("only the header", whole[..64].to_vec()),
        ("more at its end", longer),
        ("other bytes", vec![0xA5; length]),
    ];
    let mut new = Cluster::prepare(3, Settings::new());
    let occupied = new.node(2).data_dir();
    fs::create_dir_all(&occupied).unwrap();
    fs::write(occupied.join("keep"), "me").unwrap();
    let bad = new.home().join("bad.roost");
    for (what, bytes) in damaged {
        fs::write(&bad, bytes).unwrap();
        let status = ctl::run(&[], &["snapshot", "status", bad.to_str().unwrap()]).await;
        assert!(
            status.code == 1 && status.stdout.is_empty() && status.stderr.contains("bad.roost"),
            "{what}: {status:?}"
        );
        for id in [1, 2] {
            let refused = restore(&mut new, id, &bad).await;
            assert!(refused.code == 1 && refused.stderr.contains("bad.roost"), "{what}: {refused:?}");
        }
        assert!(!new.node(1).data_dir().exists(), "{what}");
        assert_eq!(fs::read_to_string(occupied.join("keep")).unwrap(), "me", "{what}");
        let beside = fs::read_dir(new.node(2).home.clone()).unwrap().count();
        assert_eq!(beside, 2, "{what}: only roost.yaml and data");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_and_directories_in_use_are_not_overwritten() {
    let mut cluster = Cluster::start(1).await;
    cluster.client(1).create("one").await.unwrap();
    let (file, _) = save(&cluster).await;
    let before = fs::read(&file).unwrap();
    cluster.ctl(&["snapshot", "save", file.to_str().unwrap()]).await.refused(1, "exists");
    assert_eq!(fs::read(&file).unwrap(), before);
    cluster.ctl(&["snapshot", "save", "--force", file.to_str().unwrap()]).await.ok();
    restore(&mut cluster, 1, &file).await.refused(1, "in use");
    assert_eq!(cluster.client(1).names().await.unwrap(), ["one"]);
}
