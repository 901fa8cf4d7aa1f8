//! A closed loop: each client makes its next call when its last was answered, and every latency is counted.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinSet;
use tonic::Status;

use crate::process::own_cpu;

/// After an error a client waits a little: one that is refused at once must not become the load.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// One caller.
pub trait Client: Send + 'static {
    /// Makes one call.
    fn call(&mut self) -> impl Future<Output = Result<(), Status>> + Send;
}

/// How much counts.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// Calls that end in this time, after the warm-up.
    For { warm_up: Duration, measured: Duration },
    /// So many calls altogether, all of which count.
    Calls(u64),
}

/// What a load saw.
pub struct Outcome {
    pub elapsed: Duration,
    /// Of each call that was answered, the shortest first: 4 bytes a call, some megabytes after a minute.
    latencies_us: Vec<u32>,
    /// The servers' CPU time meanwhile.
    pub cpu: Duration,
    /// The load's own.
    pub load_cpu: Duration,
}

impl Outcome {
    /// Of calls that were made without this module's loop.
    pub fn of(latencies: impl IntoIterator<Item = Duration>, elapsed: Duration) -> Self {
        let mut latencies_us: Vec<u32> = latencies.into_iter().map(micros).collect();
        latencies_us.sort_unstable();
        Outcome { elapsed, latencies_us, cpu: Duration::ZERO, load_cpu: Duration::ZERO }
    }

    pub fn per_second(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the servers' CPU time for each call.
    pub fn cpu_us_per_call(&self) -> f64 {
        self.per_call(self.cpu)
    }

    /// Microseconds of the load's own CPU time for each call.
    pub fn load_cpu_us_per_call(&self) -> f64 {
        self.per_call(self.load_cpu)
    }

    fn per_call(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.latencies_us.len().max(1) as f64
    }

    /// Latency in milliseconds that so much of the calls did not exceed.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        let at = (self.latencies_us.len().saturating_sub(1) as f64 * quantile).ceil() as usize;
        self.latencies_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    latencies_us: Vec<u32>,
    errors: usize,
    last_error: Option<Status>,
}

/// What all clients look at.
struct Course {
    counting: AtomicBool,
    ended: AtomicBool,
    calls_left: AtomicU64,
}

/// Lets all clients call until the amount is reached. `cpu` gives the servers' CPU time so far. Any error fails the
/// load: a side that refuses calls would look fast.
pub async fn run<C: Client>(clients: Vec<C>, amount: Amount, cpu: impl Fn() -> Result<Duration>) -> Result<Outcome> {
    let calls = match amount {
        Amount::For { .. } => u64::MAX,
        Amount::Calls(calls) => calls,
    };
    let course = Arc::new(Course {
        counting: AtomicBool::new(matches!(amount, Amount::Calls(_))),
        ended: AtomicBool::new(false),
        calls_left: AtomicU64::new(calls),
    });
    let cpus = || Ok::<_, anyhow::Error>((cpu()?, own_cpu()?));
    let mut cpu_before = cpus()?;
    let mut started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(caller(client, course.clone()));
    }
    if let Amount::For { warm_up, measured } = amount {
        tokio::time::sleep(warm_up).await;
        cpu_before = cpus()?;
        started = Instant::now();
        course.counting.store(true, Ordering::Relaxed);
        tokio::time::sleep(measured).await;
        course.counting.store(false, Ordering::Relaxed);
    }
    let mut elapsed = started.elapsed();
    let mut cpu_after = cpus()?;
    course.ended.store(matches!(amount, Amount::For { .. }), Ordering::Relaxed);

    let mut all = Seen::default();
    while let Some(seen) = tasks.join_next().await {
        all.add(seen?);
    }
    if matches!(amount, Amount::Calls(_)) {
        elapsed = started.elapsed();
        cpu_after = cpus()?;
    }
    if let Some(error) = all.last_error {
        bail!("{} of {} calls failed, at last with: {error}", all.errors, all.errors + all.latencies_us.len());
    }
    all.latencies_us.sort_unstable();
    if all.latencies_us.is_empty() {
        bail!("no call ended within {elapsed:?}");
    }
    let (cpu, load_cpu) = (cpu_after.0.saturating_sub(cpu_before.0), cpu_after.1.saturating_sub(cpu_before.1));
    Ok(Outcome { elapsed, latencies_us: all.latencies_us, cpu, load_cpu })
}

async fn caller<C: Client>(mut client: C, course: Arc<Course>) -> Seen {
    let mut seen = Seen::default();
    let take = |left: u64| left.checked_sub(1);
    while !course.ended.load(Ordering::Relaxed)
        && course.calls_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    {
        let asked = Instant::now();
        match client.call().await {
            Ok(()) if course.counting.load(Ordering::Relaxed) => {
                seen.latencies_us.push(micros(asked.elapsed()));
            }
            Ok(()) => {}
            Err(error) => {
                seen.errors += 1;
                seen.last_error = Some(error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    seen
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.latencies_us.extend(other.latencies_us);
        self.errors += other.errors;
        self.last_error = other.last_error.or(self.last_error.take());
    }
}
