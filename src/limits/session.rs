//! Bounds of what worker nodes may ask.

use std::time::Duration;

/// How long a worker may be silent that did not say, in seconds.
pub const WORKER_TTL_DEFAULT_S: u32 = 10;
/// Keep-alive streams at one node: every worker there may be, each with one of its own.
pub const WORKER_STREAMS_MAX: usize = 4096;
/// Renewals of one stream that are asked of the leader at once; the next ones wait.
pub const WORKER_RENEWALS_PER_STREAM: usize = 256;
/// How long a renewal may take before its stream ends, so that the worker asks another node: longer than an election,
/// and well within the default TTL.
pub const WORKER_RENEWAL_WAIT: Duration = Duration::from_secs(3);
/// Watches of workers at one node. Each reads the tables by itself, all workers at the worst.
pub const WORKER_WATCHES_MAX: usize = 1024;
/// What a coordinator's published sessions live on when their leader is gone, in seconds. Milvus' own take 30.
pub const PUBLISHED_TTL_S: i64 = 30;
/// How often the leader looks at what it published, which it renews then, and at what it keeps of workers.
pub const SESSIONS_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after a failed attempt of the leader to say where sessions are, or to publish its own.
pub const SESSION_RETRY_DELAY: Duration = Duration::from_millis(200);
