//! Changes of a schema: fields and functions are added and altered. What only the schema itself can tell is judged
//! again where the change is applied; a change that was judged by another collection of that name is not applied.

use prost::Message;

use crate::call::Call;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::{
    AddCollectionFieldRequest, AddCollectionFunctionRequest, AlterCollectionFieldRequest,
    AlterCollectionFunctionRequest, DropCollectionFunctionRequest,
};
use crate::pb::schema::FunctionSchema;
use crate::rootcoord::catalog::Catalog;
use crate::rootcoord::validate;
use crate::state::{AddField, AlterField, ChangeFunction, CollectionChange, FieldLimits, FunctionChange, ParamLimits};

impl Catalog {
    /// On the leader. Adds a nullable field.
    pub async fn add_collection_field(&self, asked: &Asked<AddCollectionFieldRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let (database, limits) = (asked.database(&request.db_name), &self.ledger.limits);
        let (row, schema) = self.schema(&asked.call, database, &request.collection_name).await?;
        let field = match validate::added_field(&request.schema, &row, &schema, limits) {
            Ok(field) => field,
            Err(refusal) => return self.refuse_change(&asked.call, refusal).await,
        };
        let command = AddField {
            database: database.to_owned(),
            collection: request.collection_name.clone(),
            judged_id: row.id,
            field: field.encode_to_vec(),
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: FieldLimits::from(limits.as_ref()),
        };
        self.change_collection(&asked.call, CollectionChange::AddField(command)).await
    }

    /// On the leader. Sets or deletes parameters of a field, or changes its description.
    pub async fn alter_collection_field(&self, asked: &Asked<AlterCollectionFieldRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::altered_field(request)?;
        let pair = |pair: &KeyValuePair| (pair.key.clone(), pair.value.clone());
        let command = AlterField {
            database: asked.database(&request.db_name).to_owned(),
            collection: request.collection_name.clone(),
            field: request.field_name.clone(),
            set: request.properties.iter().map(pair).collect(),
            delete: request.delete_keys.clone(),
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: ParamLimits::from(self.ledger.limits.as_ref()),
        };
        self.change_collection(&asked.call, CollectionChange::AlterField(command)).await
    }

    /// On the leader.
    pub async fn add_collection_function(&self, asked: &Asked<AddCollectionFunctionRequest>) -> Result<(), Failure> {
        let AddCollectionFunctionRequest { db_name, collection_name, function_schema, .. } = &asked.message;
        let database = asked.database(db_name);
        self.set_function(&asked.call, database, collection_name, None, function_schema.as_ref()).await
    }

    /// On the leader.
    pub async fn alter_collection_function(
        &self,
        asked: &Asked<AlterCollectionFunctionRequest>,
    ) -> Result<(), Failure> {
        let AlterCollectionFunctionRequest { db_name, collection_name, function_name, function_schema, .. } =
            &asked.message;
        let (database, name) = (asked.database(db_name), Some(function_name.as_str()));
        self.set_function(&asked.call, database, collection_name, name, function_schema.as_ref()).await
    }

    /// On the leader. A missing function is a success. Its output fields stay, as ordinary ones.
    pub async fn drop_collection_function(&self, asked: &Asked<DropCollectionFunctionRequest>) -> Result<(), Failure> {
        let DropCollectionFunctionRequest { db_name, collection_name, function_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        validate::function_name(function_name)?;
        let change = FunctionChange::Drop(function_name.clone());
        self.change_function(&asked.call, asked.database(db_name), collection_name, 0, change).await
    }

    /// `replaced`: the name of the function that is altered, none for a new one.
    async fn set_function(
        &self,
        call: &Call,
        database: &str,
        collection: &str,
        replaced: Option<&str>,
        function: Option<&FunctionSchema>,
    ) -> Result<(), Failure> {
        validate::collection_name(collection)?;
        let (row, schema) = self.schema(call, database, collection).await?;
        let function = match validate::changed_functions(&schema, replaced, function) {
            Ok(function) => function.encode_to_vec(),
            Err(refusal) => return self.refuse_change(call, refusal).await,
        };
        let change = match replaced {
            Some(_) => FunctionChange::Alter(function),
            None => FunctionChange::Add(function),
        };
        self.change_function(call, database, collection, row.id, change).await
    }

    async fn change_function(
        &self,
        call: &Call,
        database: &str,
        collection: &str,
        judged_id: i64,
        change: FunctionChange,
    ) -> Result<(), Failure> {
        let (database, collection) = (database.to_owned(), collection.to_owned());
        let ts = self.ledger.timestamp(call).await?;
        let command = ChangeFunction { database, collection, judged_id, change, ts };
        self.change_collection(call, CollectionChange::Function(command)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use tonic::Request;

    use super::*;
    use crate::call::RequestId;
    use crate::forward::Peers;
    use crate::leader::clock::{GuardedClock, SystemClock};
    use crate::leader::tso::{Keeper, Oracle, PeerClocks};
    use crate::ledger::Ledger;
    use crate::limits::Limits;
    use crate::pb::milvus::CreateCollectionRequest;
    use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionType};
    use crate::proposer::Proposer;
    use crate::rootcoord::cache::MetadataCache;
    use crate::testing::SoloReplica;

    /// Of a node that leads. Must be called within a tokio runtime.
    fn catalog() -> Arc<Catalog> {
        let replica = SoloReplica::new();
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        clock.settled_for(1);
        replica.lead(1);
        let oracle = Oracle::new(replica.clone(), clock.clone(), 3000);
        let proposer = Proposer::new(replica.clone(), clock);
        let clocks = Arc::new(PeerClocks::new(replica.clone(), Arc::new(Peers::new(None))));
        let keeper = Keeper::new(oracle.clone(), replica.clone(), proposer.clone(), clocks);
        tokio::spawn(crate::leader::run(replica.clone(), vec![Arc::new(keeper)]));
        let cache = MetadataCache::new(replica.clone(), &crate::config::Cache::default());
        Catalog::new(Ledger::new(replica, proposer, oracle, Limits::default()), cache)
    }

    fn asked<T>(sequence: u64, message: T) -> Asked<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(Call {
            request: RequestId { node: 9, boot: 1, sequence, acked_below: 0 },
            principal: String::new(),
            source: "test".into(),
            deadline: Instant::now() + Duration::from_secs(20),
        });
        Asked::of(request).unwrap()
    }

    fn field(name: &str, data_type: DataType, params: &[(&str, &str)]) -> FieldSchema {
        let pair = |(key, value): &(&str, &str)| KeyValuePair { key: (*key).into(), value: (*value).into() };
        let (type_params, data_type) = (params.iter().map(pair).collect(), data_type.into());
        FieldSchema { name: name.into(), data_type, type_params, ..FieldSchema::default() }
    }

    /// Regression: sent again after its leader was lost, the call was refused for what it had done itself.
    #[tokio::test]
    async fn an_addition_that_is_sent_again_is_answered_as_it_was() {
        let catalog = catalog();
        let schema = CollectionSchema {
            name: "books".into(),
            fields: vec![
                FieldSchema { is_primary_key: true, ..field("id", DataType::Int64, &[]) },
                field("title", DataType::VarChar, &[("max_length", "64")]),
                field("v", DataType::FloatVector, &[("dim", "8")]),
            ],
            ..CollectionSchema::default()
        };
        let (collection_name, schema) = ("books".to_owned(), schema.encode_to_vec());
        let create = CreateCollectionRequest { collection_name, schema, ..Default::default() };
        catalog.create_collection(&asked(1, create)).await.unwrap();

        let schema = FieldSchema { nullable: true, ..field("year", DataType::Int64, &[]) }.encode_to_vec();
        let add = AddCollectionFieldRequest { collection_name: "books".into(), schema, ..Default::default() };
        for _ in 0..2 {
            catalog.add_collection_field(&asked(2, add.clone())).await.unwrap();
        }
        let refused = catalog.add_collection_field(&asked(3, add)).await.unwrap_err();
        assert!(refused.to_string().starts_with("duplicate field name: year"), "{refused}");

        let function = FunctionSchema {
            name: "embed".into(),
            r#type: FunctionType::TextEmbedding.into(),
            input_field_names: vec!["title".into()],
            output_field_names: vec!["v".into()],
            params: vec![KeyValuePair { key: "provider".into(), value: "openai".into() }],
            ..FunctionSchema::default()
        };
        let (collection_name, function_schema) = ("books".to_owned(), Some(function));
        let add = AddCollectionFunctionRequest { collection_name, function_schema, ..Default::default() };
        for _ in 0..2 {
            catalog.add_collection_function(&asked(4, add.clone())).await.unwrap();
        }
        let refused = catalog.add_collection_function(&asked(5, add)).await.unwrap_err();
        assert!(refused.to_string().starts_with("duplicate function name: embed"), "{refused}");
    }
}
