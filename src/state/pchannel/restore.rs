//! PChannels of a new cluster that begins with a backup.

use std::io;

use roost_raft::kv::Txn;

use super::read::{all, streaming};
use crate::pb::store::PChannelState;
use crate::state::tables::{PCHANNEL_ROWS, PCHANNEL_TERMS, PCHANNELS_ASSIGNING, STREAMING};

/// The old cluster may have given out terms and revisions after the backup was taken: the new one leaves out so many.
/// Nothing is held by anybody any more.
pub fn skip_terms(txn: &mut Txn<'_>, margin: u32) -> io::Result<()> {
    let mut common = streaming(txn)?;
    let rows = all(txn)?;
    if rows.is_empty() && common.revision == 0 {
        return Ok(());
    }
    for mut row in rows {
        row.term = row.term.saturating_add(margin.into());
        row.histories.clear();
        row.node = None;
        row.set_state(PChannelState::Unavailable);
        PCHANNELS_ASSIGNING.delete(txn, &row.name);
        PCHANNEL_ROWS.put(txn, &row.name, &row);
    }
    // They would stand before those to come for ever: old terms make room for the next ones by number.
    PCHANNEL_TERMS.clear(txn)?;
    common.revision = common.revision.saturating_add(margin.into());
    STREAMING.put(txn, &(), &common);
    Ok(())
}
