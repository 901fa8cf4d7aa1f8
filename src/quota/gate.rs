//! The check of a client's call on the node that was asked, before it is executed or passed on. Each node has its share
//! of the cluster's rates.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use http::HeaderMap;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::bucket::{Buckets, Claim, Key};
use super::deny;
use super::kind;
use super::limits::{Level, limit};
use crate::access::{Asking, ObjectField, Rules, texts};
use crate::call::Call;
use crate::config::Quota;
use crate::error::Rejection;
use crate::leader::clock::Clock;
use crate::limits::COLLECTIONS_PER_FLUSH;
use crate::metrics::Metrics;
use crate::pb::internal::RateType;
use crate::replica::Replica;
use crate::state::View;

/// A method that is counted, and where its request names what.
#[derive(Clone, Debug)]
pub struct Counted {
    kind: RateType,
    rule: crate::access::Rule,
    /// The field with the names of collections, for what is counted by collection.
    collections: Option<u32>,
}

/// What became of a call, as counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    rate_type: &'static str,
    outcome: &'static str,
}

/// See the module.
pub struct Gate {
    replica: Arc<dyn Replica>,
    clock: Arc<dyn Clock>,
    quota: Arc<Quota>,
    methods: HashMap<String, Counted>,
    buckets: Mutex<Buckets>,
    outcomes: Family<Outcome, Counter>,
}

impl Gate {
    pub fn new(
        replica: Arc<dyn Replica>,
        clock: Arc<dyn Clock>,
        quota: Arc<Quota>,
        metrics: &Metrics,
    ) -> Result<Self, prost::DecodeError> {
        let rules = Rules::known()?;
        let counted = |(path, kind): (String, RateType)| {
            let rule = rules.get(&path)?.clone();
            let collections = match (kind, rule.need.map(|need| need.object)) {
                (RateType::DdlFlush, Some(ObjectField::Text { number, .. })) => Some(number),
                _ => None,
            };
            Some((path, Counted { kind, rule, collections }))
        };
        let methods = kind::counted().filter_map(counted).collect();
        let outcomes = Family::<Outcome, Counter>::default();
        metrics.register(|registry| {
            registry.register(
                "quota_checks",
                "Calls that were counted for a rate, by kind and outcome",
                outcomes.clone(),
            );
        });
        Ok(Gate { replica, clock, quota, methods, buckets: Mutex::default(), outcomes })
    }

    /// How the method of this path is counted, if it is.
    pub fn counted(&self, path: &str) -> Option<&Counted> {
        self.methods.get(path)
    }

    /// Waits until this node knows what was acknowledged before the call: a denial that was set or taken back, on
    /// whichever node, holds for it.
    pub async fn catch_up(&self, call: &Call) -> Result<(), Rejection> {
        let passed = self.replica.read_barrier(call.deadline).await;
        passed.map(|_| ()).map_err(|error| Rejection::Unavailable { detail: format!("{error}; nothing was done") })
    }

    /// Counts the call. Code 9 for what is denied, code 8 (retriable) above a rate; then nothing was counted.
    ///
    /// Databases and collections are those of this node's tables. What does not exist is counted for the cluster only.
    pub fn admit(&self, counted: &Counted, message: &[u8], headers: &HeaderMap) -> Result<(), Rejection> {
        let admitted = self.check(counted, message, headers);
        let outcome = match &admitted {
            Ok(()) => "admitted",
            Err(Rejection::Denied { .. }) => "denied",
            Err(_) => "limited",
        };
        self.outcomes.get_or_create(&Outcome { rate_type: counted.kind.as_str_name(), outcome }).inc();
        admitted
    }

    fn check(&self, counted: &Counted, message: &[u8], headers: &HeaderMap) -> Result<(), Rejection> {
        let kind = counted.kind;
        if let Some(denial) = deny::by_settings(&self.quota).into_iter().find(|denial| denial.what.covers(kind)) {
            return Err(denial.rejection());
        }
        let scopes = self.scopes(counted, message, headers).map_err(|error| {
            tracing::error!(%error, "the tables cannot be read");
            Rejection::Internal { detail: format!("cannot read the tables: {error}") }
        })?;
        if let Some(denial) = scopes.denial {
            return Err(denial.rejection());
        }
        let nodes = self.replica.members().len().max(1) as f64;
        let mut claims = Vec::new();
        for (level, id) in scopes.ids {
            let Some(rate) = limit(&self.quota, kind, level) else { continue };
            if rate == 0.0 {
                return Err(Rejection::Denied { reason: format!("rate type: {}", kind.as_str_name()) });
            }
            claims.push((rate, Claim { key: Key { kind, level, id }, per_second: rate / nodes }));
        }
        let wanted: Vec<Claim> = claims.iter().map(|(_, claim)| *claim).collect();
        self.buckets.lock().take(&wanted, self.clock.monotonic_ms()).map_err(|short| {
            let rate = claims.iter().find(|(_, claim)| *claim == short).map_or(short.per_second, |(rate, _)| *rate);
            Rejection::RateExceeded { rate: rate.to_string() }
        })
    }

    /// Where the call is counted.
    fn scopes(&self, counted: &Counted, message: &[u8], headers: &HeaderMap) -> io::Result<Scopes> {
        let mut scopes = Scopes { denial: None, ids: vec![(Level::Cluster, 0)] };
        // Who decodes the request will refuse what cannot be read.
        let Ok(asking) = Asking::new(&counted.rule, message, headers) else { return Ok(scopes) };
        if counted.kind == RateType::Ddldb {
            return Ok(scopes);
        }
        let view = self.replica.view()?;
        let view = View::new(view.as_ref());
        let Some(database) = view.database(asking.database)? else { return Ok(scopes) };
        scopes.denial =
            deny::in_database(&database.properties).into_iter().find(|denial| denial.what.covers(counted.kind));
        scopes.ids.push((Level::Database, database.id));
        if let Some(field) = counted.collections.filter(|_| self.is_limited(counted.kind, Level::Collection)) {
            let mut names = texts(message, field).unwrap_or_default();
            names.sort_unstable();
            names.dedup();
            if names.len() > COLLECTIONS_PER_FLUSH {
                // Nor is any of them looked up to be flushed.
                return Ok(scopes);
            }
            for name in names {
                let found = view.collection(database.id, name)?;
                scopes.ids.extend(found.map(|collection| (Level::Collection, collection.id)));
            }
        }
        Ok(scopes)
    }

    fn is_limited(&self, kind: RateType, level: Level) -> bool {
        limit(&self.quota, kind, level).is_some()
    }
}

struct Scopes {
    denial: Option<deny::Denial>,
    ids: Vec<(Level, i64)>,
}
