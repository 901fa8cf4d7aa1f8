//! Bounds of the state machine. Constants here are part of apply: changing one changes what an old entry means, so it
//! needs a new apply version. What an operator may configure travels inside the command instead, as [`Limits`].

use serde::{Deserialize, Serialize};

/// The longest entry or reply. Far above the largest schema, far below a gRPC message.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;
/// The longest encoded schema: 64 fields with large default values fit.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;
/// Properties of one database or collection. Milvus knows about fifty.
pub const MAX_PROPERTIES: usize = 256;
/// The sum of the lengths of all keys and values of one database or collection.
pub const MAX_PROPERTY_BYTES: usize = 64 << 10;
/// Indexes of one collection. A field has one; only JSON fields may have one for each path within them.
pub const MAX_INDEXES: usize = 1024;
/// Replicas of one collection: each is on other nodes.
pub const MAX_REPLICAS: usize = 128;
/// Partitions that a load names one by one: they are in one row.
pub const MAX_LOADED_PARTITIONS: usize = 65_536;
/// The longest name of anything, in bytes (Milvus: proxy.maxNameLength).
pub const MAX_NAME_BYTES: usize = 255;
/// Aliases of one collection, which each description of it lists. Milvus knows no limit.
pub const MAX_ALIASES: u32 = 1024;
/// Aliases of one database, as many as it may have collections: one listing has all of them.
pub const MAX_ALIASES_OF_DATABASE: u64 = 65_536;
/// Ids that one command may take. A proxy asks for 200,000; a blind request must not eat the number space.
pub const MAX_IDS: u32 = 1 << 28;
/// The first id that is handed out. Below are ids that Milvus fixes, such as the default database's.
pub const FIRST_ID: i64 = 100;
/// Hybrid timestamps keep 46 bits of milliseconds.
pub const MAX_TSO_BOUND_MS: u64 = 1 << 46;
/// How far the bound may jump ahead of the clock and of itself without an operator: a window is some seconds, and a
/// bound that ran away would take the timestamps with it for ever.
pub const MAX_TSO_STEP_MS: u64 = 10 * 60 * 1000;
/// Requests of one node whose replies are kept. More are not executed: whoever has as many unanswered must wait.
pub const REQUEST_WINDOW: u64 = 65_536;
/// A session that was silent for so long by the replicated clock loses its stored replies.
pub const SESSION_IDLE_MS: u64 = 60 * 60 * 1000;
/// How often idle sessions are looked for.
pub const SWEEP_INTERVAL_MS: u64 = 60 * 1000;
/// Sessions looked at in one sweep, so that no apply does unbounded work.
pub const SWEEP_SESSIONS: usize = 16;
/// Acknowledged replies are deleted when there may be so many: one range read pays for all of them.
pub const FORGET_BATCH: u64 = 64;
/// Sequences whose short replies share a row.
pub const REPLIES_PER_PAGE: u64 = 32;
/// Longer replies have rows of their own: a page is written again with each reply that it gets.
pub const MAX_PAGED_REPLY_BYTES: usize = 128;
/// Rows of replies deleted by one apply, of either kind.
pub const FORGET_STEP: usize = 256;
/// Replies above this are not kept for copies of their request: sessions hold up to 65,536 of them a node.
pub const MAX_KEPT_REPLY_BYTES: usize = 64 << 10;
/// The longest answer of a request that changes the key space. Below [`MAX_ENTRY_BYTES`], or apply could not write it.
pub const MAX_KEYSPACE_REPLY_BYTES: usize = 7 << 20;
/// The longest answer of a read of the key space: more is a scan that should go by pages.
pub const MAX_RANGE_BYTES: usize = 256 << 20;
/// Values that one command writes again without carrying them (`ignore_value`): a few bytes of a request must not
/// become more than every node can hold.
pub const MAX_COPIED_BYTES: usize = 32 << 20;
/// Operations and compares of a whole transaction. etcd's default is 128 a list, which the service checks.
pub const MAX_TXN_OPS: usize = 16_384;
/// Transactions within transactions.
pub const MAX_TXN_DEPTH: usize = 16;
/// Keys that one command may look at: every other command waits for it.
pub const MAX_VISITED_KEYS: usize = 1 << 20;
/// Keys that one command may change, some seconds of work: `etcdctl check perf --load=l` ends by deleting 480,000.
pub const MAX_CHANGED_KEYS: usize = 1 << 19;
/// The sum of the lengths of the keys that one deletion may take at once.
pub const MAX_DELETED_KEY_BYTES: usize = 64 << 20;
/// Keys that one command of the lessor deletes.
pub const EXPIRE_KEYS: usize = 4096;
/// Leases that one command of the lessor names.
pub const MAX_NAMED_LEASES: usize = 4096;
/// The longest lease, as in etcd.
pub const MAX_LEASE_TTL_S: i64 = 9_000_000_000;
/// Rows of history that one step of reclaiming looks at.
pub const RECLAIM_ROWS: usize = 1024;
/// Bytes of history that one step of reclaiming looks at.
pub const RECLAIM_BYTES: usize = 4 << 20;
/// The longest hash of a password. bcrypt's take 60 bytes; another algorithm's may be longer.
pub const MAX_HASH_BYTES: usize = 256;
/// The longest description of a user or a role (Milvus: proxy.maxUserDescriptionLength,
/// proxy.maxRoleDescriptionLength).
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Grants in the cluster: every node compiles all of them, and a role that is dropped by force takes its own along.
pub const MAX_GRANTS: u64 = 1 << 18;
/// Grants that one entry deletes or moves, beside whatever else it does.
pub const GRANTS_AT_ONCE: usize = 64;
/// Users whom one entry takes a role from that goes: there are as many as an operator allows.
pub const BINDINGS_AT_ONCE: usize = 64;
/// Earlier renames of one collection whose grants still lie where they were.
pub const MAX_GRANT_SOURCES: usize = 8;
/// Drops and renames whose grants still lie where they were, before renames have to wait.
pub const MAX_GRANT_SHIFTS: u64 = 256;
/// Custom privilege groups in the cluster: they are listed whole.
pub const MAX_PRIVILEGE_GROUPS: usize = 1024;
/// Names in one privilege group: there are fewer than a hundred privileges.
pub const MAX_GROUP_PRIVILEGES: usize = 256;
/// The longest condition of a grant, an expression that people write.
pub const MAX_CONDITION_BYTES: usize = 1024;
/// Keys and values above this do not travel in an event: it is held for every subscriber.
pub const MAX_EVENT_BYTES: usize = 16 << 10;

/// Worker nodes in the cluster: whoever plans looks at all of them.
pub const MAX_WORKERS: usize = 4096;
/// The value of a session key. Milvus' own are some hundred bytes; all workers together must fit a reply.
pub const MAX_SESSION_BYTES: usize = 8 << 10;
/// Labels of one worker.
pub const MAX_WORKER_LABELS: usize = 64;
/// The version of a worker, or the value of one of its labels.
pub const MAX_WORKER_TEXT_BYTES: usize = 1024;
/// The name of a registration: a random number is 16 bytes.
pub const MAX_WORKER_REQUEST_BYTES: usize = 64;
/// How long a worker may be silent, in seconds. Deadlines are kept in whole seconds, and the shortest lease is of two.
pub const MIN_WORKER_TTL_S: i64 = 2;
pub const MAX_WORKER_TTL_S: i64 = 3600;
/// Physical channels: all of them are planned at once, and told in one message.
pub const MAX_PCHANNELS: usize = 16_384;
/// Physical channels that one command adds.
pub const MAX_PCHANNELS_ADDED: usize = 1024;
/// Orders, or ends of orders, about physical channels in one command: each writes a few rows.
pub const MAX_PCHANNEL_ORDERS: usize = 256;
/// The latest terms of a physical channel, which are kept for operators.
pub const PCHANNEL_TERMS_KEPT: i64 = 64;
/// Broadcasts that are not finished. While streaming nodes are away, every change of the catalogue adds one; a change
/// that finds so many is refused.
pub const MAX_PENDING_BROADCASTS: u64 = 1 << 17;
/// Bytes that they carry together.
pub const MAX_PENDING_BYTES: u64 = 512 << 20;
/// The largest message of one broadcast, below [`MAX_ENTRY_BYTES`].
pub const MAX_BROADCAST_BYTES: usize = 4 << 20;
/// Vchannels of one broadcast: as many as pchannels.
pub const MAX_BROADCAST_CHANNELS: usize = 16_384;
/// Vchannels of one broadcast that are acknowledged one by one, each with all of its row.
pub const MAX_CONSUMED_CHANNELS: usize = 1024;
/// Resources that one broadcast names. Milvus' own name up to four.
pub const MAX_RESOURCE_KEYS: usize = 64;
/// The longest name of a vchannel, and the longest resource key: two names and a colon.
pub const MAX_BROADCAST_NAME_BYTES: usize = 1024;
/// The longest encoded checkpoint: two message ids and a timestamp.
pub const MAX_CHECKPOINT_BYTES: usize = 4096;
/// Broadcasts that one command of the leader names.
pub const MAX_NAMED_BROADCASTS: usize = 256;
/// Pending broadcasts about one collection or database that a change of it looks at, to take back what is void.
pub const MAX_LOOKED_AT_BROADCASTS: usize = 1024;
/// The longest encoded replicate configuration: a name for each pchannel of each cluster.
pub const MAX_REPLICATION_BYTES: usize = 1 << 20;
/// Finished broadcasts that are remembered, whatever the leader sweeps.
pub const MAX_TOMBSTONES: u64 = 65_536;

/// Things of a dropped collection that one entry deletes.
pub const ERASED_ROWS: usize = 256;

/// What the proposing node is configured to allow. It travels in the command, so every node applies the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Databases besides the default one.
    pub max_databases: u64,
    pub max_collections: u64,
    /// Unless the database's property `database.max.collections` says otherwise.
    pub max_collections_per_database: u64,
    /// Partitions of one collection.
    pub max_partitions: u64,
    pub max_shards: u64,
    /// The sum of partitions x shards over all collections.
    pub max_general_capacity: u64,
}

impl From<&crate::limits::Limits> for Limits {
    fn from(configured: &crate::limits::Limits) -> Self {
        Limits {
            max_databases: configured.max_databases,
            max_collections: configured.max_collections,
            max_collections_per_database: configured.max_collections_per_database,
            max_partitions: configured.max_partitions,
            max_shards: configured.max_shards.into(),
            max_general_capacity: configured.max_general_capacity,
        }
    }
}

impl Default for Limits {
    /// Milvus' defaults.
    fn default() -> Self {
        Limits::from(&crate::limits::Limits::default())
    }
}
