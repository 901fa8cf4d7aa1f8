//! Every limit, by name and with its reason. Milvus' own limits keep Milvus' defaults and can be configured (`Limits`);
//! what protects the server itself is a constant.

mod admin;
mod broadcast;
mod etcd;
mod policy;
mod proxies;
mod server;
mod session;
mod sim;
mod streaming;
mod watch;

use serde::{Deserialize, Serialize};

pub use admin::*;
pub use broadcast::*;
pub use etcd::*;
pub use policy::*;
pub use proxies::*;
pub use server::*;
pub use session::*;
pub use sim::*;
pub use streaming::*;
pub use watch::*;

/// What a schema may declare and a cluster may hold. Defaults are those of Milvus 2.6 (its setting in brackets), so
/// that a client finds the same limits here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Collections in the cluster (quotaAndLimits.limits.maxCollectionNum).
    pub max_collections: u64,
    /// Collections in one database (quotaAndLimits.limits.maxCollectionNumPerDB).
    pub max_collections_per_database: u64,
    /// Databases beside `default` (rootCoord.maxDatabaseNum).
    pub max_databases: u64,
    /// Partitions of one collection (rootCoord.maxPartitionNum).
    pub max_partitions: u64,
    /// Partitions x shards, summed over all collections (rootCoord.maxGeneralCapacity).
    pub max_general_capacity: u64,
    /// Shards of one collection; as many as there are physical channels (proxy.maxShardNum, rootCoord.dmlChannelNum).
    pub max_shards: u32,
    /// Fields of one collection, counting those of struct fields (proxy.maxFieldNum).
    pub max_fields: usize,
    /// Vector fields of one collection (proxy.maxVectorFieldNum).
    pub max_vector_fields: usize,
    /// Dimensions of a dense vector; a binary one may have eight times as many (proxy.maxDimension).
    pub max_dimension: i64,
    /// `max_length` of a VarChar field, in bytes (proxy.maxVarCharLength).
    pub max_varchar_length: i64,
    /// `max_length` of a Text field, in bytes (proxy.maxTextLength).
    pub max_text_length: i64,
    /// `max_capacity` of an Array field.
    pub max_array_capacity: i64,
    /// Bytes of a collection's description.
    pub max_description_bytes: usize,
    /// Partitions of a collection with a partition key that names no number.
    pub default_key_partitions: u64,
    /// Users, root among them (proxy.maxUserNum).
    pub max_users: u64,
    /// Roles, `admin` and `public` among them (proxy.maxRoleNum).
    pub max_roles: u64,
    /// Bytes of a user's name (proxy.maxUsernameLength).
    pub max_username_bytes: usize,
    /// Bytes of a password (proxy.minPasswordLength).
    pub min_password_bytes: usize,
    /// Bytes of a password, at most 72 (proxy.maxPasswordLength).
    pub max_password_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_collections: 65_536,
            max_collections_per_database: 65_536,
            max_databases: 64,
            max_partitions: 1024,
            max_general_capacity: 65_536,
            max_shards: 16,
            max_fields: 64,
            max_vector_fields: 10,
            max_dimension: 32_768,
            max_varchar_length: 65_535,
            max_text_length: 2 * 1024 * 1024,
            max_array_capacity: 4096,
            max_description_bytes: 1024,
            default_key_partitions: 16,
            max_users: 100,
            max_roles: 10,
            max_username_bytes: 32,
            min_password_bytes: 6,
            max_password_bytes: 72,
        }
    }
}

/// Bytes of any name: collection, database, partition, field, function. Milvus' proxy.maxNameLength, but fixed, because
/// table keys hold names.
pub const MAX_NAME_BYTES: usize = 255;

/// A serialized schema: 64 fields of ordinary size are some 10 KiB; beyond this, one declaration would fill a message
/// of the log and of every snapshot chunk.
pub const MAX_SCHEMA_BYTES: usize = 512 * 1024;

/// Properties of one collection: Milvus knows about 30 keys; more are kept for whoever reads them.
pub const MAX_PROPERTIES: usize = 128;

/// Bytes of one property's key and value together, so that properties cannot outgrow the schema beside them.
pub const MAX_PROPERTY_BYTES: usize = 4096;

/// Bytes of a type parameter's key and value together; analyzer parameters are JSON of a few KiB.
pub const MAX_TYPE_PARAM_BYTES: usize = 64 * 1024;

/// Bytes of an error's explanation: a caller's own text may be quoted in it, and some of it travels in a header.
pub const MAX_ERROR_DETAIL_BYTES: usize = 2048;

/// Bytes of one value quoted in an error, longer than any valid name.
pub const MAX_ERROR_FIELD_BYTES: usize = 512;
