//! `roost-sim`, as a process: simulated nodes, and their switches.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roost::pb::sim::sim_client::SimClient;
use roost::pb::sim::{
    Knobs, Metrics, Node, NodesRequest, NodesResponse, Power, SwitchRequest, WalsRequest, WalsResponse,
};
use tonic::Status;
use tonic::transport::Channel;

use super::client::channel;

/// The simulation answers at once, or it is gone.
const CALL: Duration = Duration::from_secs(10);

pub struct Sim {
    child: Child,
    control: SimClient<Channel>,
}

impl Sim {
    /// Starts it; its log goes to `home`, and it is controlled at `control`.
    pub fn start(program: &Path, home: &Path, control: &str, arguments: &[String]) -> io::Result<Self> {
        let log = File::create(home.join("roost-sim.log"))?;
        let mut command = Command::new(program);
        command.env_remove("ROOST_CLUSTER_SECRET").args(["run", "--log-level", "info,roost=debug"]);
        command.args(["--control", control]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Sim { child: command.spawn()?, control: SimClient::new(channel(control)) })
    }

    /// For whoever looks by himself.
    pub fn control(&self) -> SimClient<Channel> {
        self.control.clone()
    }

    /// All nodes by number; nothing while the process is starting.
    pub async fn nodes(&self) -> Result<Vec<Node>, Status> {
        Ok(self.known().await?.nodes)
    }

    /// Nodes that were declared dead before their time.
    pub async fn early_deaths(&self) -> Result<Vec<String>, Status> {
        Ok(self.known().await?.violations)
    }

    async fn known(&self) -> Result<NodesResponse, Status> {
        let mut control = self.control();
        let answer = tokio::time::timeout(CALL, control.nodes(NodesRequest {})).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("roost-sim"))??.into_inner())
    }

    pub async fn power(&self, number: u32, power: Power) -> Result<(), Status> {
        self.switch(SwitchRequest { number, power: power.into(), ..SwitchRequest::default() }).await
    }

    pub async fn turn(&self, number: u32, knobs: Knobs) -> Result<(), Status> {
        self.switch(SwitchRequest { number, knobs: Some(knobs), ..SwitchRequest::default() }).await
    }

    /// What it answers to GetMetrics from now on.
    pub async fn report(&self, number: u32, metrics: Metrics) -> Result<(), Status> {
        self.switch(SwitchRequest { number, metrics: Some(metrics), ..SwitchRequest::default() }).await
    }

    async fn switch(&self, request: SwitchRequest) -> Result<(), Status> {
        let mut control = self.control();
        let answer = tokio::time::timeout(CALL, control.switch(request)).await;
        answer.map_err(|_| Status::deadline_exceeded("roost-sim"))?.map(drop)
    }

    /// What the logs wrote down.
    pub async fn wals(&self) -> Result<WalsResponse, Status> {
        self.wals_after(0).await
    }

    /// The same, with the broadcasts of greater ids.
    pub async fn wals_after(&self, after_broadcast: u64) -> Result<WalsResponse, Status> {
        let mut control = self.control();
        let request = WalsRequest { after_broadcast, ..WalsRequest::default() };
        let answer = tokio::time::timeout(CALL, control.wals(request)).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("roost-sim"))??.into_inner())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Already dead is dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
