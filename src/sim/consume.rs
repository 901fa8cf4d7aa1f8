//! One stream that reads: any number of virtual channels of one pchannel, each from its own place on and by its own
//! filters. What the log has forgotten by then is left out.

use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::channels::Open;
use super::handler::gone;
use super::message;
use super::node::Node;
use super::wal::{Record, Refused};
use crate::limits;
use crate::pb::streaming::consume_request::Request;
use crate::pb::streaming::consume_response::Response;
use crate::pb::streaming::create_v_channel_consumer_response::Response as Created;
use crate::pb::streaming::deliver_filter::Filter;
use crate::pb::streaming::deliver_policy::Policy;
use crate::pb::streaming::{
    CloseConsumerResponse, CloseVChannelConsumerResponse, ConsumeMessageReponse, ConsumeRequest, ConsumeResponse,
    CreateVChannelConsumerRequest, CreateVChannelConsumerResponse, CreateVChannelConsumersResponse, DeliverFilter,
    StreamingCode, StreamingError,
};

/// Messages that are read for one consumer before the others get their turn.
const TURN: usize = 64;

/// See the module.
pub struct Consumers {
    node: Arc<Node>,
    open: Arc<Open>,
    answers: mpsc::Sender<Result<ConsumeResponse, Status>>,
    consumers: Vec<Consumer>,
    last_id: i64,
}

struct Consumer {
    id: i64,
    vchannel: String,
    /// The next offset to look at.
    next: u64,
    filters: Vec<DeliverFilter>,
}

impl Consumers {
    pub fn new(node: Arc<Node>, open: Arc<Open>, answers: mpsc::Sender<Result<ConsumeResponse, Status>>) -> Self {
        Consumers { node, open, answers, consumers: Vec::new(), last_id: 0 }
    }

    pub async fn run(mut self, mut requests: Streaming<ConsumeRequest>) {
        let mut end = self.open.wal.end();
        loop {
            end.mark_unchanged();
            while self.deliver().await {}
            if self.answers.is_closed() {
                return;
            }
            let request = tokio::select! {
                () = self.open.closed() => {
                    // Nobody may be there to hear it.
                    let _ = self.answers.send(Err(gone(&self.open))).await;
                    return;
                }
                _ = end.changed() => continue,
                request = requests.message() => match request {
                    Ok(Some(ConsumeRequest { request: Some(request) })) => request,
                    Ok(Some(ConsumeRequest { request: None }) | None) | Err(_) => return,
                },
            };
            let (response, last) = self.answer(request);
            if !self.send(response).await || last {
                return;
            }
        }
    }

    /// Sends what each consumer has to get next; whether there may be more.
    async fn deliver(&mut self) -> bool {
        let mut more = false;
        for index in 0..self.consumers.len() {
            self.node.awake().await;
            let Some(consumer) = self.consumers.get_mut(index) else { continue };
            let read = self.open.wal.read(consumer.next, TURN);
            more |= read.len() == TURN;
            let Some(last) = read.last() else { continue };
            consumer.next = last.offset + 1;
            let (consumer_id, mut wanted) = (consumer.id, read);
            wanted.retain(|record| consumer.wants(record));
            for record in wanted {
                let message = Some(record.message.as_ref().clone());
                let response = Response::Consume(ConsumeMessageReponse { consumer_id, message });
                if !self.send(response).await {
                    return false;
                }
            }
        }
        more
    }

    async fn send(&self, response: Response) -> bool {
        self.answers.send(Ok(ConsumeResponse { response: Some(response) })).await.is_ok()
    }

    /// The answer, and whether it is the last one.
    fn answer(&mut self, request: Request) -> (Response, bool) {
        match request {
            Request::CreateVchannelConsumer(create) => (Response::CreateVchannel(self.create(create)), false),
            Request::CreateVchannelConsumers(all) => {
                let create_vchannels = all.create_vchannels.into_iter().map(|create| self.create(create)).collect();
                (Response::CreateVchannels(CreateVChannelConsumersResponse { create_vchannels }), false)
            }
            Request::CloseVchannel(close) => {
                self.consumers.retain(|consumer| consumer.id != close.consumer_id);
                let closed = CloseVChannelConsumerResponse { consumer_id: close.consumer_id };
                (Response::CloseVchannel(closed), false)
            }
            Request::Close(_) => (Response::Close(CloseConsumerResponse {}), true),
        }
    }

    fn create(&mut self, create: CreateVChannelConsumerRequest) -> CreateVChannelConsumerResponse {
        let response = match self.add(create) {
            Ok(id) => Created::ConsumerId(id),
            Err(Refused { code, cause }) => Created::Error(StreamingError { code: code.into(), cause }),
        };
        CreateVChannelConsumerResponse { response: Some(response) }
    }

    fn add(&mut self, create: CreateVChannelConsumerRequest) -> Result<i64, Refused> {
        let wrong = |cause: &str| Err(Refused::new(StreamingCode::InvaildArgument, cause));
        if !message::is_on(&create.vchannel, self.open.wal.name()) {
            return wrong("not a vchannel of this pchannel");
        }
        if self.consumers.len() >= limits::SIM_CONSUMERS_MAX {
            return wrong("too many consumers on one stream");
        }
        let after = |id| message::offset(id).ok_or_else(|| Refused::new(StreamingCode::InvaildArgument, "not an id"));
        let next = match create.deliver_policy.and_then(|policy| policy.policy) {
            Some(Policy::All(())) => 0,
            Some(Policy::Latest(())) => *self.open.wal.end().borrow(),
            Some(Policy::StartFrom(id)) => after(&id)?,
            Some(Policy::StartAfter(id)) => after(&id)?.saturating_add(1),
            None => return wrong("no place to start from"),
        };
        self.last_id += 1;
        let (id, vchannel, filters) = (self.last_id, create.vchannel, create.deliver_filters);
        self.consumers.push(Consumer { id, vchannel, next, filters });
        Ok(id)
    }
}

impl Consumer {
    fn wants(&self, record: &Record) -> bool {
        let properties = &record.message.properties;
        message::vchannel(properties).is_none_or(|vchannel| vchannel == self.vchannel)
            && self.filters.iter().all(|filter| match &filter.filter {
                None => true,
                Some(Filter::TimeTickGt(bound)) => record.time_tick > bound.time_tick,
                Some(Filter::TimeTickGte(bound)) => record.time_tick >= bound.time_tick,
                Some(Filter::MessageType(types)) => {
                    message::message_type(properties).is_some_and(|kind| types.message_types.contains(&kind))
                }
            })
    }
}
