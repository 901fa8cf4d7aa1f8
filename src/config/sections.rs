//! The sections of the configuration but `limits`, with their defaults. Units stand last in a name. What is allowed
//! together is in `validate.rs`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::address::{self, HostPort};

/// This node.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Unique in the cluster and never reused. Has no default: 0 is refused.
    pub id: u64,
    /// Where RocksDB and snapshots are kept. Belongs to this node alone.
    pub data_dir: PathBuf,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: 0, data_dir: PathBuf::from("/var/lib/roost") }
    }
}

/// What all nodes of a cluster are told alike.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Shown by peers and, beyond loopback, by callers of the internal listener.
    pub secret: Option<Secret>,
    /// The voters of a new cluster. A node with an empty disk that is not among them waits to be added.
    pub initial_members: Vec<Member>,
}

/// A member of the cluster and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its `node.id`.
    pub id: u64,
    /// Raft and forwarded calls.
    pub peer: HostPort,
    /// Milvus clients.
    pub client: HostPort,
    /// Milvus nodes and roostctl.
    pub internal: HostPort,
}

/// Where this node listens. Milvus' own services on `internal` know no authentication, hence loopback by default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// MilvusService.
    #[serde(deserialize_with = "address::listen")]
    pub client: SocketAddr,
    /// RootCoord, admin and TSO services.
    #[serde(deserialize_with = "address::listen")]
    pub internal: SocketAddr,
    /// The other nodes.
    #[serde(deserialize_with = "address::listen")]
    pub peer: SocketAddr,
    /// /metrics, /livez, /readyz, /healthz.
    #[serde(deserialize_with = "address::listen")]
    pub http: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            client: (Ipv4Addr::UNSPECIFIED, 19530).into(),
            internal: (Ipv4Addr::LOCALHOST, 22125).into(),
            peer: (Ipv4Addr::LOCALHOST, 23125).into(),
            http: (Ipv4Addr::LOCALHOST, 9091).into(),
        }
    }
}

/// Where others reach this node, if not at the listen addresses.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Advertise {
    /// For Milvus clients.
    #[serde(deserialize_with = "address::optional")]
    pub client: Option<HostPort>,
    /// For the other nodes.
    #[serde(deserialize_with = "address::optional")]
    pub peer: Option<HostPort>,
    /// For Milvus nodes and roostctl.
    #[serde(deserialize_with = "address::optional")]
    pub internal: Option<HostPort>,
}

/// Consensus.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raft {
    /// How often the leader shows that it lives.
    pub heartbeat_ms: u64,
    /// Shortest random wait before a campaign.
    pub election_min_ms: u64,
    /// Longest one; also the length of the lease that a follower grants.
    pub election_max_ms: u64,
    /// How long a leader without a quorum waits before it probes.
    pub quorum_loss_probe_ms: u64,
    /// A snapshot is taken after this much log.
    pub snapshot_log_bytes: u64,
    /// Log kept behind a snapshot, so that a restarted follower catches up from the log.
    pub keep_log_bytes: u64,
    /// Commands proposed and not yet answered; more are refused with code 8.
    pub max_proposal_bytes_in_flight: u64,
    /// Commands that share one entry of the log at most.
    pub batch_commands_max: usize,
    /// The longest that callers who keep a leader busy wait for each other, to share an entry; 0: not at all.
    pub batch_wait_max_ms: u64,
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 500,
            quorum_loss_probe_ms: 1000,
            snapshot_log_bytes: 256 << 20,
            keep_log_bytes: 1 << 30,
            max_proposal_bytes_in_flight: 64 << 20,
            batch_commands_max: 256,
            batch_wait_max_ms: 10,
        }
    }
}

/// Disk and memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Below this much free space the node raises NOSPACE.
    pub min_free_bytes: u64,
    /// Size of a file that is given up to get out of a full disk again; 0 for none.
    pub ballast_bytes: u64,
    /// One block cache for the process.
    pub block_cache_bytes: u64,
    /// One write-buffer budget for the process.
    pub write_buffer_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            min_free_bytes: 512 << 20,
            ballast_bytes: 64 << 20,
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 128 << 20,
        }
    }
}

/// The timestamp oracle.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tso {
    /// How far ahead the replicated bound is moved; what a new leader may have to wait out at most.
    pub window_ms: u64,
    /// A clock further ahead than this of the others does not move the bound.
    pub max_clock_ahead_ms: u64,
}

impl Default for Tso {
    fn default() -> Self {
        Self { window_ms: 3000, max_clock_ahead_ms: 60_000 }
    }
}

/// Descriptions of collections in memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// About as much memory; 0 turns the cache off.
    pub capacity_bytes: u64,
    /// What is older is read again. It need not be: changes take out what they change. 0: no limit.
    pub time_to_live_ms: u64,
    /// Threads that fill the cache when the node starts; 0 lets it fill as it is asked.
    pub warm_up_threads: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { capacity_bytes: 64 << 20, time_to_live_ms: 0, warm_up_threads: 2 }
    }
}

/// The etcd v3 API at the client listener.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Etcd {
    /// Beyond loopback its callers must show the cluster's secret.
    pub enabled: bool,
    /// The newest revisions that are kept; older history is compacted. 0 keeps everything until a client compacts.
    pub auto_compaction_revisions: u64,
    /// Before the keys of the Milvus processes that this cluster coordinates (etcd.rootPath), and their name of it.
    pub root_path: String,
    /// Write the keys by which those processes find their coordinator: this cluster's leader.
    pub publish_coordinators: bool,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            enabled: false,
            auto_compaction_revisions: 0,
            root_path: "by-dev".to_owned(),
            publish_coordinators: false,
        }
    }
}

/// Who may do what. Milvus' settings `common.security.*`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Clients must show a user's password, and may do only what that user was granted.
    pub authorization_enabled: bool,
    /// The password of the user root when the first leader of a cluster makes it.
    pub default_root_password: Secret,
    /// Users who change passwords without knowing the old ones.
    pub super_users: Vec<String>,
    /// Root needs grants as any other user does.
    pub root_should_bind_role: bool,
    /// A new cluster's role `public` may describe collections and indexes and list aliases.
    pub public_privileges_enabled: bool,
    /// The logarithm of the rounds that hashing a new password takes.
    pub bcrypt_cost: u32,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            authorization_enabled: false,
            default_root_password: Secret::new("Milvus"),
            super_users: Vec::new(),
            root_should_bind_role: false,
            public_privileges_enabled: true,
            bcrypt_cost: 10,
        }
    }
}

/// Logging, always to stderr.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or tracing directives such as `info,roost_raft=debug`.
    pub level: String,
    /// For people or for programs.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info,openraft=warn".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The cluster's shared secret. Does not show itself in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to derive keys from.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Secret {
    const SHOWN: &str = "(secret)";
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::SHOWN)
    }
}

/// A section all of whose keys are commented out is a null; it means the defaults.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
