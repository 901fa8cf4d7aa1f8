//! What DataCoord decides, as far as it concerns metadata: indexes, and flushes of collections that have no data.
//! Rows and segments are not Roost's yet, so every index covers all there is and every flush is done.

mod flush;
mod index;
mod kinds;
mod metrics;
mod params;
mod path;
mod scalar;
#[cfg(test)]
mod tests;

use crate::ledger::Ledger;

/// Cheap to clone.
#[derive(Clone)]
pub struct DataCoord {
    ledger: Ledger,
}

impl DataCoord {
    pub fn new(ledger: Ledger) -> Self {
        DataCoord { ledger }
    }
}
