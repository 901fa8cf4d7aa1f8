//! Where a row stands, owned and by reference.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::Space;

/// Rows by space and key; `None` is a deletion.
pub type Rows = BTreeMap<Slot, Option<Vec<u8>>>;
/// Where a row stands.
pub type Slot = (Space, Vec<u8>);

/// A slot by reference, so that a look-up copies no key.
trait AsSlot {
    fn as_slot(&self) -> (Space, &[u8]);
}

impl AsSlot for Slot {
    fn as_slot(&self) -> (Space, &[u8]) {
        (self.0, &self.1)
    }
}

impl AsSlot for (Space, &[u8]) {
    fn as_slot(&self) -> (Space, &[u8]) {
        *self
    }
}

impl<'s> Borrow<dyn AsSlot + 's> for Slot {
    fn borrow(&self) -> &(dyn AsSlot + 's) {
        self
    }
}

impl Ord for dyn AsSlot + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slot().cmp(&other.as_slot())
    }
}

impl PartialOrd for dyn AsSlot + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn AsSlot + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.as_slot() == other.as_slot()
    }
}

impl Eq for dyn AsSlot + '_ {}

/// The row as the overlay has it.
pub(crate) fn find<'r>(rows: &'r Rows, space: Space, key: &[u8]) -> Option<&'r Option<Vec<u8>>> {
    rows.get(&(space, key) as &dyn AsSlot)
}

/// The same, and takes it out.
pub(super) fn take(rows: &mut Rows, space: Space, key: &[u8]) -> Option<Option<Vec<u8>>> {
    rows.remove(&(space, key) as &dyn AsSlot)
}
