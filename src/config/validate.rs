//! What must hold between the keys. All problems are reported at once: a start that fails on one key after the other
//! wastes an operator's evening.

use std::collections::BTreeSet;

use serde_yaml_ng::Value;
use tracing_subscriber::EnvFilter;

use super::{Config, HostPort, Member, Problem};
use crate::access::password::{BCRYPT_BYTES_MAX, BCRYPT_COST};
use crate::limits::MAX_NAME_BYTES;
use crate::state::PCHANNELS;
use crate::state::limits::{MAX_PCHANNELS, MAX_TOMBSTONES, MAX_WORKER_LABELS};
use crate::streamingcoord::policy::Registry;

/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Longer ones are a mistake, such as a pasted file.
const SECRET_BYTES_MAX: usize = 1024;
/// Faster heartbeats cost more than the fail-over they save.
const HEARTBEAT_MS_MIN: u64 = 10;
/// A cluster that takes longer to notice a dead leader is not one anybody means.
const ELECTION_MS_MAX: u64 = 60_000;
/// A shorter window is extended so often that it loads the log; a longer one is a long wait after a clock step.
const TSO_WINDOW_MS: (u64, u64) = (100, 60_000);
/// A day: beyond this the clock check protects from nothing.
const CLOCK_AHEAD_MS_MAX: u64 = 86_400_000;
/// One command must always fit (the etcd API's 1.5 MiB, and room beside it).
const PROPOSAL_BYTES_MIN: u64 = 4 << 20;
/// Below this a snapshot would be taken every few seconds.
const SNAPSHOT_LOG_BYTES_MIN: u64 = 64 << 10;
/// An entry is bounded in bytes as well, so that more commands would seldom find room.
const BATCH_COMMANDS: (usize, usize) = (1, 4096);
/// RocksDB crawls with less.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// A limit above this bounds nothing: messages and memory end first.
const LIMIT_MAX: u64 = 1 << 28;
/// Oftener is a load of its own, and rates that are older than minutes are none.
const COLLECT_INTERVAL_MS: (u64, u64) = (100, 600_000);
/// Oftener is a load of its own, and a channel that hangs for longer than minutes is an outage.
const BALANCER_MS: (u64, u64) = (50, 600_000);
/// Weights are compared with each other; a larger one is a mistake.
const BALANCER_WEIGHT_MAX: f64 = 1000.0;
/// Oftener finds nothing new; rarer lets them grow.
const SWEEP_INTERVAL_MS: (u64, u64) = (100, 3_600_000);
/// A year; 0 stands for no limit.
const CACHE_MS_MAX: u64 = 365 * 86_400_000;
/// More threads only wait for the same disk.
const WARM_UP_THREADS_MAX: usize = 64;
/// More than any history that is kept on purpose; a larger number is a mistake.
const REVISIONS_MAX: u64 = 1 << 40;
/// No size here is meant to pass a tebibyte; larger is a typing error in the unit.
const SIZE_BYTES_MAX: u64 = 1 << 40;

impl Config {
    /// Everything that is wrong, in the order of the file's sections.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut found = Problems::default();
        self.check_node(&mut found);
        self.check_cluster(&mut found);
        self.check_addresses(&mut found);
        self.check_raft(&mut found);
        self.check_sizes(&mut found);
        self.check_tso(&mut found);
        self.check_cache(&mut found);
        self.check_etcd(&mut found);
        self.check_limits(&mut found);
        self.check_quota(&mut found);
        self.check_streaming(&mut found);
        self.check_broadcast(&mut found);
        self.check_security(&mut found);
        self.check_log(&mut found);
        found.list
    }

    fn check_node(&self, found: &mut Problems) {
        let hint = "must be set to this node's number, 1 or more (or start with --dev)";
        found.check(self.node.id != 0, "node.id", || hint.to_owned());
        found.check(!self.node.data_dir.as_os_str().is_empty(), "node.data_dir", || "must not be empty".to_owned());
    }

    fn check_cluster(&self, found: &mut Problems) {
        match &self.cluster.secret {
            Some(secret) => {
                let length = secret.expose().len();
                found.check((SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&length), "cluster.secret", || {
                    format!("has {length} bytes, expected {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")
                });
            }
            None => {
                let mut open = vec![("listen.peer", self.listen.peer), ("listen.internal", self.listen.internal)];
                if self.etcd.enabled {
                    open.push(("listen.client with etcd.enabled", self.listen.client));
                }
                for (key, address) in open {
                    found.check(address.ip().is_loopback(), "cluster.secret", || {
                        format!("must be set because {key} ({address}) is reachable from other machines")
                    });
                }
            }
        }
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (position, member) in self.cluster.initial_members.iter().enumerate() {
            let key = |name: &str| format!("cluster.initial_members[{position}].{name}");
            found.check(member.id != 0, key("id"), || "must be 1 or more".to_owned());
            found.check(ids.insert(member.id), key("id"), || format!("{} is listed twice", member.id));
            for (name, address) in named(member) {
                found.check(address.dialable(), key(name), || format!("{address} cannot be connected to"));
                found.check(addresses.insert(address.clone()), key(name), || format!("{address} is listed twice"));
            }
        }
    }

    fn check_addresses(&self, found: &mut Problems) {
        let listen = &self.listen;
        let listens = [
            ("listen.client", listen.client),
            ("listen.internal", listen.internal),
            ("listen.peer", listen.peer),
            ("listen.http", listen.http),
        ];
        for (position, (key, address)) in listens.iter().enumerate() {
            let earlier = listens.iter().take(position);
            for (other, taken) in earlier.filter(|(_, taken)| address.port() != 0 && taken.port() == address.port()) {
                let clash = taken.ip() == address.ip() || taken.ip().is_unspecified() || address.ip().is_unspecified();
                found.check(!clash, *key, || format!("{address} is already taken by {other} ({taken})"));
            }
        }
        for (name, address) in named(&self.this_member()) {
            let key = format!("advertise.{name}");
            found.check(address.dialable(), key, || {
                format!("must be set: others cannot connect to {address}, the address of listen.{name}")
            });
        }
    }

    fn check_raft(&self, found: &mut Problems) {
        let raft = &self.raft;
        let (heartbeat, min, max) = (raft.heartbeat_ms, raft.election_min_ms, raft.election_max_ms);
        found.check(heartbeat >= HEARTBEAT_MS_MIN, "raft.heartbeat_ms", || {
            format!("{heartbeat} must be at least {HEARTBEAT_MS_MIN}")
        });
        // One lost heartbeat must not start an election.
        found.check(min > heartbeat.saturating_mul(2), "raft.election_min_ms", || {
            format!("{min} must be more than twice raft.heartbeat_ms ({heartbeat})")
        });
        found.check(max > min, "raft.election_max_ms", || {
            format!("{max} must be more than raft.election_min_ms ({min})")
        });
        found.check(max <= ELECTION_MS_MAX, "raft.election_max_ms", || {
            format!("{max} must be at most {ELECTION_MS_MAX}")
        });
        // A lease and the longest wait after it: before that the others may still be electing.
        let probe = raft.quorum_loss_probe_ms;
        found.check(probe >= max.saturating_mul(2), "raft.quorum_loss_probe_ms", || {
            format!("{probe} must be at least twice raft.election_max_ms ({max})")
        });
        found.check(raft.keep_log_bytes >= raft.snapshot_log_bytes, "raft.keep_log_bytes", || {
            let (keep, snapshot) = (raft.keep_log_bytes, raft.snapshot_log_bytes);
            format!("{keep} must be at least raft.snapshot_log_bytes ({snapshot})")
        });
        let (commands, (least, most)) = (raft.batch_commands_max, BATCH_COMMANDS);
        found.check((least..=most).contains(&commands), "raft.batch_commands_max", || {
            format!("{commands} must be from {least} to {most}")
        });
        let (wait, min) = (raft.batch_wait_max_ms, raft.election_min_ms);
        found.check(wait < min, "raft.batch_wait_max_ms", || {
            format!("{wait} must be less than raft.election_min_ms ({min})")
        });
    }

    fn check_sizes(&self, found: &mut Problems) {
        let (raft, storage) = (&self.raft, &self.storage);
        let sizes = [
            ("raft.snapshot_log_bytes", raft.snapshot_log_bytes, SNAPSHOT_LOG_BYTES_MIN),
            ("raft.keep_log_bytes", raft.keep_log_bytes, SNAPSHOT_LOG_BYTES_MIN),
            ("raft.max_proposal_bytes_in_flight", raft.max_proposal_bytes_in_flight, PROPOSAL_BYTES_MIN),
            ("storage.min_free_bytes", storage.min_free_bytes, 0),
            ("storage.ballast_bytes", storage.ballast_bytes, 0),
            ("storage.block_cache_bytes", storage.block_cache_bytes, MEMORY_BYTES_MIN),
            ("storage.write_buffer_bytes", storage.write_buffer_bytes, MEMORY_BYTES_MIN),
        ];
        for (key, bytes, min) in sizes {
            found.check((min..=SIZE_BYTES_MAX).contains(&bytes), key, || {
                format!("{bytes} must be from {min} to {SIZE_BYTES_MAX} bytes")
            });
        }
    }

    fn check_tso(&self, found: &mut Problems) {
        let (min, max) = TSO_WINDOW_MS;
        let window = self.tso.window_ms;
        found.check((min..=max).contains(&window), "tso.window_ms", || format!("{window} must be from {min} to {max}"));
        let ahead = self.tso.max_clock_ahead_ms;
        found.check((window..=CLOCK_AHEAD_MS_MAX).contains(&ahead), "tso.max_clock_ahead_ms", || {
            format!("{ahead} must be from tso.window_ms ({window}) to {CLOCK_AHEAD_MS_MAX}")
        });
    }

    fn check_cache(&self, found: &mut Problems) {
        let cache = &self.cache;
        let most = || format!("must be at most {SIZE_BYTES_MAX}");
        found.check(cache.capacity_bytes <= SIZE_BYTES_MAX, "cache.capacity_bytes", most);
        let most = || format!("must be at most {CACHE_MS_MAX}");
        found.check(cache.time_to_live_ms <= CACHE_MS_MAX, "cache.time_to_live_ms", most);
        let most = || format!("must be at most {WARM_UP_THREADS_MAX}");
        found.check(cache.warm_up_threads <= WARM_UP_THREADS_MAX, "cache.warm_up_threads", most);
    }

    fn check_etcd(&self, found: &mut Problems) {
        let kept = self.etcd.auto_compaction_revisions;
        found.check(kept <= REVISIONS_MAX, "etcd.auto_compaction_revisions", || {
            format!("{kept} must be at most {REVISIONS_MAX}; 0 for no automatic compaction")
        });
        let root = &self.etcd.root_path;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let sane = root.bytes().all(plain) && (1..=MAX_NAME_BYTES).contains(&root.len());
        let reached = self.etcd.enabled || !self.etcd.publish_coordinators;
        found.check(reached, "etcd.publish_coordinators", || "needs etcd.enabled: nobody could read it".to_owned());
        found.check(sane && !root.ends_with('/'), "etcd.root_path", || {
            format!("`{root}` must be letters, digits and -_./, with no / at its end")
        });
    }

    fn check_limits(&self, found: &mut Problems) {
        // Whatever limits there are: none makes sense at 0 or below, and none was meant to be this large.
        if let Ok(Value::Mapping(limits)) = serde_yaml_ng::to_value(&self.limits) {
            for (name, value) in &limits {
                let holds = value.as_u64().is_some_and(|value| (1..=LIMIT_MAX).contains(&value));
                found.check(holds, format!("limits.{}", name.as_str().unwrap_or_default()), || {
                    let value = value.as_i64().map_or_else(|| "it".to_owned(), |value| value.to_string());
                    format!("{value} must be from 1 to {LIMIT_MAX}")
                });
            }
        }
        let (vectors, fields) = (self.limits.max_vector_fields, self.limits.max_fields);
        found.check(vectors <= fields, "limits.max_vector_fields", || {
            format!("{vectors} must be at most limits.max_fields ({fields})")
        });
    }

    fn check_quota(&self, found: &mut Problems) {
        for (key, rate) in self.quota.rates() {
            found.check(rate.is_valid(), key, || "must be a number of 0 or more, or -1 for no limit".to_owned());
        }
        let (min, max) = COLLECT_INTERVAL_MS;
        let interval = self.quota.collect_interval_ms;
        found.check((min..=max).contains(&interval), "quota.collect_interval_ms", || {
            format!("{interval} must be from {min} to {max}")
        });
        self.check_protections(found);
    }

    fn check_protections(&self, found: &mut Problems) {
        let protections = &self.quota.protections;
        let (memory, growing) = (protections.memory, protections.growing_segments);
        for (levels, low, high) in [
            ("quota.protections.memory.data_node", memory.data_node_low, memory.data_node_high),
            ("quota.protections.memory.query_node", memory.query_node_low, memory.query_node_high),
            ("quota.protections.growing_segments", growing.low, growing.high),
        ] {
            found.check(0.0 <= low && low < high && high <= 1.0, levels, || {
                format!("its levels must be parts of the memory, the low one ({low}) below the high one ({high})")
            });
        }
        for (levels, buffer) in [
            ("quota.protections.deleted_rows", protections.deleted_rows),
            ("quota.protections.deleted_bytes", protections.deleted_bytes),
        ] {
            found.check(buffer.low < buffer.high, levels, || {
                format!("its low level ({}) must be below the high one ({})", buffer.low, buffer.high)
            });
        }
        for (key, part) in [
            ("quota.protections.growing_segments.min_ratio", growing.min_ratio),
            ("quota.factor_change_threshold", self.quota.factor_change_threshold),
        ] {
            found.check((0.0..=1.0).contains(&part), key, || format!("{part} must be from 0 to 1"));
        }
        let delay = protections.time_tick.max_delay_ms;
        found.check(delay > 0, "quota.protections.time_tick.max_delay_ms", || "must not be 0".to_owned());
    }

    fn check_streaming(&self, found: &mut Problems) {
        let streaming = &self.streaming;
        let most = u16::try_from(MAX_PCHANNELS).unwrap_or(u16::MAX);
        found.check((PCHANNELS..=most).contains(&streaming.pchannels), "streaming.pchannels", || {
            format!("{} must be from {PCHANNELS} to {most}", streaming.pchannels)
        });
        let known: Vec<&str> = Registry::default().names().collect();
        found.check(known.contains(&streaming.balancer_policy.as_str()), "streaming.balancer_policy", || {
            format!("`{}` is none of {}", streaming.balancer_policy, known.join(", "))
        });
        let (min, max) = BALANCER_MS;
        for (key, value) in [
            ("streaming.balancer_check_interval_ms", streaming.balancer_check_interval_ms),
            ("streaming.balancer_operation_timeout_ms", streaming.balancer_operation_timeout_ms),
        ] {
            found.check((min..=max).contains(&value), key, || format!("{value} must be from {min} to {max}"));
        }
        for (key, value) in [
            ("streaming.balancer_rebalance_threshold", streaming.balancer_rebalance_threshold),
            ("streaming.balancer_moves_per_s", streaming.balancer_moves_per_s),
        ] {
            found.check(value.is_finite() && value >= 0.0, key, || format!("{value} must be a number of 0 or more"));
        }
        let most = BALANCER_WEIGHT_MAX;
        for (name, weight) in streaming.balancer_weights.named() {
            let key = format!("streaming.balancer_weights.{name}");
            found.check((0.0..=most).contains(&weight), key, || format!("{weight} must be from 0 to {most}"));
        }
        let (labels, most) = (streaming.balancer_preferred_labels.len(), MAX_WORKER_LABELS);
        found.check(labels <= most, "streaming.balancer_preferred_labels", || {
            format!("{labels}, at most {most} may be")
        });
    }

    fn check_broadcast(&self, found: &mut Problems) {
        let broadcast = &self.broadcast;
        let (min, max) = SWEEP_INTERVAL_MS;
        let interval = broadcast.sweep_interval_ms;
        found.check((min..=max).contains(&interval), "broadcast.sweep_interval_ms", || {
            format!("{interval} must be from {min} to {max}")
        });
        let kept = broadcast.tombstone_max_count;
        found.check(kept <= MAX_TOMBSTONES, "broadcast.tombstone_max_count", || {
            format!("{kept} must be at most {MAX_TOMBSTONES}")
        });
    }

    fn check_security(&self, found: &mut Problems) {
        let (min, max) = BCRYPT_COST.into_inner();
        let cost = self.security.bcrypt_cost;
        found.check((min..=max).contains(&cost), "security.bcrypt_cost", || {
            format!("{cost} must be from {min} to {max}")
        });
        let (least, most) = (self.limits.min_password_bytes, self.limits.max_password_bytes);
        found.check(least <= most && most <= BCRYPT_BYTES_MAX, "limits.max_password_bytes", || {
            format!("{most} must be from limits.min_password_bytes ({least}) to {BCRYPT_BYTES_MAX}")
        });
        let password = self.security.default_root_password.expose().len();
        found.check((least..=most).contains(&password), "security.default_root_password", || {
            format!("its length of {password} bytes must be from {least} to {most}")
        });
        let names = self.limits.max_username_bytes;
        found.check(names <= MAX_NAME_BYTES, "limits.max_username_bytes", || {
            format!("{names} must be at most {MAX_NAME_BYTES}")
        });
    }

    fn check_log(&self, found: &mut Problems) {
        let level = &self.log.level;
        let parsed = EnvFilter::builder().parse(level);
        found.check(parsed.is_ok() && !level.is_empty(), "log.level", || {
            format!("`{level}` is not a level (error, warn, info, debug, trace) or a list of tracing directives")
        });
    }
}

fn named(member: &Member) -> [(&'static str, HostPort); 3] {
    [("client", member.client.clone()), ("internal", member.internal.clone()), ("peer", member.peer.clone())]
}

#[derive(Default)]
struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    fn check(&mut self, holds: bool, key: impl Into<String>, reason: impl FnOnce() -> String) {
        if !holds {
            self.list.push(Problem { key: key.into(), reason: reason() });
        }
    }
}
