//! `roostctl role list|describe|create|drop|give|take`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, named};
use crate::pb::milvus::{
    CreateRoleRequest, DropRoleRequest, OperateUserRoleRequest, OperateUserRoleType, RoleEntity, RoleResult,
    SelectRoleRequest,
};

const JSON: &str = "JSON: {\"roles\": [{\"name\", \"users\", \"description\"}]}; grants: roostctl grant list";
const DONE_JSON: &str = "JSON: {\"kind\": \"role\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the roles and who has them
    #[command(after_help = JSON)]
    List,
    /// Show one role
    #[command(after_help = JSON)]
    Describe { name: String },
    /// Create a role
    #[command(after_help = DONE_JSON)]
    Create {
        name: String,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Drop a role
    #[command(after_help = DONE_JSON)]
    Drop {
        name: String,
        /// Also with grants, which then go with it
        #[arg(long)]
        force: bool,
    },
    /// Give a role to a user
    #[command(after_help = DONE_JSON)]
    Give { role: String, user: String },
    /// Take a role from a user
    #[command(after_help = DONE_JSON)]
    Take { role: String, user: String },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => context.output.print(&Roles { roles: roles(context, None).await? }),
        Command::Describe { name } => {
            let roles = roles(context, Some(name.clone())).await?;
            match roles.is_empty() {
                true => Err(Failure::Failed(format!("there is no role {name}"))),
                false => context.output.print(&Roles { roles }),
            }
        }
        Command::Create { name, description } => create(context, name, description).await,
        Command::Drop { name, force } => drop(context, name, force).await,
        Command::Give { role, user } => bind(context, role, user, OperateUserRoleType::AddUserToRole).await,
        Command::Take { role, user } => bind(context, role, user, OperateUserRoleType::RemoveUserFromRole).await,
    }
}

async fn roles(context: &Context, name: Option<String>) -> Result<Vec<Role>, Failure> {
    let role = name.map(|name| RoleEntity { name, description: String::new() });
    let request = SelectRoleRequest { role, include_user_info: true, ..SelectRoleRequest::default() };
    let session = context.dialer.any().await?;
    let reply = session.ask(request, |mut client, request| async move { client.select_role(request).await }).await?;
    let role = |result: RoleResult| {
        let RoleEntity { name, description } = result.role.unwrap_or_default();
        Role { name, description, users: result.users.into_iter().map(|user| user.name).collect() }
    };
    Ok(reply.results.into_iter().map(role).collect())
}

async fn create(context: &Context, name: String, description: String) -> Result<(), Failure> {
    let entity = Some(RoleEntity { name: name.clone(), description });
    let request = CreateRoleRequest { entity, ..CreateRoleRequest::default() };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.create_role(request).await }).await?;
    context.output.print(&Done { kind: "role", name: &name, done: "created" })
}

async fn drop(context: &Context, name: String, force: bool) -> Result<(), Failure> {
    let with = if force { " with its grants" } else { "" };
    confirm(context.yes, &format!("Drop role {name}{with}?"))?;
    let request = DropRoleRequest { role_name: name.clone(), force_drop: force, ..DropRoleRequest::default() };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.drop_role(request).await }).await?;
    context.output.print(&Done { kind: "role", name: &name, done: "dropped" })
}

async fn bind(context: &Context, role: String, user: String, operation: OperateUserRoleType) -> Result<(), Failure> {
    let done = match operation {
        OperateUserRoleType::AddUserToRole => "given",
        OperateUserRoleType::RemoveUserFromRole => "taken",
    };
    let name = role.clone();
    let request = OperateUserRoleRequest {
        username: user,
        role_name: role,
        r#type: operation.into(),
        ..OperateUserRoleRequest::default()
    };
    let session = context.dialer.with_leader().await?;
    session.ask(request, |mut client, request| async move { client.operate_user_role(request).await }).await?;
    context.output.print(&Done { kind: "role", name: &name, done })
}

#[derive(Debug, Serialize)]
struct Roles {
    roles: Vec<Role>,
}

#[derive(Debug, Serialize)]
struct Role {
    name: String,
    users: Vec<String>,
    description: String,
}

impl Report for Roles {
    fn table(&self) -> String {
        let roles: Vec<_> =
            self.roles.iter().map(|one| (one.name.as_str(), one.users.as_slice(), one.description.as_str())).collect();
        named(["ROLE", "USERS", "DESCRIPTION"], &roles)
    }
}
