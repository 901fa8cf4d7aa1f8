//! The built-in groups of privileges, by the API's names, as in Milvus 2.6.

use super::privilege::PrivilegeSet;
use crate::state::access::PrivilegeLevel;

/// Privileges that a name of a grant stands for, whichever grant it is.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInGroup {
    pub name: &'static str,
    pub level: PrivilegeLevel,
    /// What it has beyond the group of the same level before it.
    pub(super) own: &'static [&'static str],
}

/// The groups of grants by name and level; each has what those before it of its level have.
pub const BUILT_IN_GROUPS: [BuiltInGroup; 9] = [
    group("ClusterReadOnly", PrivilegeLevel::Cluster, CLUSTER_READ_ONLY),
    group("ClusterReadWrite", PrivilegeLevel::Cluster, CLUSTER_READ_WRITE),
    group("ClusterAdmin", PrivilegeLevel::Cluster, CLUSTER_ADMIN),
    group("DatabaseReadOnly", PrivilegeLevel::Database, &["ShowCollections", "DescribeDatabase"]),
    group("DatabaseReadWrite", PrivilegeLevel::Database, &["AlterDatabase"]),
    group("DatabaseAdmin", PrivilegeLevel::Database, &["CreateCollection", "DropCollection"]),
    group("CollectionReadOnly", PrivilegeLevel::Collection, COLLECTION_READ_ONLY),
    group("CollectionReadWrite", PrivilegeLevel::Collection, COLLECTION_READ_WRITE),
    group("CollectionAdmin", PrivilegeLevel::Collection, &["CreateAlias", "DropAlias"]),
];

const fn group(name: &'static str, level: PrivilegeLevel, own: &'static [&'static str]) -> BuiltInGroup {
    BuiltInGroup { name, level, own }
}

impl BuiltInGroup {
    /// By its name, or by its stored name, where `Group` stands between the prefix and it.
    pub fn named(name: &str) -> Option<&'static BuiltInGroup> {
        BUILT_IN_GROUPS.iter().find(|group| group.name == name)
    }

    /// By the name that a grant holds.
    pub fn stored(name: &str) -> Option<&'static BuiltInGroup> {
        Self::named(name.strip_prefix("PrivilegeGroup")?)
    }

    /// The name that a grant holds.
    pub fn stored_name(&self) -> String {
        format!("PrivilegeGroup{}", self.name)
    }

    /// In the catalogue's order.
    pub fn privileges(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        for group in BUILT_IN_GROUPS.iter().filter(|group| group.level == self.level) {
            all.extend(group.own);
            if group.name == self.name {
                break;
            }
        }
        all
    }

    pub fn set(&self) -> PrivilegeSet {
        PrivilegeSet::of(&self.privileges())
    }
}

/// What the groups of grants by object type stand for; `None` for any other name.
pub fn legacy_group(stored_name: &str) -> Option<PrivilegeSet> {
    let read_only = PrivilegeSet::of(READ_ONLY);
    let read_write = read_only.union(PrivilegeSet::of(READ_WRITE));
    match stored_name {
        "PrivilegeGroupReadOnly" => Some(read_only),
        "PrivilegeGroupReadWrite" => Some(read_write),
        "PrivilegeGroupAdmin" => Some(read_write.union(PrivilegeSet::of(ADMIN))),
        _ => None,
    }
}

const CLUSTER_READ_ONLY: &[&str] = &[
    "ListDatabases",
    "SelectOwnership",
    "SelectUser",
    "DescribeResourceGroup",
    "ListResourceGroups",
    "ListPrivilegeGroups",
    "GetReplicateConfiguration",
];
const CLUSTER_READ_WRITE: &[&str] = &["FlushAll", "TransferNode", "TransferReplica", "UpdateResourceGroups"];
const CLUSTER_ADMIN: &[&str] = &[
    "BackupRBAC",
    "RestoreRBAC",
    "CreateDatabase",
    "DropDatabase",
    "CreateOwnership",
    "DropOwnership",
    "ManageOwnership",
    "CreateResourceGroup",
    "DropResourceGroup",
    "UpdateUser",
    "RenameCollection",
    "CreatePrivilegeGroup",
    "DropPrivilegeGroup",
    "OperatePrivilegeGroup",
    "UpdateReplicateConfiguration",
];
const COLLECTION_READ_ONLY: &[&str] = &[
    "Query",
    "Search",
    "IndexDetail",
    "GetFlushState",
    "GetLoadState",
    "GetLoadingProgress",
    "HasPartition",
    "ShowPartitions",
    "DescribeCollection",
    "DescribeAlias",
    "GetStatistics",
    "ListAliases",
    "GetImportProgress",
    "ListImport",
];
const COLLECTION_READ_WRITE: &[&str] = &[
    "Load",
    "Release",
    "Insert",
    "Delete",
    "Upsert",
    "Import",
    "Flush",
    "Compaction",
    "LoadBalance",
    "CreateIndex",
    "DropIndex",
    "CreatePartition",
    "DropPartition",
    "AddCollectionField",
];

/// `GroupReadOnly` of grants by object type.
const READ_ONLY: &[&str] = &[
    "Query",
    "Search",
    "IndexDetail",
    "GetFlushState",
    "GetLoadState",
    "GetLoadingProgress",
    "HasPartition",
    "ShowPartitions",
    "ShowCollections",
    "ListAliases",
    "ListDatabases",
    "DescribeCollection",
    "DescribeDatabase",
    "DescribeAlias",
    "GetStatistics",
];
/// What `GroupReadWrite` has beyond `GroupReadOnly`.
const READ_WRITE: &[&str] = &[
    "CreateIndex",
    "DropIndex",
    "CreatePartition",
    "DropPartition",
    "Load",
    "Release",
    "Insert",
    "Delete",
    "Upsert",
    "Import",
    "Flush",
    "Compaction",
    "LoadBalance",
    "RenameCollection",
    "CreateAlias",
    "DropAlias",
];
/// What `GroupAdmin` has beyond `GroupReadWrite`.
const ADMIN: &[&str] = &[
    "CreateCollection",
    "DropCollection",
    "CreateOwnership",
    "DropOwnership",
    "SelectOwnership",
    "ManageOwnership",
    "SelectUser",
    "UpdateUser",
    "BackupRBAC",
    "RestoreRBAC",
    "CreateResourceGroup",
    "UpdateResourceGroups",
    "DropResourceGroup",
    "DescribeResourceGroup",
    "ListResourceGroups",
    "TransferReplica",
    "TransferNode",
    "CreateDatabase",
    "DropDatabase",
    "AlterDatabase",
    "UpdateReplicateConfiguration",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::privilege::Privilege;

    #[test]
    fn every_name_of_a_group_is_a_privilege_of_milvus() {
        let groups = BUILT_IN_GROUPS.iter().map(|group| group.own);
        for name in groups.chain([READ_ONLY, READ_WRITE, ADMIN]).flatten() {
            assert_eq!(Privilege::named(name).map(Privilege::name), Some(*name));
        }
        for group in BUILT_IN_GROUPS {
            assert!(Privilege::stored(&group.stored_name()).is_some(), "{}", group.name);
            assert_eq!(BuiltInGroup::stored(&group.stored_name()).map(|found| found.name), Some(group.name));
        }
    }

    #[test]
    fn built_in_groups_grow_within_their_level() {
        let group = |name| BuiltInGroup::named(name).unwrap();
        assert_eq!(group("DatabaseReadWrite").privileges(), ["ShowCollections", "DescribeDatabase", "AlterDatabase"]);
        let sizes: Vec<_> = BUILT_IN_GROUPS.iter().map(|group| group.privileges().len()).collect();
        assert_eq!(sizes, [7, 11, 26, 2, 3, 5, 14, 28, 30]);
        assert!(legacy_group("PrivilegeGroupAdmin").unwrap().contains(Privilege::named("DropDatabase").unwrap()));
        assert!(!legacy_group("PrivilegeGroupReadWrite").unwrap().contains(Privilege::named("DropDatabase").unwrap()));
        assert!(legacy_group("PrivilegeLoad").is_none());
    }
}
