//! Privilege groups: those that users make, and the built-in ones beside them in listings.

use super::built_in::{BUILT_IN_GROUPS, BuiltInGroup};
use super::privilege::Privilege;
use super::{Accounts, names};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common;
use crate::pb::milvus::{
    CreatePrivilegeGroupRequest, DropPrivilegeGroupRequest, ListPrivilegeGroupsRequest, ListPrivilegeGroupsResponse,
    OperatePrivilegeGroupRequest, OperatePrivilegeGroupType, PrivilegeEntity, PrivilegeGroupInfo,
};
use crate::state::access::{
    AccessCommand, AccessView, ChangeGroup, CreateGroup, DropGroup, GroupMember, PrivilegeLevel,
};

impl Accounts {
    /// On the leader.
    pub async fn create_privilege_group(&self, asked: &Asked<CreatePrivilegeGroupRequest>) -> Result<(), Failure> {
        let name = asked.message.group_name.trim().to_owned();
        names::group(&name)?;
        if is_reserved(&name) {
            return Err(Rejection::invalid(format!(
                "privilege group name [{name}] is defined by built in privileges or privilege groups in system"
            ))
            .into());
        }
        self.propose(&asked.call, AccessCommand::CreateGroup(CreateGroup { name })).await
    }

    /// On the leader. A missing group is a success.
    pub async fn drop_privilege_group(&self, asked: &Asked<DropPrivilegeGroupRequest>) -> Result<(), Failure> {
        let name = asked.message.group_name.trim().to_owned();
        names::group(&name)?;
        self.propose(&asked.call, AccessCommand::DropGroup(DropGroup { name })).await
    }

    /// On the leader. Adds members to a custom group or removes them.
    pub async fn operate_privilege_group(&self, asked: &Asked<OperatePrivilegeGroupRequest>) -> Result<(), Failure> {
        let OperatePrivilegeGroupRequest { group_name, privileges, r#type, .. } = asked.message.clone();
        names::group(&group_name)?;
        let add = match OperatePrivilegeGroupType::try_from(r#type) {
            Ok(OperatePrivilegeGroupType::AddPrivilegesToGroup) => true,
            Ok(OperatePrivilegeGroupType::RemovePrivilegesFromGroup) => false,
            Err(_) => return Err(Rejection::invalid("invalid operate privilege group type").into()),
        };
        for PrivilegeEntity { name } in &privileges {
            names::privilege(name)?;
        }
        let (name, members) = (group_name.trim().to_owned(), privileges.into_iter().map(member).collect());
        self.propose(&asked.call, AccessCommand::ChangeGroup(ChangeGroup { name, members, add })).await
    }

    /// The built-in groups and the custom ones.
    pub async fn list_privilege_groups(
        &self,
        asked: &Asked<ListPrivilegeGroupsRequest>,
    ) -> Result<ListPrivilegeGroupsResponse, Failure> {
        let privilege_groups = self.read(&asked.call, every_group).await?;
        Ok(ListPrivilegeGroupsResponse { status: Some(common::Status::default()), privilege_groups })
    }
}

/// The built-in groups, then the custom ones.
pub(super) fn every_group(view: AccessView<'_>) -> Result<Vec<PrivilegeGroupInfo>, Failure> {
    let built_in = BUILT_IN_GROUPS.iter().map(|group| info(group.name.to_owned(), group.privileges()));
    Ok(built_in.chain(custom_groups(view)?).collect())
}

pub(super) fn custom_groups(view: AccessView<'_>) -> Result<Vec<PrivilegeGroupInfo>, Failure> {
    let rows = view.groups()?.into_iter();
    Ok(rows.map(|(name, row)| info(name, row.privileges.iter().map(String::as_str))).collect())
}

fn info<'a>(group_name: String, privileges: impl IntoIterator<Item = &'a str>) -> PrivilegeGroupInfo {
    let privileges = privileges.into_iter().map(|name| PrivilegeEntity { name: name.to_owned() }).collect();
    PrivilegeGroupInfo { group_name, privileges }
}

/// A privilege or a built-in group, by the API's name.
pub(super) fn is_defined(name: &str) -> bool {
    Privilege::named(name).is_some() || BuiltInGroup::named(name).is_some()
}

/// Whether a custom group may not have this name: a grant holds a group by its name and everything else by the stored
/// one, so a group of a stored name would mean what that means.
pub(super) fn is_reserved(name: &str) -> bool {
    is_defined(name) || Privilege::stored(name).is_some()
}

/// The level of a privilege or a built-in group; `None` for anything else.
pub(super) fn level_of(name: &str) -> Option<PrivilegeLevel> {
    let group = BuiltInGroup::named(name).map(|group| group.level);
    group.or_else(|| Privilege::named(name).and_then(Privilege::level))
}

/// A member whose level is not known here is a custom group, or nothing.
pub(super) fn member(entity: PrivilegeEntity) -> GroupMember {
    GroupMember { level: level_of(&entity.name), name: entity.name }
}
