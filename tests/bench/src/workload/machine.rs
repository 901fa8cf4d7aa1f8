//! What the machine itself can do: the bounds of everything else that is measured on it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::bare;
use crate::connect::{Share, connect_all};
use crate::lab::Lab;
use crate::load::{self, Amount, Client, Outcome};
use crate::report::{Goal, Metric, Sample};

/// About what a log gains from one write of 256 B.
const APPENDED_BYTES: usize = 512;
const CONNECTIONS: usize = 8;
const CLIENTS: [usize; 2] = [1, 256];

pub async fn run(lab: &Lab) -> Result<Vec<Sample>> {
    let (directory, time) = (lab.data.clone(), lab.measured() / 4);
    let mut samples = vec![tokio::task::spawn_blocking(move || sync(&directory, time)).await??];
    let channels = connect_all(&bare::serve(1)?, CONNECTIONS).await?;
    for clients in CLIENTS {
        let metric =
            Metric { workload: "machine: empty RPC", clients: clients as u64, unit: "calls/s", goal: Goal::None };
        let amount = Amount::For { warm_up: lab.warm_up() / 2, measured: lab.measured() / 2 };
        // The server is a thread of this process: all CPU time is the load's.
        let outcome = load::run(Pinger::many(clients, &channels), amount, || Ok(Duration::ZERO)).await?;
        samples.push(Sample::speed(metric, &outcome));
    }
    Ok(samples)
}

/// Appends and syncs one after the other.
fn sync(directory: &Path, time: Duration) -> Result<Sample> {
    const SYNCS: Metric =
        Metric { workload: "machine: fdatasync of 512 B appended", clients: 1, unit: "/s", goal: Goal::None };
    let place = tempfile::Builder::new().prefix("roost-bench-").tempdir_in(directory)?;
    let mut file = File::create(place.path().join("log"))?;
    let started = Instant::now();
    let mut latencies = Vec::new();
    while started.elapsed() < time {
        let before = Instant::now();
        file.write_all(&[0x5a; APPENDED_BYTES])?;
        file.sync_data()?;
        latencies.push(before.elapsed());
    }
    let outcome = Outcome::of(latencies, started.elapsed());
    Ok(Sample::speed(SYNCS, &outcome))
}

/// Calls whose handler does next to nothing: gRPC's own health check.
pub struct Pinger {
    clients: Share<HealthClient<Channel>>,
}

impl Pinger {
    pub fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        (0..count).map(|index| Pinger { clients: Share::of(channels, index, count, HealthClient::new) }).collect()
    }
}

impl Client for Pinger {
    async fn call(&mut self) -> Result<(), Status> {
        self.clients.next().check(HealthCheckRequest::default()).await?;
        Ok(())
    }
}
