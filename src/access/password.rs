//! Passwords: how they travel, and bcrypt on threads of its own, few at once, so that whoever guesses passwords slows
//! down nobody but those who hash.

use std::ops::RangeInclusive;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use tokio::sync::Semaphore;

use crate::error::Rejection;
use crate::failure::Failure;
use crate::limits;

/// bcrypt looks at no more of a password.
pub const BCRYPT_BYTES_MAX: usize = 72;
/// bcrypt's own least, and some seconds for each password: with more, whoever logs in keeps the threads for hours.
pub const BCRYPT_COST: RangeInclusive<u32> = 4..=14;

/// As clients of Milvus send passwords and tokens: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `None` for what is not base64.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.trim()).ok()
}

/// Hashes passwords and compares them. Cheap to clone.
#[derive(Clone)]
pub struct Hasher {
    cost: u32,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hasher {
    /// `cost` is the logarithm of bcrypt's rounds.
    pub fn new(cost: u32) -> Self {
        Hasher {
            cost,
            running: Arc::new(Semaphore::new(limits::PASSWORD_HASHES_AT_ONCE)),
            waiting: Arc::new(Semaphore::new(limits::PASSWORD_HASHES_WAITING_MAX)),
        }
    }

    /// bcrypt's text form, which holds the salt.
    pub async fn hash(&self, password: Vec<u8>) -> Result<String, Failure> {
        let cost = self.cost;
        let hashed = self.apart(move || bcrypt::hash(password, cost)).await?;
        hashed.map_err(|error| {
            tracing::error!(%error, "a password cannot be hashed");
            Rejection::Internal { detail: "encrypt password failed".into() }.into()
        })
    }

    /// Whether `hash` was made of this password. Without a hash it takes as long, so that names cannot be probed by
    /// time, and says no.
    pub async fn verify(&self, password: Vec<u8>, hash: Option<Arc<str>>) -> Result<bool, Failure> {
        if password.len() > BCRYPT_BYTES_MAX {
            return Ok(false);
        }
        let cost = self.cost;
        self.apart(move || match hash {
            Some(hash) => bcrypt::verify(password, &hash).unwrap_or_else(|error| {
                tracing::error!(%error, "a stored hash cannot be read");
                false
            }),
            None => {
                // Only the time that it takes matters.
                let _ = bcrypt::hash(password, cost);
                false
            }
        })
        .await
    }

    async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        let busy = || Failure::from(Rejection::TooManyRequests { detail: "too many passwords to look at".into() });
        let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        // The thread keeps its turn to the end, also when nobody waits for it any more.
        let running = self.running.clone().acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(running);
            result
        });
        done.await.map_err(|error| Rejection::Internal { detail: format!("hashing was cut off: {error}") }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hasher = Hasher::new(4);
        let hash: Arc<str> = hasher.hash(b"p@ss word".to_vec()).await.unwrap().into();
        assert!(hash.starts_with("$2b$04$") && !hash.contains("word"));
        assert!(hasher.verify(b"p@ss word".to_vec(), Some(hash.clone())).await.unwrap());
        for wrong in [&b"p@ss wore"[..], b"", &[b'x'; 73]] {
            assert!(!hasher.verify(wrong.to_vec(), Some(hash.clone())).await.unwrap());
        }
        assert!(!hasher.verify(b"p@ss word".to_vec(), None).await.unwrap());
        assert!(!hasher.verify(b"p@ss word".to_vec(), Some("not a hash".into())).await.unwrap());
        // Longer passwords that agree in what bcrypt looks at are not the same password.
        let long: Arc<str> = hasher.hash(vec![b'x'; 72]).await.unwrap().into();
        assert!(!hasher.verify(vec![b'x'; 73], Some(long)).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_comes_when_too_many_wait_is_refused() {
        let hasher = Hasher::new(4);
        let all = hasher.waiting.clone().acquire_many_owned(limits::PASSWORD_HASHES_WAITING_MAX as u32).await.unwrap();
        let refused = hasher.hash(b"password".to_vec()).await.unwrap_err();
        assert!(matches!(refused, Failure::Rejected(Rejection::TooManyRequests { .. })));
        drop(all);
        assert!(hasher.hash(b"password".to_vec()).await.is_ok());
    }

    #[test]
    fn base64_with_and_without_padding() {
        assert_eq!(decode_base64("cm9vdDpNaWx2dXM=").unwrap(), b"root:Milvus");
        assert_eq!(decode_base64("cm9vdDpNaWx2dXM").unwrap(), b"root:Milvus");
        assert_eq!(decode_base64("").unwrap(), b"");
        for wrong in ["!!!", "a", "cm9v dDpN"] {
            assert!(decode_base64(wrong).is_none(), "{wrong}");
        }
    }
}
