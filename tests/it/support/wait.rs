//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// Generous: these tests share two cores with each other and with three to six servers.
const SOON: Duration = Duration::from_secs(30);

/// Asks until there is an answer; panics, saying what was waited for, when there is none within the time.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = check().await {
                return found;
            }
            assert!(Instant::now() < deadline, "{caller}: not within {within:?}: {what}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// [`eventually`] with the usual time.
#[track_caller]
pub fn soon<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    eventually(what, SOON, check)
}
