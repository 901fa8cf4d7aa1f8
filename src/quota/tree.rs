//! The tree of limits that proxies are told: a pure function of the configuration, the catalogue and what is denied.
//!
//! A proxy forgets its own limits below a node that the tree does not name and makes new ones from its configuration,
//! so every database is there, and of collections and partitions those that something limits.

use std::collections::BTreeMap;
use std::io;

use super::deny::{self, Denial, Denied};
use super::limits::{KINDS, Level, limit};
use super::load::{Factor, Factors};
use crate::config::Quota;
use crate::limits::{LIMITER_NODES_MAX, LIST_PAGE};
use crate::pb::internal::{Rate, RateType};
use crate::pb::proxy::{Limiter, LimiterNode};
use crate::pb::store;
use crate::state::View;

/// What Milvus takes for no limit: Go's largest float64.
const UNLIMITED: f64 = f64::MAX;
const MIB: f64 = 1_048_576.0;

/// Properties of a collection that take the place of configured rates, and the unit of each.
const OVERRIDES: [(RateType, &str, f64); 5] = [
    (RateType::DmlInsert, "collection.insertRate.max.mb", MIB),
    (RateType::DmlDelete, "collection.deleteRate.max.mb", MIB),
    (RateType::DmlBulkLoad, "collection.bulkLoadRate.max.mb", MIB),
    (RateType::DqlSearch, "collection.searchRate.max.vps", 1.0),
    (RateType::DqlQuery, "collection.queryRate.max.qps", 1.0),
];

/// The least that is left of a collection's own rates, in MiB a second.
const LEAST: [(RateType, &str, f64); 2] = [
    (RateType::DmlInsert, "collection.insertRate.min.mb", MIB),
    (RateType::DmlDelete, "collection.deleteRate.min.mb", MIB),
];

/// A database, as far as limits go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseLimits {
    pub denials: Vec<Denial>,
    pub collections: BTreeMap<i64, CollectionLimits>,
}

/// The same of a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionLimits {
    /// Rates of its own, a second, over the whole cluster.
    pub rates: BTreeMap<RateType, f64>,
    /// What is left of them at least, however full nodes are.
    pub least: BTreeMap<RateType, f64>,
    pub partitions: Vec<i64>,
}

/// Databases by their ids.
pub type Catalogue = BTreeMap<i64, DatabaseLimits>;

/// What may be asked for now.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub quota: &'a Quota,
    pub disk_full: bool,
    /// Proxies that share the rates.
    pub proxies: usize,
    /// What is left of the rates of writes.
    pub factors: &'a Factors,
}

/// Reads the catalogue: a long walk with many collections, for a thread that may block. Partitions are read only if
/// some rate is by partition.
pub fn read(view: &View<'_>, quota: &Quota) -> io::Result<Catalogue> {
    let by_partition = KINDS.iter().any(|kind| limit(quota, *kind, Level::Partition).is_some());
    let (mut catalogue, mut nodes) = (Catalogue::new(), 0_usize);
    let mut after: Option<String> = None;
    loop {
        let page = view.databases(after.as_deref(), LIST_PAGE)?;
        after = page.last().map(|database| database.name.clone());
        for database in &page {
            let denials = deny::in_database(&database.properties);
            let mut found = DatabaseLimits { denials, collections: BTreeMap::new() };
            let mut last: Option<i64> = None;
            loop {
                let ids = view.collection_ids(database.id, last, LIST_PAGE)?;
                last = ids.last().copied();
                for id in &ids {
                    let Some(row) = view.collection_by_id(*id)? else { continue };
                    let partitions = if by_partition { view.partitions(*id)? } else { Vec::new() };
                    nodes += 1 + partitions.len();
                    if nodes > LIMITER_NODES_MAX {
                        tracing::warn!(most = LIMITER_NODES_MAX, "proxies are not told the limits of all collections");
                        catalogue.insert(database.id, found);
                        return Ok(catalogue);
                    }
                    let partitions = partitions.into_iter().map(|partition| partition.id).collect();
                    let (rates, least) = (overrides(&row.properties), least(&row.properties));
                    found.collections.insert(*id, CollectionLimits { rates, least, partitions });
                }
                if ids.len() < LIST_PAGE {
                    break;
                }
            }
            catalogue.insert(database.id, found);
        }
        if page.len() < LIST_PAGE {
            return Ok(catalogue);
        }
    }
}

/// The rates that a collection's properties set; what is no rate sets none.
pub fn overrides(properties: &[store::Property]) -> BTreeMap<RateType, f64> {
    set_by(properties, &OVERRIDES)
}

fn least(properties: &[store::Property]) -> BTreeMap<RateType, f64> {
    set_by(properties, &LEAST)
}

fn set_by(properties: &[store::Property], keys: &[(RateType, &str, f64)]) -> BTreeMap<RateType, f64> {
    let rate = |&(kind, key, unit): &(RateType, &str, f64)| {
        let value: f64 = properties.iter().find(|property| property.key == key)?.value.parse().ok()?;
        (value >= 0.0 && value.is_finite()).then_some((kind, value * unit))
    };
    keys.iter().filter_map(rate).collect()
}

/// The whole tree. Rates are one proxy's share.
pub fn build(now: Situation<'_>, catalogue: &Catalogue) -> LimiterNode {
    let children = catalogue.iter().map(|(id, database)| (*id, of_database(now, database))).collect();
    let denials = deny::in_cluster(now.quota, now.disk_full);
    node(now, Level::Cluster, &denials, &BTreeMap::new(), children)
}

fn of_database(now: Situation<'_>, database: &DatabaseLimits) -> LimiterNode {
    let collections = database.collections.iter().filter_map(|(id, collection)| {
        let partitions = collection.partitions.iter().filter(|_| is_limited(now.quota, Level::Partition));
        let none = BTreeMap::new();
        let partitions = partitions.map(|id| (*id, node(now, Level::Partition, &[], &none, BTreeMap::new())));
        let partitions: BTreeMap<i64, LimiterNode> = partitions.collect();
        let factor = now.factors.get(id);
        let denials: Vec<Denial> = factor.and_then(Factor::denial).into_iter().collect();
        let limited = is_limited(now.quota, Level::Collection)
            || !collection.rates.is_empty()
            || !partitions.is_empty()
            || !denials.is_empty();
        let mut node = limited.then(|| node(now, Level::Collection, &denials, &collection.rates, partitions))?;
        if let Some(factor) = factor.filter(|factor| factor.value > 0.0) {
            lower(&mut node, factor.value, |kind| least_of(now, collection, kind));
        }
        Some((*id, node))
    });
    node(now, Level::Database, &database.denials, &BTreeMap::new(), collections.collect())
}

/// One proxy's share of what is left of a rate at least.
fn least_of(now: Situation<'_>, collection: &CollectionLimits, kind: RateType) -> f64 {
    let configured = match kind {
        RateType::DmlInsert => now.quota.dml.insert_min,
        _ => now.quota.dml.delete_min,
    };
    let own = collection.least.get(&kind).copied();
    own.unwrap_or_else(|| configured.bytes_per_second()) / now.proxies.max(1) as f64
}

/// Leaves this part of the rates of writes that are limited, and no less than `least` of each.
fn lower(node: &mut LimiterNode, factor: f64, least: impl Fn(RateType) -> f64) {
    let rates = node.limiter.iter_mut().flat_map(|limiter| &mut limiter.rates);
    for rate in rates.filter(|rate| matches!(rate.rt(), RateType::DmlInsert | RateType::DmlDelete)) {
        if rate.r < UNLIMITED {
            rate.r = (rate.r * factor).max(least(rate.rt()).min(rate.r));
        }
    }
}

fn is_limited(quota: &Quota, level: Level) -> bool {
    KINDS.iter().any(|kind| limit(quota, *kind, level).is_some())
}

/// Of kinds that have no rate at a level a proxy keeps none there.
fn has_rate(kind: RateType, level: Level) -> bool {
    match level {
        Level::Cluster => true,
        Level::Database => kind != RateType::Ddldb,
        Level::Collection => kind == RateType::DdlFlush || !deny::is_ddl(kind),
        Level::Partition => !deny::is_ddl(kind),
    }
}

fn node(
    now: Situation<'_>,
    level: Level,
    denials: &[Denial],
    own: &BTreeMap<RateType, f64>,
    children: BTreeMap<i64, LimiterNode>,
) -> LimiterNode {
    let share = |rate: f64| rate / now.proxies.max(1) as f64;
    let rate = |kind: RateType| {
        let denied = denials.iter().any(|denial| denial.what.covers(kind));
        let set = own.get(&kind).copied().or_else(|| limit(now.quota, kind, level));
        let r = if denied { 0.0 } else { set.map_or(UNLIMITED, share) };
        Rate { rt: kind.into(), r }
    };
    let rates = KINDS.into_iter().filter(|kind| has_rate(*kind, level)).map(rate).collect();
    // A state comes once, for whatever reasons; one kind of DDL that is denied is a rate of 0 and no state.
    let mut states: Vec<Denial> =
        denials.iter().filter(|denial| !matches!(denial.what, Denied::OneDdl(_))).copied().collect();
    states.dedup_by_key(|denial| denial.what);
    let limiter = Limiter {
        rates,
        states: states.iter().map(|denial| denial.what.state().into()).collect(),
        codes: states.iter().map(|denial| denial.code.into()).collect(),
        reasons: states.iter().map(|denial| denial.reason().to_owned()).collect(),
    };
    LimiterNode { limiter: Some(limiter), children }
}
