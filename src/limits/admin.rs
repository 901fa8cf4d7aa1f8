//! Limits of the admin API and of `roostctl`.

use std::time::Duration;

/// One message of the admin API in either direction. The largest is a chunk of a snapshot.
pub const ADMIN_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Payload of one chunk of a saved snapshot: large enough for the disk's speed, small enough to be sent in one go.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1024 * 1024;

/// How long a member may take to describe itself before it counts as unreachable.
pub const MEMBER_STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// `roostctl --timeout` at most: a day is longer than any operator waits, and adds to an instant without overflow.
pub const CTL_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// How long one endpoint may take to prove that it is alive before the next one is tried.
pub const CTL_PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before `roostctl` asks the endpoints again: a few rounds fit into an election.
pub const CTL_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// HTTP/2 pings of `roostctl`, so that a stream from a stopped node ends (`log tail --follow`).
pub const CTL_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long such a ping may stay unanswered.
pub const CTL_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A member further behind than this needs attention: at a usual load, more than a second of entries.
pub const HEALTHY_LAG_ENTRIES_MAX: u64 = 10_000;

/// A tenth of the shortest default election timeout: slower syncs make leases and elections unreliable.
pub const HEALTHY_WAL_SYNC_US_MAX: u64 = 30_000;

/// A learner this close to the leader becomes a voter: it holds the rest before anyone misses its vote.
pub const PROMOTE_LAG_ENTRIES_MAX: u64 = 1000;

/// How often a replacement looks at the new member's progress.
pub const REPLACE_POLL: Duration = Duration::from_millis(200);

/// How often it reports, so that the caller knows that it lives.
pub const REPLACE_REPORT: Duration = Duration::from_secs(1);

/// Waiting for the outcome of a leader transfer, unless the caller says how long.
pub const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

/// Transfers at most this long: an operator's patience, and less than the longest call.
pub const TRANSFER_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// How often a waiting call looks at the node's status.
pub const ADMIN_POLL: Duration = Duration::from_millis(20);

/// Snapshots streamed at once: each pins a view of the database and reads all of it.
pub const SNAPSHOT_SAVES_MAX: usize = 2;

/// A reader of a snapshot that takes nothing for this long is given up, so that the pinned view is released.
pub const SNAPSHOT_READER_IDLE_MAX: Duration = Duration::from_secs(60);

/// Entries read from the log at once for `log tail`.
pub const LOG_TAIL_BATCH: usize = 256;

/// Tails at once: a following one lives as long as its caller.
pub const LOG_TAILS_MAX: usize = 16;

/// How often a following tail looks for new entries.
pub const LOG_TAIL_POLL: Duration = Duration::from_millis(100);

/// Answers of a stream that wait for a slow reader.
pub const ADMIN_STREAM_BUFFER: usize = 4;

/// Keys of the first page that `roostctl import` and `export` read: even of etcd's largest values they fit a reply.
pub const CTL_COPY_FIRST_PAGE_KEYS: i64 = 64;

/// Keys of any page.
pub const CTL_COPY_PAGE_KEYS_MAX: i64 = 4096;

/// The size of a page that the number of keys aims at.
pub const CTL_COPY_PAGE_BYTES: u64 = 4 << 20;

/// A page that is larger is asked for again with fewer keys.
pub const CTL_COPY_REPLY_BYTES_MAX: usize = 256 << 20;

/// Puts of one transaction of a copy: fewer than the 128 operations that an etcd takes unless it is told otherwise.
pub const CTL_COPY_TXN_OPERATIONS: usize = 100;

/// Bytes of keys and values of one transaction of a copy, unless one row alone is larger: a request may have 1.5 MiB.
pub const CTL_COPY_TXN_BYTES: u64 = 1 << 20;

/// Keys that one request of `--overwrite` deletes.
pub const CTL_COPY_DELETED_AT_ONCE: i64 = 1000;

/// How often a copy says on stderr how far it is.
pub const CTL_COPY_PROGRESS_PERIOD: Duration = Duration::from_secs(1);
