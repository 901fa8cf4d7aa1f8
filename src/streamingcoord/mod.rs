//! StreamingCoord: which streaming node has which physical channel, decided by the leader, told by every node.
//!
//! - `policy`: how channels are laid out on nodes, pure functions;
//! - `status`: Milvus' streaming errors on the wire.

pub mod policy;
pub mod status;
