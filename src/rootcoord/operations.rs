//! What operators and Milvus' own processes ask a coordinator about itself: its configuration, its machine, the names
//! of its channels.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::error::Rejection;
use crate::failure::Failure;
use crate::gateway::VERSION;
use crate::handler::Asked;
use crate::machine::Machine;
use crate::pb::common::{self, KeyValuePair, MsgType};
use crate::pb::internal::{ChannelTimeTickMsg, ShowConfigurationsRequest, ShowConfigurationsResponse};
use crate::pb::milvus::{GetMetricsRequest, GetMetricsResponse, StringResponse};
use crate::replica::Replica;

/// Milvus' names of channels that its 2.6 no longer writes to: msgChannel.chanNamePrefix with its cluster's prefix.
const TIME_TICK_CHANNEL: &str = "by-dev-rootcoord-timetick";
const STATISTICS_CHANNEL: &str = "by-dev-rootcoord-statistics";
/// The metrics that can be asked for.
const SYSTEM_INFO: &str = "system_info";
/// How Milvus writes times here: Go's form of one.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.6f +0000 UTC";

/// One node's knowledge of itself.
pub struct Operations {
    replica: Arc<dyn Replica>,
    settings: BTreeMap<String, String>,
    machine: Machine,
    started: SystemTime,
}

impl Operations {
    /// `settings`: what this node was told, by name.
    pub fn new(replica: Arc<dyn Replica>, settings: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Operations { replica, settings, machine: Machine::default(), started: SystemTime::now() })
    }

    /// The settings of this node whose name contains the pattern, in whatever case.
    pub async fn configurations(
        &self,
        asked: &Asked<ShowConfigurationsRequest>,
    ) -> Result<ShowConfigurationsResponse, Failure> {
        let pattern = asked.message.pattern.to_lowercase();
        let wanted = self.settings.iter().filter(|(key, _)| key.to_lowercase().contains(&pattern));
        let configuations =
            wanted.map(|(key, value)| KeyValuePair { key: key.clone(), value: value.clone() }).collect();
        Ok(ShowConfigurationsResponse { status: Some(common::Status::default()), configuations })
    }

    /// As RootCoord: this node, and nobody that it is connected to as Milvus' coordinators are to each other.
    pub async fn coordinator_metrics(&self, asked: &Asked<GetMetricsRequest>) -> Result<GetMetricsResponse, Failure> {
        check_metric(&asked.message.request)?;
        let name = self.name("rootcoord");
        let topology = json!({
            "self": self.infos("rootcoord"),
            "connections": { "name": name.clone(), "connected_components": [] },
        });
        Ok(reply(name, &topology))
    }

    /// As a proxy: the system as clients see it. Every node is proxy and coordinator in one.
    pub async fn system_metrics(&self, asked: &Asked<GetMetricsRequest>) -> Result<GetMetricsResponse, Failure> {
        check_metric(&asked.message.request)?;
        let edge = json!({ "connected_identifier": 1, "type": "forward", "target_type": "rootcoord" });
        let topology = json!({
            "nodes_info": [
                { "identifier": 0, "connected": [edge], "infos": self.infos("proxy") },
                { "identifier": 1, "connected": [], "infos": self.infos("rootcoord") },
            ],
        });
        Ok(reply(self.name("proxy"), &topology))
    }

    pub async fn time_tick_channel(&self) -> Result<StringResponse, Failure> {
        Ok(StringResponse { status: Some(common::Status::default()), value: TIME_TICK_CHANNEL.to_owned() })
    }

    pub async fn statistics_channel(&self) -> Result<StringResponse, Failure> {
        Ok(StringResponse { status: Some(common::Status::default()), value: STATISTICS_CHANNEL.to_owned() })
    }

    /// Proxies of before the streaming service told how far they are. None of them can register here.
    pub async fn time_tick(&self, asked: &Asked<ChannelTimeTickMsg>) -> Result<(), Failure> {
        let ChannelTimeTickMsg { base, channel_names, timestamps, .. } = &asked.message;
        let base = base.clone().unwrap_or_default();
        if base.msg_type != i32::from(MsgType::TimeTick) {
            let actual = MsgType::try_from(base.msg_type).unwrap_or(MsgType::Undefined);
            return Err(Rejection::ParameterUnexpected {
                expected: MsgType::TimeTick.as_str_name().to_owned(),
                actual: actual.as_str_name().to_owned(),
                detail: "invalid message type".to_owned(),
            }
            .into());
        }
        let detail = match channel_names.len() == timestamps.len() {
            true => format!("skip ChannelTimeTickMsg from un-recognized session {}", base.source_id),
            false => "invalid TimeTickMsg, timestamp and channelname size mismatch".to_owned(),
        };
        Err(Rejection::Internal { detail }.into())
    }

    fn name(&self, role: &str) -> String {
        format!("{role}{}", self.replica.node_id())
    }

    fn infos(&self, role: &str) -> Value {
        let own = self.replica.node_id();
        let member = self.replica.members().into_iter().find(|member| member.id == own).unwrap_or_default();
        let address = if role == "proxy" { member.client } else { member.internal };
        json!({
            "has_error": false,
            "error_reason": "",
            "name": self.name(role),
            "hardware_infos": {
                "ip": address,
                "cpu_core_count": self.machine.cores(),
                "cpu_core_usage": self.machine.cpu_percent(),
                "memory": self.machine.memory_bytes(),
                "memory_usage": self.machine.used_bytes(),
            },
            "system_info": {
                "system_version": VERSION,
                "deploy_mode": "DISTRIBUTED",
                "build_version": VERSION,
                "build_time": "",
                "used_go_version": "",
            },
            "created_time": time_text(self.started),
            "updated_time": time_text(SystemTime::now()),
            "type": role,
            "id": own,
        })
    }
}

fn reply(component_name: String, topology: &Value) -> GetMetricsResponse {
    GetMetricsResponse { status: Some(common::Status::default()), response: topology.to_string(), component_name }
}

fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default();
    time.format(TIME_FORMAT).to_string()
}

/// Whether the request of a GetMetrics names metrics that there are.
pub fn check_metric(request: &str) -> Result<(), Rejection> {
    let undecodable = |why: &dyn std::fmt::Display| Rejection::invalid(format!("failed to decode the request: {why}"));
    let request: Value = serde_json::from_str(request).map_err(|error| undecodable(&error))?;
    match request.get("metric_type").and_then(Value::as_str) {
        None => Err(undecodable(&"metric_type not found in request")),
        Some(SYSTEM_INFO) => Ok(()),
        Some(metric) => Err(Rejection::MetricNotFound { metric: metric.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_can_be_asked_for() {
        check_metric("{\"metric_type\": \"system_info\"}").unwrap();
        for (request, code, start) in [
            ("", 1100, "failed to decode the request: "),
            ("{}", 1100, "failed to decode the request: metric_type not found in request"),
            ("{\"metric_type\": 7}", 1100, "failed to decode the request: "),
            ("{\"metric_type\": \"moon\"}", 1200, "metric not found[metric=moon]"),
        ] {
            let refusal = check_metric(request).unwrap_err();
            assert_eq!(refusal.code(), code, "{request}");
            assert!(refusal.reason().starts_with(start), "{refusal}");
        }
    }

    #[test]
    fn times_are_written_as_go_writes_them() {
        let time = UNIX_EPOCH + std::time::Duration::from_micros(1_735_660_800_000_001);
        assert_eq!(time_text(time), "2024-12-31 16:00:00.000001 +0000 UTC");
    }
}
