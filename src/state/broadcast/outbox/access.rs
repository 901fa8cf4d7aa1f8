//! Users, roles, grants and privilege groups: their messages go to the control channel alone, one after the other. A
//! condition of a grant is ours alone, and Milvus has no message for it.
//!
//! While nodes are away, what waits is bounded by what there is, and was: a message that tells of something new is
//! taken back when that goes, and nodes hear of neither.

use std::collections::BTreeSet;

use super::{FULL_SINCE, Outgoing, control_channel, take_back};
use crate::pb::internal::CredentialInfo;
use crate::pb::messages::{
    AlterPrivilegeGroupMessageBody, AlterPrivilegeGroupMessageHeader, AlterPrivilegeMessageBody,
    AlterPrivilegeMessageHeader, AlterRoleMessageBody, AlterRoleMessageHeader, AlterUserMessageBody,
    AlterUserMessageHeader, AlterUserRoleMessageBody, AlterUserRoleMessageHeader, DropPrivilegeGroupMessageBody,
    DropPrivilegeGroupMessageHeader, DropPrivilegeMessageBody, DropPrivilegeMessageHeader, DropRoleMessageBody,
    DropRoleMessageHeader, DropUserMessageBody, DropUserMessageHeader, DropUserRoleMessageBody,
    DropUserRoleMessageHeader, MessageType, RestoreRbacMessageBody, RestoreRbacMessageHeader, RoleBinding,
};
use crate::pb::milvus::{
    GrantEntity, GrantorEntity, ObjectEntity, PrivilegeEntity, PrivilegeGroupInfo, RbacMeta, RoleEntity, UserEntity,
    UserInfo,
};
use crate::state::access::{Grant, GrantKey, GroupMember, Restore};
use crate::state::broadcast::lock::ResourceKey;
use crate::state::limits::MAX_GROUP_PRIVILEGES;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{PRIVILEGE_GROUPS, ROLES, USERS};

/// The names of messages' subjects are told apart by what they name.
const USER: &str = "user";
const ROLE: &str = "role";
const BINDING: &str = "binding";
const GRANT: &str = "grant";
const GROUP: &str = "group";

/// Negative, and the same for the same names (FNV-1a). Others may have it too, so a message that is taken back is
/// looked at.
fn subject(kind: &str, names: &[&str]) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for name in [kind].iter().chain(names) {
        // No name has the byte that ends it.
        for byte in name.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    !i64::try_from(hash >> 1).unwrap_or(i64::MAX)
}

/// `None`: nothing is told.
fn control(step: &Step<'_, '_>) -> Result<Option<String>, Refusal> {
    if step.apply_version < FULL_SINCE {
        return Ok(None);
    }
    Ok(control_channel(step.txn)?)
}

fn send(step: &mut Step<'_, '_>, control: String, subject_id: i64, outgoing: Outgoing) -> Result<(), Refusal> {
    let (vchannels, keys) = (vec![control], vec![ResourceKey::access()]);
    Outgoing { vchannels, keys, subject_id, ..outgoing }.send(step)
}

fn user_entity(name: &str) -> Option<UserEntity> {
    Some(UserEntity { name: name.to_owned() })
}

fn role_entity(name: &str, description: &str) -> RoleEntity {
    RoleEntity { name: name.to_owned(), description: description.to_owned() }
}

/// The user is new, or has another password or description.
pub(in crate::state) fn user_set(step: &mut Step<'_, '_>, name: &str, is_new: bool) -> Result<(), Refusal> {
    let (Some(control), Some(row)) = (control(step)?, USERS.get(step.txn, &name.to_owned())?) else { return Ok(()) };
    let (id, user_entity) = (subject(USER, &[name]), user_entity(name));
    take_back(step, id, &[MessageType::AlterUser], |task, header: &AlterUserMessageHeader| {
        !task.creates && header.user_entity == user_entity
    })?;
    let credential = CredentialInfo {
        username: name.to_owned(),
        encrypted_password: row.password_hash,
        description: Some(row.description),
        ..CredentialInfo::default()
    };
    let header = AlterUserMessageHeader { user_entity };
    let body = AlterUserMessageBody { credential_info: Some(credential) };
    let outgoing = Outgoing::new(MessageType::AlterUser, &header, &body);
    send(step, control, id, Outgoing { creates: is_new, ..outgoing })
}

/// `roles`: those that it had.
pub(in crate::state) fn user_dropped(step: &mut Step<'_, '_>, name: &str, roles: &[String]) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    for role in roles {
        forget_binding(step, name, role)?;
    }
    let (id, user_entity) = (subject(USER, &[name]), user_entity(name));
    let taken = take_back(step, id, &[MessageType::AlterUser], |_, header: &AlterUserMessageHeader| {
        header.user_entity == user_entity
    })?;
    if taken.iter().any(|(task, _)| task.creates) {
        return Ok(());
    }
    let header = DropUserMessageHeader { user_name: name.to_owned() };
    let outgoing = Outgoing::new(MessageType::DropUser, &header, &DropUserMessageBody {});
    send(step, control, id, Outgoing { takes_away: true, ..outgoing })
}

/// The role is new, or has another description.
pub(in crate::state) fn role_set(step: &mut Step<'_, '_>, name: &str, is_new: bool) -> Result<(), Refusal> {
    let (Some(control), Some(row)) = (control(step)?, ROLES.get(step.txn, &name.to_owned())?) else { return Ok(()) };
    let id = subject(ROLE, &[name]);
    take_back(step, id, &[MessageType::AlterRole], |task, header: &AlterRoleMessageHeader| {
        !task.creates && is_role(header, name)
    })?;
    let header = AlterRoleMessageHeader { role_entity: Some(role_entity(name, &row.description)) };
    let outgoing = Outgoing::new(MessageType::AlterRole, &header, &AlterRoleMessageBody {});
    send(step, control, id, Outgoing { creates: is_new, ..outgoing })
}

fn is_role(header: &AlterRoleMessageHeader, name: &str) -> bool {
    header.role_entity.as_ref().is_some_and(|role| role.name == name)
}

/// `users` and `grants`: those that it had; `None`: too many to take back what nobody has begun with, which then goes
/// before this.
pub(in crate::state) fn role_dropped(
    step: &mut Step<'_, '_>,
    name: &str,
    force: bool,
    users: Option<&[String]>,
    grants: Option<&[GrantKey]>,
) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    for user in users.into_iter().flatten() {
        forget_binding(step, user, name)?;
    }
    for grant in grants.into_iter().flatten() {
        forget_grant(step, grant)?;
    }
    let id = subject(ROLE, &[name]);
    if users.is_some() && grants.is_some() {
        let taken =
            take_back(step, id, &[MessageType::AlterRole], |_, header: &AlterRoleMessageHeader| is_role(header, name))?;
        if taken.iter().any(|(task, _)| task.creates) {
            return Ok(());
        }
    }
    let header = DropRoleMessageHeader { role_name: name.to_owned(), force_drop: force };
    let outgoing = Outgoing::new(MessageType::DropRole, &header, &DropRoleMessageBody {});
    send(step, control, id, Outgoing { takes_away: true, ..outgoing })
}

fn binding(user: &str, role: &str) -> Option<RoleBinding> {
    Some(RoleBinding { user_entity: user_entity(user), role_entity: Some(role_entity(role, "")) })
}

/// Whether one of those that are taken back told of it.
fn forget_binding(step: &mut Step<'_, '_>, user: &str, role: &str) -> Result<bool, Refusal> {
    // Both kinds of header have the same form.
    let (id, role_binding) = (subject(BINDING, &[user, role]), binding(user, role));
    let taken = take_back(step, id, &[MessageType::AlterUserRole], |_, header: &AlterUserRoleMessageHeader| {
        header.role_binding == role_binding
    })?;
    Ok(taken.iter().any(|(task, _)| task.creates))
}

/// The user did not have the role before.
pub(in crate::state) fn bound(step: &mut Step<'_, '_>, user: &str, role: &str) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    let header = AlterUserRoleMessageHeader { role_binding: binding(user, role) };
    let outgoing = Outgoing::new(MessageType::AlterUserRole, &header, &AlterUserRoleMessageBody {});
    send(step, control, subject(BINDING, &[user, role]), Outgoing { creates: true, ..outgoing })
}

/// The user had the role before.
pub(in crate::state) fn unbound(step: &mut Step<'_, '_>, user: &str, role: &str) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    if forget_binding(step, user, role)? {
        return Ok(());
    }
    let header = DropUserRoleMessageHeader { role_binding: binding(user, role) };
    let outgoing = Outgoing::new(MessageType::DropUserRole, &header, &DropUserRoleMessageBody {});
    send(step, control, subject(BINDING, &[user, role]), Outgoing { takes_away: true, ..outgoing })
}

/// A custom group has a prefix in Milvus' grants.
fn grant_entity(key: &GrantKey, grantor: &str, of_group: bool) -> GrantEntity {
    let privilege = if of_group { format!("PrivilegeGroup{}", key.privilege) } else { key.privilege.clone() };
    let grantor = GrantorEntity { user: user_entity(grantor), privilege: Some(PrivilegeEntity { name: privilege }) };
    GrantEntity {
        role: Some(role_entity(&key.role, "")),
        object: Some(ObjectEntity { name: key.object_type.name().to_owned() }),
        object_name: key.object.clone(),
        grantor: Some(grantor),
        db_name: key.database.clone(),
    }
}

fn of_grant(key: &GrantKey) -> i64 {
    let GrantKey { role, object_type, database, object, privilege } = key;
    subject(GRANT, &[role, object_type.name(), database, object, privilege])
}

/// As [`forget_binding`].
fn forget_grant(step: &mut Step<'_, '_>, key: &GrantKey) -> Result<bool, Refusal> {
    // Whoever granted it, and whatever the privilege is.
    let taken = take_back(step, of_grant(key), &[MessageType::AlterPrivilege], |_, header| {
        let AlterPrivilegeMessageHeader { entity: Some(entity) } = header else { return false };
        let grantor = entity.grantor.as_ref();
        let by = grantor.and_then(|grantor| grantor.user.as_ref()).map_or("", |user| user.name.as_str());
        [false, true].into_iter().any(|of_group| *entity == grant_entity(key, by, of_group))
    })?;
    Ok(taken.iter().any(|(task, _)| task.creates))
}

/// The grant was not there before.
pub(in crate::state) fn granted(step: &mut Step<'_, '_>, grant: &Grant) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    let entity = grant_entity(&grant.key, &grant.grantor, grant.of_group);
    let header = AlterPrivilegeMessageHeader { entity: Some(entity) };
    let outgoing = Outgoing::new(MessageType::AlterPrivilege, &header, &AlterPrivilegeMessageBody {});
    send(step, control, of_grant(&grant.key), Outgoing { creates: true, ..outgoing })
}

/// The grant was there before, of this grantor.
pub(in crate::state) fn revoked(step: &mut Step<'_, '_>, grant: &Grant) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    if forget_grant(step, &grant.key)? {
        return Ok(());
    }
    let entity = grant_entity(&grant.key, &grant.grantor, grant.of_group);
    let header = DropPrivilegeMessageHeader { entity: Some(entity) };
    let outgoing = Outgoing::new(MessageType::DropPrivilege, &header, &DropPrivilegeMessageBody {});
    send(step, control, of_grant(&grant.key), Outgoing { takes_away: true, ..outgoing })
}

fn group_info(name: &str, privileges: impl IntoIterator<Item = String>) -> PrivilegeGroupInfo {
    let privileges = privileges.into_iter().map(|name| PrivilegeEntity { name }).collect();
    PrivilegeGroupInfo { group_name: name.to_owned(), privileges }
}

/// Without members: Milvus' message about a group as a whole has none.
pub(in crate::state) fn group_created(step: &mut Step<'_, '_>, name: &str) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    let outgoing = group_altered(name, BTreeSet::new());
    send(step, control, subject(GROUP, &[name]), Outgoing { creates: true, ..outgoing })
}

fn group_altered(name: &str, added: BTreeSet<String>) -> Outgoing {
    let header = AlterPrivilegeGroupMessageHeader { privilege_group_info: Some(group_info(name, added)) };
    Outgoing::new(MessageType::AlterPrivilegeGroup, &header, &AlterPrivilegeGroupMessageBody {})
}

fn group_reduced(name: &str, removed: BTreeSet<String>) -> Outgoing {
    let header = DropPrivilegeGroupMessageHeader { privilege_group_info: Some(group_info(name, removed)) };
    let outgoing = Outgoing::new(MessageType::DropPrivilegeGroup, &header, &DropPrivilegeGroupMessageBody {});
    Outgoing { takes_away: true, ..outgoing }
}

/// The members that messages of this kind named which are taken back; whether one told of the group itself.
fn forget_members(
    step: &mut Step<'_, '_>,
    name: &str,
    kind: MessageType,
    gives_way: impl Fn(usize) -> bool,
) -> Result<(BTreeSet<String>, bool), Refusal> {
    // Both kinds of header have the same form.
    let info = |header: &AlterPrivilegeGroupMessageHeader| header.privilege_group_info.clone().unwrap_or_default();
    let taken = take_back(step, subject(GROUP, &[name]), &[kind], |_, header: &AlterPrivilegeGroupMessageHeader| {
        let info = info(header);
        info.group_name == name && gives_way(info.privileges.len())
    })?;
    let creates = taken.iter().any(|(task, _)| task.creates);
    let members = taken.iter().flat_map(|(_, header)| info(header).privileges);
    Ok((members.map(|member| member.name).collect(), creates))
}

/// The group, whose row is written, has got these members or lost them. What earlier messages said that are taken back
/// is said again as far as it holds, first what is gone.
pub(in crate::state) fn group_changed(
    step: &mut Step<'_, '_>,
    name: &str,
    members: &[String],
    added: bool,
) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    let Some(row) = PRIVILEGE_GROUPS.get(step.txn, &name.to_owned())? else { return Ok(()) };
    // A list of what is gone may grow without end, that of what is there may not.
    let some = |count: usize| (1..MAX_GROUP_PRIVILEGES).contains(&count);
    let (mut gone, _) = forget_members(step, name, MessageType::DropPrivilegeGroup, some)?;
    let (mut there, _) = forget_members(step, name, MessageType::AlterPrivilegeGroup, |count| count > 0)?;
    let said = if added { &mut there } else { &mut gone };
    said.extend(members.iter().cloned());
    gone.retain(|member| !row.privileges.contains(member));
    there.retain(|member| row.privileges.contains(member));
    let id = subject(GROUP, &[name]);
    if !gone.is_empty() {
        send(step, control.clone(), id, group_reduced(name, gone))?;
    }
    match there.is_empty() {
        true => Ok(()),
        false => send(step, control, id, group_altered(name, there)),
    }
}

pub(in crate::state) fn group_dropped(step: &mut Step<'_, '_>, name: &str) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    forget_members(step, name, MessageType::DropPrivilegeGroup, |count| count > 0)?;
    let (_, never_told) = forget_members(step, name, MessageType::AlterPrivilegeGroup, |_| true)?;
    match never_told {
        true => Ok(()),
        false => send(step, control, subject(GROUP, &[name]), group_reduced(name, BTreeSet::new())),
    }
}

/// All of a backup at once.
pub(in crate::state) fn restored(step: &mut Step<'_, '_>, restore: &Restore) -> Result<(), Refusal> {
    let Some(control) = control(step)? else { return Ok(()) };
    let users = restore.users.iter().map(|user| UserInfo {
        user: user.name.clone(),
        password: user.password_hash.clone(),
        roles: user.roles.iter().map(|role| role_entity(role, "")).collect(),
    });
    let group = |(name, members): &(String, Vec<GroupMember>)| {
        group_info(name, members.iter().map(|member| member.name.clone()))
    };
    let meta = RbacMeta {
        users: users.collect(),
        roles: restore.roles.iter().map(|(name, description)| role_entity(name, description)).collect(),
        grants: restore.grants.iter().map(|one| grant_entity(&one.key, &one.grantor, one.of_group)).collect(),
        privilege_groups: restore.groups.iter().map(group).collect(),
    };
    let body = RestoreRbacMessageBody { rbac_meta: Some(meta) };
    let outgoing = Outgoing::new(MessageType::RestoreRbac, &RestoreRbacMessageHeader {}, &body);
    send(step, control, 0, outgoing)
}
