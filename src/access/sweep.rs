//! The leader task that brings the tables of grants up to date after large drops and renames, a few grants with each
//! entry. The tables say what is left, so a new leader goes on where the last one was.

use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::access::AccessCommand;
use crate::state::{Command, View};

/// How often it is looked whether something is to be swept. Checks do not wait for it: they know already.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub struct GrantSweeper {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    look_every: Duration,
}

#[tonic::async_trait]
impl LeaderTask for GrantSweeper {
    fn name(&self) -> &'static str {
        "grant sweeper"
    }

    async fn run(&self, reign: Reign) {
        self.proposer.clock_settled(reign.term).await;
        loop {
            if let Err(error) = self.sweep(reign).await {
                tracing::warn!(term = reign.term, %error, "grants are not swept; trying again");
            }
            tokio::time::sleep(self.look_every).await;
        }
    }
}

impl GrantSweeper {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>) -> Arc<Self> {
        Arc::new(GrantSweeper { replica, proposer, look_every: LOOK_EVERY })
    }

    /// Until nothing is left.
    async fn sweep(&self, reign: Reign) -> Result<(), Failure> {
        while self.left()? > 0 {
            self.proposer.propose_internal(reign.term, Command::Access(AccessCommand::Sweep)).await?;
        }
        Ok(())
    }

    fn left(&self) -> Result<u64, Failure> {
        Ok(View::new(self.replica.view()?.as_ref()).access().totals()?.sweeps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::{desk, secured};
    use crate::state::access::{CreateRole, DropRole, Grant, GrantKey, ObjectType, ROOT};
    use crate::state::limits::GRANTS_AT_ONCE;

    async fn access(proposer: &Proposer, command: AccessCommand) {
        proposer.propose_internal(1, Command::Access(command)).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_role_left_behind_goes_by_itself_and_was_gone_before() {
        let desk = desk(secured()).await;
        let proposer = desk.proposer.clone();
        let role = || CreateRole { name: "r".into(), description: String::new(), max_roles: 10 };
        access(&proposer, AccessCommand::CreateRole(role())).await;
        let before = View::new(desk.replica.view().unwrap().as_ref()).access().totals().unwrap().grants;
        for number in 0..3 * GRANTS_AT_ONCE {
            let key = GrantKey {
                role: "r".into(),
                object_type: ObjectType::Collection,
                database: "default".into(),
                object: format!("c{number}"),
                privilege: "PrivilegeLoad".into(),
            };
            access(&proposer, AccessCommand::Grant(Grant { key, grantor: ROOT.into(), of_group: false })).await;
        }
        access(&proposer, AccessCommand::DropRole(DropRole { name: "r".into(), force: true })).await;
        access(&proposer, AccessCommand::CreateRole(role())).await;
        let grants = |replica: &dyn Replica| {
            let view = replica.view().unwrap();
            let view = View::new(view.as_ref()).access();
            (view.grants_of("r").unwrap().len(), view.totals().unwrap().grants - before)
        };
        assert_eq!(grants(desk.replica.as_ref()), (0, 3 * GRANTS_AT_ONCE as u64));
        let sweeper = GrantSweeper::new(desk.replica.clone(), proposer);
        let tasks = tokio::spawn(crate::leader::run(desk.replica.clone(), vec![sweeper]));
        let swept = async {
            while grants(desk.replica.as_ref()) != (0, 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
        tasks.abort();
    }
}
