//! Users, roles, grants and groups: by example, and against a model.

mod examples;
mod model_test;
mod shifts;

use super::support::*;
use crate::state::access::*;
use crate::state::*;

pub fn access(command: AccessCommand) -> Command {
    Command::Access(command)
}

pub fn create_user(name: &str) -> AccessCommand {
    let (name, password_hash) = (name.to_owned(), format!("hash of {name}"));
    AccessCommand::CreateUser(CreateUser { name, password_hash, description: "one".into(), max_users: 100 })
}

pub fn create_role(name: &str) -> AccessCommand {
    AccessCommand::CreateRole(CreateRole { name: name.into(), description: String::new(), max_roles: 10 })
}

pub fn bind(user: &str, role: &str, bind: bool) -> AccessCommand {
    AccessCommand::BindRole(BindRole { user: user.into(), role: role.into(), bind })
}

pub fn key(role: &str, object: &str, privilege: &str) -> GrantKey {
    GrantKey {
        role: role.into(),
        object_type: ObjectType::Collection,
        database: "default".into(),
        object: object.into(),
        privilege: privilege.into(),
    }
}

pub fn grant(key: GrantKey, of_group: bool) -> Grant {
    Grant { key, grantor: ROOT.into(), of_group }
}

pub fn root() -> AccessCommand {
    let everything = GrantKey { object: ANY.into(), ..key(PUBLIC, ANY, "PrivilegeIndexDetail") };
    AccessCommand::CreateRoot(CreateRoot { password_hash: "hash".into(), grants: vec![grant(everything, false)] })
}

pub fn change_group(name: &str, members: &[(&str, Option<PrivilegeLevel>)], add: bool) -> AccessCommand {
    let members = members.iter().map(|(name, level)| GroupMember { name: name.to_string(), level: *level }).collect();
    AccessCommand::ChangeGroup(ChangeGroup { name: name.into(), members, add })
}

pub fn create_group(name: &str) -> AccessCommand {
    AccessCommand::CreateGroup(CreateGroup { name: name.into() })
}

impl World {
    pub fn access(&mut self, command: AccessCommand) {
        assert_eq!(self.run(access(command)), Reply::AccessChanged);
    }

    /// Code and text of the refusal.
    pub fn refused(&mut self, command: AccessCommand) -> (i32, String) {
        let facts = self.facts();
        let rejection = self.rejected(access(command));
        // The first command of all brings the default database.
        assert!(facts.is_empty() || self.facts() == facts, "a refused command changes nothing");
        (rejection.code(), rejection.reason())
    }
}
