//! Broadcasts: by example, by bytes, and against a model.

mod examples;
mod golden;
mod model_test;
mod outbox;
mod replica_test;
mod replicate;

use crate::state::broadcast::{Acked, ResourceKey, Submit};
use crate::state::tests::support::*;
use crate::state::*;

/// A vchannel of this cluster by a letter; other names stay.
fn vchannel(name: &str) -> String {
    match name.as_bytes() {
        [letter @ b'a'..=b'z'] => format!("by-dev-rootcoord-dml_{}_7v0", letter % 16),
        _ => name.to_owned(),
    }
}

fn submit(vchannels: &[&str], keys: &[ResourceKey]) -> Submit {
    Submit {
        message_type: 5,
        payload: vec![1, 2, 3],
        properties: vec![("_t".into(), "5".into())],
        vchannels: vchannels.iter().map(|name| vchannel(name)).collect(),
        keys: keys.to_vec(),
        ack_sync_up: false,
    }
}

fn command(command: BroadcastCommand) -> Command {
    Command::Broadcast(command)
}

fn collection(name: &str) -> Vec<ResourceKey> {
    vec![ResourceKey::database("default", true), ResourceKey::collection("default", name)]
}

fn acked(id: i64, vchannels: &[&str], finish: bool) -> BroadcastCommand {
    let checkpoints = vchannels.iter().map(|name| (vchannel(name), vec![7])).collect();
    BroadcastCommand::Acked(Acked { id, checkpoints, finish })
}

impl World {
    fn submitted(&mut self, submit: Submit) -> i64 {
        match self.run(command(BroadcastCommand::Submit(submit))) {
            Reply::Broadcast(BroadcastReply::Submitted { id }) => id,
            reply => panic!("{reply:?}"),
        }
    }

    fn broadcast(&mut self, asked: BroadcastCommand) -> BroadcastReply {
        match self.run(command(asked)) {
            Reply::Broadcast(reply) => reply,
            reply => panic!("{reply:?}"),
        }
    }

    fn begun(&mut self, ids: &[i64]) -> Vec<i64> {
        match self.broadcast(BroadcastCommand::Begin { ids: ids.to_vec() }) {
            BroadcastReply::Begun { ids } => ids,
            reply => panic!("{reply:?}"),
        }
    }
}
