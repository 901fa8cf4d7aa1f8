//! Every table of the state machine. The page in `mod.rs` explains them; tags are never reused.

use super::access::GrantKey;
use super::broadcast::LockName;
use super::table::{Name, Table};
use crate::pb::store;

pub const CLOCK: Table<(), store::Clock> = Table::new(0x01, "clock");
pub const ID_COUNTER: Table<(), store::IdCounter> = Table::new(0x02, "id counter");
pub const TSO_BOUND: Table<(), store::TsoBound> = Table::new(0x03, "tso bound");
pub const TOTALS: Table<(), store::Totals> = Table::new(0x04, "totals");

/// By node.
pub const SESSIONS: Table<u64, store::Session> = Table::new(0x10, "session");
/// By node, boot, sequence.
pub const REPLIES: Table<(u64, u64, u64), store::StoredReply> = Table::new(0x11, "reply");
/// By node, boot, sequence / `REPLIES_PER_PAGE`.
pub const REPLY_PAGES: Table<(u64, u64, u64), store::ReplyPage> = Table::new(0x13, "reply page");
/// By node, boot.
pub const RETIRED: Table<(u64, u64), store::RetiredReplies> = Table::new(0x12, "retired");

/// By id.
pub const DATABASES: Table<i64, store::Database> = Table::new(0x20, "database");
pub const DATABASE_NAMES: Table<String, store::Reference> = Table::new(0x21, "database name");
/// By database id.
pub const DATABASE_USE: Table<i64, store::DatabaseUse> = Table::new(0x22, "database use");

/// By id.
pub const COLLECTIONS: Table<i64, store::Collection> = Table::new(0x30, "collection");
/// The same rows, as far as a listing shows them. Only read.
pub const COLLECTION_LINES: Table<i64, store::CollectionLine> = Table::new(0x30, "collection");
/// By database id, name.
pub const COLLECTION_NAMES: Table<(i64, String), store::Reference> = Table::new(0x31, "collection name");
/// By database id, collection id.
pub const DATABASE_COLLECTIONS: Table<(i64, i64), store::Present> = Table::new(0x32, "database's collection");
/// By database id, collection id.
pub const DROPPING: Table<(i64, i64), store::Present> = Table::new(0x35, "dropping collection");

/// By database id, name; to the collection.
pub const ALIASES: Table<(i64, String), store::Reference> = Table::new(0x33, "alias");
/// By collection id, name.
pub const COLLECTION_ALIASES: Table<(i64, String), store::Present> = Table::new(0x34, "collection's alias");

/// By collection id, partition id.
pub const PARTITIONS: Table<(i64, i64), store::Partition> = Table::new(0x40, "partition");
/// By collection id, name.
pub const PARTITION_NAMES: Table<(i64, String), store::Reference> = Table::new(0x41, "partition name");

/// By the pchannel's number.
pub const CHANNEL_USE: Table<u16, store::ChannelUse> = Table::new(0x50, "channel use");
pub const CHANNEL_ORDER: Table<(), store::ChannelOrder> = Table::new(0x51, "channel order");
/// By the number of its vchannels, the pchannel's number.
pub const CHANNELS_BY_USE: Table<(u64, u16), store::Present> = Table::new(0x52, "channel by use");

/// By collection id, index id.
pub const INDEXES: Table<(i64, i64), store::Index> = Table::new(0x80, "index");
/// By collection id.
pub const LOADS: Table<i64, store::Load> = Table::new(0x90, "load");

/// Where the etcd key space stands.
pub const KEY_SPACE: Table<(), store::KeySpace> = Table::new(0x60, "key space");
/// By id.
pub const LEASES: Table<i64, store::Lease> = Table::new(0x61, "lease");
/// By lease id, the key's bytes.
pub const LEASE_KEYS: Table<(i64, Vec<u8>), store::Present> = Table::new(0x62, "lease's key");

/// Where the workers stand.
pub const WORKER_BOOK: Table<(), store::WorkerBook> = Table::new(0xa1, "worker book");
/// By server id, `store::WorkerRole`.
pub const WORKERS: Table<(i64, u8), store::Worker> = Table::new(0xa0, "worker");
/// By the book's revision: the latest changes.
pub const WORKER_CHANGES: Table<u64, store::WorkerName> = Table::new(0xa2, "worker change");
/// By the name of the request that registered a worker which lives.
pub const WORKER_REQUESTS: Table<Vec<u8>, store::WorkerName> = Table::new(0xa3, "worker request");

/// By name.
pub const USERS: Table<String, store::User> = Table::new(0x70, "user");
/// By name.
pub const ROLES: Table<String, store::Role> = Table::new(0x71, "role");
/// By user, role.
pub const USER_ROLES: Table<(Name, String), store::Binding> = Table::new(0x72, "user's role");
/// By role, user.
pub const ROLE_USERS: Table<(Name, String), store::Binding> = Table::new(0x73, "role's user");
/// By role, object type, database, object, privilege.
pub const GRANTS: Table<GrantKey, store::Grant> = Table::new(0x74, "grant");
/// By database, object, grant: of the grants that name an object.
pub const OBJECT_GRANTS: Table<((Name, Name), GrantKey), store::Present> = Table::new(0x75, "object's grant");
/// By group, grant: of the grants of custom privilege groups.
pub const GROUP_GRANTS: Table<(Name, GrantKey), store::Present> = Table::new(0x76, "group's grant");
/// By name.
pub const PRIVILEGE_GROUPS: Table<String, store::PrivilegeGroup> = Table::new(0x77, "privilege group");
pub const ACCESS_TOTALS: Table<(), store::AccessTotals> = Table::new(0x78, "access totals");
/// By database and object, the shift's number.
pub const GRANT_SHIFTS: Table<((Name, Name), u64), store::GrantShift> = Table::new(0x79, "grant shift");
/// By database and object that a shift led to, the shift's number; from where.
pub const GRANT_SOURCES: Table<((Name, Name), u64), store::GrantPlace> = Table::new(0x7a, "grant source");
/// By role.
pub const ROLE_CUTS: Table<String, store::RoleCut> = Table::new(0x7b, "role cut");

/// By name.
pub const PCHANNEL_ROWS: Table<String, store::PChannel> = Table::new(0xb0, "pchannel");
pub const STREAMING: Table<(), store::Streaming> = Table::new(0xb1, "streaming");
/// By name: of the pchannels that are being assigned.
pub const PCHANNELS_ASSIGNING: Table<String, store::Present> = Table::new(0xb2, "assigning pchannel");
/// By name, term: the latest ones.
pub const PCHANNEL_TERMS: Table<(Name, i64), store::PChannelTerm> = Table::new(0xb3, "pchannel's term");
/// By id.
pub const BROADCASTS: Table<i64, store::BroadcastTask> = Table::new(0xC0, "broadcast");
/// By resource, 0 for exclusive and 1 for shared, id: of pending tasks.
pub const BROADCAST_LOCKS: Table<(LockName, u8, i64), store::Present> = Table::new(0xC1, "broadcast lock");
/// By state, id.
pub const BROADCAST_STATES: Table<(u8, i64), store::Present> = Table::new(0xC2, "broadcast state");
/// By id: of pending tasks.
pub const BROADCAST_MESSAGES: Table<i64, store::BroadcastMessage> = Table::new(0xC3, "broadcast message");
/// By collection or database id, id: of pending tasks that the catalogue made about it.
pub const SUBJECT_BROADCASTS: Table<(i64, i64), store::Present> = Table::new(0xC4, "subject's broadcast");
pub const BROADCAST_TOTALS: Table<(), store::BroadcastTotals> = Table::new(0xC5, "broadcast totals");
pub const REPLICATION: Table<(), store::Replication> = Table::new(0xC8, "replication");
