//! A real etcd as a process, and clients of the etcd v3 API, its or ours.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::lease_client::LeaseClient;
use roost::pb::etcd::api::maintenance_client::MaintenanceClient;
use roost::pb::etcd::api::watch_client::WatchClient;
use roost::pb::etcd::api::{DeleteRangeRequest, PutRequest, RangeRequest};
use roost::pb::etcd::kv::KeyValue;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use super::client::channel;
use super::config::Settings;
use super::ports::Ports;
use super::wait::soon;

/// What a call of a test may take, elections included.
pub const CALL: Duration = Duration::from_secs(20);
/// As large as what the servers may send.
const MESSAGE_BYTES_MAX: usize = 300 << 20;
/// What every message about a missing program ends with.
pub const INSTALL: &str = "install Debian's etcd-server and etcd-client: scripts/test does it, \
    or as root: apt-get install etcd-server etcd-client";

/// Settings of a Roost cluster that serves the etcd API.
pub fn enabled() -> Settings {
    vec![("ROOST_ETCD_ENABLED", "true".to_owned())]
}

/// One etcd with a directory of its own, in memory where there is `/dev/shm`: nobody tests etcd's fsync here.
pub struct RealEtcd {
    child: Option<Child>,
    ports: Ports,
    home: Option<TempDir>,
}

impl RealEtcd {
    pub async fn start() -> Self {
        let (ports, (home, child)) = (Ports::claim(), (None, None));
        let mut etcd = RealEtcd { child, ports, home };
        etcd.start_empty().await;
        etcd
    }

    /// A new etcd without any keys at the old one's address.
    pub async fn start_empty(&mut self) {
        self.kill();
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = tempfile::Builder::new().prefix("roost-it-etcd-").tempdir_in(parent).unwrap();
        let client = format!("http://{}", self.ports.of(1).client);
        let peer = format!("http://{}", self.ports.of(1).peer);
        let mut command = Command::new("etcd");
        command.args(["--name", "real", "--log-level", "error", "--logger", "zap", "--data-dir"]).arg(home.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("real={peer}")]);
        let log = File::create(home.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("`etcd` cannot be started ({error}): {INSTALL}"));
        (self.child, self.home) = (Some(child), Some(home));
        self.client().serves().await;
    }

    /// What it said before it ended by itself; nothing while it runs.
    pub fn last_words(&mut self) -> Option<String> {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        let log = self.home.as_ref().map(|home| home.path().join("log")).unwrap_or_default();
        ended.then(|| fs::read_to_string(log).unwrap_or_default())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already dead is dead.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn endpoint(&self) -> String {
        self.ports.of(1).client
    }

    pub fn client(&self) -> EtcdClient {
        EtcdClient::new(&self.endpoint())
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The services of one server that tests call.
#[derive(Clone)]
pub struct EtcdClient {
    pub kv: KvClient<Channel>,
    pub lease: LeaseClient<Channel>,
    pub watch: WatchClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
}

impl EtcdClient {
    /// Connects when first used.
    pub fn new(address: &str) -> Self {
        let channel = channel(address);
        EtcdClient {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            watch: WatchClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            maintenance: MaintenanceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Waits until the server takes writes; this one changes nothing.
    pub async fn serves(&self) {
        soon("the etcd API takes writes", async || self.delete_prefix("no such key").await.ok()).await;
    }

    pub async fn get(&self, key: &str) -> Result<Option<KeyValue>, Status> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let answer = within(self.kv.clone().range(request)).await?;
        Ok(answer.kvs.into_iter().next())
    }

    /// All keys from `key` on that begin with it, in order.
    pub async fn get_prefix(&self, key: &str) -> Result<Vec<KeyValue>, Status> {
        let request = RangeRequest { key: key.into(), range_end: after_prefix(key), ..RangeRequest::default() };
        Ok(within(self.kv.clone().range(request)).await?.kvs)
    }

    /// The revision of the write.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>, lease: i64) -> Result<i64, Status> {
        let request = PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
        Ok(within(self.kv.clone().put(request)).await?.header.unwrap().revision)
    }

    pub async fn delete_prefix(&self, key: &str) -> Result<i64, Status> {
        let request = DeleteRangeRequest { key: key.into(), range_end: after_prefix(key), ..Default::default() };
        Ok(within(self.kv.clone().delete_range(request)).await?.deleted)
    }
}

/// The least key beyond all that begin with `prefix`, as clients compute it.
pub fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    end
}

/// The answer of a call, or why there is none after [`CALL`].
pub async fn within<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("the test waits no longer than {CALL:?}"))),
    }
}
