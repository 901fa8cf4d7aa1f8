//! One test binary for the whole crate: every further one links RocksDB again.
//!
//! Crash tests need the abort points compiled in: `cargo test -p roost-raft --release --features failpoints`.

mod bitrot;
mod cluster;
#[cfg(feature = "failpoints")]
mod crash;
mod engines;
mod logs;
mod snapshots;
mod suite;
mod support;
mod txn;
