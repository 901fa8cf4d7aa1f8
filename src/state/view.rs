//! What services read: typed queries over one consistent view. Every list is paged; none decodes more than it returns.

use std::io;

use roost_raft::kv::Read;

use super::access::AccessView;
use super::broadcast::BroadcastView;
use super::tables::{
    ALIASES, COLLECTION_LINES, COLLECTION_NAMES, COLLECTIONS, DATABASE_COLLECTIONS, DATABASE_NAMES, DATABASE_USE,
    DATABASES, DROPPING, LOADS, PARTITIONS, TOTALS, TSO_BOUND,
};
use super::worker::{self, WorkerChanges};
use super::{RequestId, alias, channel, clock, collection, database, id, index, partition, pchannel, session};
use crate::pb::store::{self, WorkerRole};

/// Queries over `kv::Read`. An `Err` is a storage failure, never a "not found".
#[derive(Clone, Copy)]
pub struct View<'a> {
    read: &'a dyn Read,
}

impl<'a> View<'a> {
    pub fn new(read: &'a dyn Read) -> Self {
        View { read }
    }

    /// Users, roles and grants.
    pub fn access(&self) -> AccessView<'a> {
        AccessView::new(self.read)
    }

    /// Messages for several vchannels.
    pub fn broadcasts(&self) -> BroadcastView<'a> {
        BroadcastView::new(self.read)
    }

    /// Empty: the default database.
    pub fn database(&self, name: &str) -> io::Result<Option<store::Database>> {
        database::lookup(self.read, name)
    }

    pub fn database_by_id(&self, id: i64) -> io::Result<Option<store::Database>> {
        DATABASES.get(self.read, &id)
    }

    /// Up to `limit` databases by name, after the name `after`.
    pub fn databases(&self, after: Option<&str>, limit: usize) -> io::Result<Vec<store::Database>> {
        let after = after.map(str::to_owned);
        let page = DATABASE_NAMES.page(self.read, &(), after.as_ref(), limit)?;
        let row = |id| DATABASES.get(self.read, &id)?.ok_or_else(|| DATABASES.missing(&id));
        page.into_iter().map(|(_, reference)| row(reference.id)).collect()
    }

    /// By its name or by an alias.
    pub fn collection(&self, database_id: i64, name: &str) -> io::Result<Option<store::Collection>> {
        collection::resolve(self.read, database_id, name)
    }

    /// The id of the collection that an alias stands for.
    pub fn alias(&self, database_id: i64, name: &str) -> io::Result<Option<i64>> {
        alias::target(self.read, database_id, name)
    }

    /// Up to `limit` aliases of a database with their collections' ids, by name, after the name `after`.
    pub fn aliases(&self, database_id: i64, after: Option<&str>, limit: usize) -> io::Result<Vec<(String, i64)>> {
        let after = after.map(|after| (database_id, after.to_owned()));
        let page = ALIASES.page(self.read, &database_id, after.as_ref(), limit)?;
        Ok(page.into_iter().map(|((_, name), reference)| (name, reference.id)).collect())
    }

    /// All aliases of a collection by name: as many as its row counts.
    pub fn aliases_of(&self, row: &store::Collection) -> io::Result<Vec<String>> {
        alias::of(self.read, row)
    }

    /// None for one that is being dropped.
    pub fn collection_by_id(&self, id: i64) -> io::Result<Option<store::Collection>> {
        Ok(self.collection_in_any_state(id)?.filter(|row| row.state == i32::from(store::CollectionState::Created)))
    }

    /// Whether there is one, though it may be on its way out; without its schema.
    pub fn has_collection(&self, id: i64) -> io::Result<bool> {
        Ok(COLLECTION_LINES.get(self.read, &id)?.is_some())
    }

    pub fn collection_in_any_state(&self, id: i64) -> io::Result<Option<store::Collection>> {
        COLLECTIONS.get(self.read, &id)
    }

    /// Up to `limit` collections of a database by name, after the name `after`.
    pub fn collections(
        &self,
        database_id: i64,
        after: Option<&str>,
        limit: usize,
    ) -> io::Result<Vec<store::Collection>> {
        let after = after.map(|after| (database_id, after.to_owned()));
        let page = COLLECTION_NAMES.page(self.read, &database_id, after.as_ref(), limit)?;
        let row = |id| COLLECTIONS.get(self.read, &id)?.ok_or_else(|| COLLECTIONS.missing(&id));
        page.into_iter().map(|(_, reference)| row(reference.id)).collect()
    }

    /// As [`View::collections`], of each only what a listing shows.
    pub fn collection_lines(
        &self,
        database_id: i64,
        after: Option<&str>,
        limit: usize,
    ) -> io::Result<Vec<store::CollectionLine>> {
        let after = after.map(|after| (database_id, after.to_owned()));
        let page = COLLECTION_NAMES.page(self.read, &database_id, after.as_ref(), limit)?;
        let row = |id| COLLECTION_LINES.get(self.read, &id)?.ok_or_else(|| COLLECTION_LINES.missing(&id));
        page.into_iter().map(|(_, reference)| row(reference.id)).collect()
    }

    /// Up to `limit` ids of a database's collections in ascending order, after the id `after`.
    pub fn collection_ids(&self, database_id: i64, after: Option<i64>, limit: usize) -> io::Result<Vec<i64>> {
        let after = after.map(|after| (database_id, after));
        let page = DATABASE_COLLECTIONS.page(self.read, &database_id, after.as_ref(), limit)?;
        Ok(page.into_iter().map(|((_, id), _)| id).collect())
    }

    /// Up to `limit` ids of collections that are being dropped, and the database of each, after the pair `after`.
    pub fn dropping(&self, after: Option<(i64, i64)>, limit: usize) -> io::Result<Vec<(i64, i64)>> {
        let page = DROPPING.page(self.read, &(), after.as_ref(), limit)?;
        Ok(page.into_iter().map(|(key, _)| key).collect())
    }

    /// As [`View::dropping`], of one database.
    pub fn dropping_in(&self, database_id: i64, after: Option<i64>, limit: usize) -> io::Result<Vec<i64>> {
        let after = after.map(|after| (database_id, after));
        let page = DROPPING.page(self.read, &database_id, after.as_ref(), limit)?;
        Ok(page.into_iter().map(|((_, id), _)| id).collect())
    }

    pub fn partition(&self, collection_id: i64, name: &str) -> io::Result<Option<store::Partition>> {
        partition::lookup(self.read, collection_id, name)
    }

    /// All partitions of a collection by id: as many as its row counts.
    pub fn partitions(&self, collection_id: i64) -> io::Result<Vec<store::Partition>> {
        match self.collection_by_id(collection_id)? {
            Some(row) => self.partitions_of(&row),
            None => Ok(Vec::new()),
        }
    }

    /// As [`View::partitions`]; of a collection that is being dropped those that are left.
    pub fn partitions_of(&self, row: &store::Collection) -> io::Result<Vec<store::Partition>> {
        let page = PARTITIONS.page(self.read, &row.id, None, row.partitions as usize)?;
        Ok(page.into_iter().map(|(_, partition)| partition).collect())
    }

    /// All indexes of a collection by id.
    pub fn indexes(&self, collection_id: i64) -> io::Result<Vec<store::Index>> {
        index::of_collection(self.read, collection_id)
    }

    /// How the collection is loaded; `None`: nothing of it is.
    pub fn load(&self, collection_id: i64) -> io::Result<Option<store::Load>> {
        LOADS.get(self.read, &collection_id)
    }

    /// The worker of this server id: of a process with several roles the one with the lowest number.
    pub fn worker(&self, id: i64) -> io::Result<Option<store::Worker>> {
        Ok(worker::of_server(self.read, id)?.into_iter().next())
    }

    /// The worker of this server id and role.
    pub fn worker_as(&self, id: i64, role: WorkerRole) -> io::Result<Option<store::Worker>> {
        worker::find(self.read, id, role)
    }

    /// All workers by server id and role: 4,096 at the most.
    pub fn workers(&self) -> io::Result<Vec<store::Worker>> {
        worker::all(self.read)
    }

    /// Where the workers stand.
    pub fn worker_book(&self) -> io::Result<store::WorkerBook> {
        worker::book(self.read)
    }

    /// What became of the workers after a revision of theirs; 0 asks for all.
    pub fn worker_changes(&self, after: u64) -> io::Result<WorkerChanges> {
        worker::changes(self.read, after)
    }

    /// What streaming has in common: the revision of the assignments, the control channel, the balance policy.
    pub fn streaming(&self) -> io::Result<store::Streaming> {
        pchannel::streaming(self.read)
    }

    pub fn pchannel(&self, name: &str) -> io::Result<Option<store::PChannel>> {
        pchannel::find(self.read, name)
    }

    /// All pchannels by name.
    pub fn pchannels(&self) -> io::Result<Vec<store::PChannel>> {
        pchannel::all(self.read)
    }

    /// The pchannels that are being assigned, by name.
    pub fn pchannels_assigning(&self) -> io::Result<Vec<store::PChannel>> {
        pchannel::assigning(self.read)
    }

    /// The latest terms of a pchannel, oldest first.
    pub fn pchannel_terms(&self, name: &str) -> io::Result<Vec<store::PChannelTerm>> {
        pchannel::terms(self.read, name)
    }

    /// How many virtual channels a pchannel carries.
    pub fn vchannels_on(&self, pchannel: &str) -> io::Result<u64> {
        channel::vchannels(self.read, pchannel)
    }

    /// The version of what is told about assignments: it rises with every change of it, and never falls.
    pub fn assignment_version(&self) -> io::Result<u64> {
        pchannel::version(self.read)
    }

    /// What the log answered this request, encoded, as long as it is kept for copies of it.
    pub fn answered(&self, request: RequestId) -> io::Result<Option<Vec<u8>>> {
        session::stored(self.read, request)
    }

    /// 0 before the first leader set it.
    pub fn tso_bound_ms(&self) -> io::Result<u64> {
        Ok(TSO_BOUND.get_or_default(self.read, &())?.bound_ms)
    }

    /// The replicated clock.
    pub fn clock_ms(&self) -> io::Result<u64> {
        clock::now_ms(self.read)
    }

    /// The id that would be handed out next.
    pub fn next_id(&self) -> io::Result<i64> {
        id::next(self.read)
    }

    pub fn totals(&self) -> io::Result<store::Totals> {
        TOTALS.get_or_default(self.read, &())
    }

    /// How many collections a database has.
    pub fn collections_in(&self, database_id: i64) -> io::Result<u64> {
        Ok(DATABASE_USE.get_or_default(self.read, &database_id)?.collections)
    }
}
