//! At which place of the log a collection was changed last, so that a change can be made conditional on what its caller
//! saw. Whatever changes the row counts, which is all that a description shows. A place is never taken twice, so a
//! collection that was dropped and created again under its name is at another revision as well.

use crate::pb::store;
use crate::state::step::Step;
use crate::state::tables::COLLECTIONS;

/// Members of older apply versions do not count.
const SINCE: u32 = 6;
/// Of a collection that was changed last before that. No command has this place: the log begins with its members.
const UNCOUNTED: u64 = 1;

/// Writes a new or changed row.
pub(in crate::state) fn save(step: &mut Step<'_, '_>, row: &mut store::Collection) {
    if step.apply_version >= SINCE {
        row.revision = step.index;
    }
    COLLECTIONS.put(step.txn, &row.id, row);
}

impl store::Collection {
    /// Never 0, and never the same after a change that anybody could see.
    pub fn revision(&self) -> u64 {
        self.revision.max(UNCOUNTED)
    }
}
