//! What is denied altogether: by the configuration, by a property of a database, or because the disk is full.

use crate::config::Quota;
use crate::error::Rejection;
use crate::pb::common::ErrorCode;
use crate::pb::internal::RateType;
use crate::pb::milvus::QuotaState;
use crate::pb::store;
use crate::rootcoord::validate::switch;

use super::kind::is_write;

pub use super::kind::is_ddl;

/// Before what is denied in one database.
const PREFIX: &str = "database.force.deny.";

/// What is denied, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    pub what: Denied,
    pub code: ErrorCode,
}

/// What can be denied. Kinds of DDL one by one only in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Reading,
    Writing,
    Ddl,
    OneDdl(RateType),
}

impl Denied {
    /// As Milvus names the state; it has none for a single kind of DDL.
    pub fn state(self) -> QuotaState {
        match self {
            Denied::Reading => QuotaState::DenyToRead,
            Denied::Writing => QuotaState::DenyToWrite,
            Denied::Ddl | Denied::OneDdl(_) => QuotaState::DenyToDdl,
        }
    }

    pub fn covers(self, kind: RateType) -> bool {
        match self {
            Denied::Reading => !is_ddl(kind) && !is_write(kind),
            Denied::Writing => is_write(kind),
            Denied::Ddl => is_ddl(kind),
            Denied::OneDdl(one) => one == kind,
        }
    }
}

impl Denial {
    fn forced(what: Denied) -> Self {
        Denial { what, code: ErrorCode::ForceDeny }
    }

    /// Milvus' words for the reason.
    pub fn reason(&self) -> &'static str {
        match self.code {
            ErrorCode::ForceDeny => "access has been disabled by the administrator",
            ErrorCode::MemoryQuotaExhausted => "memory quota exceeded, please allocate more resources",
            ErrorCode::DiskQuotaExhausted => "disk quota exceeded, please allocate more resources",
            ErrorCode::TimeTickLongDelay => "time tick long delay",
            _ => "",
        }
    }

    pub fn rejection(&self) -> Rejection {
        Rejection::Denied { reason: self.reason().to_owned() }
    }
}

/// What the operator denies in the whole cluster.
pub fn by_settings(quota: &Quota) -> Vec<Denial> {
    let switches = [
        (quota.force_deny_writing, Denied::Writing),
        (quota.force_deny_reading, Denied::Reading),
        (quota.force_deny_ddl, Denied::Ddl),
    ];
    let on = switches.into_iter().filter(|(on, _)| *on && quota.enabled);
    on.map(|(_, what)| Denial::forced(what)).collect()
}

/// What cannot be done in the whole cluster: the operator's word, and the disk's.
pub fn in_cluster(quota: &Quota, disk_full: bool) -> Vec<Denial> {
    let mut found = by_settings(quota);
    if disk_full {
        let full = |what| Denial { what, code: ErrorCode::DiskQuotaExhausted };
        let more =
            [Denied::Writing, Denied::Ddl].into_iter().filter(|what| found.iter().all(|known| known.what != *what));
        let more: Vec<Denial> = more.map(full).collect();
        found.extend(more);
    }
    found
}

/// What a database's properties deny. Their values were checked when they were set.
pub fn in_database(properties: &[store::Property]) -> Vec<Denial> {
    let denied = |property: &store::Property| {
        let what = match property.key.strip_prefix(PREFIX)? {
            "writing" => Denied::Writing,
            "reading" => Denied::Reading,
            "ddl" => Denied::Ddl,
            "collectionDDL" => Denied::OneDdl(RateType::DdlCollection),
            "partitionDDL" => Denied::OneDdl(RateType::DdlPartition),
            "index" => Denied::OneDdl(RateType::DdlIndex),
            "flush" => Denied::OneDdl(RateType::DdlFlush),
            "compaction" => Denied::OneDdl(RateType::DdlCompaction),
            _ => return None,
        };
        (switch(&property.value) == Some(true)).then_some(Denial::forced(what))
    };
    properties.iter().filter_map(denied).collect()
}
