//! The calls about access and the check of calls, over a replica in memory.

mod calls;
mod guard;
mod policy;
mod swept;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tonic::Request;

use super::book::PolicyBook;
use super::guard::Guard;
use super::*;
use crate::config::Security;
use crate::error::Rejection;
use crate::handler::Asked;
use crate::leader::Reign;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::leader::tso::Oracle;
use crate::limits::Limits;
use crate::pb::milvus::*;
use crate::proposer::Proposer;
use crate::testing::SoloReplica;

pub struct Desk {
    pub replica: Arc<SoloReplica>,
    pub accounts: Arc<Accounts>,
    pub guard: Arc<Guard>,
    pub book: Arc<PolicyBook>,
    pub proposer: Arc<Proposer>,
}

/// Root is there; its password is Milvus' own.
pub async fn desk(security: Security) -> Desk {
    let replica = SoloReplica::new();
    replica.lead(1);
    desk_on(replica, security).await
}

pub async fn desk_on(replica: Arc<SoloReplica>, security: Security) -> Desk {
    let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
    clock.settled_for(1);
    let oracle = Oracle::new(replica.clone(), clock.clone(), 3000);
    let proposer = Proposer::new(replica.clone(), clock);
    let ledger = Ledger::new(replica.clone(), proposer.clone(), oracle, Limits::default());
    let (hasher, security) = (Hasher::new(4), Arc::new(security));
    let accounts = Accounts::new(ledger, hasher.clone(), security.clone());
    let book = PolicyBook::new(replica.clone());
    // As on a node that runs before its cluster has any user.
    book.current().unwrap();
    let guard = Guard::new(replica.clone(), book.clone(), hasher.clone(), security.clone());
    let root = RootTask::new(replica.clone(), proposer.clone(), hasher, security);
    root.make(Reign { term: 1 }).await.unwrap();
    Desk { replica, accounts, guard, book, proposer }
}

pub fn secured() -> Security {
    Security { authorization_enabled: true, bcrypt_cost: 4, ..Security::default() }
}

pub fn call(principal: &str) -> Call {
    Call {
        request: crate::call::RequestId::default(),
        principal: principal.into(),
        source: "10.0.0.1:5555".into(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

pub fn asked_by<T>(principal: &str, message: T) -> Asked<T> {
    let mut request = Request::new(message);
    // Every call is another request.
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let request_id = crate::call::RequestId { node: 9, boot: 1, sequence, acked_below: 0 };
    request.extensions_mut().insert(Call { request: request_id, ..call(principal) });
    Asked::of(request).unwrap()
}

pub fn asked<T>(message: T) -> Asked<T> {
    asked_by("root", message)
}

pub fn encoded(password: &str) -> String {
    BASE64_STANDARD.encode(password)
}

pub fn rejection(result: Result<(), Failure>) -> Rejection {
    match result.unwrap_err() {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => rejection,
        Failure::Again(error) => panic!("{error}"),
    }
}

impl Desk {
    pub async fn user(&self, username: &str) {
        let request =
            CreateCredentialRequest { username: username.into(), password: encoded("password"), ..Default::default() };
        self.accounts.create_credential(&asked(request)).await.unwrap();
    }

    pub async fn role(&self, name: &str, users: &[&str]) {
        let entity = Some(RoleEntity { name: name.into(), description: String::new() });
        self.accounts.create_role(&asked(CreateRoleRequest { entity, ..Default::default() })).await.unwrap();
        for username in users {
            let (username, role_name) = (username.to_string(), name.to_owned());
            let request = OperateUserRoleRequest { username, role_name, ..Default::default() };
            self.accounts.operate_user_role(&asked(request)).await.unwrap();
        }
    }

    /// By name and level.
    pub async fn operate(
        &self,
        operation: OperatePrivilegeType,
        role: &str,
        privilege: &str,
        place: &str,
    ) -> Result<(), Failure> {
        let (database, object) = place.split_once('.').unwrap();
        let privilege = Some(PrivilegeEntity { name: privilege.into() });
        let request = OperatePrivilegeV2Request {
            role: Some(RoleEntity { name: role.into(), description: String::new() }),
            grantor: Some(GrantorEntity { user: None, privilege }),
            r#type: operation.into(),
            db_name: database.into(),
            collection_name: object.into(),
            ..Default::default()
        };
        self.accounts.operate_privilege_v2(&asked(request)).await
    }

    pub async fn grant(&self, role: &str, privilege: &str, place: &str) {
        self.operate(OperatePrivilegeType::Grant, role, privilege, place).await.unwrap();
    }
}
