//! Bounds of what is done for streaming nodes and their clients.

use std::time::Duration;

/// Streams of AssignmentDiscover on one node: each Milvus process has one.
pub const ASSIGNMENT_LISTENERS_MAX: usize = 10_000;
/// A message of a listener: a channel's name and why it failed.
pub const ASSIGNMENT_REQUEST_BYTES_MAX: usize = 64 << 10;
/// Changes that come within so long of each other are told as one: channels that move together are taken one by one.
pub const ASSIGNMENT_GATHER: Duration = Duration::from_millis(10);
/// Pause before a listener's report is sent to the leader again; doubles from the first to the second.
pub const ASSIGNMENT_REPORT_RETRY_MIN: Duration = Duration::from_millis(50);
pub const ASSIGNMENT_REPORT_RETRY_MAX: Duration = Duration::from_secs(3);
/// Calls to one streaming node at the same time.
pub const NODE_CALLS_AT_ONCE: usize = 64;
/// How long a streaming node may take to connect, and to say how it is.
pub const NODE_STATUS_WAIT: Duration = Duration::from_secs(3);
/// How often it is looked whether a node that is waited for still lives.
pub const NODE_LOOK: Duration = Duration::from_millis(200);
/// Pause before a node is asked again to let go of a channel; doubles from the first to the second.
pub const NODE_RETRY_MIN: Duration = Duration::from_millis(10);
pub const NODE_RETRY_MAX: Duration = Duration::from_secs(1);
/// Pause before a channel that a node did not take is ordered again; doubles from the first to the second (Milvus:
/// streaming.walBalancer.backoffInitialInterval, .backoffMaxInterval).
pub const ASSIGN_RETRY_MIN: Duration = Duration::from_millis(10);
pub const ASSIGN_RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a node that failed is avoided; doubles from the first to the second with each further failure.
pub const NODE_AVOIDED_MIN: Duration = Duration::from_secs(1);
pub const NODE_AVOIDED_MAX: Duration = Duration::from_secs(60);
/// The balancer gathers what happens within so long before it plans.
pub const BALANCER_GATHER: Duration = Duration::from_millis(5);
/// Pause of the balancer after the log or the tables failed it.
pub const BALANCER_RETRY: Duration = Duration::from_millis(100);
/// Nodes that had a channel, of which the balancer knows the latest ones.
pub const FORMER_OWNERS_MAX: usize = 4;
/// How long collections may come and go before the balancer looks at where their vchannels are.
pub const BALANCER_VCHANNELS_GATHER: Duration = Duration::from_secs(1);
/// Operators' questions to the balancer that wait.
pub const BALANCER_QUESTIONS_MAX: usize = 64;
/// Collections that are read from the tables in one piece when a balancer begins.
pub const BALANCER_PAGE: usize = 256;
