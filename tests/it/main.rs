//! Tests from outside: clusters of real `roostd` processes on loopback, spoken to as users do, and the tidiness of the
//! sources. One binary, so that everything is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails should say where")]

mod broadcast;
mod cli;
mod cluster;
mod disk;
mod etcd_copy;
mod etcd_differential;
mod etcd_failover;
mod etcd_members;
mod etcd_watch_install;
mod etcdctl;
mod http;
mod membership;
mod refusals;
mod sessions;
mod simulated_nodes;
mod snapshot;
mod streaming;
mod support;
mod tidy;
mod tso;
mod upgrade;
