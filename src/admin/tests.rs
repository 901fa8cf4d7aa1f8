//! The API over a real connection, on a node made of memory.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use roost_raft::apply::StateHash;
use roost_raft::kv::{MemTables, Space, Txn};
use roost_raft::snapshot::{SnapshotHeader, write_snapshot};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};

use super::*;
use crate::pb::admin::admin_client::AdminClient;
use crate::pb::admin::snapshot_save_chunk::Part;
use crate::pb::admin::*;

/// A node whose membership changes as asked and whose learners catch up at once.
pub struct MemoryNode {
    status: Mutex<NodeStatus>,
    snapshot: Vec<u8>,
}

pub fn address(id: u64) -> Address {
    Address { peer: format!("h:{id}1"), client: format!("h:{id}2"), internal: format!("127.0.0.1:{id}") }
}

impl MemoryNode {
    /// Node 1 leads voters 1, 2 and 3 in term 5, with 30 entries of which the first 10 are gone.
    pub fn leading() -> Arc<Self> {
        let members = (1..=3).map(|id| member(id, Role::Voter)).collect();
        let alarm = Alarm { kind: "NOSPACE".into(), node_id: 2, ..Default::default() };
        let status = NodeStatus {
            node_id: 1,
            cluster_id: "c".into(),
            state: NodeState::Leader.into(),
            term: 5,
            leader: Some(1),
            first_log_index: 11,
            last_log_index: 30,
            committed_index: 30,
            applied_index: 30,
            state_hash_index: 30,
            state_hash: vec![7; 32],
            members,
            alarms: vec![alarm],
            ..Default::default()
        };
        let snapshot = snapshot_bytes();
        Arc::new(MemoryNode { status: Mutex::new(status), snapshot })
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut NodeStatus) -> T) -> T {
        change(&mut self.status.lock())
    }

    fn reconfigure(&self, change: impl FnOnce(&mut Vec<Member>)) -> Result<u64, Error> {
        self.change(|status| {
            change(&mut status.members);
            status.last_log_index += 1;
            status.committed_index += 1;
            Ok(status.committed_index)
        })
    }
}

/// A snapshot file of 2500 rows of a kilobyte.
fn snapshot_bytes() -> Vec<u8> {
    let tables = MemTables::default();
    let mut txn = Txn::new(&tables);
    let mut hash = StateHash::default();
    for row in 0..2500u32 {
        let (key, value) = (row.to_be_bytes(), [row as u8; 1000]);
        txn.put(Space::STATE, key, value);
        hash.add(Space::STATE, &key, &value);
    }
    let header =
        SnapshotHeader { cluster_id: None, node_id: 1, last_log_id: None, membership: Default::default(), hash };
    let mut bytes = Vec::new();
    write_snapshot(&txn, &header, &mut bytes).unwrap();
    bytes
}

fn member(id: u64, role: Role) -> Member {
    Member { id, role: role.into(), address: Some(address(id)), lag_entries: Some(0), ..Default::default() }
}

fn set_role(members: &mut [Member], id: u64, role: Role) {
    members.iter_mut().filter(|member| member.id == id).for_each(|member| member.role = role.into());
}

#[tonic::async_trait]
impl Node for MemoryNode {
    fn status(&self) -> Result<NodeStatus, Error> {
        Ok(self.status.lock().clone())
    }

    fn stored_bytes(&self) -> u64 {
        4096
    }

    fn recent_hashes(&self) -> Vec<HashPoint> {
        Vec::new()
    }

    async fn initialize(&self, voters: Vec<(u64, Address)>) -> Result<String, Error> {
        let members = voters.into_iter().map(|(id, _)| member(id, Role::Voter)).collect();
        self.change(|status| status.members = members);
        Ok("c".into())
    }

    async fn add_learner(&self, id: u64, address: Address) -> Result<u64, Error> {
        let learner = Member { address: Some(address), ..member(id, Role::Learner) };
        self.reconfigure(|members| members.push(learner))
    }

    async fn promote(&self, id: u64) -> Result<u64, Error> {
        self.reconfigure(|members| set_role(members, id, Role::Voter))
    }

    async fn swap(&self, old: u64, new: u64) -> Result<u64, Error> {
        self.reconfigure(|members| {
            set_role(members, old, Role::Learner);
            set_role(members, new, Role::Voter);
        })
    }

    async fn remove(&self, id: u64) -> Result<u64, Error> {
        self.reconfigure(|members| members.retain(|member| member.id != id))
    }

    async fn start_transfer(&self, to: Option<u64>) -> Result<(), Error> {
        self.change(|status| {
            status.leader = Some(to.unwrap_or(2));
            status.term += 1;
            Ok(())
        })
    }

    async fn pin_snapshot(&self) -> Result<SnapshotSource, Error> {
        let data = self.snapshot.clone();
        let begin = SnapshotBegin { node_id: 1, index: 30, ..Default::default() };
        Ok(SnapshotSource { begin, write: Box::new(move |out: &mut dyn io::Write| out.write_all(&data)) })
    }

    async fn build_snapshot(&self) -> Result<u64, Error> {
        Ok(self.change(|status| status.applied_index))
    }

    async fn timestamp(&self, _: Instant) -> Result<u64, Error> {
        Ok(42 << 18)
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, Error> {
        let committed = self.status()?.committed_index;
        let entry = |index| LogEntry { index, term: 5, kind: "command".into(), text: format!("entry {index}") };
        Ok((from..=committed).take(limit.min(7)).map(entry).collect())
    }

    async fn disarm(&self, alarms: &[Alarm]) -> Result<(), Error> {
        self.change(|status| status.alarms.retain(|alarm| !alarms.contains(alarm)));
        Ok(())
    }
}

/// Nobody else answers.
struct Alone;

#[tonic::async_trait]
impl AskMember for Alone {
    async fn status(&self, _: &str) -> Result<NodeStatus, String> {
        Err("refused".into())
    }
}

/// Serves `node` on loopback and returns its address.
pub async fn serve(node: Arc<dyn Node>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = AdminService::new(node, Arc::new(Alone)).into_server();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

async fn client(node: Arc<MemoryNode>) -> AdminClient<Channel> {
    let address = serve(node).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    AdminClient::new(channel)
}

fn reason(status: &Status) -> Option<&str> {
    status.metadata().get("roost-reason").and_then(|value| value.to_str().ok())
}

#[tokio::test]
async fn a_replacement_passes_its_steps_and_a_repeated_one_is_done() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let request = MemberReplaceRequest { old_id: 3, new_id: 4, new_address: Some(address(4)) };
    for expected in [&["Add", "Swap", "Remove", "Done"][..], &["Done"]] {
        let stream = client.member_replace(request.clone()).await.unwrap().into_inner();
        let phases: Vec<String> = stream.map(|progress| format!("{:?}", progress.unwrap().phase())).collect().await;
        assert_eq!(phases, expected);
    }
    let ids: Vec<u64> = node.status().unwrap().members.iter().map(|member| member.id).collect();
    assert_eq!(ids, [1, 2, 4]);
}

#[tokio::test]
async fn a_leader_that_is_to_leave_hands_over_first() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let refusal = client.member_remove(MemberRemoveRequest { id: 1 }).await.unwrap_err();
    assert_eq!((refusal.code(), reason(&refusal)), (Code::Unavailable, Some("not-leader")));
    assert_eq!(node.status().unwrap().leader, Some(2));
    assert_eq!(node.status().unwrap().members.len(), 3);
    // Now it does not lead, and says who does.
    let refusal = client.member_remove(MemberRemoveRequest { id: 3 }).await.unwrap_err();
    assert!(refusal.message().contains("node 2 leads"), "{refusal}");
}

#[tokio::test]
async fn membership_changes_are_checked_and_repeatable() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let mut add = async |id, at: Option<Address>| client.member_add(MemberAddRequest { id, address: at }).await;
    assert_eq!(add(4, None).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(add(0, Some(address(4))).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(add(4, Some(address(2))).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(add(2, Some(address(4))).await.unwrap_err().code(), Code::InvalidArgument);
    let first = add(4, Some(address(4))).await.unwrap().into_inner();
    let again = add(4, Some(address(4))).await.unwrap().into_inner();
    assert_eq!((first.members.len(), first), (4, again));

    node.change(|status| status.members[3].lag_entries = Some(1_000_000));
    let refusal = client.member_promote(MemberPromoteRequest { id: 4 }).await.unwrap_err();
    assert_eq!(reason(&refusal), Some("lagging"));
    node.change(|status| status.members[3].lag_entries = Some(3));
    client.member_promote(MemberPromoteRequest { id: 4 }).await.unwrap();
    assert_eq!(node.status().unwrap().members[3].role(), Role::Voter);
    assert_eq!(client.member_promote(MemberPromoteRequest { id: 9 }).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn the_last_voter_stays() {
    let node = MemoryNode::leading();
    node.change(|status| status.members.truncate(1));
    let mut client = client(node).await;
    let refusal = client.member_remove(MemberRemoveRequest { id: 1 }).await.unwrap_err();
    assert!(refusal.message().contains("last voter"), "{refusal}");
}

#[tokio::test]
async fn only_an_empty_node_is_initialized() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let members = vec![member(1, Role::Voter), member(2, Role::Voter)];
    let refusal = client.init(InitRequest { members: members.clone() }).await.unwrap_err();
    assert_eq!(reason(&refusal), Some("initialized"));
    node.change(|status| status.members.clear());
    assert!(client.init(InitRequest { members: members[1..].to_vec() }).await.is_err());
    assert!(client.init(InitRequest { members: vec![members[0].clone(), members[0].clone()] }).await.is_err());
    assert_eq!(client.init(InitRequest { members }).await.unwrap().into_inner().cluster_id, "c");
}

#[tokio::test]
async fn leadership_moves_and_the_outcome_is_reported() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let unknown = LeaderTransferRequest { to: Some(9), timeout_ms: 0 };
    assert_eq!(client.leader_transfer(unknown).await.unwrap_err().code(), Code::NotFound);
    let same = client.leader_transfer(LeaderTransferRequest { to: Some(1), timeout_ms: 0 }).await.unwrap().into_inner();
    assert_eq!((same.from, same.to, same.term), (1, 1, 5));
    let moved =
        client.leader_transfer(LeaderTransferRequest { to: Some(3), timeout_ms: 0 }).await.unwrap().into_inner();
    assert_eq!((moved.from, moved.to, moved.term), (1, 3, 6));
    let shown = client.leader_show(LeaderShowRequest {}).await.unwrap().into_inner();
    assert_eq!((shown.leader, shown.term, shown.address), (Some(3), 6, Some(address(3))));
}

#[tokio::test]
async fn a_snapshot_arrives_whole_in_bounded_chunks() {
    let node = MemoryNode::leading();
    let expected = node.snapshot.clone();
    let mut client = client(node).await;
    let mut stream = client.snapshot_save(SnapshotSaveRequest {}).await.unwrap().into_inner();
    let (mut data, mut end, mut begins) = (Vec::new(), None, 0);
    while let Some(chunk) = stream.next().await {
        match chunk.unwrap().part.unwrap() {
            Part::Begin(begin) => begins += begin.index,
            Part::Data(part) => {
                assert!(part.len() <= crate::limits::SNAPSHOT_CHUNK_BYTES);
                data.extend(part);
            }
            Part::End(found) => end = Some(found),
        }
    }
    let end = end.unwrap();
    assert_eq!((begins, end.bytes), (30, expected.len() as u64));
    assert_eq!(end.blake3, blake3::hash(&expected).as_bytes());
    assert!(data == expected);
}

#[tokio::test]
async fn a_log_tail_ends_where_the_log_ended_or_follows_it() {
    let node = MemoryNode::leading();
    let mut client = client(node.clone()).await;
    let request = LogTailRequest { from_index: Some(0), ..Default::default() };
    let stream = client.log_tail(request).await.unwrap().into_inner();
    let indexes: Vec<u64> = stream.map(|entry| entry.unwrap().index).collect().await;
    assert_eq!(indexes, (11..=30).collect::<Vec<_>>());
    let request = LogTailRequest { last: 1, follow: true, ..Default::default() };
    let mut stream = client.log_tail(request).await.unwrap().into_inner();
    assert_eq!(stream.next().await.unwrap().unwrap().index, 30);
    node.change(|status| status.committed_index = 31);
    assert_eq!(stream.next().await.unwrap().unwrap().index, 31);
}

#[tokio::test]
async fn alarms_are_withdrawn_by_kind_and_node() {
    let mut client = client(MemoryNode::leading()).await;
    let mut disarm = async |kind: &str, node_id| {
        let request = AlarmDisarmRequest { kind: kind.into(), node_id };
        client.alarm_disarm(request).await.unwrap().into_inner().alarms.len()
    };
    assert_eq!(disarm("CORRUPT", 0).await, 0);
    assert_eq!(disarm("NOSPACE", 3).await, 0);
    assert_eq!(disarm("NOSPACE", 2).await, 1);
    assert_eq!(disarm("", 0).await, 0);
}

#[tokio::test]
async fn unreachable_members_are_marked_and_judged() {
    let mut client = client(MemoryNode::leading()).await;
    let cluster = client.cluster_status(ClusterStatusRequest {}).await.unwrap().into_inner();
    let reachable: Vec<bool> = cluster.reports.iter().map(|report| report.status.is_some()).collect();
    assert_eq!((cluster.asked_node, reachable), (1, vec![true, false, false]));
    assert_eq!(cluster.reports[2].error, "refused");
    let health = client.health(HealthRequest {}).await.unwrap().into_inner();
    assert_eq!((health.verdict(), health.voters_reachable), (Verdict::Unhealthy, 1));
}

#[tokio::test]
async fn a_hash_is_given_at_or_after_the_wanted_index() {
    let mut client = client(MemoryNode::leading()).await;
    let answer = client.state_hash(StateHashRequest { min_index: 30 }).await.unwrap().into_inner();
    assert_eq!(answer.now.unwrap().index, 30);
    let mut request = tonic::Request::new(StateHashRequest { min_index: 31 });
    request.set_timeout(std::time::Duration::from_millis(100));
    let refusal = client.state_hash(request).await.unwrap_err();
    assert!(matches!(refusal.code(), Code::FailedPrecondition | Code::Cancelled | Code::DeadlineExceeded), "{refusal}");
}
