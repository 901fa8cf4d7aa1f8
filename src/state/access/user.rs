//! Users: a name and the hash of a password.

use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::grant::{self, Grant};
use super::{AccessView, ROOT, check_name, count, role};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::limits::{MAX_DESCRIPTION_BYTES, MAX_HASH_BYTES};
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::table::Name;
use crate::state::tables::{USER_ROLES, USERS};
use crate::state::{Event, Reply};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRoot {
    /// Made by the proposer, since hashing takes a salt.
    pub password_hash: String,
    /// Of the role `public`.
    pub grants: Vec<Grant>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateUser {
    pub name: String,
    /// bcrypt's own text form.
    pub password_hash: String,
    pub description: String,
    /// Users in the cluster, root among them.
    pub max_users: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateUser {
    pub name: String,
    pub password_hash: Option<String>,
    pub description: Option<String>,
    /// The generation of the password that the caller was found to know; `None`: it need not know any.
    pub known: Option<u64>,
}

/// A missing user is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropUser {
    pub name: String,
}

/// Hashes stay out of whatever prints a command.
impl std::fmt::Debug for CreateRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateRoot").field("grants", &self.grants).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateUser").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UpdateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateUser").field("name", &self.name).finish_non_exhaustive()
    }
}

impl CreateRoot {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if USERS.get(step.txn, &ROOT.to_owned())?.is_none() {
            put_new(step, ROOT, &self.password_hash, "")?;
            for grant in &self.grants {
                grant::restore(step, grant)?;
            }
        }
        Ok(Reply::AccessChanged)
    }
}

/// Writes a user that is known not to be there.
pub(super) fn put_new(
    step: &mut Step<'_, '_>,
    name: &str,
    password_hash: &str,
    description: &str,
) -> Result<(), Refusal> {
    check_name("user name", name)?;
    check_hash(password_hash)?;
    check_description("user", description)?;
    let generation = next_generation(step)?;
    let row = store::User {
        password_hash: password_hash.to_owned(),
        description: description.to_owned(),
        generation,
        created_ms: step.now_ms,
    };
    USERS.put(step.txn, &name.to_owned(), &row);
    count(step.txn, |totals| {
        totals.users = totals.users.checked_add(1)?;
        Some(())
    })?;
    step.events.push(Event::Access(AccessEvent::User { name: name.to_owned() }));
    Ok(())
}

impl CreateUser {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        // Root comes by itself, perhaps a moment later.
        if self.name == ROOT || USERS.get(step.txn, &self.name)?.is_some() {
            return Err(Rejection::invalid(format!("user already exists: {}", self.name)).into());
        }
        if AccessView::new(step.txn).totals()?.users >= self.max_users {
            let detail = "unable to add user because the number of users has reached the limit".to_owned();
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        put_new(step, &self.name, &self.password_hash, &self.description)?;
        outbox::user_set(step, &self.name, true)?;
        Ok(Reply::AccessChanged)
    }
}

impl UpdateUser {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let stale = || Rejection::NotAuthenticated { detail: format!("old password not correct for {}", self.name) };
        let Some(mut row) = USERS.get(step.txn, &self.name)? else {
            return Err(match self.known {
                Some(_) => stale().into(),
                None => Rejection::invalid("user not found").into(),
            });
        };
        // The password was changed after the caller showed that it knew it.
        if self.known.is_some_and(|known| known != row.generation) {
            return Err(stale().into());
        }
        if let Some(hash) = &self.password_hash {
            check_hash(hash)?;
            row.password_hash = hash.clone();
            row.generation = next_generation(step)?;
        }
        if let Some(description) = &self.description {
            check_description("user", description)?;
            row.description = description.clone();
        }
        USERS.put(step.txn, &self.name, &row);
        outbox::user_set(step, &self.name, false)?;
        step.events.push(Event::Access(AccessEvent::User { name: self.name.clone() }));
        Ok(Reply::AccessChanged)
    }
}

impl DropUser {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if self.name == ROOT {
            return Err(Rejection::NotPermitted { detail: "root user cannot be deleted".to_owned() }.into());
        }
        if USERS.get(step.txn, &self.name)?.is_none() {
            return Ok(Reply::AccessChanged);
        }
        USERS.delete(step.txn, &self.name);
        let roles = AccessView::new(step.txn).roles_of(&self.name)?;
        for ((_, role), _) in USER_ROLES.page(step.txn, &Name::from(self.name.clone()), None, usize::MAX)? {
            role::unbind(step, &self.name, &role);
        }
        outbox::user_dropped(step, &self.name, &roles)?;
        count(step.txn, |totals| {
            totals.users = totals.users.checked_sub(1)?;
            Some(())
        })?;
        step.events.push(Event::Access(AccessEvent::User { name: self.name.clone() }));
        Ok(Reply::AccessChanged)
    }
}

/// Tells one password of a user from all others of all time, so that what was verified once can be remembered.
fn next_generation(step: &mut Step<'_, '_>) -> Result<u64, Refusal> {
    let mut given = 0;
    count(step.txn, |totals| {
        totals.generation = totals.generation.checked_add(1)?;
        given = totals.generation;
        Some(())
    })?;
    Ok(given)
}

fn check_hash(hash: &str) -> Result<(), Rejection> {
    match hash.len() {
        1..=MAX_HASH_BYTES => Ok(()),
        length => Err(Rejection::invalid(format!("a password's hash of {length} bytes, at most {MAX_HASH_BYTES}"))),
    }
}

pub(super) fn check_description(of: &str, description: &str) -> Result<(), Rejection> {
    match description.len() {
        0..=MAX_DESCRIPTION_BYTES => Ok(()),
        length => Err(Rejection::invalid(format!(
            "invalid {of} description with length {length}, the length of {of} description must be less than or equal \
             to {MAX_DESCRIPTION_BYTES}"
        ))),
    }
}
