//! Roles, and who has them.

use super::{Accounts, names};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::limits;
use crate::pb::common;
use crate::pb::milvus::{
    AlterRoleRequest, CreateRoleRequest, DropRoleRequest, OperateUserRoleRequest, OperateUserRoleType, RoleEntity,
    RoleResult, SelectRoleRequest, SelectRoleResponse, UserEntity,
};
use crate::pb::store;
use crate::state::access::{AccessCommand, AccessView, AlterRole, BindRole, CreateRole, DropRole, is_built_in};

impl Accounts {
    /// On the leader.
    pub async fn create_role(&self, asked: &Asked<CreateRoleRequest>) -> Result<(), Failure> {
        let missing = || Rejection::invalid("the role entity is nil");
        let RoleEntity { name, description } = asked.message.entity.clone().ok_or_else(missing)?;
        names::role(&name)?;
        let max_roles = self.ledger.limits.max_roles;
        self.propose(&asked.call, AccessCommand::CreateRole(CreateRole { name, description, max_roles })).await
    }

    /// On the leader. Changes the description.
    pub async fn alter_role(&self, asked: &Asked<AlterRoleRequest>) -> Result<(), Failure> {
        let AlterRoleRequest { role_name, description, .. } = asked.message.clone();
        names::role(&role_name)?;
        refuse_built_in(&role_name, "altered")?;
        self.propose(&asked.call, AccessCommand::AlterRole(AlterRole { name: role_name, description })).await
    }

    /// On the leader.
    pub async fn drop_role(&self, asked: &Asked<DropRoleRequest>) -> Result<(), Failure> {
        let DropRoleRequest { role_name, force_drop, .. } = asked.message.clone();
        names::role(&role_name)?;
        refuse_built_in(&role_name, "dropped")?;
        self.propose(&asked.call, AccessCommand::DropRole(DropRole { name: role_name, force: force_drop })).await
    }

    /// On the leader. Gives a role to a user or takes it.
    pub async fn operate_user_role(&self, asked: &Asked<OperateUserRoleRequest>) -> Result<(), Failure> {
        let OperateUserRoleRequest { username, role_name, r#type, .. } = asked.message.clone();
        names::user(&username, &self.ledger.limits)?;
        names::role(&role_name)?;
        let bind = match OperateUserRoleType::try_from(r#type) {
            Ok(OperateUserRoleType::AddUserToRole) => true,
            Ok(OperateUserRoleType::RemoveUserFromRole) => false,
            Err(_) => return Err(Rejection::invalid("invalid operate user role type").into()),
        };
        self.propose(&asked.call, AccessCommand::BindRole(BindRole { user: username, role: role_name, bind })).await
    }

    /// One role or all; no result for one that is not there, as in Milvus.
    pub async fn select_role(&self, asked: &Asked<SelectRoleRequest>) -> Result<SelectRoleResponse, Failure> {
        let SelectRoleRequest { role, include_user_info, .. } = &asked.message;
        if let Some(RoleEntity { name, .. }) = role {
            names::role(name)?;
        }
        let (name, with_users) = (role.as_ref().map(|role| role.name.clone()), *include_user_info);
        let read = move |view: AccessView<'_>| {
            let rows = match name {
                Some(name) => view.role(&name)?.into_iter().map(|row| (name.clone(), row)).collect(),
                None => all_roles(view)?,
            };
            let result = |(name, row): (String, store::Role)| {
                let users = if with_users { view.users_of(&name)? } else { Vec::new() };
                let users = users.into_iter().map(|name| UserEntity { name }).collect();
                Ok(RoleResult { role: Some(RoleEntity { name, description: row.description }), users })
            };
            rows.into_iter().map(result).collect()
        };
        let results = self.read(&asked.call, read).await?;
        Ok(SelectRoleResponse { status: Some(common::Status::default()), results })
    }
}

/// Every role by name.
pub(super) fn all_roles(view: AccessView<'_>) -> Result<Vec<(String, store::Role)>, Failure> {
    let mut all: Vec<(String, store::Role)> = Vec::new();
    loop {
        let page = view.roles(all.last().map(|(name, _)| name), limits::LIST_PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

fn refuse_built_in(role: &str, done: &str) -> Result<(), Rejection> {
    match is_built_in(role) {
        false => Ok(()),
        true => Err(Rejection::NotPermitted {
            detail: format!("the role[{role}] is a default role, which can't be {done}"),
        }),
    }
}
