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

    /// What one view says of the collection, which must be there.
    async fn look<T, R>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
        read: impl FnOnce(&View<'_>, store::Collection) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = named_collection(&view, asked.database(database), collection)?;
        read(&view, row)
    }

    /// The collection, which must be there.
    async fn collection<T>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
    ) -> Result<store::Collection, Failure> {
        self.look(asked, database, collection, |_, row| Ok(row)).await
    }
}
