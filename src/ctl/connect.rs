//! Reaching the cluster: endpoints are tried in turn until one answers, everything bounded by `--timeout`.
//!
//! A TCP connection proves nothing about a stopped process, so each endpoint must answer a probe (LeaderShow) first.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::exit::{self, Failure};
use super::session::{self, Client, Session};
use crate::forward::Peers;
use crate::limits;
use crate::pb::admin::{LeaderShowRequest, LeaderShowResponse};

/// How to reach the cluster; accepted before and after the command.
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// Internal address of a node; repeat it to have others tried in turn
    #[arg(
        long = "endpoint",
        value_name = "HOST:PORT",
        global = true,
        env = "ROOSTCTL_ENDPOINTS",
        value_delimiter = ',',
        default_value = "127.0.0.1:22125"
    )]
    pub endpoints: Vec<Endpoint>,

    /// The cluster's shared secret (better passed by the environment, where `ps` does not show it)
    #[arg(long, global = true, env = "ROOST_CLUSTER_SECRET", hide_env_values = true, hide_default_value = true)]
    pub secret: Option<String>,

    /// How long to try and to wait for answers: 10, 10s or 500ms
    #[arg(long, value_name = "TIME", global = true, default_value = "10s", value_parser = parse_timeout)]
    pub timeout: Duration,
}

/// `host:port` of a node's internal listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim().strip_prefix("http://").unwrap_or(text.trim()).trim_end_matches('/');
        let authority: http::uri::Authority = bare.parse().map_err(|_| format!("'{text}' is not HOST:PORT"))?;
        match authority.port_u16() {
            Some(port) if port > 0 && !authority.host().is_empty() && !bare.contains('@') => {
                Ok(Endpoint(bare.to_owned()))
            }
            _ => Err(format!("'{text}' is not HOST:PORT")),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Seconds without a unit, or `s` and `ms`.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let (digits, unit_ms) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1.0),
        None => (text.strip_suffix('s').unwrap_or(text), 1000.0),
    };
    let amount: f64 = digits.trim().parse().map_err(|_| format!("'{text}' is not a time: 10, 10s or 500ms"))?;
    let time_ms = amount * unit_ms;
    if !(time_ms >= 1.0 && time_ms <= limits::CTL_TIMEOUT_MAX.as_millis() as f64) {
        return Err(format!("'{text}' is not between 1ms and {} s", limits::CTL_TIMEOUT_MAX.as_secs()));
    }
    Ok(Duration::from_micros((time_ms * 1000.0) as u64))
}

/// Opens sessions.
pub struct Dialer {
    endpoints: Vec<Endpoint>,
    /// Shows the cluster's secret with each call, as the nodes do among themselves.
    peers: Peers,
    pub timeout: Duration,
}

impl Dialer {
    pub fn new(args: &ConnectArgs) -> Self {
        let secret = args.secret.as_deref().filter(|secret| !secret.is_empty());
        Dialer { endpoints: args.endpoints.clone(), peers: Peers::new(secret), timeout: args.timeout }
    }

    /// A session with the first node that answers.
    pub async fn any(&self) -> Result<Session, Failure> {
        let deadline = Instant::now() + self.timeout;
        Ok(self.first_answer(deadline, |_| true).await?.0)
    }

    /// A session with the first node that knows a leader. An election is waited for, within the timeout.
    pub async fn with_leader(&self) -> Result<Session, Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let outcome = self.first_answer(deadline, |answer| answer.leader.is_some()).await;
            let again_at = Instant::now() + limits::CTL_RETRY_PAUSE;
            match outcome {
                Err(Failure::NoLeader(_) | Failure::Unreachable(_)) if again_at < deadline => {
                    sleep_until(again_at).await
                }
                outcome => return Ok(outcome?.0),
            }
        }
    }

    /// One call that the leader must execute. It is repeated while the servers say that it was not executed because the
    /// leader moved, within the timeout.
    pub async fn on_leader<Q, A, F>(&self, message: Q, rpc: impl Fn(Client, Request<Q>) -> F) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        loop {
            let session = self.with_leader().await?;
            match session.call(message.clone(), &rpc).await {
                Err(Failure::NoLeader(_)) if Instant::now() + limits::CTL_RETRY_PAUSE < deadline => {
                    sleep(limits::CTL_RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// What each endpoint answers to the probe, asked at the same time.
    pub async fn every(&self) -> Vec<(Endpoint, Result<LeaderShowResponse, Failure>)> {
        let deadline = Instant::now() + self.timeout.min(limits::CTL_PROBE_TIMEOUT);
        let asked = self.endpoints.iter().map(|endpoint| async move {
            (endpoint.clone(), self.probe(endpoint, deadline, deadline).await.map(|(_, answer)| answer))
        });
        futures::future::join_all(asked).await
    }

    /// A session with the node at this address and no other.
    pub async fn exactly(&self, address: &str) -> Result<Session, Failure> {
        let endpoint = address.parse().map_err(Failure::Failed)?;
        let probe_deadline = Instant::now() + self.timeout.min(limits::CTL_PROBE_TIMEOUT);
        Ok(self.probe(&endpoint, probe_deadline, Instant::now() + self.timeout).await?.0)
    }

    async fn first_answer(
        &self,
        deadline: Instant,
        suits: impl Fn(&LeaderShowResponse) -> bool,
    ) -> Result<(Session, LeaderShowResponse), Failure> {
        let mut unreachable = Vec::new();
        let mut answered = None;
        for (tried, endpoint) in self.endpoints.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let fair = left / (self.endpoints.len() - tried) as u32;
            let probe_deadline = Instant::now() + fair.min(limits::CTL_PROBE_TIMEOUT);
            match self.probe(endpoint, probe_deadline, deadline).await {
                Ok((session, answer)) if suits(&answer) => return Ok((session, answer)),
                Ok(_) => answered = Some(Failure::NoLeader(format!("{endpoint} knows none"))),
                Err(Failure::Unreachable(why)) => unreachable.push(why),
                // The node is there and refuses: more telling than another that is not there.
                Err(failure) => answered = answered.or(Some(failure)),
            }
        }
        Err(answered.unwrap_or_else(|| Failure::Unreachable(unreachable.join("; "))))
    }

    /// Connects and asks for the leader before `probe_deadline`; the session then lasts until `deadline`.
    async fn probe(
        &self,
        endpoint: &Endpoint,
        probe_deadline: Instant,
        deadline: Instant,
    ) -> Result<(Session, LeaderShowResponse), Failure> {
        let absent = |why: String| Failure::Unreachable(format!("{endpoint}: {why}"));
        let asking = async {
            let channel = self.channel(endpoint)?.connect().await.map_err(|error| absent(exit::cause(&error)))?;
            let channel = self.peers.authenticated(channel);
            let answer = session::admin(channel.clone()).leader_show(LeaderShowRequest {}).await.map_err(|status| {
                match exit::is_transport(&status) {
                    true => absent(exit::cause(&status)),
                    false => Failure::from_status(&endpoint.0, &status),
                }
            })?;
            let (node, started) = (endpoint.0.clone(), Instant::now());
            let session = Session { channel, node, deadline, started };
            Ok((session, answer.into_inner()))
        };
        timeout_at(probe_deadline, asking).await.unwrap_or_else(|_| Err(absent("no answer in time".to_owned())))
    }

    fn channel(&self, endpoint: &Endpoint) -> Result<tonic::transport::Endpoint, Failure> {
        let channel = Channel::from_shared(format!("http://{endpoint}"))
            .map_err(|error| Failure::Usage(format!("{endpoint}: {error}")))?;
        Ok(channel
            .connect_timeout(limits::CTL_PROBE_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(limits::CTL_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(limits::CTL_KEEP_ALIVE_TIMEOUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_need_a_host_and_a_port() {
        for good in ["127.0.0.1:22125", "node-1.example:1", "[::1]:22125", "http://a:1", " a:1/ "] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in ["", "host", ":22125", "host:0", "host:99999", "a b:1", "u@h:1", "https://a:1"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn timeouts_have_units_and_limits() {
        assert_eq!(parse_timeout("10").unwrap(), Duration::from_secs(10));
        assert_eq!(parse_timeout("2.5s").unwrap(), Duration::from_millis(2500));
        assert_eq!(parse_timeout("500ms").unwrap(), Duration::from_millis(500));
        for bad in ["", "x", "0", "-1", "NaN", "inf", "1e30", "10m", "0.1ms"] {
            assert!(parse_timeout(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn dead_and_silent_endpoints_are_named_within_the_timeout() {
        // A listener that never accepts stands for a stopped process: TCP connects, nothing answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = ConnectArgs {
            endpoints: vec![
                dead.to_string().parse().unwrap(),
                silent.local_addr().unwrap().to_string().parse().unwrap(),
            ],
            secret: None,
            timeout: Duration::from_millis(300),
        };
        let started = Instant::now();
        let failure = Dialer::new(&args).any().await.err().unwrap();
        assert_eq!(failure.exit_code(), 3, "{failure}");
        let text = failure.to_string();
        assert!(text.contains(&dead.to_string()) && text.contains("no answer in time"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
