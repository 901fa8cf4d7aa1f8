//! A session key and what it says: `<root>/meta/session/<role>-<server id>`, JSON as Milvus writes it, under a lease.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::register::Capacity;
use crate::pb::store::{self, WorkerRole};
use crate::state::limits::{MAX_NAME_BYTES, MAX_SESSION_BYTES, MAX_WORKER_LABELS, MAX_WORKER_TEXT_BYTES};

/// What stands between Milvus' root path and the name of a session.
const FOLDER: &str = "/meta/session/";

/// Milvus' names of the roles.
const ROLES: [(WorkerRole, &str); 4] = [
    (WorkerRole::StreamingNode, "streamingnode"),
    (WorkerRole::QueryNode, "querynode"),
    (WorkerRole::DataNode, "datanode"),
    (WorkerRole::Proxy, "proxy"),
];

/// The value of a session key, as far as it is known here. Milvus' processes pass over what they do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionValue {
    #[serde(rename = "ServerID")]
    pub server_id: i64,
    pub server_name: String,
    pub address: String,
    pub exclusive: bool,
    /// The node is on its way out.
    pub stopping: bool,
    pub trigger_kill: bool,
    pub version: String,
    #[serde(rename = "LeaseID")]
    pub lease_id: i64,
    pub host_name: String,
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "BTreeMap::is_empty")]
    pub server_labels: BTreeMap<String, String>,
    /// Roost's own addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
}

/// Go writes a map that was never made as null.
fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The folder of the sessions under a root path, with its `/` at the end.
pub fn folder(root: &str) -> String {
    format!("{root}{FOLDER}")
}

/// Milvus' name of a role; empty for none.
pub fn role_name(role: WorkerRole) -> &'static str {
    ROLES.iter().find(|(known, _)| *known == role).map_or("", |(_, name)| name)
}

/// The role of this name, if it is one.
pub fn role_named(name: &str) -> Option<WorkerRole> {
    ROLES.iter().find(|(_, known)| *known == name).map(|(role, _)| *role)
}

/// Whose session a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'k> {
    /// With its `/` at the end.
    pub folder: &'k str,
    pub role: WorkerRole,
    pub id: i64,
}

/// Whether a key may be a session's, by its bytes alone: for every key that is put or deleted.
pub fn may_be_session(key: &[u8]) -> bool {
    let end = key.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    key.get(..end).is_some_and(|folder| folder.ends_with(FOLDER.as_bytes()))
}

/// Whether a key is anywhere below where sessions are, of whichever root.
pub fn is_below_sessions(key: &[u8]) -> bool {
    key.windows(FOLDER.len()).any(|part| part == FOLDER.as_bytes())
}

impl<'k> Place<'k> {
    pub fn of(key: &'k [u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let (folder, name) = key.split_at(key.rfind('/')? + 1);
        let (role, id) = name.rsplit_once('-')?;
        let role = role_named(role)?;
        let number: i64 = id.parse().ok()?;
        // No `+5` or `05`: one id, one key.
        (number > 0 && number.to_string() == id).then_some(Place { folder, role, id: number })
    }
}

/// The key of a session.
pub(super) fn key(folder: &str, role: WorkerRole, id: i64) -> Vec<u8> {
    format!("{folder}{}-{id}", role_name(role)).into_bytes()
}

impl SessionValue {
    pub fn encode(&self) -> Vec<u8> {
        // Plain data always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What the row of a session key says; `None` for what is no session of that place.
    pub(super) fn of(place: &Place<'_>, row: &store::KeyRow) -> Option<Self> {
        if row.lease == 0 || row.value.len() > MAX_SESSION_BYTES {
            return None;
        }
        let said: SessionValue = serde_json::from_slice(&row.value).ok()?;
        (said.server_id == place.id && said.problem().is_none()).then_some(said)
    }

    /// What is wrong with it, in one sentence.
    pub(super) fn problem(&self) -> Option<String> {
        let long = |what: &str, text: &str, most: usize| {
            (text.len() > most).then(|| format!("the {what} has {} bytes, at most {most} are allowed", text.len()))
        };
        let address = match self.address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => None,
            _ => Some(format!("the address `{}` is not host:port", self.address)),
        };
        let many = self.server_labels.len() > MAX_WORKER_LABELS;
        let labels = || self.server_labels.iter();
        long("address", &self.address, MAX_NAME_BYTES)
            .or(address)
            .or_else(|| long("version", &self.version, MAX_WORKER_TEXT_BYTES))
            .or_else(|| long("host's name", &self.host_name, MAX_NAME_BYTES))
            .or_else(|| many.then(|| format!("it has {} labels of {MAX_WORKER_LABELS}", self.server_labels.len())))
            .or_else(|| labels().find_map(|(key, _)| long("name of a label", key, MAX_NAME_BYTES)))
            .or_else(|| labels().find_map(|(_, value)| long("value of a label", value, MAX_WORKER_TEXT_BYTES)))
    }
}
