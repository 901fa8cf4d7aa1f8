//! File, environment and flags laid over each other as one YAML tree. Each layer is checked by itself before it is
//! merged, so that an error names the line, the variable or the flag that is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_yaml_ng::{Mapping, Value};

use super::{Args, Config, ConfigError};

/// What the name of every environment variable of ours starts with.
pub(super) const PREFIX: &str = "ROOST_";

/// The first words of the variables that are settings. Others with the prefix (`ROOST_HOME`) belong to the scripts.
const SECTIONS: [&str; 15] = [
    "node",
    "cluster",
    "listen",
    "advertise",
    "raft",
    "storage",
    "tso",
    "cache",
    "etcd",
    "limits",
    "quota",
    "streaming",
    "broadcast",
    "security",
    "log",
];

/// The tree so far.
pub(super) struct Layers {
    tree: Mapping,
}

impl Layers {
    pub(super) fn empty() -> Self {
        Self { tree: Mapping::new() }
    }

    /// What `--dev` starts from. An empty data directory is replaced once the other layers had their say.
    pub(super) fn for_dev() -> Self {
        let mut layers = Self::empty();
        layers.set("node", "id", Value::from(1));
        layers.set("node", "data_dir", Value::from(""));
        layers.set("listen", "client", Value::from("127.0.0.1:19530"));
        layers.set("etcd", "enabled", Value::from(true));
        layers
    }

    pub(super) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let refused =
            |error: serde_yaml_ng::Error| ConfigError::File { path: path.to_owned(), reason: error.to_string() };
        // Parsed twice: as a `Config` for errors with path and line, as a tree to lay the other layers over.
        let tree = match serde_yaml_ng::from_str::<Value>(&text).map_err(refused)? {
            Value::Null => Mapping::new(),
            Value::Mapping(tree) => {
                serde_yaml_ng::from_str::<Config>(&text).map_err(refused)?;
                tree
            }
            _ => {
                let reason = "expected sections such as `node:` and `listen:`".to_owned();
                return Err(ConfigError::File { path: path.to_owned(), reason });
            }
        };
        Ok(Self { tree })
    }

    /// `ROOST_RAFT_HEARTBEAT_MS=50` sets `raft.heartbeat_ms`. Lists are given as YAML: `[{id: 1, ...}]`.
    pub(super) fn overlay_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        for (variable, text) in environment {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            let name = name.to_ascii_lowercase();
            let Some((section, key)) = name.split_once('_') else { continue };
            if SECTIONS.contains(&section) && !is_service_link(key) {
                self.overlay(variable, section, key, text)?;
            }
        }
        Ok(())
    }

    pub(super) fn overlay_flags(&mut self, args: &Args) -> Result<(), ConfigError> {
        let node_id = args.node_id.map(|id| id.to_string());
        let data_dir = args.data_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
        let flags = [
            ("--node-id", "node", "id", &node_id),
            ("--data-dir", "node", "data_dir", &data_dir),
            ("--listen-client", "listen", "client", &args.listen_client),
            ("--listen-internal", "listen", "internal", &args.listen_internal),
            ("--listen-peer", "listen", "peer", &args.listen_peer),
            ("--listen-http", "listen", "http", &args.listen_http),
            ("--log-level", "log", "level", &args.log_level),
        ];
        for (flag, section, key, value) in flags {
            if let Some(text) = value {
                self.overlay(flag, section, key, text)?;
            }
        }
        Ok(())
    }

    pub(super) fn into_config(self) -> Result<Config, ConfigError> {
        serde_yaml_ng::from_value(Value::Mapping(self.tree)).map_err(|error| ConfigError::Override {
            origin: "configuration".to_owned(),
            key: "the whole".to_owned(),
            reason: error.to_string(),
        })
    }

    /// Sets one key from text: as a string where the key takes one, else as the YAML that the text is.
    fn overlay(&mut self, origin: &str, section: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let as_string = Value::from(text);
        let Err(_) = probe(section, key, as_string.clone()) else {
            self.set(section, key, as_string);
            return Ok(());
        };
        // Not a string, or not a valid one. Only scalars and flow lists make sense in a variable.
        let parsed = serde_yaml_ng::from_str::<Value>(text).unwrap_or(as_string);
        match probe(section, key, parsed.clone()) {
            Ok(()) => {
                self.set(section, key, parsed);
                Ok(())
            }
            Err(reason) if reason.contains("unknown field") => Err(ConfigError::UnknownVariable {
                variable: origin.to_owned(),
                key: format!("{section}.{key}"),
                reason,
            }),
            Err(reason) => {
                Err(ConfigError::Override { origin: origin.to_owned(), key: format!("{section}.{key}"), reason })
            }
        }
    }

    fn set(&mut self, section: &str, key: &str, value: Value) {
        let slot = self.tree.entry(Value::from(section)).or_insert_with(|| Value::Mapping(Mapping::new()));
        if !slot.is_mapping() {
            // `raft:` with every key commented out is a null.
            *slot = Value::Mapping(Mapping::new());
        }
        if let Some(mapping) = slot.as_mapping_mut() {
            mapping.insert(Value::from(key), value);
        }
    }
}

/// Kubernetes tells every pod of a service named `roost-cluster` its address as `ROOST_CLUSTER_SERVICE_HOST`,
/// `ROOST_CLUSTER_PORT_19530_TCP` and the like. Those are not settings, and none of ours looks like them.
fn is_service_link(key: &str) -> bool {
    key == "service_host" || key == "port" || key.starts_with("service_port") || key.starts_with("port_")
}

/// Whether a configuration of this one key alone is well-typed; all keys have defaults.
fn probe(section: &str, key: &str, value: Value) -> Result<(), String> {
    let mut alone = Layers::empty();
    alone.set(section, key, value);
    match serde_yaml_ng::from_value::<Config>(Value::Mapping(alone.tree)) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
