//! What clients saw: every call with the moment it was made and the moment it was answered. A call whose outcome is
//! unknown stays open: it may have taken effect at any moment since, or never.

use std::time::Instant;

/// Nanoseconds since the run began.
pub type Nanos = u64;

/// The one clock of a run.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    pub fn now(&self) -> Nanos {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One call of one client.
#[derive(Clone, Debug)]
pub struct Call<I, O> {
    pub called: Nanos,
    /// What was answered, and when; nothing while the outcome is unknown.
    pub answer: Option<(Nanos, O)>,
    pub input: I,
    /// Who called, for messages.
    pub by: String,
}

impl<I, O> Call<I, O> {
    /// When it was over; an open call never is.
    pub fn returned(&self) -> Nanos {
        self.answer.as_ref().map_or(Nanos::MAX, |(returned, _)| *returned)
    }

    pub fn output(&self) -> Option<&O> {
        self.answer.as_ref().map(|(_, output)| output)
    }
}

/// A checker that found something, and what.
#[derive(Clone, Debug)]
pub struct Violation {
    pub checker: Checker,
    pub what: String,
}

/// What is checked, by the name under which it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    Keys,
    Revisions,
    Collections,
    Ddl,
    Timestamps,
    Ids,
    Watch,
    Once,
    Lease,
    Channels,
    Committed,
    Broadcasts,
    Sessions,
    Hash,
    Liveness,
}

impl Checker {
    pub fn found(self, what: impl Into<String>) -> Violation {
        Violation { checker: self, what: what.into() }
    }
}

impl std::fmt::Display for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Checker::Keys => "linearizable keys",
            Checker::Revisions => "revisions in real-time order",
            Checker::Collections => "linearizable collections",
            Checker::Ddl => "acknowledged DDL kept, rejected DDL not applied",
            Checker::Timestamps => "timestamps unique and in real-time order",
            Checker::Ids => "ids unique",
            Checker::Watch => "watch in order, without gap or repetition",
            Checker::Once => "each write once",
            Checker::Lease => "leases not early",
            Checker::Channels => "one owner a term, no append under an older term",
            Checker::Committed => "no node hears of a term that is not committed",
            Checker::Broadcasts => "broadcasts everywhere or not acknowledged, in one order a resource",
            Checker::Sessions => "no node declared dead before its time",
            Checker::Hash => "equal state hashes",
            Checker::Liveness => "alive after healing",
        })
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VIOLATION of `{}`: {}", self.checker, self.what)
    }
}
