//! Milvus' error codes as far as Roost uses them: number, base text, flags, and the older codes beside them.
//! The gRPC code avoids those that pymilvus repeats (NOT_FOUND, INTERNAL, UNKNOWN) unless repeating is right.

use std::borrow::Cow;
use std::fmt::Display;

use tonic::Code;

use super::Parts;
use crate::limits::MAX_ERROR_FIELD_BYTES;
use crate::pb::common::ErrorCode;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) code: i32,
    pub(super) base: &'static str,
    pub(super) retriable: bool,
    /// Caused by the caller's input.
    pub(super) input: bool,
    /// What clients of Milvus 2.2 look at; most kinds have no older code of their own.
    pub(super) legacy: ErrorCode,
    pub(super) grpc: Code,
}

impl Kind {
    /// A fault that is not the caller's and lasts.
    const fn fault(code: i32, base: &'static str) -> Self {
        Self { code, base, retriable: false, input: false, legacy: ErrorCode::UnexpectedError, grpc: Code::Internal }
    }

    /// A condition that passes.
    const fn passing(code: i32, base: &'static str) -> Self {
        Self { retriable: true, grpc: Code::Unavailable, ..Self::fault(code, base) }
    }

    /// The caller's mistake.
    const fn input(code: i32, base: &'static str) -> Self {
        Self { input: true, grpc: Code::InvalidArgument, ..Self::fault(code, base) }
    }

    const fn legacy(self, legacy: ErrorCode) -> Self {
        Self { legacy, ..self }
    }

    const fn grpc(self, grpc: Code) -> Self {
        Self { grpc, ..self }
    }

    /// This kind with a detail and no fields.
    pub(super) fn detail<'a>(&'static self, detail: impl Into<Cow<'a, str>>) -> Parts<'a> {
        Parts { kind: self, fields: String::new(), detail: detail.into() }
    }

    /// This kind with its first field.
    pub(super) fn field<'a>(&'static self, key: &str, value: impl Display) -> Parts<'a> {
        self.detail("").field(key, value)
    }

    /// This kind with a violated range as its only field.
    pub(super) fn range<'a>(&'static self, value: &str, lower: &str, upper: &str) -> Parts<'a> {
        let mut parts = self.detail("");
        parts.fields = format!("[{value} out of range {lower} <= value <= {upper}]");
        parts
    }
}

/// The beginning of a text, at most so many bytes, whole characters only.
pub(super) fn clipped(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

impl<'a> Parts<'a> {
    pub(super) fn field(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        self.fields.push_str(&format!("[{key}={}]", clipped(&value, MAX_ERROR_FIELD_BYTES)));
        self
    }

    pub(super) fn because(self, detail: impl Into<Cow<'a, str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

pub(super) static NOT_READY: Kind = Kind::passing(1, "service not ready").legacy(ErrorCode::NotReadyServe);
pub(super) static UNAVAILABLE: Kind = Kind::passing(2, "service unavailable");
pub(super) static TOO_MANY_REQUESTS: Kind = Kind::passing(4, "too many concurrent requests, queue is full");
pub(super) static INTERNAL: Kind = Kind::fault(5, "service internal error");
pub(super) static DISK_LIMIT: Kind =
    Kind::fault(7, "disk limit exceeded").legacy(ErrorCode::DiskQuotaExhausted).grpc(Code::ResourceExhausted);
pub(super) static RATE_LIMIT: Kind = Kind::passing(8, "rate limit exceeded").legacy(ErrorCode::RateLimit);
pub(super) static QUOTA_EXCEEDED: Kind =
    Kind::fault(9, "quota exceeded").legacy(ErrorCode::ForceDeny).grpc(Code::ResourceExhausted);
pub(super) static UNIMPLEMENTED: Kind = Kind::fault(10, "service unimplemented").grpc(Code::Unimplemented);

pub(super) static COLLECTION_NOT_FOUND: Kind =
    Kind::input(100, "collection not found").legacy(ErrorCode::CollectionNotExists);
pub(super) static COLLECTION_NOT_LOADED: Kind =
    Kind::fault(101, "collection not loaded").grpc(Code::FailedPrecondition);
pub(super) static COLLECTION_LIMIT: Kind =
    Kind::input(102, "exceeded the limit number of collections").grpc(Code::ResourceExhausted);
pub(super) static COLLECTION_LOADED: Kind = Kind::input(104, "collection already loaded");
pub(super) static ILLEGAL_SCHEMA: Kind = Kind::input(105, "illegal collection schema");
pub(super) static VECTOR_CLUSTERING_KEY: Kind = Kind::input(107, "vector clustering key not allowed");
pub(super) static PARTITION_NOT_FOUND: Kind = Kind::input(200, "partition not found");
pub(super) static PARTITION_NOT_LOADED: Kind = Kind::fault(201, "partition not loaded").grpc(Code::FailedPrecondition);
pub(super) static CAPACITY_EXCEEDED: Kind = Kind::fault(250, "general capacity exceeded").grpc(Code::ResourceExhausted);

pub(super) static RESOURCE_GROUP_NOT_FOUND: Kind = Kind::input(300, "resource group not found");
pub(super) static INDEX_NOT_FOUND: Kind =
    Kind::fault(700, "index not found").legacy(ErrorCode::IndexNotExist).grpc(Code::FailedPrecondition);
pub(super) static INDEX_DUPLICATE: Kind = Kind::input(702, "index duplicates");

pub(super) static DATABASE_NOT_FOUND: Kind = Kind::input(800, "database not found");
pub(super) static DATABASE_LIMIT: Kind =
    Kind::input(801, "exceeded the limit number of database").grpc(Code::ResourceExhausted);
pub(super) static DATABASE_INVALID_NAME: Kind = Kind::input(802, "invalid database name");
pub(super) static METRIC_NOT_FOUND: Kind = Kind::fault(1200, "metric not found").grpc(Code::InvalidArgument);
pub(super) static NODE_NOT_FOUND: Kind = Kind::fault(901, "node not found").grpc(Code::FailedPrecondition);
pub(super) static NODE_NOT_MATCH: Kind =
    Kind::fault(904, "node not match").legacy(ErrorCode::NodeIdNotMatch).grpc(Code::FailedPrecondition);

pub(super) static PARAMETER_INVALID: Kind = Kind::input(1100, "invalid parameter").legacy(ErrorCode::IllegalArgument);
pub(super) static PARAMETER_MISSING: Kind = Kind::input(1101, "missing parameter").legacy(ErrorCode::IllegalArgument);
pub(super) static PARAMETER_TOO_LARGE: Kind =
    Kind::input(1102, "parameter too large").legacy(ErrorCode::IllegalArgument);

pub(super) static NOT_AUTHENTICATED: Kind = Kind::input(1400, "not authenticated").grpc(Code::Unauthenticated);
pub(super) static NOT_PERMITTED: Kind = Kind::input(1401, "privilege not permitted").grpc(Code::PermissionDenied);
pub(super) static PRIVILEGE_GROUP_INVALID_NAME: Kind = Kind::input(1402, "invalid privilege group name");

pub(super) static ALIAS_NOT_FOUND: Kind = Kind::input(1600, "alias not found");
pub(super) static ALIAS_IS_COLLECTION: Kind =
    Kind::fault(1601, "alias and collection name conflict").grpc(Code::AlreadyExists);
pub(super) static ALIAS_EXISTS: Kind = Kind::fault(1602, "alias already exist").grpc(Code::AlreadyExists);
pub(super) static FIELD_NOT_FOUND: Kind = Kind::input(1700, "field not found");
pub(super) static FIELD_INVALID_NAME: Kind = Kind { input: false, ..Kind::input(1701, "field name invalid") };
pub(super) static NOT_SUPPORTED: Kind = Kind::fault(3000, "unsupported operation").grpc(Code::Unimplemented);

/// Milvus reports an unknown outcome as a timeout, and clients do not repeat it: right, for it may have happened.
pub(super) static OUTCOME_UNKNOWN: Kind =
    Kind::fault(10001, "deadline exceeded, the outcome is unknown").grpc(Code::DeadlineExceeded);
/// Errors of Milvus' broadcaster and logs, which have no code of their own.
pub(super) static NOT_PRIMARY: Kind =
    Kind::fault(65535, "cluster is not primary, cannot do any DDL/DCL").grpc(Code::FailedPrecondition);
pub(super) static NOT_SECONDARY: Kind =
    Kind::fault(65535, "replicate message cannot be received in primary role").grpc(Code::FailedPrecondition);
/// Milvus' code for errors without one of their own, hence without a base text; still the caller's to mend.
pub(super) static UNEXPECTED_INPUT: Kind = Kind::input(65535, "");
