//! PChannels: by example, by random steps against a model, and the stored bytes.

mod examples;
mod golden;
mod model_test;

use super::support::*;
use crate::pb::store::{self, PChannelState, WorkerRole};
use crate::state::worker::{RegisterWorker, WorkerCommand, WorkerReply};
use crate::state::*;

fn run(world: &mut World, command: PChannelCommand) -> PChannelReply {
    match world.run(Command::PChannel(command)) {
        Reply::PChannel(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// A world where sessions have a place, with so many pchannels.
fn world(channels: u16) -> World {
    let mut world = World::default();
    world.run(Command::Worker(WorkerCommand::Found { root: "by-dev".into() }));
    if channels > 0 {
        add(&mut world, channels);
    }
    world
}

fn add(world: &mut World, channels: u16) -> PChannelReply {
    run(world, PChannelCommand::Add { names: (0..channels).map(pchannel_name).collect() })
}

/// A new node of this role, and its id.
fn join(world: &mut World, role: WorkerRole) -> i64 {
    let number = world.index;
    let command = RegisterWorker {
        request: number.to_be_bytes().to_vec(),
        role: role.into(),
        address: format!("node-{number}:1"),
        version: "2.6.18".into(),
        hostname: String::new(),
        labels: Default::default(),
        capacity: None,
        ttl_s: 10,
    };
    match world.run(Command::Worker(WorkerCommand::Register(command))) {
        Reply::Worker(WorkerReply::Registered { server_id, .. }) => server_id,
        other => panic!("{other:?}"),
    }
}

fn leave(world: &mut World, id: i64) {
    world.run(Command::Worker(WorkerCommand::Leave { id }));
}

fn order(number: u16, term: i64, node: i64) -> AssignOrder {
    AssignOrder { name: pchannel_name(number), term, node }
}

/// The term of one order, if it was not void.
fn assign(world: &mut World, number: u16, term: i64, node: i64) -> Option<i64> {
    match run(world, PChannelCommand::Assign { orders: vec![order(number, term, node)] }) {
        PChannelReply::Ordered { terms } => terms[0],
        other => panic!("{other:?}"),
    }
}

fn done(world: &mut World, number: u16, term: i64) -> bool {
    run(world, PChannelCommand::AssignDone { taken: vec![(pchannel_name(number), term)] })
        == PChannelReply::Marked { count: 1 }
}

fn lost(world: &mut World, number: u16, term: i64) -> bool {
    run(world, PChannelCommand::MarkUnavailable { lost: vec![(pchannel_name(number), term)] })
        == PChannelReply::Marked { count: 1 }
}

fn row(world: &World, number: u16) -> store::PChannel {
    world.view().pchannel(&pchannel_name(number)).unwrap().unwrap()
}

/// Term, node (0 for none) and state.
fn is(world: &World, number: u16) -> (i64, i64, PChannelState) {
    let row = row(world, number);
    (row.term, row.node.as_ref().map_or(0, |node| node.server_id), row.state())
}

/// Node and term of those that may hold it still.
fn holders(world: &World, number: u16) -> Vec<(i64, i64)> {
    let node = |past: store::PChannelTerm| (past.node.unwrap().server_id, past.term);
    row(world, number).histories.into_iter().map(node).collect()
}
