//! What QueryCoord decides, as far as it concerns metadata: what shall be loaded, and how far that is. There is no data
//! yet, so whatever shall be loaded is.

mod fields;
mod load;
mod progress;
mod release;
mod replicas;
#[cfg(test)]
mod tests;

pub use progress::{collection_percent, partition_percent};

use crate::call::Call;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::Ledger;
use crate::pb::store;
use crate::rootcoord::named_collection;
use crate::state::View;

/// Cheap to clone.
#[derive(Clone)]
pub struct QueryCoord {
    ledger: Ledger,
}

impl QueryCoord {
    pub fn new(ledger: Ledger) -> Self {
        QueryCoord { ledger }
    }

    /// The collection, which must be there.
    async fn collection<T>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
    ) -> Result<store::Collection, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        named_collection(&View::new(view.as_ref()), asked.database(database), collection)
    }

    /// The ids of partitions, each of which must be there.
    async fn partitions(&self, call: &Call, collection: i64, names: &[String]) -> Result<Vec<i64>, Failure> {
        let view = self.ledger.view(call).await?;
        progress::partition_ids(&View::new(view.as_ref()), collection, names)
    }
}
