//! How much clients may ask for (Milvus' quotaAndLimits): rates of cluster, database, collection and partition, and
//! what is denied altogether.
//!
//! - `kind`: which calls count as what; `limits`: the rates that are set, by kind and level;
//! - `bucket`: how many calls are still due; `gate`: the check of a client's call on the node that was asked;
//! - `deny`: what is denied, and why;
//! - `load`: how full and late Milvus' nodes are, and which part of the rates of writes is left therefore;
//! - `tree`: all limits, as proxies are told them;
//! - `report`: all of it for operators.
//!
//! How many databases, collections or users there may be is not a rate: apply checks those (`src/state/limits.rs`).

mod bucket;
mod deny;
mod gate;
mod kind;
mod limits;
pub mod load;
pub mod report;
#[cfg(test)]
mod tests;
pub mod tree;

pub use deny::{Denial, Denied, in_cluster};
pub use gate::{Counted, Gate};
pub use kind::COLLECTION_WRITES;
pub use limits::Level;
pub use report::QuotaReports;
