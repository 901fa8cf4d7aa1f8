//! Clients' calls are checked where they enter: by their metadata before their body is read, and by their request
//! before it is executed or passed on; and what was to be written is written down there. What another node passed on
//! was checked there.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use prost::Message;
use tonic::body::Body;
use tonic::{Code, Status};

use super::methods::{Method, Route};
use crate::access::guard::{Caller, Guard};
use crate::access::{self, Asking, Rule, audit};
use crate::call::Call;
use crate::error::Rejection;
use crate::pb::common;
use crate::quota::{Counted, Gate};

/// A reply of a call that writes is a status and little else; a longer one is passed on without a look.
const REPLY_BYTES_MAX: u64 = 64 << 10;

/// How one call is checked.
#[derive(Clone, Copy)]
pub(super) struct Checks<'a> {
    /// `None`: whoever can call may do everything.
    pub guard: Option<&'a Guard>,
    pub rule: &'a Rule,
}

/// How one call is counted.
#[derive(Clone, Copy)]
pub(super) struct Toll<'a> {
    pub gate: &'a Gate,
    pub counted: &'a Counted,
}

impl Toll<'_> {
    /// Whether the call is within the rates and not denied.
    pub async fn paid(&self, call: &Call, parts: &http::request::Parts, body: &Bytes) -> Result<(), Rejection> {
        self.gate.catch_up(call).await?;
        // A body that is no single message is refused by whoever decodes it.
        let message = access::message(body).unwrap_or_default();
        self.gate.admit(self.counted, message, &parts.headers)
    }
}

/// Who calls; `None`: nobody asks.
pub(super) async fn caller(
    checks: Option<Checks<'_>>,
    path: &str,
    headers: &HeaderMap,
    call: &Call,
) -> Result<Option<Caller>, Response<Body>> {
    let Some(Checks { guard: Some(guard), .. }) = checks else { return Ok(None) };
    guard.authenticate(headers, call).await.map(Some).map_err(|status| {
        audit::denied(call, path, None, &status);
        status.into_http()
    })
}

/// A call whose caller is known, with all of its request.
#[derive(Clone, Copy)]
pub(super) struct Checked<'a> {
    pub method: Method,
    pub call: &'a Call,
    pub parts: &'a http::request::Parts,
    pub body: &'a Bytes,
}

impl Checked<'_> {
    /// Whether it may do what it asks for.
    pub async fn may_pass(&self, checks: Checks<'_>, caller: Option<&Caller>) -> Result<(), Response<Body>> {
        let (Some(guard), Some(caller)) = (checks.guard, caller) else { return Ok(()) };
        let refused = |asking: Option<&Asking<'_>>, status: Status| {
            audit::denied(self.call, self.parts.uri.path(), asking, &status);
            status.into_http()
        };
        let Some(message) = access::message(self.body) else {
            return Err(refused(None, Status::unimplemented("a call has one request, which is not compressed")));
        };
        let asking = match Asking::new(checks.rule, message, &self.parts.headers) {
            Ok(asking) => asking,
            Err(malformed) => return Err(refused(None, Status::invalid_argument(malformed.to_string()))),
        };
        guard.authorize(caller, self.call, asking).await.map_err(|status| refused(Some(&asking), status))
    }

    /// Writes down what became of it, if it was to write.
    pub async fn done(&self, checks: Checks<'_>, response: Response<Body>) -> Response<Body> {
        if self.method.route != Route::Log || !checks.rule.is_about_something() || !audit::is_on() {
            return response;
        }
        let asking = access::message(self.body).map(|message| Asking::new(checks.rule, message, &self.parts.headers));
        match asking {
            Some(Ok(asking)) => {
                let (response, code, reason) = outcome(self.method, response).await;
                audit::done(self.call, self.parts.uri.path(), &asking, code, &reason);
                response
            }
            _ => response,
        }
    }
}

/// Reads what a reply says, and gives it back as it was.
/// Milvus' code and text, or those of gRPC (as a negative number) where the reply has none.
async fn outcome(method: Method, response: Response<Body>) -> (Response<Body>, i32, String) {
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers).filter(|status| status.code() != Code::Ok) {
        let (code, reason) = (-(status.code() as i32), status.message().to_owned());
        return (Response::from_parts(parts, body), code, reason);
    }
    if http_body::Body::size_hint(&body).lower() > REPLY_BYTES_MAX {
        return (Response::from_parts(parts, body), 0, String::new());
    }
    let collected = match body.collect().await {
        Ok(collected) => collected,
        Err(status) => {
            let (code, reason) = (-(status.code() as i32), status.message().to_owned());
            return (status.into_http(), code, reason);
        }
    };
    let trailers = collected.trailers().cloned();
    let bytes = collected.to_bytes();
    let status = method.status_in(&bytes).and_then(|status| common::Status::decode(status).ok()).unwrap_or_default();
    let body = http_body_util::Full::new(bytes).with_trailers(std::future::ready(trailers.map(Ok)));
    (Response::from_parts(parts, Body::new(body)), status.code, status.reason)
}
