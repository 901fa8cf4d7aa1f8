//! Indexes for clients: judge what is asked, propose, and read behind a barrier.

use super::DataCoord;
use super::params::{self, Wanted};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::common::{self, IndexState, KeyValuePair};
use crate::pb::milvus::{
    AlterIndexRequest, CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest,
    GetIndexBuildProgressRequest, GetIndexBuildProgressResponse, GetIndexStateRequest, GetIndexStateResponse,
    GetIndexStatisticsRequest, GetIndexStatisticsResponse, IndexDescription,
};
use crate::pb::schema::CollectionSchema;
use crate::pb::store;
use crate::rootcoord::{named_collection, validate};
use crate::state::{AlterIndex, Command, CreateIndex, DropIndex, IndexCommand, IndexReply, Properties, Reply, View};

/// The name that is meant by the two oldest calls when they name none (Milvus' common.defaultIndexName).
const OLD_DEFAULT_NAME: &str = "_default_idx";

impl DataCoord {
    /// On the leader. The same index again is a success.
    pub async fn create_index(&self, asked: &Asked<CreateIndexRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let name = request.index_name.trim();
        validate::index_name(name)?;
        let schema = row.decoded_schema()?;
        let field = params::named_field(&schema, &request.field_name)?;
        let wanted = params::complete(&schema, field, &request.field_name, &request.extra_params)?;
        let Wanted { default_name, type_params, index_params, user_params, is_auto, metric_is_default } = wanted;
        let command = CreateIndex {
            collection_id: row.id,
            field_id: field.field_id,
            name: name.to_owned(),
            default_name,
            type_params,
            index_params,
            user_params,
            is_auto,
            metric_is_default,
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Index(IndexReply::Created { .. }) => ());
        self.ledger.propose(&asked.call, Command::Index(IndexCommand::Create(command)), done).await
    }

    /// On the leader. Sets or deletes parameters that may change while the collection is not loaded.
    pub async fn alter_index(&self, asked: &Asked<AlterIndexRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        if !request.extra_params.is_empty() && !request.delete_keys.is_empty() {
            return Err(Rejection::invalid("cannot provide both DeleteKeys and ExtraParams").into());
        }
        let mut keys = request.extra_params.iter().map(|pair| &pair.key).chain(&request.delete_keys);
        if let Some(key) = keys.find(|key| !params::is_changeable(key)) {
            return Err(Rejection::invalid(format!("{key} is not a configable index property")).into());
        }
        validate::collection_name(&request.collection_name)?;
        if request.index_name.is_empty() {
            return Err(Rejection::invalid("index name is empty").into());
        }
        validate::index_name(&request.index_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let present = self.indexes(asked, row.id, &request.index_name).await?;
        let set: Properties = request.extra_params.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
        if let Some(index) = present.first() {
            let index_type = index.param(params::INDEX_TYPE).unwrap_or_default().to_owned();
            params::check_changeable([(params::INDEX_TYPE.to_owned(), index_type)].iter().chain(&set))?;
        }
        let command = AlterIndex {
            collection_id: row.id,
            // An id that no index has: apply says what is missing, after what is in the way.
            index_id: present.first().map_or(0, |index| index.id),
            name: request.index_name.clone(),
            set,
            delete: request.delete_keys.clone(),
            ts: self.ledger.timestamp(&asked.call).await?,
        };
        let done = reply!(Reply::Index(IndexReply::Altered { .. }) => ());
        self.ledger.propose(&asked.call, Command::Index(IndexCommand::Alter(command)), done).await
    }

    /// On the leader. A missing index is a success.
    pub async fn drop_index(&self, asked: &Asked<DropIndexRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let command = DropIndex { collection_id: row.id, name: request.index_name.clone() };
        let done = reply!(Reply::Index(IndexReply::Dropped { .. }) => ());
        self.ledger.propose(&asked.call, Command::Index(IndexCommand::Drop(command)), done).await
    }

    /// One index, or all when none is named.
    pub async fn describe_index(&self, asked: &Asked<DescribeIndexRequest>) -> Result<DescribeIndexResponse, Failure> {
        let DescribeIndexRequest { db_name, collection_name, index_name, .. } = &asked.message;
        let index_descriptions = self.descriptions(asked, db_name, collection_name, index_name).await?;
        Ok(DescribeIndexResponse { status: Some(common::Status::default()), index_descriptions })
    }

    /// As [`DataCoord::describe_index`]: without segments there is nothing more to count.
    pub async fn index_statistics(
        &self,
        asked: &Asked<GetIndexStatisticsRequest>,
    ) -> Result<GetIndexStatisticsResponse, Failure> {
        let GetIndexStatisticsRequest { db_name, collection_name, index_name, .. } = &asked.message;
        let index_descriptions = self.descriptions(asked, db_name, collection_name, index_name).await?;
        Ok(GetIndexStatisticsResponse { status: Some(common::Status::default()), index_descriptions })
    }

    pub async fn index_state(&self, asked: &Asked<GetIndexStateRequest>) -> Result<GetIndexStateResponse, Failure> {
        let GetIndexStateRequest { db_name, collection_name, index_name, .. } = &asked.message;
        self.descriptions(asked, db_name, collection_name, or_old_default(index_name)).await?;
        let (status, fail_reason) = (Some(common::Status::default()), String::new());
        Ok(GetIndexStateResponse { status, state: IndexState::Finished.into(), fail_reason })
    }

    pub async fn index_progress(
        &self,
        asked: &Asked<GetIndexBuildProgressRequest>,
    ) -> Result<GetIndexBuildProgressResponse, Failure> {
        let GetIndexBuildProgressRequest { db_name, collection_name, index_name, .. } = &asked.message;
        self.descriptions(asked, db_name, collection_name, or_old_default(index_name)).await?;
        Ok(GetIndexBuildProgressResponse { status: Some(common::Status::default()), ..Default::default() })
    }

    /// At least one: none is a refusal.
    async fn descriptions<T>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
        index: &str,
    ) -> Result<Vec<IndexDescription>, Failure> {
        validate::collection_name(collection)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = named_collection(&view, asked.database(database), collection)?;
        let schema = row.decoded_schema()?;
        let present = named(view.indexes(row.id)?, index);
        if present.is_empty() {
            return Err(Rejection::IndexNotFound { index: index.to_owned() }.into());
        }
        Ok(present.into_iter().map(|index| description(index, &schema)).collect())
    }

    /// The collection, which must be there.
    pub(super) async fn collection<T>(
        &self,
        asked: &Asked<T>,
        database: &str,
        collection: &str,
    ) -> Result<store::Collection, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        named_collection(&View::new(view.as_ref()), asked.database(database), collection)
    }

    /// The indexes of this name, or all when it is empty.
    async fn indexes<T>(&self, asked: &Asked<T>, collection: i64, name: &str) -> Result<Vec<store::Index>, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        Ok(named(View::new(view.as_ref()).indexes(collection)?, name))
    }
}

/// Those of this name, or all when it is empty.
fn named(mut indexes: Vec<store::Index>, name: &str) -> Vec<store::Index> {
    indexes.retain(|index| name.is_empty() || index.name == name);
    indexes
}

fn or_old_default(name: &str) -> &str {
    if name.is_empty() { OLD_DEFAULT_NAME } else { name }
}

/// There are no rows, so whatever is asked for is finished.
fn description(index: store::Index, schema: &CollectionSchema) -> IndexDescription {
    let members = schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    let field = schema.fields.iter().chain(members).find(|field| field.field_id == index.field_id);
    let pair = |param: store::Property| KeyValuePair { key: param.key, value: param.value };
    IndexDescription {
        index_name: index.name,
        index_id: index.id,
        params: index.user_params.into_iter().map(pair).collect(),
        field_name: field.map(|field| field.name.clone()).unwrap_or_default(),
        state: IndexState::Finished.into(),
        ..IndexDescription::default()
    }
}
