//! Loading: what of a collection, with which fields, as how many replicas in which resource groups.

use super::progress::partition_ids;
use super::{QueryCoord, fields};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::milvus::{LoadCollectionRequest, LoadPartitionsRequest};
use crate::pb::store;
use crate::rootcoord::validate;
use crate::state::limits::MAX_REPLICAS;
use crate::state::{Command, LoadCollection, LoadCommand, LoadPartitions, LoadReply, Reply};

/// The only resource group that there is.
pub(super) const DEFAULT_GROUP: &str = "__default_resource_group";
/// Properties of a collection, and of its database, for loads that say nothing themselves.
const REPLICAS: [&str; 2] = ["collection.replica.number", "database.replica.number"];
const GROUPS: [&str; 2] = ["collection.resource_groups", "database.resource_groups"];

impl QueryCoord {
    /// On the leader. What is loaded already takes on what is asked for; nothing to change is a success.
    pub async fn load_collection(&self, asked: &Asked<LoadCollectionRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let found = self.look(asked, &request.db_name, &request.collection_name, |view, row| {
            Ok((view.database_by_id(row.database_id)?.unwrap_or_default(), row))
        });
        let (database, row) = found.await?;
        let schema = row.decoded_schema()?;
        let command = LoadCollection {
            collection_id: row.id,
            fields: fields::to_load(&schema, &request.load_fields, request.skip_load_dynamic_field)?,
            replicas: replicas(request.replica_number, &request.resource_groups, &row, &database)?,
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Load(LoadReply::Loaded { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(LoadCommand::Collection(command)), done).await
    }

    /// On the leader. Loads partitions beside those that are loaded.
    pub async fn load_partitions(&self, asked: &Asked<LoadPartitionsRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let found = self.look(asked, &request.db_name, &request.collection_name, |view, row| {
            let schema = row.decoded_schema()?;
            if schema.fields.iter().any(|field| field.is_partition_key) {
                return Err(Rejection::invalid("disable load partitions if partition key mode is used").into());
            }
            if request.partition_names.is_empty() {
                return Err(Rejection::invalid("failed to load partition, due to no partition specified").into());
            }
            let partitions = partition_ids(view, row.id, &request.partition_names)?;
            Ok((view.database_by_id(row.database_id)?.unwrap_or_default(), row, schema, partitions))
        });
        let (database, row, schema, partitions) = found.await?;
        let command = LoadPartitions {
            collection_id: row.id,
            partitions,
            fields: fields::to_load(&schema, &request.load_fields, request.skip_load_dynamic_field)?,
            replicas: replicas(request.replica_number, &request.resource_groups, &row, &database)?,
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Load(LoadReply::Loaded { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(LoadCommand::Partitions(command)), done).await
    }
}

/// The resource group of each replica. What a request leaves open, number or groups, the collection says, else its
/// database.
pub(super) fn replicas(
    number: i32,
    groups: &[String],
    row: &store::Collection,
    database: &store::Database,
) -> Result<Vec<String>, Rejection> {
    let property = |[own, shared]: [&str; 2]| {
        let find =
            |all: &[store::Property], key: &str| all.iter().find(|one| one.key == key).map(|one| one.value.clone());
        find(&row.properties, own).or_else(|| find(&database.properties, shared))
    };
    let own_number = Some(number).filter(|number| *number > 0);
    let number: i32 = own_number.or_else(|| property(REPLICAS)?.parse().ok()).unwrap_or(1).max(1);
    let mut groups = groups.to_vec();
    if groups.is_empty() {
        let listed = property(GROUPS).unwrap_or_default();
        groups.extend(listed.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned));
    }
    if groups.is_empty() {
        groups.push(DEFAULT_GROUP.to_owned());
    }
    let count = usize::try_from(number).unwrap_or(usize::MAX);
    if count > MAX_REPLICAS {
        let detail = format!("the number of replicas must be in 1..={MAX_REPLICAS}, got {number}");
        return Err(Rejection::invalid(detail));
    }
    if groups.len() != 1 && groups.len() != count {
        return Err(Rejection::invalid(format!(
            "replica=[{number}] resource group=[{}], resource group num can only be 0, 1 or same as replica number",
            groups.join(",")
        )));
    }
    if let Some(group) = groups.iter().find(|group| *group != DEFAULT_GROUP) {
        return Err(Rejection::ResourceGroupNotFound { group: group.clone() });
    }
    if groups.len() > 1 {
        return Ok(groups);
    }
    Ok(groups.into_iter().cycle().take(count).collect())
}
