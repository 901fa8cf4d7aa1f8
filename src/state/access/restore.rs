//! RestoreRBAC: everything of a backup, or nothing. Nothing of it may be there before, so nothing is merged.

use std::io;

use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::grant::{self, Grant};
use super::group::{self, ChangeGroup, GroupMember};
use super::{AccessView, ROOT, role, user};
use crate::error::Rejection;
use crate::state::step::{Outcome, Step};
use crate::state::{Event, Reply};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredUser {
    pub name: String,
    pub password_hash: String,
    pub roles: Vec<String>,
}

/// Hashes stay out of whatever prints a command.
impl std::fmt::Debug for RestoredUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestoredUser").field("name", &self.name).field("roles", &self.roles).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    pub users: Vec<RestoredUser>,
    /// Names and descriptions.
    pub roles: Vec<(String, String)>,
    pub grants: Vec<Grant>,
    pub groups: Vec<(String, Vec<GroupMember>)>,
    pub max_users: u64,
    pub max_roles: u64,
}

impl Restore {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        for (name, description) in &self.roles {
            if AccessView::new(step.txn).role(name)?.is_some() {
                return Err(Rejection::invalid(format!("role [{name}] already exists")).into());
            }
            role::put_new(step, name, description)?;
        }
        for (name, _) in &self.groups {
            if group::lookup(step.txn, name)?.is_some() {
                return Err(Rejection::invalid(format!("privilege group [{name}] already exists")).into());
            }
            group::put_new(step, name)?;
        }
        // A group may be a member of one that was backed up before it.
        let mut waiting: Vec<_> = self.groups.iter().filter(|(_, members)| !members.is_empty()).collect();
        while !waiting.is_empty() {
            let (ready, rest) = ready_ones(step.txn, waiting)?;
            if ready.is_empty() {
                return Err(Rejection::invalid("privilege groups name groups that are not there").into());
            }
            for (name, members) in ready {
                ChangeGroup { name: name.clone(), members: members.clone(), add: true }.apply(step)?;
            }
            waiting = rest;
        }
        for grant in &self.grants {
            if AccessView::new(step.txn).role(&grant.key.role)?.is_none() {
                return Err(Rejection::invalid(format!("role [{}] does not exist", grant.key.role)).into());
            }
            grant::restore(step, grant)?;
        }
        for restored in &self.users {
            if restored.name == ROOT || AccessView::new(step.txn).user(&restored.name)?.is_some() {
                return Err(Rejection::invalid(format!("user [{}] already exists", restored.name)).into());
            }
            user::put_new(step, &restored.name, &restored.password_hash, "")?;
            for name in &restored.roles {
                if AccessView::new(step.txn).role(name)?.is_none() {
                    return Err(Rejection::invalid(format!("role [{name}] does not exist")).into());
                }
                role::bind(step, &restored.name, name);
            }
        }
        let totals = AccessView::new(step.txn).totals()?;
        if totals.users > self.max_users || totals.roles > self.max_roles {
            let detail = "unable to restore: the number of users or roles would pass the limit".to_owned();
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        step.events.push(Event::Access(AccessEvent::Everything));
        Ok(Reply::AccessChanged)
    }
}

type Groups<'a> = Vec<&'a (String, Vec<GroupMember>)>;

/// Separates the groups whose members are all known from the others.
fn ready_ones<'a>(read: &dyn Read, waiting: Groups<'a>) -> io::Result<(Groups<'a>, Groups<'a>)> {
    let (mut ready, mut rest) = (Vec::new(), Vec::new());
    for group in waiting {
        let mut known = true;
        for member in &group.1 {
            known &= member.level.is_some() || group::lookup(read, &member.name)?.is_some_and(|row| row.level != 0);
        }
        if known { ready.push(group) } else { rest.push(group) }
    }
    Ok((ready, rest))
}
