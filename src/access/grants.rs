//! Grants, in both forms: by object type and object (v1), and by a privilege's name and level (v2).

use std::collections::BTreeSet;

use super::built_in::{BuiltInGroup, legacy_group};
use super::groups::{every_group, is_defined};
use super::policy::{Entry, Groups, entries};
use super::privilege::Privilege;
use super::users::all_users;
use super::{Accounts, names};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common;
use crate::pb::internal::{ListPolicyRequest, ListPolicyResponse};
use crate::pb::milvus::{
    GrantEntity, GrantorEntity, ObjectEntity, OperatePrivilegeRequest, OperatePrivilegeType, OperatePrivilegeV2Request,
    PrivilegeEntity, RoleEntity, SelectGrantRequest, SelectGrantResponse, UserEntity,
};
use crate::pb::store;
use crate::state::DEFAULT_DATABASE;
use crate::state::access::{ANY, AccessCommand, AccessView, Grant, GrantKey, ObjectType, PrivilegeLevel, Revoke};
use crate::state::name::database_name;

/// The version of grants by name and level.
const V2: &str = "v2";

impl Accounts {
    /// On the leader: as clients ask, whose own name is the grantor's.
    pub async fn operate_privilege(&self, asked: &Asked<OperatePrivilegeRequest>) -> Result<(), Failure> {
        let entity = checked_entity(asked.message.entity.as_ref())?;
        let grantor = self.grantor(&asked.call).to_owned();
        self.operate_v1(asked, entity, asked.message.r#type, grantor).await
    }

    /// On the leader: as proxies ask, which have filled the grantor in and turned v2 grants into this form.
    pub async fn operate_prepared(&self, asked: &Asked<OperatePrivilegeRequest>) -> Result<(), Failure> {
        let entity = checked_entity(asked.message.entity.as_ref())?;
        let user = entity.grantor.as_ref().and_then(|grantor| grantor.user.as_ref());
        let grantor = user
            .map(|user| user.name.clone())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Rejection::invalid("the user entity in the grantor entity is nil or empty"))?;
        self.require_grantor(asked, &grantor).await?;
        if asked.message.version != V2 {
            return self.operate_v1(asked, entity, asked.message.r#type, grantor).await;
        }
        let role = named(entity.role.as_ref());
        let target = V2Target {
            role,
            privilege: privilege_of(entity),
            database: asked.database(&entity.db_name).to_owned(),
            object: entity.object_name.clone(),
        };
        self.operate_v2_on(asked, target, asked.message.r#type, grantor).await
    }

    async fn require_grantor<T>(&self, asked: &Asked<T>, name: &str) -> Result<(), Failure> {
        let view = self.ledger.view(&asked.call).await?;
        match AccessView::new(view.as_ref()).user(name)? {
            Some(_) => Ok(()),
            None => Err(Rejection::invalid(format!("the grantor user {name:?} does not exist")).into()),
        }
    }

    async fn operate_v1<T>(
        &self,
        asked: &Asked<T>,
        entity: &GrantEntity,
        operation: i32,
        grantor: String,
    ) -> Result<(), Failure> {
        let object = entity.object.as_ref().map(|object| object.name.as_str()).unwrap_or_default();
        let object_type = object_type(object)?;
        let name = privilege_of(entity);
        let privilege = self.stored_v1(asked, &name, object_type).await?;
        // What is global knows no object; groups by name and level that are granted in this form do.
        let is_wide = object_type == ObjectType::Global && BuiltInGroup::stored(&privilege).is_none();
        let key = GrantKey {
            role: named(entity.role.as_ref()),
            object_type,
            database: asked.database(&entity.db_name).to_owned(),
            object: if is_wide { ANY.to_owned() } else { entity.object_name.clone() },
            privilege,
        };
        self.operate(asked, key, grant_or_revoke(operation)?, grantor, false).await
    }

    /// The stored name of what a v1 grant names; groups of the other form are refused.
    async fn stored_v1<T>(&self, asked: &Asked<T>, name: &str, object_type: ObjectType) -> Result<String, Failure> {
        if name == ANY {
            return Ok(name.to_owned());
        }
        if BuiltInGroup::named(name).is_some() {
            return Err(Rejection::invalid(format!("can not operate the built-in privilege group [{name}]")).into());
        }
        match Privilege::named(name).filter(|privilege| privilege.belongs_to(object_type)) {
            Some(privilege) => Ok(privilege.stored_name().to_owned()),
            None if self.is_custom_group(asked, name).await? => {
                Err(Rejection::invalid(format!("can not operate the custom privilege group [{name}]")).into())
            }
            None => {
                let object = object_type.name();
                Err(Rejection::invalid(format!("not found the privilege name[{name}] in object[{object}]")).into())
            }
        }
    }

    async fn is_custom_group<T>(&self, asked: &Asked<T>, name: &str) -> Result<bool, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        Ok(AccessView::new(view.as_ref()).group(name)?.is_some())
    }

    /// On the leader: by a privilege's or group's name.
    pub async fn operate_privilege_v2(&self, asked: &Asked<OperatePrivilegeV2Request>) -> Result<(), Failure> {
        let OperatePrivilegeV2Request { role, grantor, r#type, db_name, collection_name, .. } = &asked.message;
        let role = role.as_ref().ok_or_else(|| Rejection::invalid("the role in the request is nil"))?;
        names::role(&role.name)?;
        let missing = || Rejection::invalid("the grantor entity in the grant entity is nil");
        let grantor = grantor.as_ref().ok_or_else(missing)?;
        let missing = || Rejection::invalid("the privilege entity in the grantor entity is nil");
        let privilege = grantor.privilege.as_ref().ok_or_else(missing)?;
        names::privilege(&privilege.name)?;
        if OperatePrivilegeType::try_from(*r#type).is_err() {
            return Err(Rejection::invalid("the type in the request not grant or revoke").into());
        }
        if !collection_name.is_empty() {
            names::object(collection_name)?;
        }
        let database = asked.database(db_name);
        if database != ANY {
            database_name(database)?;
        }
        let target = V2Target {
            role: role.name.clone(),
            privilege: privilege.name.clone(),
            database: database.to_owned(),
            object: collection_name.clone(),
        };
        self.operate_v2_on(asked, target, *r#type, self.grantor(&asked.call).to_owned()).await
    }

    async fn operate_v2_on<T>(
        &self,
        asked: &Asked<T>,
        target: V2Target,
        operation: i32,
        grantor: String,
    ) -> Result<(), Failure> {
        let V2Target { role, privilege: name, database, object } = target;
        let of_group = !is_defined(&name) && name != ANY;
        let privilege = Privilege::named(&name);
        // As in Milvus only groups must be granted on what they are about, once they hold something. All of everything
        // is about a database at least: proxies know no narrower place for it.
        let level = match BuiltInGroup::named(&name) {
            Some(group) => Some(group.level),
            None if of_group => self.level_of_custom(asked, &name).await?,
            None if privilege.and_then(Privilege::level).is_none() => Some(PrivilegeLevel::Database),
            None => None,
        };
        if let Some(level) = level {
            check_level(level, &name, &database, &object)?;
        }
        let object = if object.is_empty() || is_wide(privilege) { ANY.to_owned() } else { object };
        let object_type = privilege.map_or(ObjectType::Global, Privilege::object_type);
        let key = GrantKey { role, object_type, database, object, privilege: stored_name(&name) };
        self.operate(asked, key, grant_or_revoke(operation)?, grantor, of_group).await
    }

    /// `None`: it holds nothing yet.
    async fn level_of_custom<T>(&self, asked: &Asked<T>, name: &str) -> Result<Option<PrivilegeLevel>, Failure> {
        let view = self.ledger.view(&asked.call).await?;
        let missing = || Rejection::invalid(format!("not found the privilege name[{name}]"));
        let row = AccessView::new(view.as_ref()).group(name)?.ok_or_else(missing)?;
        Ok(PrivilegeLevel::numbered(row.level))
    }

    async fn operate<T>(
        &self,
        asked: &Asked<T>,
        key: GrantKey,
        grant: bool,
        grantor: String,
        of_group: bool,
    ) -> Result<(), Failure> {
        let command = match grant {
            true => AccessCommand::Grant(Grant { key, grantor, of_group }),
            false => AccessCommand::Revoke(Revoke { key }),
        };
        self.propose(&asked.call, command).await
    }

    /// The grants of a role, or those of them on one object.
    pub async fn select_grant(&self, asked: &Asked<SelectGrantRequest>) -> Result<SelectGrantResponse, Failure> {
        let missing = || Rejection::invalid("the grant entity in the request is nil");
        let entity = asked.message.entity.as_ref().ok_or_else(missing)?;
        let of_object = match &entity.object {
            Some(object) => {
                names::object_type(&object.name)?;
                names::object(&entity.object_name)?;
                Some((object_type(&object.name)?, entity.object_name.clone()))
            }
            None => None,
        };
        let missing = || Rejection::invalid("the role entity in the grant entity is nil");
        let role = entity.role.as_ref().ok_or_else(missing)?.name.clone();
        names::role(&role)?;
        let database = asked.database(&entity.db_name).to_owned();
        let read = move |view: AccessView<'_>| {
            if view.role(&role)?.is_none() {
                let detail = format!("the role {role:?} does not exist");
                return Err(Rejection::invalid(detail).into());
            }
            let mut grants = view.grants_of(&role)?;
            // Grants on any database are shown for each.
            grants.retain(|(key, _)| database == ANY || key.database == ANY || key.database == database);
            if let Some((object_type, object)) = of_object {
                grants.retain(|(key, _)| key.object_type == object_type && key.object == object);
            }
            Ok(grants.into_iter().map(|(key, row)| entity_of(key, row)).collect())
        };
        let entities = self.read(&asked.call, read).await?;
        Ok(SelectGrantResponse { status: Some(common::Status::default()), entities })
    }

    /// For proxies: every user's role and every grant in the form of their policy engine, which knows no conditions, so
    /// that what is granted under one is denied there.
    pub async fn list_policy(&self, asked: &Asked<ListPolicyRequest>) -> Result<ListPolicyResponse, Failure> {
        let read = |view: AccessView<'_>| {
            let mut reply =
                ListPolicyResponse { privilege_groups: every_group(view)?, ..ListPolicyResponse::default() };
            let groups = view.groups()?.into_iter().map(|(name, row)| (name, row.privileges)).collect();
            for (role, _) in super::roles::all_roles(view)? {
                let mut lines = BTreeSet::new();
                without_condition(view, &role)?.for_each(|(key, _)| lines.extend(policy_infos(&key, &groups)));
                reply.policy_infos.extend(lines);
            }
            for (user, _) in all_users(view)? {
                reply.user_roles.extend(view.roles_of(&user)?.into_iter().map(|role| format!("{user}/{role}")));
            }
            Ok(reply)
        };
        let mut reply = self.read(&asked.call, read).await?;
        reply.status = Some(common::Status::default());
        Ok(reply)
    }
}

/// What a v2 grant is about; `object` may be empty.
struct V2Target {
    role: String,
    /// The API's name.
    privilege: String,
    database: String,
    object: String,
}

fn named(role: Option<&RoleEntity>) -> String {
    role.map(|role| role.name.clone()).unwrap_or_default()
}

fn privilege_of(entity: &GrantEntity) -> String {
    let privilege = entity.grantor.as_ref().and_then(|grantor| grantor.privilege.as_ref());
    privilege.map(|privilege| privilege.name.clone()).unwrap_or_default()
}

/// The entity of a v1 grant, with all its parts.
fn checked_entity(entity: Option<&GrantEntity>) -> Result<&GrantEntity, Rejection> {
    let nil = |what: &str| Rejection::invalid(format!("the {what} is nil"));
    let entity = entity.ok_or_else(|| nil("entity in the request"))?;
    let grantor = entity.grantor.as_ref().ok_or_else(|| nil("grantor entity in the grant entity"))?;
    let privilege = grantor.privilege.as_ref().ok_or_else(|| nil("privilege entity in the grantor entity"))?;
    names::privilege(&privilege.name)?;
    let object = entity.object.as_ref().ok_or_else(|| nil("resource entity in the grant entity"))?;
    names::object_type(&object.name)?;
    names::object(&entity.object_name)?;
    let role = entity.role.as_ref().ok_or_else(|| nil("object entity in the grant entity"))?;
    names::role(&role.name)?;
    Ok(entity)
}

fn object_type(name: &str) -> Result<ObjectType, Rejection> {
    ObjectType::named(name).ok_or_else(|| {
        let all = ObjectType::ALL.map(ObjectType::name).join(" ");
        Rejection::invalid(format!(
            "not found the object type[name: {name}], supported the object types: [{all}]: \
             the object entity in the request is nil or invalid"
        ))
    })
}

/// True to grant.
fn grant_or_revoke(operation: i32) -> Result<bool, Rejection> {
    match OperatePrivilegeType::try_from(operation) {
        Ok(OperatePrivilegeType::Grant) => Ok(true),
        Ok(OperatePrivilegeType::Revoke) => Ok(false),
        Err(_) => Err(Rejection::invalid("invalid operate privilege type")),
    }
}

fn check_level(level: PrivilegeLevel, name: &str, database: &str, object: &str) -> Result<(), Rejection> {
    let any_object = object == ANY || object.is_empty();
    match level {
        PrivilegeLevel::Cluster if database != ANY || object != ANY => Err(Rejection::invalid(format!(
            "dbName and collectionName should be * for the cluster level privilege: {name}"
        ))),
        PrivilegeLevel::Database if !any_object => {
            Err(Rejection::invalid(format!("collectionName should be * for the database level privilege: {name}")))
        }
        PrivilegeLevel::Collection if database == ANY && !any_object => {
            Err(Rejection::invalid(format!("please specify database name for the collection level privilege: {name}")))
        }
        _ => Ok(()),
    }
}

/// Whether it is of a database or of the cluster and so knows no object: a grant of it is on any, whatever it names.
fn is_wide(privilege: Option<Privilege>) -> bool {
    let level = privilege.and_then(Privilege::level);
    level.is_some_and(|level| level != PrivilegeLevel::Collection)
}

/// The name that a grant holds, of a name of the API.
pub(super) fn stored_name(name: &str) -> String {
    if let Some(group) = BuiltInGroup::named(name) {
        return group.stored_name();
    }
    Privilege::named(name).map_or_else(|| name.to_owned(), |privilege| privilege.stored_name().to_owned())
}

/// The API's name of what a grant holds.
pub fn shown_name(stored: &str) -> &str {
    if let Some(group) = BuiltInGroup::stored(stored) {
        return group.name;
    }
    Privilege::stored(stored).map_or(stored, |privilege| privilege.name())
}

pub(super) fn entity_of(key: GrantKey, row: store::Grant) -> GrantEntity {
    let privilege = PrivilegeEntity { name: shown_name(&key.privilege).to_owned() };
    GrantEntity {
        role: Some(RoleEntity { name: key.role, description: String::new() }),
        object: Some(ObjectEntity { name: key.object_type.name().to_owned() }),
        object_name: key.object,
        grantor: Some(GrantorEntity { user: Some(UserEntity { name: row.grantor }), privilege: Some(privilege) }),
        db_name: key.database,
    }
}

/// The grants of a role that hold whatever the circumstances.
pub(super) fn without_condition(
    view: AccessView<'_>,
    role: &str,
) -> std::io::Result<impl Iterator<Item = (GrantKey, store::Grant)>> {
    Ok(view.grants_of(role)?.into_iter().filter(|(_, row)| row.condition.is_empty()))
}

/// A grant of a backup.
pub(super) fn restored(entity: &GrantEntity) -> Result<Grant, Rejection> {
    let entity = checked_entity(Some(entity))?;
    let name = privilege_of(entity);
    let object = entity.object.as_ref().map(|object| object.name.as_str()).unwrap_or_default();
    let user = entity.grantor.as_ref().and_then(|grantor| grantor.user.as_ref());
    let database = if entity.db_name.is_empty() { DEFAULT_DATABASE } else { &entity.db_name };
    Ok(Grant {
        grantor: user.map(|user| user.name.clone()).unwrap_or_default(),
        of_group: name != ANY && !is_defined(&name),
        key: GrantKey {
            role: named(entity.role.as_ref()),
            object_type: object_type(object)?,
            database: database.to_owned(),
            object: if is_wide(Privilege::named(&name)) { ANY.to_owned() } else { entity.object_name.clone() },
            privilege: stored_name(&name),
        },
    })
}

/// A grant as lines of Milvus' policy engine, which knows the groups of grants by object type and no others, and of
/// what is global no objects.
fn policy_infos(key: &GrantKey, groups: &Groups) -> Vec<String> {
    let line = |object_type: ObjectType, object: &str, privilege: &str| {
        let resource = format!("{}-{}.{object}", object_type.name(), key.database);
        serde_json::json!({ "PType": "p", "V0": key.role, "V1": resource, "V2": privilege }).to_string()
    };
    let is_all = matches!(key.privilege.as_str(), "PrivilegeAll" | "PrivilegeGroupAdmin");
    if is_all || key.privilege == ANY || legacy_group(&key.privilege).is_some() {
        let object = if is_all { ANY } else { &key.object };
        return vec![line(key.object_type, object, &key.privilege)];
    }
    let of_entry = |entry: &Entry<'_>| {
        let object = if entry.object_type == ObjectType::Global { ANY } else { &key.object };
        entry.privileges.iter().map(|one| line(entry.object_type, object, one.stored_name())).collect()
    };
    entries(key, groups).iter().flat_map(|entry| -> Vec<String> { of_entry(entry) }).collect()
}
