//! The shared secret: whoever calls a guarded listener proves that it belongs to the cluster.
//! What travels is derived from the secret, and it is compared in constant time.

use std::convert::Infallible;
use std::fmt::Write;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{HeaderValue, Request, Response};
use subtle::ConstantTimeEq;
use tonic::body::Body;
use tower::{Layer, Service};

/// Carries the proof.
pub const SECRET: &str = "roost-secret";
const CONTEXT: &str = "roost 2026 shared secret v1";

/// What a caller that knows `secret` shows: 64 hexadecimal digits.
pub fn secret_proof(secret: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in blake3::derive_key(CONTEXT, secret.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Lets through only calls with the right proof; without an expected one, every call.
#[derive(Clone)]
pub struct DoorLayer {
    expected: Option<HeaderValue>,
}

impl DoorLayer {
    /// `None` opens the door: only for a listener that needs no guard.
    pub fn new(secret: Option<&str>) -> Self {
        DoorLayer { expected: secret.and_then(|secret| HeaderValue::from_str(&secret_proof(secret)).ok()) }
    }

    fn admits<B>(&self, request: &Request<B>) -> bool {
        let Some(expected) = &self.expected else { return true };
        let shown = request.headers().get(SECRET).map_or(&[][..], HeaderValue::as_bytes);
        expected.as_bytes().ct_eq(shown).into()
    }
}

impl<S> Layer<S> for DoorLayer {
    type Service = Door<S>;

    fn layer(&self, inner: S) -> Door<S> {
        Door { layer: self.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Door<S> {
    layer: DoorLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Door<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.layer.admits(&request) {
            return Either::Left(self.inner.call(request));
        }
        let refusal = tonic::Status::unauthenticated(
            "this listener asks for the cluster's shared secret (metadata roost-secret); it is missing or wrong",
        );
        Either::Right(ready(Ok(refusal.into_http())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knock(door: &DoorLayer, shown: Option<&str>) -> bool {
        let mut request = Request::new(());
        if let Some(shown) = shown {
            request.headers_mut().insert(SECRET, HeaderValue::from_str(shown).unwrap());
        }
        door.admits(&request)
    }

    #[test]
    fn only_the_right_proof_opens_a_guarded_door() {
        let door = DoorLayer::new(Some("swordfish"));
        assert!(knock(&door, Some(&secret_proof("swordfish"))));
        assert!(!knock(&door, Some("swordfish")), "the secret itself is not the proof");
        assert!(!knock(&door, Some(&secret_proof("Swordfish"))));
        assert!(!knock(&door, Some("")));
        assert!(!knock(&door, None));
        assert!(knock(&DoorLayer::new(None), None));
    }
}
