//! `roostctl cluster status|health|init`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::{Failure, one_line};
use super::member::MemberArg;
use super::output::{Report, facts, or_dash, table};
use super::view::{AlarmView, MemberView, alarm_table, hex, node_state, views};
use crate::pb::admin::{
    ClusterStatusRequest, ClusterStatusResponse, HealthRequest, HealthResponse, InitRequest, InitResponse,
    MemberReport, NodeStatus, Verdict,
};

const STATUS_JSON: &str = "\
JSON: {\"cluster_id\", \"asked_node\", \"leader\": id or null, \"term\", \"nodes\": [{
  \"member\": {\"id\", \"role\": voter|learner, \"address\": {\"peer\", \"client\", \"internal\"}, \"incarnation\",
             \"matched_index\", \"lag_entries\"},
  \"reachable\": bool, \"error\": text or null, \"took_us\",
  \"status\": null or {\"state\": leader|follower|candidate|learner|uninitialized|shutdown, \"term\", \"leader\",
             \"first_log_index\", \"last_log_index\", \"committed_index\", \"applied_index\", \"snapshot_index\",
             \"state_hash\", \"state_hash_index\", \"apply_version\", \"apply_version_supported\", \"wal_sync_p99_us\",
             \"uptime_ms\", \"version\", \"incarnation\", \"alarms\": [{\"kind\", \"node_id\", \"message\"}]}}]}";
const HEALTH_JSON: &str = "\
JSON: {\"verdict\": healthy|degraded|unhealthy, \"reasons\": [text], \"alarms\": [...], \"leader\": id or null,
       \"term\", \"voters\", \"voters_reachable\"}
healthy: everything is well. degraded: it serves, something needs attention. unhealthy: it does not serve writes.
The exit code is 6 unless healthy (with --allow-degraded: only when unhealthy).";
const INIT_JSON: &str = "JSON: {\"cluster_id\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every member as it describes itself
    #[command(after_help = STATUS_JSON)]
    Status,
    /// Judge the cluster; the exit code tells
    #[command(after_help = HEALTH_JSON)]
    Health {
        /// Count a cluster that serves as healthy, whatever needs attention
        #[arg(long)]
        allow_degraded: bool,
    },
    /// Give uninitialized nodes their first membership (not needed with cluster.initial_members)
    #[command(after_help = INIT_JSON)]
    Init {
        /// A first voter; repeat it for each. The asked node must be one of them
        #[arg(long = "member", value_name = "id=N,peer=H:P,client=H:P,internal=H:P", required = true)]
        members: Vec<MemberArg>,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Status => status(context).await,
        Command::Health { allow_degraded } => health(context, allow_degraded).await,
        Command::Init { members } => init(context, &members).await,
    }
}

async fn status(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session
        .call(ClusterStatusRequest {}, |mut client, request| async move { client.cluster_status(request).await });
    let cluster = Cluster::from(rpc.await?);
    context.output.print(&cluster)
}

async fn health(context: &Context, allow_degraded: bool) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session.call(HealthRequest {}, |mut client, request| async move { client.health(request).await });
    let health = Health::from(rpc.await?);
    context.output.print(&health)?;
    health.judge(allow_degraded)
}

async fn init(context: &Context, members: &[MemberArg]) -> Result<(), Failure> {
    super::member::check_distinct(members)?;
    let session = context.dialer.any().await?;
    let ids = members.iter().map(|member| member.id.to_string()).collect::<Vec<_>>().join(", ");
    confirm(context.yes, &format!("Initialize {} as a new cluster of nodes {ids}?", session.node))?;
    let request = InitRequest { members: members.iter().map(MemberArg::to_voter).collect() };
    let rpc = session.call(request, |mut client, request| async move { client.init(request).await });
    let done = Initialized::from(rpc.await?);
    context.output.print(&done)
}

#[derive(Debug, Serialize)]
struct Cluster {
    cluster_id: String,
    asked_node: u64,
    leader: Option<u64>,
    term: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    member: MemberView,
    reachable: bool,
    error: Option<String>,
    took_us: u64,
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct Status {
    state: &'static str,
    term: u64,
    leader: Option<u64>,
    first_log_index: u64,
    last_log_index: u64,
    committed_index: u64,
    applied_index: u64,
    snapshot_index: u64,
    state_hash: String,
    state_hash_index: u64,
    apply_version: u32,
    apply_version_supported: u32,
    wal_sync_p99_us: u64,
    uptime_ms: u64,
    version: String,
    incarnation: String,
    alarms: Vec<AlarmView>,
}

impl From<ClusterStatusResponse> for Cluster {
    fn from(answer: ClusterStatusResponse) -> Self {
        let statuses = || answer.reports.iter().filter_map(|report| report.status.as_ref());
        // The members may disagree while leadership moves: the highest term is the newest truth.
        let newest = statuses().max_by_key(|status| (status.term, status.leader.is_some()));
        Cluster {
            cluster_id: newest.map(|status| status.cluster_id.clone()).unwrap_or_default(),
            asked_node: answer.asked_node,
            leader: newest.and_then(|status| status.leader),
            term: newest.map_or(0, |status| status.term),
            nodes: views(answer.reports),
        }
    }
}

impl From<MemberReport> for Node {
    fn from(report: MemberReport) -> Self {
        Node {
            member: report.member.unwrap_or_default().into(),
            reachable: report.status.is_some(),
            error: report.status.is_none().then(|| one_line(&report.error)),
            took_us: report.took_us,
            status: report.status.map(Status::from),
        }
    }
}

impl From<NodeStatus> for Status {
    fn from(status: NodeStatus) -> Self {
        Status {
            state: node_state(status.state()),
            term: status.term,
            leader: status.leader,
            first_log_index: status.first_log_index,
            last_log_index: status.last_log_index,
            committed_index: status.committed_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot_index,
            state_hash: hex(&status.state_hash),
            state_hash_index: status.state_hash_index,
            apply_version: status.apply_version,
            apply_version_supported: status.apply_version_supported,
            wal_sync_p99_us: status.wal_sync_p99_us,
            uptime_ms: status.uptime_ms,
            version: status.version,
            incarnation: status.incarnation,
            alarms: views(status.alarms),
        }
    }
}

impl Report for Cluster {
    fn table(&self) -> String {
        let summary = facts(&[
            ("cluster", self.cluster_id.clone()),
            ("leader", or_dash(self.leader)),
            ("term", self.term.to_string()),
        ]);
        let header = [
            "ID",
            "ROLE",
            "STATE",
            "TERM",
            "LAST",
            "COMMITTED",
            "APPLIED",
            "SNAPSHOT",
            "LAG",
            "SYNC_P99",
            "ALARMS",
            "CLIENT",
            "INTERNAL",
            "VERSION",
        ];
        let mut text = format!("{summary}\n\n{}", table(&header, self.nodes.iter().map(Node::row)));
        for node in &self.nodes {
            if let Some(error) = &node.error {
                text.push_str(&format!("\n\nnode {} does not answer: {error}", node.member.id));
            }
        }
        text
    }
}

impl Node {
    fn row(&self) -> Vec<String> {
        let of = |show: fn(&Status) -> String| or_dash(self.status.as_ref().map(show));
        vec![
            self.member.id.to_string(),
            self.member.role.to_owned(),
            self.status.as_ref().map_or("unreachable", |status| status.state).to_owned(),
            of(|status| status.term.to_string()),
            of(|status| status.last_log_index.to_string()),
            of(|status| status.committed_index.to_string()),
            of(|status| status.applied_index.to_string()),
            of(|status| status.snapshot_index.to_string()),
            or_dash(self.member.lag_entries),
            of(|status| format!("{:.1}ms", status.wal_sync_p99_us as f64 / 1000.0)),
            of(|status| status.alarms.len().to_string()),
            self.member.address.client.clone(),
            self.member.address.internal.clone(),
            of(|status| status.version.clone()),
        ]
    }
}

#[derive(Debug, Serialize)]
struct Health {
    verdict: &'static str,
    reasons: Vec<String>,
    alarms: Vec<AlarmView>,
    leader: Option<u64>,
    term: u64,
    voters: u32,
    voters_reachable: u32,
}

impl From<HealthResponse> for Health {
    fn from(health: HealthResponse) -> Self {
        Health {
            verdict: match health.verdict() {
                Verdict::Healthy => "healthy",
                Verdict::Degraded => "degraded",
                // A verdict that this binary does not know is no reason to be at ease.
                Verdict::Unhealthy | Verdict::Unspecified => "unhealthy",
            },
            reasons: health.reasons,
            alarms: views(health.alarms),
            leader: health.leader,
            term: health.term,
            voters: health.voters,
            voters_reachable: health.voters_reachable,
        }
    }
}

impl Report for Health {
    fn table(&self) -> String {
        let mut text = facts(&[
            ("verdict", self.verdict.to_owned()),
            ("leader", or_dash(self.leader)),
            ("term", self.term.to_string()),
            ("voters", format!("{} of {} reachable", self.voters_reachable, self.voters)),
        ]);
        for reason in &self.reasons {
            text.push_str(&format!("\n- {}", one_line(reason)));
        }
        if !self.alarms.is_empty() {
            text.push_str(&format!("\n\n{}", alarm_table(&self.alarms)));
        }
        text
    }
}

impl Health {
    fn judge(&self, allow_degraded: bool) -> Result<(), Failure> {
        match self.verdict {
            "healthy" => Ok(()),
            "degraded" if allow_degraded => Ok(()),
            verdict => Err(Failure::Unhealthy(verdict.to_owned())),
        }
    }
}

#[derive(Debug, Serialize)]
struct Initialized {
    cluster_id: String,
}

impl From<InitResponse> for Initialized {
    fn from(done: InitResponse) -> Self {
        Initialized { cluster_id: done.cluster_id }
    }
}

impl Report for Initialized {
    fn table(&self) -> String {
        format!("cluster {} is initialized", self.cluster_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::admin::{Address, Alarm, Member, NodeState, Role};

    fn report(id: u64, status: Option<NodeStatus>) -> MemberReport {
        let address = Address { client: format!("h:{id}"), internal: format!("h:1{id}"), ..Default::default() };
        let member = Member { id, role: Role::Voter.into(), address: Some(address), ..Default::default() };
        MemberReport { member: Some(member), status, error: "connection refused".into(), took_us: 800 }
    }

    fn status(state: NodeState, term: u64, leader: Option<u64>) -> NodeStatus {
        NodeStatus {
            state: state.into(),
            term,
            leader,
            cluster_id: "c1".into(),
            state_hash: vec![1, 255],
            ..Default::default()
        }
    }

    fn cluster() -> Cluster {
        let answer = ClusterStatusResponse {
            asked_node: 2,
            reports: vec![
                report(1, Some(status(NodeState::Leader, 7, Some(1)))),
                report(2, Some(status(NodeState::Follower, 6, Some(3)))),
                report(3, None),
            ],
        };
        answer.into()
    }

    #[test]
    fn a_dead_member_is_a_row_and_a_reason() {
        let text = cluster().table();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[1], "leader:  1");
        assert!(rows[4].starts_with("ID  ROLE   STATE        TERM"), "{text}");
        assert!(rows[7].starts_with("3   voter  unreachable  -"), "{text}");
        assert!(text.ends_with("node 3 does not answer: connection refused"));
    }

    #[test]
    fn json_has_the_documented_fields() {
        let json = serde_json::to_value(cluster()).unwrap();
        assert_eq!((json["leader"].as_u64(), json["term"].as_u64()), (Some(1), Some(7)));
        assert_eq!(json["nodes"][0]["status"]["state_hash"], "01ff");
        assert_eq!(json["nodes"][0]["error"], serde_json::Value::Null);
        assert_eq!(json["nodes"][2]["reachable"], false);
        let Some(serde_json::Value::Object(status)) = json["nodes"][0].get("status") else { panic!("no status") };
        for field in status.keys() {
            assert!(STATUS_JSON.contains(&format!("\"{field}\"")), "{field} is not documented");
        }
    }

    #[test]
    fn health_decides_the_exit_code() {
        let judged = |verdict: i32, lenient| {
            let health = Health::from(HealthResponse { verdict, ..Default::default() });
            health.judge(lenient).map_err(|failure| failure.exit_code())
        };
        assert_eq!(judged(Verdict::Healthy.into(), false), Ok(()));
        assert_eq!(judged(Verdict::Degraded.into(), false), Err(6));
        assert_eq!(judged(Verdict::Degraded.into(), true), Ok(()));
        assert_eq!(judged(Verdict::Unhealthy.into(), true), Err(6));
        assert_eq!(judged(77, true), Err(6));
    }

    #[test]
    fn health_lists_reasons_and_alarms() {
        let alarm = Alarm { kind: "NOSPACE".into(), node_id: 3, message: "below 512 MiB".into() };
        let health = Health::from(HealthResponse {
            verdict: Verdict::Degraded.into(),
            reasons: vec!["node 3 does not answer".into()],
            alarms: vec![alarm],
            voters: 3,
            voters_reachable: 2,
            ..Default::default()
        });
        let text = health.table();
        assert!(text.contains("\n- node 3 does not answer\n\nKIND"), "{text}");
        assert!(text.contains("2 of 3 reachable"), "{text}");
    }
}
