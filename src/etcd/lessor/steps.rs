//! How much one command of the lessor ends. The state machine bounds the keys of a command, but their bytes only lease
//! by lease; many leases with long keys would be more than a node can hold.

use std::io;

use roost_raft::kv::Read;

use crate::state::keyspace;

/// Keys that are read at once: of the longest ones, 24 MiB.
const KEYS_PAGE: usize = 16;

/// How many of `leases`, from the first on, have no more than so many keys and bytes of keys together. The first one
/// counts in any case.
pub(super) fn fitting(read: &dyn Read, leases: &[i64], keys_max: usize, bytes_max: usize) -> io::Result<usize> {
    let (mut keys, mut bytes) = (0, 0);
    for (place, id) in leases.iter().enumerate() {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = keyspace::lease_keys(read, *id, after.as_deref(), KEYS_PAGE)?;
            keys += page.len();
            bytes += page.iter().map(Vec::len).sum::<usize>();
            if keys > keys_max || bytes > bytes_max {
                return Ok(place.max(1));
            }
            match page.into_iter().nth(KEYS_PAGE - 1) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
    }
    Ok(leases.len())
}
