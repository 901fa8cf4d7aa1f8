//! What is asked before an assignment is ordered, and told when it has ended: to write it down, to slow it, to refuse
//! it. They stand in a row; the first that refuses is the reason.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::operation::Outcome;
use crate::leader::clock::Clock;

/// An assignment that is about to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intended {
    pub channel: String,
    /// The live node that has it.
    pub from: Option<i64>,
    pub to: i64,
    pub reason: String,
    /// It could stay where it is.
    pub for_balance: bool,
}

/// See the module.
pub trait Interceptor: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Called by the leader before anything is ordered, also when a plan is only asked for (`dry`): then it must not
    /// count. `Err` refuses the assignment, with the reason; it is planned anew the next time.
    fn before(&self, intended: &Intended, dry: bool) -> Result<(), String>;

    /// Called when the assignment that was ordered has ended, under this term.
    fn after(&self, channel: &str, term: i64, node: i64, outcome: &Outcome, took: Duration);
}

/// All of them: those that were added, in that order, and then those built in. So no token is taken and nothing is
/// written down as intended that an added one refuses.
#[derive(Default)]
pub struct Interceptors {
    added: RwLock<Vec<Arc<dyn Interceptor>>>,
    built_in: Vec<Arc<dyn Interceptor>>,
}

impl Interceptors {
    pub fn new(built_in: Vec<Arc<dyn Interceptor>>) -> Self {
        Interceptors { added: RwLock::default(), built_in }
    }

    pub fn add(&self, interceptor: Arc<dyn Interceptor>) {
        self.added.write().push(interceptor);
    }

    fn row(&self) -> Vec<Arc<dyn Interceptor>> {
        self.added.read().iter().chain(&self.built_in).cloned().collect()
    }

    /// Who refuses it, and why.
    pub fn before(&self, intended: &Intended, dry: bool) -> Result<(), String> {
        let row = self.row();
        let mut refusals = row.iter().filter_map(|one| {
            let refused = one.before(intended, dry).err()?;
            Some(format!("{}: {refused}", one.name()))
        });
        refusals.next().map_or(Ok(()), Err)
    }

    pub fn after(&self, channel: &str, term: i64, node: i64, outcome: &Outcome, took: Duration) {
        self.row().iter().for_each(|one| one.after(channel, term, node, outcome, took));
    }
}

/// Writes every assignment to the audit log.
#[derive(Clone, Copy, Debug)]
pub struct Audit;

impl Interceptor for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn before(&self, intended: &Intended, dry: bool) -> Result<(), String> {
        if !dry {
            let Intended { channel, from, to, reason, .. } = intended;
            tracing::info!(target: "audit", pchannel = channel, from, to, reason, outcome = "intended");
        }
        Ok(())
    }

    fn after(&self, channel: &str, term: i64, node: i64, outcome: &Outcome, took: Duration) {
        let took_ms = took.as_millis() as u64;
        match outcome {
            Outcome::Taken => {
                tracing::info!(target: "audit", pchannel = channel, term, node, took_ms, outcome = "assigned");
            }
            Outcome::Failed(error) => {
                let reason = error.to_string();
                tracing::warn!(target: "audit", pchannel = channel, term, node, took_ms, outcome = "failed", reason);
            }
        }
    }
}

/// Bounds how many channels are moved for balance in a second. What has no live owner is never held up.
pub struct RateLimit {
    per_s: f64,
    clock: Arc<dyn Clock>,
    bucket: Mutex<(f64, u64)>,
}

impl RateLimit {
    /// `per_s` above 0; at least one at once.
    pub fn new(per_s: f64, clock: Arc<dyn Clock>) -> Self {
        let bucket = Mutex::new((per_s.max(1.0), clock.monotonic_ms()));
        RateLimit { per_s, clock, bucket }
    }
}

impl Interceptor for RateLimit {
    fn name(&self) -> &'static str {
        "rate limit"
    }

    fn before(&self, intended: &Intended, dry: bool) -> Result<(), String> {
        if !intended.for_balance {
            return Ok(());
        }
        let mut bucket = self.bucket.lock();
        let now_ms = self.clock.monotonic_ms();
        let passed_s = now_ms.saturating_sub(bucket.1) as f64 / 1000.0;
        let tokens = (bucket.0 + passed_s * self.per_s).min(self.per_s.max(1.0));
        if tokens < 1.0 {
            return Err(format!("{} moves for balance in a second are used up", self.per_s));
        }
        if !dry {
            *bucket = (tokens - 1.0, now_ms);
        }
        Ok(())
    }

    fn after(&self, _: &str, _: i64, _: i64, _: &Outcome, _: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::clock::fake::FakeClock;

    struct No;

    impl Interceptor for No {
        fn name(&self) -> &'static str {
            "no"
        }

        fn before(&self, intended: &Intended, _: bool) -> Result<(), String> {
            if intended.channel == "kept" { Err("it stays".into()) } else { Ok(()) }
        }

        fn after(&self, _: &str, _: i64, _: i64, _: &Outcome, _: Duration) {}
    }

    fn intended(channel: &str, for_balance: bool) -> Intended {
        Intended { channel: channel.into(), from: Some(1), to: 2, reason: "test".into(), for_balance }
    }

    #[test]
    fn the_first_that_refuses_is_the_reason() {
        let limit = RateLimit::new(1.0, FakeClock::at(0));
        let all = Interceptors::new(vec![Arc::new(limit), Arc::new(Audit)]);
        all.add(Arc::new(No));
        assert_eq!(all.before(&intended("kept", true), false), Err("no: it stays".into()));
        assert_eq!(all.before(&intended("free", true), false), Ok(()), "the refused one took no token");
        assert!(all.before(&intended("free", true), false).is_err_and(|why| why.starts_with("rate limit: ")));
    }

    #[test]
    fn moves_for_balance_are_bounded_and_others_are_not() {
        let clock = FakeClock::at(0);
        let limit = RateLimit::new(2.0, clock.clone());
        for _ in 0..9 {
            assert_eq!(limit.before(&intended("a", false), false), Ok(()));
            assert_eq!(limit.before(&intended("a", true), true), Ok(()), "to ask costs nothing");
        }
        assert!(limit.before(&intended("a", true), false).is_ok());
        assert!(limit.before(&intended("a", true), false).is_ok());
        assert!(limit.before(&intended("a", true), false).is_err());
        clock.pass(500);
        assert!(limit.before(&intended("a", true), false).is_ok());
        assert!(limit.before(&intended("a", true), false).is_err());
    }
}
