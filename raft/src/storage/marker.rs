//! Whose disk this is. Written before anything else and checked at every start, so that a node never runs on the data
//! of another node or cluster, or in a format that this binary does not know.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use crate::codec;
use crate::kv::{Batch, Read, Space};
use crate::random;
use crate::types::NodeId;

/// The on-disk format that this binary reads and writes.
pub const FORMAT: u32 = 1;
const KEY: &[u8] = b"marker";

/// Identifies a cluster for its whole life. A restored backup is a new cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// A new one.
    pub fn draw() -> Self {
        ClusterId(u128::from(random::number()) << 64 | u128::from(random::number()))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ClusterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(ClusterId)
    }
}

/// The identity of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub format: u32,
    pub node_id: NodeId,
    /// Drawn when the disk was first used. A wiped disk gets another, and peers refuse it under the old node id.
    pub incarnation: u64,
    /// `None` until the node belongs to a cluster.
    pub cluster_id: Option<ClusterId>,
}

/// Why a disk is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "this disk is of format {found}; this binary reads format {FORMAT}. Run the version of Roost that wrote it"
    )]
    Format { found: u32 },
    #[error(
        "this disk belongs to node {found}, but the configuration says node {expected}. Correct node.id or data_dir"
    )]
    Node { found: NodeId, expected: NodeId },
    #[error(
        "this disk belongs to cluster {found}, but the configuration names cluster {expected}. \
         Correct cluster.initial_members, cluster.secret or data_dir"
    )]
    Cluster { found: ClusterId, expected: ClusterId },
    #[error("the storage marker cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Marker {
    /// The marker that belongs to a view, if the disk has one.
    pub fn read(view: &dyn Read) -> io::Result<Option<Self>> {
        view.get(Space::META, KEY)?.map(|bytes| codec::decode(&bytes)).transpose()
    }

    /// Reads the disk's marker, or makes one for an empty disk. Refuses a disk that is not `node_id`'s.
    pub fn open(engine: &dyn Engine, node_id: NodeId) -> Result<Self, Refused> {
        let Some(marker) = Marker::read(engine)? else {
            let marker = Marker { format: FORMAT, node_id, incarnation: random::number(), cluster_id: None };
            marker.store(engine)?;
            return Ok(marker);
        };
        if marker.format != FORMAT {
            return Err(Refused::Format { found: marker.format });
        }
        if marker.node_id != node_id {
            return Err(Refused::Node { found: marker.node_id, expected: node_id });
        }
        Ok(marker)
    }

    /// Notes that this disk belongs to `cluster_id` from now on, durably.
    pub fn join(&mut self, engine: &dyn Engine, cluster_id: ClusterId) -> Result<(), Refused> {
        match self.cluster_id {
            Some(found) if found != cluster_id => Err(Refused::Cluster { found, expected: cluster_id }),
            Some(_) => Ok(()),
            None => {
                self.cluster_id = Some(cluster_id);
                Ok(self.store(engine)?)
            }
        }
    }

    fn store(&self, engine: &dyn Engine) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.put(Space::META, KEY, codec::encode(self)?);
        engine.write(batch)?;
        engine.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem::MemEngine;

    #[test]
    fn another_nodes_or_clusters_disk_is_refused() {
        let engine = MemEngine::default();
        let mut marker = Marker::open(&engine, 1).unwrap();
        marker.join(&engine, ClusterId(7)).unwrap();
        engine.lose_unsynced();
        assert_eq!(Marker::open(&engine, 1).unwrap(), marker);
        assert!(matches!(Marker::open(&engine, 2), Err(Refused::Node { found: 1, expected: 2 })));
        assert!(matches!(marker.join(&engine, ClusterId(8)), Err(Refused::Cluster { .. })));
    }

    #[test]
    fn another_format_is_refused() {
        let engine = MemEngine::default();
        Marker { format: FORMAT + 1, node_id: 1, incarnation: 0, cluster_id: None }.store(&engine).unwrap();
        assert!(matches!(Marker::open(&engine, 1), Err(Refused::Format { .. })));
    }
}
