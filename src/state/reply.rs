//! What a command is answered. Stored for copies of the request, and sent back by the node that applied it.

use serde::{Deserialize, Serialize};

use super::broadcast::BroadcastReply;
use super::codec;
use super::index::IndexReply;
use super::keyspace::KeyspaceReply;
use super::limits::MAX_KEPT_REPLY_BYTES;
use super::load::LoadReply;
use super::pchannel::PChannelReply;
use super::worker::WorkerReply;
use crate::error::Rejection;

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The command was refused and changed nothing.
    Rejected(Rejection),
    /// The request is older than what is remembered of its node. It was not executed now; whether it was before is
    /// unknown.
    Expired,
    /// The node has too many unanswered requests. Nothing was executed: retry under the same id.
    WindowFull,
    DatabaseCreated {
        database_id: i64,
    },
    DatabaseDropped {
        database_id: i64,
    },
    CollectionCreated {
        collection_id: i64,
        /// The same collection was there already.
        existed: bool,
    },
    /// `None`: there was none, which is a success.
    CollectionDropped {
        collection_id: Option<i64>,
    },
    PartitionCreated {
        partition_id: i64,
        existed: bool,
    },
    /// `None`: there was none, which is a success.
    PartitionDropped {
        partition_id: Option<i64>,
    },
    CollectionAltered {
        collection_id: i64,
        /// False when every property had its value already.
        changed: bool,
    },
    /// The ids `first .. first + count`.
    IdsAllocated {
        first: i64,
        count: u32,
    },
    /// The bound in force now, which may be above what was asked.
    TsoExtended {
        bound_ms: u64,
    },
    Keyspace(KeyspaceReply),
    CollectionErased {
        /// Something of it is left for the next step.
        more: bool,
    },
    DatabaseAltered {
        database_id: i64,
        /// False when every property had its value already.
        changed: bool,
    },
    /// The alias was created or moved.
    AliasSet {
        collection_id: i64,
        /// False when it was this collection's already.
        changed: bool,
    },
    /// `None`: there was none, which is a success.
    AliasDropped {
        collection_id: Option<i64>,
    },
    Index(IndexReply),
    Load(LoadReply),
    /// Or it was so already.
    AccessChanged,
    Worker(WorkerReply),
    PChannel(PChannelReply),
    Broadcast(BroadcastReply),
}

impl Reply {
    pub fn encode(&self) -> Result<Vec<u8>, codec::Error> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Reply, codec::Error> {
        codec::decode(bytes)
    }

    /// What copies of the request are answered instead, because `encoded` is too long to be kept for them.
    pub(super) fn for_copies(&self, encoded: &[u8]) -> Option<Reply> {
        match self {
            Reply::Keyspace(KeyspaceReply::Done(_)) if encoded.len() > MAX_KEPT_REPLY_BYTES => {
                Some(Reply::Keyspace(KeyspaceReply::DoneBefore))
            }
            _ => None,
        }
    }

    /// Separates the refusal from what was done.
    pub fn into_result(self) -> Result<Reply, Rejection> {
        match self {
            Reply::Rejected(rejection) => Err(rejection),
            done => Ok(done),
        }
    }
}
