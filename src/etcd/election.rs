//! The Election service: whoever has the oldest key under an election's name leads; the key's value is what it
//! proclaims.

use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::turn::{Missed, Place, Turns, as_client, lost, step};
use super::watch::Subscription;
use crate::call::Call;
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::{DeleteRangeRequest, PutRequest, ResponseHeader};
use crate::pb::etcd::election::election_server::Election;
use crate::pb::etcd::election::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};
use crate::pb::etcd::kv;
use crate::pb::etcd::kv::event::EventType;

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";
const MISSING_LEADER: &str = "\"leader\" field must be provided";

/// See the module.
#[derive(Clone)]
pub struct ElectionService {
    turns: Turns,
}

impl ElectionService {
    pub fn new(turns: Turns) -> Self {
        ElectionService { turns }
    }

    async fn proclaim_value(
        &self,
        call: &Call,
        leader: (&[u8], i64, i64),
        value: Vec<u8>,
    ) -> Result<Option<ResponseHeader>, Status> {
        let (key, revision, lease) = leader;
        let put = Op::RequestPut(PutRequest { key: key.to_vec(), value, lease, ..Default::default() });
        let response = self.turns.if_created(call, key, revision, put).await?;
        if response.succeeded { Ok(response.header) } else { Err(Status::unknown(NOT_LEADER)) }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        let call = Call::of(&request)?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = self.turns.lease(&call, lease).await?;
        let place = self.turns.queue(&call, &name, lease, value.clone()).await?;
        let held = self.turns.hold(&call, &place);
        let Place { key, revision: rev, found, .. } = &place;
        let won = async {
            if found.as_ref().is_some_and(|found| found.value != value) {
                self.proclaim_value(&call, (key.as_slice(), *rev, lease), value).await?;
            }
            self.turns.wait(&call, &name, &place).await.map_err(|missed| match missed {
                Missed::KeyGone => Status::unknown(NOT_LEADER),
                Missed::Failed(status) => status,
            })
        };
        if let Err(status) = won.await {
            held.give_up().await;
            return Err(status);
        }
        held.keep();
        let leader = Some(LeaderKey { name, key: place.key, rev: place.revision, lease });
        Ok(Response::new(CampaignResponse { header: place.header, leader }))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let call = Call::of(&request)?;
        let ProclaimRequest { leader, value } = request.into_inner();
        let LeaderKey { key, rev, lease, .. } = leader.ok_or_else(|| Status::unknown(MISSING_LEADER))?;
        let lease = self.turns.lease(&call, lease).await?;
        let header = self.proclaim_value(&call, (&key, rev, lease), value).await?;
        Ok(Response::new(ProclaimResponse { header }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let call = Call::of(&request)?;
        let mut first = self.turns.first(&call, &request.into_inner().name).await?;
        let kv = Some(first.kvs.pop().ok_or_else(|| Status::unknown(NO_LEADER))?);
        Ok(Response::new(LeaderResponse { header: first.header, kv }))
    }

    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    /// Every leader and all that they proclaim, from the present one on, or from the next one if there is none.
    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let call = Call::of(&request)?;
        let name = request.into_inner().name;
        let observer = Observer { turns: self.turns.clone(), call, name, led: None, over: false };
        let next = |mut observer: Observer| async move {
            if observer.over {
                return None;
            }
            let seen = observer.next().await;
            observer.over = seen.is_err();
            Some((seen, observer))
        };
        Ok(Response::new(Box::pin(futures::stream::unfold(observer, next))))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let call = step(&Call::of(&request)?);
        let leader = request.into_inner().leader.ok_or_else(|| Status::unknown(MISSING_LEADER))?;
        let delete = Op::RequestDeleteRange(DeleteRangeRequest { key: leader.key.clone(), ..Default::default() });
        let response = self.turns.if_created(&call, &leader.key, leader.rev, delete).await.map_err(as_client)?;
        Ok(Response::new(ResignResponse { header: response.header }))
    }
}

struct Observer {
    turns: Turns,
    call: Call,
    name: Vec<u8>,
    /// The changes of the leader's key that are still to be told.
    led: Option<(Subscription, std::collections::VecDeque<kv::Event>)>,
    over: bool,
}

impl Observer {
    async fn next(&mut self) -> Result<LeaderResponse, Status> {
        loop {
            let Some((changes, events)) = &mut self.led else { return self.lead().await };
            match events.pop_front() {
                Some(event) if event.r#type == EventType::Delete as i32 => self.led = None,
                Some(event) => {
                    let kv = event.kv.unwrap_or_default();
                    return Ok(self.told(kv.mod_revision, kv));
                }
                None => events.extend(changes.next().await.map_err(lost)?.1),
            }
        }
    }

    /// The present leader, or the first one to come.
    async fn lead(&mut self) -> Result<LeaderResponse, Status> {
        // The stream has no end; each look has the time of a call.
        self.call.deadline = std::time::Instant::now() + crate::limits::CALL_TIME_DEFAULT;
        let mut first = self.turns.first(&self.call, &self.name).await?;
        let seen = first.header.as_ref().map_or(0, |header| header.revision);
        let (revision, kv) = match first.kvs.pop() {
            Some(kv) => (seen, kv),
            None => {
                let mut all = self.turns.watch_all(&self.name, seen)?;
                let kv = loop {
                    let (_, events) = all.next().await.map_err(lost)?;
                    let put = events.into_iter().find(|event| event.r#type == EventType::Put as i32);
                    if let Some(kv) = put.and_then(|event| event.kv) {
                        break kv;
                    }
                };
                (kv.mod_revision, kv)
            }
        };
        self.led = Some((self.turns.watch(&kv.key, revision)?, Default::default()));
        Ok(self.told(revision, kv))
    }

    fn told(&self, revision: i64, kv: kv::KeyValue) -> LeaderResponse {
        LeaderResponse { header: Some(self.turns.keyspace.headers().stamp(revision)), kv: Some(kv) }
    }
}
