//! Broadcasts of a leader over streaming nodes that speak the real wire, with logs in memory.

mod life;
mod node;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::*;
use crate::call::{Call, OpenRequest, Requests};
use crate::config;
use crate::leader::LeaderTask;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::leader::tso::Oracle;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::pb::messages::{BroadcastHeader, Message, MessageType, ResourceKey as WireKey};
use crate::pb::store::{self, WorkerRole};
use crate::pb::streaming::streaming_coord_broadcast_service_server::StreamingCoordBroadcastService;
use crate::pb::streaming::{BroadcastAckRequest, BroadcastRequest, BroadcastResponse};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::broadcast::message;
use crate::state::worker::RegisterWorker;
use crate::state::{
    AssignOrder, BroadcastCommand, Command, PChannelCommand, PChannelReply, Reply, View, WorkerCommand, WorkerReply,
};
use crate::streamingcoord::nodes::Nodes;
use crate::testing::{SoloReplica, call};
use node::{Logs, StreamingNode};

/// A leader of term 1, and what it knows of streaming nodes.
struct World {
    replica: Arc<SoloReplica>,
    proposer: Arc<Proposer>,
    clock: Arc<GuardedClock>,
    service: BroadcastService,
    settings: config::Broadcast,
    logs: Arc<Logs>,
    leading: JoinHandle<()>,
    requests: Arc<Requests>,
    /// None of them may be forgotten: some are sent again.
    open: Mutex<Vec<OpenRequest>>,
}

impl World {
    async fn new(settings: config::Broadcast) -> Self {
        let replica = SoloReplica::new();
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        let proposer = Proposer::new(replica.clone(), clock.clone());
        let oracle = Oracle::new(replica.clone(), clock.clone(), 3000);
        let ledger = Ledger::new(replica.clone(), proposer.clone(), oracle, Limits::default());
        let board = Arc::<Board>::default();
        let service = BroadcastService { ledger, replica: replica.clone(), board, cluster: "by-dev".into() };
        let leading = tokio::spawn(async {});
        let (logs, requests) = (Arc::<Logs>::default(), Requests::new(1, 1));
        let mut world =
            World { replica, proposer, clock, service, settings, logs, leading, requests, open: Mutex::default() };
        world.lead(1);
        world.propose(Command::Worker(WorkerCommand::Found { root: "by-dev".into() })).await;
        world
    }

    /// Begins a reign; the one before is over.
    fn lead(&mut self, term: u64) {
        self.leading.abort();
        self.clock.settled_for(term);
        self.replica.lead(term);
        let metrics = BroadcastMetrics::new(&Metrics::new(), self.replica.clone());
        let broadcaster = Arc::new(Broadcaster {
            replica: self.replica.clone(),
            proposer: self.proposer.clone(),
            board: self.service.board.clone(),
            metrics,
            settings: Arc::new(self.settings),
            nodes: Arc::new(Nodes::new("by-dev".into())),
        });
        let tasks: Vec<Arc<dyn LeaderTask>> = vec![broadcaster];
        self.leading = tokio::spawn(crate::leader::run(self.replica.clone(), tasks));
    }

    async fn propose(&self, command: Command) -> Reply {
        let term = self.replica.leadership().borrow().term;
        self.proposer.propose_internal(term, command).await.unwrap()
    }

    /// A streaming node that is registered.
    async fn node(&self) -> StreamingNode {
        let mut node = StreamingNode::start(self.logs.clone()).await;
        let register = RegisterWorker {
            request: node.address.clone().into_bytes(),
            role: WorkerRole::StreamingNode.into(),
            address: node.address.clone(),
            version: "2.6.0".into(),
            hostname: "h".into(),
            labels: BTreeMap::new(),
            capacity: None,
            ttl_s: 60,
        };
        match self.propose(Command::Worker(WorkerCommand::Register(register))).await {
            Reply::Worker(WorkerReply::Registered { server_id, .. }) => node.server_id = server_id,
            reply => panic!("{reply:?}"),
        }
        node
    }

    /// Has the node own these pchannels, as the balancer does; returns their term.
    async fn assign(&self, node: &StreamingNode, numbers: &[u16]) -> i64 {
        let names: Vec<String> = numbers.iter().map(|number| pchannel(*number)).collect();
        self.propose(Command::PChannel(PChannelCommand::Add { names: names.clone() })).await;
        let term = |name: &str| {
            let view = self.replica.view().unwrap();
            View::new(view.as_ref()).pchannel(name).unwrap().unwrap().term
        };
        let order = |name: &String| AssignOrder { name: name.clone(), term: term(name), node: node.server_id };
        let orders = names.iter().map(order).collect();
        let reply = self.propose(Command::PChannel(PChannelCommand::Assign { orders })).await;
        let Reply::PChannel(PChannelReply::Ordered { terms }) = reply else { panic!("{reply:?}") };
        let taken: Vec<(String, i64)> =
            names.into_iter().zip(terms).map(|(name, term)| (name, term.unwrap())).collect();
        for (name, term) in &taken {
            self.logs.fence(name, *term);
        }
        let term = taken[0].1;
        self.propose(Command::PChannel(PChannelCommand::AssignDone { taken })).await;
        term
    }

    fn call(&self) -> Call {
        let open = self.requests.begin();
        let request = open.id;
        self.open.lock().push(open);
        Call { request, ..call() }
    }

    async fn broadcast(&self, message: Message) -> Result<BroadcastResponse, tonic::Status> {
        self.broadcast_as(self.call(), message).await
    }

    async fn broadcast_as(&self, call: Call, message: Message) -> Result<BroadcastResponse, tonic::Status> {
        let mut request = tonic::Request::new(BroadcastRequest { message: Some(message) });
        request.extensions_mut().insert(call);
        self.service.broadcast(request).await.map(tonic::Response::into_inner)
    }

    fn asked(&self, message: Message) -> JoinHandle<Result<BroadcastResponse, tonic::Status>> {
        let (service, call) = (self.service.clone(), self.call());
        tokio::spawn(async move {
            let mut request = tonic::Request::new(BroadcastRequest { message: Some(message) });
            request.extensions_mut().insert(call);
            service.broadcast(request).await.map(tonic::Response::into_inner)
        })
    }

    async fn acknowledge(&self, request: BroadcastAckRequest) -> Result<(), tonic::Status> {
        let mut request = tonic::Request::new(request);
        request.extensions_mut().insert(self.call());
        self.service.ack(request).await.map(|_| ())
    }

    fn task(&self, id: i64) -> Option<store::BroadcastTask> {
        let view = self.replica.view().unwrap();
        View::new(view.as_ref()).broadcasts().task(id).unwrap()
    }

    fn tasks(&self) -> Vec<store::BroadcastTask> {
        let view = self.replica.view().unwrap();
        View::new(view.as_ref()).broadcasts().tasks(None, usize::MAX).unwrap()
    }

    fn totals(&self) -> store::BroadcastTotals {
        let view = self.replica.view().unwrap();
        View::new(view.as_ref()).broadcasts().totals().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.leading.abort();
    }
}

fn pchannel(number: u16) -> String {
    format!("by-dev-rootcoord-dml_{number}")
}

fn vchannel(number: u16) -> String {
    format!("{}_450v{number}", pchannel(number))
}

/// To the vchannels of these pchannels, with a collection for itself.
fn message(numbers: &[u16], collection: &str) -> Message {
    let key = WireKey { domain: 2, key: format!("default:{collection}"), shared: false };
    let header = BroadcastHeader {
        broadcast_id: 0,
        vchannels: numbers.iter().map(|number| vchannel(*number)).collect(),
        resource_keys: vec![key],
        ack_sync_up: false,
    };
    carrying(header)
}

fn carrying(header: BroadcastHeader) -> Message {
    let own = message::properties(MessageType::CreateCollection, &header);
    let header = (message::BROADCAST_HEADER.to_owned(), message::encoded(&header));
    Message { payload: vec![1, 2, 3], properties: own.into_iter().chain([header]).collect() }
}

/// Waits until it holds.
async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "{what}");
}
