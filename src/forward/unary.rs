//! Calls with one request: they are checked, and the body is kept, so that the call can be sent again, under the same
//! request id, until an answer is known or the time is up.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tonic::body::Body;
use tower::Service;

use super::body::{Unread, counted, keep, whole};
use super::checked::{Checked, Checks, Toll};
use super::ingress::{Ingress, Leader, Stamped, local};
use super::methods::{Method, Route};
use super::retry::{self, Attempt};
use crate::access::guard::Caller;
use crate::error::Rejection;
use crate::limits;

/// Sends the call until it is answered, and says so if it is not.
pub(super) async fn serve<S>(
    ingress: &Ingress,
    inner: S,
    request: Request<Body>,
    method: Method,
    stamped: &Stamped,
    checks: Option<(Checks<'_>, Option<Caller>)>,
    toll: Option<Toll<'_>>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let deadline = stamped.call.deadline;
    let (parts, body) = request.into_parts();
    let kept = match tokio::time::timeout_at(deadline.into(), keep(body, &ingress.bytes)).await {
        Ok(Ok(kept)) => kept,
        Ok(Err(unread)) => return refuse_unread(&method, unread),
        Err(_) => return method.refuse(&too_late(Attempt::NotDone)),
    };
    let execute = async || {
        let paid = match toll {
            Some(toll) => toll.paid(&stamped.call, &parts, &kept.bytes).await,
            None => Ok(()),
        };
        match paid {
            Ok(()) => repeat(ingress, inner, method, stamped, &parts, &kept.bytes).await,
            Err(refusal) => method.refuse(&refusal),
        }
    };
    let Some((checks, caller)) = checks else { return execute().await };
    let checked = Checked { method, call: &stamped.call, parts: &parts, body: &kept.bytes };
    match checked.may_pass(checks, caller.as_ref()).await {
        Ok(()) => checked.done(checks, execute().await).await,
        Err(refusal) => refusal,
    }
}

/// Sends the call until it is answered.
async fn repeat<S>(
    ingress: &Ingress,
    inner: S,
    method: Method,
    stamped: &Stamped,
    parts: &Parts,
    bytes: &Bytes,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let deadline = stamped.call.deadline;
    let _turn = match method.listing {
        true => match tokio::time::timeout_at(deadline.into(), ingress.listings.acquire()).await {
            Ok(Ok(turn)) => Some(turn),
            Ok(Err(_)) | Err(_) => {
                return method.refuse(&Rejection::RateLimited { detail: "too many listings on this node".into() });
            }
        },
        false => None,
    };
    let mut attempts = Attempts { ingress, method, stamped, worst: Attempt::NotDone };
    let mut pause = limits::LEADER_RETRY_MIN;
    loop {
        let mut leadership = ingress.replica.leadership();
        leadership.mark_unchanged();
        let again = Request::from_parts(parts.clone(), Body::new(Full::new(bytes.clone())));
        match tokio::time::timeout_at(deadline.into(), attempts.once(inner.clone(), again)).await {
            Ok(Some(response)) if method.listing => {
                let reply = counted(response, &ingress.bytes).await;
                return reply.unwrap_or_else(|unread| refuse_unread(&method, unread));
            }
            Ok(Some(response)) => return response,
            Ok(None) => {}
            Err(_) => {
                // It was cut off in the middle, wherever it was.
                let writes = matches!(method.route, Route::Log | Route::Once);
                let worst = if writes { Attempt::Unknown } else { attempts.worst };
                return method.refuse(&too_late(worst));
            }
        }
        if Instant::now() + pause >= deadline {
            return method.refuse(&too_late(attempts.worst));
        }
        // A change of leader is worth an attempt at once.
        let _ = tokio::time::timeout(pause, leadership.changed()).await;
        pause = (pause * 2).min(limits::LEADER_RETRY_MAX);
    }
}

struct Attempts<'a> {
    ingress: &'a Ingress,
    method: Method,
    stamped: &'a Stamped,
    /// The most that any attempt may have done.
    worst: Attempt,
}

impl Attempts<'_> {
    /// One attempt. `None`: try again.
    async fn once<S>(&mut self, inner: S, mut request: Request<Body>) -> Option<Response<Body>>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send,
    {
        let leader = if self.method.route == Route::Here { Some(Leader::Here) } else { self.ingress.leader() };
        let response = match leader? {
            Leader::Here => {
                request.extensions_mut().insert(self.stamped.call.clone());
                local(inner, request).await
            }
            Leader::At(address) => self.remote(&address, request).await?,
        };
        match retry::asked(response.headers()) {
            // An earlier attempt may still take effect, whatever this one was told on its way to the log.
            None if self.worst == Attempt::Unknown && retry::before_log(response.headers()) => {
                self.failed(Attempt::Unknown)
            }
            None => Some(response),
            Some(Attempt::Unknown) if self.method.route == Route::Once => Some(response),
            Some(attempt) => self.failed(attempt),
        }
    }

    /// One attempt on the leader at `address`, given up when another one is known: a leader that is dead or cut off may
    /// never answer.
    async fn remote(&mut self, address: &str, request: Request<Body>) -> Option<Response<Body>> {
        let (ingress, stamp, streaming) = (self.ingress, &self.stamped.call, self.method.server_streaming);
        let once = self.method.route == Route::Once;
        let answer = async {
            let response = ingress.pass_on(address, stamp, request, streaming).await.map_err(|_| ())?;
            if streaming { Ok(response) } else { whole(response).await }
        };
        tokio::select! {
            answer = answer => match answer {
                Ok(response) => Some(response),
                Err(()) if once => Some(self.method.refuse(&too_late(Attempt::Unknown))),
                Err(()) => self.failed(Attempt::Unknown),
            },
            () = moved_from(ingress, address), if !once => self.failed(Attempt::Unknown),
        }
    }

    fn failed(&mut self, attempt: Attempt) -> Option<Response<Body>> {
        self.ingress.metrics.retried();
        if attempt == Attempt::Unknown {
            self.worst = Attempt::Unknown;
        }
        None
    }
}

/// Waits until this node knows a leader that is not at `address`.
async fn moved_from(ingress: &Ingress, address: &str) {
    let mut leadership = ingress.replica.leadership();
    loop {
        leadership.mark_unchanged();
        match ingress.leader() {
            Some(Leader::At(current)) if current == address => {}
            Some(_) => return,
            None => {}
        }
        if leadership.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn refuse_unread(method: &Method, unread: Unread) -> Response<Body> {
    match unread {
        Unread::NoRoom => {
            method.refuse(&Rejection::RateLimited { detail: "too many bytes in progress on this node".into() })
        }
        Unread::Refused(status) => status.into_http(),
    }
}

fn too_late(worst: Attempt) -> Rejection {
    match worst {
        Attempt::NotDone => Rejection::Unavailable { detail: "no leader answered in time; nothing was done".into() },
        Attempt::Unknown => {
            Rejection::OutcomeUnknown { detail: "no answer in time; the request may or may not take effect".into() }
        }
    }
}
