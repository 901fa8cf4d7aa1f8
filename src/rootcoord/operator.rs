//! The operator's calls about the catalogue (`proto/roost/catalog.proto`): changes with a condition, and all of one
//! collection.

use std::sync::Arc;

use super::catalog::{Catalog, named_collection};
use super::{Which, describe, validate};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::{Asked, handlers};
use crate::pb::catalog::{
    AlterCollectionRequest, CreateCollectionRequest, DropCollectionRequest, InspectCollectionRequest,
    InspectCollectionResponse, catalog_server,
};
use crate::pb::store::CollectionState;
use crate::pb::{common, milvus};
use crate::querycoord::collection_percent;
use crate::state::View;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct CatalogService {
    pub catalog: Arc<Catalog>,
}

impl CatalogService {
    /// On the leader.
    async fn create(&self, asked: &Asked<CreateCollectionRequest>) -> Result<(), Failure> {
        let wanted = asked.message.clone();
        let request = milvus::CreateCollectionRequest {
            db_name: wanted.db_name,
            collection_name: wanted.collection_name,
            schema: wanted.schema,
            shards_num: wanted.shards_num,
            consistency_level: wanted.consistency_level,
            properties: wanted.properties,
            num_partitions: wanted.num_partitions,
            ..Default::default()
        };
        self.catalog.create_collection_at(&asked.about(request), wanted.if_revision).await
    }

    /// On the leader.
    async fn alter(&self, asked: &Asked<AlterCollectionRequest>) -> Result<(), Failure> {
        let AlterCollectionRequest { db_name, collection_name, if_revision, properties, delete_keys } =
            asked.message.clone();
        let request =
            milvus::AlterCollectionRequest { db_name, collection_name, properties, delete_keys, ..Default::default() };
        self.catalog.alter_collection_at(&asked.about(request), if_revision).await
    }

    /// On the leader.
    async fn drop(&self, asked: &Asked<DropCollectionRequest>) -> Result<(), Failure> {
        let DropCollectionRequest { db_name, collection_name, if_revision } = asked.message.clone();
        let request = milvus::DropCollectionRequest { db_name, collection_name, ..Default::default() };
        self.catalog.drop_collection_at(&asked.about(request), if_revision).await
    }

    /// By name, or by id when there is no name.
    async fn inspect(&self, asked: &Asked<InspectCollectionRequest>) -> Result<InspectCollectionResponse, Failure> {
        let InspectCollectionRequest { db_name, collection_name, collection_id: id } = &asked.message;
        let by_id = collection_name.is_empty() && *id != 0;
        if !by_id {
            validate::collection_name(collection_name)?;
        }
        let view = self.catalog.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = match by_id {
            true => Which::AnyState.by_id(&view, *id)?.ok_or(Rejection::CollectionIdNotFound { id: *id })?,
            false => named_collection(&view, asked.database(db_name), collection_name)?,
        };
        // A database may be dropped while something of its last collections is left.
        let database = view.database_by_id(row.database_id)?.unwrap_or_default();
        let state = match row.state() {
            CollectionState::Created => "CollectionCreated",
            CollectionState::Dropping => "CollectionDropping",
        };
        let load = view.load(row.id)?;
        let (revision, load_percent) = (row.revision(), collection_percent(&view, row.id)?);
        let indexes = view.indexes(row.id)?.into_iter().map(|index| index.name).collect();
        Ok(InspectCollectionResponse {
            status: Some(common::Status::default()),
            description: Some(describe::collection(&view, row, &database)?),
            revision,
            state: state.to_owned(),
            load_percent,
            replicas: load.map_or(0, |load| u32::try_from(load.replicas.len()).unwrap_or(u32::MAX)),
            indexes,
        })
    }
}

#[tonic::async_trait]
impl catalog_server::Catalog for CatalogService {
    handlers! {
        create_collection(CreateCollectionRequest) -> common::Status = |this, asked| this.create(asked);
        alter_collection(AlterCollectionRequest) -> common::Status = |this, asked| this.alter(asked);
        drop_collection(DropCollectionRequest) -> common::Status = |this, asked| this.drop(asked);
        inspect_collection(InspectCollectionRequest) -> InspectCollectionResponse =
            |this, asked| this.inspect(asked);
    }
}
