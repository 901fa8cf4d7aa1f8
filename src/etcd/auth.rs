//! The Auth service: tokens for callers that know the cluster's secret, and the one account there is. Accounts are not
//! kept in the key space, so every change of them is refused.

use tonic::{Request, Response, Status};

use super::Keyspace;
use super::access::Guard;
use super::error::{ROLE_NOT_FOUND, USER_NOT_FOUND};
use crate::pb::etcd::api::auth_server::Auth;
use crate::pb::etcd::api::*;

/// The one user, and the one role.
const ROOT: &str = "root";

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct AuthService {
    keyspace: Keyspace,
    guard: Guard,
}

impl AuthService {
    pub fn new(keyspace: Keyspace, guard: Guard) -> Self {
        AuthService { keyspace, guard }
    }

    fn header(&self) -> Result<Option<ResponseHeader>, Status> {
        self.keyspace.header().map(Some)
    }

    /// No caller may change accounts; one without a token is not even told so.
    fn fixed<Q, A>(&self, request: &Request<Q>) -> Answer<A> {
        self.guard.check(request.metadata())?;
        Err(Status::failed_precondition(
            "etcdserver: Roost keeps no users and roles of etcd: access is set by its configuration \
             (etcd.enabled, listen.client, cluster.secret)",
        ))
    }
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn authenticate(&self, request: Request<AuthenticateRequest>) -> Answer<AuthenticateResponse> {
        let token = self.guard.authenticate(&request.get_ref().password)?;
        Ok(Response::new(AuthenticateResponse { header: self.header()?, token }))
    }

    async fn auth_status(&self, _: Request<AuthStatusRequest>) -> Answer<AuthStatusResponse> {
        let enabled = !self.guard.is_open();
        Ok(Response::new(AuthStatusResponse { header: self.header()?, enabled, auth_revision: 1 }))
    }

    async fn user_list(&self, request: Request<AuthUserListRequest>) -> Answer<AuthUserListResponse> {
        self.guard.check(request.metadata())?;
        Ok(Response::new(AuthUserListResponse { header: self.header()?, users: vec![ROOT.to_owned()] }))
    }

    async fn user_get(&self, request: Request<AuthUserGetRequest>) -> Answer<AuthUserGetResponse> {
        self.guard.check(request.metadata())?;
        match request.get_ref().name == ROOT {
            true => Ok(Response::new(AuthUserGetResponse { header: self.header()?, roles: vec![ROOT.to_owned()] })),
            false => Err(USER_NOT_FOUND.into()),
        }
    }

    async fn role_list(&self, request: Request<AuthRoleListRequest>) -> Answer<AuthRoleListResponse> {
        self.guard.check(request.metadata())?;
        Ok(Response::new(AuthRoleListResponse { header: self.header()?, roles: vec![ROOT.to_owned()] }))
    }

    /// Like etcd's, root's role lists no permissions: it has all.
    async fn role_get(&self, request: Request<AuthRoleGetRequest>) -> Answer<AuthRoleGetResponse> {
        self.guard.check(request.metadata())?;
        match request.get_ref().role == ROOT {
            true => Ok(Response::new(AuthRoleGetResponse { header: self.header()?, perm: Vec::new() })),
            false => Err(ROLE_NOT_FOUND.into()),
        }
    }

    async fn auth_enable(&self, request: Request<AuthEnableRequest>) -> Answer<AuthEnableResponse> {
        self.fixed(&request)
    }

    async fn auth_disable(&self, request: Request<AuthDisableRequest>) -> Answer<AuthDisableResponse> {
        self.fixed(&request)
    }

    async fn user_add(&self, request: Request<AuthUserAddRequest>) -> Answer<AuthUserAddResponse> {
        self.fixed(&request)
    }

    async fn user_delete(&self, request: Request<AuthUserDeleteRequest>) -> Answer<AuthUserDeleteResponse> {
        self.fixed(&request)
    }

    async fn user_change_password(
        &self,
        request: Request<AuthUserChangePasswordRequest>,
    ) -> Answer<AuthUserChangePasswordResponse> {
        self.fixed(&request)
    }

    async fn user_grant_role(&self, request: Request<AuthUserGrantRoleRequest>) -> Answer<AuthUserGrantRoleResponse> {
        self.fixed(&request)
    }

    async fn user_revoke_role(
        &self,
        request: Request<AuthUserRevokeRoleRequest>,
    ) -> Answer<AuthUserRevokeRoleResponse> {
        self.fixed(&request)
    }

    async fn role_add(&self, request: Request<AuthRoleAddRequest>) -> Answer<AuthRoleAddResponse> {
        self.fixed(&request)
    }

    async fn role_delete(&self, request: Request<AuthRoleDeleteRequest>) -> Answer<AuthRoleDeleteResponse> {
        self.fixed(&request)
    }

    async fn role_grant_permission(
        &self,
        request: Request<AuthRoleGrantPermissionRequest>,
    ) -> Answer<AuthRoleGrantPermissionResponse> {
        self.fixed(&request)
    }

    async fn role_revoke_permission(
        &self,
        request: Request<AuthRoleRevokePermissionRequest>,
    ) -> Answer<AuthRoleRevokePermissionResponse> {
        self.fixed(&request)
    }
}
