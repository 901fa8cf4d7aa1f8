//! Listings: every collection of a database, or those that are loaded.

use super::read::was_there;
use crate::access::keep_lines;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::limits;
use crate::pb::common;
use crate::pb::milvus::{ShowCollectionsRequest, ShowCollectionsResponse, ShowType};
use crate::pb::store;
use crate::querycoord::collection_percent;
use crate::rootcoord::cache::Listing;
use crate::rootcoord::catalog::{Catalog, existing, named_collection};
use crate::rootcoord::{describe, validate};
use crate::state::View;

impl Catalog {
    /// Every collection of a database, or those that are loaded: of these the named ones, if any are named, which must
    /// be loaded then.
    pub async fn show_collections(
        &self,
        asked: &Asked<ShowCollectionsRequest>,
    ) -> Result<ShowCollectionsResponse, Failure> {
        let ShowCollectionsRequest { r#type, time_stamp, collection_names: named, .. } = &asked.message;
        validate::not_too_many(named)?;
        if *r#type == i32::from(ShowType::InMemory) {
            return self.show_loaded(asked).await;
        }
        let mut list = self.listing(asked).await?.reply()?;
        let seen: Vec<bool> = list.created_timestamps.iter().map(|created| was_there(*created, *time_stamp)).collect();
        if seen.contains(&false) {
            keep_lines(&mut list, &seen);
        }
        Ok(list)
    }

    /// The reply as it goes over the wire, if the caller asked for all of it. `None`: ask in the other way, which says
    /// why there is none.
    pub async fn encoded_listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Option<Listing> {
        let ShowCollectionsRequest { r#type, time_stamp, collection_names, .. } = &asked.message;
        if *r#type == i32::from(ShowType::InMemory) || *time_stamp != 0 || !collection_names.is_empty() {
            return None;
        }
        self.listing(asked).await.ok()
    }

    async fn listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Result<Listing, Failure> {
        let database = asked.database(&asked.message.db_name);
        self.ledger.barrier(&asked.call).await?;
        if let Some(known) = self.cache.listing(database) {
            return Ok(known);
        }
        let (cache, database) = (self.cache.clone(), database.to_owned());
        let reading = cache.reading();
        let read = move |view: &View<'_>| {
            let database = existing(view, &database)?;
            let mut list = empty();
            each_line(view, &database, |line| {
                describe::list(&mut list, line);
                Ok(())
            })?;
            let listing = Listing::of(&list)?;
            cache.keep_listing(&reading, &database, listing.clone());
            Ok(listing)
        };
        self.ledger.list(&asked.call, read).await
    }

    async fn show_loaded(&self, asked: &Asked<ShowCollectionsRequest>) -> Result<ShowCollectionsResponse, Failure> {
        let ShowCollectionsRequest { db_name, time_stamp, collection_names: named, .. } = &asked.message;
        let (database, time_stamp, named) = (asked.database(db_name).to_owned(), *time_stamp, named.clone());
        let read = move |view: &View<'_>| {
            let database = existing(view, &database)?;
            let mut list = empty();
            for name in &named {
                let store::Collection { id, name, shards, created_ts, .. } =
                    named_collection(view, &database.name, name)?;
                let (collection, detail) = (id.to_string(), "show collection failed".to_owned());
                let missing = || Rejection::CollectionNotLoaded { collection, detail };
                let percent = collection_percent(view, id)?.ok_or_else(missing)?;
                describe::list_loaded(&mut list, store::CollectionLine { id, name, shards, created_ts }, percent);
            }
            if named.is_empty() {
                each_line(view, &database, |line| {
                    let percent = match was_there(line.created_ts, time_stamp) {
                        true => collection_percent(view, line.id)?,
                        false => None,
                    };
                    percent.into_iter().for_each(|percent| describe::list_loaded(&mut list, line.clone(), percent));
                    Ok(())
                })?;
            }
            Ok(list)
        };
        self.ledger.list(&asked.call, read).await
    }
}

fn empty() -> ShowCollectionsResponse {
    ShowCollectionsResponse { status: Some(common::Status::default()), ..ShowCollectionsResponse::default() }
}

/// Shows each collection of a database by name.
fn each_line(
    view: &View<'_>,
    database: &store::Database,
    mut show: impl FnMut(store::CollectionLine) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let page = view.collection_lines(database.id, after.as_deref(), limits::LIST_PAGE)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.name.clone());
        page.into_iter().try_for_each(&mut show)?;
    }
}
