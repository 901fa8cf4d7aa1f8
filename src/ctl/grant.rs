//! `roostctl grant list|add|remove|condition|explain`.

use std::fmt;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, or_dash, table};
use crate::pb::access::{ExplainRequest, ExplainResponse, Grant, ListGrantsRequest, SetConditionRequest};
use crate::pb::milvus::{
    GrantEntity, GrantorEntity, ObjectEntity, OperatePrivilegeRequest, OperatePrivilegeType, PrivilegeEntity,
    RoleEntity, UserEntity,
};
use crate::state::access::ROOT;

const JSON: &str =
    "JSON: {\"grants\": [{\"role\", \"privilege\", \"database\", \"object\", \"type\", \"grantor\", \"condition\"}]}";
const JSON_EXPLAIN: &str = "JSON: {\"allowed\", \"reason\", \"grants\": [{\"role\", ..., \"holds\"}]}";
const DONE_JSON: &str = "JSON: {\"kind\": \"grant\", \"name\", \"done\"}";
const CONDITION: &str = "\
A condition is an expression in CEL over user, database, collection, address (the client's), time (\"HH:MM\", UTC)
and weekday (1 is Monday). The grant counts only where it is true:
  roostctl grant condition reader Search --database sales 'address.startsWith(\"10.\") && time < \"18:00\"'
  roostctl grant condition reader Search --database sales ''          # always again
JSON: {\"kind\": \"grant\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the grants of all roles, or of one
    #[command(after_help = JSON)]
    List {
        #[arg(long)]
        role: Option<String>,
    },
    /// Grant a privilege or a group of them to a role
    #[command(after_help = DONE_JSON)]
    Add(What),
    /// Revoke it
    #[command(after_help = DONE_JSON)]
    Remove(What),
    /// Set the condition of a grant; an empty one always holds
    #[command(after_help = CONDITION)]
    Condition {
        #[command(flatten)]
        what: What,
        /// Collection, Global or User, if the grant was made by object type
        #[arg(long = "type", default_value = "")]
        object_type: String,
        condition: String,
    },
    /// Say why a user may use a privilege, or what is missing
    #[command(after_help = JSON_EXPLAIN)]
    Explain {
        user: String,
        privilege: String,
        #[arg(long, default_value = "default")]
        database: String,
        /// Any, if none is named
        #[arg(long, default_value = "*")]
        collection: String,
        /// Where the call would come from, for conditions
        #[arg(long, default_value = "")]
        address: String,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct What {
    role: String,
    /// A privilege or a group by the API's name: Search, CollectionReadOnly, ...
    privilege: String,
    /// `*`: any
    #[arg(long, default_value = "default")]
    database: String,
    /// `*`: any
    #[arg(long, default_value = "*")]
    collection: String,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let What { role, privilege, database, collection } = self;
        write!(f, "{privilege} on {database}.{collection} to {role}")
    }
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { role } => list(context, role.unwrap_or_default()).await,
        Command::Add(what) => operate(context, what, OperatePrivilegeType::Grant).await,
        Command::Remove(what) => {
            confirm(context.yes, &format!("Revoke {what}?"))?;
            operate(context, what, OperatePrivilegeType::Revoke).await
        }
        Command::Condition { what, object_type, condition } => set(context, what, object_type, condition).await,
        Command::Explain { user, privilege, database, collection, address } => {
            let request = ExplainRequest { user, privilege, database, object: collection, address, at_ms: 0 };
            let session = context.dialer.any().await?;
            let rpc = session.grants(request, |mut client, request| async move { client.explain(request).await });
            context.output.print(&Explained::from(rpc.await?))
        }
    }
}

async fn list(context: &Context, role: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = ListGrantsRequest { role };
    let rpc = session.grants(request, |mut client, request| async move { client.list_grants(request).await });
    let grants = rpc.await?.grants.into_iter().map(|grant| View::of(grant, None)).collect();
    context.output.print(&Grants { grants })
}

async fn operate(context: &Context, what: What, operation: OperatePrivilegeType) -> Result<(), Failure> {
    let name = what.to_string();
    let What { role, privilege, database, collection } = what;
    let done = match operation {
        OperatePrivilegeType::Grant => "added",
        OperatePrivilegeType::Revoke => "removed",
    };
    let grantor = GrantorEntity {
        user: Some(UserEntity { name: ROOT.to_owned() }),
        privilege: Some(PrivilegeEntity { name: privilege }),
    };
    let entity = GrantEntity {
        role: Some(RoleEntity { name: role, description: String::new() }),
        // By name and level, the object's type follows from the privilege.
        object: Some(ObjectEntity { name: "Global".to_owned() }),
        object_name: collection,
        grantor: Some(grantor),
        db_name: database,
    };
    let request = OperatePrivilegeRequest {
        entity: Some(entity),
        r#type: operation.into(),
        version: "v2".to_owned(),
        ..OperatePrivilegeRequest::default()
    };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.operate_privilege(request).await }).await?;
    context.output.print(&Done { kind: "grant", name: &name, done })
}

async fn set(context: &Context, what: What, object_type: String, condition: String) -> Result<(), Failure> {
    let name = what.to_string();
    let What { role, privilege, database, collection } = what;
    let done = if condition.is_empty() { "unconditional" } else { "conditional" };
    let grantor = String::new();
    let grant = Grant { role, object_type, database, object: collection, privilege, grantor, condition };
    let session = context.dialer.with_leader().await?;
    let request = SetConditionRequest { grant: Some(grant) };
    let rpc = session.grants(request, |mut client, request| async move { client.set_condition(request).await });
    rpc.await?;
    context.output.print(&Done { kind: "grant", name: &name, done })
}

#[derive(Debug, Serialize)]
struct Grants {
    grants: Vec<View>,
}

#[derive(Debug, Serialize)]
struct Explained {
    allowed: bool,
    reason: String,
    grants: Vec<View>,
}

#[derive(Debug, Serialize)]
struct View {
    role: String,
    privilege: String,
    database: String,
    object: String,
    r#type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    grantor: String,
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<bool>,
}

impl View {
    fn of(grant: Grant, holds: Option<bool>) -> Self {
        let Grant { role, object_type, database, object, privilege, grantor, condition } = grant;
        let condition = Some(condition).filter(|condition| !condition.is_empty());
        View { role, privilege, database, object, r#type: object_type, grantor, condition, holds }
    }

    fn row(&self) -> Vec<String> {
        let place = format!("{}.{}", self.database, self.object);
        vec![self.role.clone(), self.privilege.clone(), place, self.r#type.clone(), or_dash(self.condition.clone())]
    }
}

impl From<ExplainResponse> for Explained {
    fn from(response: ExplainResponse) -> Self {
        let ExplainResponse { allowed, reason, grants } = response;
        let view = |relevant: crate::pb::access::RelevantGrant| {
            View::of(relevant.grant.unwrap_or_default(), Some(relevant.holds))
        };
        Explained { allowed, reason, grants: grants.into_iter().map(view).collect() }
    }
}

impl Report for Grants {
    fn table(&self) -> String {
        table(&["ROLE", "PRIVILEGE", "ON", "TYPE", "CONDITION"], self.grants.iter().map(View::row))
    }
}

impl Report for Explained {
    fn table(&self) -> String {
        let verdict = format!("{}: {}", if self.allowed { "allowed" } else { "denied" }, self.reason);
        if self.grants.is_empty() {
            return verdict;
        }
        let row = |view: &View| {
            let mut row = view.row();
            row.push(if view.holds == Some(true) { "yes".to_owned() } else { "no".to_owned() });
            row
        };
        let rows = self.grants.iter().map(row);
        format!("{verdict}\n{}", table(&["ROLE", "PRIVILEGE", "ON", "TYPE", "CONDITION", "HOLDS"], rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_for_people() {
        let grant = Grant {
            role: "reader".into(),
            object_type: "Collection".into(),
            database: "default".into(),
            object: "*".into(),
            privilege: "Search".into(),
            grantor: String::new(),
            condition: "weekday < 6".into(),
        };
        let relevant = crate::pb::access::RelevantGrant { grant: Some(grant), holds: false };
        let response = ExplainResponse { allowed: false, reason: "why".into(), grants: vec![relevant] };
        let expected = "denied: why\n\
                        ROLE    PRIVILEGE  ON         TYPE        CONDITION    HOLDS\n\
                        reader  Search     default.*  Collection  weekday < 6  no";
        assert_eq!(Explained::from(response).table(), expected);
    }
}
