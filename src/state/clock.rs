//! The replicated clock: the greatest time that any leader stamped. It never goes back, whatever the wall clocks do.
//! The very first apply also writes what every cluster starts with (genesis), so all nodes get the same bytes.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::tables::{CLOCK, DATABASE_NAMES, DATABASES};
use super::{DEFAULT_DATABASE, DEFAULT_DATABASE_ID};
use crate::pb::store;

/// Hybrid timestamps keep the logical counter in so many low bits.
const LOGICAL_BITS: u32 = 18;

/// Moves the clock on to `at_ms` and returns its row, which the caller writes back when the apply is done.
pub(super) fn advance(txn: &mut Txn<'_>, at_ms: u64) -> io::Result<store::Clock> {
    let Some(clock) = CLOCK.get(txn, &())? else {
        genesis(txn, at_ms);
        return Ok(store::Clock { now_ms: at_ms, ..store::Clock::default() });
    };
    Ok(store::Clock { now_ms: clock.now_ms.max(at_ms), ..clock })
}

/// The default database, which cannot be created or dropped.
fn genesis(txn: &mut Txn<'_>, at_ms: u64) {
    let database = store::Database {
        id: DEFAULT_DATABASE_ID,
        name: DEFAULT_DATABASE.to_owned(),
        properties: Vec::new(),
        created_ts: at_ms << LOGICAL_BITS,
    };
    DATABASES.put(txn, &database.id, &database);
    DATABASE_NAMES.put(txn, &database.name, &store::Reference { id: database.id });
}

pub(super) fn now_ms(read: &dyn Read) -> io::Result<u64> {
    Ok(CLOCK.get_or_default(read, &())?.now_ms)
}

/// The milliseconds of a hybrid timestamp.
pub fn physical_ms(ts: u64) -> u64 {
    ts >> LOGICAL_BITS
}
