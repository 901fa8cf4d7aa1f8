//! Milvus' proxies of a cluster of three whole servers: real Proxy services that write down what they are told.

mod loads;

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response, Status};

use super::etcd::kv;
use super::*;
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::{DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest};
use crate::pb::internal::{GetQuotaMetricsRequest, RateType};
use crate::pb::proxy::proxy_server::{Proxy, ProxyServer};
use crate::pb::proxy::*;
use crate::proxies::ProxyLine;
use crate::quota::report::Report;

#[derive(Default)]
struct Told {
    lines: Mutex<Vec<String>>,
    rates: Mutex<Option<LimiterNode>>,
    /// It answers that it is not ready.
    unready: AtomicBool,
    /// It does not answer.
    hangs: AtomicBool,
    introductions: Mutex<Vec<(String, String)>>,
}

impl Told {
    async fn take<T>(&self, request: &Request<T>, line: String) -> Result<Response<common::Status>, Status> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.unready.load(Ordering::Relaxed) {
            let reason = "service not ready".to_owned();
            return Ok(Response::new(common::Status { code: 1, reason, ..Default::default() }));
        }
        let shown = |key: &str| request.metadata().get(key).unwrap().to_str().unwrap().to_owned();
        self.introductions.lock().push((shown("cluster"), shown("serverid")));
        self.lines.lock().push(line);
        Ok(Response::new(common::Status::default()))
    }

    /// Waits until it was told this.
    async fn hears(&self, line: &str) {
        soon(line, || self.lines.lock().iter().any(|told| told == line)).await;
    }

    fn count(&self, line: &str) -> usize {
        self.lines.lock().iter().filter(|told| *told == line).count()
    }

    fn forget(&self) {
        self.lines.lock().clear();
    }
}

struct FakeProxy(Arc<Told>);

#[tonic::async_trait]
impl Proxy for FakeProxy {
    async fn invalidate_collection_meta_cache(
        &self,
        request: Request<InvalidateCollMetaCacheRequest>,
    ) -> Result<Response<common::Status>, Status> {
        let message = request.get_ref();
        let base = message.base.as_ref().unwrap();
        assert!(base.timestamp > 0);
        let why = base.msg_type().as_str_name();
        let id = if message.collection_id == 0 { "-" } else { "id" };
        let line = format!("{why} {}.{} {id} {}", message.db_name, message.collection_name, message.partition_name);
        self.0.take(&request, line.trim_end().to_owned()).await
    }

    async fn invalidate_credential_cache(
        &self,
        request: Request<InvalidateCredCacheRequest>,
    ) -> Result<Response<common::Status>, Status> {
        self.0.take(&request, format!("user {}", request.get_ref().username)).await
    }

    async fn refresh_policy_info_cache(
        &self,
        request: Request<RefreshPolicyInfoCacheRequest>,
    ) -> Result<Response<common::Status>, Status> {
        self.0.take(&request, format!("policy {}", request.get_ref().op_type)).await
    }

    async fn set_rates(&self, request: Request<SetRatesRequest>) -> Result<Response<common::Status>, Status> {
        let answer = self.0.take(&request, "rates".to_owned()).await;
        *self.0.rates.lock() = request.into_inner().root_limiter;
        answer
    }
}

async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "{what}");
}

/// A proxy that serves, and its address.
async fn serving() -> (Arc<Told>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told = Arc::new(Told::default());
    let service = ProxyServer::new(FakeProxy(told.clone()));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (told, address)
}

fn session(role: &str, id: i64, address: &str) -> String {
    format!(
        r#"{{"ServerID":{id},"ServerName":"{role}","Address":"{address}","Exclusive":false,"TriggerKill":true,
            "Version":"2.6.18","IndexEngineVersion":{{}},"LeaseID":{id},"HostName":"h"}}"#
    )
}

/// Registers as Milvus does: a key with a lease, whose id is the proxy's.
async fn register(node: &Running, id: i64, address: &str) {
    LeaseClient::new(dial(&node.client).await).lease_grant(LeaseGrantRequest { id, ttl: 600 }).await.unwrap();
    put(node, &format!("proxy-{id}"), &session("proxy", id, address), id).await;
}

async fn put(node: &Running, name: &str, value: &str, lease: i64) {
    let key = format!("by-dev/meta/session/{name}");
    let request = PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
    kv(node).await.put(request).await.unwrap();
}

async fn leave(node: &Running, id: i64) {
    LeaseClient::new(dial(&node.client).await).lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
}

async fn proxies(node: &Running) -> Vec<ProxyLine> {
    let answer =
        node.rootcoord().await.get_quota_metrics(GetQuotaMetricsRequest::default()).await.unwrap().into_inner();
    serde_json::from_str::<Report>(&answer.metrics_info).unwrap().proxies
}

/// Waits until exactly these are registered.
async fn until_registered(node: &Running, ids: &[i64]) {
    let waiting = async {
        while proxies(node).await.iter().map(|line| line.id).collect::<Vec<_>>() != ids {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

async fn done(status: impl Future<Output = Result<Response<common::Status>, Status>>) {
    assert_eq!(status.await.unwrap().into_inner(), common::Status::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_forgets_what_changed_while_others_are_dead_or_hang() {
    let nodes = cluster().await;
    let mut client = nodes[2].milvus().await;
    done(client.create_collection(new_collection("c"))).await;
    let (hanging, at) = serving().await;
    hanging.hangs.store(true, Ordering::Relaxed);
    register(&nodes[1], 11, &at).await;
    register(&nodes[1], 12, "127.0.0.1:1").await;
    register(&nodes[1], 13, "no address").await;
    let (told, address) = serving().await;
    register(&nodes[1], 14, &address).await;
    // Whoever registers has everything to forget.
    told.hears("DropDatabase default. -").await;
    told.hears("policy 7").await;
    told.hears("user root").await;
    told.forget();
    let alias =
        |name: &str| CreateAliasRequest { alias: name.into(), collection_name: "c".into(), ..Default::default() };
    done(client.create_alias(alias("a"))).await;
    told.hears("AlterAlias default.a id").await;
    done(client.drop_alias(DropAliasRequest { alias: "a".into(), ..Default::default() })).await;
    told.hears("DropAlias default.a id").await;
    let partition = |name: &str| CreatePartitionRequest {
        collection_name: "c".into(),
        partition_name: name.into(),
        ..Default::default()
    };
    done(client.create_partition(partition("p"))).await;
    told.hears("CreatePartition default.c id p").await;
    let rename = RenameCollectionRequest { old_name: "c".into(), new_name: "d".into(), ..Default::default() };
    done(client.rename_collection(rename)).await;
    told.hears("RenameCollection default.c id").await;
    let drop = DropCollectionRequest { collection_name: "d".into(), ..Default::default() };
    done(client.drop_collection(drop)).await;
    told.hears("DropCollection default.d id").await;
    let user =
        CreateCredentialRequest { username: "alice".into(), password: "cGFzc3dvcmQ=".into(), ..Default::default() };
    done(client.create_credential(user)).await;
    told.hears("user alice").await;
    told.hears("policy 7").await;
    let shown: Vec<_> = told.introductions.lock().clone();
    assert!(shown.iter().all(|(cluster, id)| cluster == "by-dev" && id == "14"), "{shown:?}");
    assert!(!told.lines.lock().iter().any(|line| line.starts_with("CreateCollection") || line == "rates"));
    // The others have theirs to forget still, and the reason is shown.
    until_registered(&nodes[0], &[11, 12, 13, 14]).await;
    let lines = proxies(&nodes[0]).await;
    assert!(lines[2].error.is_some() && lines[2].stale > 0, "{lines:?}");
    assert_eq!((lines[3].stale, lines[3].error.as_deref(), lines[3].version.as_str()), (0, None, "2.6.18"));
    assert_eq!(hanging.lines.lock().len(), 0);
    // It hears all of it as soon as it answers.
    hanging.hangs.store(false, Ordering::Relaxed);
    hanging.hears("DropDatabase default. -").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_has_proxies_forget_by_any_node() {
    let nodes = cluster().await;
    let (told, address) = serving().await;
    register(&nodes[0], 17, &address).await;
    told.hears("policy 7").await;
    for (node, id) in nodes.iter().zip(1_i64..) {
        told.forget();
        let request = |name: &str| InvalidateCollMetaCacheRequest {
            base: Some(common::MsgBase { msg_type: common::MsgType::LoadCollection.into(), ..Default::default() }),
            db_name: "sales".into(),
            collection_name: name.into(),
            collection_id: id,
            partition_name: "p".into(),
        };
        let mut client = node.rootcoord().await;
        done(client.invalidate_collection_meta_cache(request("books"))).await;
        told.hears("LoadCollection sales.books id p").await;
        let refused = client.invalidate_collection_meta_cache(request(&"x".repeat(256))).await.unwrap().into_inner();
        assert_eq!(refused.code, 1102, "{}", refused.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_refuses_is_told_again_until_it_leaves() {
    let nodes = cluster().await;
    let (told, address) = serving().await;
    told.unready.store(true, Ordering::Relaxed);
    register(&nodes[0], 21, &address).await;
    until_registered(&nodes[0], &[21]).await;
    let failing = async || proxies(&nodes[0]).await.iter().any(|line| line.error.is_some());
    while !failing().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    told.unready.store(false, Ordering::Relaxed);
    told.hears("DropDatabase default. -").await;
    told.hears("policy 7").await;
    leave(&nodes[2], 21).await;
    until_registered(&nodes[0], &[]).await;
    told.forget();
    // Another one hears of the next change, this one does not.
    let (next, address) = serving().await;
    register(&nodes[0], 22, &address).await;
    next.hears("policy 7").await;
    let shelf = |db_name: &str| CreateDatabaseRequest { db_name: db_name.into(), ..Default::default() };
    let mut client = nodes[0].milvus().await;
    done(client.create_database(shelf("shelf"))).await;
    done(client.drop_database(DropDatabaseRequest { db_name: "shelf".into(), ..Default::default() })).await;
    next.hears("DropDatabase shelf. -").await;
    assert_eq!(told.lines.lock().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_has_everything_forgotten_also_what_is_gone() {
    let nodes = cluster().await;
    let mut client = nodes[0].milvus().await;
    for name in ["gone", "kept"] {
        done(client.create_database(CreateDatabaseRequest { db_name: name.into(), ..Default::default() })).await;
    }
    let (told, address) = serving().await;
    register(&nodes[0], 31, &address).await;
    told.hears("DropDatabase gone. -").await;
    told.hears("policy 7").await;
    // It hears nothing of this from the leader of the time.
    told.unready.store(true, Ordering::Relaxed);
    let user =
        CreateCredentialRequest { username: "eve".into(), password: "cGFzc3dvcmQ=".into(), ..Default::default() };
    done(client.create_credential(user)).await;
    done(client.delete_credential(DeleteCredentialRequest { username: "eve".into(), ..Default::default() })).await;
    done(client.drop_database(DropDatabaseRequest { db_name: "gone".into(), ..Default::default() })).await;
    told.forget();
    elect(&nodes, 2, 3);
    told.unready.store(false, Ordering::Relaxed);
    for line in ["DropDatabase gone. -", "DropDatabase kept. -", "DropDatabase default. -", "user eve", "policy 7"] {
        told.hears(line).await;
    }
    until_registered(&nodes[1], &[31]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_leased_sessions_of_our_own_proxies_count() {
    let nodes = cluster().await;
    let (told, address) = serving().await;
    register(&nodes[0], 41, &address).await;
    put(&nodes[0], "proxy-42", "garbage", 41).await;
    put(&nodes[0], "proxy-43", &session("proxy", 43, &address), 0).await;
    put(&nodes[0], "querynode-44", &session("querynode", 44, &address), 41).await;
    until_registered(&nodes[0], &[41]).await;
    told.hears("policy 7").await;
    // This cluster's own coordinator may be registered too; another's proxies are left alone.
    put(&nodes[0], "rootcoord", &session("rootcoord", 1, &nodes[1].internal), 41).await;
    until_registered(&nodes[0], &[41]).await;
    put(&nodes[0], "mixcoord", &session("mixcoord", 2, "elsewhere:53100"), 41).await;
    until_registered(&nodes[0], &[]).await;
    let gone = DeleteRangeRequest { key: "by-dev/meta/session/mixcoord".into(), ..Default::default() };
    kv(&nodes[0]).await.delete_range(gone).await.unwrap();
    until_registered(&nodes[0], &[41]).await;
    soon("a proxy that comes back forgets anew", || told.count("policy 7") > 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_share_the_rates_and_learn_of_changes() {
    let yaml = "{enabled: true, collect_interval_ms: 100, dql: {enabled: true, search: {cluster: 100, database: 80}}}";
    let quota = serde_yaml_ng::from_str(yaml).unwrap();
    let nodes = cluster_limited(Some(Guard::open()), Security { bcrypt_cost: 4, ..Security::default() }, quota).await;
    let mut client = nodes[1].milvus().await;
    done(client.create_collection(new_collection("c"))).await;
    let id = client.describe_collection(describe("c")).await.unwrap().into_inner().collection_id;
    let (told, address) = serving().await;
    register(&nodes[0], 51, &address).await;
    let rate = |told: &Told, path: &[i64], kind: RateType| {
        let rates = told.rates.lock();
        let node = path.iter().try_fold(rates.as_ref()?, |node, id| node.children.get(id))?;
        node.limiter.as_ref()?.rates.iter().find(|rate| rate.rt() == kind).map(|rate| rate.r)
    };
    soon("one has all of it", || rate(&told, &[], RateType::DqlSearch) == Some(100.0)).await;
    assert_eq!(rate(&told, &[1], RateType::DqlSearch), Some(80.0));
    assert_eq!(rate(&told, &[1, id], RateType::DdlFlush), Some(0.1));
    assert_eq!(rate(&told, &[1, id], RateType::DmlInsert), Some(f64::MAX));
    let (second, address) = serving().await;
    register(&nodes[0], 52, &address).await;
    soon("two have half each", || {
        [&told, &second].iter().all(|told| rate(told, &[], RateType::DqlSearch) == Some(50.0))
    })
    .await;
    let property = |key: &str, value: &str| KeyValuePair { key: key.into(), value: value.into() };
    let slower = AlterCollectionRequest {
        collection_name: "c".into(),
        properties: vec![property("collection.insertRate.max.mb", "4")],
        ..Default::default()
    };
    done(client.alter_collection(slower)).await;
    soon("a collection's own rate", || rate(&second, &[1, id], RateType::DmlInsert) == Some(2_097_152.0)).await;
    let closed = AlterDatabaseRequest {
        db_name: "default".into(),
        properties: vec![property("database.force.deny.writing", "true")],
        ..Default::default()
    };
    done(client.alter_database(closed)).await;
    soon("a denied database", || rate(&told, &[1], RateType::DmlInsert) == Some(0.0)).await;
    let rates = told.rates.lock().clone().unwrap();
    assert_eq!(rates.children[&1].limiter.as_ref().unwrap().states, [i32::from(QuotaState::DenyToWrite)]);
    done(client.drop_collection(DropCollectionRequest { collection_name: "c".into(), ..Default::default() })).await;
    soon("a dropped collection", || rate(&told, &[1, id], RateType::DdlFlush).is_none()).await;
    assert!(proxies(&nodes[2]).await.iter().all(|line| line.rates_set));
}
