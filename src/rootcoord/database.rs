//! Databases for both APIs.

use super::catalog::{Catalog, all_databases, existing};
use super::validate;
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::common::{self, KeyValuePair};
use crate::pb::internal::{BackupEzkRequest, BackupEzkResponse};
use crate::pb::milvus::{CreateDatabaseRequest, DropDatabaseRequest, ListDatabasesRequest, ListDatabasesResponse};
use crate::pb::store;
use crate::state::{self, AlterDatabase, Command, CreateDatabase, DropDatabase, Reply, View};

impl Catalog {
    /// On the leader. An existing name is refused.
    pub async fn create_database(&self, asked: &Asked<CreateDatabaseRequest>) -> Result<(), Failure> {
        let CreateDatabaseRequest { db_name, properties, .. } = &asked.message;
        validate::database_name(db_name)?;
        let command = CreateDatabase {
            name: db_name.clone(),
            properties: validate::new_database_properties(properties)?,
            ts: self.ledger.timestamp(&asked.call).await?,
            limits: state::Limits::from(self.ledger.limits.as_ref()),
        };
        let done = reply!(Reply::DatabaseCreated { .. } => ());
        self.ledger.propose(&asked.call, Command::CreateDatabase(command), done).await
    }

    /// On the leader. It must be there, and empty.
    pub async fn drop_database(&self, asked: &Asked<DropDatabaseRequest>) -> Result<(), Failure> {
        let name = &asked.message.db_name;
        validate::database_name(name)?;
        let done = reply!(Reply::DatabaseDropped { .. } => ());
        let command = Command::DropDatabase(DropDatabase { name: name.clone() });
        self.ledger.propose(&asked.call, command, done).await
    }

    /// On the leader. Sets properties of a database or deletes them.
    pub async fn alter_database(
        &self,
        call: &Call,
        name: &str,
        set: &[KeyValuePair],
        delete: &[String],
    ) -> Result<(), Failure> {
        if name.is_empty() {
            return Err(Rejection::invalid("alter database failed, database name does not exists").into());
        }
        let set = validate::altered_database_properties(set, delete)?;
        let command = Command::AlterDatabase(AlterDatabase { name: name.to_owned(), set, delete: delete.to_vec() });
        self.ledger.propose(call, command, reply!(Reply::DatabaseAltered { .. } => ())).await
    }

    /// Every database, by name.
    pub async fn list_databases(&self, asked: &Asked<ListDatabasesRequest>) -> Result<ListDatabasesResponse, Failure> {
        let rows = self.ledger.list(&asked.call, all_databases).await?;
        let status = Some(common::Status::default());
        let mut list = ListDatabasesResponse { status, ..ListDatabasesResponse::default() };
        for store::Database { id, name, created_ts, .. } in rows {
            list.db_names.push(name);
            list.created_timestamp.push(created_ts);
            list.db_ids.push(id);
        }
        Ok(list)
    }

    /// The key that a database is encrypted with: there is none, as in Milvus without a plugin for it.
    pub async fn encryption_key(&self, asked: &Asked<BackupEzkRequest>) -> Result<BackupEzkResponse, Failure> {
        self.require_database(&asked.call, asked.database(&asked.message.db_name)).await?;
        Err(Rejection::NotSupported { detail: "cipher plugin is missing".to_owned() }.into())
    }

    /// One database, which must be there.
    pub async fn describe_database(&self, call: &Call, name: &str) -> Result<store::Database, Failure> {
        let view = self.ledger.view(call).await?;
        existing(&View::new(view.as_ref()), name)
    }
}
