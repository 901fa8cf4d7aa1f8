//! Layers, defaults and one test for each way to be wrong. The environment is an argument: tests do not touch theirs.

use std::collections::BTreeMap;
use std::fs;

use clap::Parser;
use proptest::prelude::*;

use super::{Args, Config, ConfigError, HostPort, LogFormat};

const MINIMAL: &str = "node: { id: 2 }\nlisten: { client: '127.0.0.1:19540' }\n";

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn load(yaml: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("roost.yaml");
    fs::write(&path, yaml).unwrap();
    let line = ["roostd", "--config", path.to_str().unwrap()];
    let args = Args::try_parse_from(line.iter().chain(flags)).unwrap();
    Config::resolve(&args, &environment(variables))
}

/// The message of a configuration that is refused.
fn refused(yaml: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    load(yaml, variables, flags).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "expected `{part}` in: {message}");
    }
}

/// A minimal file with one more line must be refused with these words.
#[track_caller]
fn assert_refused(line: &str, parts: &[&str]) {
    assert_says(&refused(&format!("{MINIMAL}{line}\n"), &[], &[]), parts);
}

#[test]
fn defaults_fill_what_the_file_leaves_out() {
    let config = load(MINIMAL, &[], &[]).unwrap();
    assert_eq!(config.node.id, 2);
    assert_eq!(config.node.data_dir.to_str(), Some("/var/lib/roost"));
    assert_eq!(config.listen.internal.to_string(), "127.0.0.1:22125");
    assert_eq!((config.raft.heartbeat_ms, config.raft.election_max_ms), (100, 500));
    assert_eq!((config.limits.max_collections, config.limits.max_partitions), (65_536, 1024));
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.cluster.secret.is_none() && !config.dev && !config.internal_needs_secret());
}

#[test]
fn flag_wins_over_environment_which_wins_over_file() {
    let yaml = "node: { id: 1, data_dir: /file }\nlog: { level: warn }\nlisten: { client: '127.0.0.1:1' }\n";
    let variables = [("ROOST_NODE_DATA_DIR", "/env"), ("ROOST_LOG_LEVEL", "debug"), ("ROOST_NODE_ID", "7")];
    let config = load(yaml, &variables, &["--node-id", "9", "--data-dir", "/flag"]).unwrap();
    assert_eq!(config.node.id, 9);
    assert_eq!(config.node.data_dir.to_str(), Some("/flag"));
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.listen.client.port(), 1);
}

#[test]
fn every_kind_of_key_can_come_from_the_environment() {
    let variables = [
        ("ROOST_LISTEN_CLIENT", "127.0.0.1:1234"),
        ("ROOST_RAFT_HEARTBEAT_MS", "50"),
        ("ROOST_LIMITS_MAX_COLLECTIONS", "10"),
        ("ROOST_LOG_FORMAT", "json"),
        // Digits only: still a string where a string is wanted.
        ("ROOST_CLUSTER_SECRET", "12345678901234567890"),
        ("ROOST_CLUSTER_INITIAL_MEMBERS", "[{id: 2, peer: 'a:1', client: 'a:2', internal: 'a:3'}]"),
        ("ROOST_ADVERTISE_PEER", ""),
        // Belongs to the scripts.
        ("ROOST_HOME", "/somewhere"),
        ("ROOST_PORT_OFFSET", "100"),
        // Made by Kubernetes for a service named `roost-cluster`.
        ("ROOST_CLUSTER_SERVICE_HOST", "10.0.0.1"),
        ("ROOST_CLUSTER_PORT_19530_TCP", "tcp://10.0.0.1:19530"),
    ];
    let config = load(MINIMAL, &variables, &[]).unwrap();
    assert_eq!(config.listen.client.port(), 1234);
    assert_eq!(config.raft.heartbeat_ms, 50);
    assert_eq!(config.limits.max_collections, 10);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.cluster.secret.as_ref().unwrap().expose(), "12345678901234567890");
    assert_eq!(config.this_member().peer.as_str(), "a:1");
    assert!(!format!("{config:?}").contains("1234567890"), "a secret must not be printed");
}

#[test]
fn a_section_with_everything_commented_out_means_the_defaults() {
    let config = load(&format!("{MINIMAL}raft:\ntso:\n"), &[("ROOST_TSO_WINDOW_MS", "200")], &[]).unwrap();
    assert_eq!((config.raft.heartbeat_ms, config.tso.window_ms), (100, 200));
}

#[test]
fn this_member_prefers_advertise_then_the_member_list_then_listen() {
    let yaml = format!(
        "{MINIMAL}advertise: {{ client: 'public:7' }}\n\
         cluster: {{ initial_members: [{{id: 2, peer: 'n:1', client: 'n:2', internal: 'n:3'}}] }}\n"
    );
    let member = load(&yaml, &[], &[]).unwrap().this_member();
    assert_eq!((member.client.as_str(), member.peer.as_str()), ("public:7", "n:1"));
    let member = load(MINIMAL, &[], &[]).unwrap().this_member();
    assert_eq!((member.client.as_str(), member.internal.as_str()), ("127.0.0.1:19540", "127.0.0.1:22125"));
}

#[test]
fn dev_is_one_complete_node_on_loopback() {
    let config = Config::dev(None).unwrap();
    assert!(config.dev && config.ephemeral && config.node.id == 1);
    assert!(config.etcd.enabled && !config.etcd_needs_secret(), "open, because it is on loopback");
    assert_eq!(config.listen.client.to_string(), "127.0.0.1:19530");
    assert_eq!(config.cluster.initial_members, [config.this_member()]);
    assert_ne!(config.cluster.secret, Config::dev(None).unwrap().cluster.secret);
    assert_ne!(config.node.data_dir, Config::dev(None).unwrap().node.data_dir);
    let kept = Config::dev(Some("/somewhere".into())).unwrap();
    assert!(!kept.ephemeral && kept.node.data_dir.to_str() == Some("/somewhere"));
}

#[test]
fn dev_obeys_flags_and_advertises_loopback_for_a_wildcard() {
    let args = Args::try_parse_from(["roostd", "--dev", "--listen-client", "0.0.0.0:5", "--listen-peer", "0.0.0.0:6"]);
    let config = Config::resolve(&args.unwrap(), &environment(&[("ROOST_LISTEN_HTTP", "127.0.0.1:8")])).unwrap();
    assert_eq!((config.listen.client.port(), config.listen.http.port()), (5, 8));
    assert_eq!(config.cluster.initial_members[0].client.as_str(), "127.0.0.1:5");
    assert_eq!(config.cluster.initial_members[0].peer.as_str(), "127.0.0.1:6");
}

#[test]
fn dev_and_config_exclude_each_other() {
    let error = Args::try_parse_from(["roostd", "--dev", "--config", "x"]).unwrap_err().to_string();
    assert_says(&error, &["--dev", "cannot be used with", "--config"]);
}

#[test]
fn an_unreadable_file_is_named() {
    let args = Args { config: Some("/nonexistent/roost.yaml".into()), ..Args::default() };
    let message = Config::resolve(&args, &BTreeMap::new()).unwrap_err().to_string();
    assert_says(&message, &["/nonexistent/roost.yaml", "cannot read"]);
}

#[test]
fn a_wrong_file_names_key_and_line() {
    assert_refused("raft: { hartbeat_ms: 5 }", &["raft: unknown field `hartbeat_ms`", "`heartbeat_ms`", "line 3"]);
    assert_refused("rfat: {}", &["unknown field `rfat`", "`raft`"]);
    assert_refused("raft: { heartbeat_ms: often }", &["raft.heartbeat_ms: invalid type", "expected u64", "line 3"]);
    assert_refused("raft: { heartbeat_ms: -1 }", &["raft.heartbeat_ms: invalid type", "`-1`"]);
    assert_refused("log: { format: xml }", &["log.format: unknown variant `xml`", "`text`", "`json`"]);
    assert_refused("tso: [1]", &["tso: invalid type: sequence"]);
    let member = "cluster: { initial_members: [{id: 1, peer: 'a:1', client: 'a:2'}] }";
    assert_refused(member, &["cluster.initial_members[0]", "missing field `internal`"]);
    assert_refused("advertise: { peer: 'a:b:c' }", &["advertise.peer: `a:b:c` is not host:port"]);
    assert_refused("node: { id: 1 }", &["duplicate entry with key \"node\""]);
    assert_says(&refused("- 1", &[], &[]), &["expected sections"]);
    let listen = "node: { id: 1 }\nlisten: { http: localhost }\n";
    assert_says(&refused(listen, &[], &[]), &["listen.http: `localhost` is not IP:port"]);
}

#[test]
fn a_wrong_variable_or_flag_is_named_with_the_key_it_sets() {
    let of = |name, value| refused(MINIMAL, &[(name, value)], &[]);
    let unknown = of("ROOST_RAFT_HARTBEAT_MS", "5");
    assert_says(&unknown, &["ROOST_RAFT_HARTBEAT_MS", "raft.hartbeat_ms", "`heartbeat_ms`"]);
    assert_says(&of("ROOST_RAFT_HEARTBEAT_MS", "often"), &["ROOST_RAFT_HEARTBEAT_MS", "u64", "raft.heartbeat_ms"]);
    assert_says(&of("ROOST_LISTEN_PEER", "9"), &["ROOST_LISTEN_PEER", "listen.peer"]);
    let flag = refused(MINIMAL, &[], &["--listen-http", "nowhere"]);
    assert_says(&flag, &["--listen-http", "`nowhere` is not IP:port", "listen.http"]);
}

#[test]
fn identity_must_be_given() {
    assert_says(&refused("", &[], &[]), &["node.id: must be set"]);
    assert_says(&refused(MINIMAL, &[("ROOST_NODE_DATA_DIR", "")], &[]), &["node.data_dir: must not be empty"]);
}

#[test]
fn a_secret_is_required_beyond_loopback_and_has_a_length() {
    let peer = refused(MINIMAL, &[], &["--listen-peer", "10.0.0.1:1"]);
    assert_says(&peer, &["cluster.secret: must be set because listen.peer (10.0.0.1:1)"]);
    let internal = refused(MINIMAL, &[("ROOST_ADVERTISE_INTERNAL", "n:1")], &["--listen-internal", "0.0.0.0:1"]);
    assert_says(&internal, &["cluster.secret: must be set because listen.internal (0.0.0.0:1)"]);
    let etcd = refused("node: { id: 2 }\nlisten: { client: '0.0.0.0:1' }\netcd: { enabled: true }\n", &[], &[]);
    assert_says(&etcd, &["cluster.secret: must be set because listen.client with etcd.enabled (0.0.0.0:1)"]);
    assert_refused("etcd: { auto_compaction_revisions: 2000000000000 }", &["etcd.auto_compaction_revisions"]);
    assert_refused("cluster: { secret: short }", &["cluster.secret: has 5 bytes, expected 16 to 1024"]);
}

#[test]
fn members_are_unique_and_dialable() {
    let members = |list: &str| refused(&format!("{MINIMAL}cluster: {{ initial_members: [{list}] }}\n"), &[], &[]);
    let first = "{id: 2, peer: 'a:1', client: 'a:2', internal: 'a:3'}";
    let twice = members(&format!("{first}, {{id: 2, peer: 'b:1', client: 'b:2', internal: 'b:3'}}"));
    assert_says(&twice, &["cluster.initial_members[1].id: 2 is listed twice"]);
    let shared = members(&format!("{first}, {{id: 3, peer: 'b:1', client: 'b:2', internal: 'a:1'}}"));
    assert_says(&shared, &["cluster.initial_members[1].internal: a:1 is listed twice"]);
    let zero = members("{id: 0, peer: '0.0.0.0:1', client: 'a:0', internal: 'a:3'}");
    let wildcard = "cluster.initial_members[0].peer: 0.0.0.0:1 cannot be connected to";
    assert_says(&zero, &["cluster.initial_members[0].id: must be 1 or more", wildcard, "client: a:0 cannot be"]);
}

#[test]
fn addresses_do_not_clash_and_can_be_advertised() {
    let clash = refused(MINIMAL, &[], &["--listen-http", "127.0.0.1:19540"]);
    assert_says(&clash, &["listen.http: 127.0.0.1:19540 is already taken by listen.client (127.0.0.1:19540)"]);
    let wildcard = refused("node: { id: 1 }", &[], &[]);
    assert_says(&wildcard, &["advertise.client: must be set", "0.0.0.0:19530"]);
}

#[test]
fn raft_timers_are_checked_together() {
    assert_refused("raft: { heartbeat_ms: 1 }", &["raft.heartbeat_ms: 1 must be at least 10"]);
    let election = "raft.election_min_ms: 50 must be more than twice raft.heartbeat_ms (100)";
    assert_refused("raft: { election_min_ms: 50 }", &[election]);
    let order = "raft.election_max_ms: 300 must be more than raft.election_min_ms (300)";
    assert_refused("raft: { election_max_ms: 300 }", &[order]);
    assert_refused("raft: { election_max_ms: 100000 }", &["raft.election_max_ms: 100000 must be at most 60000"]);
    let probe = "raft.quorum_loss_probe_ms: 999 must be at least twice raft.election_max_ms (500)";
    assert_refused("raft: { quorum_loss_probe_ms: 999 }", &[probe]);
}

#[test]
fn sizes_windows_limits_and_levels_are_sane() {
    let keep = "raft.keep_log_bytes: 100000 must be at least raft.snapshot_log_bytes (268435456)";
    assert_refused("raft: { keep_log_bytes: 100000 }", &[keep]);
    assert_refused("raft: { snapshot_log_bytes: 5 }", &["raft.snapshot_log_bytes: 5 must be from 65536"]);
    let flight = "raft: { max_proposal_bytes_in_flight: 1000 }";
    assert_refused(flight, &["raft.max_proposal_bytes_in_flight: 1000 must be from 4194304"]);
    assert_refused("raft: { batch_commands_max: 0 }", &["raft.batch_commands_max: 0 must be from 1 to 4096"]);
    let wait = "raft.batch_wait_max_ms: 300 must be less than raft.election_min_ms (300)";
    assert_refused("raft: { batch_wait_max_ms: 300 }", &[wait]);
    assert_refused("storage: { block_cache_bytes: 0 }", &["storage.block_cache_bytes: 0 must be from 1048576"]);
    assert_refused("storage: { ballast_bytes: 9999999999999 }", &["storage.ballast_bytes: 9999999999999"]);
    assert_refused("tso: { window_ms: 99 }", &["tso.window_ms: 99 must be from 100 to 60000"]);
    assert_refused("tso: { max_clock_ahead_ms: 1 }", &["tso.max_clock_ahead_ms: 1 must be from tso.window_ms (3000)"]);
    assert_refused("etcd: { publish_coordinators: true }", &["etcd.publish_coordinators: needs etcd.enabled"]);
    assert_refused("etcd: { root_path: 'a/' }", &["etcd.root_path: `a/` must be letters"]);
    assert_refused("limits: { max_fields: 0 }", &["limits.max_fields: 0 must be from 1 to 268435456"]);
    assert_refused("limits: { max_dimension: -1 }", &["limits.max_dimension: -1 must be from 1"]);
    assert_refused("limits: { max_vector_fields: 65 }", &["limits.max_vector_fields: 65 must be at most"]);
    assert_refused("quota: { index: { database: .nan } }", &["quota.index.database: must be a number of 0 or more"]);
    assert_refused("quota: { collect_interval_ms: 1 }", &["quota.collect_interval_ms: 1 must be from 100"]);
    assert_refused("quota: { flush: { partition: 1 } }", &["unknown field `partition`"]);
    assert_refused("broadcast: { sweep_interval_ms: 1 }", &["broadcast.sweep_interval_ms: 1 must be from 100"]);
    let kept = "broadcast: { tombstone_max_count: 70000 }";
    assert_refused(kept, &["broadcast.tombstone_max_count: 70000 must be at most 65536"]);
    assert_refused("log: { level: 'roost=loud' }", &["log.level: `roost=loud` is not a level"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let message = refused(&format!("{MINIMAL}raft: {{ heartbeat_ms: 1 }}\ntso: {{ window_ms: 1 }}\n"), &[], &[]);
    assert_says(&message, &["invalid configuration:\n", "\n  raft.heartbeat_ms", "\n  tso.window_ms"]);
}

#[test]
fn host_and_port_as_people_write_them() {
    for good in ["a:1", "127.0.0.1:65535", "[::1]:1", "node-1.zone_a.example:23125"] {
        let parsed: HostPort = good.parse().unwrap();
        assert!(parsed.dialable(), "{good}");
        assert_eq!(parsed.to_string(), good);
    }
    for bad in ["", "a", ":1", "a:", "a:65536", "::1:1", "[a]:1", "a b:1", "http://a:1"] {
        assert!(bad.parse::<HostPort>().is_err(), "{bad}");
    }
    assert!(!"[::]:1".parse::<HostPort>().unwrap().dialable());
    assert_eq!("h:23125".parse::<HostPort>().unwrap().port(), 23125);
}

#[test]
fn the_readme_lists_every_key() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for section in ["node", "cluster", "listen", "raft", "storage", "tso", "quota", "broadcast", "log"] {
        // The error of an unknown key names the known ones in backticks.
        let message = refused(&format!("{section}: {{ nonsense: 1 }}"), &[], &[]);
        let keys: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        assert!(keys.len() > 1, "{message}");
        for key in keys {
            assert!(readme.contains(&format!("`{section}.{key}`")), "README.md lacks {section}.{key}");
        }
    }
}

const EVERYTHING: &str = "node: { id: 2, data_dir: /data }\n\
    listen: { client: '127.0.0.1:1', internal: '127.0.0.1:2', peer: '127.0.0.1:3', http: '[::1]:4' }\n\
    cluster:\n  secret: 0123456789abcdef\n  initial_members:\n\
    \x20 - { id: 2, peer: 'a:1', client: 'b:2', internal: 'c:3' }\n\
    raft: { heartbeat_ms: 100, election_min_ms: 300, snapshot_log_bytes: 1048576 }\n\
    storage: { ballast_bytes: 0 }\ntso: { window_ms: 3000 }\netcd: { enabled: true }\n\
    limits: { max_collections: 10 }\nlog: { level: 'info,h2=warn', format: json }\n";

proptest! {
    /// Whatever a file or a variable says, it is taken or refused.
    #[test]
    fn damaged_configuration_is_refused_or_taken(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4usize, any::<char>()), 0..6),
        variable in "(ROOST_(NODE|RAFT|LISTEN|CLUSTER|LIMITS|LOG)_[A-Z_]{1,12})",
        value in ".{0,20}",
    ) {
        let mut text: Vec<char> = EVERYTHING.chars().collect();
        for (place, removed, inserted) in edits {
            let at = place.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, [inserted]);
        }
        let text: String = text.into_iter().collect();
        let _ = load(&text, &[], &[]);
        let _ = load(EVERYTHING, &[(&variable, &value)], &[]);
    }
}

#[test]
fn the_configuration_that_is_damaged_is_a_good_one() {
    load(EVERYTHING, &[], &[]).unwrap();
}
