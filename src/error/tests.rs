//! Every rejection once: code, text, flags. The texts are what Milvus' clients and their tests match on.

use tonic::Code;

use super::{Rejection, ok_status};
use crate::pb::common::ErrorCode;

fn text(value: &str) -> String {
    value.to_owned()
}

/// One of each, with its code, text, retriable flag, input flag, older code and gRPC code.
#[allow(clippy::too_many_lines, reason = "a table: one row a variant")]
fn table() -> Vec<(Rejection, i32, &'static str, bool, bool, ErrorCode, Code)> {
    use ErrorCode::*;
    use Rejection as R;
    let d = || text("why");
    vec![
        (R::NotReady { detail: d() }, 1, "why: service not ready", true, false, NotReadyServe, Code::Unavailable),
        (
            R::Unavailable { detail: d() },
            2,
            "why: service unavailable",
            true,
            false,
            UnexpectedError,
            Code::Unavailable,
        ),
        (
            R::TooManyRequests { detail: text("") },
            4,
            "too many concurrent requests, queue is full",
            true,
            false,
            UnexpectedError,
            Code::Unavailable,
        ),
        (R::Internal { detail: d() }, 5, "why: service internal error", false, false, UnexpectedError, Code::Internal),
        (
            R::DiskFull { detail: d() },
            7,
            "why: disk limit exceeded",
            false,
            false,
            DiskQuotaExhausted,
            Code::ResourceExhausted,
        ),
        (R::RateLimited { detail: d() }, 8, "why: rate limit exceeded", true, false, RateLimit, Code::Unavailable),
        (R::QuotaExceeded { detail: d() }, 9, "why: quota exceeded", false, false, ForceDeny, Code::ResourceExhausted),
        (
            R::Unimplemented { detail: d() },
            10,
            "why: service unimplemented",
            false,
            false,
            UnexpectedError,
            Code::Unimplemented,
        ),
        (
            R::TimestampRefused { detail: d() },
            2,
            "no timestamp: why: service unavailable",
            true,
            false,
            UnexpectedError,
            Code::Unavailable,
        ),
        (
            R::OutcomeUnknown { detail: d() },
            10001,
            "why: deadline exceeded, the outcome is unknown",
            false,
            false,
            UnexpectedError,
            Code::DeadlineExceeded,
        ),
        (
            R::CollectionNotFound { database: text("default"), collection: text("x") },
            100,
            "collection not found[database=default][collection=x]",
            false,
            true,
            CollectionNotExists,
            Code::InvalidArgument,
        ),
        (
            R::CollectionIdNotFound { id: 7 },
            100,
            "collection not found[collection=7]",
            false,
            true,
            CollectionNotExists,
            Code::InvalidArgument,
        ),
        (
            R::CollectionLimit { database: text("default"), limit: 2 },
            102,
            "exceeded the limit number of collections[dbName=default][limit=2]",
            false,
            true,
            UnexpectedError,
            Code::ResourceExhausted,
        ),
        (
            R::IllegalSchema { collection: text("c"), detail: d() },
            105,
            "why: illegal collection schema[collection=c]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::VectorClusteringKey { collection: text("c"), detail: d() },
            107,
            "why: vector clustering key not allowed[collection=c]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::CollectionNameIsAlias { collection: text("c") },
            65535,
            "collection name [c] conflicts with an existing alias, please choose a unique name",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::CollectionDiffers { collection: text("c") },
            1100,
            "create duplicate collection with different parameters, collection: c: invalid parameter",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::DropViaAlias { alias: text("a") },
            1100,
            "cannot drop the collection via alias = a: invalid parameter",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::DropWithAliases { collection: text("c"), aliases: vec![text("a"), text("b")] },
            1100,
            "unable to drop the collection [c] because it has associated aliases [a b], please remove all aliases \
             before dropping the collection: invalid parameter",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::PartitionNotFound { partition: text("p") },
            200,
            "partition not found[partition=p]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::CapacityExceeded { limit: 9 },
            250,
            "failed checking constraint: sum_collections(parition*shard) exceeding the max general capacity:9: \
             general capacity exceeded",
            false,
            false,
            UnexpectedError,
            Code::ResourceExhausted,
        ),
        (
            R::DatabaseNotFound { database: text("foo"), detail: text("") },
            800,
            "database not found[database=foo]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::DatabaseNotFound { database: text("foo"), detail: text("failed to create collection") },
            800,
            "failed to create collection: database not found[database=foo]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::DatabaseLimit { limit: 64 },
            801,
            "exceeded the limit number of database[limit=64]",
            false,
            true,
            UnexpectedError,
            Code::ResourceExhausted,
        ),
        (
            R::DatabaseInvalidName { database: text("1"), detail: d() },
            802,
            "why: invalid database name[database=1]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::NodeNotMatch { expected: 1, actual: 2 },
            904,
            "node not match[expectedNodeID=1][actualNodeID=2]",
            false,
            false,
            NodeIdNotMatch,
            Code::FailedPrecondition,
        ),
        (
            R::NodeNotFound { node: 7 },
            901,
            "node not found[node=7]",
            false,
            false,
            UnexpectedError,
            Code::FailedPrecondition,
        ),
        (R::invalid("why"), 1100, "why: invalid parameter", false, true, IllegalArgument, Code::InvalidArgument),
        (
            R::ParameterUnexpected { expected: text("number"), actual: text("x"), detail: text("") },
            1100,
            "invalid parameter[expected=number][actual=x]",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::ParameterOutOfRange { value: text("9"), lower: text("-1"), upper: text("5"), detail: d() },
            1100,
            "why: invalid parameter[9 out of range -1 <= value <= 5]",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::ParameterMissing { detail: d() },
            1101,
            "why: missing parameter",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::ParameterTooLarge { detail: d() },
            1102,
            "why: parameter too large",
            false,
            true,
            IllegalArgument,
            Code::InvalidArgument,
        ),
        (
            R::AliasNotFound { database: text("default"), alias: text("a") },
            1600,
            "alias not found[database=default][alias=a]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::AliasIsCollection { database: text("default"), alias: text("a") },
            1601,
            "alias and collection name conflict[database=default][alias=a]",
            false,
            false,
            UnexpectedError,
            Code::AlreadyExists,
        ),
        (
            R::AliasExists { database: text("default"), alias: text("a"), collection: text("c") },
            1602,
            "a is alias to another collection: c: alias already exist[database=default][alias=a]",
            false,
            false,
            UnexpectedError,
            Code::AlreadyExists,
        ),
        (
            R::FieldInvalidName { field: text("f-"), detail: d() },
            1701,
            "why: field name invalid[field=f-]",
            false,
            false,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::NotSupported { detail: d() },
            3000,
            "why: unsupported operation",
            false,
            false,
            UnexpectedError,
            Code::Unimplemented,
        ),
        (
            R::IndexNotFound { index: text("i") },
            700,
            "index not found[indexName=i]",
            false,
            false,
            IndexNotExist,
            Code::FailedPrecondition,
        ),
        (
            R::CollectionWithoutIndex { collection: text("c") },
            700,
            "index not found[collection=c]",
            false,
            false,
            IndexNotExist,
            Code::FailedPrecondition,
        ),
        (
            R::IndexAmbiguous { index: text("i") },
            702,
            "index duplicates[indexName=i]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::MetricNotFound { metric: text("m") },
            1200,
            "metric not found[metric=m]",
            false,
            false,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::IndexInTheWay { index: text("i"), detail: d() },
            702,
            "why: index duplicates[indexName=i]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::CollectionLoaded { collection: text("c"), detail: d() },
            104,
            "why: collection already loaded[collection=c]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::CollectionNotLoaded { collection: text("9"), detail: d() },
            101,
            "why: collection not loaded[collection=9]",
            false,
            false,
            UnexpectedError,
            Code::FailedPrecondition,
        ),
        (
            R::PartitionNotLoaded { partition: text("9"), detail: d() },
            201,
            "why: partition not loaded[partition=9]",
            false,
            false,
            UnexpectedError,
            Code::FailedPrecondition,
        ),
        (
            R::FieldNotFound { field: text("f") },
            1700,
            "field not found[field=f]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::ResourceGroupNotFound { group: text("g") },
            300,
            "resource group not found[rg=g]",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::NotAuthenticated { detail: d() },
            1400,
            "why: not authenticated",
            false,
            true,
            UnexpectedError,
            Code::Unauthenticated,
        ),
        (
            R::NotPermitted { detail: d() },
            1401,
            "why: privilege not permitted",
            false,
            true,
            UnexpectedError,
            Code::PermissionDenied,
        ),
        (
            R::PrivilegeGroupInvalidName { detail: d() },
            1402,
            "why: invalid privilege group name",
            false,
            true,
            UnexpectedError,
            Code::InvalidArgument,
        ),
        (
            R::RateExceeded { rate: text("0.1") },
            8,
            "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=0.1]",
            true,
            false,
            RateLimit,
            Code::Unavailable,
        ),
        (R::Denied { reason: d() }, 9, "quota exceeded[reason=why]", false, false, ForceDeny, Code::ResourceExhausted),
    ]
}

#[test]
fn each_rejection_has_milvus_code_text_and_flags() {
    for (rejection, code, reason, retriable, input, legacy, grpc) in table() {
        let status = rejection.to_status();
        assert_eq!((status.code, rejection.code()), (code, code), "{rejection:?}");
        assert_eq!(status.reason, reason);
        assert_eq!((status.detail.as_str(), rejection.to_string().as_str()), (reason, reason));
        assert_eq!((status.retriable, rejection.retriable()), (retriable, retriable), "{rejection:?}");
        assert_eq!(status.error_code, i32::from(legacy), "{rejection:?}");
        let flag = status.extra_info.get("is_input_error").map(String::as_str);
        assert_eq!(flag, input.then_some("true"), "{rejection:?}");
        assert_eq!((rejection.to_tonic().code(), rejection.to_tonic().message()), (grpc, reason), "{rejection:?}");
    }
}

#[test]
fn success_is_all_zero_and_no_rejection_looks_like_it() {
    assert_eq!((ok_status().code, ok_status().error_code), (0, 0));
    for (rejection, ..) in table() {
        assert!(rejection.code() != 0 && rejection.to_status().error_code != 0, "{rejection:?}");
    }
}

/// The variants by their stored number: only ever append.
const STORED: &[&str] = &[
    "NotReady",
    "Unavailable",
    "TooManyRequests",
    "Internal",
    "DiskFull",
    "RateLimited",
    "QuotaExceeded",
    "Unimplemented",
    "TimestampRefused",
    "OutcomeUnknown",
    "CollectionNotFound",
    "CollectionIdNotFound",
    "CollectionLimit",
    "IllegalSchema",
    "VectorClusteringKey",
    "CollectionNameIsAlias",
    "CollectionDiffers",
    "DropViaAlias",
    "DropWithAliases",
    "PartitionNotFound",
    "CapacityExceeded",
    "DatabaseNotFound",
    "DatabaseLimit",
    "DatabaseInvalidName",
    "NodeNotMatch",
    "ParameterInvalid",
    "ParameterUnexpected",
    "ParameterOutOfRange",
    "ParameterMissing",
    "ParameterTooLarge",
    "AliasNotFound",
    "AliasIsCollection",
    "AliasExists",
    "FieldInvalidName",
    "NotSupported",
    "IndexNotFound",
    "CollectionWithoutIndex",
    "IndexAmbiguous",
    "CollectionLoaded",
    "CollectionNotLoaded",
    "PartitionNotLoaded",
    "FieldNotFound",
    "ResourceGroupNotFound",
    "NotAuthenticated",
    "NotPermitted",
    "PrivilegeGroupInvalidName",
    "RateExceeded",
    "Denied",
    "IndexInTheWay",
    "MetricNotFound",
    "NodeNotFound",
];

#[test]
fn stored_rejections_keep_their_numbers_and_read_back_as_they_were() {
    let config = bincode::config::standard();
    let mut seen = std::collections::BTreeSet::new();
    for (rejection, ..) in table() {
        let stored = bincode::serde::encode_to_vec(&rejection, config).unwrap();
        let name = STORED[usize::from(stored[0])];
        let debug = format!("{rejection:?}");
        assert_eq!(debug.split_whitespace().next(), Some(name));
        seen.insert(name);
        let (read, _) = bincode::serde::decode_from_slice::<Rejection, _>(&stored, config).unwrap();
        assert_eq!(read, rejection);
    }
    assert_eq!(seen.len(), STORED.len(), "every variant is in the table");
}

#[test]
fn quoted_text_is_clipped_at_a_character() {
    let long = Rejection::invalid("é".repeat(5000)).reason();
    assert_eq!(long, format!("{}: invalid parameter", "é".repeat(1024)));
    let field = Rejection::PartitionNotFound { partition: format!("x{}", "é".repeat(500)) }.reason();
    assert_eq!(field, format!("partition not found[partition=x{}]", "é".repeat(255)));
}
