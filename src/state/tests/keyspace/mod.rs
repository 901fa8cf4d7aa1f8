//! Tests of the etcd key space: by example, against a naive model, and against what a real etcd answered.

mod examples;
mod hash;
mod lease;
mod limits;
mod model;
mod model_test;
pub mod support;
