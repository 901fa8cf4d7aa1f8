//! Who may use the etcd API. There is one account, `root`, whose password is the cluster's secret; clients turn it into
//! a token as they do with etcd. The token is derived from the secret: every node knows it without keeping anything, so
//! it outlives restarts and fail-over, and ends when the secret is changed.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::error::{AUTH_FAILED, AUTH_NOT_ENABLED, INVALID_AUTH_TOKEN, Refusal, USER_EMPTY};

/// Metadata in which etcd's clients show their token.
const TOKEN_KEY: &str = "token";
const CONTEXT: &str = "roost 2026 etcd token v1";

/// Guards the services of one listener.
#[derive(Clone)]
pub struct Guard {
    /// Without one every caller is let in.
    token: Option<Arc<str>>,
}

impl Guard {
    /// For a listener on loopback.
    pub fn open() -> Self {
        Guard { token: None }
    }

    pub fn with_secret(secret: &str) -> Self {
        Guard { token: Some(token_of(secret).into()) }
    }

    pub fn is_open(&self) -> bool {
        self.token.is_none()
    }

    /// The token for a caller that knows the secret.
    pub fn authenticate(&self, password: &str) -> Result<String, Refusal> {
        let expected = self.token.as_deref().ok_or(AUTH_NOT_ENABLED)?;
        // Compared as tokens, which are equally long whatever was sent.
        let shown = token_of(password);
        match same(expected, shown.as_bytes()) {
            true => Ok(shown),
            false => Err(AUTH_FAILED),
        }
    }

    pub fn check(&self, metadata: &MetadataMap) -> Result<(), Refusal> {
        let Some(expected) = self.token.as_deref() else { return Ok(()) };
        let shown = metadata.get(TOKEN_KEY).ok_or(USER_EMPTY)?;
        if same(expected, shown.as_encoded_bytes()) { Ok(()) } else { Err(INVALID_AUTH_TOKEN) }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(request.metadata())?;
        Ok(request)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Guard(open)" } else { "Guard(secret)" })
    }
}

fn token_of(secret: &str) -> String {
    let digits = blake3::derive_key(CONTEXT, secret.as_bytes());
    blake3::Hash::from_bytes(digits).to_hex().to_string()
}

fn same(expected: &str, shown: &[u8]) -> bool {
    expected.as_bytes().ct_eq(shown).into()
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn the_secret_buys_a_token_and_the_token_opens() {
        let guard = Guard::with_secret("one for all");
        let token = guard.authenticate("one for all").unwrap();
        assert_eq!(Guard::with_secret("one for all").authenticate("one for all").unwrap(), token, "on every node");
        for wrong in ["", "One for all", token.as_str()] {
            assert_eq!(guard.authenticate(wrong), Err(AUTH_FAILED), "{wrong}");
        }
        let with = |token: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert(TOKEN_KEY, MetadataValue::try_from(token).unwrap());
            metadata
        };
        assert_eq!(guard.check(&with(&token)), Ok(()));
        assert_eq!(guard.check(&MetadataMap::new()), Err(USER_EMPTY));
        for wrong in ["", "one for all", &token[1..]] {
            assert_eq!(guard.check(&with(wrong)), Err(INVALID_AUTH_TOKEN), "{wrong}");
        }
        assert_eq!(Guard::with_secret("another").check(&with(&token)), Err(INVALID_AUTH_TOKEN));
        assert!(!format!("{guard:?}").contains(&token));
    }

    #[test]
    fn an_open_guard_lets_everybody_in_and_says_that_nobody_need_ask() {
        assert_eq!(Guard::open().check(&MetadataMap::new()), Ok(()));
        assert_eq!(Guard::open().authenticate("x"), Err(AUTH_NOT_ENABLED));
    }
}
