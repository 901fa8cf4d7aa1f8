//! Snapshots: a pinned view until it is streamed, then a checksummed file; the same format is the backup format.

mod format;
mod install;
mod sealed;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use format::{SnapshotReader, write_snapshot};
pub use install::{install, resume_install, stage};
pub use sealed::Sealing;
pub(crate) use sealed::content;

use crate::apply::{StateHash, StateView};
use crate::kv::{Read, Space};
use crate::storage::marker::{ClusterId, Marker};
use crate::types::{LogId, NodeId, SnapshotMeta, StoredMembership};

/// First record of a snapshot: what it is a snapshot of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    pub cluster_id: Option<ClusterId>,
    /// The node that built it.
    pub node_id: NodeId,
    pub last_log_id: Option<LogId>,
    pub membership: StoredMembership,
    /// Hash of all rows; recomputed and compared while reading.
    pub hash: StateHash,
}

impl SnapshotHeader {
    /// The header that belongs to a view.
    pub fn of(view: &StateView) -> io::Result<Self> {
        let marker = Marker::read(view)?;
        Ok(SnapshotHeader {
            cluster_id: marker.as_ref().and_then(|marker| marker.cluster_id),
            node_id: marker.map_or(0, |marker| marker.node_id),
            last_log_id: view.position.applied,
            membership: view.position.membership.clone(),
            hash: view.position.hash,
        })
    }

    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last_log_id, last_membership: self.membership.clone() }
    }
}

/// A snapshot file that was read to its end and found whole.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub header: SnapshotHeader,
    /// Rows it holds.
    pub rows: u64,
    /// Removes the file when nobody took it over.
    #[allow(dead_code, reason = "held for its Drop")]
    pub(crate) temporary: Option<Arc<TemporaryFile>>,
}

/// Removes its file when dropped, unless it was renamed before.
#[derive(Debug)]
pub struct TemporaryFile(pub PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Renamed, or never created.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl SnapshotFile {
    /// Reads the whole file and checks every checksum, the row count and the state hash. It may be sealed.
    pub fn verify(path: &Path) -> io::Result<Self> {
        let mut reader = SnapshotReader::open(content(path)?)?;
        while reader.next_chunk()?.is_some() {}
        Ok(SnapshotFile {
            path: path.to_path_buf(),
            rows: reader.rows(),
            header: reader.into_header(),
            temporary: None,
        })
    }
}

/// What openraft passes around as a snapshot.
#[derive(Clone)]
pub enum SnapshotData {
    /// Built here: a pinned view that is encoded when it is streamed.
    Pinned { rows: Arc<dyn Read>, header: Arc<SnapshotHeader> },
    /// Received from the leader: a complete, verified file.
    File(SnapshotFile),
}

impl SnapshotData {
    /// Writes the snapshot in the file format. Returns the number of rows.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<u64> {
        match self {
            SnapshotData::Pinned { rows, header } => write_snapshot(rows.as_ref(), header, out),
            SnapshotData::File(file) => {
                io::copy(&mut File::open(&file.path)?, out)?;
                Ok(file.rows)
            }
        }
    }
}

/// The spaces in the order in which a snapshot holds them.
const SPACES: [Space; 5] = Space::REPLICATED;
