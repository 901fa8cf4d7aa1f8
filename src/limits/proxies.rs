//! Bounds of what the leader does for Milvus' proxies.

use std::time::Duration;

/// Proxies that are told anything; each is a connection and a task. Milvus clusters have some dozens.
pub const PROXIES_MAX: usize = 256;
/// Things that a proxy has yet to be told to forget; beyond it, it is told to forget everything.
pub const PROXY_STALE_MAX: usize = 4096;
/// Calls to one proxy at the same time.
pub const PROXY_CALLS_AT_ONCE: usize = 16;
/// What a node says of its load; with 65,536 collections that is 1.3 MiB.
pub const NODE_METRICS_BYTES_MAX: usize = 2 << 20;
/// Collections that a node may name in it: more are none that there could be by default.
pub const NODE_COLLECTIONS_MAX: usize = 131_072;
/// Collections whose lowered rates one report shows.
pub const FACTORS_SHOWN_MAX: usize = 1024;
/// How long a proxy may take to connect and to answer; Milvus gives its own 3 seconds.
pub const PROXY_CALL_WAIT: Duration = Duration::from_secs(3);
/// Pause after a proxy could not be told something; doubles from the first to the second.
pub const PROXY_RETRY_MIN: Duration = Duration::from_millis(50);
pub const PROXY_RETRY_MAX: Duration = Duration::from_secs(3);
/// Names of dropped databases, and of deleted users, that a node remembers for the next leader.
pub const DEPARTED_NAMES_MAX: usize = 1024;
/// Nodes of the tree of rates: with 100 bytes each they fit a message that a proxy takes. Beyond it collections are
/// left to the proxies' own configuration.
pub const LIMITER_NODES_MAX: usize = 262_144;
