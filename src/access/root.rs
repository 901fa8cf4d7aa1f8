//! The leader task that makes the user root, once in the life of a cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::Hasher;
use crate::config::Security;
use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::Command;
use crate::state::access::{ANY, AccessCommand, AccessView, CreateRoot, Grant, GrantKey, ObjectType, PUBLIC, ROOT};

/// Pause after a failed attempt: a cluster that is being upgraded refuses until its last member was replaced.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// See the module.
pub struct RootTask {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    hasher: Hasher,
    /// Made once: a cluster that is being upgraded may refuse for minutes.
    password_hash: OnceCell<String>,
    security: Arc<Security>,
}

impl RootTask {
    pub fn new(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        hasher: Hasher,
        security: Arc<Security>,
    ) -> Arc<Self> {
        Arc::new(RootTask { replica, proposer, hasher, password_hash: OnceCell::new(), security })
    }

    pub(super) async fn make(&self, reign: Reign) -> Result<(), Failure> {
        if AccessView::new(self.replica.view()?.as_ref()).user(ROOT)?.is_some() {
            return Ok(());
        }
        let password = || self.security.default_root_password.expose().as_bytes().to_vec();
        let password_hash = self.password_hash.get_or_try_init(|| self.hasher.hash(password())).await?.clone();
        let grants = if self.security.public_privileges_enabled { public_grants() } else { Vec::new() };
        let command = Command::Access(AccessCommand::CreateRoot(CreateRoot { password_hash, grants }));
        self.proposer.propose_internal(reign.term, command).await?;
        Ok(())
    }
}

#[tonic::async_trait]
impl LeaderTask for RootTask {
    fn name(&self) -> &'static str {
        "root user"
    }

    async fn run(&self, reign: Reign) {
        self.proposer.clock_settled(reign.term).await;
        while let Err(error) = self.make(reign).await {
            tracing::debug!(term = reign.term, %error, "the user root is not there yet; trying again");
            tokio::time::sleep(RETRY_DELAY).await;
        }
        // A task that returns is started again.
        std::future::pending().await
    }
}

/// What every user may do on everything, as in Milvus.
fn public_grants() -> Vec<Grant> {
    let grant = |(object_type, privilege): (ObjectType, &str)| Grant {
        key: GrantKey {
            role: PUBLIC.to_owned(),
            object_type,
            database: ANY.to_owned(),
            object: ANY.to_owned(),
            privilege: privilege.to_owned(),
        },
        grantor: ROOT.to_owned(),
        of_group: false,
    };
    let of_all = [
        (ObjectType::Global, "PrivilegeDescribeCollection"),
        (ObjectType::Global, "PrivilegeListAliases"),
        (ObjectType::Collection, "PrivilegeIndexDetail"),
    ];
    of_all.into_iter().map(grant).collect()
}
