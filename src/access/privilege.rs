//! The catalogue of privileges: which there are, what each is about, and which imply others.
//! Names without the prefix `Privilege` are the API's, with it the stored ones, as in Milvus 2.6.

use super::built_in::BUILT_IN_GROUPS;
use crate::pb::common::ObjectPrivilege;
use crate::state::access::{ObjectType, PrivilegeLevel};

/// What stored names have before the API's.
const PREFIX: &str = "Privilege";

/// One built-in privilege, by Milvus' number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Privilege(u8);

/// A set of built-in privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrivilegeSet(u128);

impl Privilege {
    /// `None` for numbers that Milvus does not know.
    pub fn numbered(number: i32) -> Option<Self> {
        ObjectPrivilege::try_from(number).ok()?;
        u8::try_from(number).ok().filter(|number| u32::from(*number) < u128::BITS).map(Privilege)
    }

    /// By the API's name.
    pub fn named(name: &str) -> Option<Self> {
        Self::stored(&format!("{PREFIX}{name}"))
    }

    /// By the stored name.
    pub fn stored(name: &str) -> Option<Self> {
        ObjectPrivilege::from_str_name(name).and_then(|privilege| Self::numbered(privilege as i32))
    }

    /// With the prefix.
    pub fn stored_name(self) -> &'static str {
        // Only numbers of the enumeration are ever wrapped.
        ObjectPrivilege::try_from(i32::from(self.0)).map_or("", |privilege| privilege.as_str_name())
    }

    /// Without the prefix.
    pub fn name(self) -> &'static str {
        let stored = self.stored_name();
        stored.strip_prefix(PREFIX).unwrap_or(stored)
    }

    /// What kind of object a grant of it names. Milvus takes what is not listed as global.
    pub fn object_type(self) -> ObjectType {
        let name = self.name();
        match () {
            () if COLLECTION_PRIVILEGES.contains(&name) => ObjectType::Collection,
            () if USER_PRIVILEGES.contains(&name) => ObjectType::User,
            () => ObjectType::Global,
        }
    }

    /// Whether grants by object type may use it with this type.
    pub fn belongs_to(self, object_type: ObjectType) -> bool {
        let name = self.name();
        match object_type {
            ObjectType::Collection => COLLECTION_PRIVILEGES.contains(&name),
            ObjectType::Global => GLOBAL_PRIVILEGES.contains(&name),
            ObjectType::User => USER_PRIVILEGES.contains(&name),
        }
    }

    /// Milvus numbers its groups among the privileges.
    pub fn is_group(self) -> bool {
        self.name().starts_with("Group") || self.name() == "All"
    }

    /// What it may be granted on; `None` for those that only grants by object type know.
    pub fn level(self) -> Option<PrivilegeLevel> {
        let name = self.name();
        let group = BUILT_IN_GROUPS.iter().find(|group| group.name == name || group.own.contains(&name));
        group.map(|group| group.level)
    }

    /// It and what comes with it.
    pub fn with_implied(self) -> PrivilegeSet {
        match self.name() {
            "Load" => PrivilegeSet::of(&["Load", "GetLoadState", "GetLoadingProgress"]),
            "Flush" => PrivilegeSet::of(&["Flush", "GetFlushState"]),
            _ => PrivilegeSet::only(self),
        }
    }
}

impl PrivilegeSet {
    pub const NONE: Self = PrivilegeSet(0);
    pub const ALL: Self = PrivilegeSet(u128::MAX);
    /// No privilege: what shows a collection in listings.
    pub const SIGHT: Self = PrivilegeSet(1 << 127);

    pub fn only(privilege: Privilege) -> Self {
        PrivilegeSet(1 << privilege.0)
    }

    /// By the API's names; unknown ones are left out.
    pub fn of(names: &[&str]) -> Self {
        names.iter().filter_map(|name| Privilege::named(name)).fold(Self::NONE, |set, one| set.union(Self::only(one)))
    }

    pub fn contains(self, privilege: Privilege) -> bool {
        self.0 & (1 << privilege.0) != 0
    }

    pub fn union(self, other: Self) -> Self {
        PrivilegeSet(self.0 | other.0)
    }

    pub fn intersection(self, other: Self) -> Self {
        PrivilegeSet(self.0 & other.0)
    }

    /// Those that are granted on this level.
    pub fn of_level(level: PrivilegeLevel) -> Self {
        let groups = BUILT_IN_GROUPS.iter().filter(|group| group.level == level);
        groups.fold(Self::NONE, |all, group| all.union(Self::of(group.own)))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that have a name.
    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        (0..u128::BITS as i32).filter_map(Privilege::numbered).filter(move |privilege| self.contains(*privilege))
    }
}

/// What grants by object type may name, for each type.
const COLLECTION_PRIVILEGES: &[&str] = &[
    "Load",
    "Release",
    "Compaction",
    "Insert",
    "Delete",
    "Upsert",
    "GetStatistics",
    "CreateIndex",
    "IndexDetail",
    "DropIndex",
    "Search",
    "Flush",
    "Query",
    "LoadBalance",
    "Import",
    "GetLoadingProgress",
    "GetLoadState",
    "CreatePartition",
    "DropPartition",
    "ShowPartitions",
    "HasPartition",
    "GetFlushState",
    "GroupReadOnly",
    "GroupReadWrite",
    "GetImportProgress",
    "ListImport",
    "AddCollectionField",
];
const USER_PRIVILEGES: &[&str] = &["UpdateUser", "SelectUser"];
const GLOBAL_PRIVILEGES: &[&str] = &[
    "All",
    "CreateCollection",
    "DropCollection",
    "DescribeCollection",
    "ShowCollections",
    "RenameCollection",
    "CreateOwnership",
    "DropOwnership",
    "SelectOwnership",
    "ManageOwnership",
    "BackupRBAC",
    "RestoreRBAC",
    "CreateResourceGroup",
    "UpdateResourceGroups",
    "DropResourceGroup",
    "DescribeResourceGroup",
    "ListResourceGroups",
    "TransferReplica",
    "TransferNode",
    "FlushAll",
    "CreateDatabase",
    "DropDatabase",
    "ListDatabases",
    "AlterDatabase",
    "DescribeDatabase",
    "CreateAlias",
    "DropAlias",
    "DescribeAlias",
    "ListAliases",
    "GroupAdmin",
    "CreatePrivilegeGroup",
    "DropPrivilegeGroup",
    "ListPrivilegeGroups",
    "OperatePrivilegeGroup",
    "GroupClusterReadOnly",
    "GroupClusterReadWrite",
    "GroupClusterAdmin",
    "GroupDatabaseReadOnly",
    "GroupDatabaseReadWrite",
    "GroupDatabaseAdmin",
    "GroupCollectionReadOnly",
    "GroupCollectionReadWrite",
    "GroupCollectionAdmin",
    "UpdateReplicateConfiguration",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_catalogue_is_a_privilege_of_milvus() {
        for name in [COLLECTION_PRIVILEGES, USER_PRIVILEGES, GLOBAL_PRIVILEGES].into_iter().flatten() {
            assert_eq!(Privilege::named(name).map(Privilege::name), Some(*name));
        }
    }

    #[test]
    fn levels_types_and_implied_privileges() {
        let level = |name: &str| Privilege::named(name).unwrap().level();
        assert_eq!(level("CreateDatabase"), Some(PrivilegeLevel::Cluster));
        assert_eq!(level("CreateCollection"), Some(PrivilegeLevel::Database));
        assert_eq!(level("DescribeCollection"), Some(PrivilegeLevel::Collection));
        assert_eq!(level("All"), None);
        let object_type = |name: &str| Privilege::named(name).unwrap().object_type();
        assert_eq!(object_type("Load"), ObjectType::Collection);
        assert_eq!(object_type("CreateAlias"), ObjectType::Global);
        assert_eq!(object_type("SelectUser"), ObjectType::User);
        assert!(!Privilege::named("Load").unwrap().belongs_to(ObjectType::Global));
        let load = Privilege::named("Load").unwrap().with_implied();
        assert_eq!(load, PrivilegeSet::of(&["Load", "GetLoadingProgress", "GetLoadState"]));
        assert_eq!(Privilege::named("Flush").unwrap().with_implied(), PrivilegeSet::of(&["Flush", "GetFlushState"]));
    }
}
