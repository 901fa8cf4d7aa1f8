//! Users, roles, grants and privilege groups: the calls that manage them, and the check of every other call.
//!
//! - `privilege`, `built_in`: which privileges there are, and groups of them; `names`, `password`: what may be stored;
//! - `users`, `roles`, `grants`, `groups`, `backup`: the calls, parts of [`Accounts`];
//! - `rules`, `wire`: what a call needs, and what its request names; `credential`: who calls;
//! - `policy`, `condition`: grants in a form that is quick to ask; `book`, `aliases`: the policy that follows
//!   the log;
//! - `guard`: the check; `sight`: what listings show; `audit`: what is written down about it; `explain`, `service`: why
//!   it came out so, for operators; `sweep`: grants that large drops left behind.
//!
//! The rows and their rules are `src/state/access`'s.

mod aliases;
pub mod audit;
mod backup;
pub mod book;
pub mod built_in;
pub mod condition;
mod credential;
pub mod explain;
mod grants;
mod groups;
pub mod guard;
mod names;
pub mod password;
pub mod policy;
pub mod privilege;
mod roles;
mod root;
mod rules;
mod service;
mod sight;
mod sweep;
#[cfg(test)]
mod tests;
mod users;
mod wire;

use std::sync::Arc;

use crate::call::Call;
use crate::config::Security;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::ledger::{Ledger, reply};
use crate::state::access::{AccessCommand, AccessView, ROOT};
use crate::state::{Command, Reply};

pub use book::PolicyBook;
pub use guard::{Asking, Guard};
pub use password::Hasher;
pub use root::RootTask;
pub use rules::{ObjectField, Rule, Rules};
pub use service::GrantService;
pub use sight::{Sight, keep_lines};
pub use sweep::GrantSweeper;
pub use wire::{FRAME_HEADER, Malformed, field, message, texts};

/// The calls about access, over the replicated state, for both APIs.
pub struct Accounts {
    ledger: Ledger,
    hasher: Hasher,
    security: Arc<Security>,
}

impl Accounts {
    pub fn new(ledger: Ledger, hasher: Hasher, security: Arc<Security>) -> Arc<Self> {
        Arc::new(Accounts { ledger, hasher, security })
    }

    async fn propose(&self, call: &Call, command: AccessCommand) -> Result<(), Failure> {
        let done = reply!(Reply::AccessChanged => ());
        self.ledger.propose(call, Command::Access(command), done).await
    }

    /// See [`Ledger::refuse`].
    async fn refuse(&self, call: &Call, why: Rejection) -> Result<(), Failure> {
        self.ledger.refuse(call, why, reply!(Reply::AccessChanged => ())).await
    }

    /// Reads many rows behind a barrier, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        call: &Call,
        read: impl FnOnce(AccessView<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.ledger.list(call, move |view| read(view.access())).await
    }

    /// Who is written down as the one who granted: whoever calls. Without authorization nobody may be known, and
    /// whoever can call can do everything.
    fn grantor<'a>(&self, call: &'a Call) -> &'a str {
        if call.principal.is_empty() || !self.security.authorization_enabled { ROOT } else { &call.principal }
    }
}
