//! A cluster of the version before worker nodes, upgraded node by node while streaming nodes knock at its door.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::etcd::{EtcdClient, enabled};
use crate::support::sim::Sim;
use crate::support::{Cluster, soon};

/// The last apply version that knows nothing of workers, pchannels and broadcasts.
const OLD: u64 = 5;
/// Has a node behave as a binary of that version would towards its cluster.
const OFFERED: (&str, &str) = ("ROOST_OFFER_APPLY_VERSION", "5");

async fn json(cluster: &Cluster, args: &[&str]) -> Option<Value> {
    let args: Vec<&str> = ["-o", "json"].iter().chain(args).copied().collect();
    serde_json::from_str(&cluster.ctl(&args).await.stdout).ok()
}

/// Of all nodes that answer, which agree on it; and what each of them knows.
async fn versions(cluster: &Cluster) -> Option<(u64, Vec<u64>)> {
    let status = json(cluster, &["cluster", "status"]).await?;
    let nodes: Vec<&Value> = status["nodes"].as_array()?.iter().map(|node| &node["status"]).collect();
    let of = |name: &str| nodes.iter().map(|node| node[name].as_u64()).collect::<Option<Vec<u64>>>();
    let (inforce, supported) = (of("apply_version")?, of("apply_version_supported")?);
    inforce.iter().all(|version| *version == inforce[0]).then(|| (inforce[0], supported))
}

/// How many workers, pchannels and broadcasts, over or not, the tables hold.
async fn rows(cluster: &Cluster) -> Option<[u64; 3]> {
    let (nodes, channels) = (json(cluster, &["node", "list"]).await?, json(cluster, &["channel", "list"]).await?);
    let broadcasts = json(cluster, &["broadcast", "list"]).await?;
    let broadcasts = broadcasts["pending"].as_u64()? + broadcasts["tombstones"].as_u64()?;
    Some([nodes["nodes"].as_array()?.len() as u64, channels["channels"].as_array()?.len() as u64, broadcasts])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_into_being_when_the_last_node_knows_them_and_nothing_is_lost() {
    let mut settings = enabled();
    settings.push((OFFERED.0, OFFERED.1.to_owned()));
    settings.push(("ROOST_STREAMING_BALANCER_CHECK_INTERVAL_MS", "300".into()));
    settings.push(("ROOST_STREAMING_BALANCER_MIN_INTERVAL_MS", "0".into()));
    let mut cluster = Cluster::start_with(3, settings).await;
    soon("the old version is in force", async || (versions(&cluster).await? == (OLD, vec![OLD; 3])).then_some(()))
        .await;
    // Of odd number by our own API, of even number by the etcd API, which an old cluster has too.
    let mut arguments: Vec<String> = ["--nodes=2", "--ttl=5", "--register=both"].map(Into::into).into();
    arguments.extend(cluster.endpoints().iter().map(|endpoint| format!("--endpoint={endpoint}")));
    arguments.extend(cluster.ids().iter().map(|id| format!("--etcd-endpoint={}", cluster.at(*id).client)));
    let program = Path::new(env!("CARGO_BIN_EXE_roost-sim"));
    let sim = Sim::start(program, cluster.home(), &cluster.at(9).client, &arguments).unwrap();
    let etcd = EtcdClient::new(&cluster.at(1).client);
    soon("a node wrote its session key", async || {
        let keys = etcd.get_prefix("by-dev/meta/session/streamingnode-").await.ok()?;
        (keys.len() == 1).then_some(())
    })
    .await;
    cluster.client(1).create("before").await.unwrap();

    let ids = cluster.ids();
    for (upgraded, id) in ids.iter().enumerate() {
        assert_eq!(rows(&cluster).await, Some([0; 3]), "{upgraded} of 3 nodes are upgraded");
        cluster.client(*id).create(&format!("meanwhile{upgraded}")).await.unwrap();
        cluster.stop(*id).await;
        cluster.node(*id).settings.retain(|(name, _)| *name != OFFERED.0);
        cluster.node(*id).start();
        cluster.ready().await;
        let known = soon("the node has said what it knows", async || {
            let (inforce, supported) = versions(&cluster).await?;
            let newer = supported.iter().filter(|version| **version > OLD).count();
            (newer == upgraded + 1 && (newer == 3 || inforce == OLD)).then_some(supported)
        })
        .await;
        assert!(known.iter().all(|version| *version >= OLD), "{known:?}");
    }
    soon("the new version is in force", async || {
        let (inforce, supported) = versions(&cluster).await?;
        (inforce > OLD && supported.iter().all(|version| *version == inforce)).then_some(())
    })
    .await;
    // What a node wrote under the old version counts, and what waited comes in.
    soon("both have channels", async || {
        let nodes = sim.nodes().await.ok()?;
        let counts: Vec<usize> = nodes.iter().map(|node| node.channels.len()).collect();
        let [workers, channels, _] = rows(&cluster).await?;
        ((workers, channels, counts) == (2, 16, vec![8, 8])).then_some(())
    })
    .await;
    cluster.client(1).create("after").await.unwrap();
    soon("what was made is told to the nodes", async || (rows(&cluster).await?[2] == 1).then_some(())).await;
    for id in ids {
        let names = cluster.client(id).names().await.unwrap();
        assert_eq!(names, ["after", "before", "meanwhile0", "meanwhile1", "meanwhile2"]);
    }
    assert_eq!(sim.early_deaths().await.unwrap(), [""; 0]);
    assert_eq!(sim.wals().await.unwrap().violations, [""; 0]);
    cluster.hash().await;

    // There is no way back: an old binary does not know what the log says.
    cluster.stop(3).await;
    cluster.node(3).settings.push((OFFERED.0, OFFERED.1.to_owned()));
    cluster.node(3).start();
    let ended = cluster.node(3).ended(Duration::from_secs(30));
    assert!(!ended.success(), "{ended:?}");
    assert!(cluster.log_of(3).contains("upgrade this node"), "{}", cluster.log_of(3));
}
