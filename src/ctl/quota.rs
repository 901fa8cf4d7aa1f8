//! `roostctl quota list|describe`.

use clap::Subcommand;

use super::Context;
use super::exit::{Failure, one_line};
use super::output::{Report as Shown, facts, or_dash, table};
use crate::pb::internal::GetQuotaMetricsRequest;
use crate::proxies::ProxyLine;
use crate::quota::Level;
use crate::quota::load::NodeLine;
use crate::quota::report::{CountLine, DenialLine, FactorLine, RateLine, Report};

const LIST_JSON: &str =
    "JSON: {\"counts\": [{\"what\", \"database\", \"used\", \"limit\"}]}; without a database: of the cluster";
const DESCRIBE_JSON: &str = "JSON: {\"enabled\", \"collect_interval_ms\", \"nodes\", \"rates\": [{\"rate_type\", \
    \"level\", \"limit\", \"share\"}], \"denials\": [{\"level\", \"database\", \"state\", \"rate_type\", \"code\", \
    \"reason\"}], \"counts\", \"proxies\": [{\"id\", \"address\", \"version\", \"stale\", \"rates_set\", \"error\"}], \
    \"loads\": [{\"id\", \"role\", \"address\", \"memory_ratio\", \"time_tick_delay_ms\", \
    \"collections\", \"error\"}], \
    \"factors\": [{\"collection_id\", \"factor\", \"code\"}]}; \
    rates are in calls, bytes or vectors a second";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how many databases, collections, users... there are and may be
    #[command(after_help = LIST_JSON)]
    List,
    /// Show rates, what one node admits of them, what is denied, and the proxies
    #[command(after_help = DESCRIBE_JSON)]
    Describe,
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let rpc = session.ask(GetQuotaMetricsRequest::default(), |mut client, request| async move {
        client.get_quota_metrics(request).await
    });
    let answer = rpc.await?.metrics_info;
    let report: Report = serde_json::from_str(&answer)
        .map_err(|error| Failure::Failed(format!("{} answered what is no report: {error}", session.node)))?;
    match command {
        Command::List => context.output.print(&Counts { counts: report.counts }),
        Command::Describe => context.output.print(&report),
    }
}

#[derive(Debug, serde::Serialize)]
struct Counts {
    counts: Vec<CountLine>,
}

impl Shown for Counts {
    fn table(&self) -> String {
        let row = |CountLine { what, database, used, limit }: &CountLine| {
            let place = if database.is_empty() { "(cluster)" } else { database };
            vec![what.clone(), place.to_owned(), used.to_string(), limit.to_string()]
        };
        table(&["WHAT", "DATABASE", "USED", "LIMIT"], self.counts.iter().map(row))
    }
}

impl Shown for Report {
    fn table(&self) -> String {
        let head = facts(&[
            ("enabled", self.enabled.to_string()),
            ("told to proxies", format!("every {} ms", self.collect_interval_ms)),
            ("nodes", self.nodes.to_string()),
        ]);
        let rate = |RateLine { rate_type, level, limit, share }: &RateLine| {
            vec![rate_type.clone(), each(*level).to_owned(), limit.to_string(), format!("{share:.4}")]
        };
        let denial = |line: &DenialLine| {
            let place = if line.database.is_empty() { "(cluster)" } else { &line.database };
            vec![line.state.clone(), or_dash(line.rate_type.clone()), place.to_owned(), line.reason.clone()]
        };
        let mut parts = vec![head];
        if !self.rates.is_empty() {
            parts.push(table(&["RATE", "OF", "LIMIT/S", "ONE NODE/S"], self.rates.iter().map(rate)));
        }
        if !self.denials.is_empty() {
            parts.push(table(&["DENIED", "RATE", "DATABASE", "REASON"], self.denials.iter().map(denial)));
        }
        let proxy = |line: &ProxyLine| {
            let ProxyLine { id, address, version, stale, rates_set, error } = line;
            let error = or_dash(error.as_deref().map(one_line));
            vec![id.to_string(), address.clone(), version.clone(), stale.to_string(), rates_set.to_string(), error]
        };
        if !self.proxies.is_empty() {
            let header = ["PROXY", "ADDRESS", "VERSION", "STALE", "RATES", "ERROR"];
            parts.push(table(&header, self.proxies.iter().map(proxy)));
        }
        let node = |line: &NodeLine| {
            let memory = line.memory_ratio.map(|ratio| format!("{:.0} %", ratio * 100.0));
            let late = line.time_tick_delay_ms.map(|delay| format!("{delay} ms"));
            let error = or_dash(line.error.as_deref().map(one_line));
            let (id, collections) = (line.id.to_string(), line.collections.to_string());
            vec![id, line.role.clone(), line.address.clone(), or_dash(memory), or_dash(late), collections, error]
        };
        if !self.loads.is_empty() {
            let header = ["NODE", "ROLE", "ADDRESS", "MEMORY", "BEHIND", "COLLECTIONS", "ERROR"];
            parts.push(table(&header, self.loads.iter().map(node)));
        }
        let factor = |FactorLine { collection_id, factor, code }: &FactorLine| {
            vec![collection_id.to_string(), format!("{factor:.3}"), code.clone()]
        };
        if !self.factors.is_empty() {
            parts.push(table(&["COLLECTION", "RATE OF WRITES", "BECAUSE OF"], self.factors.iter().map(factor)));
        }
        parts.join("\n\n")
    }
}

fn each(level: Level) -> &'static str {
    match level {
        Level::Cluster => "the cluster",
        Level::Database => "each database",
        Level::Collection => "each collection",
        Level::Partition => "each partition",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_for_people_and_for_programs() {
        let report = Report {
            enabled: true,
            collect_interval_ms: 3000,
            nodes: 3,
            denials: vec![DenialLine {
                level: Level::Database,
                database: "shelf".into(),
                state: "DenyToDDL".into(),
                rate_type: None,
                code: "ForceDeny".into(),
                reason: "why".into(),
            }],
            rates: vec![RateLine {
                rate_type: "DDLFlush".into(),
                level: Level::Collection,
                limit: 0.1,
                share: 0.1 / 3.0,
            }],
            ..Report::default()
        };
        let people = "enabled:         true\ntold to proxies: every 3000 ms\nnodes:           3\n\n\
                      RATE      OF               LIMIT/S  ONE NODE/S\nDDLFlush  each collection  0.1      0.0333\n\n\
                      DENIED     RATE  DATABASE  REASON\nDenyToDDL  -     shelf     why";
        assert_eq!(report.table(), people);
        let programs = serde_json::to_string(&report).unwrap();
        assert!(programs.contains(r#""state":"DenyToDDL","rate_type":null"#), "{programs}");
        assert!(programs.contains(r#"{"rate_type":"DDLFlush","level":"collection","limit":0.1,"#), "{programs}");
        assert_eq!(serde_json::from_str::<Report>(&programs).unwrap(), report);
        let counts = vec![CountLine { what: "collections".into(), database: "a".into(), used: 2, limit: 9 }];
        let shown = Counts { counts }.table();
        assert_eq!(shown, "WHAT         DATABASE  USED  LIMIT\ncollections  a         2     9");
    }
}
