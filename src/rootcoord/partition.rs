//! Partitions for both APIs. A collection is named by its name or by an alias.

use super::catalog::{Catalog, named_collection};
use super::{Which, describe, validate};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::common::{self, KeyValuePair};
use crate::pb::milvus::{
    CreatePartitionRequest, DropPartitionRequest, GetPartitionStatisticsRequest, GetPartitionStatisticsResponse,
    HasPartitionRequest, ShowPartitionsRequest, ShowPartitionsResponse, ShowType,
};
use crate::pb::store;
use crate::querycoord::partition_percent;
use crate::state::{self, Command, CreatePartition, DropPartition, Reply, View};

impl Catalog {
    /// On the leader. A partition that is there already is a success.
    pub async fn create_partition(&self, asked: &Asked<CreatePartitionRequest>) -> Result<(), Failure> {
        let CreatePartitionRequest { db_name, collection_name, partition_name, .. } = &asked.message;
        let command = CreatePartition {
            database: asked.database(db_name).to_owned(),
            name: names(collection_name, partition_name)?.to_owned(),
            collection: collection_name.clone(),
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: state::Limits::from(self.ledger.limits.as_ref()),
        };
        let done = reply!(Reply::PartitionCreated { .. } => ());
        self.ledger.propose(&asked.call, Command::CreatePartition(command), done).await
    }

    /// On the leader. A missing partition is a success.
    pub async fn drop_partition(&self, asked: &Asked<DropPartitionRequest>) -> Result<(), Failure> {
        let DropPartitionRequest { db_name, collection_name, partition_name, .. } = &asked.message;
        let command = DropPartition {
            database: asked.database(db_name).to_owned(),
            name: names(collection_name, partition_name)?.to_owned(),
            collection: collection_name.clone(),
        };
        let done = reply!(Reply::PartitionDropped { .. } => ());
        self.ledger.propose(&asked.call, Command::DropPartition(command), done).await
    }

    /// The collection must be there.
    pub async fn has_partition(&self, asked: &Asked<HasPartitionRequest>) -> Result<bool, Failure> {
        let HasPartitionRequest { db_name, collection_name, partition_name, .. } = &asked.message;
        let partition = names(collection_name, partition_name)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = named_collection(&view, asked.database(db_name), collection_name)?;
        Ok(view.partition(row.id, partition)?.is_some())
    }

    /// Every partition of a collection, by id: the older first. The type InMemory asks for those that are loaded: of
    /// these the named ones, if any are named, which must be loaded then.
    /// `AnyState`: by id also those that are left of a collection that is being dropped.
    pub async fn show_partitions(
        &self,
        asked: &Asked<ShowPartitionsRequest>,
        which: Which,
    ) -> Result<ShowPartitionsResponse, Failure> {
        let ShowPartitionsRequest { collection_name, collection_id, r#type, partition_names, .. } = &asked.message;
        validate::not_too_many(partition_names)?;
        let (name, id) = (collection_name.clone(), *collection_id);
        let in_memory = *r#type == i32::from(ShowType::InMemory);
        let named = partition_names.clone();
        let database = asked.database(&asked.message.db_name).to_owned();
        let read = move |view: &View<'_>| {
            let row = shown_collection(view, &database, &name, id, which)?;
            let status = Some(common::Status::default());
            let mut list = ShowPartitionsResponse { status, ..ShowPartitionsResponse::default() };
            if in_memory {
                list_loaded(view, &mut list, row.id, &named)?;
            } else {
                view.partitions_of(&row)?
                    .into_iter()
                    .for_each(|partition| describe::list_partition(&mut list, partition));
            }
            Ok(list)
        };
        self.ledger.list(&asked.call, read).await
    }

    /// How many rows a partition has: none, as no node that could write some can join yet.
    pub async fn partition_statistics(
        &self,
        asked: &Asked<GetPartitionStatisticsRequest>,
    ) -> Result<GetPartitionStatisticsResponse, Failure> {
        let GetPartitionStatisticsRequest { db_name, collection_name, partition_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = named_collection(&view, asked.database(db_name), collection_name)?;
        let partition = partition_name.trim();
        if validate::partition_name(partition).is_err() || view.partition(row.id, partition)?.is_none() {
            return Err(Rejection::PartitionNotFound { partition: partition.to_owned() }.into());
        }
        let stats = vec![KeyValuePair { key: "row_count".to_owned(), value: "0".to_owned() }];
        Ok(GetPartitionStatisticsResponse { status: Some(common::Status::default()), stats })
    }
}

/// By name, or by id when there is no name.
fn shown_collection(
    view: &View<'_>,
    database: &str,
    name: &str,
    id: i64,
    which: Which,
) -> Result<store::Collection, Failure> {
    if !name.is_empty() || id == 0 {
        validate::collection_name(name)?;
        return named_collection(view, database, name);
    }
    Ok(which.by_id(view, id)?.ok_or(Rejection::CollectionIdNotFound { id })?)
}

/// Checks both names; the partition's without the blanks around it.
fn names<'a>(collection: &str, partition: &'a str) -> Result<&'a str, Rejection> {
    validate::collection_name(collection)?;
    let partition = partition.trim();
    validate::partition_name(partition)?;
    Ok(partition)
}

/// Lists loaded partitions: all, or those that are named.
fn list_loaded(
    view: &View<'_>,
    list: &mut ShowPartitionsResponse,
    collection_id: i64,
    named: &[String],
) -> Result<(), Failure> {
    let load = view.load(collection_id)?;
    let mut partitions = view.partitions(collection_id)?;
    if !named.is_empty() {
        let mut found = Vec::with_capacity(named.len());
        for name in named {
            let missing = || Rejection::PartitionNotFound { partition: name.clone() };
            found.push(view.partition(collection_id, name)?.ok_or_else(missing)?);
        }
        partitions = found;
    }
    for partition in partitions {
        match partition_percent(load.as_ref(), partition.id) {
            Some(percent) => {
                describe::list_partition(list, partition);
                list.in_memory_percentages.push(percent);
            }
            None if named.is_empty() => {}
            None => {
                let (partition, detail) = (partition.id.to_string(), "show partition failed".to_owned());
                return Err(Rejection::PartitionNotLoaded { partition, detail }.into());
            }
        }
    }
    Ok(())
}
