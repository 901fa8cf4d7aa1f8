//! StreamingCoord: which streaming node has which physical channel, decided by the leader, told by every node.
//!
//! - `policy`: how channels are laid out on nodes, pure functions; `balancer`: when, and what is ordered of it;
//! - `nodes`: calls to streaming nodes; `status`: their errors;
//! - `broadcast`: one message for several channels;
//! - `discovery`: what clients are told of who has what; `service`: what operators ask and order.

pub mod balancer;
pub mod broadcast;
pub mod discovery;
pub mod nodes;
pub mod policy;
pub mod service;
pub mod status;
