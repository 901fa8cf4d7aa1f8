//! Lock and Election through any node of three: whose turn it is, who hears of it, and what is left of who gives up.

use tokio::task::JoinHandle;

use super::etcd::{assert_told, kv};
use super::*;
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::{LeaseGrantRequest, LeaseRevokeRequest, RangeRequest};
use crate::pb::etcd::election::election_client::ElectionClient;
use crate::pb::etcd::election::*;
use crate::pb::etcd::lock::lock_client::LockClient;
use crate::pb::etcd::lock::{LockRequest, UnlockRequest};

/// Longer than anything takes here unless it hangs.
const HANGS: Duration = Duration::from_secs(30);
const NOT_LEADER: &str = "election: not leader";

async fn granted(node: &Running, id: i64, ttl: i64) -> i64 {
    LeaseClient::new(dial(&node.client).await).lease_grant(LeaseGrantRequest { id, ttl }).await.unwrap();
    id
}

async fn revoke(node: &Running, id: i64) {
    LeaseClient::new(dial(&node.client).await).lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
}

/// The keys under a name, the oldest first.
async fn queue(node: &Running, name: &str) -> Vec<String> {
    let (key, range_end) = (format!("{name}/").into(), format!("{name}0").into());
    let request = RangeRequest { key, range_end, sort_target: 2, ..RangeRequest::default() };
    let kvs = kv(node).await.range(request).await.unwrap().into_inner().kvs;
    kvs.into_iter().map(|row| String::from_utf8(row.key).unwrap()).collect()
}

async fn until_queue(node: &Running, name: &str, keys: &[&str]) {
    let waiting = async {
        while queue(node, name).await != keys {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS, waiting).await.unwrap_or_else(|_| panic!("the queue of {name} is not {keys:?}"));
}

/// A call that goes on by itself. The answer is a lock's or a leader's key.
type Turn = JoinHandle<Result<String, tonic::Status>>;

async fn come(turn: Turn) -> Result<String, tonic::Status> {
    tokio::time::timeout(HANGS, turn).await.expect("its turn has come").unwrap()
}

async fn lock_within(node: &Running, name: &str, lease: i64, within: Option<Duration>) -> Turn {
    let mut client = LockClient::new(dial(&node.client).await);
    let mut request = Request::new(LockRequest { name: name.into(), lease });
    if let Some(within) = within {
        request.set_timeout(within);
    }
    tokio::spawn(async move { Ok(String::from_utf8(client.lock(request).await?.into_inner().key).unwrap()) })
}

async fn lock(node: &Running, name: &str, lease: i64) -> Turn {
    lock_within(node, name, lease, None).await
}

async fn unlock(node: &Running, key: &str) {
    LockClient::new(dial(&node.client).await).unlock(UnlockRequest { key: key.into() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_goes_from_one_to_the_next_in_the_order_in_which_they_came() {
    let nodes = cluster().await;
    for lease in [10, 11, 12] {
        granted(&nodes[0], lease, 300).await;
    }
    assert_eq!(come(lock(&nodes[0], "door", 12).await).await.unwrap(), "door/c");
    assert_eq!(come(lock(&nodes[1], "door", 12).await).await.unwrap(), "door/c", "one lease has it once");
    let second = lock(&nodes[1], "door", 11).await;
    until_queue(&nodes[0], "door", &["door/c", "door/b"]).await;
    let third = lock(&nodes[2], "door", 10).await;
    until_queue(&nodes[0], "door", &["door/c", "door/b", "door/a"]).await;
    // Another door is no matter of theirs.
    assert_eq!(come(lock(&nodes[1], "doors", 10).await).await.unwrap(), "doors/a");
    assert!(!second.is_finished() && !third.is_finished());
    unlock(&nodes[2], "door/c").await;
    assert_eq!(come(second).await.unwrap(), "door/b");
    assert!(!third.is_finished(), "there is one before it");
    assert_eq!(queue(&nodes[0], "door").await, ["door/b", "door/a"]);
    unlock(&nodes[0], "door/b").await;
    assert_eq!(come(third).await.unwrap(), "door/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_a_lease_gets_one_and_one_with_a_lease_that_is_none_is_refused() {
    let nodes = cluster().await;
    let key = come(lock(&nodes[1], "door", 0).await).await.unwrap();
    let lease = i64::from_str_radix(key.strip_prefix("door/").unwrap(), 16).unwrap();
    let row = kv(&nodes[0]).await.range(RangeRequest { key: key.into(), ..Default::default() }).await.unwrap();
    assert!(lease != 0 && row.into_inner().kvs[0].lease == lease);
    let refused = come(lock(&nodes[1], "other", 77).await).await;
    assert_told(refused, Code::Unknown, "etcdserver: requested lease not found");
    assert_eq!(queue(&nodes[0], "other").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ends_hands_over_and_takes_its_own_waiter_out() {
    let nodes = cluster().await;
    granted(&nodes[0], 1, 2).await;
    for lease in [2, 3] {
        granted(&nodes[0], lease, 300).await;
    }
    come(lock(&nodes[0], "door", 1).await).await.unwrap();
    let second = lock(&nodes[1], "door", 2).await;
    until_queue(&nodes[0], "door", &["door/1", "door/2"]).await;
    let third = lock(&nodes[2], "door", 3).await;
    until_queue(&nodes[0], "door", &["door/1", "door/2", "door/3"]).await;
    revoke(&nodes[1], 2).await;
    assert_told(come(second).await, Code::Unknown, "mutex: session is expired");
    // Nobody renews the first one's two seconds.
    assert_eq!(come(third).await.unwrap(), "door/3");
    assert_eq!(queue(&nodes[0], "door").await, ["door/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gives_up_leaves_the_queue() {
    let nodes = cluster().await;
    for lease in 1..=4 {
        granted(&nodes[0], lease, 300).await;
    }
    come(lock(&nodes[0], "door", 1).await).await.unwrap();
    let gone = lock(&nodes[1], "door", 2).await;
    until_queue(&nodes[0], "door", &["door/1", "door/2"]).await;
    let hasty = lock_within(&nodes[2], "door", 3, Some(Duration::from_secs(2))).await;
    until_queue(&nodes[0], "door", &["door/1", "door/2", "door/3"]).await;
    let told = come(hasty).await.unwrap_err();
    // On a busy machine its own clock may be first.
    assert!(told.message() == "etcdserver: request timed out" || told.code() == Code::Cancelled, "{told}");
    until_queue(&nodes[0], "door", &["door/1", "door/2"]).await;
    let last = lock(&nodes[2], "door", 4).await;
    until_queue(&nodes[0], "door", &["door/1", "door/2", "door/4"]).await;
    gone.abort();
    until_queue(&nodes[0], "door", &["door/1", "door/4"]).await;
    assert!(!last.is_finished());
    unlock(&nodes[0], "door/1").await;
    assert_eq!(come(last).await.unwrap(), "door/4");
}

async fn election(node: &Running) -> ElectionClient<Channel> {
    ElectionClient::new(dial(&node.client).await)
}

async fn campaign(node: &Running, lease: i64, value: &str) -> JoinHandle<Result<LeaderKey, tonic::Status>> {
    let mut client = election(node).await;
    let request = CampaignRequest { name: "chair".into(), lease, value: value.into() };
    tokio::spawn(async move { Ok(client.campaign(request).await?.into_inner().leader.unwrap()) })
}

async fn elected(turn: JoinHandle<Result<LeaderKey, tonic::Status>>) -> LeaderKey {
    tokio::time::timeout(HANGS, turn).await.expect("it is elected").unwrap().unwrap()
}

async fn proclaim(node: &Running, leader: &LeaderKey, value: &str) -> Result<(), tonic::Status> {
    let request = ProclaimRequest { leader: Some(leader.clone()), value: value.into() };
    election(node).await.proclaim(request).await.map(|_| ())
}

async fn resign(node: &Running, leader: &LeaderKey) {
    election(node).await.resign(ResignRequest { leader: Some(leader.clone()) }).await.unwrap();
}

fn chair() -> LeaderRequest {
    LeaderRequest { name: "chair".into() }
}

async fn leads(node: &Running) -> String {
    let kv = election(node).await.leader(chair()).await.unwrap().into_inner().kv.unwrap();
    format!("{} {}", String::from_utf8(kv.key).unwrap(), String::from_utf8(kv.value).unwrap())
}

async fn observed(stream: &mut tonic::Streaming<LeaderResponse>) -> String {
    let told = tokio::time::timeout(HANGS, stream.message()).await.expect("it is told").unwrap().unwrap();
    let kv = told.kv.unwrap();
    assert!(told.header.unwrap().revision >= kv.mod_revision);
    format!("{} {}", String::from_utf8(kv.key).unwrap(), String::from_utf8(kv.value).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_follow_each_other_and_observers_see_each_of_them() {
    let nodes = cluster().await;
    for lease in 1..=3 {
        granted(&nodes[0], lease, 300).await;
    }
    assert_told(election(&nodes[1]).await.leader(chair()).await, Code::Unknown, "election: no leader");
    // It observes before anybody leads.
    let mut early = election(&nodes[2]).await.observe(chair()).await.unwrap().into_inner();
    let first = elected(campaign(&nodes[0], 1, "one").await).await;
    assert_eq!((first.name.as_slice(), first.key.as_slice(), first.lease), (&b"chair"[..], &b"chair/1"[..], 1));
    assert_eq!(observed(&mut early).await, "chair/1 one");
    let mut late = election(&nodes[1]).await.observe(chair()).await.unwrap().into_inner();
    assert_eq!(observed(&mut late).await, "chair/1 one");

    let second = campaign(&nodes[1], 2, "two").await;
    until_queue(&nodes[0], "chair", &["chair/1", "chair/2"]).await;
    assert_eq!(leads(&nodes[2]).await, "chair/1 one");
    proclaim(&nodes[2], &first, "one again").await.unwrap();
    for observer in [&mut early, &mut late] {
        assert_eq!(observed(observer).await, "chair/1 one again");
    }
    // Who leads and campaigns again is elected at once, with the new value.
    let again = elected(campaign(&nodes[2], 1, "one for all").await).await;
    assert_eq!((again.key.clone(), again.rev), (first.key.clone(), first.rev));
    assert!(!second.is_finished());
    resign(&nodes[0], &first).await;
    let second = elected(second).await;
    assert_eq!(leads(&nodes[0]).await, "chair/2 two");
    for observer in [&mut early, &mut late] {
        assert_eq!(observed(observer).await, "chair/1 one for all");
        assert_eq!(observed(observer).await, "chair/2 two");
    }
    // The old leader is none any more, though its lease lives; and it takes nothing from the new one.
    assert_told(proclaim(&nodes[1], &first, "still me").await, Code::Unknown, NOT_LEADER);
    resign(&nodes[0], &first).await;
    assert_eq!(leads(&nodes[1]).await, "chair/2 two");

    // Leading by its old lease under a new key is another reign.
    let third = campaign(&nodes[0], 1, "three").await;
    until_queue(&nodes[0], "chair", &["chair/2", "chair/1"]).await;
    revoke(&nodes[2], 2).await;
    let third = elected(third).await;
    assert!(third.key == first.key && third.rev > second.rev);
    assert_told(proclaim(&nodes[1], &first, "the old key").await, Code::Unknown, NOT_LEADER);
    assert_told(proclaim(&nodes[1], &second, "no lease").await, Code::Unknown, NOT_LEADER);
    assert_eq!(observed(&mut early).await, "chair/1 three");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_campaigns_no_more_leaves_the_queue() {
    let nodes = cluster().await;
    for lease in 1..=3 {
        granted(&nodes[0], lease, 300).await;
    }
    let first = elected(campaign(&nodes[0], 1, "one").await).await;
    let gone = campaign(&nodes[1], 2, "two").await;
    until_queue(&nodes[0], "chair", &["chair/1", "chair/2"]).await;
    let stays = campaign(&nodes[2], 3, "three").await;
    until_queue(&nodes[0], "chair", &["chair/1", "chair/2", "chair/3"]).await;
    gone.abort();
    until_queue(&nodes[0], "chair", &["chair/1", "chair/3"]).await;
    resign(&nodes[1], &first).await;
    elected(stays).await;
    assert_eq!(leads(&nodes[1]).await, "chair/3 three");
    // A waiter whose lease ends hears that it does not lead.
    let waiter = campaign(&nodes[1], 1, "one").await;
    until_queue(&nodes[0], "chair", &["chair/3", "chair/1"]).await;
    revoke(&nodes[0], 1).await;
    let told = tokio::time::timeout(HANGS, waiter).await.unwrap().unwrap();
    assert_told(told, Code::Unknown, NOT_LEADER);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_must_be_named() {
    let nodes = cluster().await;
    let mut client = election(&nodes[1]).await;
    let missing = "\"leader\" field must be provided";
    assert_told(client.proclaim(ProclaimRequest::default()).await, Code::Unknown, missing);
    assert_told(client.resign(ResignRequest::default()).await, Code::Unknown, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn turns_outlive_the_leader_of_the_cluster() {
    let nodes = cluster().await;
    for lease in 1..=2 {
        granted(&nodes[0], lease, 300).await;
    }
    come(lock(&nodes[1], "door", 1).await).await.unwrap();
    let second = lock(&nodes[2], "door", 2).await;
    until_queue(&nodes[1], "door", &["door/1", "door/2"]).await;
    elect(&nodes, 2, 2);
    assert!(!second.is_finished());
    unlock(&nodes[0], "door/1").await;
    assert_eq!(come(second).await.unwrap(), "door/2");
}
