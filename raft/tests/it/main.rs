//! One test binary for the whole crate: every further one links RocksDB again.
//!
//! Crash tests need the abort points compiled in: `cargo test -p roost-raft --release --features failpoints`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says by panicking that it failed")]

mod bitrot;
mod cluster;
#[cfg(feature = "failpoints")]
mod crash;
mod engines;
mod environment;
mod logs;
mod snapshots;
mod suite;
mod support;
mod txn;
