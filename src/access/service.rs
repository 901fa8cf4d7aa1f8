//! The operator's calls about grants (`proto/roost/access.proto`).

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::{Request, Response, Status};

use super::condition::{Circumstances, Condition};
use super::explain::{Relevant, explain};
use super::grants::{shown_name, stored_name};
use super::policy::Wanted;
use super::privilege::Privilege;
use super::roles::all_roles;
use super::{Accounts, PolicyBook, audit};
use crate::call::Call;
use crate::config::Security;
use crate::error::Rejection;
use crate::failure::{self, Failure};
use crate::pb::access::access_server::Access;
use crate::pb::access::{
    ExplainRequest, ExplainResponse, Grant, ListGrantsRequest, ListGrantsResponse, RelevantGrant, SetConditionRequest,
    SetConditionResponse,
};
use crate::replica::Replica;
use crate::state::DEFAULT_DATABASE;
use crate::state::access::{ANY, AccessCommand, AccessView, GrantKey, ObjectType, SetCondition};
use crate::state::name;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct GrantService {
    pub accounts: Arc<Accounts>,
    pub policy: Arc<PolicyBook>,
    pub replica: Arc<dyn Replica>,
    pub security: Arc<Security>,
}

impl GrantService {
    async fn list(&self, call: &Call, role: String) -> Result<ListGrantsResponse, Failure> {
        let read = move |view: AccessView<'_>| {
            let roles = match role.is_empty() {
                true => all_roles(view)?.into_iter().map(|(name, _)| name).collect(),
                false => vec![role],
            };
            let mut grants = Vec::new();
            for role in roles {
                let rows = view.grants_of(&role)?.into_iter();
                grants.extend(rows.map(|(key, row)| shown(key, row.grantor, row.condition)));
            }
            Ok(ListGrantsResponse { grants })
        };
        self.accounts.read(call, read).await
    }

    /// On the leader.
    async fn set_condition(&self, call: &Call, request: SetConditionRequest) -> Result<SetConditionResponse, Failure> {
        let grant = request.grant.unwrap_or_default();
        let condition = grant.condition.clone();
        let key = key_of(grant)?;
        let outcome = self.put_condition(call, &key, &condition).await;
        audit::condition_set(call, &key, name::shown(&condition), outcome.as_ref().copied());
        outcome.map(|()| SetConditionResponse {})
    }

    async fn put_condition(&self, call: &Call, key: &GrantKey, condition: &str) -> Result<(), Failure> {
        if !condition.is_empty() {
            let refused = |error| Rejection::invalid(format!("the condition is refused: {error}"));
            Condition::compile(condition).map_err(refused)?;
        }
        let command = SetCondition { key: key.clone(), condition: condition.to_owned() };
        self.accounts.propose(call, AccessCommand::SetCondition(command)).await
    }

    async fn explain(&self, call: &Call, request: ExplainRequest) -> Result<ExplainResponse, Failure> {
        let ExplainRequest { user, privilege: name, database, object, address, at_ms } = request;
        let unknown = || Rejection::invalid(format!("there is no privilege {name} (groups are not asked about)"));
        let privilege = Privilege::named(&name).filter(|one| !one.is_group()).ok_or_else(unknown)?;
        let database = if database.is_empty() { DEFAULT_DATABASE } else { &database };
        let object = if object.is_empty() { ANY } else { &object };
        self.replica.read_barrier(call.deadline).await?;
        let policy = self.policy.current()?;
        let own = match privilege.object_type() {
            ObjectType::User => None,
            ObjectType::Collection | ObjectType::Global => self.policy.collection_of(database, object),
        };
        let object = own.as_deref().unwrap_or(object);
        let wanted = Wanted { object_type: privilege.object_type(), privilege, database, object };
        let at = if at_ms == 0 { SystemTime::now() } else { UNIX_EPOCH + Duration::from_millis(at_ms) };
        let circumstances = Circumstances { user: &user, database, collection: object, address: &address, at };
        let found = explain(&policy, &user, &wanted, &circumstances, self.security.root_should_bind_role);
        let relevant = |relevant: Relevant| RelevantGrant {
            grant: Some(shown(relevant.key, String::new(), relevant.condition)),
            holds: relevant.holds,
        };
        let grants = found.grants.into_iter().map(relevant).collect();
        Ok(ExplainResponse { allowed: found.allowed, reason: found.reason, grants })
    }
}

#[tonic::async_trait]
impl Access for GrantService {
    async fn list_grants(&self, request: Request<ListGrantsRequest>) -> Result<Response<ListGrantsResponse>, Status> {
        failure::grpc(self.list(&Call::of(&request)?, request.into_inner().role).await)
    }

    async fn set_condition(
        &self,
        request: Request<SetConditionRequest>,
    ) -> Result<Response<SetConditionResponse>, Status> {
        failure::grpc(self.set_condition(&Call::of(&request)?, request.into_inner()).await)
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        failure::grpc(self.explain(&Call::of(&request)?, request.into_inner()).await)
    }
}

fn shown(key: GrantKey, grantor: String, condition: String) -> Grant {
    Grant {
        privilege: shown_name(&key.privilege).to_owned(),
        role: key.role,
        object_type: key.object_type.name().to_owned(),
        database: key.database,
        object: key.object,
        grantor,
        condition,
    }
}

fn key_of(grant: Grant) -> Result<GrantKey, Rejection> {
    let Grant { role, object_type, database, object, privilege, .. } = grant;
    let own = || Privilege::named(&privilege).map_or(ObjectType::Global, Privilege::object_type);
    let unknown = || Rejection::invalid(format!("there is no object type {object_type}"));
    let named = if object_type.is_empty() { own() } else { ObjectType::named(&object_type).ok_or_else(unknown)? };
    Ok(GrantKey { role, object_type: named, database, object, privilege: stored_name(&privilege) })
}
