//! Named points at the edges of durability where a crash test aborts the process. Without the `failpoints` feature
//! they compile to nothing. `ROOST_FAILPOINTS=name[:hit]` names the point and on which passage it fires (default 1).

/// Aborts the process here when the environment asks for it.
#[cfg(feature = "failpoints")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let armed = ARMED.get_or_init(|| {
        let spec = std::env::var("ROOST_FAILPOINTS").ok()?;
        let (name, hit) = spec.split_once(':').unwrap_or((&spec, "1"));
        Some((name.to_string(), hit.parse().unwrap_or(1)))
    });
    if let Some((armed, hit)) = armed
        && armed == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *hit
    {
        eprintln!("failpoint {name}: abort");
        std::process::abort();
    }
}

/// Does nothing: this build has no failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn point(_name: &str) {}
