//! Where channels should be: how long a plan takes and how good it is, and what it costs to place a collection. Nothing
//! runs but the functions themselves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use prost::Message;
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use roost::state::limits::MAX_PCHANNELS_ADDED;
use roost::state::{
    Command, CreateCollection, DEFAULT_PARTITION, Entry, Limits, PChannelCommand, Reply, Roost, pchannel_name,
};
use roost::streamingcoord::policy::{ChannelView, ClusterView, NodeView, Policy, Settings, VChannelFair};
use roost_raft::kv::{MemTables, Txn};
use roost_raft::machine::{ApplyContext, Machine};

use super::metric;
use crate::report::{Metric, Sample};

const CHANNELS: usize = 10_000;
const NODES: i64 = 100;
/// Small clusters, of which all layouts are tried: 3^7 of the largest.
const SMALL_NODES: i64 = 3;
const SMALL_CHANNELS: usize = 7;
const SMALL_CLUSTERS: u64 = 24;
/// Collections that are placed.
const PLACED: u32 = 200;
/// The last apply version that read the counts of all pchannels for each collection.
const COUNTED: u32 = 6;

const FIRST_PLAN: Metric = metric("a first plan, 10,000 pchannels on 100 nodes", 0, "ms", 100.0);
const NEXT_PLAN: Metric = metric("a plan after one of the nodes died", 0, "ms", 100.0);
const QUALITY: Metric = metric("worst cost of a small plan, over the best of all layouts", 0, "x", 1.05);
const PLACEMENT: Metric = metric("a collection placed on 10,000 pchannels, in apply", 0, "us", 500.0);

pub fn run() -> Result<Vec<Sample>> {
    let mut samples = plans();
    samples.push(quality());
    samples.push(placement()?);
    Ok(samples)
}

fn node(id: i64) -> NodeView {
    NodeView { id, labels: BTreeMap::new(), weight: 1.0, load: None, frozen: false, draining: false }
}

fn channel(number: usize, mut collections: Vec<i64>) -> ChannelView {
    collections.sort_unstable();
    let (owner, former, pinned) = (None, Vec::new(), None);
    ChannelView { name: format!("dml_{number:05}"), collections, owner, former, movable: true, pinned }
}

/// Of an empty cluster, and of one that lost a node; channels have up to 19 vchannels, each collection four of them.
fn plans() -> Vec<Sample> {
    let of = |number: usize| (0..number % 20).map(|shard| (number / 4 * 20 + shard) as i64).collect();
    let channels = (0..CHANNELS).map(|number| channel(number, of(number))).collect();
    let mut view = ClusterView { nodes: (0..NODES).map(node).collect(), channels, now_ms: 0 };
    let settings = Settings::default();
    let began = Instant::now();
    let plan = VChannelFair.plan(&view, &settings);
    let first = began.elapsed();
    for (channel, planned) in view.channels.iter_mut().zip(plan.moves) {
        channel.owner = Some(planned.to);
    }
    view.nodes.remove(0);
    let began = Instant::now();
    let plan = VChannelFair.plan(&view, &settings);
    let next = began.elapsed();
    let note = format!("{} moves, cost {:.4}", plan.moves.len(), plan.cost_after);
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    vec![Sample::new(FIRST_PLAN, ms(first)), Sample::new(NEXT_PLAN, ms(next)).with_note(&note)]
}

/// Of clusters of which every layout can be tried: the worst relation of the cost that is found to the best.
fn quality() -> Sample {
    let mut worst: f64 = 1.0;
    for seed in 0..SMALL_CLUSTERS {
        let shards = |number: u64| 0..(seed * 31 + number * 17) % 5;
        let of = |number: u64| shards(number).map(|shard| ((seed + number * shard) % 6) as i64).collect();
        let channels = (0..SMALL_CHANNELS).map(|number| channel(number, of(number as u64)));
        let weight = |id: i64| if (seed + id as u64).is_multiple_of(3) { 2.0 } else { 1.0 };
        let nodes = (0..SMALL_NODES).map(|id| NodeView { weight: weight(id), ..node(id) }).collect();
        let mut view = ClusterView { nodes, channels: channels.collect(), now_ms: 0 };
        let found = VChannelFair.plan(&view, &Settings::default()).cost_after;
        let best = best(&mut view, 0);
        if best > 0.0 {
            worst = worst.max(found / best);
        }
    }
    Sample::new(QUALITY, worst).with_note(&format!("{SMALL_CLUSTERS} clusters"))
}

/// The least cost of all layouts of the channels from `first` on.
fn best(view: &mut ClusterView, first: usize) -> f64 {
    if first == view.channels.len() {
        let stay = Settings { allow_rebalance: false, ..Settings::default() };
        return VChannelFair.plan(view, &stay).cost_before;
    }
    let mut least = f64::INFINITY;
    for node in 0..SMALL_NODES {
        view.channels[first].owner = Some(node);
        least = least.min(best(view, first + 1));
    }
    least
}

/// Microseconds for each collection of two shards; the note says what it was when all counts were read.
fn placement() -> Result<Sample> {
    let (now, before) = (placed(Roost::APPLY_VERSION)?, placed(COUNTED)?);
    Ok(Sample::new(PLACEMENT, now).with_note(&format!("{before:.0} us before pchannels were kept in order")))
}

fn placed(apply_version: u32) -> Result<f64> {
    let mut cluster = Cluster { tables: MemTables::default(), index: 0, apply_version };
    let names: Vec<String> = (0..CHANNELS as u16).map(pchannel_name).collect();
    for chunk in names.chunks(MAX_PCHANNELS_ADDED) {
        cluster.apply(Command::PChannel(PChannelCommand::Add { names: chunk.to_vec() }))?;
    }
    cluster.apply(Command::CreateCollection(collection("first")))?;
    let began = Instant::now();
    for number in 0..PLACED {
        cluster.apply(Command::CreateCollection(collection(&format!("c{number}"))))?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(PLACED))
}

struct Cluster {
    tables: MemTables,
    index: u64,
    apply_version: u32,
}

impl Cluster {
    fn apply(&mut self, command: Command) -> Result<()> {
        let at_ms = 1_732_245_423_000;
        let entry = Entry { at_ms, request: None, principal: String::new(), source: String::new(), command };
        self.index += 1;
        let context = ApplyContext { index: self.index, term: 1, leader: 1, apply_version: self.apply_version };
        let mut txn = Txn::new(&self.tables);
        let reply = Roost.apply(&context, &entry.encode()?, &mut txn, &mut Vec::new())?;
        let rows = txn.into_rows();
        self.tables.commit(rows);
        let reply = Reply::decode(&reply)?;
        ensure!(!matches!(reply, Reply::Rejected(_)), "{reply:?}");
        Ok(())
    }
}

fn collection(name: &str) -> CreateCollection {
    let field = |field_id: i64, name: &str, data_type: DataType| FieldSchema {
        field_id,
        name: name.to_owned(),
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let id = FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    let fields = vec![id, field(101, "vector", DataType::FloatVector)];
    let schema = CollectionSchema { name: name.to_owned(), fields, ..CollectionSchema::default() };
    CreateCollection {
        database: String::new(),
        name: name.to_owned(),
        schema: schema.encode_to_vec(),
        shards: 2,
        consistency: 2,
        properties: Vec::new(),
        partitions: vec![DEFAULT_PARTITION.to_owned()],
        ts: 1 << 40,
        limits: Limits::default(),
    }
}
