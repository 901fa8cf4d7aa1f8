//! One connection to a node that answered: its calls with one answer, and those with a stream of them.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::exit::{self, Failure};
use crate::forward::Authenticate;
use crate::limits;
use crate::pb::access::access_client::AccessClient;
use crate::pb::admin::admin_client::AdminClient;
use crate::pb::catalog::catalog_client::CatalogClient;
use crate::pb::rootcoord::root_coord_client::RootCoordClient;
use crate::pb::{catalog, common, internal, milvus, rootcoord};

/// One connection, whose calls show the cluster's secret.
pub type Secured = InterceptedService<Channel, Authenticate>;

/// The admin client on one connection.
pub type Client = AdminClient<Secured>;

/// RootCoord's client on the same connection: every node serves it beside the admin API.
pub type Coordinator = RootCoordClient<Secured>;

/// And the one about grants.
pub type Grants = AccessClient<Secured>;

/// And the one about the catalogue.
pub type Catalog = CatalogClient<Secured>;

/// A connection to a node that answered, and how long its calls may take together.
pub struct Session {
    pub(super) channel: Secured,
    /// Whom we talk to, for messages.
    pub node: String,
    pub(super) deadline: Instant,
    pub(super) started: Instant,
}

/// The admin API's client on a connection.
pub(super) fn admin(channel: Secured) -> Client {
    AdminClient::new(channel)
        .max_decoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX)
}

impl Session {
    /// What is left of the timeout.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// One call with one answer, within the session's deadline.
    pub async fn call<Q, A, F>(&self, message: Q, rpc: impl FnOnce(Client, Request<Q>) -> F) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.answered(rpc(admin(self.channel.clone()), self.timed(message))).await
    }

    /// The same of RootCoord, whose answers also say in a status of their own whether they are one.
    pub async fn ask<Q, A, F>(&self, message: Q, rpc: impl FnOnce(Coordinator, Request<Q>) -> F) -> Result<A, Failure>
    where
        A: MilvusAnswer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = RootCoordClient::new(self.channel.clone())
            .max_decoding_message_size(limits::REPLY_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        self.settled(self.answered(rpc(client, self.timed(message))).await?)
    }

    /// The same of the catalogue's own API.
    pub async fn catalog<Q, A, F>(&self, message: Q, rpc: impl FnOnce(Catalog, Request<Q>) -> F) -> Result<A, Failure>
    where
        A: MilvusAnswer,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = CatalogClient::new(self.channel.clone())
            .max_decoding_message_size(limits::REPLY_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
        self.settled(self.answered(rpc(client, self.timed(message))).await?)
    }

    fn settled<A: MilvusAnswer>(&self, answer: A) -> Result<A, Failure> {
        match answer.status() {
            Some(status) if status.code != 0 => Err(Failure::from_milvus(&self.node, status)),
            _ => Ok(answer),
        }
    }

    /// The same about grants.
    pub async fn grants<Q, A, F>(&self, message: Q, rpc: impl FnOnce(Grants, Request<Q>) -> F) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let client = AccessClient::new(self.channel.clone()).max_decoding_message_size(limits::REPLY_BYTES_MAX);
        self.answered(rpc(client, self.timed(message))).await
    }

    /// The same of any other service: `rpc` makes its client.
    pub async fn of<Q, A, F>(&self, message: Q, rpc: impl FnOnce(Secured, Request<Q>) -> F) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        self.answered(rpc(self.channel.clone(), self.timed(message))).await
    }

    fn timed<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.set_timeout(self.remaining());
        request
    }

    async fn answered<A>(&self, rpc: impl Future<Output = Result<Response<A>, Status>>) -> Result<A, Failure> {
        match timeout_at(self.deadline, rpc).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Failure::from_status(&self.node, &status)),
            Err(_) => Err(Failure::timed_out(&self.node, self.started.elapsed())),
        }
    }

    /// One call with a stream of answers. The deadline holds until the stream opens; then `idle` bounds each wait.
    pub async fn open<Q, A, F>(
        &self,
        message: Q,
        idle: Option<Duration>,
        rpc: impl FnOnce(Client, Request<Q>) -> F,
    ) -> Result<Feed<A>, Interrupted>
    where
        F: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        match timeout_at(self.deadline, rpc(admin(self.channel.clone()), Request::new(message))).await {
            Ok(Ok(answer)) => Ok(Feed { stream: answer.into_inner(), node: self.node.clone(), idle }),
            Ok(Err(status)) => Err(Interrupted::by(&self.node, &status)),
            Err(_) => {
                Err(Interrupted { failure: Failure::timed_out(&self.node, self.started.elapsed()), passing: true })
            }
        }
    }
}

/// Where an answer of Milvus' API keeps its status.
pub trait MilvusAnswer {
    fn status(&self) -> Option<&common::Status>;
}

impl MilvusAnswer for common::Status {
    fn status(&self) -> Option<&common::Status> {
        Some(self)
    }
}

macro_rules! milvus_answers {
    ($($answer:ty),* $(,)?) => { $(
        impl MilvusAnswer for $answer {
            fn status(&self) -> Option<&common::Status> {
                self.status.as_ref()
            }
        }
    )* };
}

milvus_answers!(
    catalog::InspectCollectionResponse,
    internal::GetQuotaMetricsResponse,
    milvus::DescribeAliasResponse,
    milvus::ListAliasesResponse,
    milvus::ListDatabasesResponse,
    milvus::SelectRoleResponse,
    milvus::SelectUserResponse,
    milvus::ShowCollectionsResponse,
    milvus::ShowPartitionsResponse,
    rootcoord::DescribeDatabaseResponse,
);

/// Why a stream ended early, and whether asking again may continue it.
#[derive(Debug)]
pub struct Interrupted {
    pub failure: Failure,
    pub passing: bool,
}

impl Interrupted {
    fn by(node: &str, status: &Status) -> Self {
        Interrupted { failure: Failure::from_status(node, status), passing: exit::is_passing(status) }
    }
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        interrupted.failure
    }
}

/// A stream of answers with a bound on silence.
pub struct Feed<A> {
    stream: Streaming<A>,
    node: String,
    idle: Option<Duration>,
}

impl<A> Feed<A> {
    /// The next answer, or `None` at the stream's regular end.
    pub async fn next(&mut self) -> Result<Option<A>, Interrupted> {
        let message = match self.idle {
            None => self.stream.message().await,
            Some(idle) => match tokio::time::timeout(idle, self.stream.message()).await {
                Ok(message) => message,
                Err(_) => {
                    return Err(Interrupted { failure: Failure::timed_out(&self.node, idle), passing: true });
                }
            },
        };
        message.map_err(|status| Interrupted::by(&self.node, &status))
    }
}
