//! Tests of the state machine: each noun by example, everything together against a model, and the stored bytes.

mod access;
mod alias;
mod broadcast;
mod collection;
mod damage;
mod database;
mod entry;
mod golden;
mod index_and_load;
mod keyspace;
mod model;
mod model_test;
mod numbers;
mod partition;
mod pchannel;
mod session;
pub(crate) mod support;
mod view;
mod worker;
