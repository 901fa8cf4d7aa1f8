//! RestoreRBAC: everything of a backup, or nothing. Nothing of it may be there before, so nothing is merged.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::grant::{self, Grant};
use super::group::{self, ChangeGroup, GroupMember};
use super::{AccessView, ROOT, role, user};
use crate::error::Rejection;
use crate::state::broadcast::outbox;
use crate::state::step::{Outcome, Refusal, Step};
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
        let present = group::count(step.txn)?;
        for (place, (name, _)) in self.groups.iter().enumerate() {
            if group::lookup(step.txn, name)?.is_some() {
                return Err(Rejection::invalid(format!("privilege group [{name}] already exists")).into());
            }
            group::put_new(step, name, present.saturating_add(place))?;
        }
        self.fill_groups(step)?;
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
                role::bind(step, &restored.name, name)?;
            }
        }
        let totals = AccessView::new(step.txn).totals()?;
        if totals.users > self.max_users || totals.roles > self.max_roles {
            let detail = "unable to restore: the number of users or roles would pass the limit".to_owned();
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        outbox::restored(step, self)?;
        step.events.push(Event::Access(AccessEvent::Everything));
        Ok(Reply::AccessChanged)
    }
}

impl Restore {
    /// Gives the groups their members. A group may be a member of one that was backed up before it: in rounds, each of
    /// those whose members have all got theirs.
    fn fill_groups(&self, step: &mut Step<'_, '_>) -> Result<(), Refusal> {
        let mut waits: Vec<BTreeSet<&str>> = Vec::with_capacity(self.groups.len());
        let mut waited_for: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, (_, members)) in self.groups.iter().enumerate() {
            let custom = members.iter().filter(|member| member.level.is_none()).map(|member| member.name.as_str());
            let mut unknown = BTreeSet::new();
            for name in custom.collect::<BTreeSet<&str>>() {
                if group::lookup(step.txn, name)?.is_none_or(|row| row.level == 0) {
                    unknown.insert(name);
                    waited_for.entry(name).or_default().push(place);
                }
            }
            waits.push(unknown);
        }
        let filled = |place: &usize| self.groups.get(*place).filter(|(_, members)| !members.is_empty());
        let free = |waits: &[BTreeSet<&str>], place: &usize| waits.get(*place).is_some_and(BTreeSet::is_empty);
        let mut ready: BTreeSet<usize> = (0..self.groups.len()).filter(|place| free(&waits, place)).collect();
        let mut left = self.groups.iter().filter(|(_, members)| !members.is_empty()).count();
        while left > 0 {
            let mut next = BTreeSet::new();
            let round: Vec<_> = ready.iter().filter_map(filled).collect();
            if round.is_empty() {
                return Err(Rejection::invalid("privilege groups name groups that are not there").into());
            }
            for (name, members) in round {
                ChangeGroup { name: name.clone(), members: members.clone(), add: true }.write(step)?;
                left -= 1;
                for place in waited_for.remove(name.as_str()).unwrap_or_default() {
                    let unknown = waits.get_mut(place);
                    if unknown.is_some_and(|unknown| unknown.remove(name.as_str()) && unknown.is_empty()) {
                        next.insert(place);
                    }
                }
            }
            ready = next;
        }
        Ok(())
    }
}
