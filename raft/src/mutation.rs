//! Deliberate errors, by which `scripts/chaos --mutations` shows that its checkers see errors. Without the `mutations`
//! feature they compile to nothing. `ROOST_MUTATION` names the one that a process makes.

/// Whether this process makes the named error.
#[cfg(feature = "mutations")]
pub fn active(name: &str) -> bool {
    use std::sync::OnceLock;

    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("ROOST_MUTATION").ok()).as_deref() == Some(name)
}

/// Makes none: this build has no mutations.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub const fn active(_name: &str) -> bool {
    false
}
