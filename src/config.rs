//! What a node is told: one YAML file, overridden key by key by `ROOST_<SECTION>_<KEY>` and then by flags, and
//! validated as a whole before anything is opened. A key nobody knows is an error, in the file and in the environment,
//! because a misspelt setting that is silently ignored is found in an outage.

mod address;
mod args;
mod broadcast;
mod error;
mod layers;
mod milvus_quota;
mod quota;
mod sections;
mod shown;
mod streaming;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use address::HostPort;
pub use args::Args;
pub use broadcast::Broadcast;
pub use error::{ConfigError, Problem};
pub use quota::{BufferProtection, CallRates, DataRates, Protections, Quota, Rate};
pub use sections::{
    Advertise, Cache, Cluster, Etcd, Listen, Log, LogFormat, Member, Node, Raft, Secret, Security, Storage, Tso,
};
pub use streaming::Streaming;

use crate::limits::Limits;
use layers::Layers;

/// Everything that is configured. Validated: a `Config` from [`Config::load`] or [`Config::dev`] is usable as it is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node's number and disk.
    #[serde(deserialize_with = "sections::or_default")]
    pub node: Node,
    /// What the nodes of one cluster share.
    #[serde(deserialize_with = "sections::or_default")]
    pub cluster: Cluster,
    /// Where this node listens.
    #[serde(deserialize_with = "sections::or_default")]
    pub listen: Listen,
    /// Where others reach this node; see [`Config::this_member`].
    #[serde(deserialize_with = "sections::or_default")]
    pub advertise: Advertise,
    /// Consensus: timers and log sizes.
    #[serde(deserialize_with = "sections::or_default")]
    pub raft: Raft,
    /// Disk and memory.
    #[serde(deserialize_with = "sections::or_default")]
    pub storage: Storage,
    /// The timestamp oracle.
    #[serde(deserialize_with = "sections::or_default")]
    pub tso: Tso,
    /// Descriptions of collections in memory.
    #[serde(deserialize_with = "sections::or_default")]
    pub cache: Cache,
    /// The etcd v3 API.
    #[serde(deserialize_with = "sections::or_default")]
    pub etcd: Etcd,
    /// What users may create; Milvus' defaults.
    #[serde(deserialize_with = "sections::or_default")]
    pub limits: Limits,
    /// How much clients may ask for.
    #[serde(deserialize_with = "sections::or_default")]
    pub quota: Quota,
    /// Streaming nodes and their channels.
    #[serde(deserialize_with = "sections::or_default")]
    pub streaming: Streaming,
    /// Messages for several virtual channels.
    #[serde(deserialize_with = "sections::or_default")]
    pub broadcast: Broadcast,
    /// Users, roles and grants.
    #[serde(deserialize_with = "sections::or_default")]
    pub security: Security,
    /// Logging.
    #[serde(deserialize_with = "sections::or_default")]
    pub log: Log,
    /// Started by `--dev`: one node, no file.
    #[serde(skip)]
    pub dev: bool,
    /// The data directory was made up for this run of `--dev` and may be removed when it ends.
    #[serde(skip)]
    pub ephemeral: bool,
}

impl Config {
    /// The configuration that these flags, the process' environment and the named file give.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(layers::PREFIX))
            .collect();
        Self::resolve(args, &environment)
    }

    /// One node on loopback with the default ports; its data in `data_dir`, or in a new temporary directory.
    pub fn dev(data_dir: Option<PathBuf>) -> Result<Self, ConfigError> {
        Self::resolve(&Args { dev: true, data_dir, ..Args::default() }, &BTreeMap::new())
    }

    /// [`Config::load`] with the environment as an argument, so that tests need not touch the process' own.
    pub fn resolve(args: &Args, environment: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut layers = match (&args.config, args.dev) {
            (Some(path), _) => Layers::from_file(path)?,
            (None, true) => Layers::for_dev(),
            (None, false) => Layers::empty(),
        };
        layers.overlay_environment(environment)?;
        layers.overlay_flags(args)?;
        let mut config = layers.into_config()?;
        if args.dev {
            config.complete_dev();
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { problems }) }
    }

    /// How the other nodes and the clients reach this node: `advertise`, else its own entry in
    /// `cluster.initial_members`, else the listen addresses.
    pub fn this_member(&self) -> Member {
        let listed = self.cluster.initial_members.iter().find(|member| member.id == self.node.id);
        let pick = |advertised: &Option<HostPort>, listed: Option<&HostPort>, listen| {
            advertised.clone().or_else(|| listed.cloned()).unwrap_or_else(|| HostPort::from(listen))
        };
        Member {
            id: self.node.id,
            peer: pick(&self.advertise.peer, listed.map(|m| &m.peer), self.listen.peer),
            client: pick(&self.advertise.client, listed.map(|m| &m.client), self.listen.client),
            internal: pick(&self.advertise.internal, listed.map(|m| &m.internal), self.listen.internal),
        }
    }

    /// The internal listener has no authentication of Milvus' own: beyond loopback every caller must show the secret.
    pub fn internal_needs_secret(&self) -> bool {
        !self.listen.internal.ip().is_loopback()
    }

    /// As for the internal listener: the etcd API has no other authentication here.
    pub fn etcd_needs_secret(&self) -> bool {
        self.etcd.enabled && !self.listen.client.ip().is_loopback()
    }

    /// What `--dev` decides by itself, where neither a flag nor the environment did.
    fn complete_dev(&mut self) {
        self.dev = true;
        if self.node.data_dir.as_os_str().is_empty() {
            let name = format!("roost-dev-{:016x}", rand::random::<u64>());
            self.node.data_dir = std::env::temp_dir().join(name);
            self.ephemeral = true;
        }
        if self.cluster.secret.is_none() {
            self.cluster.secret = Some(Secret::new(format!("{:032x}", rand::random::<u128>())));
        }
        // A wildcard listen address cannot be dialled; on one machine loopback can.
        let dialled =
            |listen: std::net::SocketAddr| listen.ip().is_unspecified().then(|| HostPort::loopback(listen.port()));
        let Listen { client, internal, peer, .. } = self.listen;
        self.advertise.client = self.advertise.client.take().or_else(|| dialled(client));
        self.advertise.internal = self.advertise.internal.take().or_else(|| dialled(internal));
        self.advertise.peer = self.advertise.peer.take().or_else(|| dialled(peer));
        if self.cluster.initial_members.is_empty() {
            self.cluster.initial_members.push(self.this_member());
        }
    }
}

#[cfg(test)]
mod tests;
