//! Which collection an alias stands for, in memory: grants name collections, and calls may name aliases.

use std::collections::HashMap;
use std::io;

use crate::limits;
use crate::state::{Event, View};

/// By database and alias, the collection's own name.
#[derive(Debug, Default)]
pub struct Aliases {
    by_database: HashMap<Box<str>, HashMap<Box<str>, Box<str>>>,
}

impl Aliases {
    /// All of them, from the tables.
    pub fn read(view: &View<'_>) -> io::Result<Self> {
        let mut all = Aliases::default();
        let mut databases: Option<String> = None;
        loop {
            let page = view.databases(databases.as_deref(), limits::LIST_PAGE)?;
            let Some(last) = page.last() else { return Ok(all) };
            databases = Some(last.name.clone());
            for database in page {
                all.read_database(view, database.id, &database.name)?;
            }
        }
    }

    fn read_database(&mut self, view: &View<'_>, id: i64, name: &str) -> io::Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = view.aliases(id, after.as_deref(), limits::LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (alias, collection) in page {
                if let Some(row) = view.collection_by_id(collection)? {
                    self.set(name, &alias, &row.name);
                }
            }
        }
    }

    /// Takes in what an event says. What it names may be gone again, as a later event will say.
    pub fn note(&mut self, view: &View<'_>, event: &Event) -> io::Result<()> {
        match event {
            Event::AliasSet { database_id, collection_id, name } => {
                let target = view.collection_by_id(*collection_id)?;
                if let (Some(database), Some(row)) = (view.database_by_id(*database_id)?, target) {
                    self.set(&database.name, name, &row.name);
                }
            }
            Event::AliasDropped { database_id, name, .. } => {
                if let Some(database) = view.database_by_id(*database_id)?
                    && let Some(aliases) = self.by_database.get_mut(database.name.as_str())
                {
                    aliases.remove(name.as_str());
                }
            }
            Event::CollectionRenamed { database_id, collection_id, .. } => {
                let target = view.collection_by_id(*collection_id)?;
                if let (Some(database), Some(row)) = (view.database_by_id(*database_id)?, target) {
                    for alias in view.aliases_of(&row)? {
                        self.set(&database.name, &alias, &row.name);
                    }
                }
            }
            Event::DatabaseDropped { name, .. } => _ = self.by_database.remove(name.as_str()),
            _ => {}
        }
        Ok(())
    }

    /// Whether an event is one for [`Aliases::note`].
    pub fn concerns(event: &Event) -> bool {
        matches!(
            event,
            Event::AliasSet { .. }
                | Event::AliasDropped { .. }
                | Event::CollectionRenamed { .. }
                | Event::DatabaseDropped { .. }
        )
    }

    /// The name of the collection that a name stands for: its own, if it is no alias.
    pub fn resolve(&self, database: &str, name: &str) -> Option<&str> {
        self.by_database.get(database)?.get(name).map(AsRef::as_ref)
    }

    fn set(&mut self, database: &str, alias: &str, collection: &str) {
        self.by_database.entry(database.into()).or_default().insert(alias.into(), collection.into());
    }
}
