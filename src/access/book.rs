//! The policy of a node: compiled from the tables, replaced piece by piece as the log changes them.
//!
//! Events are taken in by whoever asks, before it is answered: what this node has applied, the answer knows. The host
//! sends the events of an entry before it says that the entry was applied, so after a read barrier the policy knows
//! everything that was acknowledged before the barrier began, on whichever node.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::aliases::Aliases;
use super::condition::Condition;
use super::policy::{Groups, RolePolicy, UserPolicy};
use crate::pb::store;
use crate::replica::{Events, Replica};
use crate::shutdown::Shutdown;
use crate::state::access::{AccessEvent, AccessView, GrantKey, PUBLIC};
use crate::state::{Event, View};

/// Everything that a check reads.
#[derive(Debug)]
pub struct Policy {
    users: HashMap<Box<str>, Arc<UserPolicy>>,
    roles: HashMap<Box<str>, Arc<RolePolicy>>,
    groups: Arc<Groups>,
    public: Arc<RolePolicy>,
}

impl Policy {
    pub fn user(&self, name: &str) -> Option<&Arc<UserPolicy>> {
        self.users.get(name)
    }

    /// What every user may do.
    pub fn public(&self) -> &RolePolicy {
        &self.public
    }

    pub fn groups(&self) -> &Groups {
        &self.groups
    }
}

/// See the module.
pub struct PolicyBook {
    replica: Arc<dyn Replica>,
    current: ArcSwap<Policy>,
    aliases: RwLock<Aliases>,
    feed: Mutex<Feed>,
}

struct Feed {
    events: Events,
    /// Nothing was read yet, or something was missed.
    stale: bool,
}

/// What events of one turn say.
#[derive(Debug, Default)]
struct Changes {
    users: BTreeSet<String>,
    roles: BTreeSet<String>,
    groups: bool,
    everything: bool,
    aliases: Vec<Event>,
}

impl Changes {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Access(AccessEvent::User { name }) => _ = self.users.insert(name.clone()),
            Event::Access(AccessEvent::Role { name }) => _ = self.roles.insert(name.clone()),
            Event::Access(AccessEvent::Groups) => self.groups = true,
            Event::Access(AccessEvent::Everything) => self.everything = true,
            event if Aliases::concerns(event) => self.aliases.push(event.clone()),
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        let named = self.users.is_empty() && self.roles.is_empty() && self.aliases.is_empty();
        named && !self.groups && !self.everything
    }
}

impl PolicyBook {
    /// Reads nothing before it is asked.
    pub fn new(replica: Arc<dyn Replica>) -> Arc<Self> {
        let feed = Mutex::new(Feed { events: replica.events(), stale: true });
        let nothing = Policy {
            users: HashMap::new(),
            roles: HashMap::new(),
            groups: Arc::default(),
            public: Arc::new(RolePolicy::compile(PUBLIC, Vec::new(), &Groups::new())),
        };
        Arc::new(PolicyBook { replica, current: ArcSwap::from_pointee(nothing), aliases: RwLock::default(), feed })
    }

    /// The policy of all that this node has applied.
    pub fn current(&self) -> io::Result<Arc<Policy>> {
        let mut feed = self.feed.lock();
        let mut changes = Changes { everything: feed.stale, ..Changes::default() };
        loop {
            match feed.events.try_recv() {
                Ok(batch) => {
                    // Rows were replaced as a whole.
                    changes.everything |= batch.events.is_empty();
                    batch.events.iter().for_each(|event| changes.note(event));
                }
                Err(TryRecvError::Lagged(_)) => changes.everything = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if changes.is_empty() {
            return Ok(self.current.load_full());
        }
        // Until it is known to be current again.
        feed.stale = true;
        let view = self.replica.view()?;
        let view = View::new(view.as_ref());
        if changes.everything {
            *self.aliases.write() = Aliases::read(&view)?;
        } else if !changes.aliases.is_empty() {
            let mut aliases = self.aliases.write();
            changes.aliases.iter().try_for_each(|event| aliases.note(&view, event))?;
        }
        let policy = match changes.everything {
            true => read(view.access())?,
            false => amended(view.access(), &self.current.load(), changes)?,
        };
        let policy = Arc::new(policy);
        self.current.store(policy.clone());
        feed.stale = false;
        Ok(policy)
    }

    /// The collection's own name, if this is an alias, as of the last [`PolicyBook::current`].
    pub fn collection_of(&self, database: &str, alias: &str) -> Option<String> {
        self.aliases.read().resolve(database, alias).map(str::to_owned)
    }

    /// Keeps the policy current between calls, so that a call finds little to do.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        let mut events = self.replica.events();
        loop {
            if let Err(error) = self.current() {
                tracing::error!(%error, "the policy cannot be read");
            }
            tokio::select! {
                _ = shutdown.requested() => return,
                event = events.recv() => {
                    if matches!(event, Err(RecvError::Closed)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Everything, from the tables.
fn read(view: AccessView<'_>) -> io::Result<Policy> {
    let groups = groups(view)?;
    let mut roles = HashMap::new();
    for (name, _) in view.roles(None, usize::MAX)? {
        roles.insert(name.as_str().into(), role(view, &name, &groups)?);
    }
    let mut users = HashMap::new();
    for (name, row) in view.users(None, usize::MAX)? {
        users.insert(name.as_str().into(), user(view, &name, row, &roles)?);
    }
    let public = public(&roles, &groups);
    Ok(Policy { users, roles, groups, public })
}

/// The policy with some roles and users read again. Where groups mean something else, the roles that have one are
/// compiled again from what is known of them.
fn amended(view: AccessView<'_>, old: &Policy, changes: Changes) -> io::Result<Policy> {
    let Changes { users: mut touched, roles: changed, groups: regrouped, .. } = changes;
    let (mut users, mut roles) = (old.users.clone(), old.roles.clone());
    let groups = if regrouped { groups(view)? } else { old.groups.clone() };
    let with_groups: Vec<RolePolicy> = match regrouped {
        true => roles.values().filter(|role| role.has_groups()).map(|role| role.recompiled(&groups)).collect(),
        false => Vec::new(),
    };
    for role in with_groups {
        touched.extend(view.users_of(&role.name)?);
        roles.insert(role.name.clone(), Arc::new(role));
    }
    for name in changed {
        match view.role(&name)? {
            Some(_) => _ = roles.insert(name.as_str().into(), role(view, &name, &groups)?),
            None => _ = roles.remove(name.as_str()),
        }
        touched.extend(view.users_of(&name)?);
    }
    for name in touched {
        match view.user(&name)? {
            Some(row) => _ = users.insert(name.as_str().into(), user(view, &name, row, &roles)?),
            None => _ = users.remove(name.as_str()),
        }
    }
    let public = public(&roles, &groups);
    Ok(Policy { users, roles, groups, public })
}

fn groups(view: AccessView<'_>) -> io::Result<Arc<Groups>> {
    let groups: Groups = view.groups()?.into_iter().map(|(name, row)| (name, row.privileges)).collect();
    Ok(Arc::new(groups))
}

fn public(roles: &HashMap<Box<str>, Arc<RolePolicy>>, groups: &Groups) -> Arc<RolePolicy> {
    // It comes with the first command about access.
    roles.get(PUBLIC).cloned().unwrap_or_else(|| Arc::new(RolePolicy::compile(PUBLIC, Vec::new(), groups)))
}

fn role(view: AccessView<'_>, name: &str, groups: &Groups) -> io::Result<Arc<RolePolicy>> {
    let rows = view.grants_of(name)?;
    let grants = rows.into_iter().filter_map(|(key, row)| with_condition(key, &row)).collect();
    Ok(Arc::new(RolePolicy::compile(name, grants, groups)))
}

/// A grant whose condition this binary cannot read allows nothing here.
fn with_condition(key: GrantKey, row: &store::Grant) -> Option<(GrantKey, Option<Arc<Condition>>)> {
    if row.condition.is_empty() {
        return Some((key, None));
    }
    match Condition::compile(&row.condition) {
        Ok(condition) => Some((key, Some(Arc::new(condition)))),
        Err(error) => {
            tracing::error!(grant = %key, %error, "a stored condition cannot be read: the grant allows nothing");
            None
        }
    }
}

fn user(
    view: AccessView<'_>,
    name: &str,
    row: store::User,
    roles: &HashMap<Box<str>, Arc<RolePolicy>>,
) -> io::Result<Arc<UserPolicy>> {
    let given = view.roles_of(name)?.iter().filter_map(|name| roles.get(name.as_str()).cloned()).collect();
    Ok(Arc::new(UserPolicy::new(row.password_hash.into(), row.generation, given)))
}
