//! Nodes of every role that `roost-sim` stands for: they register in both ways, say how they are, drive the quotas by
//! what they report, leave, die, and come back as others.

use std::path::Path;

use roost::pb::common::StateCode;
use roost::pb::data::data_node_client::DataNodeClient;
use roost::pb::milvus::GetComponentStatesRequest;
use roost::pb::query::query_node_client::QueryNodeClient;
use roost::pb::sim::{Knobs, Metrics, Node, Power};
use serde_json::Value;

use crate::support::client::channel;
use crate::support::etcd::{enabled, within};
use crate::support::sim::Sim;
use crate::support::{Cluster, soon};

/// By number: what is what in [`start`].
const STREAMING: u32 = 1;
const QUERY: [u32; 2] = [2, 3];
const DATA: [u32; 2] = [4, 5];

/// Three nodes of Roost, and five of Milvus: those of even numbers register by the etcd API.
async fn start(ttl_s: u32) -> (Cluster, Sim) {
    let mut settings = enabled();
    settings.push(("ROOST_QUOTA_ENABLED", "true".into()));
    settings.push(("ROOST_QUOTA_COLLECT_INTERVAL_MS", "100".into()));
    settings.push(("ROOST_STREAMING_BALANCER_CHECK_INTERVAL_MS", "300".into()));
    let cluster = Cluster::start_with(3, settings).await;
    let mut arguments: Vec<String> =
        ["--nodes=1", "--query-nodes=2", "--data-nodes=2", "--register=both"].map(Into::into).into();
    arguments.push(format!("--ttl={ttl_s}"));
    arguments.extend(cluster.endpoints().iter().map(|endpoint| format!("--endpoint={endpoint}")));
    arguments.extend(cluster.ids().iter().map(|id| format!("--etcd-endpoint={}", cluster.at(*id).client)));
    let program = Path::new(env!("CARGO_BIN_EXE_roost-sim"));
    let sim = Sim::start(program, cluster.home(), &cluster.at(9).client, &arguments).unwrap();
    (cluster, sim)
}

async fn node(sim: &Sim, number: u32) -> Node {
    sim.nodes().await.unwrap().swap_remove(number as usize - 1)
}

/// The row of a server id in a list of them.
fn row(list: &Value, id: i64) -> Option<&Value> {
    list.as_array()?.iter().find(|row| row["id"] == id)
}

async fn listed(cluster: &Cluster) -> Option<Value> {
    let ran = cluster.ctl(&["-o", "json", "node", "list"]).await;
    Some(serde_json::from_str::<Value>(&ran.stdout).ok()?["nodes"].clone())
}

/// Waits until the cluster knows all of them, each as what it is; their server ids by number.
async fn registered(cluster: &Cluster, sim: &Sim) -> Vec<i64> {
    soon("all nodes are registered", async || {
        let (known, nodes) = (listed(cluster).await?, sim.nodes().await.ok()?);
        let same = |node: &Node| {
            row(&known, node.server_id)
                .is_some_and(|row| row["role"] == node.role.as_str() && row["address"] == node.address.as_str())
        };
        (nodes.len() == 5 && nodes.iter().all(same)).then(|| nodes.iter().map(|node| node.server_id).collect())
    })
    .await
}

async fn quotas(cluster: &Cluster) -> Option<Value> {
    serde_json::from_str(&cluster.ctl(&["-o", "json", "quota", "describe"]).await.stdout).ok()
}

/// How much of a collection's rate is left.
async fn factor(cluster: &Cluster, collection_id: i64) -> Option<f64> {
    let told = quotas(cluster).await?;
    let line = told["factors"].as_array()?.iter().find(|line| line["collection_id"] == collection_id);
    Some(line.map_or(1.0, |line| line["factor"].as_f64().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_every_role_say_how_they_are_and_drive_the_quotas() {
    let (cluster, sim) = start(20).await;
    let ids = registered(&cluster, &sim).await;
    for (number, id) in (1..).zip(&ids) {
        let Node { address, role, .. } = node(&sim, number).await;
        let request = GetComponentStatesRequest {};
        let states = if DATA.contains(&number) {
            within(DataNodeClient::new(channel(&address)).get_component_states(request)).await
        } else {
            within(QueryNodeClient::new(channel(&address)).get_component_states(request)).await
        };
        let state = states.unwrap().state.unwrap();
        assert_eq!((state.node_id, state.role.as_str(), state.state_code()), (*id, role.as_str(), StateCode::Healthy));
    }
    // By a keep-alive of Roost's own; Milvus' own way has none.
    sim.turn(QUERY[1], Knobs { load_percent: 40, ..Knobs::default() }).await.unwrap();
    let of = |number: u32| ids[number as usize - 1];
    soon("the load is told", async || (row(&listed(&cluster).await?, of(QUERY[1]))?["load"] == 0.4).then_some(()))
        .await;

    cluster.client(1).create("full").await.unwrap();
    let id = cluster.client(1).describe("full").await.unwrap().collection_id;
    let uses = |memory_percent| Metrics { memory_percent, collections: vec![id], ..Metrics::default() };
    for number in [STREAMING, QUERY[0], DATA[1]] {
        sim.report(number, uses(90)).await.unwrap();
        let half = |left: f64| (left - 0.5).abs() < 0.01;
        soon("half is left", async || factor(&cluster, id).await.filter(|left| half(*left))).await;
        sim.report(number, uses(99)).await.unwrap();
        soon("nothing is left", async || factor(&cluster, id).await.filter(|left| *left == 0.0)).await;
        let told = quotas(&cluster).await.unwrap();
        let ratio = row(&told["loads"], of(number)).unwrap()["memory_ratio"].as_f64().unwrap();
        assert!((ratio - 0.99).abs() < 1e-6, "{told}");
        sim.report(number, Metrics::default()).await.unwrap();
        soon("all is left", async || factor(&cluster, id).await.filter(|left| *left == 1.0)).await;
    }
    // What it said last holds for a while.
    sim.report(DATA[0], uses(99)).await.unwrap();
    soon("nothing is left", async || factor(&cluster, id).await.filter(|left| *left == 0.0)).await;
    sim.report(DATA[0], Metrics { error: "out of order".into(), ..uses(99) }).await.unwrap();
    soon("its error is shown", async || {
        let told = quotas(&cluster).await?;
        row(&told["loads"], of(DATA[0]))?["error"].as_str()?.contains("out of order").then_some(())
    })
    .await;
    soon("it limits nobody", async || factor(&cluster, id).await.filter(|left| *left == 1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_every_role_leave_die_and_come_back_as_others() {
    let (cluster, sim) = start(2).await;
    let ids = registered(&cluster, &sim).await;
    let of = |number: u32| ids[number as usize - 1];
    let gone = async |number: u32| {
        soon("it is gone", async || row(&listed(&cluster).await?, of(number)).is_none().then_some(())).await;
    };
    // Nobody takes its channels, so it is seen on its way out.
    let channels = async || (node(&sim, STREAMING).await.channels.len() == 16).then_some(());
    soon("it has all channels", channels).await;
    let (left, ()) = tokio::join!(
        sim.power(STREAMING, Power::Stopped),
        soon("it is draining", async || {
            (row(&listed(&cluster).await?, of(STREAMING))?["draining"] == true).then_some(())
        })
    );
    left.unwrap();
    gone(STREAMING).await;
    sim.power(DATA[0], Power::Stopped).await.unwrap();
    gone(DATA[0]).await;
    sim.power(DATA[1], Power::Crashed).await.unwrap();
    for number in QUERY {
        sim.power(number, Power::Paused).await.unwrap();
    }
    for number in [DATA[1], QUERY[0], QUERY[1]] {
        gone(number).await;
        assert!(number == DATA[1] || node(&sim, number).await.server_id == of(number), "it does not know it");
    }
    for number in 1..=5 {
        sim.power(number, Power::Running).await.unwrap();
    }
    let newest = ids.iter().max().unwrap();
    soon("they have learned it", async || {
        let nodes = sim.nodes().await.ok()?;
        nodes.iter().all(|node| node.server_id > *newest).then_some(())
    })
    .await;
    registered(&cluster, &sim).await;
    assert_eq!(sim.early_deaths().await.unwrap(), [""; 0]);
}
