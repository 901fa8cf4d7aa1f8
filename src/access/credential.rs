//! Who calls: the `authorization` metadata, and what of it was verified before.
//!
//! bcrypt takes tens of milliseconds, so a token that was verified is remembered by a keyed hash, together with the
//! generation of the password that it showed. A password that was changed has another generation, and so has a user
//! that was dropped and made again: what is remembered of the old one no longer counts.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use tonic::Status;

use super::password::decode_base64;
use crate::limits;

/// What a caller shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Credential {
    pub user: String,
    pub password: Vec<u8>,
    /// As it was sent: what is remembered is remembered of this.
    pub token: Vec<u8>,
}

impl Credential {
    /// Refuses in the words of Milvus' proxy.
    pub fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Err(Status::unauthenticated("missing authorization in header"));
        };
        let malformed = || Status::unauthenticated("invalid token format");
        let token = value.to_str().ok().and_then(decode_base64).ok_or_else(malformed)?;
        let Some(colon) = token.iter().position(|byte| *byte == b':') else {
            // Milvus itself knows keys only with a plug-in.
            return Err(Status::unauthenticated("auth check failure, please check api key is correct"));
        };
        let (user, password) = token.split_at(colon);
        let user = std::str::from_utf8(user).map_err(|_| malformed())?.to_owned();
        let password = password.get(1..).unwrap_or_default().to_vec();
        Ok(Credential { user, password, token })
    }
}

/// Tokens that were verified.
pub struct Verified {
    /// Of this start: nobody else can tell what is remembered here.
    key: [u8; 32],
    known: Mutex<Known>,
}

/// Two halves: when the new one is full the old one is forgotten.
#[derive(Default)]
struct Known {
    new: HashMap<[u8; 32], u64>,
    old: HashMap<[u8; 32], u64>,
}

impl Default for Verified {
    fn default() -> Self {
        Verified { key: rand::random(), known: Mutex::default() }
    }
}

impl Verified {
    /// The generation of the password that the token showed when it was verified.
    pub fn generation(&self, token: &[u8]) -> Option<u64> {
        let hash = self.hash(token);
        let mut known = self.known.lock();
        if let Some(generation) = known.new.get(&hash) {
            return Some(*generation);
        }
        let generation = known.old.remove(&hash)?;
        known.insert(hash, generation);
        Some(generation)
    }

    pub fn remember(&self, token: &[u8], generation: u64) {
        let hash = self.hash(token);
        self.known.lock().insert(hash, generation);
    }

    fn hash(&self, token: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.key, token).as_bytes()
    }
}

impl Known {
    fn insert(&mut self, hash: [u8; 32], generation: u64) {
        if self.new.len() >= limits::VERIFIED_TOKENS_MAX / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(hash, generation);
    }
}

/// The same answer for a wrong name and a wrong password.
pub fn wrong() -> Status {
    Status::unauthenticated("auth check failure, please check username and password are correct")
}

/// A user's policy together with its name.
#[derive(Clone, Debug)]
pub struct Caller {
    pub name: Arc<str>,
    /// Of the password that was shown.
    pub generation: u64,
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use http::HeaderValue;

    use super::*;

    fn of(token: Option<&[u8]>) -> Result<Credential, String> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(token).unwrap());
        }
        Credential::of(&headers).map_err(|status| {
            assert_eq!(status.code(), tonic::Code::Unauthenticated);
            status.message().to_owned()
        })
    }

    #[test]
    fn tokens_as_clients_send_them() {
        let encoded = |text: &[u8]| BASE64_STANDARD.encode(text).into_bytes();
        let root = of(Some(&encoded(b"root:Mil:vus"))).unwrap();
        assert_eq!((root.user.as_str(), root.password.as_slice()), ("root", &b"Mil:vus"[..]));
        assert_eq!(of(None).unwrap_err(), "missing authorization in header");
        for wrong in [&b"!!!"[..], b"root:Milvus", &encoded(b"\xff:x"), b"\xff"] {
            assert_eq!(of(Some(wrong)).unwrap_err(), "invalid token format");
        }
        for key in [&encoded(b"some-api-key")[..], b""] {
            assert_eq!(of(Some(key)).unwrap_err(), "auth check failure, please check api key is correct");
        }
    }

    #[test]
    fn what_was_verified_is_remembered_within_bounds() {
        let verified = Verified::default();
        verified.remember(b"a", 7);
        assert_eq!((verified.generation(b"a"), verified.generation(b"b")), (Some(7), None));
        for number in 0..limits::VERIFIED_TOKENS_MAX {
            // Whoever calls stays known.
            assert_eq!(verified.generation(b"a"), Some(7));
            verified.remember(format!("{number}").as_bytes(), 1);
        }
        assert_eq!(verified.generation(b"0"), None);
        let known = verified.known.lock();
        assert!(known.new.len() + known.old.len() <= limits::VERIFIED_TOKENS_MAX + 1);
    }
}
