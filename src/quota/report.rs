//! Limits, rates, denials and how much of each count is used, as GetQuotaMetrics and roostctl tell them. The JSON is a
//! stable interface: fields are added, never renamed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::deny::{self, Denial};
use super::limits::{KINDS, Level, limit};
use super::load::{Factor, LoadBoard, NodeLine};
use crate::config::Quota;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::Ledger;
use crate::limits::{FACTORS_SHOWN_MAX, LIST_PAGE};
use crate::pb::common;
use crate::pb::internal::{GetQuotaMetricsRequest, GetQuotaMetricsResponse};
use crate::proxies::{ProxyBoard, ProxyLine};
use crate::replica::Replica;
use crate::state::{self, View};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether rates and denials count at all.
    pub enabled: bool,
    /// How often proxies are told their rates.
    pub collect_interval_ms: u64,
    /// Nodes that share the cluster's rates.
    pub nodes: usize,
    pub denials: Vec<DenialLine>,
    pub rates: Vec<RateLine>,
    pub counts: Vec<CountLine>,
    /// Those that are registered.
    pub proxies: Vec<ProxyLine>,
    /// Milvus' nodes, as they reported.
    #[serde(default)]
    pub loads: Vec<NodeLine>,
    /// Collections whose rates of writes are lowered, those of the lowest ids.
    #[serde(default)]
    pub factors: Vec<FactorLine>,
    /// How many there are.
    #[serde(default)]
    pub lowered: usize,
}

/// What is left of a collection's rates of writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FactorLine {
    pub collection_id: i64,
    /// 0: writing is denied.
    pub factor: f64,
    /// Milvus' error code by name, such as `MemoryQuotaExhausted`.
    pub code: String,
}

/// Something that is denied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenialLine {
    pub level: Level,
    /// The database; empty for the cluster.
    pub database: String,
    /// Milvus' name of the state, such as `DenyToWrite`.
    pub state: String,
    /// The one kind of calls that is denied; `None`: all that the state says.
    pub rate_type: Option<String>,
    /// Milvus' error code by name, such as `ForceDeny`.
    pub code: String,
    pub reason: String,
}

/// A rate that is limited. In calls, bytes or vectors a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLine {
    pub rate_type: String,
    /// For each database, collection or partition, if not for the cluster.
    pub level: Level,
    pub limit: f64,
    /// What one node admits of it.
    pub share: f64,
}

/// How many there are, and how many there may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountLine {
    pub what: String,
    /// The database; empty for the cluster.
    pub database: String,
    pub used: u64,
    pub limit: u64,
}

/// Answers GetQuotaMetrics.
pub struct QuotaReports {
    ledger: Ledger,
    replica: Arc<dyn Replica>,
    quota: Arc<Quota>,
    board: Arc<ProxyBoard>,
    loads: Arc<LoadBoard>,
}

impl QuotaReports {
    pub fn new(
        ledger: Ledger,
        replica: Arc<dyn Replica>,
        quota: Arc<Quota>,
        board: Arc<ProxyBoard>,
        loads: Arc<LoadBoard>,
    ) -> Arc<Self> {
        Arc::new(QuotaReports { ledger, replica, quota, board, loads })
    }

    pub async fn metrics(&self, asked: &Asked<GetQuotaMetricsRequest>) -> Result<GetQuotaMetricsResponse, Failure> {
        let limits = state::Limits::from(self.ledger.limits.as_ref());
        let (most_users, most_roles) = (self.ledger.limits.max_users, self.ledger.limits.max_roles);
        let mut report = self.without_tables();
        let tables = self.ledger.list(&asked.call, move |view| {
            let mut counts = counts_of_cluster(view, &limits, most_users, most_roles)?;
            let mut denials = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page = view.databases(after.as_deref(), LIST_PAGE)?;
                after = page.last().map(|database| database.name.clone());
                for database in &page {
                    let used = view.collections_in(database.id)?;
                    let limit = state::max_collections(database, &limits)?;
                    counts.push(CountLine { what: "collections".into(), database: database.name.clone(), used, limit });
                    let of_database = deny::in_database(&database.properties);
                    denials.extend(of_database.iter().map(|denial| DenialLine::of(denial, &database.name)));
                }
                if page.len() < LIST_PAGE {
                    return Ok((counts, denials));
                }
            }
        });
        let (counts, denials) = tables.await?;
        report.counts = counts;
        if report.enabled {
            report.denials.extend(denials);
        }
        let metrics_info = serde_json::to_string(&report).unwrap_or_default();
        Ok(GetQuotaMetricsResponse { status: Some(common::Status::default()), metrics_info })
    }

    /// What the configuration and the disks say.
    fn without_tables(&self) -> Report {
        let nodes = self.replica.members().len().max(1);
        let rate = |(kind, level)| {
            let limit = limit(&self.quota, kind, level)?;
            Some(RateLine { rate_type: kind.as_str_name().to_owned(), level, limit, share: limit / nodes as f64 })
        };
        let pairs = KINDS.into_iter().flat_map(|kind| Level::ALL.map(|level| (kind, level)));
        let denials = deny::in_cluster(&self.quota, self.replica.disk_full());
        let picture = self.loads.latest().unwrap_or_default();
        let factor = |(id, factor): (&i64, &Factor)| FactorLine {
            collection_id: *id,
            factor: factor.value,
            code: factor.why.as_str_name().to_owned(),
        };
        Report {
            enabled: self.quota.enabled,
            collect_interval_ms: self.quota.collect_interval_ms,
            nodes,
            denials: denials.iter().map(|denial| DenialLine::of(denial, "")).collect(),
            rates: pairs.filter_map(rate).collect(),
            counts: Vec::new(),
            proxies: self.board.lines(),
            loads: picture.nodes.clone(),
            factors: picture.factors.iter().take(FACTORS_SHOWN_MAX).map(factor).collect(),
            lowered: picture.factors.len(),
        }
    }
}

impl DenialLine {
    /// An empty name means the cluster.
    fn of(denial: &Denial, database: &str) -> Self {
        let one = match denial.what {
            deny::Denied::OneDdl(kind) => Some(kind.as_str_name().to_owned()),
            _ => None,
        };
        DenialLine {
            level: if database.is_empty() { Level::Cluster } else { Level::Database },
            database: database.to_owned(),
            state: denial.what.state().as_str_name().to_owned(),
            rate_type: one,
            code: denial.code.as_str_name().to_owned(),
            reason: denial.reason().to_owned(),
        }
    }
}

fn counts_of_cluster(
    view: &View<'_>,
    limits: &state::Limits,
    most_users: u64,
    most_roles: u64,
) -> Result<Vec<CountLine>, Failure> {
    let (totals, access) = (view.totals()?, view.access().totals()?);
    let rows = [
        ("databases", totals.databases, limits.max_databases),
        ("collections", totals.collections, limits.max_collections),
        ("partitions x shards", totals.general_capacity, limits.max_general_capacity),
        ("users", access.users, most_users),
        ("roles", access.roles, most_roles),
    ];
    let line =
        |(what, used, limit): (&str, u64, u64)| CountLine { what: what.into(), database: String::new(), used, limit };
    Ok(rows.map(line).into())
}
