//! Facts: what the log decided. Pure, synchronous, deterministic; no clock, no randomness, no I/O but the tables.
//!
//! [`Roost`] applies one [`Entry`] at a time: it answers copies of a request from the stored reply (session.rs), moves
//! the replicated clock on (clock.rs), executes the [`Command`] beside its noun, undoes what a rejected one wrote,
//! stores the reply, and does a bounded piece of housekeeping (retire.rs). Services read through a [`View`].
//!
//! # Tables
//! All in `Space::STATE`. A key is the tag, then the parts in order: integers fixed-width and big-endian (ids with the
//! sign bit flipped, so that they sort as numbers), a name last, as its bytes. A value is a message of
//! `proto/roost/store.proto`. Tags are never reused.
//!
//! | tag  | table                 | key                         | value            |
//! |------|-----------------------|-----------------------------|------------------|
//! | 0x01 | clock                 |                             | `Clock`          |
//! | 0x02 | id counter            |                             | `IdCounter`      |
//! | 0x03 | tso bound             |                             | `TsoBound`       |
//! | 0x04 | totals                |                             | `Totals`         |
//! | 0x10 | session               | node u64                    | `Session`        |
//! | 0x11 | reply                 | node, boot, sequence u64    | `StoredReply`    |
//! | 0x12 | retired               | node, boot u64              | `RetiredReplies` |
//! | 0x13 | reply page            | node, boot, page u64        | `ReplyPage`      |
//! | 0x20 | database              | id i64                      | `Database`       |
//! | 0x21 | database name         | name                        | `Reference`      |
//! | 0x22 | database use          | database i64                | `DatabaseUse`    |
//! | 0x30 | collection            | id i64                      | `Collection`     |
//! | 0x31 | collection name       | database i64, name          | `Reference`      |
//! | 0x32 | database's collection | database, collection i64    | `Present`        |
//! | 0x33 | alias                 | database i64, name          | `Reference`      |
//! | 0x34 | collection's alias    | collection i64, name        | `Present`        |
//! | 0x35 | dropping collection   | database, collection i64    | `Present`        |
//! | 0x40 | partition             | collection, partition i64   | `Partition`      |
//! | 0x41 | partition name        | collection i64, name        | `Reference`      |
//! | 0x50 | channel use           | pchannel number u16         | `ChannelUse`     |
//! | 0x51 | channel order         |                             | `ChannelOrder`   |
//! | 0x52 | channel by use        | vchannels u64, number u16   | `Present`        |
//! | 0x60 | key space             |                             | `KeySpace`       |
//! | 0x61 | lease                 | id i64                      | `Lease`          |
//! | 0x62 | lease's key           | lease i64, key bytes        | `Present`        |
//! | 0x80 | index                 | collection, index i64       | `Index`          |
//! | 0x90 | load                  | collection i64              | `Load`           |
//! | 0x70 | user                  | name                        | `User`           |
//! | 0x71 | role                  | name                        | `Role`           |
//! | 0x72 | user's role           | user n, role                | `Present`        |
//! | 0x73 | role's user           | role n, user                | `Present`        |
//! | 0x74 | grant                 | the grant                   | `Grant`          |
//! | 0x75 | object's grant        | database n, object n, grant | `Present`        |
//! | 0x76 | group's grant         | group n, the grant          | `Present`        |
//! | 0x77 | privilege group       | name                        | `PrivilegeGroup` |
//! | 0x78 | access totals         |                             | `AccessTotals`   |
//! | 0x79 | grant shift           | database n, object n, shift | `GrantShift`     |
//! | 0x7a | grant source          | database n, object n, shift | `GrantPlace`     |
//! | 0x7b | role cut              | role                        | `RoleCut`        |
//! | 0xa0 | worker                | server id i64, role u8      | `Worker`         |
//! | 0xa1 | worker book           |                             | `WorkerBook`     |
//! | 0xa2 | worker change         | revision u64                | `WorkerName`     |
//! | 0xa3 | worker request        | request bytes               | `WorkerName`     |
//! | 0xb0 | pchannel              | name                        | `PChannel`       |
//! | 0xb1 | streaming             |                             | `Streaming`      |
//! | 0xb2 | assigning pchannel    | name                        | `Present`        |
//! | 0xb3 | pchannel's term       | name n, term i64            | `PChannelTerm`   |
//! | 0xc0 | broadcast             | id i64                      | `BroadcastTask`  |
//! | 0xc1 | broadcast lock        | resource, mode u8, id i64   | `Present`        |
//! | 0xc2 | broadcast state       | state u8, id i64            | `Present`        |
//! | 0xc3 | broadcast message     | id i64                      | `BroadcastMessage` |
//! | 0xc4 | subject's broadcast   | subject, id i64             | `Present`        |
//! | 0xc5 | broadcast totals      |                             | `BroadcastTotals` |
//! | 0xc8 | replication           |                             | `Replication`    |
//!
//! `n` is a name that is not the last part: a byte of length stands before it. A grant is role n, object type u8
//! (Milvus' number), database n, object n, privilege. A resource is its domain u8, and its key behind two
//! bytes of length. A subject is a collection or a database.
//!
//! The etcd key space has spaces of its own, so that a user's key is the key and sorts as etcd says. What `KEYS` says
//! now, the other two say for every revision; they are not in the state hash.
//!
//! | space       | key                                    | value                                                |
//! |-------------|----------------------------------------|------------------------------------------------------|
//! | `KEYS`      | the user's                             | `KeyRow`                                             |
//! | `REVISIONS` | main, sub revision i64 big-endian      | `mvccpb.KeyValue`; of a deletion only its key        |
//! | `VERSIONS`  | escaped key, main, sub revision        | empty; of a deletion one byte                        |
//!
//! Counts (totals, database use, channel use, `Collection.partitions` and `.aliases`, `Clock.retired`) change in the
//! same transaction as the rows they count; a missing count row means zero. The default database (id 1) is written by
//! the first apply of all, before its command, with that entry's time.
//!
//! A worker's row says what its session key says, and what was ordered beside it: whatever puts or deletes such a key
//! changes the row in the same transaction (worker/rows.rs).
//!
//! A collection that is being dropped has a row in `collection`, in state Dropping, and one in `dropping collection`,
//! as long as something of it is left; its name, its place in the database and its counts are gone already.

pub mod access;
mod alias;
pub mod broadcast;
mod channel;
mod clock;
pub mod codec;
mod collection;
mod command;
mod database;
mod entry;
mod event;
pub mod id;
mod index;
pub mod keyspace;
pub mod limits;
mod load;
pub mod name;
mod partition;
pub mod pchannel;
mod property;
mod reply;
mod retire;
mod schema;
mod session;
mod step;
mod table;
pub mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod totals;
mod tso;
mod view;
pub mod worker;

use std::io;

use roost_raft::kv::{Read, Txn};
use roost_raft::machine::{ApplyContext, Machine};

pub use alias::AliasCommand;
pub use broadcast::{BroadcastCommand, BroadcastReply};
pub use channel::{PCHANNELS, pchannel_name};
pub use clock::physical_ms;
pub use collection::{
    AddField, AlterField, AlterSettings, ChangeFunction, Conditional, ConditionalChange, EnableDynamicField,
    EraseCollection, FieldLimits, FunctionChange, ParamLimits, RenameCollection, TruncateCollection, check_added_field,
};
pub use command::{
    AccessCommand, AllocId, AlterCollectionProperties, AlterDatabase, CollectionChange, Command, CreateCollection,
    CreateDatabase, CreatePartition, DropCollection, DropDatabase, DropPartition, ExtendTso,
};
pub use database::max_collections;
pub use entry::{Entry, RequestId};
pub use event::Event;
pub use index::{AlterIndex, CreateIndex, DropIndex, IndexCommand, IndexReply, JSON_PATH};
pub use limits::Limits;
pub use load::{LoadCollection, LoadCommand, LoadPartitions, LoadReply, ReleaseCollection, ReleasePartitions};
pub use pchannel::{AssignOrder, PChannelCommand, PChannelReply, PolicyChange};
pub use property::{Properties, switch};
pub use reply::Reply;
use session::Admission;
use step::Step;
pub use table::Table;
pub use view::View;
pub use worker::{RegisterWorker, WorkerCommand, WorkerReply};

/// The database that is meant when none is named.
pub const DEFAULT_DATABASE: &str = "default";
/// Milvus' own number for it.
pub const DEFAULT_DATABASE_ID: i64 = 1;
/// The property that says by which clock a collection's times without a zone are meant; a database's for its new ones.
pub const TIME_ZONE: &str = "timezone";
/// The partition that cannot be dropped.
pub const DEFAULT_PARTITION: &str = "_default";

/// The state machine that the Raft host runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roost;

impl Machine for Roost {
    type Event = Event;

    const APPLY_VERSION: u32 = 8;
    const BATCHES_SINCE: u32 = 3;

    fn apply(
        &self,
        context: &ApplyContext,
        command: &[u8],
        txn: &mut Txn<'_>,
        events: &mut Vec<Event>,
    ) -> io::Result<Vec<u8>> {
        let entry = Entry::decode(command).map_err(|error| invalid(&format!("log entry {}", context.index), &error))?;
        let encoded = |reply: &Reply| reply.encode().map_err(|error| invalid("reply", &error));
        let open = match entry.request.map(|request| session::admit(txn, request)).transpose()? {
            None => None,
            Some(Admission::Execute(open)) => Some(open),
            Some(Admission::Repeated(reply)) => return Ok(reply),
            Some(Admission::Refused(reply)) => return encoded(&reply),
        };
        let mut clock = clock::advance(txn, entry.at_ms)?;
        let reply = execute(&entry.command, clock.now_ms, context, txn, events)?;
        let bytes = encoded(&reply)?;
        if let Some(open) = open {
            match reply.for_copies(&bytes) {
                None => open.close(txn, &mut clock, context.apply_version, &bytes)?,
                Some(shorter) => open.close(txn, &mut clock, context.apply_version, &encoded(&shorter)?)?,
            }
        }
        retire::proceed(txn, &mut clock)?;
        tables::CLOCK.put(txn, &(), &clock);
        Ok(bytes)
    }

    fn is_long(&self, command: &[u8]) -> bool {
        Entry::is_long(command)
    }

    fn is_common(event: &Event) -> bool {
        event.is_of_plain_keys()
    }

    fn describe(&self, command: &[u8]) -> String {
        match Entry::decode(command) {
            Ok(entry) => entry.to_string(),
            Err(error) => format!("unreadable entry of {} bytes: {error}", command.len()),
        }
    }

    /// Opens what every request needs, so that a foreign or damaged table set is found before anything is served.
    fn restored(&self, view: &dyn Read) -> io::Result<()> {
        let view = View::new(view);
        view.clock_ms()?;
        view.next_id()?;
        view.tso_bound_ms()?;
        view.totals()?;
        view.database(DEFAULT_DATABASE)?;
        Ok(())
    }
}

/// Executes one command; a rejected one leaves neither rows nor events.
fn execute(
    command: &Command,
    now_ms: u64,
    context: &ApplyContext,
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
) -> io::Result<Reply> {
    let (mark, before) = (txn.mark(), events.len());
    let (index, apply_version) = (context.index, context.apply_version);
    let mut step = Step { txn, now_ms, index, apply_version, events };
    let may = match command.is_replicated() {
        true => broadcast::check_may_change(&step),
        false => Ok(()),
    };
    let outcome = may
        .and_then(|()| command.apply(&mut step))
        .and_then(|reply| broadcast::outbox::follow(&mut step, before).map(|()| reply));
    let reply = step.settle(mark, outcome)?;
    if matches!(reply, Reply::Rejected(_)) {
        events.truncate(before);
    }
    Ok(reply)
}

fn invalid(what: &str, error: &codec::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {error}"))
}
