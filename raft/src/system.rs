//! The host's own replicated facts: which disk each node runs on, which apply version all can execute, and alarms.
//! They live in `Space::SYSTEM`, travel in snapshots and count in the state hash.

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::apply::StateHash;
use crate::codec;
use crate::kv::{Read, Space, Txn};
use crate::types::NodeId;

/// A condition that stops growth until an operator or the node itself clears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AlarmKind {
    /// A member's disk is nearly full; only urgent proposals pass.
    NoSpace,
    /// A member's state hash differs at an equal applied index.
    Corrupt,
}

impl AlarmKind {
    pub const ALL: [AlarmKind; 2] = [AlarmKind::NoSpace, AlarmKind::Corrupt];
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        })
    }
}

/// One raised alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    pub node: NodeId,
}

/// What is known of a node beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The disk it runs on; another disk under this id is refused.
    pub incarnation: u64,
    /// The highest apply version its binary executes.
    pub apply_version: u32,
    /// Removed for good: the id is never used again.
    pub retired: bool,
}

/// A change to these facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemCommand {
    /// A node says which disk and binary it runs on.
    Announce {
        node: NodeId,
        incarnation: u64,
        apply_version: u32,
    },
    /// Every member announced this version; commands may rely on it from here on.
    RaiseApplyVersion {
        version: u32,
    },
    /// A removed node's id is closed.
    Retire {
        node: NodeId,
    },
    RaiseAlarm(Alarm),
    ClearAlarm(Alarm),
    /// What the leader's state hash was at an earlier index that ended a batch on every node. Changes nothing; a node
    /// that remembers another hash there has diverged and says so.
    CompareHash {
        at: u64,
        hash: StateHash,
    },
}

impl fmt::Display for SystemCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SystemCommand::Announce { node, incarnation, apply_version } => {
                write!(f, "Announce(node {node}, disk {incarnation:016x}, apply version {apply_version})")
            }
            SystemCommand::RaiseApplyVersion { version } => write!(f, "RaiseApplyVersion({version})"),
            SystemCommand::Retire { node } => write!(f, "Retire(node {node})"),
            SystemCommand::RaiseAlarm(alarm) => write!(f, "RaiseAlarm({}, node {})", alarm.kind, alarm.node),
            SystemCommand::ClearAlarm(alarm) => write!(f, "ClearAlarm({}, node {})", alarm.kind, alarm.node),
            SystemCommand::CompareHash { at, hash } => write!(f, "CompareHash(index {at}, {hash})"),
        }
    }
}

/// The answer to a [`SystemCommand`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemReply {
    Done,
    /// The node id belongs to another disk, or is retired.
    Refused(String),
}

/// The apply version of a cluster in which nothing was raised yet.
pub const FIRST_APPLY_VERSION: u32 = 1;
const VERSION: &[u8] = b"apply-version";
const NODE: &[u8] = b"node/";
const ALARM: &[u8] = b"alarm/";

fn node_key(node: NodeId) -> Vec<u8> {
    [NODE, &node.to_be_bytes()].concat()
}

fn alarm_key(alarm: Alarm) -> Vec<u8> {
    [ALARM, &[alarm.kind as u8], &alarm.node.to_be_bytes()].concat()
}

/// The version that entries are executed under.
pub fn apply_version(read: &dyn Read) -> io::Result<u32> {
    match read.get(Space::SYSTEM, VERSION)? {
        Some(bytes) => codec::decode(&bytes),
        None => Ok(FIRST_APPLY_VERSION),
    }
}

/// What is known of `node`.
pub fn node_facts(read: &dyn Read, node: NodeId) -> io::Result<Option<NodeFacts>> {
    read.get(Space::SYSTEM, &node_key(node))?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Forgets every node's disk and alarms: the first step of a new cluster's life.
pub(crate) fn forget_nodes(txn: &mut Txn<'_>) -> io::Result<()> {
    for prefix in [NODE, ALARM] {
        let mut keys = Vec::new();
        txn.scan_prefix(Space::SYSTEM, prefix, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        keys.into_iter().for_each(|key| txn.delete(Space::SYSTEM, key));
    }
    Ok(())
}

/// Every raised alarm.
pub fn alarms(read: &dyn Read) -> io::Result<Vec<Alarm>> {
    let mut found = Vec::new();
    read.scan_prefix(Space::SYSTEM, ALARM, &mut |_, value| {
        found.push(codec::decode(value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// Executes one system command.
pub fn apply(command: &SystemCommand, txn: &mut Txn<'_>) -> io::Result<SystemReply> {
    match command {
        SystemCommand::Announce { node, incarnation, apply_version } => {
            announce(txn, *node, *incarnation, *apply_version)
        }
        SystemCommand::RaiseApplyVersion { version } => {
            let version = (*version).max(apply_version(txn)?);
            txn.put(Space::SYSTEM, VERSION, codec::encode(&version)?);
            Ok(SystemReply::Done)
        }
        SystemCommand::Retire { node } => {
            let known = node_facts(txn, *node)?;
            let facts = known.unwrap_or(NodeFacts { incarnation: 0, apply_version: 0, retired: true });
            txn.put(Space::SYSTEM, node_key(*node), codec::encode(&NodeFacts { retired: true, ..facts })?);
            for kind in AlarmKind::ALL {
                txn.delete(Space::SYSTEM, alarm_key(Alarm { kind, node: *node }));
            }
            Ok(SystemReply::Done)
        }
        SystemCommand::RaiseAlarm(alarm) => {
            txn.put(Space::SYSTEM, alarm_key(*alarm), codec::encode(alarm)?);
            Ok(SystemReply::Done)
        }
        SystemCommand::ClearAlarm(alarm) => {
            txn.delete(Space::SYSTEM, alarm_key(*alarm));
            Ok(SystemReply::Done)
        }
        SystemCommand::CompareHash { .. } => Ok(SystemReply::Done),
    }
}

fn announce(txn: &mut Txn<'_>, node: NodeId, incarnation: u64, apply_version: u32) -> io::Result<SystemReply> {
    match node_facts(txn, node)? {
        Some(known) if known.retired => {
            Ok(SystemReply::Refused(format!("node id {node} was removed and is never reused")))
        }
        Some(known) if known.incarnation != incarnation => Ok(SystemReply::Refused(format!(
            "node {node} is known on disk {:016x}, not {incarnation:016x}; use `roostctl member replace` for a new \
             disk",
            known.incarnation
        ))),
        _ => {
            let facts = NodeFacts { incarnation, apply_version, retired: false };
            txn.put(Space::SYSTEM, node_key(node), codec::encode(&facts)?);
            Ok(SystemReply::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemTables;

    fn run(tables: &mut MemTables, command: SystemCommand) -> SystemReply {
        let snapshot = tables.clone();
        let mut txn = Txn::new(&snapshot);
        let reply = apply(&command, &mut txn).unwrap();
        tables.commit(txn.into_rows());
        reply
    }

    fn announce(node: NodeId, incarnation: u64) -> SystemCommand {
        SystemCommand::Announce { node, incarnation, apply_version: 1 }
    }

    #[test]
    fn a_node_keeps_its_disk_and_a_retired_id_is_never_reused() {
        let mut tables = MemTables::default();
        assert_eq!(run(&mut tables, announce(1, 7)), SystemReply::Done);
        assert_eq!(run(&mut tables, announce(1, 7)), SystemReply::Done);
        assert!(matches!(run(&mut tables, announce(1, 8)), SystemReply::Refused(_)));
        run(&mut tables, SystemCommand::Retire { node: 1 });
        assert!(matches!(run(&mut tables, announce(1, 7)), SystemReply::Refused(_)));
    }

    #[test]
    fn the_apply_version_never_goes_back() {
        let mut tables = MemTables::default();
        assert_eq!(apply_version(&tables).unwrap(), FIRST_APPLY_VERSION);
        run(&mut tables, SystemCommand::RaiseApplyVersion { version: 3 });
        run(&mut tables, SystemCommand::RaiseApplyVersion { version: 2 });
        assert_eq!(apply_version(&tables).unwrap(), 3);
    }

    #[test]
    fn alarms_are_raised_once_and_cleared() {
        let mut tables = MemTables::default();
        let alarm = Alarm { kind: AlarmKind::NoSpace, node: 2 };
        run(&mut tables, SystemCommand::RaiseAlarm(alarm));
        run(&mut tables, SystemCommand::RaiseAlarm(alarm));
        assert_eq!(alarms(&tables).unwrap(), [alarm]);
        run(&mut tables, SystemCommand::ClearAlarm(alarm));
        assert!(alarms(&tables).unwrap().is_empty());
    }
}
