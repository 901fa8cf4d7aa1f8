//! Business errors: what a request is told when its answer is no.
//! A `Rejection` is a reply, never a failure of the node: apply computes it, the log's readers may store it, and every
//! API says it in the same words. Codes, texts and flags are Milvus 2.6's, because clients match on them.

mod kind;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_ERROR_DETAIL_BYTES;
use crate::pb::common::Status;
use kind::Kind;

/// `extra_info` key by which clients tell a caller's mistake from the server's trouble.
const INPUT_ERROR_KEY: &str = "is_input_error";

/// Why a request is refused. Stored replies hold these: append variants, never reorder or change them.
/// `detail` is one sentence for people, without a full stop; it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Rejection {
    /// This node cannot serve yet, or no longer; another try may find one that can.
    NotReady { detail: String },
    /// No leader, no quorum, or too slow: nothing was done, so the same request may be sent again.
    Unavailable { detail: String },
    /// A bounded queue is full.
    TooManyRequests { detail: String },
    /// A fault of ours that repeating the request will not cure.
    Internal { detail: String },
    /// The NOSPACE alarm is raised: nothing that needs space is accepted.
    DiskFull { detail: String },
    /// A configured rate is exceeded.
    RateLimited { detail: String },
    /// A configured amount (users, roles, bytes) is used up.
    QuotaExceeded { detail: String },
    /// Not ours to serve, e.g. the data plane.
    Unimplemented { detail: String },
    /// The oracle cannot prove that it may answer, so it does not; nothing is lost by asking again.
    TimestampRefused { detail: String },
    /// The deadline passed after the request was sent to the log: it may or may not take effect.
    OutcomeUnknown { detail: String },

    /// No such collection or alias in this database.
    CollectionNotFound { database: String, collection: String },
    /// No collection has this id.
    CollectionIdNotFound { id: i64 },
    /// The database, or the cluster, holds as many collections as it may.
    CollectionLimit { database: String, limit: u64 },
    /// A declaration that contradicts itself.
    IllegalSchema { collection: String, detail: String },
    /// Clustering by a vector field is not served.
    VectorClusteringKey { collection: String, detail: String },
    /// A name that an alias already bears.
    CollectionNameIsAlias { collection: String },
    /// The name exists and means another declaration.
    CollectionDiffers { collection: String },
    /// DropCollection wants the collection's own name.
    DropViaAlias { alias: String },
    /// DropCollection wants the aliases gone first.
    DropWithAliases { collection: String, aliases: Vec<String> },
    /// No such partition in this collection.
    PartitionNotFound { partition: String },
    /// The sum over all collections of partitions x shards would pass its limit.
    CapacityExceeded { limit: u64 },

    /// No such database. `detail` may say what needed it.
    DatabaseNotFound { database: String, detail: String },
    /// As many databases as there may be.
    DatabaseLimit { limit: u64 },
    /// A name that no database may have.
    DatabaseInvalidName { database: String, detail: String },

    /// The request was meant for another node.
    NodeNotMatch { expected: u64, actual: u64 },

    /// The request asks for something impossible.
    ParameterInvalid { detail: String },
    /// As above, naming what was expected and what came.
    ParameterUnexpected { expected: String, actual: String, detail: String },
    /// As above, for a value outside its range; numbers as text, so that any number fits.
    ParameterOutOfRange { value: String, lower: String, upper: String, detail: String },
    /// The request lacks something.
    ParameterMissing { detail: String },
    /// The request, or a part of it, is larger than we accept.
    ParameterTooLarge { detail: String },

    /// No such alias in this database.
    AliasNotFound { database: String, alias: String },
    /// An alias may not bear a collection's name.
    AliasIsCollection { database: String, alias: String },
    /// The alias belongs to another collection.
    AliasExists { database: String, alias: String, collection: String },

    /// A name that no field may have.
    FieldInvalidName { field: String, detail: String },
    /// Understood, and not possible here.
    NotSupported { detail: String },

    /// No index of this name.
    IndexNotFound { index: String },
    /// The collection has no index at all.
    CollectionWithoutIndex { collection: String },
    /// The name, or its absence, means more than one index.
    IndexAmbiguous { index: String },
    /// The collection must be released first.
    CollectionLoaded { collection: String, detail: String },
    /// `collection`: its name or id.
    CollectionNotLoaded { collection: String, detail: String },
    /// `partition`: its name or id.
    PartitionNotLoaded { partition: String, detail: String },
    /// `field`: its name or id.
    FieldNotFound { field: String },
    /// No such resource group.
    ResourceGroupNotFound { group: String },

    /// The caller is not who it says.
    NotAuthenticated { detail: String },
    /// The caller, or anybody, may not do this.
    NotPermitted { detail: String },
    /// A name that no privilege group may have.
    PrivilegeGroupInvalidName { detail: String },

    /// More than a configured rate, a number a second.
    RateExceeded { rate: String },
    /// Denied altogether; `reason` is why.
    Denied { reason: String },
    /// The index must be dropped first.
    IndexInTheWay { index: String, detail: String },
    /// Nothing is measured under that name.
    MetricNotFound { metric: String },
    /// No such worker node, or it is dead.
    NodeNotFound { node: i64 },
    /// The change was to be made only at another revision; 0: there is no such collection.
    RevisionDiffers { collection: String, expected: u64, actual: u64 },
    /// This cluster is a copy of another one, which alone changes what both have.
    NotPrimary,
    /// This cluster is nobody's copy, and takes nothing that was replicated.
    NotSecondary,
}

impl Rejection {
    /// Shorthand for the most frequent refusal.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::ParameterInvalid { detail: detail.into() }
    }

    /// Shorthand for what is absent.
    pub fn missing(detail: impl Into<String>) -> Self {
        Self::ParameterMissing { detail: detail.into() }
    }

    /// Milvus' numeric code, never 0.
    pub fn code(&self) -> i32 {
        self.parts().kind.code
    }

    /// Whether the very same request may succeed later; clients repeat it on their own.
    pub fn retriable(&self) -> bool {
        self.parts().kind.retriable
    }

    /// The text that clients see: `detail: base[key=value]...`.
    pub fn reason(&self) -> String {
        self.parts().text()
    }

    /// The reply's status, for every call whose reply has one.
    pub fn to_status(&self) -> Status {
        let parts = self.parts();
        let reason = parts.text();
        let mut status = Status {
            error_code: parts.kind.legacy.into(),
            code: parts.kind.code,
            retriable: parts.kind.retriable,
            detail: reason.clone(),
            reason,
            ..Status::default()
        };
        if parts.kind.input {
            status.extra_info.insert(INPUT_ERROR_KEY.to_owned(), "true".to_owned());
        }
        status
    }

    /// For calls whose reply has no status of its own: streams and Roost's own services.
    pub fn to_tonic(&self) -> tonic::Status {
        let parts = self.parts();
        tonic::Status::new(parts.kind.grpc, parts.text())
    }

    /// The one table of what each refusal is: its kind, its fields, its detail.
    fn parts(&self) -> Parts<'_> {
        use Rejection::*;
        match self {
            NotReady { detail } => kind::NOT_READY.detail(detail),
            Unavailable { detail } => kind::UNAVAILABLE.detail(detail),
            TooManyRequests { detail } => kind::TOO_MANY_REQUESTS.detail(detail),
            Internal { detail } => kind::INTERNAL.detail(detail),
            DiskFull { detail } => kind::DISK_LIMIT.detail(detail),
            RateLimited { detail } => kind::RATE_LIMIT.detail(detail),
            QuotaExceeded { detail } => kind::QUOTA_EXCEEDED.detail(detail),
            Unimplemented { detail } => kind::UNIMPLEMENTED.detail(detail),
            TimestampRefused { detail } => kind::UNAVAILABLE.detail(format!("no timestamp: {detail}")),
            OutcomeUnknown { detail } => kind::OUTCOME_UNKNOWN.detail(detail),

            CollectionNotFound { database, collection } => {
                kind::COLLECTION_NOT_FOUND.field("database", database).field("collection", collection)
            }
            CollectionIdNotFound { id } => kind::COLLECTION_NOT_FOUND.field("collection", id),
            CollectionLimit { database, limit } => {
                kind::COLLECTION_LIMIT.field("dbName", database).field("limit", limit)
            }
            IllegalSchema { collection, detail } => {
                kind::ILLEGAL_SCHEMA.field("collection", collection).because(detail)
            }
            VectorClusteringKey { collection, detail } => {
                kind::VECTOR_CLUSTERING_KEY.field("collection", collection).because(detail)
            }
            CollectionNameIsAlias { collection } => kind::UNEXPECTED_INPUT.detail(format!(
                "collection name [{collection}] conflicts with an existing alias, please choose a unique name"
            )),
            CollectionDiffers { collection } => kind::PARAMETER_INVALID
                .detail(format!("create duplicate collection with different parameters, collection: {collection}")),
            DropViaAlias { alias } => {
                kind::PARAMETER_INVALID.detail(format!("cannot drop the collection via alias = {alias}"))
            }
            DropWithAliases { collection, aliases } => kind::PARAMETER_INVALID.detail(format!(
                "unable to drop the collection [{collection}] because it has associated aliases [{}], \
                 please remove all aliases before dropping the collection",
                aliases.join(" ")
            )),
            PartitionNotFound { partition } => kind::PARTITION_NOT_FOUND.field("partition", partition),
            CapacityExceeded { limit } => kind::CAPACITY_EXCEEDED.detail(format!(
                "failed checking constraint: sum_collections(parition*shard) exceeding the max general capacity:{limit}"
            )),

            DatabaseNotFound { database, detail } => {
                kind::DATABASE_NOT_FOUND.field("database", database).because(detail)
            }
            DatabaseLimit { limit } => kind::DATABASE_LIMIT.field("limit", limit),
            DatabaseInvalidName { database, detail } => {
                kind::DATABASE_INVALID_NAME.field("database", database).because(detail)
            }

            NodeNotMatch { expected, actual } => {
                kind::NODE_NOT_MATCH.field("expectedNodeID", expected).field("actualNodeID", actual)
            }

            ParameterInvalid { detail } => kind::PARAMETER_INVALID.detail(detail),
            ParameterUnexpected { expected, actual, detail } => {
                kind::PARAMETER_INVALID.field("expected", expected).field("actual", actual).because(detail)
            }
            ParameterOutOfRange { value, lower, upper, detail } => {
                kind::PARAMETER_INVALID.range(value, lower, upper).because(detail)
            }
            ParameterMissing { detail } => kind::PARAMETER_MISSING.detail(detail),
            ParameterTooLarge { detail } => kind::PARAMETER_TOO_LARGE.detail(detail),

            AliasNotFound { database, alias } => {
                kind::ALIAS_NOT_FOUND.field("database", database).field("alias", alias)
            }
            AliasIsCollection { database, alias } => {
                kind::ALIAS_IS_COLLECTION.field("database", database).field("alias", alias)
            }
            AliasExists { database, alias, collection } => kind::ALIAS_EXISTS
                .field("database", database)
                .field("alias", alias)
                .because(format!("{alias} is alias to another collection: {collection}")),

            FieldInvalidName { field, detail } => kind::FIELD_INVALID_NAME.field("field", field).because(detail),
            NotSupported { detail } => kind::NOT_SUPPORTED.detail(detail),

            IndexNotFound { index } => kind::INDEX_NOT_FOUND.field("indexName", index),
            CollectionWithoutIndex { collection } => kind::INDEX_NOT_FOUND.field("collection", collection),
            IndexAmbiguous { index } => kind::INDEX_DUPLICATE.field("indexName", index),
            IndexInTheWay { index, detail } => kind::INDEX_DUPLICATE.field("indexName", index).because(detail),
            CollectionLoaded { collection, detail } => {
                kind::COLLECTION_LOADED.field("collection", collection).because(detail)
            }
            CollectionNotLoaded { collection, detail } => {
                kind::COLLECTION_NOT_LOADED.field("collection", collection).because(detail)
            }
            PartitionNotLoaded { partition, detail } => {
                kind::PARTITION_NOT_LOADED.field("partition", partition).because(detail)
            }
            FieldNotFound { field } => kind::FIELD_NOT_FOUND.field("field", field),
            ResourceGroupNotFound { group } => kind::RESOURCE_GROUP_NOT_FOUND.field("rg", group),
            NodeNotFound { node } => kind::NODE_NOT_FOUND.field("node", node),
            RevisionDiffers { collection, expected, actual } => kind::PARAMETER_INVALID
                .detail(format!("collection {collection} is at revision {actual}, not {expected}")),
            MetricNotFound { metric } => kind::METRIC_NOT_FOUND.field("metric", metric),
            NotAuthenticated { detail } => kind::NOT_AUTHENTICATED.detail(detail),
            NotPermitted { detail } => kind::NOT_PERMITTED.detail(detail),
            PrivilegeGroupInvalidName { detail } => kind::PRIVILEGE_GROUP_INVALID_NAME.detail(detail),
            RateExceeded { rate } => kind::RATE_LIMIT
                .field("rate", rate)
                .because("request is rejected by grpc RateLimiter middleware, please retry later"),
            Denied { reason } => kind::QUOTA_EXCEEDED.field("reason", reason),
            NotPrimary => kind::NOT_PRIMARY.detail(""),
            NotSecondary => kind::NOT_SECONDARY.detail(""),
        }
    }
}

/// The status of success: every field zero, which is what clients test for.
pub fn ok_status() -> Status {
    Status::default()
}

/// A kind with this rejection's own fields and detail.
struct Parts<'a> {
    kind: &'static Kind,
    fields: String,
    detail: std::borrow::Cow<'a, str>,
}

impl Parts<'_> {
    fn text(&self) -> String {
        let detail = kind::clipped(&self.detail, MAX_ERROR_DETAIL_BYTES);
        let (base, fields) = (self.kind.base, &self.fields);
        if detail.is_empty() || base.is_empty() {
            format!("{detail}{base}{fields}")
        } else {
            format!("{detail}: {base}{fields}")
        }
    }
}
