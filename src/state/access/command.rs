//! What the log may ask about access, and what changed by it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::found;
use super::grant::{Grant, Revoke, SetCondition};
use super::group::{ChangeGroup, CreateGroup, DropGroup};
use super::restore::Restore;
use super::role::{AlterRole, BindRole, CreateRole, DropRole};
use super::sweep;
use super::user::{CreateRoot, CreateUser, DropUser, UpdateUser};
use crate::state::step::{Outcome, Step};

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessCommand {
    /// By the first leader, unless it is there: root, and what everybody may do.
    CreateRoot(CreateRoot),
    CreateUser(CreateUser),
    UpdateUser(UpdateUser),
    DropUser(DropUser),
    CreateRole(CreateRole),
    AlterRole(AlterRole),
    DropRole(DropRole),
    BindRole(BindRole),
    Grant(Grant),
    Revoke(Revoke),
    SetCondition(SetCondition),
    CreateGroup(CreateGroup),
    DropGroup(DropGroup),
    ChangeGroup(ChangeGroup),
    Restore(Restore),
    /// By the leader: some grants that drops and renames left where they were. From apply version 7.
    Sweep,
}

/// What a command changed. Names only: whoever wants the rows reads them at that revision or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessEvent {
    /// Its password, its description, its roles, or its being there.
    User { name: String },
    /// Its grants, its description, or its being there.
    Role { name: String },
    /// What any privilege group means.
    Groups,
    /// More than can be named.
    Everything,
}

impl AccessCommand {
    pub fn name(&self) -> &'static str {
        match self {
            AccessCommand::CreateRoot(_) => "create_root",
            AccessCommand::CreateUser(_) => "create_user",
            AccessCommand::UpdateUser(_) => "update_user",
            AccessCommand::DropUser(_) => "drop_user",
            AccessCommand::CreateRole(_) => "create_role",
            AccessCommand::AlterRole(_) => "alter_role",
            AccessCommand::DropRole(_) => "drop_role",
            AccessCommand::BindRole(_) => "bind_role",
            AccessCommand::Grant(_) => "grant",
            AccessCommand::Revoke(_) => "revoke",
            AccessCommand::SetCondition(_) => "set_condition",
            AccessCommand::CreateGroup(_) => "create_privilege_group",
            AccessCommand::DropGroup(_) => "drop_privilege_group",
            AccessCommand::ChangeGroup(_) => "change_privilege_group",
            AccessCommand::Restore(_) => "restore_access",
            AccessCommand::Sweep => "sweep_grants",
        }
    }

    /// What must pass while the disks are full.
    pub fn frees_space(&self) -> bool {
        matches!(
            self,
            AccessCommand::DropUser(_)
                | AccessCommand::DropRole(_)
                | AccessCommand::Revoke(_)
                | AccessCommand::DropGroup(_)
                | AccessCommand::Sweep
        )
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        found(step)?;
        match self {
            AccessCommand::CreateRoot(command) => command.apply(step),
            AccessCommand::CreateUser(command) => command.apply(step),
            AccessCommand::UpdateUser(command) => command.apply(step),
            AccessCommand::DropUser(command) => command.apply(step),
            AccessCommand::CreateRole(command) => command.apply(step),
            AccessCommand::AlterRole(command) => command.apply(step),
            AccessCommand::DropRole(command) => command.apply(step),
            AccessCommand::BindRole(command) => command.apply(step),
            AccessCommand::Grant(command) => command.apply(step),
            AccessCommand::Revoke(command) => command.apply(step),
            AccessCommand::SetCondition(command) => command.apply(step),
            AccessCommand::CreateGroup(command) => command.apply(step),
            AccessCommand::DropGroup(command) => command.apply(step),
            AccessCommand::ChangeGroup(command) => command.apply(step),
            AccessCommand::Restore(command) => command.apply(step),
            AccessCommand::Sweep => sweep::apply(step),
        }
    }
}

/// One line for people, without any password's hash: the log's tail is shown to operators.
impl fmt::Display for AccessCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |text: &str| text.escape_debug().to_string();
        match self {
            AccessCommand::CreateRoot(_) => write!(f, "create user root"),
            AccessCommand::CreateUser(command) => write!(f, "create user {}", name(&command.name)),
            AccessCommand::UpdateUser(command) => write!(f, "update user {}", name(&command.name)),
            AccessCommand::DropUser(command) => write!(f, "drop user {}", name(&command.name)),
            AccessCommand::CreateRole(command) => write!(f, "create role {}", name(&command.name)),
            AccessCommand::AlterRole(command) => write!(f, "alter role {}", name(&command.name)),
            AccessCommand::DropRole(command) => write!(f, "drop role {}", name(&command.name)),
            AccessCommand::BindRole(BindRole { user, role, bind }) => {
                let verb = if *bind { "give" } else { "take" };
                write!(f, "{verb} role {} {} {}", name(role), if *bind { "to" } else { "from" }, name(user))
            }
            AccessCommand::Grant(command) => write!(f, "grant {}", command.key),
            AccessCommand::Revoke(command) => write!(f, "revoke {}", command.key),
            AccessCommand::SetCondition(command) => write!(f, "set condition of {}", command.key),
            AccessCommand::CreateGroup(command) => write!(f, "create privilege group {}", name(&command.name)),
            AccessCommand::DropGroup(command) => write!(f, "drop privilege group {}", name(&command.name)),
            AccessCommand::ChangeGroup(command) => write!(f, "change privilege group {}", name(&command.name)),
            AccessCommand::Restore(command) => write!(
                f,
                "restore {} users, {} roles, {} grants, {} privilege groups",
                command.users.len(),
                command.roles.len(),
                command.grants.len(),
                command.groups.len()
            ),
            AccessCommand::Sweep => write!(f, "sweep grants"),
        }
    }
}
