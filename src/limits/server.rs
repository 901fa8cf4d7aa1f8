//! What protects the server itself: bounds on calls, queues, messages and times, each with its reason.

use std::time::Duration;

/// A call without a deadline of its own. Fail-over takes about a second, so this outlasts several in a row.
pub const CALL_TIME_DEFAULT: Duration = Duration::from_secs(10);
/// A longer deadline is cut to this: an open call keeps its stored reply and those of all later calls alive.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// A request or reply on the client and internal listeners. Schemas are below a megabyte; Milvus' own default for
/// clients is 64 MiB, but that is for vectors, which are not sent here.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Headers of one call.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Unary calls in progress on one node, waiting ones included. Beyond it code 8 is answered at once: clients wait and
/// repeat, which is better than a queue that outlives their deadlines.
pub const CALLS_IN_FLIGHT_MAX: usize = 8192;
/// Calls of health and reflection in progress on one node, and the bytes of one: they are small and answered at once.
pub const OTHER_CALLS_IN_FLIGHT_MAX: usize = 1024;
pub const OTHER_CALL_BYTES_MAX: usize = 64 << 10;
/// Listings that are read from the tables at once, each of up to [`REPLY_BYTES_MAX`]; others wait for their turn.
pub const LISTINGS_IN_PROGRESS_MAX: usize = 4;
/// Databases and collections whose rates a node counts at the same time, by kind; those whose buckets are full again
/// are not counted. Milvus' default of 64 databases needs some hundreds; a bucket has 48 bytes.
pub const QUOTA_BUCKETS_MAX: usize = 65_536;
/// Bytes of request bodies that were read and of listings that are being sent.
pub const CALL_BYTES_IN_FLIGHT_MAX: usize = 256 << 20;
/// Connections of one listener; each costs two buffers and a task. Fewer than the usual 1024*16 file descriptors.
pub const CONNECTIONS_MAX: usize = 8192;
/// Calls at once on one connection; HTTP/2's own recommendation is at least 100. Load generators open few connections.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// An idle connection is probed this often, and closed when the probe stays unanswered for [`KEEPALIVE_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// The same between peers, where a silent link must be noticed in the order of an election.
pub const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);
pub const PEER_KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1000);
/// Channels kept to peers: members come and go, addresses that are no longer dialled are dropped beyond this.
pub const PEER_CHANNELS_MAX: usize = 64;
/// A streaming call that is passed on to the leader, e.g. of timestamps.
pub const FORWARDED_STREAMS_MAX: usize = 1024;
/// Pause between two attempts to reach a leader; doubles from the first to the second. A new leader ends it early.
pub const LEADER_RETRY_MIN: Duration = Duration::from_millis(10);
pub const LEADER_RETRY_MAX: Duration = Duration::from_millis(200);

/// How long a command waits for members that do not know it: a new cluster needs a second to ask them, and who upgrades
/// one should not wait for the usual end of a call.
pub const UPGRADE_WAIT_MAX: Duration = Duration::from_secs(5);
/// What is kept of a caller's user name for the log entry.
pub const PRINCIPAL_BYTES_MAX: usize = 256;

/// Timestamps of one request: one millisecond's worth, as in Milvus. More would let one request poison the bound.
pub const TIMESTAMPS_PER_REQUEST_MAX: u32 = 1 << 18;
/// Requests taken from a timestamp stream for one leadership check.
pub const TIMESTAMP_BATCH_MAX: usize = 256;
/// How long AllocTimestamp waits for the oracle to pass `blockTimestamp`.
pub const BLOCK_TIMESTAMP_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest single sleep of a wait for a point in time; the clock is looked at again after it.
pub const MAX_SLEEP_MS: u64 = 1000;
/// How long a write waits on a new leader until its clock is settled, before it is sent to look for the leader again.
pub const CLOCK_SETTLE_WAIT: Duration = Duration::from_millis(250);
/// How long a new leader waits for each clock of the others, when its own is suspect.
pub const CLOCK_ANSWER_WAIT: Duration = Duration::from_millis(500);
/// Ids of one AllocID request. Milvus' allocators take 200,000 at a time.
pub const IDS_PER_REQUEST_MAX: u32 = 1 << 24;
/// Collections or partitions that one request names: each is looked up. As many as a cluster has by default.
pub const NAMES_PER_REQUEST_MAX: usize = 65_536;
/// Collections of one flush: each is looked up.
pub const COLLECTIONS_PER_FLUSH: usize = 4096;
/// Collections that one reply lists; beyond it the listing would not fit [`MESSAGE_BYTES_MAX`] with long names.
pub const LIST_PAGE: usize = 1024;

/// How long a stopping node tries to hand its leadership over.
pub const TRANSFER_WAIT: Duration = Duration::from_secs(2);
/// How long a stopping node lets open calls finish.
pub const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// A connection that says nothing for so long after it was opened is closed: it holds one of [`CONNECTIONS_MAX`].
pub const FIRST_BYTE_WAIT: Duration = Duration::from_secs(10);
/// A reply: the listing of 65,536 collections with the longest names fits.
pub const REPLY_BYTES_MAX: usize = 64 << 20;
/// How often gRPC health looks at this node when nothing else tells it to.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// A node that cannot confirm a read for so long is not ready: longer than an election with default settings takes.
pub const HEALTH_CONFIRM_WAIT: Duration = Duration::from_secs(2);

/// Passwords that are hashed or compared at the same time: each takes a core for tens of milliseconds, and other calls
/// need the cores as well.
pub const PASSWORD_HASHES_AT_ONCE: usize = 2;

/// Calls that wait for that; more are refused.
pub const PASSWORD_HASHES_WAITING_MAX: usize = 256;

/// Verified tokens that a node remembers; a user's clients share one.
pub const VERIFIED_TOKENS_MAX: usize = 16_384;
