//! The verdict over a cluster: a pure function of what the members said about themselves.

use std::collections::BTreeMap;

use super::status::{is_voter, leading};
use crate::limits;
use crate::pb::admin::{Alarm, ClusterStatusResponse, HealthResponse, MemberReport, NodeState, NodeStatus, Verdict};

/// Judges what `ClusterStatus` found.
pub fn judge(cluster: &ClusterStatusResponse) -> HealthResponse {
    let statuses = cluster.reports.iter().filter_map(|report| report.status.as_ref());
    let newest = statuses.clone().max_by_key(|status| status.term);
    let leader = leading(statuses.clone());
    let voters: Vec<&MemberReport> = cluster.reports.iter().filter(|report| counts(report)).collect();
    let reachable = voters.iter().filter(|report| report.status.is_some()).count();
    let alarms = alarms(statuses.clone());

    let mut fatal = Vec::new();
    if voters.is_empty() {
        fatal.push("the cluster is not initialized".to_owned());
    } else if reachable * 2 <= voters.len() {
        fatal.push(format!("only {reachable} of {} voters answer; a majority is needed", voters.len()));
    }
    if leader.is_none() && !voters.is_empty() {
        fatal.push(match newest.and_then(|status| status.leader) {
            Some(last) => format!("node {last}, the last known leader, does not lead or does not answer"),
            None => "nobody leads".to_owned(),
        });
    }
    fatal.extend(alarms.iter().map(|alarm| format!("node {} raised {}: {}", alarm.node_id, alarm.kind, alarm.message)));

    let attention: Vec<String> = cluster.reports.iter().flat_map(|report| complaints(report, leader)).collect();
    let verdict = match (fatal.is_empty(), attention.is_empty()) {
        (false, _) => Verdict::Unhealthy,
        (true, false) => Verdict::Degraded,
        (true, true) => Verdict::Healthy,
    };
    HealthResponse {
        verdict: verdict.into(),
        reasons: fatal.into_iter().chain(attention).collect(),
        alarms,
        leader: leader.map(|status| status.node_id),
        term: newest.map_or(0, |status| status.term),
        voters: u32::try_from(voters.len()).unwrap_or(u32::MAX),
        voters_reachable: u32::try_from(reachable).unwrap_or(u32::MAX),
    }
}

fn counts(report: &MemberReport) -> bool {
    report.member.as_ref().is_some_and(is_voter)
}

/// Alarms are replicated; a member that lags may not know the newest yet, so all are heard.
fn alarms<'a>(statuses: impl Iterator<Item = &'a NodeStatus>) -> Vec<Alarm> {
    let all = statuses.flat_map(|status| &status.alarms);
    let distinct: BTreeMap<(u64, &str), &Alarm> = all.map(|a| ((a.node_id, a.kind.as_str()), a)).collect();
    distinct.into_values().cloned().collect()
}

/// What needs attention at one member, though the cluster serves.
fn complaints(report: &MemberReport, leader: Option<&NodeStatus>) -> Vec<String> {
    let id = report.member.as_ref().map_or(0, |member| member.id);
    let Some(status) = &report.status else {
        return vec![format!("node {id} does not answer: {}", report.error)];
    };
    let mut found = Vec::new();
    if status.state() == NodeState::Shutdown {
        found.push(format!("node {id} is stopping or was stopped by an error"));
    }
    if let Some(leader) = leader {
        if status.cluster_id != leader.cluster_id {
            found.push(format!("node {id} belongs to cluster {}, not {}", status.cluster_id, leader.cluster_id));
        }
        let behind = leader.committed_index.saturating_sub(status.applied_index);
        if behind > limits::HEALTHY_LAG_ENTRIES_MAX {
            found.push(format!("node {id} is {behind} entries behind"));
        }
    }
    if status.wal_sync_p99_us > limits::HEALTHY_WAL_SYNC_US_MAX {
        let (is_ms, max_ms) = (status.wal_sync_p99_us / 1000, limits::HEALTHY_WAL_SYNC_US_MAX / 1000);
        found.push(format!("node {id} syncs its log in {is_ms} ms (p99); more than {max_ms} ms endangers its leases"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::admin::{Member, Role};

    fn report(id: u64, leader: Option<u64>) -> MemberReport {
        let member = Member { id, role: Role::Voter.into(), ..Default::default() };
        let status =
            NodeStatus { node_id: id, term: 5, leader, applied_index: 90, committed_index: 90, ..Default::default() };
        MemberReport { member: Some(member), status: Some(status), ..Default::default() }
    }

    fn gone(id: u64) -> MemberReport {
        MemberReport { status: None, error: "refused".into(), ..report(id, None) }
    }

    fn judged(reports: Vec<MemberReport>) -> HealthResponse {
        judge(&ClusterStatusResponse { asked_node: 1, reports })
    }

    #[test]
    fn three_of_three_are_healthy() {
        let health = judged(vec![report(1, Some(1)), report(2, Some(1)), report(3, Some(1))]);
        assert_eq!((health.verdict(), health.leader, health.term), (Verdict::Healthy, Some(1), 5));
        assert!(health.reasons.is_empty());
    }

    #[test]
    fn one_down_is_degraded_and_two_are_unhealthy() {
        let health = judged(vec![report(1, Some(1)), report(2, Some(1)), gone(3)]);
        assert_eq!(health.verdict(), Verdict::Degraded);
        assert_eq!(health.reasons, ["node 3 does not answer: refused"]);
        let health = judged(vec![report(1, Some(1)), gone(2), gone(3)]);
        assert_eq!(health.verdict(), Verdict::Unhealthy);
        assert_eq!((health.voters, health.voters_reachable), (3, 1));
    }

    #[test]
    fn a_dead_leader_leads_nobody() {
        let health = judged(vec![gone(1), report(2, Some(1)), report(3, Some(1))]);
        assert_eq!((health.verdict(), health.leader), (Verdict::Unhealthy, None));
        assert!(health.reasons[0].contains("node 1, the last known leader"), "{:?}", health.reasons);
    }

    #[test]
    fn a_former_leader_of_an_older_term_does_not_count() {
        let mut old = report(1, Some(1));
        old.status.as_mut().unwrap().term = 4;
        let health = judged(vec![old, report(2, Some(2)), report(3, Some(2))]);
        assert_eq!((health.leader, health.term), (Some(2), 5));
    }

    #[test]
    fn an_alarm_that_only_one_member_knows_is_heard_once() {
        let mut reports = vec![report(1, Some(1)), report(2, Some(1)), report(3, Some(1))];
        let alarm = Alarm { kind: "NOSPACE".into(), node_id: 3, ..Default::default() };
        for report in &mut reports[1..] {
            report.status.as_mut().unwrap().alarms.push(alarm.clone());
        }
        let health = judged(reports);
        assert_eq!((health.verdict(), health.alarms), (Verdict::Unhealthy, vec![alarm]));
    }

    #[test]
    fn lag_and_slow_disks_need_attention() {
        let mut reports = vec![report(1, Some(1)), report(2, Some(1)), report(3, Some(1))];
        reports[0].status.as_mut().unwrap().committed_index = 90 + limits::HEALTHY_LAG_ENTRIES_MAX + 1;
        reports[0].status.as_mut().unwrap().applied_index = 90 + limits::HEALTHY_LAG_ENTRIES_MAX + 1;
        reports[1].status.as_mut().unwrap().applied_index = 91;
        reports[2].status.as_mut().unwrap().applied_index = 91;
        reports[2].status.as_mut().unwrap().wal_sync_p99_us = 40_000;
        let health = judged(reports);
        assert_eq!(health.verdict(), Verdict::Degraded);
        assert_eq!(health.reasons.len(), 1, "{:?}", health.reasons);
        assert!(health.reasons[0].contains("node 3 syncs its log in 40 ms"));
    }

    #[test]
    fn an_empty_node_is_not_a_cluster() {
        let mut alone = report(1, None);
        alone.member.as_mut().unwrap().role = Role::Unspecified.into();
        let health = judged(vec![alone]);
        assert_eq!(health.verdict(), Verdict::Unhealthy);
        assert_eq!(health.reasons, ["the cluster is not initialized"]);
    }
}
