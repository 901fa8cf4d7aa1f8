//! A replicated state machine host: openraft on RocksDB. It knows nothing of Milvus; see OVERVIEW.md for the paths of a
//! write, a read and a snapshot, and for what is fsynced when.

pub mod apply;
pub mod codec;
pub mod error;
pub mod failpoint;
pub mod host;
pub mod kv;
pub mod log;
pub mod machine;
pub mod mutation;
pub mod network;
mod offer;
mod offload;
pub mod random;
pub mod restore;
mod runtime;
pub mod snapshot;
pub mod storage;
pub mod system;
pub mod types;

pub use host::Host;
