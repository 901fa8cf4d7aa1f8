//! Looking pchannels up.

use std::io;

use roost_raft::kv::Read;

use crate::pb::store;
use crate::state::channel::PCHANNELS;
use crate::state::limits::{MAX_NAME_BYTES, MAX_PCHANNELS, PCHANNEL_TERMS_KEPT};
use crate::state::tables::{PCHANNEL_ROWS, PCHANNEL_TERMS, PCHANNELS_ASSIGNING, STREAMING};
use crate::state::worker;

pub(in crate::state) fn find(read: &dyn Read, name: &str) -> io::Result<Option<store::PChannel>> {
    match name.len() > MAX_NAME_BYTES {
        true => Ok(None),
        false => PCHANNEL_ROWS.get(read, &name.to_owned()),
    }
}

/// All of them by name.
pub(in crate::state) fn all(read: &dyn Read) -> io::Result<Vec<store::PChannel>> {
    let rows = PCHANNEL_ROWS.page(read, &(), None, MAX_PCHANNELS)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Those that are being assigned, by name.
pub(in crate::state) fn assigning(read: &dyn Read) -> io::Result<Vec<store::PChannel>> {
    let names = PCHANNELS_ASSIGNING.page(read, &(), None, MAX_PCHANNELS)?;
    let row = |name| PCHANNEL_ROWS.get(read, &name)?.ok_or_else(|| PCHANNEL_ROWS.missing(&name));
    names.into_iter().map(|(name, _)| row(name)).collect()
}

/// The latest terms of one, oldest first.
pub(in crate::state) fn terms(read: &dyn Read, name: &str) -> io::Result<Vec<store::PChannelTerm>> {
    if name.len() > MAX_NAME_BYTES {
        return Ok(Vec::new());
    }
    let limit = usize::try_from(PCHANNEL_TERMS_KEPT).unwrap_or(usize::MAX);
    let name = crate::state::table::Name::from(name.to_owned());
    Ok(PCHANNEL_TERMS.page(read, &name, None, limit)?.into_iter().map(|(_, row)| row).collect())
}

pub(in crate::state) fn streaming(read: &dyn Read) -> io::Result<store::Streaming> {
    STREAMING.get_or_default(read, &())
}

/// How many pchannels carry collections: those that every cluster has, and those that were added.
pub(in crate::state) fn count(read: &dyn Read) -> io::Result<u16> {
    let added = u16::try_from(streaming(read)?.pchannels).unwrap_or(u16::MAX);
    Ok(added.max(PCHANNELS))
}

/// Rises with every change of what is told about assignments: pchannels, nodes, and whatever else has a part in it.
/// A sum of revisions that never fall.
pub(in crate::state) fn version(read: &dyn Read) -> io::Result<u64> {
    Ok(streaming(read)?.revision.saturating_add(worker::book(read)?.revision))
}

/// A streaming node that lives.
pub(super) fn streaming_node(read: &dyn Read, id: i64) -> io::Result<Option<store::Worker>> {
    worker::find(read, id, store::WorkerRole::StreamingNode)
}
