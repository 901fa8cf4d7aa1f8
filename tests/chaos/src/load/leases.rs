//! Clients of leases: each grants one, binds a key to it, renews it for a while, and looks when the key is gone.

use std::sync::Arc;
use std::time::Duration;

use roost::pb::etcd::api::lease_client::LeaseClient;
use roost::pb::etcd::api::{LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::{CALL, PAUSE, Shared, Through};
use crate::check::lease::{Life, not_early};
use crate::history::{Checker, Nanos};

const TTL_S: (i64, i64) = (2, 4);
const RENEWALS: u64 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Nothing here is measured with two clocks, so the bound only covers rounding.
const BOUND: Nanos = 20_000_000;
/// Beyond the time to live: each new leader gives a lease its whole time again, and faults follow each other.
const LATE: Nanos = 90_000_000_000;

pub async fn client(shared: Arc<Shared>, number: usize) {
    for count in 0u64.. {
        if shared.stopped() {
            return;
        }
        // A call that failed leaves a lease that ends by itself.
        if one(&shared, number, &format!("lease/{number}/{count}")).await.is_err() {
            sleep(PAUSE).await;
        }
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(CALL, call).await.map_err(|_| Status::deadline_exceeded("the client waits no longer"))?
}

async fn one(shared: &Shared, number: usize, key: &str) -> Result<(), Status> {
    let Through { mut kv, etcd, .. } = shared.through(number);
    let ttl = rand::random_range(TTL_S.0..=TTL_S.1);
    let mut renewed = shared.clock.now();
    let grant = LeaseGrantRequest { id: 0, ttl };
    let granted = bounded(LeaseClient::new(etcd).lease_grant(grant)).await?.into_inner();
    let ttl = u64::try_from(granted.ttl).unwrap_or(0) * 1_000_000_000;
    let put = PutRequest { key: key.into(), value: b"x".to_vec(), lease: granted.id, ..PutRequest::default() };
    bounded(kv.put(put)).await?;
    for _ in 0..rand::random_range(0..=RENEWALS) {
        sleep(Duration::from_nanos(ttl / 3)).await;
        let asked = shared.clock.now();
        match renew(&shared.through(number), granted.id).await {
            Ok(true) => renewed = asked,
            // It is over, or nobody knows.
            Ok(false) | Err(_) => break,
        }
    }
    loop {
        let get = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let answer = bounded(shared.through(number).kv.range(get)).await;
        let now = shared.clock.now();
        match answer {
            Ok(answer) if answer.get_ref().kvs.is_empty() => {
                shared.found(not_early(&Life { id: granted.id, ttl, renewed, gone: now }, BOUND));
                return Ok(());
            }
            Ok(_) if now > renewed + ttl + LATE => {
                let what = format!(
                    "lease {} of {} s is still there after {} s",
                    granted.id,
                    granted.ttl,
                    (now - renewed) / 1_000_000_000
                );
                shared.found([Checker::Liveness.found(what)]);
                return Ok(());
            }
            _ => sleep(LOOK_EVERY).await,
        }
        if shared.stopped() {
            return Ok(());
        }
    }
}

/// Whether the lease was there and is renewed.
async fn renew(through: &Through, id: i64) -> Result<bool, Status> {
    let requests = tokio_stream::iter([LeaseKeepAliveRequest { id }]);
    let mut client = LeaseClient::new(through.etcd.clone());
    let answer = bounded(async { client.lease_keep_alive(requests).await?.into_inner().message().await }).await?;
    Ok(answer.is_some_and(|answer| answer.ttl > 0))
}
