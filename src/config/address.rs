//! Addresses as people write them: `host:port`, where the host is a name, an IPv4 address or an IPv6 one in brackets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest host name that DNS allows, in bytes.
const HOST_LENGTH_MAX: usize = 253;

/// A dialable `host:port`. Not resolved here: a name may point elsewhere tomorrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(String);

impl HostPort {
    /// `127.0.0.1:port`.
    pub fn loopback(port: u16) -> Self {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
    }

    /// The text, as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The port. Never fails on a parsed value; 0 stands for "none".
    pub fn port(&self) -> u16 {
        split(&self.0).map_or(0, |(_, port)| port)
    }

    /// Whether another process could connect to this: not a wildcard address, not port 0.
    pub fn dialable(&self) -> bool {
        let Some((host, port)) = split(&self.0) else { return false };
        port != 0 && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

/// Host without brackets, and port. `None` when it is not `host:port`.
fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok().then_some((inner, port));
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named = !host.is_empty() && host.len() <= HOST_LENGTH_MAX && host.chars().all(valid);
    named.then_some((host, port))
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(format!("`{text}` is not host:port (such as 10.0.0.7:23125, node-1:23125 or [::1]:23125)")),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Parse { parse: HostPort::from_str, expected: "host:port" })
    }
}

/// An address to advertise; empty means "not set".
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HostPort>, D::Error> {
    let parse = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
    deserializer.deserialize_str(Parse { parse, expected: "host:port" })
}

/// An address to listen on: an IP, because a name may resolve to an interface that nobody meant.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let parse = |text: &str| match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Err(format!("`{text}` is not IP:port (such as 127.0.0.1:19530, 0.0.0.0:19530 or [::]:19530)")),
    };
    deserializer.deserialize_str(Parse { parse, expected: "IP:port" })
}

/// Parses within the visit of the value: an error from there carries the key's path and line, a later one does not.
struct Parse<F> {
    parse: F,
    expected: &'static str,
}

impl<T, F: FnOnce(&str) -> Result<T, String>> de::Visitor<'_> for Parse<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}
