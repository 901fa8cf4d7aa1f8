//! Streaming nodes of three real nodes, which `roost-sim` stands for: channels follow nodes that come, die, hang and
//! refuse, leaders are killed in between, and the simulated logs say whether a term had two owners.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roost::pb::sim::{Knobs, Power};
use roost::pb::streaming::assignment_discover_response::Response;
use roost::pb::streaming::streaming_coord_assignment_service_client::StreamingCoordAssignmentServiceClient;
use roost::pb::streaming::{AssignmentDiscoverRequest, AssignmentDiscoverResponse, StreamingCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use crate::streaming_nodes::start;
use crate::support::client::channel;
use crate::support::sim::Sim;
use crate::support::{Cluster, eventually};

/// A lease runs out, a leader is elected, a node is given up: several times over.
const PATIENCE: Duration = Duration::from_secs(90);

/// Channels with node and term.
type Owners = BTreeMap<String, (i64, i64)>;

/// What the registered nodes that run serve.
async fn serving(sim: &Sim) -> (BTreeSet<i64>, Owners) {
    let nodes = sim.nodes().await.unwrap().into_iter();
    let running = nodes.filter(|node| node.power() == Power::Running && node.server_id != 0);
    let (mut ids, mut owners) = (BTreeSet::new(), Owners::new());
    for node in running {
        ids.insert(node.server_id);
        owners.extend(node.channels.into_iter().map(|info| (info.name, (node.server_id, info.term))));
    }
    (ids, owners)
}

async fn violations(sim: &Sim) -> Vec<String> {
    sim.wals().await.unwrap().violations
}

/// What the facts say of channels that are assigned; `None` if one is not.
async fn facts(cluster: &Cluster) -> Option<Owners> {
    let ran = cluster.ctl(&["-o", "json", "channel", "list"]).await;
    let found: serde_json::Value = serde_json::from_str(&ran.stdout).ok()?;
    let channels = found["channels"].as_array()?;
    let all = channels.iter().all(|one| one["state"] == "assigned");
    let owner = |one: &serde_json::Value| {
        Some((one["name"].as_str()?.to_owned(), (one["node"].as_i64()?, one["term"].as_i64()?)))
    };
    (all && channels.len() == 16).then(|| channels.iter().filter_map(owner).collect())
}

/// Waits until all channels are assigned to exactly these many nodes, which hold what the facts say.
async fn converged(cluster: &Cluster, sim: &Sim, nodes: usize, suits: impl Fn(&Owners) -> bool) -> Owners {
    eventually("assignments converge", PATIENCE, async || {
        let told = facts(cluster).await?;
        let (ids, held) = serving(sim).await;
        let owners: BTreeSet<i64> = told.values().map(|(node, _)| *node).collect();
        (owners.len() == nodes && owners.is_subset(&ids) && told == held && suits(&told)).then_some(told)
    })
    .await
}

/// A client of AssignmentDiscover, which checks versions as they come.
struct Listener {
    told: Streaming<AssignmentDiscoverResponse>,
    _requests: mpsc::UnboundedSender<AssignmentDiscoverRequest>,
}

async fn listen(cluster: &Cluster, id: u64) -> Listener {
    let (requests, stream) = mpsc::unbounded_channel();
    let mut client = StreamingCoordAssignmentServiceClient::new(channel(&cluster.at(id).internal));
    let told = client.assignment_discover(UnboundedReceiverStream::new(stream)).await.unwrap().into_inner();
    Listener { told, _requests: requests }
}

impl Listener {
    /// The version of the first picture above `after` that says so.
    async fn until(&mut self, after: i64, owners: &Owners) -> i64 {
        let mut last = after;
        let reading = async {
            loop {
                let message = self.told.message().await.unwrap().expect("the stream goes on");
                let Some(Response::FullAssignment(full)) = message.response else { panic!("{message:?}") };
                let version = full.version_by_revision.unwrap();
                assert!((version.global, version.local > last) == (1, true), "{version:?} after {last}");
                last = version.local;
                let mut told = Owners::new();
                for node in full.assignments {
                    let id = node.node.unwrap().server_id;
                    told.extend(node.channels.into_iter().map(|info| (info.name, (id, info.term))));
                }
                if told == *owners {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the picture comes");
        last
    }
}

fn grew(before: &Owners, after: &Owners) -> bool {
    before.iter().all(|(name, (node, term))| match after.get(name) {
        Some((other, later)) => later > term || (other, later) == (node, term),
        None => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_outlive_nodes_and_leaders() {
    let (mut cluster, sim) = start(3, "session").await;
    let first = converged(&cluster, &sim, 3, |_| true).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers().await;
    let mut listener = listen(&cluster, followers[0]).await;
    let version = listener.until(0, &first).await;
    cluster.node(leader).kill();
    sim.power(1, Power::Crashed).await.unwrap();
    let second = converged(&cluster, &sim, 2, |_| true).await;
    assert!(grew(&first, &second), "{first:?} {second:?}");
    let version = listener.until(version, &second).await;
    // Running again it is another node.
    sim.power(1, Power::Running).await.unwrap();
    cluster.node(leader).start();
    let third = converged(&cluster, &sim, 3, |_| true).await;
    assert!(grew(&second, &third));
    listener.until(version, &third).await;
    assert_eq!(violations(&sim).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_refuses_or_hangs_gets_nothing_and_another_does() {
    let (cluster, sim) = start(3, "session").await;
    let first = converged(&cluster, &sim, 3, |_| true).await;
    // One refuses what is given to it; another is paused until its lease is over.
    sim.turn(2, Knobs { reject: StreamingCode::Inner.into(), ..Knobs::default() }).await.unwrap();
    sim.power(3, Power::Paused).await.unwrap();
    let second = converged(&cluster, &sim, 2, |_| true).await;
    assert!(grew(&first, &second));
    // What it has it keeps, and it takes what comes later.
    sim.turn(2, Knobs::default()).await.unwrap();
    sim.power(3, Power::Running).await.unwrap();
    let third = converged(&cluster, &sim, 3, |_| true).await;
    assert!(grew(&second, &third));
    let (name, (owner, _)) = third.iter().next().map(|(name, owner)| (name.clone(), *owner)).unwrap();
    let target = third.values().map(|(node, _)| *node).find(|node| *node != owner).unwrap();
    cluster.ctl(&["--timeout", "60s", "channel", "move", &name, "--node", &target.to_string()]).await.ok();
    let moved = converged(&cluster, &sim, 3, |owners| owners[&name].0 == target).await;
    assert!(grew(&third, &moved));
    let history = cluster.ctl(&["-o", "json", "channel", "history", &name]).await.json();
    let last = history["terms"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["node"].as_i64(), last["term"].as_i64()), (Some(target), Some(moved[&name].1)));
    let plan = cluster.ctl(&["-o", "json", "channel", "plan", "--explain"]).await.json();
    assert_eq!((plan["policy"].as_str(), plan["nodes"].as_array().unwrap().len()), (Some("vchannelFair"), 3));
    assert!(cluster.ctl(&["channel", "describe", &name]).await.ok().stdout.contains(&format!("{target}")));
    cluster.ctl(&["channel", "describe", "nonsense"]).await.refused(1, "there is no pchannel nonsense");
    assert_eq!(violations(&sim).await, Vec::<String>::new());
}
