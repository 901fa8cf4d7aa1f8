//! Every rejection once: code, text, flags. The texts are what Milvus' clients and their tests match on.

use tonic::Code;

use super::{Rejection, ok_status};
use crate::pb::common::ErrorCode;

fn text(value: &str) -> String {
    value.to_owned()
}

/// What clients see of a rejection: a lasting fault of ours, unless more is said.
struct Row {
    rejection: Rejection,
    code: i32,
    text: &'static str,
    retriable: bool,
    input: bool,
    older: ErrorCode,
    grpc: Code,
}

fn row(rejection: Rejection, code: i32, text: &'static str) -> Row {
    let (older, grpc) = (ErrorCode::UnexpectedError, Code::Internal);
    Row { rejection, code, text, retriable: false, input: false, older, grpc }
}

impl Row {
    fn passing(self) -> Self {
        Row { retriable: true, grpc: Code::Unavailable, ..self }
    }

    /// Caused by the caller's input.
    fn input(self) -> Self {
        Row { input: true, grpc: Code::InvalidArgument, ..self }
    }

    fn older(self, older: ErrorCode) -> Self {
        Row { older, ..self }
    }

    fn grpc(self, grpc: Code) -> Self {
        Row { grpc, ..self }
    }
}

/// One of each.
#[allow(clippy::too_many_lines, reason = "a table: one row a variant")]
fn table() -> Vec<Row> {
    use Code::{
        AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted,
        Unauthenticated, Unimplemented,
    };
    use ErrorCode::{
        CollectionNotExists, DiskQuotaExhausted, ForceDeny, IllegalArgument, IndexNotExist, NodeIdNotMatch,
        NotReadyServe, RateLimit,
    };
    use Rejection as R;
    let d = || text("why");
    vec![
        row(R::NotReady { detail: d() }, 1, "why: service not ready").passing().older(NotReadyServe),
        row(R::Unavailable { detail: d() }, 2, "why: service unavailable").passing(),
        row(R::TooManyRequests { detail: text("") }, 4, "too many concurrent requests, queue is full").passing(),
        row(R::Internal { detail: d() }, 5, "why: service internal error"),
        row(R::DiskFull { detail: d() }, 7, "why: disk limit exceeded")
            .older(DiskQuotaExhausted)
            .grpc(ResourceExhausted),
        row(R::RateLimited { detail: d() }, 8, "why: rate limit exceeded").passing().older(RateLimit),
        row(R::QuotaExceeded { detail: d() }, 9, "why: quota exceeded").older(ForceDeny).grpc(ResourceExhausted),
        row(R::Unimplemented { detail: d() }, 10, "why: service unimplemented").grpc(Unimplemented),
        row(R::TimestampRefused { detail: d() }, 2, "no timestamp: why: service unavailable").passing(),
        row(R::OutcomeUnknown { detail: d() }, 10001, "why: deadline exceeded, the outcome is unknown")
            .grpc(DeadlineExceeded),
        row(
            R::CollectionNotFound { database: text("default"), collection: text("x") },
            100,
            "collection not found[database=default][collection=x]",
        )
        .input()
        .older(CollectionNotExists),
        row(R::CollectionIdNotFound { id: 7 }, 100, "collection not found[collection=7]")
            .input()
            .older(CollectionNotExists),
        row(
            R::CollectionLimit { database: text("default"), limit: 2 },
            102,
            "exceeded the limit number of collections[dbName=default][limit=2]",
        )
        .input()
        .grpc(ResourceExhausted),
        row(
            R::IllegalSchema { collection: text("c"), detail: d() },
            105,
            "why: illegal collection schema[collection=c]",
        )
        .input(),
        row(
            R::VectorClusteringKey { collection: text("c"), detail: d() },
            107,
            "why: vector clustering key not allowed[collection=c]",
        )
        .input(),
        row(
            R::CollectionNameIsAlias { collection: text("c") },
            65535,
            "collection name [c] conflicts with an existing alias, please choose a unique name",
        )
        .input(),
        row(
            R::CollectionDiffers { collection: text("c") },
            1100,
            "create duplicate collection with different parameters, collection: c: invalid parameter",
        )
        .input()
        .older(IllegalArgument),
        row(R::DropViaAlias { alias: text("a") }, 1100, "cannot drop the collection via alias = a: invalid parameter")
            .input()
            .older(IllegalArgument),
        row(
            R::DropWithAliases { collection: text("c"), aliases: vec![text("a"), text("b")] },
            1100,
            "unable to drop the collection [c] because it has associated aliases [a b], please remove all aliases \
             before dropping the collection: invalid parameter",
        )
        .input()
        .older(IllegalArgument),
        row(R::PartitionNotFound { partition: text("p") }, 200, "partition not found[partition=p]").input(),
        row(
            R::CapacityExceeded { limit: 9 },
            250,
            "failed checking constraint: sum_collections(parition*shard) exceeding the max general capacity:9: \
             general capacity exceeded",
        )
        .grpc(ResourceExhausted),
        row(R::DatabaseNotFound { database: text("foo"), detail: text("") }, 800, "database not found[database=foo]")
            .input(),
        row(
            R::DatabaseNotFound { database: text("foo"), detail: text("failed to create collection") },
            800,
            "failed to create collection: database not found[database=foo]",
        )
        .input(),
        row(R::DatabaseLimit { limit: 64 }, 801, "exceeded the limit number of database[limit=64]")
            .input()
            .grpc(ResourceExhausted),
        row(R::DatabaseInvalidName { database: text("1"), detail: d() }, 802, "why: invalid database name[database=1]")
            .input(),
        row(R::NodeNotMatch { expected: 1, actual: 2 }, 904, "node not match[expectedNodeID=1][actualNodeID=2]")
            .older(NodeIdNotMatch)
            .grpc(FailedPrecondition),
        row(R::NodeNotFound { node: 7 }, 901, "node not found[node=7]").grpc(FailedPrecondition),
        row(R::invalid("why"), 1100, "why: invalid parameter").input().older(IllegalArgument),
        row(
            R::ParameterUnexpected { expected: text("number"), actual: text("x"), detail: text("") },
            1100,
            "invalid parameter[expected=number][actual=x]",
        )
        .input()
        .older(IllegalArgument),
        row(
            R::ParameterOutOfRange { value: text("9"), lower: text("-1"), upper: text("5"), detail: d() },
            1100,
            "why: invalid parameter[9 out of range -1 <= value <= 5]",
        )
        .input()
        .older(IllegalArgument),
        row(R::ParameterMissing { detail: d() }, 1101, "why: missing parameter").input().older(IllegalArgument),
        row(R::ParameterTooLarge { detail: d() }, 1102, "why: parameter too large").input().older(IllegalArgument),
        row(
            R::AliasNotFound { database: text("default"), alias: text("a") },
            1600,
            "alias not found[database=default][alias=a]",
        )
        .input(),
        row(
            R::AliasIsCollection { database: text("default"), alias: text("a") },
            1601,
            "alias and collection name conflict[database=default][alias=a]",
        )
        .grpc(AlreadyExists),
        row(
            R::AliasExists { database: text("default"), alias: text("a"), collection: text("c") },
            1602,
            "a is alias to another collection: c: alias already exist[database=default][alias=a]",
        )
        .grpc(AlreadyExists),
        row(R::FieldInvalidName { field: text("f-"), detail: d() }, 1701, "why: field name invalid[field=f-]")
            .grpc(InvalidArgument),
        row(R::NotSupported { detail: d() }, 3000, "why: unsupported operation").grpc(Unimplemented),
        row(R::IndexNotFound { index: text("i") }, 700, "index not found[indexName=i]")
            .older(IndexNotExist)
            .grpc(FailedPrecondition),
        row(R::CollectionWithoutIndex { collection: text("c") }, 700, "index not found[collection=c]")
            .older(IndexNotExist)
            .grpc(FailedPrecondition),
        row(R::IndexAmbiguous { index: text("i") }, 702, "index duplicates[indexName=i]").input(),
        row(
            R::RevisionDiffers { collection: text("c"), expected: 1, actual: 2 },
            1100,
            "collection c is at revision 2, not 1: invalid parameter",
        )
        .input()
        .older(IllegalArgument),
        row(R::MetricNotFound { metric: text("m") }, 1200, "metric not found[metric=m]").grpc(InvalidArgument),
        row(R::IndexInTheWay { index: text("i"), detail: d() }, 702, "why: index duplicates[indexName=i]").input(),
        row(
            R::CollectionLoaded { collection: text("c"), detail: d() },
            104,
            "why: collection already loaded[collection=c]",
        )
        .input(),
        row(
            R::CollectionNotLoaded { collection: text("9"), detail: d() },
            101,
            "why: collection not loaded[collection=9]",
        )
        .grpc(FailedPrecondition),
        row(R::PartitionNotLoaded { partition: text("9"), detail: d() }, 201, "why: partition not loaded[partition=9]")
            .grpc(FailedPrecondition),
        row(R::FieldNotFound { field: text("f") }, 1700, "field not found[field=f]").input(),
        row(R::ResourceGroupNotFound { group: text("g") }, 300, "resource group not found[rg=g]").input(),
        row(R::NotAuthenticated { detail: d() }, 1400, "why: not authenticated").input().grpc(Unauthenticated),
        row(R::NotPermitted { detail: d() }, 1401, "why: privilege not permitted").input().grpc(PermissionDenied),
        row(R::PrivilegeGroupInvalidName { detail: d() }, 1402, "why: invalid privilege group name").input(),
        row(
            R::RateExceeded { rate: text("0.1") },
            8,
            "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=0.1]",
        )
        .passing()
        .older(RateLimit),
        row(R::NotPrimary, 65535, "cluster is not primary, cannot do any DDL/DCL").grpc(FailedPrecondition),
        row(R::NotSecondary, 65535, "replicate message cannot be received in primary role").grpc(FailedPrecondition),
        row(R::Denied { reason: d() }, 9, "quota exceeded[reason=why]").older(ForceDeny).grpc(ResourceExhausted),
    ]
}

#[test]
fn each_rejection_has_milvus_code_text_and_flags() {
    for Row { rejection, code, text: reason, retriable, input, older, grpc } in table() {
        let status = rejection.to_status();
        assert_eq!((status.code, rejection.code()), (code, code), "{rejection:?}");
        assert_eq!(status.reason, reason);
        assert_eq!((status.detail.as_str(), rejection.to_string().as_str()), (reason, reason));
        assert_eq!((status.retriable, rejection.retriable()), (retriable, retriable), "{rejection:?}");
        assert_eq!(status.error_code, i32::from(older), "{rejection:?}");
        let flag = status.extra_info.get("is_input_error").map(String::as_str);
        assert_eq!(flag, input.then_some("true"), "{rejection:?}");
        assert_eq!((rejection.to_tonic().code(), rejection.to_tonic().message()), (grpc, reason), "{rejection:?}");
    }
}

#[test]
fn success_is_all_zero_and_no_rejection_looks_like_it() {
    assert_eq!((ok_status().code, ok_status().error_code), (0, 0));
    for Row { rejection, .. } in table() {
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
    "RevisionDiffers",
    "NotPrimary",
    "NotSecondary",
];

#[test]
fn stored_rejections_keep_their_numbers_and_read_back_as_they_were() {
    let config = bincode::config::standard();
    let mut seen = std::collections::BTreeSet::new();
    for Row { rejection, .. } in table() {
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
