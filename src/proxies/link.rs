//! One proxy, and the task that tells it things until its session ends.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::{Code, Request, Response, Status};

use super::board::ProxyLine;
use super::changes::of_database;
use super::departed::Departed;
use super::session::Session;
use super::stale::{Pending, Stale, StaleMeta};
use crate::introduce::{Introduced, dial};
use crate::leader::tso::Oracle;
use crate::limits;
use crate::pb::common::{self, MsgBase, MsgType};
use crate::pb::proxy::proxy_client::ProxyClient;
use crate::pb::proxy::{
    InvalidateCollMetaCacheRequest, InvalidateCredCacheRequest, RefreshPolicyInfoCacheRequest, SetRatesRequest,
};
use crate::replica::Replica;
use crate::state::View;

/// Milvus' number for reading all grants again.
const CACHE_REFRESH: i32 = 7;

/// What all links use.
pub struct Shared {
    pub replica: Arc<dyn Replica>,
    pub oracle: Arc<Oracle>,
    pub departed: Arc<Departed>,
    /// Milvus' name of the cluster, which its processes show each other.
    pub cluster: String,
}

/// See the module.
pub struct Link {
    pub session: Session,
    pending: Mutex<Pending>,
    /// The latest, not yet told.
    rates: Mutex<Option<Arc<SetRatesRequest>>>,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rates_set: bool,
    error: Option<String>,
}

/// Why something was not told.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Unreachable(String),
    #[error("it answered {code}: {reason}")]
    Refused { code: i32, reason: String },
    #[error("{0}")]
    Here(String),
}

type Client = ProxyClient<Introduced>;

impl Link {
    /// A proxy of which nothing is known has everything to forget.
    pub fn new(session: Session) -> Arc<Self> {
        let mut pending = Pending::default();
        pending.add(Stale::Everything);
        let (rates, state) = (Mutex::default(), Mutex::default());
        let link = Link { session, pending: Mutex::new(pending), rates, wake: Notify::new(), state };
        link.wake.notify_one();
        Arc::new(link)
    }

    pub fn forget(&self, things: &[Stale]) {
        let mut pending = self.pending.lock();
        things.iter().for_each(|thing| pending.add(thing.clone()));
        self.wake.notify_one();
    }

    /// Takes the place of rates that it was not told yet.
    pub fn set_rates(&self, rates: Arc<SetRatesRequest>) {
        *self.rates.lock() = Some(rates);
        self.wake.notify_one();
    }

    pub fn line(&self) -> ProxyLine {
        let state = self.state.lock();
        ProxyLine {
            id: self.session.id,
            address: self.session.address.clone(),
            version: self.session.version.clone(),
            stale: self.pending.lock().len(),
            rates_set: state.rates_set,
            error: state.error.clone(),
        }
    }

    /// Tells the proxy whatever comes, for as long as it is not cut off.
    pub async fn serve(self: Arc<Self>, shared: Arc<Shared>) {
        let client = match self.client(&shared.cluster) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(proxy = self.session.id, address = self.session.address, %error, "not an address");
                self.state.lock().error = Some(error.to_string());
                return;
            }
        };
        let mut pause = limits::PROXY_RETRY_MIN;
        loop {
            let outcome = match self.tell_stale(&client, &shared).await {
                Err(error @ Error::Unreachable(_)) => Err(error),
                // What it does not want to forget is no reason to leave it without rates.
                told => self.tell_rates(&client).await.and(told),
            };
            let failed = outcome.err().map(|error| error.to_string());
            let before = std::mem::replace(&mut self.state.lock().error, failed.clone());
            let Some(error) = failed else {
                pause = limits::PROXY_RETRY_MIN;
                self.wake.notified().await;
                continue;
            };
            if before.is_none() {
                tracing::warn!(proxy = self.session.id, address = self.session.address, %error, "cannot tell a proxy");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::PROXY_RETRY_MAX);
        }
    }

    fn client(&self, cluster: &str) -> Result<Client, tonic::transport::Error> {
        let Session { id, address, .. } = &self.session;
        Ok(ProxyClient::new(dial(cluster, *id, address, limits::PROXY_CALL_WAIT)?))
    }

    /// What could not be told waits for the next time.
    async fn tell_stale(&self, client: &Client, shared: &Shared) -> Result<(), Error> {
        let taken = self.pending.lock().take();
        if taken.is_empty() {
            return Ok(());
        }
        let put_back = |things: &[Stale], error| {
            let mut pending = self.pending.lock();
            // What stood for everything was unfolded: its parts stand for themselves from now on.
            things.iter().for_each(|thing| pending.add(thing.clone()));
            Err(error)
        };
        let folded: Vec<Stale> = taken.iter().cloned().collect();
        let things = match unfolded(taken, shared) {
            Ok(things) => things,
            Err(error) => return put_back(&folded, Error::Here(format!("the tables cannot be read: {error}"))),
        };
        // After all of these changes: what the proxy asked for earlier and gets later is older than this.
        let deadline = Instant::now() + limits::PROXY_CALL_WAIT;
        let timestamp = match shared.oracle.allocate(1, deadline).await {
            Ok(timestamp) => timestamp,
            Err(error) => return put_back(&folded, Error::Here(error.to_string())),
        };
        let mut refused = Ok(());
        let mut rest = things.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(limits::PROXY_CALLS_AT_ONCE));
            let outcomes = join_all(now.iter().map(|thing| tell(client.clone(), thing, timestamp))).await;
            let mut unreachable = None;
            for (thing, outcome) in now.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {}
                    Err(error @ Error::Unreachable(_)) => {
                        unreachable = put_back(std::slice::from_ref(thing), error).err()
                    }
                    Err(error) => refused = put_back(std::slice::from_ref(thing), error),
                }
            }
            if let Some(error) = unreachable {
                return put_back(later, error);
            }
            rest = later;
        }
        refused
    }

    async fn tell_rates(&self, client: &Client) -> Result<(), Error> {
        let Some(rates) = self.rates.lock().take() else { return Ok(()) };
        let mut client = client.clone();
        let told = answered(client.set_rates(Request::new(SetRatesRequest::clone(&rates)))).await;
        // Not put back: newer ones come soon.
        if told.is_ok() {
            self.state.lock().rates_set = true;
        }
        told
    }
}

/// Everything, by the names that there are.
fn unfolded(things: BTreeSet<Stale>, shared: &Shared) -> io::Result<Vec<Stale>> {
    if !things.contains(&Stale::Everything) {
        return Ok(things.into_iter().collect());
    }
    let view = shared.replica.view()?;
    let view = View::new(view.as_ref());
    let mut databases: BTreeSet<String> = shared.departed.databases().into_iter().collect();
    let mut users: BTreeSet<String> = shared.departed.users().into_iter().collect();
    databases.extend(view.databases(None, usize::MAX)?.into_iter().map(|row| row.name));
    users.extend(view.access().users(None, usize::MAX)?.into_iter().map(|(name, _)| name));
    // Of a dropped database a proxy forgets where collections are served as well.
    let databases = databases.iter().map(|name| of_database(MsgType::DropDatabase, name));
    Ok(databases.chain(users.into_iter().map(Stale::User)).chain([Stale::Policy]).collect())
}

async fn tell(mut client: Client, thing: &Stale, timestamp: u64) -> Result<(), Error> {
    let base = |why: MsgType| Some(MsgBase { msg_type: why.into(), timestamp, ..MsgBase::default() });
    match thing {
        Stale::Meta(StaleMeta { why, database, collection, collection_id, partition }) => {
            let request = InvalidateCollMetaCacheRequest {
                base: base(*why),
                db_name: database.clone(),
                collection_name: collection.clone(),
                collection_id: *collection_id,
                partition_name: partition.clone(),
            };
            answered(client.invalidate_collection_meta_cache(request)).await
        }
        Stale::User(name) => {
            let request = InvalidateCredCacheRequest { base: base(MsgType::Undefined), username: name.clone() };
            answered(client.invalidate_credential_cache(request)).await
        }
        Stale::Policy => {
            let (base, op_key) = (base(MsgType::Undefined), String::new());
            let request = RefreshPolicyInfoCacheRequest { base, op_type: CACHE_REFRESH, op_key };
            answered(client.refresh_policy_info_cache(request)).await
        }
        // It was unfolded.
        Stale::Everything => Ok(()),
    }
}

async fn answered(call: impl Future<Output = Result<Response<common::Status>, Status>>) -> Result<(), Error> {
    let unreachable = |why: String| Err(Error::Unreachable(why));
    match tokio::time::timeout(limits::PROXY_CALL_WAIT, call).await {
        Err(_) => unreachable(format!("no answer within {:?}", limits::PROXY_CALL_WAIT)),
        Ok(Err(status)) => match status.code() {
            // A proxy of a version that knows no such call holds nothing to forget by it.
            Code::Unimplemented => Ok(()),
            Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => {
                unreachable(status.to_string())
            }
            code => Err(Error::Refused { code: code as i32, reason: status.message().to_owned() }),
        },
        Ok(Ok(answer)) => match answer.into_inner() {
            common::Status { code: 0, .. } => Ok(()),
            common::Status { code, reason, .. } => Err(Error::Refused { code, reason }),
        },
    }
}
