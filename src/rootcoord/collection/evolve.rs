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
        let field = validate::added_field(&request.schema, &row, &schema, limits)?;
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
        let function = validate::changed_functions(&schema, replaced, function)?.encode_to_vec();
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
