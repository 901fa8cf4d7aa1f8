//! Loading: what of a collection, with which fields, as how many replicas in which resource groups.

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
/// Properties of a collection for loads that say nothing themselves.
const REPLICAS: &str = "collection.replica.number";
const GROUPS: &str = "collection.resource_groups";

impl QueryCoord {
    /// On the leader. What is loaded already takes on what is asked for; nothing to change is a success.
    pub async fn load_collection(&self, asked: &Asked<LoadCollectionRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let schema = row.decoded_schema()?;
        let command = LoadCollection {
            collection_id: row.id,
            fields: fields::to_load(&schema, &request.load_fields, request.skip_load_dynamic_field)?,
            replicas: replicas(request.replica_number, &request.resource_groups, &row)?,
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Load(LoadReply::Loaded { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(LoadCommand::Collection(command)), done).await
    }

    /// On the leader. Loads partitions beside those that are loaded.
    pub async fn load_partitions(&self, asked: &Asked<LoadPartitionsRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let schema = row.decoded_schema()?;
        if schema.fields.iter().any(|field| field.is_partition_key) {
            return Err(Rejection::invalid("disable load partitions if partition key mode is used").into());
        }
        if request.partition_names.is_empty() {
            return Err(Rejection::invalid("failed to load partition, due to no partition specified").into());
        }
        let command = LoadPartitions {
            collection_id: row.id,
            partitions: self.partitions(&asked.call, row.id, &request.partition_names).await?,
            fields: fields::to_load(&schema, &request.load_fields, request.skip_load_dynamic_field)?,
            replicas: replicas(request.replica_number, &request.resource_groups, &row)?,
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Load(LoadReply::Loaded { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(LoadCommand::Partitions(command)), done).await
    }
}

/// The resource group of each replica. A request that names neither number nor groups gets the collection's own.
pub(super) fn replicas(number: i32, groups: &[String], row: &store::Collection) -> Result<Vec<String>, Rejection> {
    let property = |key| row.properties.iter().find(|property| property.key == key).map(|property| &property.value);
    let silent = number <= 0 && groups.is_empty();
    let own_number = property(REPLICAS).filter(|_| silent).and_then(|value| value.parse().ok());
    let number: i32 = own_number.unwrap_or(number).max(1);
    let own_groups = property(GROUPS).filter(|_| silent).map(String::as_str).unwrap_or_default();
    let own_groups = own_groups.split(',').map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned);
    let mut groups: Vec<String> = if silent { own_groups.collect() } else { groups.to_vec() };
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
