//! Worker nodes: by example, against what their keys say, and their stored bytes.

mod damage;
mod examples;
mod golden;
mod model_test;

use super::support::*;
use crate::pb::etcd::api;
use crate::pb::store::{self, WorkerRole};
use crate::state::keyspace::KeyspaceCommand;
use crate::state::worker::Capacity;
use crate::state::*;

pub const ROOT: &str = "by-dev";

pub fn found(root: &str) -> Command {
    Command::Worker(WorkerCommand::Found { root: root.into() })
}

pub fn registration(request: &str, role: WorkerRole) -> RegisterWorker {
    RegisterWorker {
        request: request.into(),
        role: role.into(),
        address: "10.0.0.1:21123".into(),
        version: "2.6.18".into(),
        hostname: "h".into(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        capacity: Some(Capacity { cpu_millis: 4000, memory_bytes: 8 << 30, ..Capacity::default() }),
        ttl_s: 10,
    }
}

/// The value of a session key as Milvus 2.6 writes it.
pub fn milvus_session(id: i64, role: &str, address: &str, more: &str) -> String {
    format!(
        "{{\"ServerID\":{id},\"ServerName\":\"{role}\",\"Address\":\"{address}\",\"TriggerKill\":true,\
         \"Version\":\"2.6.18\",\"IndexEngineVersion\":{{}},\"LeaseID\":7,\"HostName\":\"h\"{more}}}"
    )
}

pub fn session_key(role: &str, id: i64) -> String {
    format!("{ROOT}/meta/session/{role}-{id}")
}

impl World {
    /// A world whose leader has said where sessions are.
    pub fn with_workers() -> Self {
        let mut world = World::default();
        assert_eq!(world.run(found(ROOT)), Reply::Worker(WorkerReply::Founded { changed: true }));
        world
    }

    pub fn register(&mut self, command: RegisterWorker) -> (i64, i64, bool) {
        match self.run(Command::Worker(WorkerCommand::Register(command))) {
            Reply::Worker(WorkerReply::Registered { server_id, lease, existed, .. }) => (server_id, lease, existed),
            reply => panic!("{reply:?}"),
        }
    }

    pub fn alter_worker(&mut self, command: WorkerCommand) -> bool {
        match self.run(Command::Worker(command)) {
            Reply::Worker(WorkerReply::Altered { changed, .. }) => changed,
            reply => panic!("{reply:?}"),
        }
    }

    pub fn put_with_lease(&mut self, key: &str, value: &str, lease: i64) {
        let request = api::PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
        self.put_request(request).unwrap();
    }

    pub fn grant(&mut self, id: i64) {
        self.keyspace(KeyspaceCommand::GrantLease { id, ttl_s: 10 }).0.unwrap();
    }

    pub fn worker(&self, id: i64) -> Option<store::Worker> {
        self.view().worker(id).unwrap()
    }
}
