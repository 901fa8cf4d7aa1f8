//! Milvus' proxies, where Roost is their coordinator: the leader tells each one what to forget of its caches, and how
//! much its clients may ask for.
//!
//! - `session`: how a proxy registers, by a key with a lease, and which are registered;
//! - `stale`: what a proxy must forget, gathered; `changes`: what the log's events make of it; `departed`: names that
//!   are gone, for the next leader;
//! - `link`: one proxy and the task that tells it; `task`: the leader's work; `board`: what operators see of it.
//!
//! A change is answered to its caller before proxies know of it, and no proxy is waited for, neither by DDL nor by the
//! others. What one must forget waits for it as long as its session lives; when that is too much to list, it is told to
//! forget everything. So is every proxy when it registers and when the leader changes: a leader does not know what the
//! last one had delivered.

mod board;
mod changes;
mod departed;
mod link;
mod session;
mod stale;
mod task;
#[cfg(test)]
mod tests;

pub use board::{ProxyBoard, ProxyLine};
pub use departed::Departed;
pub use link::Shared;
pub use session::Place;
pub use task::ProxyTask;
