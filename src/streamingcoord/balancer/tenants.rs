//! Which collections each pchannel carries, kept in the leader's memory: read once when it begins to lead, and then
//! changed by the log's events. To read all collections for each plan would take longer than the plan.

use std::collections::BTreeMap;
use std::io;

use crate::limits;
use crate::state::{DEFAULT_DATABASE_ID, Event, View};

/// See the module.
#[derive(Debug, Default)]
pub struct Tenants {
    by_collection: BTreeMap<i64, Vec<String>>,
    /// One entry for each vchannel.
    by_channel: BTreeMap<String, Vec<i64>>,
}

impl Tenants {
    /// All of them.
    pub fn read(view: &View<'_>) -> io::Result<Self> {
        let mut tenants = Tenants::default();
        let mut databases = vec![DEFAULT_DATABASE_ID];
        let mut after: Option<String> = None;
        loop {
            let page = view.databases(after.as_deref(), limits::BALANCER_PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            databases.extend(page.iter().map(|row| row.id).filter(|id| *id != DEFAULT_DATABASE_ID));
        }
        for database in databases {
            let mut after = None;
            loop {
                let page = view.collection_ids(database, after, limits::BALANCER_PAGE)?;
                let Some(last) = page.last() else { break };
                after = Some(*last);
                page.iter().try_for_each(|id| tenants.enter(view, *id))?;
            }
        }
        Ok(tenants)
    }

    /// Takes a change in.
    pub fn note(&mut self, view: &View<'_>, event: &Event) -> io::Result<()> {
        match event {
            Event::CollectionCreated { collection_id, .. } => self.enter(view, *collection_id)?,
            Event::CollectionDropped { collection_id, .. } => self.leave(*collection_id),
            _ => {}
        }
        Ok(())
    }

    /// Whether an event is a change.
    pub fn concerns(event: &Event) -> bool {
        matches!(event, Event::CollectionCreated { .. } | Event::CollectionDropped { .. })
    }

    /// The collection of each vchannel of a pchannel, sorted.
    pub fn of(&self, channel: &str) -> Vec<i64> {
        self.by_channel.get(channel).cloned().unwrap_or_default()
    }

    fn enter(&mut self, view: &View<'_>, id: i64) -> io::Result<()> {
        self.leave(id);
        // One that is gone by now has an event of its own.
        let Some(row) = view.collection_by_id(id)? else { return Ok(()) };
        for channel in &row.pchannels {
            let ids = self.by_channel.entry(channel.clone()).or_default();
            let place = ids.partition_point(|other| *other <= id);
            ids.insert(place, id);
        }
        self.by_collection.insert(id, row.pchannels);
        Ok(())
    }

    fn leave(&mut self, id: i64) {
        for channel in self.by_collection.remove(&id).unwrap_or_default() {
            if let Some(ids) = self.by_channel.get_mut(&channel)
                && let Ok(place) = ids.binary_search(&id)
            {
                ids.remove(place);
            }
        }
    }
}
