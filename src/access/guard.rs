//! The check of every client's call, on the node that was asked: who is it, and may it do this?
//!
//! A call that needs a privilege waits for a read barrier first, so what was granted or revoked, on whichever node,
//! with an answer before the call began, holds for it. Calls that ask for nothing of the state (versions, health) are
//! let in on what this node knows.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use tonic::Status;

use super::Hasher;
use super::book::{Policy, PolicyBook};
use super::condition::Circumstances;
pub use super::credential::Caller;
use super::credential::{self, Credential, Verified};
use super::policy::{UserPolicy, Wanted};
use super::rules::{Need, ObjectField, Rule};
use super::wire::{self, Malformed};
use crate::call::Call;
use crate::config::Security;
use crate::failure::Failure;
use crate::handler::connection_database;
use crate::limits;
use crate::replica::Replica;
use crate::state::access::{ANY, ObjectType, PUBLIC, ROOT};
use crate::state::name::shown;
use crate::state::{DEFAULT_DATABASE, View};

/// Of `GrantEntity` and `RoleEntity`, on the way from SelectGrant's request to the name of the role.
const ROLE_OF_GRANT: u32 = 1;
const NAME: u32 = 1;

/// See the module.
pub struct Guard {
    replica: Arc<dyn Replica>,
    book: Arc<PolicyBook>,
    hasher: Hasher,
    verified: Verified,
    security: Arc<Security>,
}

/// Who asks for what.
struct Question<'a> {
    caller: &'a Caller,
    call: &'a Call,
    asking: Asking<'a>,
    need: Need,
    /// Where the privilege is wanted.
    database: &'a str,
    objects: Vec<&'a str>,
}

/// A collection and its database.
struct Named {
    database: String,
    collection: String,
}

/// What a call is about, as far as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub rule: &'a Rule,
    pub message: &'a [u8],
    /// What the request means: its own field, else the connection's.
    pub database: &'a str,
    pub connection_database: &'a str,
}

impl Guard {
    pub fn new(replica: Arc<dyn Replica>, book: Arc<PolicyBook>, hasher: Hasher, security: Arc<Security>) -> Arc<Self> {
        Arc::new(Guard { replica, book, hasher, verified: Verified::default(), security })
    }

    /// Whose call it is, by its password.
    pub async fn authenticate(&self, headers: &HeaderMap, call: &Call) -> Result<Caller, Status> {
        let credential = Credential::of(headers)?;
        let checked = tokio::time::timeout_at(call.deadline.into(), self.verify(credential, call));
        checked.await.map_err(|_| Status::deadline_exceeded("the password was not looked at in time"))?
    }

    async fn verify(&self, credential: Credential, call: &Call) -> Result<Caller, Status> {
        let Credential { user, password, token } = credential;
        let known = self.policy()?.user(&user).cloned();
        let remembered = self.verified.generation(&token);
        let caller = |generation| Caller { name: user.as_str().into(), generation };
        if let Some(policy) = known.as_ref().filter(|policy| remembered == Some(policy.generation)) {
            return Ok(caller(policy.generation));
        }
        if let Some(generation) = self.shown(&password, known.as_deref()).await? {
            self.verified.remember(&token, generation);
            return Ok(caller(generation));
        }
        // The user may have been made, or its password changed, on another node a moment ago.
        self.barrier(call).await?;
        let now = self.policy()?.user(&user).cloned();
        let same = now.as_ref().map(|policy| policy.generation) == known.as_ref().map(|policy| policy.generation);
        if same {
            return Err(credential::wrong());
        }
        let generation = self.shown(&password, now.as_deref()).await?.ok_or_else(credential::wrong)?;
        self.verified.remember(&token, generation);
        Ok(caller(generation))
    }

    /// The generation of the user's password if it is this one.
    async fn shown(&self, password: &[u8], user: Option<&UserPolicy>) -> Result<Option<u64>, Status> {
        let hash = user.map(|user| user.password_hash.clone());
        match self.hasher.verify(password.to_vec(), hash).await {
            Ok(true) => Ok(user.map(|user| user.generation)),
            Ok(false) => Ok(None),
            Err(Failure::Rejected(rejection) | Failure::Decided(rejection)) => Err(rejection.to_tonic()),
            Err(Failure::Again(error)) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Whether the caller may do this.
    pub async fn authorize(&self, caller: &Caller, call: &Call, asking: Asking<'_>) -> Result<(), Status> {
        if !asking.rule.reads_state {
            return Ok(());
        }
        self.barrier(call).await?;
        let policy = self.policy()?;
        let current = policy.user(&caller.name).filter(|user| user.generation == caller.generation);
        let Some(user) = current else { return Err(credential::wrong()) };
        let Some(need) = asking.rule.need else { return Ok(()) };
        if &*caller.name == ROOT && !self.security.root_should_bind_role {
            return Ok(());
        }
        let by_id = self.named_by_id(asking, &need)?;
        let named = by_id.as_ref().map_or(asking.database, |found| &found.database);
        let connected = asking.connection_database;
        let in_connection =
            asking.rule.in_connection && (!asking.rule.in_default_only || connected == DEFAULT_DATABASE);
        let database = if in_connection { connected } else { named };
        let malformed = |error: Malformed| Status::invalid_argument(error.to_string());
        let objects = match &by_id {
            Some(found) => vec![found.collection.as_str()],
            None => objects(asking.message, need.object).map_err(malformed)?,
        };
        if objects.len() > limits::NAMES_PER_REQUEST_MAX {
            let (count, most) = (objects.len(), limits::NAMES_PER_REQUEST_MAX);
            return Err(Status::invalid_argument(format!(
                "{count} names in one request, at most {most} are looked up"
            )));
        }
        let asked_in = asking.database;
        let asking = Asking { database: named, ..asking };
        let question = Question { caller, call, asking, need, database, objects };
        // A collection that was meant by its id may be of a database that the caller does not know of.
        let denied_in = if by_id.is_some() { asked_in } else { database };
        match self.allowed(&policy, user, &question) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::permission_denied(format!(
                "{}: permission deny to {} in the `{}` database",
                need.privilege.stored_name(),
                caller.name,
                // Travels in a header.
                shown(denied_in)
            ))),
            Err(error) => Err(malformed(error)),
        }
    }

    fn allowed(&self, policy: &Policy, user: &UserPolicy, question: &Question<'_>) -> Result<bool, Malformed> {
        let Question { caller, call, asking, need, database, objects } = question;
        // Users may always look at and change themselves, and look at what their own roles may do.
        if need.object_type == ObjectType::User && *objects == [&*caller.name] {
            return Ok(true);
        }
        if let Some(field) = need.own_roles {
            let role = own_role(asking.message, field)?;
            if role == PUBLIC || user.has_role(role) {
                return Ok(true);
            }
        }
        let address = host_of(&call.source);
        let one = |named: &str| {
            // Grants name collections by their own names.
            let own = match need.object_type {
                ObjectType::User => None,
                ObjectType::Collection | ObjectType::Global => self.book.collection_of(database, named),
            };
            let object = own.as_deref().unwrap_or(named);
            let wanted = Wanted { object_type: need.object_type, privilege: need.privilege, database, object };
            // Conditions are about what the call is about.
            let (user_name, at) = (&*caller.name, SystemTime::now());
            let around =
                Circumstances { user: user_name, database: asking.database, collection: object, address: &address, at };
            may(policy, user, &wanted, &around)
        };
        Ok(!objects.is_empty() && objects.iter().all(|named| one(named)))
    }

    /// The collection that the request means by its id because it has no name: as the handlers find it, in whichever
    /// database that is.
    fn named_by_id(&self, asking: Asking<'_>, need: &Need) -> Result<Option<Named>, Status> {
        let ObjectField::Text { number, repeated: false } = need.object else { return Ok(None) };
        let Some(id) = asking.rule.collection_id else { return Ok(None) };
        let malformed = |error: Malformed| Status::invalid_argument(error.to_string());
        if !wire::text(asking.message, number).map_err(malformed)?.is_empty() {
            return Ok(None);
        }
        let id = wire::integer(asking.message, id).map_err(malformed)?;
        let found = || {
            let view = self.replica.view()?;
            let view = View::new(view.as_ref());
            let Some(row) = view.collection_by_id(id)? else { return Ok(None) };
            let database = view.database_by_id(row.database_id)?;
            Ok(database.map(|database| Named { database: database.name, collection: row.name }))
        };
        found().map_err(|error: std::io::Error| {
            tracing::error!(%error, "the tables cannot be read");
            Status::unavailable("the tables cannot be read")
        })
    }

    fn policy(&self) -> Result<Arc<Policy>, Status> {
        self.book.current().map_err(|error| {
            tracing::error!(%error, "the policy cannot be read");
            Status::unavailable("the policy cannot be read")
        })
    }

    async fn barrier(&self, call: &Call) -> Result<(), Status> {
        let passed = self.replica.read_barrier(call.deadline).await;
        passed.map(|_| ()).map_err(|error| Status::unavailable(error.to_string()))
    }
}

impl<'a> Asking<'a> {
    /// Reads which database is meant, as the handlers do.
    pub fn new(rule: &'a Rule, message: &'a [u8], headers: &'a HeaderMap) -> Result<Self, Malformed> {
        let field = rule.database.map(|number| wire::text(message, number)).transpose()?.unwrap_or_default();
        let or = |name: &'a str, other| if name.is_empty() { other } else { name };
        let connection_database = or(connection_database(headers), DEFAULT_DATABASE);
        Ok(Asking { rule, message, database: or(field, connection_database), connection_database })
    }

    /// What the call names, for people.
    pub fn subject(&self) -> &'a str {
        self.rule.subject.and_then(|number| wire::text(self.message, number).ok()).unwrap_or_default()
    }
}

/// Whether the user, by its own roles or as everybody, may do it.
pub fn may(policy: &Policy, user: &UserPolicy, wanted: &Wanted<'_>, circumstances: &Circumstances<'_>) -> bool {
    let mut holds = |condition: &super::condition::Condition| condition.holds(circumstances);
    policy.public().allows(wanted, &mut holds) || user.allows(wanted, policy.groups(), &mut holds)
}

/// The IP address of `ip:port`; an IPv4 one as such, also where it came through an IPv6 socket.
fn host_of(source: &str) -> Cow<'_, str> {
    match source.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_canonical().to_string().into(),
        Err(_) => source.into(),
    }
}

/// Every object that the request names; where it names none, any.
fn objects(message: &[u8], field: ObjectField) -> Result<Vec<&str>, Malformed> {
    fn or_any(name: &str) -> &str {
        if name.is_empty() { ANY } else { name }
    }
    match field {
        ObjectField::Any => Ok(vec![ANY]),
        ObjectField::Text { number, repeated: false } => Ok(vec![or_any(wire::text(message, number)?)]),
        ObjectField::Text { number, repeated: true } => wire::texts(message, number),
        ObjectField::User(number) => Ok(vec![or_any(wire::nested_text(message, number, NAME)?)]),
    }
}

/// The role that SelectGrant asks about.
fn own_role(message: &[u8], field: u32) -> Result<&str, Malformed> {
    let mut last = "";
    for entity in wire::occurrences(message, field)? {
        let role = wire::nested_text(entity, ROLE_OF_GRANT, NAME)?;
        if !role.is_empty() {
            last = role;
        }
    }
    Ok(last)
}
