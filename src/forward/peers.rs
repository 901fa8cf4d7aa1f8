//! Channels to the other nodes' peer listeners, one for each address, opened when first used and kept.

use std::collections::HashMap;

use http::HeaderValue;
use parking_lot::Mutex;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use super::door::{SECRET, secret_proof};
use crate::limits;

/// Dials peers and shows them the cluster's secret.
pub struct Peers {
    proof: Option<HeaderValue>,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Peers {
    pub fn new(secret: Option<&str>) -> Self {
        let proof = secret.and_then(|secret| HeaderValue::from_str(&secret_proof(secret)).ok());
        Peers { proof, channels: Mutex::default() }
    }

    /// The channel to `address` (`host:port`). It connects when used, and again after every break.
    pub fn channel(&self, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        if channels.len() >= limits::PEER_CHANNELS_MAX {
            channels.clear();
        }
        let channel = Endpoint::from_shared(format!("http://{address}"))?
            .http2_keep_alive_interval(limits::PEER_KEEPALIVE_INTERVAL)
            .keep_alive_timeout(limits::PEER_KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(false)
            .http2_adaptive_window(true)
            .connect_with_connector_lazy(tower::service_fn(roost_raft::network::connect));
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// The proof of the secret, as the value of `roost-secret`.
    pub(super) fn proof(&self) -> Option<HeaderValue> {
        self.proof.clone()
    }

    /// `channel` for a generated client, showing the secret with every call.
    pub fn authenticated(&self, channel: Channel) -> InterceptedService<Channel, Authenticate> {
        let proof = self.proof.as_ref().and_then(|proof| AsciiMetadataValue::try_from(proof.as_bytes()).ok());
        InterceptedService::new(channel, Authenticate { proof })
    }
}

/// Adds the proof of the secret to a call.
#[derive(Clone)]
pub struct Authenticate {
    proof: Option<AsciiMetadataValue>,
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(proof) = &self.proof {
            request.metadata_mut().insert(SECRET, proof.clone());
        }
        Ok(request)
    }
}
