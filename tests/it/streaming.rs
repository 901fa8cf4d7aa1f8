//! Streaming nodes, simulated by `roost-sim` and registered as real ones: whichever of them breaks, and whoever leads,
//! each physical channel is soon served by exactly one live node, as all nodes of Roost say.

use std::collections::BTreeMap;
use std::path::Path;

use roost::pb::sim::{Knobs, Node, Power};
use roost::pb::streaming::StreamingCode;
use roost::sim::invariant;
use roost::state::PCHANNELS;

use crate::support::sim::Sim;
use crate::support::streaming::{Assignment, Discovery, NotAppended, Owner, Producer};
use crate::support::{Cluster, soon};

/// Balances at once and again: nothing here waits for minutes.
fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("ROOST_ETCD_ENABLED", "true".into()),
        ("ROOST_STREAMING_BALANCER_CHECK_INTERVAL_MS", "300".into()),
        ("ROOST_STREAMING_BALANCER_MIN_INTERVAL_MS", "0".into()),
        ("ROOST_STREAMING_BALANCER_OPERATION_TIMEOUT_MS", "1500".into()),
    ]
}

/// Three nodes of Roost, and so many streaming nodes that register in this way.
async fn start(count: u32, register: &str) -> (Cluster, Sim) {
    let cluster = Cluster::start_with(3, settings()).await;
    let mut arguments = vec![format!("--nodes={count}"), "--ttl=2".into(), format!("--register={register}")];
    arguments.extend(cluster.endpoints().iter().map(|endpoint| format!("--endpoint={endpoint}")));
    arguments.extend(cluster.ids().iter().map(|id| format!("--etcd-endpoint={}", cluster.at(*id).client)));
    let program = Path::new(env!("CARGO_BIN_EXE_roost-sim"));
    let sim = Sim::start(program, cluster.home(), &cluster.at(9).client, &arguments).unwrap();
    (cluster, sim)
}

/// What nodes that run have, by name. `None`: two have the same, as long as one of them has yet to hear that it was
/// declared dead.
fn held(nodes: &[Node]) -> Option<BTreeMap<String, Owner>> {
    let mut held = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.power() == Power::Running) {
        for info in &node.channels {
            let owner = Owner { term: info.term, server_id: node.server_id, address: node.address.clone() };
            if held.insert(info.name.clone(), owner).is_some() {
                return None;
            }
        }
    }
    Some(held)
}

/// Waits until all nodes of Roost say the same of every channel, which is what the running nodes have, each about as
/// much.
async fn settled(cluster: &mut Cluster, sim: &Sim) -> Assignment {
    settled_where(cluster, sim, |_| true).await
}

/// The same, and it is as wanted.
async fn settled_where(cluster: &mut Cluster, sim: &Sim, suits: impl Fn(&Assignment) -> bool) -> Assignment {
    let ids = cluster.answering();
    soon("assignments are what nodes have", async || {
        let mut told = Vec::new();
        for id in &ids {
            told.push(Discovery::once(&cluster.at(*id).internal).await.ok()?);
        }
        let nodes = sim.nodes().await.ok()?;
        let running: Vec<&Node> = nodes.iter().filter(|node| node.power() == Power::Running).collect();
        let counts: Vec<usize> = running.iter().map(|node| node.channels.len()).collect();
        let (least, most) = (counts.iter().min()?, counts.iter().max()?);
        let first = told.first()?.clone();
        let agree = told.iter().all(|other| *other == first);
        let all = first.owners.len() == usize::from(PCHANNELS);
        let even = most - least <= 1 && held(&nodes).as_ref() == Some(&first.owners);
        (agree && all && even && suits(&first)).then_some(first)
    })
    .await
}

/// One message to every channel.
async fn append_everywhere(assignment: &Assignment) {
    for (name, owner) in &assignment.owners {
        let mut producer = Producer::open(name, owner).await.unwrap();
        producer.append(b"row").await.unwrap();
    }
}

/// A channel has the owner that it had, or another under a greater term.
fn assert_grew(before: &Assignment, after: &Assignment) {
    for (name, owner) in &after.owners {
        let old = &before.owners[name];
        assert!(owner.term > old.term || owner == old, "{name}: {owner:?} after {old:?}");
    }
}

async fn assert_invariants(sim: &Sim) {
    let wals = sim.wals().await.unwrap();
    assert_eq!(wals.violations, [""; 0]);
    assert_eq!(invariant::violations(&wals.wals), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_nodes_channels_are_served_elsewhere_and_come_back() {
    let (mut cluster, sim) = start(3, "session").await;
    let before = settled(&mut cluster, &sim).await;
    append_everywhere(&before).await;
    let crashed = sim.nodes().await.unwrap()[0].server_id;
    sim.power(1, Power::Crashed).await.unwrap();
    let without = settled(&mut cluster, &sim).await;
    assert!(without.version > before.version, "{:?} after {:?}", without.version, before.version);
    assert!(without.owners.values().all(|owner| owner.server_id != crashed));
    assert_grew(&before, &without);
    append_everywhere(&without).await;
    sim.power(1, Power::Running).await.unwrap();
    let again = settled(&mut cluster, &sim).await;
    append_everywhere(&again).await;
    let back = sim.nodes().await.unwrap()[0].clone();
    assert!(back.server_id > crashed && !back.channels.is_empty(), "it is a new node: {back:?}");
    assert_invariants(&sim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_register_in_milvus_own_way_are_the_same_and_may_leave() {
    let (mut cluster, sim) = start(2, "etcd").await;
    let before = settled(&mut cluster, &sim).await;
    append_everywhere(&before).await;
    sim.power(2, Power::Stopped).await.unwrap();
    let after = settled(&mut cluster, &sim).await;
    append_everywhere(&after).await;
    assert_eq!(after.owners.len(), before.owners.len());
    assert_invariants(&sim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_owner_appends_nothing_when_it_is_back() {
    let (mut cluster, sim) = start(2, "session").await;
    let before = settled(&mut cluster, &sim).await;
    let paused = sim.nodes().await.unwrap()[0].clone();
    let name = &paused.channels[0].name;
    let mut late = Producer::open(name, &before.owners[name]).await.unwrap();
    late.append(b"in time").await.unwrap();
    sim.power(1, Power::Paused).await.unwrap();
    let without = settled(&mut cluster, &sim).await;
    append_everywhere(&without).await;
    let lost = late.append(b"late").await.unwrap_err();
    assert!(matches!(lost, NotAppended::Lost(_)), "nobody answers: {lost:?}");
    sim.power(1, Power::Running).await.unwrap();
    let refused = late.append(b"later").await.unwrap_err();
    assert!(matches!(refused, NotAppended::Refused(StreamingCode::ChannelFenced)), "{refused:?}");
    let again = settled(&mut cluster, &sim).await;
    append_everywhere(&again).await;
    let back = sim.nodes().await.unwrap()[0].server_id;
    assert!(back > paused.server_id, "it learnt that it was declared dead: {back}");
    assert_invariants(&sim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_and_nodes_that_break_together_leave_nothing_unserved() {
    let (mut cluster, sim) = start(4, "session").await;
    settled(&mut cluster, &sim).await;
    for round in 0..2 {
        // One takes nothing, one is cut off from the coordinator, one dies; and so does the leader.
        sim.turn(2, Knobs { reject: StreamingCode::Inner.into(), ..Knobs::default() }).await.unwrap();
        sim.turn(3, Knobs { isolated: true, ..Knobs::default() }).await.unwrap();
        sim.power(1, Power::Crashed).await.unwrap();
        let leader = cluster.leader().await;
        cluster.node(leader).kill();
        let lost: Vec<String> = {
            let nodes = sim.nodes().await.unwrap();
            let fine = nodes.iter().filter(|node| node.number == 2 || node.number == 4);
            let fine: Vec<String> = fine.flat_map(|node| node.channels.iter().map(|info| info.name.clone())).collect();
            let all = sim.wals().await.unwrap().wals.into_iter().map(|wal| wal.pchannel);
            all.filter(|name| !fine.contains(name)).collect()
        };
        soon("what was lost is with the one that takes it", async || {
            let nodes = sim.nodes().await.ok()?;
            let taken = |name: &String| nodes[3].channels.iter().any(|info| info.name == *name);
            lost.iter().all(taken).then_some(())
        })
        .await;
        cluster.node(leader).start();
        cluster.ready().await;
        sim.turn(2, Knobs::default()).await.unwrap();
        sim.turn(3, Knobs::default()).await.unwrap();
        sim.power(1, Power::Running).await.unwrap();
        let healed = settled(&mut cluster, &sim).await;
        append_everywhere(&healed).await;
        assert_invariants(&sim).await;
        println!("round {round}: {} channels lost and found, version {:?}", lost.len(), healed.version);
    }
    cluster.hash().await;
}

/// One stream of a node that stays, over a crash, a change of leader and a return: its versions only rise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_follows_over_nodes_and_leaders_that_die() {
    let (mut cluster, sim) = start(3, "session").await;
    let first = settled(&mut cluster, &sim).await;
    let (leader, follower) = (cluster.leader().await, cluster.followers().await[0]);
    let mut discovery = Discovery::open(&cluster.at(follower).internal).await.unwrap();
    let mut last = (0, 0);
    let mut hears = async |wanted: &Assignment| {
        loop {
            let told = discovery.next().await.unwrap();
            assert!(told.version > last, "{:?} after {last:?}", told.version);
            last = told.version;
            if told.owners == wanted.owners {
                return;
            }
        }
    };
    hears(&first).await;
    cluster.node(leader).kill();
    sim.power(1, Power::Crashed).await.unwrap();
    let second = settled(&mut cluster, &sim).await;
    assert_grew(&first, &second);
    hears(&second).await;
    sim.power(1, Power::Running).await.unwrap();
    cluster.node(leader).start();
    cluster.ready().await;
    let third = settled(&mut cluster, &sim).await;
    assert_grew(&second, &third);
    hears(&third).await;
    assert_invariants(&sim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_order_moves_a_channel_and_its_history_says_so() {
    let (mut cluster, sim) = start(3, "session").await;
    let before = settled(&mut cluster, &sim).await;
    let (name, owner) = before.owners.iter().next().map(|(name, owner)| (name.clone(), owner.clone())).unwrap();
    let target = before.owners.values().map(|other| other.server_id).find(|other| *other != owner.server_id).unwrap();
    let node = target.to_string();
    cluster.ctl(&["--timeout", "60s", "channel", "move", &name, "--node", &node]).await.ok();
    let moved = settled_where(&mut cluster, &sim, |told| told.owners[&name].server_id == target).await;
    assert_grew(&before, &moved);
    let history = cluster.ctl(&["-o", "json", "channel", "history", &name]).await.json();
    let last = history["terms"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["node"].as_i64(), last["term"].as_i64()), (Some(target), Some(moved.owners[&name].term)));
    let plan = cluster.ctl(&["-o", "json", "channel", "plan", "--explain"]).await.json();
    assert_eq!((plan["policy"].as_str(), plan["nodes"].as_array().unwrap().len()), (Some("vchannelFair"), 3));
    assert!(cluster.ctl(&["channel", "describe", &name]).await.ok().stdout.contains(&node));
    cluster.ctl(&["channel", "describe", "nonsense"]).await.refused(1, "there is no pchannel nonsense");
    assert!(cluster.ctl(&["channel", "balance", "--no-wait"]).await.ok().stdout.contains("looked at"));
    assert_invariants(&sim).await;
}

/// It lives and serves its clients, and does not hear the coordinator: when its time is up another one has the channel,
/// and the log refuses what the old one is asked to append.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_does_not_let_go_is_fenced() {
    let (mut cluster, sim) = start(2, "session").await;
    let before = settled(&mut cluster, &sim).await;
    let deaf = sim.nodes().await.unwrap()[0].clone();
    let name = &deaf.channels[0].name;
    let mut late = Producer::open(name, &before.owners[name]).await.unwrap();
    late.append(b"in time").await.unwrap();
    sim.turn(1, Knobs { isolated: true, ..Knobs::default() }).await.unwrap();
    let other = before.owners.values().find(|owner| owner.server_id != deaf.server_id).unwrap();
    cluster.ctl(&["channel", "move", name, "--node", &other.server_id.to_string(), "--no-wait"]).await.ok();
    let taken = soon("the other one has it", async || {
        let told = Discovery::once(&cluster.at(cluster.ids()[0]).internal).await.ok()?;
        told.owners.get(name).filter(|owner| owner.server_id == other.server_id).cloned()
    })
    .await;
    assert!(sim.nodes().await.unwrap()[0].channels.iter().any(|info| info.name == *name), "it never let go");
    Producer::open(name, &taken).await.unwrap().append(b"new").await.unwrap();
    let refused = late.append(b"late").await.unwrap_err();
    assert!(matches!(refused, NotAppended::Refused(StreamingCode::ChannelFenced)), "{refused:?}");
    sim.turn(1, Knobs::default()).await.unwrap();
    let healed = settled(&mut cluster, &sim).await;
    append_everywhere(&healed).await;
    assert_invariants(&sim).await;
}
