//! Who asks, under which request id, and until when: stamped once, where a call enters the cluster.
//! The stamp travels with a forwarded call as metadata that only peers may send, and ends up in the log entry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::limits;
pub use crate::state::RequestId;

/// Prefix of every metadata key that only peers may send.
pub const RESERVED: &str = "roost-";
/// `node.boot.sequence.acked_below`, hexadecimal.
const REQUEST: HeaderName = HeaderName::from_static("roost-request");
/// Base64 of the principal: a user name is any text.
const PRINCIPAL: HeaderName = HeaderName::from_static("roost-principal");
/// The address that the call came from.
const SOURCE: HeaderName = HeaderName::from_static("roost-source");
/// gRPC's own deadline header.
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The stamp of one call.
#[derive(Clone, Debug)]
pub struct Call {
    pub request: RequestId,
    /// The user that the client names, verified if authorization is on; empty for none.
    pub principal: String,
    /// `ip:port` of the client, or what the caller inside this process is called.
    pub source: String,
    pub deadline: Instant,
}

impl Call {
    /// Writes the stamp, and what is left of the time, over whatever `headers` hold.
    pub fn write(&self, headers: &mut HeaderMap) {
        let RequestId { node, boot, sequence, acked_below } = self.request;
        put(headers, REQUEST, &format!("{node:x}.{boot:x}.{sequence:x}.{acked_below:x}"));
        put(headers, PRINCIPAL, &BASE64_STANDARD.encode(&self.principal));
        put(headers, SOURCE, &self.source);
        let left = self.deadline.saturating_duration_since(Instant::now());
        put(headers, TIMEOUT, &format!("{}m", left.as_millis().clamp(1, 99_999_999)));
    }

    /// Reads what [`Call::write`] wrote. `None` if it is missing or malformed.
    pub fn read(headers: &HeaderMap) -> Option<Call> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let mut numbers = text(&REQUEST)?.split('.').map(|part| u64::from_str_radix(part, 16).ok());
        let mut next = || numbers.next().flatten();
        let request = RequestId { node: next()?, boot: next()?, sequence: next()?, acked_below: next()? };
        let principal = String::from_utf8(BASE64_STANDARD.decode(text(&PRINCIPAL)?).ok()?).ok()?;
        let source = text(&SOURCE)?.to_owned();
        Some(Call { request, principal, source, deadline: Instant::now() + time_allowed(headers) })
    }
}

impl Call {
    /// The stamp of a call that an ingress let in. A call without one came past every ingress.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Call, tonic::Status> {
        let unstamped = || tonic::Status::failed_precondition("this call did not enter through an ingress");
        request.extensions().get::<Call>().cloned().ok_or_else(unstamped)
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Removes every `roost-*` key: outside callers must not be able to claim a stamp or the secret's effects.
pub fn strip(headers: &mut HeaderMap) {
    let reserved: Vec<HeaderName> = headers.keys().filter(|key| key.as_str().starts_with(RESERVED)).cloned().collect();
    for key in reserved {
        headers.remove(key);
    }
}

/// How long the caller gives the call: its gRPC deadline within our maximum, else our default.
pub fn time_allowed(headers: &HeaderMap) -> Duration {
    time_asked(headers).unwrap_or(limits::CALL_TIME_DEFAULT).min(limits::CALL_TIME_MAX)
}

/// The caller's gRPC deadline, if it has one.
pub fn time_asked(headers: &HeaderMap) -> Option<Duration> {
    headers.get(&TIMEOUT).and_then(|value| value.to_str().ok()).and_then(parse_timeout)
}

/// gRPC's form: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The user in Milvus' `authorization` metadata, base64 of `user:password`; empty if there is none that can be read.
pub fn principal(headers: &HeaderMap) -> String {
    let decode = |text: &str| {
        let text = text.trim().trim_end_matches('=');
        let text = String::from_utf8(BASE64_STANDARD_NO_PAD.decode(text).ok()?).ok()?;
        let (user, _) = text.split_once(':')?;
        let sane = user.len() <= limits::PRINCIPAL_BYTES_MAX && !user.chars().any(char::is_control);
        sane.then(|| user.to_owned())
    };
    headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(decode).unwrap_or_default()
}

/// The request ids of this node since it started, and which of them are still open.
#[derive(Debug)]
pub struct Requests {
    node: u64,
    boot: u64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    sequences: BTreeSet<u64>,
}

/// Keeps a sequence open; dropping it says that the call will not be sent again.
#[derive(Debug)]
pub struct OpenRequest {
    requests: Arc<Requests>,
    pub id: RequestId,
}

impl Requests {
    /// `boot` must differ from that of every earlier start of this node.
    pub fn new(node: u64, boot: u64) -> Arc<Self> {
        Arc::new(Requests { node, boot, open: Mutex::default() })
    }

    pub fn begin(self: &Arc<Self>) -> OpenRequest {
        let mut open = self.open.lock();
        open.last += 1;
        let sequence = open.last;
        open.sequences.insert(sequence);
        let acked_below = open.sequences.first().copied().unwrap_or(sequence);
        let id = RequestId { node: self.node, boot: self.boot, sequence, acked_below };
        OpenRequest { requests: self.clone(), id }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.requests.open.lock().sequences.remove(&self.id.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_trip_and_outside_copies_do_not() {
        let call = Call {
            request: RequestId { node: 3, boot: 0xfeed, sequence: 17, acked_below: 16 },
            principal: "größe:x".into(),
            source: "10.0.0.1:5555".into(),
            deadline: Instant::now() + Duration::from_secs(5),
        };
        let mut headers = HeaderMap::new();
        call.write(&mut headers);
        let back = Call::read(&headers).unwrap();
        assert_eq!((back.request, &back.principal, &back.source), (call.request, &call.principal, &call.source));
        let drift = back.deadline.max(call.deadline) - back.deadline.min(call.deadline);
        assert!(drift < Duration::from_millis(100));
        headers.insert("dbname", HeaderValue::from_static("kept"));
        strip(&mut headers);
        assert!(Call::read(&headers).is_none());
        assert!(headers.contains_key("dbname"));
    }

    #[test]
    fn malformed_stamps_and_timeouts_are_refused() {
        for text in ["", "1", "1.2.3", "x.1.2.3", "1.2.3.fffffffffffffffff"] {
            let mut headers = HeaderMap::new();
            Call {
                request: RequestId::default(),
                principal: String::new(),
                source: String::new(),
                deadline: Instant::now(),
            }
            .write(&mut headers);
            headers.insert(REQUEST, HeaderValue::from_str(text).unwrap());
            assert!(Call::read(&headers).is_none(), "{text}");
        }
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        for text in ["", "S", "123456789S", "1x", "-1S", "1é"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }

    #[test]
    fn the_principal_is_the_user_part() {
        let mut headers = HeaderMap::new();
        assert_eq!(principal(&headers), "");
        headers.insert("authorization", HeaderValue::from_str(&BASE64_STANDARD.encode("root:Milvus")).unwrap());
        assert_eq!(principal(&headers), "root");
        headers.insert("authorization", HeaderValue::from_static("!!!"));
        assert_eq!(principal(&headers), "");
    }

    #[test]
    fn acked_never_passes_an_open_request() {
        let requests = Requests::new(1, 9);
        let (a, b) = (requests.begin(), requests.begin());
        assert_eq!((a.id.sequence, b.id.sequence, b.id.acked_below), (1, 2, 1));
        drop(b);
        assert_eq!(requests.begin().id.acked_below, 1);
        drop(a);
        let c = requests.begin();
        assert_eq!((c.id.sequence, c.id.acked_below), (4, 4));
    }
}
