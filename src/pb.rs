//! The wire: what build.rs generated from `proto/`, one module for each package.
//! `common`, `schema`, `milvus`, `internal`, `rootcoord`, `proxy`, `query`, `data`, `streaming`, `messages`, `msg`,
//! `index` and `rg` are Milvus 2.6's contract, `etcd` is etcd v3's; `admin`, `relay`, `session`, `tso`, `store` and
//! `roost_streaming` are Roost's.

/// Generated code names sibling packages by relative paths, so it keeps the packages' own nesting.
#[allow(clippy::all, clippy::pedantic, missing_docs, rustdoc::all, unreachable_pub, reason = "generated code")]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::milvus::proto::{
    common, data, index, internal, messages, milvus, msg, proxy, query, rg, rootcoord, schema, streaming,
};
pub use packages::roost::access::v1 as access;
pub use packages::roost::admin::v1 as admin;
pub use packages::roost::catalog::v1 as catalog;
pub use packages::roost::relay::v1 as relay;
pub use packages::roost::session::v1 as session;
pub use packages::roost::sim::v1 as sim;
pub use packages::roost::store::v1 as store;
pub use packages::roost::streaming::v1 as roost_streaming;
pub use packages::roost::tso::v1 as tso;

/// etcd v3's packages, under the names of what they hold.
pub mod etcd {
    pub use super::packages::authpb as auth;
    pub use super::packages::etcdserverpb as api;
    pub use super::packages::mvccpb as kv;
    pub use super::packages::v3electionpb as election;
    pub use super::packages::v3lockpb as lock;
}

/// Every package's descriptors, annotations included, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
