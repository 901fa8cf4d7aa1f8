//! Users and their passwords.

use super::password::{self, BCRYPT_COST};
use super::{Accounts, names};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::limits;
use crate::pb::common;
use crate::pb::internal::CredentialInfo;
use crate::pb::milvus::{
    CreateCredentialRequest, DeleteCredentialRequest, ListCredUsersRequest, ListCredUsersResponse, RoleEntity,
    SelectUserRequest, SelectUserResponse, UpdateCredentialRequest, UserEntity, UserResult,
};
use crate::pb::rootcoord::{GetCredentialRequest, GetCredentialResponse};
use crate::pb::store;
use crate::state::access::{AccessCommand, AccessView, CreateUser, DropUser, ROOT, UpdateUser};

impl Accounts {
    /// On the leader. The password comes as base64 and goes no further than to bcrypt.
    pub async fn create_credential(&self, asked: &Asked<CreateCredentialRequest>) -> Result<(), Failure> {
        let CreateCredentialRequest { username, password, description, .. } = &asked.message;
        let username = username.trim();
        names::user(username, &self.ledger.limits)?;
        let description = description.clone().unwrap_or_default();
        let plain = password::decode_base64(password).ok_or_else(|| Rejection::invalid("decode password fail"))?;
        names::password(&plain, &self.ledger.limits)?;
        let password_hash = self.hasher.hash(plain).await?;
        self.create_user(asked, username, password_hash, description).await
    }

    /// On the leader: with a hash that a proxy made.
    pub async fn create_hashed(&self, asked: &Asked<CredentialInfo>) -> Result<(), Failure> {
        let CredentialInfo { username, encrypted_password, description, .. } = &asked.message;
        let username = username.trim();
        names::user(username, &self.ledger.limits)?;
        bcrypt_hash(encrypted_password)?;
        let description = description.clone().unwrap_or_default();
        self.create_user(asked, username, encrypted_password.clone(), description).await
    }

    async fn create_user<T>(
        &self,
        asked: &Asked<T>,
        name: &str,
        password_hash: String,
        description: String,
    ) -> Result<(), Failure> {
        let max_users = self.ledger.limits.max_users;
        let command = CreateUser { name: name.to_owned(), password_hash, description, max_users };
        self.propose(&asked.call, AccessCommand::CreateUser(command)).await
    }

    /// On the leader. Whoever changes a password must know the old one; super users need not.
    pub async fn update_credential(&self, asked: &Asked<UpdateCredentialRequest>) -> Result<(), Failure> {
        let UpdateCredentialRequest { username, old_password, new_password, description, .. } = &asked.message;
        if new_password.is_empty() && old_password.is_empty() {
            if description.is_none() {
                return Err(Rejection::invalid("must update either password or description").into());
            }
            return self.update_user(asked, username, None, description.clone(), None).await;
        }
        let old = password::decode_base64(old_password);
        let old = old.ok_or_else(|| Rejection::invalid("decode old password failed"))?;
        let new = password::decode_base64(new_password);
        let new = new.ok_or_else(|| Rejection::invalid("decode password failed"))?;
        names::password(&new, &self.ledger.limits)?;
        let known = match self.is_super_user(&asked.call.principal) {
            true => None,
            false => match self.known_password(asked, username, old).await? {
                None => {
                    let detail = format!("old password not correct for {username}");
                    return self.refuse(&asked.call, Rejection::NotAuthenticated { detail }).await;
                }
                known => known,
            },
        };
        let password_hash = self.hasher.hash(new).await?;
        self.update_user(asked, username, Some(password_hash), description.clone(), known).await
    }

    /// On the leader: with a hash that a proxy made after it had compared the old password.
    pub async fn update_hashed(&self, asked: &Asked<CredentialInfo>) -> Result<(), Failure> {
        let CredentialInfo { username, encrypted_password, description, .. } = &asked.message;
        if encrypted_password.is_empty() && description.is_none() {
            return Err(Rejection::invalid("credential update must change password or description").into());
        }
        let hash = match encrypted_password.is_empty() {
            true => None,
            false => Some(bcrypt_hash(encrypted_password)?.to_owned()),
        };
        self.update_user(asked, username, hash, description.clone(), None).await
    }

    async fn update_user<T>(
        &self,
        asked: &Asked<T>,
        name: &str,
        password_hash: Option<String>,
        description: Option<String>,
        known: Option<u64>,
    ) -> Result<(), Failure> {
        if name.is_empty() {
            return Err(Rejection::invalid("username is empty").into());
        }
        let command = UpdateUser { name: name.to_owned(), password_hash, description, known };
        self.propose(&asked.call, AccessCommand::UpdateUser(command)).await
    }

    /// Names are believed only where they were verified.
    fn is_super_user(&self, principal: &str) -> bool {
        self.security.authorization_enabled && self.security.super_users.iter().any(|name| name == principal)
    }

    /// The generation of the password that the caller knows, if it knows it.
    async fn known_password<T>(&self, asked: &Asked<T>, user: &str, old: Vec<u8>) -> Result<Option<u64>, Failure> {
        let found = {
            let view = self.ledger.view(&asked.call).await?;
            AccessView::new(view.as_ref()).user(user)?
        };
        let hash = found.as_ref().map(|row| row.password_hash.as_str().into());
        let knows = self.hasher.verify(old, hash).await?;
        Ok(found.filter(|_| knows).map(|row| row.generation))
    }

    /// On the leader. A missing user is a success, whatever its name would be.
    pub async fn delete_credential(&self, asked: &Asked<DeleteCredentialRequest>) -> Result<(), Failure> {
        let name = asked.message.username.trim();
        match name.len() {
            _ if name == ROOT => Err(Rejection::NotPermitted { detail: "root user cannot be deleted".into() }.into()),
            0 => Err(Rejection::invalid("username is empty").into()),
            1..=limits::MAX_NAME_BYTES => {
                self.propose(&asked.call, AccessCommand::DropUser(DropUser { name: name.to_owned() })).await
            }
            _ => Ok(()),
        }
    }

    pub async fn list_users(&self, asked: &Asked<ListCredUsersRequest>) -> Result<ListCredUsersResponse, Failure> {
        let read = |view: AccessView<'_>| Ok(all_users(view)?.into_iter().map(|(name, _)| name).collect());
        let usernames = self.read(&asked.call, read).await?;
        Ok(ListCredUsersResponse { status: Some(common::Status::default()), usernames })
    }

    /// For proxies, which compare passwords by themselves.
    pub async fn get_credential(&self, asked: &Asked<GetCredentialRequest>) -> Result<GetCredentialResponse, Failure> {
        let username = asked.message.username.clone();
        let view = self.ledger.view(&asked.call).await?;
        let missing = || Rejection::invalid("user not found");
        let password = AccessView::new(view.as_ref()).user(&username)?.ok_or_else(missing)?.password_hash;
        Ok(GetCredentialResponse { status: Some(common::Status::default()), username, password })
    }

    /// One user or all; no result for one that is not there, as in Milvus.
    pub async fn select_user(&self, asked: &Asked<SelectUserRequest>) -> Result<SelectUserResponse, Failure> {
        let SelectUserRequest { user, include_role_info, .. } = &asked.message;
        if let Some(UserEntity { name }) = user {
            names::user(name, &self.ledger.limits)?;
        }
        let (name, with_roles) = (user.as_ref().map(|user| user.name.clone()), *include_role_info);
        let read = move |view: AccessView<'_>| {
            let rows = match name {
                Some(name) => view.user(&name)?.into_iter().map(|row| (name.clone(), row)).collect(),
                None => all_users(view)?,
            };
            rows.into_iter().map(|(name, row)| user_result(view, name, row, with_roles)).collect()
        };
        let results = self.read(&asked.call, read).await?;
        Ok(SelectUserResponse { status: Some(common::Status::default()), results })
    }
}

fn user_result(view: AccessView<'_>, name: String, row: store::User, with_roles: bool) -> Result<UserResult, Failure> {
    let mut roles = Vec::new();
    if with_roles {
        for name in view.roles_of(&name)? {
            let description = view.role(&name)?.unwrap_or_default().description;
            roles.push(RoleEntity { name, description });
        }
    }
    Ok(UserResult { user: Some(UserEntity { name }), roles, description: row.description })
}

/// Every user by name.
pub(super) fn all_users(view: AccessView<'_>) -> Result<Vec<(String, store::User)>, Failure> {
    let mut all: Vec<(String, store::User)> = Vec::new();
    loop {
        let page = view.users(all.last().map(|(name, _)| name), limits::LIST_PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Whoever stores something else would lock the user out, or, with a cost of years, everybody.
pub(super) fn bcrypt_hash(hash: &str) -> Result<&str, Rejection> {
    match hash.parse::<bcrypt::HashParts>() {
        Ok(parts) if BCRYPT_COST.contains(&parts.get_cost()) => Ok(hash),
        Ok(parts) => {
            let (least, most) = BCRYPT_COST.into_inner();
            let detail = format!("a bcrypt hash of cost {}, those of {least} to {most} are taken", parts.get_cost());
            Err(Rejection::invalid(detail))
        }
        Err(_) => Err(Rejection::invalid("the encrypted password is not a bcrypt hash")),
    }
}
