//! Which collections a physical channel carries.

use super::catalog::{Catalog, all_databases};
use crate::failure::Failure;
use crate::handler::Asked;
use crate::limits;
use crate::pb::common;
use crate::pb::rootcoord::{
    CollectionInfoOnPChannel, GetPChannelInfoRequest, GetPChannelInfoResponse, PartitionInfoOnPChannel,
};
use crate::pb::store;
use crate::state::View;

impl Catalog {
    /// All collections with a virtual channel on it, those that are being dropped among them, as long as something of
    /// them is left.
    pub async fn channel_info(
        &self,
        asked: &Asked<GetPChannelInfoRequest>,
    ) -> Result<GetPChannelInfoResponse, Failure> {
        let pchannel = asked.message.pchannel.clone();
        let read = move |view: &View<'_>| {
            let mut collections = Vec::new();
            for database in all_databases(view)? {
                let mut after: Option<String> = None;
                loop {
                    let page = view.collections(database.id, after.as_deref(), limits::LIST_PAGE)?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.name.clone());
                    for row in &page {
                        collections.extend(on_channel(view, row, &pchannel)?);
                    }
                }
            }
            let mut after = None;
            loop {
                let page = view.dropping(after, limits::LIST_PAGE)?;
                let Some(last) = page.last() else { return Ok(collections) };
                after = Some(*last);
                for (_, id) in page {
                    if let Some(row) = view.collection_in_any_state(id)? {
                        collections.extend(on_channel(view, &row, &pchannel)?);
                    }
                }
            }
        };
        let collections = self.ledger.list(&asked.call, read).await?;
        Ok(GetPChannelInfoResponse { status: Some(common::Status::default()), collections })
    }
}

/// A collection has at most one virtual channel on each physical one.
fn on_channel(
    view: &View<'_>,
    row: &store::Collection,
    pchannel: &str,
) -> Result<Option<CollectionInfoOnPChannel>, Failure> {
    let Some(place) = row.pchannels.iter().position(|own| own == pchannel) else { return Ok(None) };
    let partitions = view.partitions_of(row)?;
    Ok(Some(CollectionInfoOnPChannel {
        collection_id: row.id,
        partitions: partitions.into_iter().map(|one| PartitionInfoOnPChannel { partition_id: one.id }).collect(),
        vchannel: row.vchannels.get(place).cloned().unwrap_or_default(),
        state: row.state,
    }))
}
