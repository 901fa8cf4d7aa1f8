//! Commands about pchannels, and what they are answered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{assign, policy};
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Step};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PChannelCommand {
    /// Makes the pchannels that are not there yet. Idempotent.
    Add {
        names: Vec<String>,
    },
    /// Gives pchannels to nodes, each under a new term. What an order expected and is not so any more makes it void;
    /// the others stand.
    Assign {
        orders: Vec<AssignOrder>,
    },
    /// Nodes have taken these, under these terms. Other terms are over and are passed by.
    AssignDone {
        taken: Vec<(String, i64)>,
    },
    /// Nodes do not serve these, under these terms. As above; only what is ASSIGNED changes.
    MarkUnavailable {
        lost: Vec<(String, i64)>,
    },
    SetPolicy(PolicyChange),
    /// An operator wants the pchannel on this node; `None`: anywhere.
    Pin {
        name: String,
        node: Option<i64>,
    },
}

/// One pchannel to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignOrder {
    pub name: String,
    /// The term that whoever ordered saw. With another one the order is void.
    pub term: i64,
    /// Server id of a live streaming node.
    pub node: i64,
}

/// What of the balance policy is set anew. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    pub allow_rebalance: Option<bool>,
    /// Server ids of streaming nodes that shall take nothing new.
    pub freeze: Vec<i64>,
    /// And of those that may again.
    pub defreeze: Vec<i64>,
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PChannelReply {
    Added {
        /// How many are new.
        count: u32,
    },
    /// By order: the term under which the pchannel is to be taken; `None`: the order was void.
    Ordered {
        terms: Vec<Option<i64>>,
    },
    /// Of what was done, or of what was lost.
    Marked {
        /// How many changed their state.
        count: u32,
    },
    PolicySet {
        changed: bool,
    },
    Pinned {
        changed: bool,
    },
}

impl PChannelCommand {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            PChannelCommand::Add { .. } => "add_pchannels",
            PChannelCommand::Assign { .. } => "assign_pchannels",
            PChannelCommand::AssignDone { .. } => "pchannels_assigned",
            PChannelCommand::MarkUnavailable { .. } => "mark_pchannels_unavailable",
            PChannelCommand::SetPolicy(_) => "set_wal_balance_policy",
            PChannelCommand::Pin { .. } => "pin_pchannel",
        }
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            PChannelCommand::Add { names } => assign::add(step, names),
            PChannelCommand::Assign { orders } => assign::assign(step, orders),
            PChannelCommand::AssignDone { taken } => assign::done(step, taken),
            PChannelCommand::MarkUnavailable { lost } => assign::lost(step, lost),
            PChannelCommand::SetPolicy(change) => policy::set(step, change),
            PChannelCommand::Pin { name, node } => policy::pin(step, name, *node),
        }
        .map(Reply::PChannel)
    }
}

impl fmt::Display for PChannelCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |f: &mut fmt::Formatter<'_>, verb: &str, channels: &[(String, i64)]| {
            write!(f, "{verb}")?;
            channels.iter().try_for_each(|(name, term)| write!(f, " {}@{term}", name.escape_debug()))
        };
        match self {
            PChannelCommand::Add { names } => write!(f, "add pchannels count={}", names.len()),
            PChannelCommand::Assign { orders } => {
                write!(f, "assign pchannels")?;
                orders.iter().try_for_each(|AssignOrder { name, term, node }| {
                    write!(f, " {}@{term}->{node}", name.escape_debug())
                })
            }
            PChannelCommand::AssignDone { taken } => listed(f, "pchannels assigned", taken),
            PChannelCommand::MarkUnavailable { lost } => listed(f, "pchannels unavailable", lost),
            PChannelCommand::SetPolicy(PolicyChange { allow_rebalance, freeze, defreeze }) => {
                write!(f, "set wal balance policy allow_rebalance={allow_rebalance:?}")?;
                write!(f, " freeze={freeze:?} defreeze={defreeze:?}")
            }
            PChannelCommand::Pin { name, node: Some(node) } => {
                write!(f, "pin pchannel {} node={node}", name.escape_debug())
            }
            PChannelCommand::Pin { name, node: None } => write!(f, "unpin pchannel {}", name.escape_debug()),
        }
    }
}
