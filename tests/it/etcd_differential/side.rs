//! One of the two servers that are compared: sends what is asked and makes the answer comparable.

use roost::pb::etcd::api::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, HashKvRequest, HashKvResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, TxnResponse, WatchCreateRequest,
};
use tonic::Status;

use super::ask::Ask;
use super::neutral::Origin;
use super::watching::{Opened, Watching};
use crate::support::etcd::{EtcdClient, within};

/// What a lease's remaining time may differ by: the two servers are asked one after the other.
pub const TTL_SLACK_S: i64 = 30;
/// Shorter leases than this could run out within a sequence.
const KEPT_TTL_S: i64 = 4000;

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    KeepAlive(Option<LeaseKeepAliveResponse>),
    TimeToLive(LeaseTimeToLiveResponse),
    Leases(LeaseLeasesResponse),
    HashKv(HashKvResponse),
    Opened(Opened),
    Cancelled(bool),
    Progress(Option<i64>),
    Refused(i32, String),
}

/// A server of one or more nodes, each asked in turn.
pub struct Side {
    nodes: Vec<EtcdClient>,
    asked: usize,
    /// The server's last compaction.
    compacted: i64,
    pub origin: Origin,
    pub watching: Option<Watching>,
}

impl Side {
    pub fn new(nodes: Vec<EtcdClient>) -> Self {
        Side { nodes, asked: 0, compacted: 0, origin: Origin::default(), watching: None }
    }

    fn next(&mut self) -> EtcdClient {
        self.asked += 1;
        self.nodes[self.asked % self.nodes.len()].clone()
    }

    /// A node that has seen everything that was acknowledged: its own answers are as good as the leader's.
    async fn current(&mut self) -> Result<EtcdClient, Status> {
        let node = self.next();
        let anything = RangeRequest { key: b"a".to_vec(), count_only: true, ..RangeRequest::default() };
        within(node.kv.clone().range(anything)).await?;
        Ok(node)
    }

    /// Takes away what earlier sequences left, and counts from there.
    pub async fn begin(&mut self) -> Result<i64, Status> {
        self.watching = None;
        let node = self.current().await?;
        let leases = within(node.lease.clone().lease_leases(LeaseLeasesRequest {})).await?.leases;
        for lease in leases {
            within(node.lease.clone().lease_revoke(LeaseRevokeRequest { id: lease.id })).await?;
        }
        let all = DeleteRangeRequest { key: vec![0], range_end: vec![0], prev_kv: false };
        let revision = within(node.kv.clone().delete_range(all)).await?.header.unwrap_or_default().revision;
        if revision > 1 {
            // Refused when nothing was written since the last time.
            let compact = CompactionRequest { revision, physical: true };
            let _ = within(node.kv.clone().compact(compact)).await;
            self.compacted = revision;
        }
        self.origin = Origin::at(revision);
        Ok(revision)
    }

    /// Sends it, and waits for all that it brings about.
    pub async fn ask(&mut self, ask: &Ask) -> Answer {
        match self.send(ask.clone()).await {
            Ok(answer) => answer,
            Err(status) => Answer::Refused(status.code().into(), status.message().to_owned()),
        }
    }

    async fn send(&mut self, ask: Ask) -> Result<Answer, Status> {
        Ok(match ask {
            Ask::Range(mut range) => {
                let mut node = if range.serializable { self.current().await? } else { self.next() };
                self.origin.range_out(&mut range);
                let mut answer = within(node.kv.range(range)).await?;
                self.origin.range_in(&mut answer);
                Answer::Range(answer)
            }
            Ask::Put(mut put) => {
                put.lease = self.origin.lease_out(put.lease);
                let mut answer = within(self.next().kv.put(put)).await?;
                self.origin.put_in(&mut answer);
                Answer::Put(answer)
            }
            Ask::DeleteRange(delete) => {
                let mut answer = within(self.next().kv.delete_range(delete)).await?;
                self.origin.delete_in(&mut answer);
                Answer::DeleteRange(answer)
            }
            Ask::Txn(mut txn) => {
                // It may hold serializable reads only.
                let mut node = self.current().await?;
                self.origin.txn_out(&mut txn);
                let mut answer = within(node.kv.txn(txn)).await?;
                self.origin.txn_in(&mut answer);
                Answer::Txn(answer)
            }
            Ask::Compact { revision, physical } => {
                let revision = self.origin.revision_out(revision);
                let mut answer = within(self.next().kv.compact(CompactionRequest { revision, physical })).await?;
                self.compacted = revision;
                self.origin.header_in(&mut answer.header);
                Answer::Compact(answer)
            }
            Ask::HashKv { revision } => {
                let mut node = self.current().await?;
                let revision = self.origin.revision_out(revision);
                let mut answer = within(node.maintenance.hash_kv(HashKvRequest { revision })).await?;
                self.origin.header_in(&mut answer.header);
                self.origin.revision_in(&mut answer.compact_revision);
                // etcd 3.4 does not know this field yet.
                answer.hash_revision = 0;
                Answer::HashKv(answer)
            }
            Ask::Watch(create) => self.open(create).await?,
            Ask::Cancel { nth } => match &mut self.watching {
                Some(watching) => Answer::Cancelled(watching.cancel(nth).await?),
                None => Answer::Cancelled(false),
            },
            Ask::Progress => {
                self.settle().await?;
                match &mut self.watching {
                    Some(watching) => Answer::Progress(Some(watching.progress(&self.origin).await?)),
                    None => Answer::Progress(None),
                }
            }
            ask => self.send_about_leases(ask).await?,
        })
    }

    async fn send_about_leases(&mut self, ask: Ask) -> Result<Answer, Status> {
        Ok(match ask {
            Ask::Grant { id, ttl } => Answer::Grant(self.grant(id, ttl).await?),
            Ask::GrantBriefly { id, ttl } => {
                let granted = self.grant(id, ttl).await?;
                within(self.next().lease.lease_revoke(LeaseRevokeRequest { id })).await?;
                Answer::Grant(granted)
            }
            Ask::Revoke { id } => {
                let id = self.origin.lease_out(id);
                let mut answer = within(self.next().lease.lease_revoke(LeaseRevokeRequest { id })).await?;
                self.origin.header_in(&mut answer.header);
                Answer::Revoke(answer)
            }
            Ask::KeepAlive { id } => {
                let mut node = self.current().await?;
                let asked = LeaseKeepAliveRequest { id: self.origin.lease_out(id) };
                let mut answers = within(node.lease.lease_keep_alive(tokio_stream::iter([asked]))).await?;
                let mut answer = answers.message().await?;
                if let Some(answer) = &mut answer {
                    self.origin.header_in(&mut answer.header);
                    self.origin.lease_in(&mut answer.id);
                }
                Answer::KeepAlive(answer)
            }
            Ask::TimeToLive { id, keys } => {
                let mut node = self.current().await?;
                let asked = LeaseTimeToLiveRequest { id: self.origin.lease_out(id), keys };
                let mut answer = within(node.lease.lease_time_to_live(asked)).await?;
                self.origin.header_in(&mut answer.header);
                self.origin.lease_in(&mut answer.id);
                // etcd lists them in the order of a Go map: at random.
                answer.keys.sort_unstable();
                if answer.granted_ttl > KEPT_TTL_S && (answer.ttl - answer.granted_ttl).abs() <= TTL_SLACK_S {
                    answer.ttl = answer.granted_ttl;
                }
                Answer::TimeToLive(answer)
            }
            _ => {
                let mut node = self.current().await?;
                let mut answer = within(node.lease.lease_leases(LeaseLeasesRequest {})).await?;
                self.origin.header_in(&mut answer.header);
                answer.leases.iter_mut().for_each(|lease| self.origin.lease_in(&mut lease.id));
                // etcd lists them by the time that is left, which says nothing about order here.
                answer.leases.sort_by_key(|lease| lease.id);
                Answer::Leases(answer)
            }
        })
    }

    async fn grant(&mut self, id: i64, ttl: i64) -> Result<LeaseGrantResponse, Status> {
        let chosen = id == 0;
        let mut answer = within(self.next().lease.lease_grant(LeaseGrantRequest { id, ttl })).await?;
        self.origin.header_in(&mut answer.header);
        if chosen {
            answer.id = self.origin.name_lease(answer.id);
        }
        Ok(answer)
    }

    async fn open(&mut self, mut create: WatchCreateRequest) -> Result<Answer, Status> {
        create.start_revision = self.origin.revision_out(create.start_revision);
        // A deletion at the very revision of a compaction: etcd 3.4 forgets it, Roost and etcd from 3.5.18 on keep it.
        if create.start_revision == self.compacted {
            create.start_revision += 1;
        }
        if self.watching.is_none() {
            let node = self.current().await?;
            self.watching = Some(Watching::open(node));
        }
        let Some(watching) = &mut self.watching else { return Err(Status::internal("no stream")) };
        // From now on means from this revision on, which the node must have seen.
        watching.catch_up().await?;
        let opened = watching.create(create).await?;
        // One that starts in the past catches up when the server finds time: nothing may be compacted before.
        self.settle().await?;
        Ok(Answer::Opened(opened))
    }

    /// Waits until every watcher has delivered everything that it should: changes the first key of each of them and
    /// waits for that.
    pub async fn settle(&mut self) -> Result<(), Status> {
        let keys = self.watching.as_ref().map(Watching::first_keys).unwrap_or_default();
        let mut marks = Vec::new();
        for key in keys {
            let put = PutRequest { key: key.clone(), ..PutRequest::default() };
            within(self.next().kv.put(put)).await?;
            let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
            let deleted = within(self.next().kv.delete_range(delete)).await?.header.unwrap_or_default().revision;
            marks.push((key, deleted));
        }
        match &self.watching {
            Some(watching) => watching.until(&marks).await,
            None => Ok(()),
        }
    }

    /// What each watcher delivered, in the sequence's counting.
    pub fn delivered(&self) -> Vec<super::watching::Delivered> {
        self.watching.as_ref().map(|watching| watching.delivered(&self.origin)).unwrap_or_default()
    }
}
