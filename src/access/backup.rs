//! BackupRBAC and RestoreRBAC: everything but root and the built-in roles.

use super::groups::{custom_groups, member};
use super::roles::all_roles;
use super::users::{all_users, bcrypt_hash};
use super::{Accounts, grants, groups, names};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common;
use crate::pb::milvus::{
    BackupRbacMetaRequest, BackupRbacMetaResponse, RbacMeta, RestoreRbacMetaRequest, RoleEntity, UserInfo,
};
use crate::state::access::{AccessCommand, AccessView, ROOT, Restore, RestoredUser, is_built_in};

impl Accounts {
    /// Passwords as their hashes. Grants under a condition are left out: the backup's form has no place for it, and
    /// restored without it they would allow more than they did.
    pub async fn backup(&self, asked: &Asked<BackupRbacMetaRequest>) -> Result<BackupRbacMetaResponse, Failure> {
        let meta = self.read(&asked.call, backed_up).await?;
        Ok(BackupRbacMetaResponse { status: Some(common::Status::default()), rbac_meta: Some(meta) })
    }

    /// On the leader. All of it or nothing; an empty backup is a success.
    pub async fn restore(&self, asked: &Asked<RestoreRbacMetaRequest>) -> Result<(), Failure> {
        let Some(meta) = &asked.message.rbac_meta else { return Ok(()) };
        if *meta == RbacMeta::default() {
            return Ok(());
        }
        let mut restore = Restore {
            max_users: self.ledger.limits.max_users,
            max_roles: self.ledger.limits.max_roles,
            users: Vec::new(),
            roles: Vec::new(),
            grants: Vec::new(),
            groups: Vec::new(),
        };
        for RoleEntity { name, description } in &meta.roles {
            names::role(name)?;
            restore.roles.push((name.clone(), description.clone()));
        }
        for group in &meta.privilege_groups {
            let name = group.group_name.trim();
            names::group(name)?;
            if groups::is_reserved(name) {
                let detail = format!("privilege group [{name}] already exists");
                return Err(Rejection::invalid(detail).into());
            }
            let members = group.privileges.iter().cloned().map(member).collect();
            restore.groups.push((name.to_owned(), members));
        }
        for entity in &meta.grants {
            restore.grants.push(grants::restored(entity)?);
        }
        for UserInfo { user, password, roles } in &meta.users {
            names::user(user, &self.ledger.limits)?;
            restore.users.push(RestoredUser {
                name: user.clone(),
                password_hash: bcrypt_hash(password)?.to_owned(),
                roles: roles.iter().map(|role| role.name.clone()).collect(),
            });
        }
        self.propose(&asked.call, AccessCommand::Restore(restore)).await
    }
}

fn backed_up(view: AccessView<'_>) -> Result<RbacMeta, Failure> {
    let mut meta = RbacMeta { privilege_groups: custom_groups(view)?, ..RbacMeta::default() };
    for (name, row) in all_roles(view)? {
        meta.grants.extend(grants::without_condition(view, &name)?.map(|(key, row)| grants::entity_of(key, row)));
        if !is_built_in(&name) {
            meta.roles.push(RoleEntity { name, description: row.description });
        }
    }
    for (user, row) in all_users(view)?.into_iter().filter(|(name, _)| name != ROOT) {
        let role = |name| RoleEntity { name, description: String::new() };
        let roles = view.roles_of(&user)?.into_iter().map(role).collect();
        meta.users.push(UserInfo { user, password: row.password_hash, roles });
    }
    Ok(meta)
}
