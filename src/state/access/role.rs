//! Roles, and who has them.

use std::io;

use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::shift::{Shifts, USERS_CUT_SINCE};
use super::user::check_description;
use super::{AccessView, TEXTS_SINCE, check_name, count, forget, is_built_in};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::tables::{ROLE_USERS, ROLES, USER_ROLES, USERS};
use crate::state::{Event, Reply};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRole {
    pub name: String,
    pub description: String,
    /// Roles in the cluster, the built-in ones among them.
    pub max_roles: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterRole {
    pub name: String,
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRole {
    pub name: String,
    /// Also with grants, which then go with it.
    pub force: bool,
}

/// Gives a role to a user or takes it. What is so already is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindRole {
    pub user: String,
    pub role: String,
    pub bind: bool,
}

/// The role, which must be there.
pub(super) fn existing(step: &Step<'_, '_>, name: &str) -> Result<store::Role, Refusal> {
    let missing = || Rejection::invalid("not found the role, maybe the role isn't existed or internal system error");
    Ok(ROLES.get(step.txn, &name.to_owned())?.ok_or_else(missing)?)
}

/// The role of a grant must be there.
pub(super) fn must_be_there(step: &Step<'_, '_>, name: &str) -> Result<(), Refusal> {
    if step.apply_version < TEXTS_SINCE {
        return existing(step, name).map(|_| ());
    }
    let missing = || Rejection::invalid(format!("the role {name:?} does not exist"));
    Ok(ROLES.get(step.txn, &name.to_owned())?.map(|_| ()).ok_or_else(missing)?)
}

/// Writes a role that is known not to be there.
pub(super) fn put_new(step: &mut Step<'_, '_>, name: &str, description: &str) -> Result<(), Refusal> {
    check_name("role name", name)?;
    check_description("role", description)?;
    ROLES.put(step.txn, &name.to_owned(), &store::Role { description: description.to_owned(), grants: 0 });
    count(step.txn, |totals| {
        totals.roles = totals.roles.checked_add(1)?;
        Some(())
    })?;
    changed(step, name);
    Ok(())
}

/// The user has the role from now on; both are known to be there.
pub(super) fn bind(step: &mut Step<'_, '_>, user: &str, role: &str) -> io::Result<()> {
    let cuts = step.apply_version >= USERS_CUT_SINCE;
    let row = store::Binding { written: if cuts { AccessView::new(step.txn).totals()?.shifts } else { 0 } };
    USER_ROLES.put(step.txn, &(user.to_owned().into(), role.to_owned()), &row);
    ROLE_USERS.put(step.txn, &(role.to_owned().into(), user.to_owned()), &row);
    Ok(())
}

/// Deletes the rows of it, whether the user had the role or had had it.
pub(super) fn unbind(step: &mut Step<'_, '_>, user: &str, role: &str) {
    USER_ROLES.delete(step.txn, &(user.to_owned().into(), role.to_owned()));
    ROLE_USERS.delete(step.txn, &(role.to_owned().into(), user.to_owned()));
}

/// Said once for what changes in a row: a role may lose thousands of grants with one command.
pub(super) fn changed(step: &mut Step<'_, '_>, name: &str) {
    let event = Event::Access(AccessEvent::Role { name: name.to_owned() });
    if step.events.last() != Some(&event) {
        step.events.push(event);
    }
}

/// In quotes, and the same whatever Unicode the compiler knows: replies are state.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_ascii_control() => quoted.extend(character.escape_default()),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

impl CreateRole {
    /// Milvus prints its own message.
    fn shown(&self, step: &Step<'_, '_>) -> String {
        let CreateRole { name, description, .. } = self;
        match description.as_str() {
            _ if step.apply_version < TEXTS_SINCE => name.clone(),
            "" => format!("name:{name:?}"),
            description => format!("name:{name:?} description:{}", quoted(description)),
        }
    }

    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if ROLES.get(step.txn, &self.name)?.is_some() {
            return Err(Rejection::invalid(format!("role [{}] already exists", self.shown(step))).into());
        }
        if AccessView::new(step.txn).totals()?.roles >= self.max_roles {
            let detail = "unable to create role because the number of roles has reached the limit".to_owned();
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        put_new(step, &self.name, &self.description)?;
        outbox::role_set(step, &self.name, true)?;
        Ok(Reply::AccessChanged)
    }
}

impl AlterRole {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if is_built_in(&self.name) {
            let detail = format!("the role[{}] is a builtin role, which can't be altered", self.name);
            return Err(Rejection::NotPermitted { detail }.into());
        }
        let mut row = existing(step, &self.name)?;
        check_description("role", &self.description)?;
        row.description = self.description.clone();
        ROLES.put(step.txn, &self.name, &row);
        outbox::role_set(step, &self.name, false)?;
        changed(step, &self.name);
        Ok(Reply::AccessChanged)
    }
}

impl DropRole {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if is_built_in(&self.name) {
            let detail = format!("the role[{}] is a builtin role, which can't be dropped", self.name);
            return Err(Rejection::NotPermitted { detail }.into());
        }
        let row = existing(step, &self.name)?;
        if !self.force && forget::has_any(step, &self.name, row.grants)? {
            let detail = "fail to drop the role that it has privileges. Use REVOKE API to revoke privileges";
            return Err(Rejection::invalid(detail).into());
        }
        let grants = forget::forget_role(step, &self.name)?;
        let users = forget::forget_users(step, &self.name)?;
        outbox::role_dropped(step, &self.name, self.force, users.as_deref(), grants.as_deref())?;
        ROLES.delete(step.txn, &self.name);
        count(step.txn, |totals| {
            totals.roles = totals.roles.checked_sub(1)?;
            Some(())
        })?;
        changed(step, &self.name);
        Ok(Reply::AccessChanged)
    }
}

impl BindRole {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        existing(step, &self.role)?;
        check_name("user name", &self.user)?;
        let had_it = match USER_ROLES.get(step.txn, &(self.user.clone().into(), self.role.clone()))? {
            Some(row) => Shifts::read(step.txn)?.has_role(step.txn, &self.role, &row)?,
            None => false,
        };
        if self.bind {
            if USERS.get(step.txn, &self.user)?.is_none() {
                let old = if step.apply_version < TEXTS_SINCE { ": failed to check user existence" } else { "" };
                return Err(Rejection::invalid(format!("user {:?} not found{old}", self.user)).into());
            }
            bind(step, &self.user, &self.role)?;
        } else {
            unbind(step, &self.user, &self.role);
        }
        match (had_it, self.bind) {
            (false, true) => outbox::bound(step, &self.user, &self.role)?,
            (true, false) => outbox::unbound(step, &self.user, &self.role)?,
            (true, true) | (false, false) => {}
        }
        step.events.push(Event::Access(AccessEvent::User { name: self.user.clone() }));
        Ok(Reply::AccessChanged)
    }
}
