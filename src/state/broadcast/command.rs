//! What the log may say about broadcasts, and what it answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lock::ResourceKey;
use super::replicate::{self, ReplicatedUpdate, UpdateReplication};
use super::task;
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Step};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BroadcastCommand {
    Submit(Submit),
    /// By the leader, before it appends anything of these tasks. Whatever cannot begin is left out.
    Begin {
        ids: Vec<i64>,
    },
    Acked(Acked),
    /// By the leader, when every vchannel has acknowledged and nothing is left to be called back.
    Finish {
        id: i64,
    },
    /// By the leader: takes back a task of a caller that nobody has begun.
    Abandon {
        id: i64,
    },
    /// By the leader: forgets finished tasks. Others are left alone.
    Sweep {
        ids: Vec<i64>,
    },
    Replicate(UpdateReplication),
    /// By a streaming node of a copy of another cluster: that one's configuration has come by one of the logs.
    Replicated(ReplicatedUpdate),
}

/// A message for all of some vchannels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// A `messages.MessageType`.
    pub message_type: i32,
    pub payload: Vec<u8>,
    /// Without the broadcast header, which is made of what follows.
    pub properties: Vec<(String, String)>,
    pub vchannels: Vec<String>,
    pub keys: Vec<ResourceKey>,
    /// A vchannel acknowledges when a node has consumed the message, not when it was appended.
    pub ack_sync_up: bool,
}

/// Some vchannels have the message. Idempotent: the first checkpoint of a vchannel counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    pub id: i64,
    /// The vchannel, and an encoded `streaming.AckedCheckpoint`.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Nothing is to be called back: the task ends with its last acknowledgement.
    pub finish: bool,
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BroadcastReply {
    Submitted {
        id: i64,
    },
    /// Those that have begun, now or before.
    Begun {
        ids: Vec<i64>,
    },
    Acked {
        /// How many vchannels have not acknowledged; `None`: there is no such task, or no more.
        left: Option<u32>,
    },
    Finished {
        /// False when it was finished already, or cannot be yet.
        changed: bool,
    },
    Abandoned {
        /// False when it cannot be taken back.
        changed: bool,
    },
    Swept {
        count: u32,
    },
    Replicated {
        /// False when it was so already.
        changed: bool,
    },
}

impl BroadcastCommand {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            BroadcastCommand::Submit(_) => "submit_broadcast",
            BroadcastCommand::Begin { .. } => "begin_broadcasts",
            BroadcastCommand::Acked(_) => "ack_broadcast",
            BroadcastCommand::Finish { .. } => "finish_broadcast",
            BroadcastCommand::Abandon { .. } => "abandon_broadcast",
            BroadcastCommand::Sweep { .. } => "sweep_broadcasts",
            BroadcastCommand::Replicate(_) => "update_replicate_configuration",
            BroadcastCommand::Replicated(_) => "replicated_configuration",
        }
    }

    /// The apply version that every member must have before this may be proposed.
    pub fn min_apply_version(&self) -> u32 {
        match self {
            BroadcastCommand::Replicated(_) => 7,
            _ => 6,
        }
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            BroadcastCommand::Submit(command) => task::submit(step, command),
            BroadcastCommand::Begin { ids } => task::begin(step, ids),
            BroadcastCommand::Acked(command) => task::acked(step, command),
            BroadcastCommand::Finish { id } => task::finish(step, *id),
            BroadcastCommand::Abandon { id } => task::abandon(step, *id),
            BroadcastCommand::Sweep { ids } => task::sweep(step, ids),
            BroadcastCommand::Replicate(command) => replicate::update(step, command),
            BroadcastCommand::Replicated(command) => replicate::replicated(step, command),
        }
        .map(Reply::Broadcast)
    }

    /// Whether it must pass while the disks are full.
    pub fn frees_space(&self) -> bool {
        !matches!(self, BroadcastCommand::Submit(_) | BroadcastCommand::Replicate(_) | BroadcastCommand::Replicated(_))
    }
}

/// One line for people. Names came from outside, hence the escapes.
impl fmt::Display for BroadcastCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BroadcastCommand::Submit(Submit { message_type, vchannels, payload, .. }) => {
                let (channels, bytes) = (vchannels.len(), payload.len());
                write!(f, "submit broadcast type={message_type} vchannels={channels} bytes={bytes}")
            }
            BroadcastCommand::Begin { ids } => write!(f, "begin broadcasts ids={ids:?}"),
            BroadcastCommand::Acked(Acked { id, checkpoints, finish }) => {
                write!(f, "ack broadcast id={id}")?;
                for (vchannel, _) in checkpoints {
                    write!(f, " vchannel={}", vchannel.escape_debug())?;
                }
                if *finish { f.write_str(" finish") } else { Ok(()) }
            }
            BroadcastCommand::Finish { id } => write!(f, "finish broadcast id={id}"),
            BroadcastCommand::Abandon { id } => write!(f, "abandon broadcast id={id}"),
            BroadcastCommand::Sweep { ids } => write!(f, "sweep broadcasts ids={ids:?}"),
            BroadcastCommand::Replicate(UpdateReplication { configuration, cluster_id, force_promote }) => {
                let (bytes, own) = (configuration.len(), cluster_id.escape_debug());
                write!(f, "replicate bytes={bytes} cluster={own} force_promote={force_promote}")
            }
            BroadcastCommand::Replicated(ReplicatedUpdate { broadcast_id, vchannel, .. }) => {
                write!(f, "replicated configuration broadcast={broadcast_id} vchannel={}", vchannel.escape_debug())
            }
        }
    }
}
