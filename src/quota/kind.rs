//! Which of MilvusService's methods count as what. Milvus counts no changes of collections and indexes, nor aliases;
//! here those count as well, or whoever may create nothing could still alter everything. Calls about users and roles
//! have no rate in Milvus, and none here.

use crate::pb::internal::RateType;

const SERVICE: &str = "/milvus.proto.milvus.MilvusService/";

/// Changes of collections, which both of Milvus' services have.
pub const COLLECTION_WRITES: &[&str] = &[
    "CreateCollection",
    "DropCollection",
    "RenameCollection",
    "TruncateCollection",
    "AlterCollection",
    "AlterCollectionField",
    "AddCollectionField",
    "AddCollectionFunction",
    "AlterCollectionFunction",
    "DropCollectionFunction",
];

/// Methods by what they count as.
const METHODS: &[(RateType, &[&str])] = &[
    (RateType::DdlCollection, COLLECTION_WRITES),
    (RateType::DdlCollection, &["LoadCollection", "ReleaseCollection", "CreateAlias", "AlterAlias", "DropAlias"]),
    (RateType::DdlPartition, &["CreatePartition", "DropPartition", "LoadPartitions", "ReleasePartitions"]),
    (RateType::DdlIndex, &["CreateIndex", "AlterIndex", "DropIndex"]),
    (RateType::DdlFlush, &["Flush"]),
    (RateType::Ddldb, &["CreateDatabase", "DropDatabase", "AlterDatabase"]),
];

/// Every method that counts as something, by its path.
pub fn counted() -> impl Iterator<Item = (String, RateType)> {
    let paths = |(kind, methods): &(RateType, &'static [&'static str])| {
        let kind = *kind;
        methods.iter().map(move |method| (format!("{SERVICE}{method}"), kind))
    };
    METHODS.iter().flat_map(paths)
}

/// Whether it is denied with DDL; the other kinds are writes and reads, which proxies count.
pub fn is_ddl(kind: RateType) -> bool {
    use RateType::{DdlCollection, DdlCompaction, DdlFlush, DdlIndex, DdlPartition, Ddldb};
    matches!(kind, DdlCollection | DdlPartition | DdlIndex | DdlFlush | DdlCompaction | Ddldb)
}

/// Whether it is denied with writing.
pub fn is_write(kind: RateType) -> bool {
    matches!(kind, RateType::DmlInsert | RateType::DmlUpsert | RateType::DmlDelete | RateType::DmlBulkLoad)
}
